/*
 * A process of its own that gives the mount point back. Root unmounts with a
 * capability, everybody else through fusermount3, which is set-uid root: what
 * a daemon that has given up its privileges can do neither with nor without.
 * This one has no keys, knows one mount point, and can be told nothing but to
 * unmount that.
 */
#ifndef FROND_UNMOUNTER_H
#define FROND_UNMOUNTER_H

#include "cleanup.h"

#include <stdbool.h>

/* The program was started as this: main() calls unmounter_main(). */
#define UNMOUNTER_NAME "frondfs-unmounter"

struct unmounter;

/* mountpoint: an absolute path. Before privileges are dropped. */
MUST_CHECK int unmounter_start(const char *mountpoint, struct unmounter **out);
/*
 * Unmount politely, or detach it though it is in use. Errors as for
 * mount_umount(); -EPIPE: the process has gone. Thread-safe.
 */
MUST_CHECK int unmounter_ask(struct unmounter *u, bool lazily);
/* Ends it, without waiting for that; NULL is fine. */
void unmounter_free(struct unmounter *u);

/* What the process does, its orders on standard input: returns its status. */
int unmounter_main(void);

#endif
