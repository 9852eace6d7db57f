/* All items of the outbox. Under session_lock(). */
#ifndef TGSHARE_OUTBOX_H
#define TGSHARE_OUTBOX_H

#include "item.h"
#include "session.h"

struct outbox {
	struct item **items; /* by time of making */
	size_t count;
	struct item **drafts; /* their content is not sealed yet */
	size_t draft_count;
};

/* Damaged ones are left out and reported. */
MUST_CHECK int outbox_load(const struct session *s, struct outbox *o);
void outbox_free(struct outbox *o);

/* NULL: none. */
struct item *outbox_set(const struct outbox *o,
			const uint8_t set_id[static SET_ID_LEN]);

/*
 * What a SET on the command line means: at least 8 of its hex digits, when
 * only one begins so. True: text looks like one at all.
 */
enum { OUTBOX_SHORT = 8 };
bool outbox_is_set_text(const char *text);
bool outbox_set_begins(const uint8_t set_id[static SET_ID_LEN],
		       const char *text);

/* Take away what nothing needs any more: unfinished beginnings, envelopes
 * that were acknowledged, sealed copies, sets that ended long ago. */
MUST_CHECK int outbox_tidy(struct session *s, const struct outbox *o);

/* Give up a draft: what was sent of it is taken back where that is possible,
 * and it is removed with its copy. */
MUST_CHECK int outbox_drop_draft(struct session *s, const struct item *draft);

#endif
