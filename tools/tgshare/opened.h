/*
 * What came and was opened, which the inbox forgets and the log does not; and
 * what became of it since.
 */
#ifndef TGSHARE_OPENED_H
#define TGSHARE_OPENED_H

#include "session.h"

enum opened_state {
	OPENED_STAYS = 1, /* a copy: it is its owner's */
	OPENED_REMOVED,	  /* a grant, here */
	OPENED_EXPIRED,
	OPENED_REVOKED,
	OPENED_REPLACED, /* by another set of its sender */
};

struct opened {
	struct vlog_record r; /* text: where it was put, or its name */
	uint8_t state;	      /* enum opened_state */
	bool there;	      /* something of its own is in that place */
};

/* In the order of the log, malloced. Which entries are damaged is said. */
MUST_CHECK int opened_load(const struct session *s, struct opened **list,
			   size_t *count);

#endif
