/*
 * A kernel that collects writes keeps the times of changes itself: it takes
 * ours when it meets a file, and tells its own later. Its writes move ours,
 * though. It does not tell a time again that it has told already, nor one that
 * has not changed since we told it, as a file's that is written in the moment
 * in which it is made. When it has forgotten the file it asks for the time, so
 * before that, at a close, the one that it knows is set.
 */
#ifndef FROND_MTIME_H
#define FROND_MTIME_H

#include "inode.h"

#include <time.h>

/* The kernel tells it; about to be set. */
void mtime_told(struct inode *i, const struct timespec *mtime);
/* A write of the kernel's is about to be done, and has been. fd: of the
 * backing file. */
void mtime_before_write(struct vault *vault, struct inode *i, int fd);
void mtime_after_write(struct inode *i);
/* Set it to what the kernel knows. */
void mtime_set_back(struct inode *i, int fd);

/* Is there anything to be set back? */
static inline bool mtime_is_moved(const struct inode *i)
{
	return atomic_load(&i->mtime_moved);
}

#endif
