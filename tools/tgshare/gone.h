/*
 * Granted files that are not there any more. A grant is of a file, and not of
 * its name: a program that saves by putting a new file in the place of the old
 * one ends it without a word.
 */
#ifndef TGSHARE_GONE_H
#define TGSHARE_GONE_H

#include "outbox.h"

struct gone {
	size_t replaced, missing;    /* files */
	char path[CONTROL_PATH_MAX]; /* one of them, of the vault's top */
};

/* Of a grant of ours: another file has that name, which they were not granted;
 * or none, as it was removed, or moved, which ends nothing. */
void gone_given(const struct session *s, const struct outbox *o,
		const struct item *item, struct gone *gone);

/*
 * Of what was granted to us, its sets being these: what its owner does not
 * have any more is missing. An array as long as theirs, malloced; NULL: no
 * memory.
 */
struct gone *gone_came(const struct session *s, const struct inbox_set *sets,
		       size_t count);

#endif
