/*
 * Opening chunks ahead of a sequential reader. The kernel has one or two
 * requests of 128 KiB under way for such a reader, and cores wait while they
 * are handed to and fro. Here, as soon as a handle is seen to be read in
 * order, a few threads open what will be asked for next into buffers of their
 * own, from which those requests are then answered.
 *
 * A file is read ahead in units of PREFETCH_UNIT, which begin at multiples of
 * it; a request is answered from one or several of them, or from parts. Few
 * units, as long as reading them costs nothing but work: more would not stay
 * in the processor's caches. Where the backing directory is far away, what
 * counts is how much is on its way at the same time: the more units, and
 * threads that wait for them, the oftener a reader had to wait, up to some
 * megabytes.
 *
 * Only where this process is the file's only writer. What was opened ahead
 * counts for as long as nothing in the file has changed since
 * (vfile_generation). A request larger than PREFETCH_UNIT shows that the
 * kernel reads further ahead itself (readahead.h), and is left to that unless
 * the backing directory is far away.
 */
#ifndef FROND_PREFETCH_H
#define FROND_PREFETCH_H

#include "file_cache.h"

enum {
	PREFETCH_REQUEST_MIN = 64 << 10,
	PREFETCH_REQUEST_MAX = 1 << 20,
	PREFETCH_UNIT = 128 << 10,
	PREFETCH_UNITS = PREFETCH_REQUEST_MAX / PREFETCH_UNIT + 1,
	PREFETCH_IOV_MAX = PREFETCH_REQUEST_MAX / CHUNK_SIZE + 1,
};

struct unit;

/* A request, and what there is for it. */
struct prefetched {
	uint64_t offset; /* in: what is asked for */
	size_t size;
	size_t len;			    /* out */
	struct iovec iov[PREFETCH_IOV_MAX]; /* secret, what they point at */
	int iov_count;
	struct unit *units[PREFETCH_UNITS];
	unsigned unit_count;
};

/* NULL where it is of no use. */
struct prefetch *prefetch_new(struct fs *fs);
/* Ends the threads. Handles need not have left. NULL is fine. */
void prefetch_free(struct prefetch *p);

/* Is a request of this size one for which any of this is done? p may be NULL */
bool prefetch_wants(const struct prefetch *p, size_t size);
/* To read has just taken so long (pace.h). p may be NULL. */
void prefetch_note(struct prefetch *p, int64_t took_us);

/*
 * got says what is asked for of h, whose vfile is vf: see to what comes next,
 * and find what is there for this one. False: nothing, it is to be read as
 * usual. True: what it points at stays until it is given back.
 */
bool prefetch_take(struct prefetch *p, struct open_handle *h, struct vfile *vf,
		   struct prefetched *got);
void prefetch_give_back(struct prefetch *p, const struct prefetched *got);

/* h goes: nothing is read for it any more when this returns. */
void prefetch_leave(struct prefetch *p, struct open_handle *h);

#endif
