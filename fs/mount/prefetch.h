/*
 * Opening chunks ahead of a sequential reader. The kernel has one or two
 * requests of 128 KiB under way for such a reader, and cores wait while they
 * are handed to and fro. Here, as soon as a handle is seen to be read in
 * order, a few threads open what will be asked for next into buffers of their
 * own, from which those requests are then answered.
 *
 * Only where this process is the file's only writer. What was opened ahead
 * counts for as long as nothing in the file has changed since
 * (vfile_generation). A request larger than PREFETCH_UNIT_MAX shows that the
 * kernel reads further ahead itself (readahead.h), and is left to that.
 */
#ifndef FROND_PREFETCH_H
#define FROND_PREFETCH_H

#include "file_cache.h"

enum {
	PREFETCH_UNIT_MIN = 64 << 10,
	PREFETCH_UNIT_MAX = 128 << 10,
	PREFETCH_IOV_MAX = PREFETCH_UNIT_MAX / CHUNK_SIZE + 1,
};

/* What one request will get. */
struct prefetched {
	struct iovec iov[PREFETCH_IOV_MAX]; /* secret, what they point at */
	int iov_count;
	ssize_t len;
};

/* NULL where it is of no use. */
struct prefetch *prefetch_new(struct fs *fs);
/* Ends the threads. Handles need not have left. NULL is fine. */
void prefetch_free(struct prefetch *p);

/*
 * A request for size bytes at offset has come for h, whose vfile is vf: see
 * to what comes next, and return what is there for this one; NULL: nothing,
 * it is to be read as usual. Stays the caller's until it is given back.
 */
const struct prefetched *prefetch_take(struct prefetch *p,
				       struct open_handle *h, struct vfile *vf,
				       uint64_t offset, size_t size);
void prefetch_give_back(struct prefetch *p, const struct prefetched *got);

/* h goes: nothing is read for it any more when this returns. */
void prefetch_leave(struct prefetch *p, struct open_handle *h);

#endif
