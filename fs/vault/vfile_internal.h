/* What the vfile_*.c files share; nobody else includes this. */
#ifndef FROND_VFILE_INTERNAL_H
#define FROND_VFILE_INTERNAL_H

#include "ages.h"
#include "gaps.h"
#include "journal_internal.h"
#include "memory.h"
#include "rangelock.h"
#include "vfile.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

struct vfile {
	struct vault *vault;
	struct fernet_key *key; /* a slot of vault->file_keys */
	/* How old its chunks may be; NULL: of any age. Told of what has been
	 * stored while the range is held. */
	struct memory_file *memory;
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
	/* Of a granted one: it has changed a moment ago, and what is in place
	 * may be older than what its owner's mount holds. And when its length
	 * was seen to move. Range 0 to RANGE_END. */
	atomic_bool fresh;
	uint64_t looked_size;
	int64_t moved_ms;
	/* As last seen. Range 0 to RANGE_END, and key with it. */
	uint8_t header[HEADER_LEN];
	/* Changed only by holders of a range that reaches RANGE_END. */
	_Atomic uint64_t size;
	/* Changed by holders of an exclusive range, before they write. */
	_Atomic uint64_t generation;
	struct rangelock ranges;
	pthread_mutex_t marks_lock; /* guards the five below */
	bool holes_known;	    /* the last chunk has been looked at */
	enum chunk_holes holes;	    /* its marks */
	/* Of a mapped file: those that are listed are claimed, or damage. */
	struct gaps gaps, zeroed;
	struct gaps loose; /* chunks that claim more than there is */
	/* What is listed there may hold something in place after all, or do
	 * so after a crash. Changed by holders of a range to RANGE_END or of
	 * the gap. */
	atomic_bool gaps_stale;
	/* Only this process writes it, and through the journal; or NULL, and
	 * none of the following matters. */
	struct journal *journal;
	_Atomic(struct journal_file *) jf; /* NULL until it has records */
	/* Its last chunk is in place without its mark. Changed by holders of
	 * a range that reaches RANGE_END. */
	atomic_bool flux;
	/* The journal's newest record of its end is not so, for growing it has
	 * failed. Range to RANGE_END. */
	atomic_bool belied;
	/* Made by this vfile: while it is empty its chunk holds nothing. Range
	 * to RANGE_END, and the next five with it. */
	bool made;
	int64_t made_ms;
	uint64_t journaled; /* bytes it grew by through the journal lately */
	uint64_t reserved;  /* those in front of this chunk have room in place,
			       unless it has been cut there... */
	uint64_t reserved_cut; /* ...since this one (journal_file.cut) */
	/* Held by who fills holes in place, and guards the next: an fsync has
	 * promised what lies in front of it. */
	pthread_mutex_t fill_lock;
	uint64_t solid;
	_Atomic uint64_t floor; /* this much is known to be durable; changed
				   under marks_lock, as is the next */
	_Atomic unsigned cuts;	/* how often it was made shorter */
	/* So long it was when it was opened, and had last been changed then:
	 * durable as soon as all of that time is. */
	_Atomic uint64_t found;
	int64_t found_s;
	/* Changes in place, counted when they have been made; so many of them
	 * are durable, and so often that failed (both under sync_lock). */
	_Atomic uint64_t written, synced;
	_Atomic unsigned failures;
	/* Of the last that did: its number among all of the journal's. */
	_Atomic uint64_t failed;
	_Atomic int why;
	pthread_mutex_t sync_lock; /* held by who makes it durable */
	_Atomic int64_t grown_ms;
	bool listed; /* journal->flux_lock, and the next two */
	struct vfile *flux_prev, *flux_next;
};

/* The end of every file: whoever may move it holds a range up to here. */
#define RANGE_END UINT64_MAX

/* Is a chunk itself at fault, and *bad_chunk to be set? */
static inline bool vfile_is_bad_(int err)
{
	return err == -EBADMSG || err == -ETIME;
}

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

/* Milliseconds, those of a sleeping machine among them. */
int64_t vfile_age_clock_(void);

/* A new vfile without descriptor; vfile_close() undoes it. */
MUST_CHECK int vfile_new_(struct vault *vault, struct vfile **out);

/* Locks and unlocks requests on the backing file: F_RDLCK, F_WRLCK, F_UNLCK */
MUST_CHECK int vfile_lock_backing_(int fd, short type);

