/*
 * Tells the kernel what changed in the tree behind its back, from a thread of
 * its own: such a notification waits for whoever looks at the same directory,
 * and that may be somebody whose request is being answered.
 */
#ifndef FROND_TELLER_H
#define FROND_TELLER_H

#include "fs.h"

struct teller;

MUST_CHECK int teller_new(struct fs *fs, struct teller **out);
MUST_CHECK int teller_start(struct teller *t);
/*
 * No more notifications: what is to be told from now on is dropped. Waits a
 * while for the one under way, which needs that requests are still answered.
 */
void teller_stop(struct teller *t);
/* Waits for the thread; after the session was unmounted. NULL is fine. */
void teller_free(struct teller *t);

/*
 * name in the directory parent_path (plain, relative to the root, "" is the
 * root) is not what it was. Never blocks; any thread, any lock.
 */
void teller_tell(struct teller *t, const char *parent_path, const char *name);
/* Wait until all that is to be told has been. Not from a request. */
void teller_drain(struct teller *t);

#endif
