/*
 * What of the vault's log was told, and acted upon, before: a mark for each
 * record, in .tgshare/log.told. A number would not do: who restores an older
 * log, or begins a new one, has other records in those places.
 */
#ifndef TGSHARE_TOLD_H
#define TGSHARE_TOLD_H

#include "session.h"

enum { TOLD_MARK_LEN = 16 };

struct told {
	uint8_t (*marks)[TOLD_MARK_LEN]; /* of the records from 0 on */
	size_t count, room;
	/* nothing is known of it, or less of it than was: what we sent may not
	 * be in it */
	bool other;
};

/* The marks that fit the log as it is now. Free with told_free(), whatever it
 * returns. */
MUST_CHECK int told_load(const struct session *s, struct told *t);
/* The next one; NULL: it is damaged. */
MUST_CHECK int told_add(struct told *t, const struct vlog_record *r);
MUST_CHECK int told_save(const struct session *s, const struct told *t);
void told_free(struct told *t);

#endif
