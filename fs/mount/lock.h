/*
 * Locks of files in a shared vault: every lock owner of an inode has a
 * descriptor of the backing file of its own, and open file description locks
 * on it (ranges: vfile.h), so that other mounts see them.
 */
#ifndef FROND_LOCK_H
#define FROND_LOCK_H

#include "fs.h"

struct lock_table;

MUST_CHECK int lock_table_new(struct lock_table **out);
/*
 * Requests that still wait for a lock are answered with EINTR. Call it while
 * the session still exists; NULL is fine.
 */
void lock_table_free(struct lock_table *t);

/* A process closes the inode: its byte-range locks go. */
void lock_flush(struct fs *fs, struct inode *i, uint64_t owner);
/* An open file is gone: so are its flock lock and what it locked itself. */
void lock_release(struct fs *fs, struct inode *i, uint64_t handle);

#endif
