/* What the vfile_*.c files share; nobody else includes this. */
#ifndef FROND_VFILE_INTERNAL_H
#define FROND_VFILE_INTERNAL_H

#include "gaps.h"
#include "rangelock.h"
#include "vfile.h"

#include <pthread.h>
#include <stdatomic.h>

struct vfile {
	struct vault *vault;
	struct fernet_key *key; /* a slot of vault->file_keys */
	uint8_t id[FILE_ID_LEN];
	int fd;
	atomic_bool writable;
	/* Changed only by holders of a range that reaches RANGE_END. */
	_Atomic uint64_t size;
	struct rangelock ranges;
	pthread_mutex_t marks_lock; /* guards the three below */
	bool holes_known;	    /* the last chunk has been looked at */
	bool holes;		    /* its holes mark */
	struct gaps gaps;
};

/* The end of every file: whoever may move it holds a range up to here. */
#define RANGE_END UINT64_MAX

/*
 * Begin and end of every request. In a shared vault also the lock on the
 * backing file, and the length is looked at anew.
 */
MUST_CHECK int vfile_begin_(struct vfile *f, struct range *r, uint64_t first,
			    uint64_t last, bool exclusive);
void vfile_end_(struct vfile *f, struct range *r);

/*
 * Read chunk index (of a file size long) into plain, the rest of its
 * CHUNK_SIZE bytes zeroed. -EBADMSG when damaged; -EAGAIN: it is a hole, and
 * whether the file may have any is not known yet.
 */
MUST_CHECK int vfile_load_chunk_(struct vfile *f, struct workspace *ws,
				 uint64_t index, uint8_t plain[CHUNK_SIZE]);

/* The holes mark of the last chunk. Needs a range that includes it. */
MUST_CHECK int vfile_load_holes_(struct vfile *f, struct workspace *ws,
				 bool *holes);

/* After -EAGAIN, for callers that hold no range: learn the holes mark. */
MUST_CHECK int vfile_learn_holes_(struct vfile *f, struct workspace *ws,
				  uint64_t *bad_chunk);

/* Zero the places of chunks first..last-1 in the backing file. */
MUST_CHECK int vfile_zero_slots_(struct vfile *f, struct workspace *ws,
				 uint64_t first, uint64_t last);

/*
 * Seal chunk index of len bytes as the last one and write it into its place.
 * The backing file's length is not cut.
 */
MUST_CHECK int vfile_store_last_(struct vfile *f, struct workspace *ws,
				 uint64_t index, const uint8_t *plain,
				 size_t len, bool holes);

/*
 * vfile_write without its lock: the caller's range covers all it may touch.
 * -EAGAIN as above, with nothing written.
 */
MUST_CHECK int vfile_write_locked_(struct vfile *f, struct workspace *ws,
				   const uint8_t *data, size_t len,
				   uint64_t offset, uint64_t *bad_chunk);
/* The same for vfile_truncate; the range reaches RANGE_END. */
MUST_CHECK int vfile_resize_locked_(struct vfile *f, struct workspace *ws,
				    uint64_t size, uint64_t *bad_chunk);
/* Set or clear the holes mark on disk. The range reaches RANGE_END. */
MUST_CHECK int vfile_mark_holes_(struct vfile *f, struct workspace *ws,
				 bool holes, uint64_t *bad_chunk);
/*
 * After a request, without its lock: if the last gap has just been filled,
 * say so in the last chunk. In a shared vault nobody knows.
 */
void vfile_clear_holes_(struct vfile *f, struct workspace *ws);

#endif
