/*
 * Open files of a mount. The kernel may have more files open than there are
 * descriptors: an open_file stays from the first open to the last release,
 * its vfile only while it is among the recently used ones.
 *
 * Requests that come with a handle use file_acquire/file_release, which take
 * no lock while the vfile is open; those that come with an inode alone use
 * file_get/file_put of fs.h.
 */
#ifndef FROND_FILE_CACHE_H
#define FROND_FILE_CACHE_H

#include "fs.h"

struct open_file;
struct prefetch_stream;

/* One open file of the kernel's: its address tells it from all others. */
struct open_handle {
	struct open_file *file;
	bool writes;
	_Atomic uint64_t told; /* of what vfile_sync_for() says */
	/* The lock of fs->prefetch: */
	uint64_t expected; /* where a reader in order would go on */
	unsigned run;	   /* requests since it does */
	struct prefetch_stream *stream;
	struct open_handle *prev,
		*next; /* the cache's lock: of the same file */
};

/* One more handle of the inode; the file's key and header are checked. */
MUST_CHECK int file_open(struct fs *fs, struct inode *i, bool for_writing,
			 struct open_handle **out);
/* The same for a file that has just been made; takes vf over. */
MUST_CHECK int file_open_made(struct fs *fs, struct inode *i, struct vfile *vf,
			      bool for_writing, struct open_handle **out);
/* A handle goes; the last one closes the file and its orphan. */
void file_close(struct fs *fs, struct open_handle *h);

/* The handle's vfile, which stays open until file_release. */
MUST_CHECK int file_acquire(struct fs *fs, struct open_file *of,
			    bool for_writing, struct vfile **out);
void file_release(struct open_file *of);

struct inode *file_inode(const struct open_file *of);

/* The backing file's descriptor: for reading and writing where that goes. */
MUST_CHECK int file_open_backing(struct fs *fs, struct inode *i,
				 bool for_writing, int *fd, bool *writable);

#endif