/* Give a file made aside its name, unless that is taken. */
MUST_CHECK int vfile_link_in_(int dirfd, const char *temp,
			      const struct backing_name *name);

/*
 * Open chunks first..first+count-1 of a file of this size into ws->chunk,
 * where holes are workspace_zeros. -EAGAIN as below; -EBADMSG or -ETIME (older
 * than what was seen) with *bad_chunk.
 */
MUST_CHECK int vfile_open_run_(struct vfile *f, struct workspace *ws,
			       uint64_t first, size_t count, uint64_t size,
			       uint64_t *bad_chunk);

/* The same by one who holds the whole file, and so never -EAGAIN. */
MUST_CHECK int vfile_open_whole_run_(struct vfile *f, struct workspace *ws,
				     uint64_t first, size_t count,
				     uint64_t size, uint64_t *bad_chunk);

/*
 * Read chunk index (of a file size long) into plain, the rest of its
 * CHUNK_SIZE bytes zeroed. -EBADMSG when damaged; -ETIME: older than what was
 * seen; -EAGAIN: it is zeros, and whether it may be a hole is not known yet.
 */
MUST_CHECK int vfile_load_chunk_(struct vfile *f, struct workspace *ws,
				 uint64_t index, uint8_t plain[CHUNK_SIZE]);
/* The same, and how many chunks behind it are claimed as holes. */
MUST_CHECK int vfile_load_claim_(struct vfile *f, struct workspace *ws,
				 uint64_t index, uint8_t plain[CHUNK_SIZE],
				 uint64_t *claim);

/* The marks of the last chunk. Needs a range that includes it. */
MUST_CHECK int vfile_load_holes_(struct vfile *f, struct workspace *ws,
				 enum chunk_holes *holes);

/* After -EAGAIN, for callers that hold no range: learn what was missing. */
MUST_CHECK int vfile_learn_holes_(struct vfile *f, struct workspace *ws,
				  uint64_t *bad_chunk);
/* The same after any error of a request that may be tried again: 0 then. */
MUST_CHECK int vfile_retry_(struct vfile *f, struct workspace *ws, bool *tried,
			    int err, uint64_t *bad_chunk);

/* vfile_clock.c: a verified chunk was sealed then, by whatever clock; what is
 * sealed here from now on is no older. */
void vfile_keep_up_(struct vfile *f, uint64_t sealed_s);
/* The same for what a file holds that has just been opened, and may be
 * replaced without being read. */
void vfile_catch_up_(struct vfile *f, const struct stat *st);

/* vfile_map.c: which zeros are holes, and who claims them. */

/* Is this chunk, of zeros, a hole? -EBADMSG: no; -EAGAIN: not known yet. */
MUST_CHECK int vfile_judge_zeros_(struct vfile *f, struct workspace *ws,
				  uint64_t index);
/* Learn what that -EAGAIN was about. Needs a range of the whole file. */
MUST_CHECK int vfile_learn_locked_(struct vfile *f, struct workspace *ws);
/* Of a mapped file: whether this chunk is a hole is known then, or -EAGAIN. */
MUST_CHECK int vfile_know_(struct vfile *f, struct workspace *ws,
			   uint64_t index);
/* What a full chunk that is stored here must claim, by who holds its range;
 * -EAGAIN as above. Where the end is damaged, the file may be mapped, and no
 * hole is to be lost should that be mended: then it claims all. */
MUST_CHECK int vfile_keep_claim_(struct vfile *f, struct workspace *ws,
				 uint64_t index, uint64_t *claim);
/* Known holes directly behind this chunk of a mapped file. */
uint64_t vfile_claim_(struct vfile *f, uint64_t index);
/* What marks a file gets that has a hole. */
enum chunk_holes vfile_marks_(const struct vfile *f);
/* Who writes it without a journal does not keep claims: from now on there may
 * be holes anywhere. Needs a range that includes the last chunk. */
MUST_CHECK int vfile_unmap_(struct vfile *f, struct workspace *ws,
			    uint64_t *bad_chunk);
/* The chunk in front of chunks first..last-1, which become holes, claims them.
 * Where none can, the first becomes one of zeros that does, and *first moves.
 * Needs a range of the whole file. */
MUST_CHECK int vfile_claim_holes_(struct vfile *f, struct workspace *ws,
				  uint64_t *first, uint64_t last,
				  uint64_t *bad_chunk);
/* Chunks first and following are being filled: who claims them claims too much.
 * Needs marks_lock. */
