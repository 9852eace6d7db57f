/*
 * Are a contact's keys theirs? Both fingerprints are shown, to be compared by
 * telephone or face to face, and what came of that is recorded; that they
 * differ takes back that they were the same.
 */
#ifndef TGSHARE_COMPARE_H
#define TGSHARE_COMPARE_H

#include "session.h"

/* told: what the other one read out; NULL: the user is asked. Returns an exit
 * status. */
MUST_CHECK int compare_fingerprints(struct session *s, const char *name,
				    const char *told);

#endif
