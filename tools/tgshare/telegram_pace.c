/*
 * How fast Telegram lets a bot write: about one message a second to a chat,
 * 30 a second in all. Whoever exceeds that is told how long to be quiet. On
 * the public servers we keep below from the start; on one's own, only once
 * told.
 */
#include "telegram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	CHAT_INTERVAL_MS = 1050,
	CHAT_BURST = 3, /* a few at once are fine */
	OVERALL_INTERVAL_MS = 35,
	/* how long a chat that was told to slow down stays slow */
	SLOW_FOR_MS = 10 * 60 * 1000,
	/* documents to one chat that fill the line as well as more would,
	 * and leave some of it to others: two, or more if they are small */
	LOAD_COUNT = 2,
	LOAD_BYTES = 24 << 20,
};

struct chat_pace {
	struct chat_pace *next;
	int64_t quiet_until_ms, slow_until_ms;
	int64_t free_at_ms; /* when the last one sent is paid for */
	unsigned documents; /* under way */
	uint64_t bytes;	    /* of these */
	char chat[TELEGRAM_CHAT_MAX + 1];
};

struct pace {
	bool careful;
	int64_t overall_free_ms, overall_quiet_ms;
	struct chat_pace *chats;
};

int pace_new(bool careful, struct pace **out)
{
	struct pace *p = calloc(1, sizeof *p);

	if (!p)
		return -ENOMEM;
	p->careful = careful;
	*out = p;
	return 0;
}

void pace_free(struct pace *p)
{
	if (!p)
		return;
	while (p->chats) {
		struct chat_pace *c = p->chats;

		p->chats = c->next;
		free(c);
	}
	free(p);
}

/* NULL when memory is short: that chat goes without. */
static struct chat_pace *chat_of(struct pace *p, const char *chat)
{
	struct chat_pace *c = p->chats;

	while (c && strcmp(c->chat, chat) != 0)
		c = c->next;
	if (c)
		return c;
	c = calloc(1, sizeof *c);
	if (c) {
		strncpy(c->chat, chat, TELEGRAM_CHAT_MAX);
		c->next = p->chats;
		p->chats = c;
	}
	return c;
}

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

int64_t pace_wait_ms(struct pace *p, const char *chat, int64_t now_ms)
{
	const struct chat_pace *c = chat_of(p, chat);
	int64_t until = p->overall_quiet_ms;

	if (p->careful)
		until = larger(until, p->overall_free_ms);
	if (c) {
		until = larger(until, c->quiet_until_ms);
		if (p->careful || c->slow_until_ms > now_ms)
			until = larger(until,
				       c->free_at_ms -
					       CHAT_BURST * CHAT_INTERVAL_MS);
	}
	return until > now_ms ? until - now_ms : 0;
}

void pace_took(struct pace *p, const char *chat, int64_t now_ms)
{
	struct chat_pace *c = chat_of(p, chat);

	p->overall_free_ms =
		larger(p->overall_free_ms, now_ms) + OVERALL_INTERVAL_MS;
	if (c)
		c->free_at_ms =
			larger(c->free_at_ms, now_ms) + CHAT_INTERVAL_MS;
}

bool pace_has_room(struct pace *p, const char *chat, uint64_t len)
{
	const struct chat_pace *c = chat_of(p, chat);

	return !c || c->documents < LOAD_COUNT || c->bytes + len <= LOAD_BYTES;
}

void pace_load(struct pace *p, const char *chat, uint64_t len)
{
	struct chat_pace *c = chat_of(p, chat);

	if (c) {
		c->documents++;
		c->bytes += len;
	}
}

void pace_unload(struct pace *p, const char *chat, uint64_t len)
{
	struct chat_pace *c = chat_of(p, chat);

	if (c && c->documents) {
		c->documents--;
		c->bytes -= len < c->bytes ? len : c->bytes;
	}
}

void pace_slow_down(struct pace *p, const char *chat, unsigned retry_after_s,
		    int64_t now_ms)
{
	struct chat_pace *c = chat_of(p, chat);

	if (!c) {
		p->overall_quiet_ms = now_ms + 1000 * (int64_t)retry_after_s;
		return;
	}
	c->quiet_until_ms = larger(
		c->quiet_until_ms,
		now_ms + 1000 * (int64_t)(retry_after_s ? retry_after_s : 1));
	c->slow_until_ms = now_ms + SLOW_FOR_MS;
	/* from then on one at a time */
	c->free_at_ms = c->quiet_until_ms + CHAT_BURST * CHAT_INTERVAL_MS;
}
