/*
 * Messages as files of a directory, each called after what it holds.
 */
#ifndef TGSHARE_MAILBOX_H
#define TGSHARE_MAILBOX_H

#include "transport.h"

#include <stddef.h>
#include <sys/stat.h>

#define MAILBOX_TEMP_PREFIX ".tmp-"
#define MAILBOX_TEXT_SUFFIX ".txt"

enum { MAILBOX_NAME_MAX = 200, MAILBOX_BLOCK = 1 << 20 };

/* No other name is touched. */
bool mailbox_good_name(const char *name);

/* What the message's file is called. -EINVAL: the document has a bad name. */
MUST_CHECK int mailbox_name(const struct transport_message *m,
			    char name[static MAILBOX_NAME_MAX + 1]);

/*
 * Write it into the directory, durably; what is there already with the same
 * bytes stays, and anything else of that name is replaced. block is of
 * MAILBOX_BLOCK bytes, to work with.
 */
MUST_CHECK int mailbox_put(int box, const char *name,
			   const struct transport_message *m, uint8_t *block);

/*
 * The names in the directory that may be messages, the oldest first: what
 * follows up an earlier one is to come after it. *names, and each: malloced.
 */
MUST_CHECK int mailbox_list(int box, char ***names, size_t *count);

/* May the file still be growing? Not when its time is of another day: anybody
 * may set that. */
bool mailbox_is_fresh(const struct stat *st);

/* Does a text's name tell another text, and may the file still be on its way?
 */
bool mailbox_is_unsettled(const char *name, const struct stat *st,
			  const char *text, size_t len);

#endif
