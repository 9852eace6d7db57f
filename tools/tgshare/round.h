/*
 * What receive and agent do again and again: collect what came, have the
 * mount take it in, acknowledge, send what is due.
 */
#ifndef TGSHARE_ROUND_H
#define TGSHARE_ROUND_H

#include "deliver.h"

/*
 * Spool everything that is there now, or comes within timeout_ms; *arrived is
 * increased. Wakes the mount (session_wake()) only where that is needed.
 * Returns an exit status; CMD_NO_VAULT: the mount is gone; CMD_NOT_SET_UP: it
 * takes a new setup to go on; CMD_QUEUED: there is no room for what came
 * (s->no_room), or nobody can be reached for now. The same trouble is told
 * once.
 */
MUST_CHECK int round_collect(struct session *s, int timeout_ms,
			     size_t *arrived);

struct round_result {
	struct deliver_result delivered;
	size_t events;	     /* things that were told */
	uint64_t next_due_s; /* when something is to be sent again */
	bool busy;	     /* see round_work_unless_busy() */
};

/* All the rest, under session_lock(). Returns an exit status. */
MUST_CHECK int round_work(struct session *s, struct round_result *result);
/* Where another tgshare has the lock, perhaps for hours, the mount takes in
 * what came, and that is all. */
MUST_CHECK int round_work_unless_busy(struct session *s,
				      struct round_result *result);
/* What of that needs nobody else: nothing is sent. */
MUST_CHECK int round_work_at_home(struct session *s,
				  struct round_result *result);

#endif
