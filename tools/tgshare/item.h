/*
 * The outbox: .tgshare/outbox/<set id in hex>/ for every set that was sent or
 * granted, and "<word>-..." for single messages (notes: acknowledgements,
 * revocations, shares being passed on).
 *
 *   set.json           what it is; written once, or twice for a draft
 *   keys               of a draft: what its content is sealed under
 *   <64 hex>.env       the envelopes, by BLAKE2b-256; until they are done with
 *   journal            a line for everything that happened since
 *
 * A draft is a set whose content is still being sealed, while parts of it may
 * be out already. Its messages are these parts, which the journal tells; when
 * the rest is known, set.json is replaced, once, by that of the whole set.
 *
 * A directory appears whole (made as .tmp-..., fsync, rename), and each line
 * of the journal is durable before it is relied upon, so that being killed at
 * any instant neither loses nor repeats what was acknowledged. Changed under
 * session_lock() only.
 */
#ifndef TGSHARE_ITEM_H
#define TGSHARE_ITEM_H

#include "manifest.h"
#include "message.h"
#include "transport.h"

#include <stdio.h>

enum item_kind { ITEM_SEND = 1, ITEM_GRANT = 2, ITEM_NOTE = 3 };

enum {
	ITEM_ID_MAX = 64, /* its directory's name */
	ITEM_PARTIES_MAX = 1 + SLIP39_SHARES_MAX,
	ITEM_COPY_LEN = 32, /* hex digits */
	/* 64 hex digits and ".part" */
	ITEM_MESSAGE_NAME_MAX = 2 * ENVELOPE_HASH_LEN + 5,
	ITEM_SENDS_MAX = 14, /* of one message that nobody acknowledges */
};

/*
 * Somebody that messages of a set go to; the first one is its recipient. (Of a
 * share that is passed on, the second is the set's sender.) Who has no card
 * (keys of zeros) gets what is sealed for the recipient, to be forwarded.
 */
struct item_party {
	char name[CARD_NAME_MAX + 1];
	char address[CARD_ADDRESS_MAX + 1];
	struct identity_public pub;
};

struct item_message {
	uint8_t kind;  /* enum statement_kind; 0: a part of the sealed copy */
	uint8_t index; /* share, custody: 1 to 16 */
	uint8_t party;
	char name[ITEM_MESSAGE_NAME_MAX + 1]; /* the document's, too */
	uint64_t offset, len;		      /* part: in the sealed copy */
	/* from the journal */
	unsigned sends;
	uint64_t sent_s; /* the last time */
	char *ref;	 /* of the transport, or NULL */
	unsigned fails;	 /* since then; not those that pass by themselves */
	uint64_t failed_s;
	bool taken_back; /* done with, and gone from where it lay */
	bool tried;	 /* not stored: this process has been at it */
};

/* What the content of a set is sealed under. In locked memory. */
struct item_keys {
	uint8_t secret[SLIP39_SECRET_LEN]; /* the set's */
	uint8_t seed[32];		   /* of its files' ids and keys */
	uint8_t source[32]; /* what the files looked like, by cargo.c */
};

struct item_file {
	char *path; /* relative to the mount */
	uint8_t id[FILE_ID_LEN];
};

enum item_end {
	ITEM_LIVE,
	ITEM_REVOKED,
	ITEM_WITHDRAWN,
	ITEM_REPLACED, /* by a set with the new key */
	ITEM_EXPIRED,
	ITEM_DECLINED,
};

struct item {
	char id[ITEM_ID_MAX + 1];
	uint8_t kind; /* enum item_kind */
	uint8_t set_id[SET_ID_LEN];
	uint64_t created_s, expires_s;
	char *path, *name, *note; /* path: of FILE, relative to the mount */
	bool folder, no_content, exported;
	bool draft;
	uint64_t size, mtime_ns; /* of FILE when it was sealed */
	uint8_t k, n;
	char code[7];
	char copy[ITEM_COPY_LEN + 1]; /* in .frondfs/outbox, "" without */
	uint8_t replaces[SET_ID_LEN];
	struct item_party parties[ITEM_PARTIES_MAX];
	size_t party_count;
	char card[CARD_TEXT_MAX];	    /* the recipient's; "" in notes */
	uint8_t holders[SLIP39_SHARES_MAX]; /* of each share: a party */
	struct item_file *files;	    /* ITEM_GRANT */
	size_t file_count;
	struct item_message *messages;
	size_t message_count;
	/* from the journal */
	bool logged;
	bool told;		 /* to its sender: that it is out, or queued */
	uint8_t end;		 /* enum item_end */
	uint64_t news_s;	 /* when it ended, or somebody acknowledged */
	uint8_t recipient_state; /* enum ack_state or 0 */
	uint8_t share_state[SLIP39_SHARES_MAX];
	/* not stored: what nobody acknowledged is due now, not only when its
	 * time has come */
	bool again;
};

