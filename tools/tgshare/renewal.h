/*
 * Granting anew what was granted before: the new set takes the place of the old
 * one when nobody loses a file by that. At the recipient's its name then leads
 * to the new file.
 */
#ifndef TGSHARE_RENEWAL_H
#define TGSHARE_RENEWAL_H

#include "compose.h"
#include "outbox.h"

/*
 * A live grant of this path to the plan's recipient, whose files are all among
 * those of the cargo or not in the vault any more; where they are among them,
 * by the same shares and with an end, or without one, as well. NULL: none.
 */
const struct item *renewal_find(const struct session *s, const struct outbox *o,
				const struct source *from,
				const struct cargo *c, const struct plan *plan);

/* The set that this one replaces is over, and so is what that one replaced. */
MUST_CHECK int renewal_end(const struct session *s, struct outbox *o,
			   const struct item *item);

/* Do they say the same of who gets which share? */
bool renewal_same_parties(const struct item *item, const struct plan *plan);

#endif
