/*
 * Open directories of a mount. The kernel may have more of them open than
 * there are descriptors: a dirhandle stays from opendir to releasedir, its
 * stream only while it is among the recently used ones. A stream that is
 * opened anew stands at the beginning; offsets are the backing file system's
 * own, so whoever reads on finds his place by them, as after seekdir(3).
 */
#ifndef FROND_DIR_CACHE_H
#define FROND_DIR_CACHE_H

#include "fs.h"

#include <pthread.h>

enum { DIR_BATCH_BYTES = 32768 };

/* A backing directory being read. */
struct dir_stream {
	int fd;
	off_t next;	 /* where the entry at "at" lies */
	size_t at, used; /* of batch */
	_Alignas(struct dirent64) char batch[DIR_BATCH_BYTES];
};

struct dirhandle {
	struct inode *inode;
	pthread_mutex_t lock;	   /* held from dir_acquire to dir_release */
	bool complained;	   /* lock: of what is not the vault's */
	unsigned lost;		   /* lock: so many lost names were told */
	unsigned told_ahead;	   /* lock; see ops_dir.c */
	struct dir_stream *stream; /* the cache's lock; stable if in use */
	struct dirhandle *prev, *next; /* the cache's lock: of unused streams */
	struct dirhandle *all_prev, *all_next; /* the cache's lock */
};

/* One more handle of the directory, which can be read. */
MUST_CHECK int dir_open(struct fs *fs, struct inode *dir,
			struct dirhandle **out);
void dir_close(struct fs *fs, struct dirhandle *h);

/*
 * The handle's stream, for this thread alone and open until dir_release.
 * -ESTALE: it had to be opened anew, and no name leads to it any more.
 */
MUST_CHECK int dir_acquire(struct fs *fs, struct dirhandle *h,
			   struct dir_stream **out);
void dir_release(struct fs *fs, struct dirhandle *h);

#endif
