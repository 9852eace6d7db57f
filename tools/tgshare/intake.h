/*
 * After something came: have the mount look at it, learn from the vault's log
 * what that led to, and acknowledge it. Under session_lock().
 */
#ifndef TGSHARE_INTAKE_H
#define TGSHARE_INTAKE_H

#include "outbox.h"

/*
 * A log that was begun anew, or restored, has to have what we sent and granted
 * before anything is spooled: what others acknowledge would be refused. Returns
 * an exit status.
 */
MUST_CHECK int intake_other_log(struct session *s);

/* Have the mount take in its spool, and wait until it has. Returns an exit
 * status. */
MUST_CHECK int intake_scan(struct session *s);

/*
 * Take in what the log has since the last time: say it in plain words, note
 * acknowledgements in the outbox, queue those that are due to others.
 * Returns an exit status; *events: how many things were told.
 */
MUST_CHECK int intake_log(struct session *s, size_t *events);

/* All sets of the inbox, malloced. */
MUST_CHECK int intake_sets(const struct session *s, struct inbox_set **sets,
			   size_t *count);

#endif