void vfile_note_loose_(struct vfile *f, uint64_t first);
/* What claims too much is sealed anew. If that fails, it stays so. */
void vfile_tighten_(struct vfile *f);
bool vfile_is_loose_(struct vfile *f);
/* The same by who has just written, when there are many. */
void vfile_tighten_many_(struct vfile *f);

/*
 * Room for chunks first..last, before the journal says that they are written:
 * holes have none, nor has what lies behind the end. 0 also where the backing
 * file system cannot set any aside.
 */
MUST_CHECK int vfile_reserve_(struct vfile *f, uint64_t first, uint64_t last);

/* Zero the places of chunks first..last-1 in the backing file. */
MUST_CHECK int vfile_zero_slots_(struct vfile *f, struct workspace *ws,
				 uint64_t first, uint64_t last);

/*
 * Stored bytes of chunks first..first+count-1, len in all, wherever the newest
 * are. -ENODATA: there are not so many.
 */
MUST_CHECK int vfile_read_stored_(struct vfile *f, uint8_t *buf, uint64_t first,
				  size_t count, size_t len);

/*
 * Seal chunk index of len bytes as the last one and write it into its place.
 * The backing file's length is not cut.
 */
MUST_CHECK int vfile_store_last_(struct vfile *f, struct workspace *ws,
				 uint64_t index, const uint8_t *plain,
				 size_t len, enum chunk_holes holes);

/* workspace_seal() of a chunk of the file: no older than what it replaces.
 * ws->sealed_s is what the memory is told once they are stored. */
MUST_CHECK int vfile_seal_(struct vfile *f, struct workspace *ws, size_t count,
			   bool ends_file, size_t *stored_len);

/*
 * Seal the count staged tokens and write them to their place, which begins
 * with chunk first. ends_file as for workspace_seal().
 */
MUST_CHECK int vfile_store_run_(struct vfile *f, struct workspace *ws,
				uint64_t first, size_t count, bool ends_file);

/*
 * The same for a file being made that nobody has seen yet, and that is made
 * anew after a crash: into its place at once.
 */
MUST_CHECK int vfile_store_made_(struct vfile *f, struct workspace *ws,
				 uint64_t first, size_t count, bool ends_file);

/* Cut the backing file to what size plaintext bytes take. */
MUST_CHECK int vfile_cut_backing_(struct vfile *f, uint64_t size);

/* A write of chunks first..end from ws->tokens failed. Where it broke off in a
 * hole, for want of room as a rule, put the hole back. */
void vfile_mend_holes_(struct vfile *f, struct workspace *ws, uint64_t first,
		       uint64_t end);

/*
 * The write of the token at sealed into chunk index's place has failed. Was,
 * or is, that place a hole? What it may hold then is a beginning of the token
 * and zeros, which no other token can look like.
 */
bool vfile_was_hole_(struct vfile *f, uint64_t index, const uint8_t *sealed,
		     size_t sealed_len);

void vfile_set_holes_(struct vfile *f, enum chunk_holes holes);
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
 * Stage the chunks of data from slot on, the first one merged with what is
 * there (or with zeros), the last one marked if mark is set; ws->tail holds
 * the former last chunk.
 */
struct vfile_staging {
	size_t slot;
	const uint8_t *data;
	size_t len;
	uint64_t offset;
	enum chunk_holes holes;
	bool mark;
};
MUST_CHECK int vfile_stage_extension_(struct vfile *f, struct workspace *ws,
				      const struct vfile_staging *s,
				      uint64_t *bad_chunk);

/*
 * Chunks first..last are being filled, and made..made_last (none if made is
 * larger) become holes: what marks does that make?
 */
enum chunk_holes vfile_update_gaps_(struct vfile *f, uint64_t first,
				    uint64_t last, uint64_t made,
				    uint64_t made_last);
