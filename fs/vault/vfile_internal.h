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
	/* Held by those who seal ahead without a range, and while the key is
	 * replaced. The number tells one key from the next. */
	pthread_rwlock_t key_lock;
	_Atomic unsigned key_number;
	uint8_t id[FILE_ID_LEN];
	int fd;
	atomic_bool writable;
	/* Others write it as well: every request looks at length and header
	 * anew, and only one goes on at a time. */
	bool changing;
	bool granted; /* changing, and without locks: they are another vault's
		       */
	/* As last seen. Range 0 to RANGE_END, and key with it. */
	uint8_t header[HEADER_LEN];
	/* Changed only by holders of a range that reaches RANGE_END. */
	_Atomic uint64_t size;
	/* Changed by holders of an exclusive range, before they write. */
	_Atomic uint64_t generation;
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
 * backing file, and length and header are looked at anew.
 */
MUST_CHECK int vfile_begin_(struct vfile *f, struct range *r, uint64_t first,
			    uint64_t last, bool exclusive);
void vfile_end_(struct vfile *f, struct range *r);

/*
 * A request ended with this error, and holds no range: 0 when it is worth
 * another try, since somebody was writing (it has paused) or had died giving
 * the file a new key (it has finished that); otherwise err. *tries begins at
 * 0.
 */
MUST_CHECK int vfile_again_(const struct vfile *f, unsigned *tries, int err);

/* A new vfile without descriptor; vfile_close() undoes it. */
MUST_CHECK int vfile_new_(struct vault *vault, struct vfile **out);

/* Locks and unlocks requests on the backing file: F_RDLCK, F_WRLCK, F_UNLCK */
MUST_CHECK int vfile_lock_backing_(int fd, short type);

/* Give a file made aside its name, unless that is taken. */
MUST_CHECK int vfile_link_in_(int dirfd, const char *temp,
			      const struct backing_name *name);

/*
 * Open chunks first..first+count-1 of a file of this size into ws->chunk,
 * where holes are workspace_zeros. -EAGAIN as below; -EBADMSG with *bad_chunk.
 */
MUST_CHECK int vfile_open_run_(struct vfile *f, struct workspace *ws,
			       uint64_t first, size_t count, uint64_t size,
			       uint64_t *bad_chunk);

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
 * Seal the count staged tokens and write them to their place, which begins
 * with chunk first. ends_file as for workspace_seal().
 */
MUST_CHECK int vfile_store_run_(struct vfile *f, struct workspace *ws,
				uint64_t first, size_t count, bool ends_file);

/* Cut the backing file to what size plaintext bytes take. */
MUST_CHECK int vfile_cut_backing_(struct vfile *f, uint64_t size);

/*
 * The write of the token at sealed into chunk index's place has failed. Was,
 * or is, that place a hole? What it may hold then is a beginning of the token
 * and zeros, which no other token can look like.
 */
bool vfile_was_hole_(struct vfile *f, uint64_t index, const uint8_t *sealed,
		     size_t sealed_len);

void vfile_set_holes_(struct vfile *f, bool holes);
/* What is on disk is not what was planned: look at it when it matters. */
void vfile_forget_holes_(struct vfile *f);

/*
 * Write len bytes that end beyond the present end. The former last chunk is
 * sealed again without its mark: next to the new data in the same write where
 * they touch; after it where a hole lies between, since the new data is what
 * may not fit.
 */
MUST_CHECK int vfile_extend_(struct vfile *f, struct workspace *ws,
			     const uint8_t *data, size_t len, uint64_t offset,
			     uint64_t *bad_chunk);

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