struct item *item_new(void);
void item_free(struct item *item);

/* -EBADMSG: not what item_commit wrote. */
MUST_CHECK int item_load(int outbox, const char *id, struct item **out);

/*
 * A directory to put envelopes into, and then into the outbox under item->id:
 * 0 also when one of that name is there already. temp has room for 64.
 */
MUST_CHECK int item_begin(int outbox, char *temp, int *dir);
MUST_CHECK int item_put_envelope(int dir, const uint8_t *bytes, size_t len,
				 struct item_message *m);
MUST_CHECK int item_commit(int outbox, const char *temp, int dir,
			   const struct item *item);
/* The keys of a draft; put before it is committed. -ENOENT, -EBADMSG. */
MUST_CHECK int item_put_keys(int dir, const struct item_keys *keys);
MUST_CHECK int item_load_keys(int outbox, const struct item *item,
			      struct item_keys *keys);
/* A draft becomes a set: set.json is replaced. */
MUST_CHECK int item_complete(int dir, struct item *item);
/* What a completed draft has no use for any more. */
MUST_CHECK int item_drop_keys(int outbox, const struct item *item);
/* With all that is in it; -ENOENT counts as done. */
MUST_CHECK int item_remove(int outbox, const char *id);
/* Envelopes that are not needed any more. */
MUST_CHECK int item_remove_envelopes(int outbox, const struct item *item);

/* Room for one more message: zeroed; NULL when memory is short. */
struct item_message *item_add_message(struct item *item);

/* A draft's next part, as its last message. It is durable with what is noted
 * next. */
MUST_CHECK int item_note_part(int outbox, struct item *item, uint64_t len,
			      const uint8_t hash[static MANIFEST_HASH_LEN]);
/* The journal: durable, then in *item too. */
MUST_CHECK int item_note_sent(int outbox, struct item *item, size_t message,
			      uint64_t now_s, const char *ref);
/* It was refused. */
MUST_CHECK int item_note_failed(int outbox, struct item *item, size_t message,
				uint64_t now_s);
MUST_CHECK int item_note_ack(int outbox, struct item *item, unsigned index,
			     uint8_t state, uint64_t now_s);
MUST_CHECK int item_note_taken_back(int outbox, struct item *item,
				    size_t message);
MUST_CHECK int item_note_logged(int outbox, struct item *item);
MUST_CHECK int item_note_told(int outbox, struct item *item);
MUST_CHECK int item_note_end(int outbox, struct item *item, enum item_end end,
			     uint64_t now_s);

/* Is one of these files the one with the id? None is, without an id (NULL). */
bool item_files_have(const struct item_file *files, size_t count,
		     const uint8_t *id);
bool item_has_keys(const struct item_party *party);
/* Has whom it went to acknowledged this message, directly or by more? */
bool item_message_done(const struct item *item, const struct item_message *m);
/* The manifest of a set between two others, the one that it replaced and the
 * one that replaced it: who does not know it takes the last one for a new set.
 */
bool item_message_links(const struct item *item, const struct item_message *m);
/* When it is to be sent (again): 0 at once, UINT64_MAX never. */
uint64_t item_message_due_s(const struct item *item,
			    const struct item_message *m, uint64_t now_s);
/* Is it to be sent (again) at this time? */
bool item_message_due(const struct item *item, const struct item_message *m,
		      uint64_t now_s);
/* Until when it is left alone after it was refused: 0 it was not, UINT64_MAX
 * for ever. */
uint64_t item_message_put_off_s(const struct item_message *m, uint64_t now_s);
/* The recipient may still get at what is in it, or has it. */
bool item_live(const struct item *item, uint64_t now_s);
/* Its bundle was never there: 'tgshare export' was killed, or is at it. */
bool item_never_left(const struct item *item);
/* Are the sealed copy's bytes still needed? */
bool item_needs_copy(const struct item *item, uint64_t now_s);

#endif