/* What marks will it have once chunk last is the last one? */
enum chunk_holes vfile_cut_gaps_(struct vfile *f, uint64_t last);
/* What shrinking needs to know: the chunk that becomes the last, and marks. */
MUST_CHECK int vfile_load_new_last_(struct vfile *f, struct workspace *ws,
				    uint64_t size, enum chunk_holes *had,
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
/* Set or clear the holes marks on disk. The range reaches RANGE_END. */
MUST_CHECK int vfile_mark_holes_(struct vfile *f, struct workspace *ws,
				 enum chunk_holes holes, uint64_t *bad_chunk);
/*
 * After a request, without its lock: if the last gap has just been filled,
 * say so in the last chunk. In a shared vault nobody knows.
 */
void vfile_clear_holes_(struct vfile *f, struct workspace *ws);

/* vfile_journal.c, vfile_growth.c, vfile_fill.c: the same with a journal. */

/* The length of a file that has just been opened: the journal may know. */
MUST_CHECK int vfile_journal_open_(struct vfile *f, const struct stat *st,
				   uint64_t *size);
/* Before vfile_close() closes the descriptor. */
void vfile_journal_close_(struct vfile *f);
/* The journal's side of the file; made when it is first needed, may_wait as for
 * journal_get_(). */
MUST_CHECK int vfile_get_jf_(struct vfile *f, bool may_wait,
			     struct journal_file **out);
/* So much of it is known to be durable by now. */
uint64_t vfile_floor_(struct vfile *f);
/* Of a new file nobody needs a record to know that it is one. */
bool vfile_is_new_(const struct vfile *f);
/* Something was changed in place that no record tells of. */
void vfile_note_written_(struct vfile *f);
/* The end is in place, and has no mark; or it has one. Range to RANGE_END. */
void vfile_enter_flux_(struct vfile *f);
void vfile_leave_flux_(struct vfile *f);
/*
 * Tokens become chunks of a file that is to be size long from now on. KEEP:
 * others may be moving the end, behind these chunks. MARKED: whether the file
 * may have HOLES is known.
 */
enum {
	RECORD_QUIET = 1,
	RECORD_HURRY = 2,
	RECORD_KEEP = 4,
	RECORD_MARKED = 8,
	RECORD_HOLES = 16,
	RECORD_MAPPED = 32
};
MUST_CHECK int vfile_put_record_(struct vfile *f, const uint8_t *tokens,
				 uint64_t first, size_t count, size_t len,
				 uint64_t size, int flags);
/*
 * After a record of this file, before bytes go to where some may be durable: it
 * is looked at after a power failure as a new one, or as one of which a record
 * is durable. Needs applying.
 */
MUST_CHECK int vfile_make_known_(struct vfile *f, struct journal_file *jf);
static inline int vfile_holes_flags_(enum chunk_holes holes)
{
	return RECORD_MARKED | (holes ? RECORD_HOLES : 0) |
	       (holes == CHUNK_HOLES_MAPPED ? RECORD_MAPPED : 0);
}
/* count tokens of ws->tokens become chunks first and following. */
MUST_CHECK int vfile_record_(struct vfile *f, const struct workspace *ws,
			     uint64_t first, size_t count, size_t stored_len);
/* The same over chunks that are there, staged: holes become data in place. */
MUST_CHECK int vfile_overwrite_journaled_(struct vfile *f, struct workspace *ws,
					  uint64_t first, uint64_t end);
/* Nobody fills holes in front of this in place from now on, or is at it. */
void vfile_stop_filling_(struct vfile *f, uint64_t size);
MUST_CHECK int vfile_extend_journaled_(struct vfile *f, struct workspace *ws,
				       const uint8_t *data, size_t len,
				       uint64_t offset, uint64_t *bad_chunk);
MUST_CHECK int vfile_shrink_journaled_(struct vfile *f, struct workspace *ws,
				       uint64_t size, uint64_t *bad_chunk);
/* Zero the places of chunks first..last-1, which may be holes. */
MUST_CHECK int vfile_punch_journaled_(struct vfile *f, struct workspace *ws,
				      uint64_t first, uint64_t last);
/* Truncation to the present length. */
MUST_CHECK int vfile_touch_journaled_(struct vfile *f);
/* Does the end lack its mark, or the record that it has one? */
static inline bool vfile_lacks_end_(const struct vfile *f)
{
	return f->flux || f->belied;
}
/* Mark the end, if it lacks that. The range reaches RANGE_END. */
MUST_CHECK int vfile_settle_locked_(struct vfile *f, struct workspace *ws);
/* The same if it has been for long, by one who reads: the journal's thread
 * never finds a file without readers, perhaps. */
void vfile_settle_overdue_(struct vfile *f);
/* told: as for vfile_sync_for(); or NULL. */
MUST_CHECK int vfile_sync_journaled_(struct vfile *f, bool data_only,
				     _Atomic uint64_t *told);
/*
 * There was no room: empty the journal, whose segments and unlinked files take
 * some. 0, once: it is worth another try.
 */
MUST_CHECK int vfile_make_room_(struct vfile *f, bool *tried, int err);

#endif
