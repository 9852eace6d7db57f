/* What the telegram_*.c files share; nobody else includes this. */
#ifndef TGSHARE_TELEGRAM_H
#define TGSHARE_TELEGRAM_H

#include "transport_telegram.h"

#include <stddef.h>

enum {
	TELEGRAM_PARALLEL = 12, /* requests under way, the poll aside */
	TELEGRAM_TRIES = 6,	/* then it is given up for now */
	/* nor is a chat waited for that is to be left alone for longer */
	TELEGRAM_PATIENCE_MS = 20 * 1000,
	TELEGRAM_CHAT_MAX = TRANSPORT_ADDRESS_MAX,
	TELEGRAM_POLL_MAX_S = 50,
	TELEGRAM_DOWNLOAD_PARALLEL = 4,
	/* at a time; fewer when they cannot be read */
	TELEGRAM_UPDATES = 100,
};

/* When who may be written to (telegram_pace.c). Times are CLOCK_MONOTONIC. */
struct pace;
MUST_CHECK int pace_new(bool careful, struct pace **out);
void pace_free(struct pace *p);
/* 0: now; else how many ms to wait before writing to this chat. */
int64_t pace_wait_ms(struct pace *p, const char *chat, int64_t now_ms);
/* A message goes to it now. */
void pace_took(struct pace *p, const char *chat, int64_t now_ms);
/* May a document of so many bytes go to it beside those under way? It does; it
 * does no longer. */
bool pace_has_room(struct pace *p, const char *chat, uint64_t len);
void pace_load(struct pace *p, const char *chat, uint64_t len);
void pace_unload(struct pace *p, const char *chat, uint64_t len);
/* The server said 429: nothing to this chat for so long, and slower after. */
void pace_slow_down(struct pace *p, const char *chat, unsigned retry_after_s,
		    int64_t now_ms);

/* Something to be sent or taken back (telegram_send.c). */
struct parcel;

/* A message that brought a document (telegram_document.c). */
struct arrival;

struct telegram {
	struct transport base;
	struct bot_api *api;
	struct pace *pace;
	char username[TELEGRAM_USERNAME_MAX + 2];
	bool local; /* a server of one's own: as fast as it takes */
	uint64_t part_max;
	int temp_dirfd;
	char reason[TELEGRAM_REASON_MAX];

	struct parcel *parcels, **parcels_end;
	unsigned sending;

	const struct transport_receiver *receiver; /* during run() */
	json_t *batch;	   /* the updates being worked on, or NULL */
	size_t batch_at;   /* those before are durable */
	size_t batch_seen; /* the documents of those before are arrivals */
	bool polling, poll_waits; /* waits: until there is an update */
	bool heard;		  /* an answer came since run() began */
	bool more;		  /* and it had updates: there may be others */
	int64_t poll_again_ms;
	unsigned poll_tries;
	unsigned limit;		  /* updates at a time */
	json_int_t offset;	  /* what the next poll confirms; 0: nothing */
	json_int_t garbled_id;	  /* an update that could not be read */
	struct arrival *arrivals; /* in the order of their updates */
	/* to be waited for; what came behind them is taken in, and nothing from
	 * the first of them on is confirmed */
	struct arrival *aside;
	int receive_err;
	int no_room; /* for a document that is put aside: -ENOSPC or -EDQUOT */
};

/* Exponential, capped, with jitter. */
int64_t telegram_backoff_ms(unsigned tries);

/* telegram_words.c: what an error means and what to do. who: the chat, in
 * words. Returns an errno: -EAGAIN where trying again may help. */
extern const char telegram_no_server[];
int telegram_explain(const struct bot_reply *r, const char *who,
		     char reason[static TELEGRAM_REASON_MAX]);

/* telegram_send.c */
int telegram_submit(struct transport *t, const struct transport_message *m);
int telegram_retract(struct transport *t, const char *address, const char *ref,
		     void (*done)(void *arg, int err), void *arg);
/* Start what may be; *wait_ms: when to look again at the latest. */
void telegram_send_more(struct telegram *t, int *wait_ms);
bool telegram_idle(const struct transport *t);
void telegram_give_up(struct transport *t);
void telegram_drop_parcels(struct telegram *t);

/* telegram_receive.c */
int telegram_receive_more(struct telegram *t, bool at_once, int *wait_ms);
/* Is there more to do before run() may return at once? */
bool telegram_receiving(const struct telegram *t);
void telegram_drop_arrivals(struct telegram *t);

/*
 * telegram_document.c. Begin with what a message brought, the update at in the
 * batch; others are passed over.
 */
int telegram_begin_document(struct telegram *t, const json_t *message,
			    size_t at, json_int_t update_id);
size_t telegram_documents(const struct telegram *t); /* begun, in the batch */
/* Start what may be; *wait_ms: when to look again at the latest. */
int telegram_fetch_more(struct telegram *t, int *wait_ms);
/* Hand over that of an update, if it has one; *done: nothing more of it will
 * come in its turn. Then it is ended. */
int telegram_hand_over(struct telegram *t, size_t at, bool *done);
void telegram_end_document(struct telegram *t, size_t at);
int telegram_hand_over_aside(struct telegram *t);
/* The smallest number of an update whose document is put aside; 0: none. */
json_int_t telegram_first_aside(const struct telegram *t);
void telegram_give_up_aside(struct telegram *t);
void telegram_drop_documents(struct telegram *t);

#endif
