/*
 * A set for one recipient: the key split, manifest, shares and custody
 * envelopes sealed, all in the outbox (item.h).
 */
#ifndef TGSHARE_COMPOSE_H
#define TGSHARE_COMPOSE_H

#include "cargo.h"

struct plan {
	unsigned k, n;
	/* the first is the recipient; the others keep shares */
	struct item_party parties[ITEM_PARTIES_MAX];
	size_t party_count;
	char card[CARD_TEXT_MAX]; /* the recipient's */
	uint8_t holders[SLIP39_SHARES_MAX];
	uint64_t expires_s;
	const char *note;
	bool no_content;
	bool exported; /* travels in a bundle: nothing is delivered */
	uint8_t set_id[SET_ID_LEN];
	uint8_t replaces[SET_ID_LEN];
};

/* -EINVAL: the manifest cannot be (a name that no recipient would take). */
MUST_CHECK int compose(struct session *s, const struct source *from,
		       const struct cargo *c, const struct plan *plan,
		       struct item **out);

/* Say why; CMD_FAILED. */
int compose_report(const struct session *s, const struct source *from, int err);

/*
 * The same in two steps: first a draft, whose parts are noted while they are
 * sealed (item_note_part), and when all are, the rest. For a draft that was
 * left, plan says the same as then, and has its set id.
 */
MUST_CHECK int compose_draft(struct session *s, const struct source *from,
			     const struct cargo *c, const struct plan *plan,
			     struct item **out);
MUST_CHECK int compose_rest(struct session *s, const struct cargo *c,
			    const struct plan *plan, struct item *draft);

/* Unless it is there. */
MUST_CHECK int compose_log_sent(struct session *s, const struct item *item);
/* Put what was composed into the vault's log, once. */
MUST_CHECK int compose_log(struct session *s, struct item *item);
/* Whoever made them may have been killed before that. (What is exported is in
 * the log before it can be with anybody.) */
MUST_CHECK int compose_log_all(struct session *s, struct item **items,
			       size_t count);
/* Put an event about a set into the log unless it is there. */
MUST_CHECK int compose_log_event(struct session *s, const struct item *item,
				 uint8_t event);

/*
 * A message on its own. id is the item's: when there is one of that name
 * already, nothing happens. envelope: sealed already.
 */
struct note {
	const char *id;
	const struct item_party *to;
	uint8_t kind, index;
	uint8_t set_id[SET_ID_LEN];
	/* of a share that is passed on: whose set it is of; or NULL */
	const struct identity_public *sender;
};
MUST_CHECK int compose_note(struct session *s, const struct note *note,
			    const uint8_t *envelope, size_t len);
/* The same, with a payload that is yet to be signed and sealed. */
MUST_CHECK int compose_note_from(struct session *s, const struct note *note,
				 const uint8_t *payload, size_t len);

#endif
