/* What the journal*.c and vfile*.c files share; nobody else includes this. */
#ifndef FROND_JOURNAL_INTERNAL_H
#define FROND_JOURNAL_INTERNAL_H

#include "journal_record.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#define JOURNAL_SESSION_FILE "session"
/* One that ended, with its last bytes on their way to the disk. */
#define JOURNAL_ENDED_FILE "session.ended"
/* One that nobody can read. */
#define JOURNAL_DAMAGED_FILE "session.damaged"
/* Behind a session's hexadecimal id, and behind its segments' names: it is
 * over, and holds what could not be brought to its place. */
#define JOURNAL_KEPT_SUFFIX ".kept"
#define JOURNAL_KEPT_DIR "kept" /* what mending has cut off files */

/* The number in the reserve's head, which is no segment's. As long as it is
 * there, both segments are, and a mark is behind the records of each. */
#define JOURNAL_BOTH 0

enum {
	JOURNAL_SEGMENTS = 2,
	JOURNAL_NOWHERE = JOURNAL_SEGMENTS, /* of a token that is lost */
	JOURNAL_SEGMENT_MAX = 16 << 20,
	/* who must not wait may go beyond that, so far */
	JOURNAL_HURRY_MAX = 8 * JOURNAL_SEGMENT_MAX,
	JOURNAL_NAME_LEN = 2 * JOURNAL_ID_LEN + 2, /* hex and ".0" */
	JOURNAL_KEPT_LEN = 2 * JOURNAL_ID_LEN + 5, /* hex and ".kept" */
	JOURNAL_KEPT_MAX = 4000,    /* files that a kept session is about */
	JOURNAL_SEGMENT_NAMES = 10, /* .0 to .9 */
	/* holds nothing but room, and JOURNAL_BOTH */
	JOURNAL_RESERVE = 9,
	JOURNAL_RESERVE_BYTES = 256 << 10,
	/* of files that cannot be written: so many chunks are kept, and it is
	 * tried again after a while */
	JOURNAL_FAILING_MAX = 2048,
	JOURNAL_AGAIN_MS = 10000,
	JOURNAL_BUCKETS = 512,
	JOURNAL_TIMES_LOCKS = 64,
	JOURNAL_SETTLE_MS = 500, /* in flux no longer than this */
};

/* A chunk that is not in its place yet. */
struct journal_entry {
	uint64_t chunk; /* UINT64_MAX: a free slot */
	uint64_t sum;	/* of its bytes */
	uint32_t offset;
	uint16_t len;
	uint8_t segment;
};

/*
 * A file that the journal has records of; from its first one until all of it
 * is in place and durable, and as long as a vfile uses it. Its descriptor is
 * that of the vfile that made it, from whose end on it is its own; so its
 * inode number stays its own.
 */
struct journal_file {
	struct journal *journal;
	struct journal_file *next; /* journal->files_lock */
	unsigned refs;		   /* journal->files_lock */
	dev_t dev;
	ino_t ino;
	uint8_t id[FILE_ID_LEN];
	int fd;
	bool owns_fd;
	pthread_mutex_t applying; /* held by who brings chunks in place */
	pthread_rwlock_t lock;	  /* guards the next four */
	struct journal_entry *slots;
	size_t room;		   /* a power of two, or 0 */
	_Atomic uint64_t drained;  /* how often some have got to their place */
	_Atomic uint64_t position; /* of its newest record */
	_Atomic uint64_t tail;	   /* not 0: the end in place is an old one; a
				      number for each change of it */
	_Atomic size_t count;	   /* entries; changed under lock; never 0
				      while there is one */
	_Atomic uint64_t size;	   /* plaintext */
	uint64_t shortest; /* journal->append_lock: since finish_file() began
			      to make it durable */
	uint64_t floor;	   /* journal->append_lock: so much of it is */
	/* Changed under journal->append_lock: what lies in front of it may be
	 * durable, and a hole there that is torn would take it along. */
	_Atomic uint64_t solid;
	uint64_t number; /* append_lock: the segment's with its newest record,
			    which... */
	_Atomic uint64_t since; /* ...has had records of it from here on */
	atomic_bool filled;	/* holes were, in place */
	atomic_bool flux;	/* its end is in place, and unmarked */
	atomic_bool holes_known;
	_Atomic enum chunk_holes holes; /* it may have some */
	pthread_mutex_t sync_lock;	/* held by who makes it durable */
	/* Changes in place are counted when they have been made, never
	 * before: so many there were, so many of them are durable (changed
	 * under sync_lock), and this was the last that made it shorter. */
	_Atomic uint64_t changed, durable, cut;
	atomic_bool lost;    /* or not: fsync failed, journal_again_() */
	_Atomic int error;   /* of the last try to bring it in place */
	_Atomic int failing; /* of the last try to have it there for good */
	_Atomic int64_t again_ms; /* when that is tried again */
	_Atomic int untold;	  /* one that fsync has to tell, once... */
	_Atomic int why;	  /* ...and each that could have... */
	_Atomic uint64_t failed;  /* ...not heard of this one */
	_Atomic int64_t touched;  /* the coarse clock at the last touch, ns */
	_Atomic uint64_t touched_set; /* journal->times_set then */
	int64_t used_ms; /* the thread's: when it was last of use */
};

struct segment {
	int fd;
	char name[JOURNAL_NAME_LEN + 1]; /* commit_lock */
	uint64_t number;		 /* append_lock */
	uint64_t end;			 /* append_lock */
	bool uncommitted;		 /* append_lock */
	/* append_lock: what failed to be written lies where the mark was. With
	 * records in the other one, a reader would take that for damage. */
	bool unmarked;
	bool suspect; /* commit_lock: not all of it reached the disk */
	bool twin;    /* commit_lock: its former file may still be there */
};

struct vfile;

/* Of the files with some inode numbers: held while one's times are set. moved:
 * when one's were restored, by journal->times_kept. */
struct journal_times {
	pthread_mutex_t lock;
	_Atomic uint64_t moved;
};
#define JOURNAL_TIMES_MOVING UINT64_MAX

struct journal {
	struct vault *vault;
	int dir_fd;
	dev_t dev; /* of the files in it, and of those that use it */
	uint8_t session[JOURNAL_ID_LEN];
	_Atomic int64_t start_s; /* since the epoch */
	uint8_t *key;		 /* locked memory: of the MACs */

	pthread_mutex_t append_lock;
	pthread_cond_t room;
	struct segment seg[JOURNAL_SEGMENTS]; /* append_lock */
	unsigned active;		      /* append_lock */
	uint64_t number;		      /* retire_lock: the last one */
	int stuck;	 /* append_lock: why nothing gets into its place */
	bool unrecorded; /* by the time that nobody else is there: the records
			    end with this process */
	_Atomic uint64_t appended; /* bytes, ever; changed under append_lock */
	_Atomic uint64_t committed;

	pthread_mutex_t commit_lock;
	struct stat session_st; /* commit_lock: our session file as last seen */
	bool made_anew;		/* commit_lock: it has been said */
	bool counts_links;	/* a file without a name has none */
	pthread_mutex_t retire_lock; /* one at a time empties segments */
	int carried;	     /* retire_lock: why some file's chunks were */
	atomic_bool insists; /* set under retire_lock: no failing one waits */
	/* when last counted: files that are failing, and chunks of them */
	_Atomic size_t failing, kept;
	struct journal_times times[JOURNAL_TIMES_LOCKS]; /* by inode number */
	_Atomic uint64_t times_kept; /* how often some have been restored */

	pthread_mutex_t files_lock;
	struct journal_file *files[JOURNAL_BUCKETS]; /* files_lock */
	size_t file_count;			     /* files_lock */
	_Atomic size_t known;	  /* file_count, without the lock */
	_Atomic int64_t swept_ms; /* when the last one was let go */
	_Atomic size_t owned;	  /* descriptors; changed under files_lock */
	size_t owned_max;

	pthread_mutex_t flux_lock;
	struct vfile *flux; /* flux_lock: those whose end has no mark */

	pthread_mutex_t wake_lock;
	pthread_cond_t wake;
	atomic_bool working; /* set under wake_lock: the thread looks around */
	bool at_once, stop;  /* wake_lock */
	int64_t retired_ms;  /* the thread's: when it last tried all */
	_Atomic size_t closed; /* files that no vfile uses, when last counted */
	pthread_t thread;
	bool runs; /* it does */
	pthread_t keeper;
	bool keeps; /* it does */
	/* wake_lock: the keeper ends; it does something; no more than waiting
	 * for the disk. */
	bool over, ticking, syncing;
	pthread_cond_t ends; /* one of these has changed */
	atomic_bool wrote;   /* something, since the last checkpoint */
	/* what was changed before is durable; INT64_MIN: nobody knows */
	_Atomic int64_t durable_s;
	_Atomic int64_t last_append_ms;

	_Atomic uint64_t failures;  /* so much was not made durable, ever */
	_Atomic uint64_t times_set; /* how often somebody set any times */
	_Atomic uint64_t records, bytes, commits, applied, pending;
};

/* There is something to do for the thread, soon or at once. */
void journal_wake_(struct journal *j, bool at_once);

/* journal_segment.c */
/*
 * Append a record and make it what readers of the file see. With hurry the
 * segments' bound does not count (the thread that empties them must not wait
 * for itself). Needs an exclusive range of the file's chunks in question.
 */
struct journal_put {
	const struct journal_head *head;
	const uint8_t *tokens;
	const uint64_t *sums; /* of each token; or NULL: nobody knows yet */
	bool tail;	      /* the file's end changes */
	bool quiet;	      /* nothing that programs could see changes */
	bool hurry;
	bool note; /* of the file's floor, whatever head says */
};
MUST_CHECK int journal_append_(struct journal_file *jf,
			       const struct journal_put *put);
/* The same by who has the append_lock. */
MUST_CHECK int journal_append_locked_(struct journal_file *jf,
				      const struct journal_put *put);
/*
 * Everything that was appended up to here is durable then. Where that fails,
 * the segment is written anew, into another file, and at once: *met (may be
 * NULL) tells an error that was overcome so.
 */
MUST_CHECK int journal_commit_(struct journal *j, uint64_t position, int *met);
/*
 * An empty segment's head, with the next number, and what follows once it is
 * there. No number is left out: those two that are highest, and in use, follow
 * each other, and any other one is of a file that is over.
 */
MUST_CHECK int journal_write_head_(const struct journal *j, int fd);
void journal_begin_segment_(struct journal *j, struct segment *s);
/* Before the segment is left for the other one: is the mark there, or can it be
 * written now? Needs the append_lock. */
MUST_CHECK int journal_mark_(const struct journal *j, struct segment *s);
static inline bool journal_is_empty_(const struct segment *s)
{
	return s->end <= JOURNAL_HEAD_LEN;
}
/* Forget what the segment holds; its file stays as long as it is, as pages that
 * are there cost less than new ones. Needs retire_lock. */
MUST_CHECK int journal_void_(struct journal *j, unsigned segment);
/* Nobody is in a hurry: cut the files of empty segments. */
void journal_give_room_(struct journal *j);
/* What a token's bytes in a segment are known by: they are not to be trusted
 * again after the disk has failed. */
uint64_t journal_sum_(const uint8_t *bytes, size_t len);

/* journal_renew.c */
/*
 * Another file with the first len bytes, and the mark behind them, takes the
 * segment's place, durable; an empty one, if there are none. Needs commit_lock
 * and append_lock.
 */
MUST_CHECK int journal_renew_(struct journal *j, unsigned segment,
			      uint64_t len);
/*
 * Are session file and segment still there? Somebody else may have removed
 * them, and then what is written to them is lost with this process. The first
 * is made anew; of the second this tells. Needs commit_lock.
 */
MUST_CHECK int journal_keep_session_(struct journal *j);
/* Nothing that was done before is missing any more. */
MUST_CHECK int journal_move_session_(struct journal *j, int64_t start_s);
bool journal_is_gone_(struct journal *j, unsigned segment);
/* Would the next mount not find what the segments hold? */
bool journal_is_lost_(struct journal *j);
/* Say so where vault.ini is missing. */
void journal_mind_ini_(const struct journal *j);
/*
 * Remove the segment's former file, unless that has been done for good. Where
 * it stays, the number in its head tells that it is the shorter of two, or
 * over. Needs commit_lock.
 */
void journal_untwin_(struct journal *j, unsigned segment);
/*
 * Making a file durable has failed: what was brought in place since its
 * records are there may be lost, and is to be brought there again.
 */
MUST_CHECK int journal_again_(struct journal_file *jf);
/* Holes that were made by records, to be made again. */
struct journal_holes {
	struct journal_hole {
		uint64_t first, end; /* chunks */
		unsigned segment;
	} * list; /* to be freed */
	size_t count;
};
/* Its part: the newest of all chunks that the segments hold of the file counts
 * as not in place. Needs applying and append_lock. */
MUST_CHECK int journal_reread_(struct journal_file *jf,
			       struct journal_holes *holes);
/* Those parts of a hole of which the snapshot has no chunks. */
struct journal_snapshot;
MUST_CHECK int journal_each_hole_(struct journal_file *jf,
				  const struct journal_snapshot *s,
				  const struct journal_hole *h,
				  int (*fn)(struct journal_file *jf,
					    uint64_t first, uint64_t end));
/*
 * What a segment's file holds. -EBADMSG: the disk has lost it; any other error
 * may pass, as the backing directory is away.
 */
MUST_CHECK int journal_fetch_(const struct journal *j, int fd, void *buf,
			      size_t len, off_t offset);
/* Of what is not in place, leave out those tokens that the disk has lost. */
void journal_give_up_(struct journal_file *jf);

/* journal_segment.c: the record's part of the overlay. Needs lock and room. */
void journal_enter_record_(struct journal_file *jf,
			   const struct journal_put *put, unsigned segment,
			   uint64_t offset);
struct journal_ids journal_ids_of_(const struct journal *j, uint64_t number);

/* journal_redo.c: zero the places of so many chunks. */
MUST_CHECK int journal_punch_(int fd, uint64_t first, uint64_t count);

/* journal_overlay.c */
/* The file's, if the journal knows it: to be put back. */
struct journal_file *journal_find_(struct journal *j, dev_t dev, ino_t ino);
/* The same, made where needed, with this descriptor; may_wait: after others
 * have been let go, where too many hold one. */
MUST_CHECK int journal_get_(struct journal *j, int fd,
			    const uint8_t id[static FILE_ID_LEN], uint64_t size,
			    bool may_wait, struct journal_file **out);
void journal_put_back_(struct journal_file *jf);
/* Before a vfile closes this one: true, if that is the file's from now on. */
bool journal_take_fd_(struct journal_file *jf, int fd);
/* All files, each referenced; NULL-terminated, to be freed. */
struct journal_file **journal_all_(struct journal *j);
/* Let go of files that are of no use any more; all of them, or those that
 * have not been of any for a while. True: there will be more to let go. */
bool journal_sweep_(struct journal *j, bool all);
/* The session is over: nobody is left to finish what they still hold. */
void journal_forget_files_(struct journal *j);
/* Does any segment hold any? */
bool journal_has_records_(struct journal *j);

/* The entry of a chunk, or NULL. Needs the lock. */
struct journal_entry *journal_entry_(struct journal_file *jf, uint64_t chunk);
/* Room for so many more; needs the lock. */
MUST_CHECK int journal_reserve_(struct journal_file *jf, size_t more);
/* Give back the room of a file that had many; needs the lock. */
void journal_trim_(struct journal_file *jf);
/* Needs the lock and room. */
void journal_enter_(struct journal_file *jf, const struct journal_entry *e);
void journal_drop_(struct journal_file *jf, uint64_t chunk);
void journal_drop_range_(struct journal_file *jf, uint64_t first,
			 uint64_t last);
/* The same by a caller without the lock. */
void journal_forget_(struct journal_file *jf, uint64_t first, uint64_t last);

/*
 * Stored bytes of chunks first..first+count-1 (the last one's may be fewer or
 * more than a full token: len is all of them), from wherever the newest are.
 * -ENODATA: there are not so many.
 */
MUST_CHECK int journal_read_(struct journal_file *jf, int fd, uint8_t *buf,
			     uint64_t first, size_t count, size_t len);

/* journal_apply.c */
/* What is to be brought in place, as it was at one instant. */
struct journal_snapshot {
	struct journal_entry *entries; /* by chunk; to be freed */
	size_t count;
	uint64_t size, tail, position;
	uint8_t *buf;
};
MUST_CHECK int journal_snapshot_(struct journal_file *jf,
				 struct journal_snapshot *s);
/* Make durable and bring in place what the file has. */
MUST_CHECK int journal_drain_(struct journal_file *jf);
/* What was changed in place up to now is durable then. */
MUST_CHECK int journal_sync_file_(struct journal_file *jf);
/* Whoever makes the file durable is to be told. */
void journal_owe_(struct journal_file *jf, int err);
/* No name leads to it any more. */
bool journal_is_removed_(const struct journal_file *jf);
/* journal_carry.c: what the segment holds of a file and is not in its place for
 * good is appended to the active one. */
MUST_CHECK int journal_keep_(struct journal_file *jf, unsigned segment);

/* journal_times.c: move the modification time to now; unless that was just
 * done, or again. */
void journal_touch_(struct journal_file *jf, bool again);
/*
 * What is written between these two does not move the backing file's
 * modification time. Nobody else sets it meanwhile, and who looks is told that
 * it may be wrong.
 */
struct journal_mtime {
	struct journal *journal;
	struct journal_times *times;
	int fd;
	struct timespec mtime;
};
MUST_CHECK int journal_mtime_keep_(struct journal *j, int fd, ino_t ino,
				   struct journal_mtime *kept);
void journal_mtime_restore_(const struct journal_mtime *kept);

/* journal_retire.c */
MUST_CHECK int journal_for_all_(struct journal *j,
				int (*fn)(struct journal_file *jf,
					  unsigned segment),
				unsigned segment);
/*
 * Empty the full segment; with all, the other one as well. insist: failing
 * files are tried before it is time to. *kept (may be NULL): why some file's
 * chunks are still in a segment, or 0.
 */
MUST_CHECK int journal_retire_(struct journal *j, bool all, bool insist,
			       int *kept);
/* The same without records, which are lost with this process. Nobody else may
 * be there any more. */
MUST_CHECK int journal_save_(struct journal *j);
/* It has failed, and it is not time to try again. */
bool journal_waits_(const struct journal_file *jf);

/* journal_checkpoint.c: make everything durable, and begin anew; by a thread,
 * every few minutes. */
MUST_CHECK int journal_checkpoint_(struct journal *j);
MUST_CHECK int journal_keeper_start_(struct journal *j);
/* From here on it touches nothing but its own lock; and then it is gone. */
void journal_keeper_stop_(struct journal *j);
void journal_keeper_join_(struct journal *j);
/* Before something is made that no commit follows: has the clock been set back
 * behind the session's beginning? */
void journal_mind_clock_(struct journal *j);
MUST_CHECK int journal_thread_start_(struct journal *j);
void journal_thread_stop_(struct journal *j);

/* vfile_journal.c: mark the ends of files in flux for so long. Called by the
 * thread. True: some are left. */
bool vfile_settle_old_(struct journal *j, int64_t before_ms);

/*
 * journal_reader.c: what a segment's file descriptor yields, verified. *end
 * is where the next record would begin.
 */
struct journal_found {
	struct journal_head head;
	unsigned segment; /* the number in its name */
	uint64_t offset;  /* of the record */
};
struct journal_reader {
	struct vault *vault;
	struct journal_session *session;
	const char *file; /* that says which one it is */
	int dir_fd;
	uint8_t *key;
	uint8_t *buf; /* a record */
	struct journal_segment_file {
		int fd;
		unsigned n; /* in its name */
		struct journal_ids ids;
		uint64_t end; /* of what has been read */
		bool marked;  /* there is a mark there; else... */
		bool bare;    /* ...there is nothing */
	} segment[JOURNAL_SEGMENT_NAMES];
	unsigned count; /* of segments, oldest first */
	unsigned at;
	uint64_t offset;
	bool broken;   /* the disk did not give all of them */
	bool torn;     /* what follows the records of one is none... */
	bool rotten;   /* ...and no process that died left it so */
	bool headless; /* a segment has more than a head, which is none */
	bool mute;     /* the one that mending has written cannot be read */
	bool guessed;  /* no session file said which one it is */
	bool both;     /* JOURNAL_BOTH is there */
	/* of a session that is kept: what it is about; NULL: of another one */
	uint8_t (*wanted)[FILE_ID_LEN];
	size_t wanted_count;
};
/* name: NULL for the one in course, or a kept one's. */
MUST_CHECK int journal_reader_open_(struct vault *vault, const char *name,
				    struct journal_reader **out);
MUST_CHECK int journal_reader_next_(struct journal_reader *r,
				    struct journal_found *out);
/* When all has been read, of a session of which nothing that was written is
 * missing: has somebody spoiled it, or taken something away? */
bool journal_reader_lacks_(struct journal_reader *r);

/* journal_mend.c */
/* A file that the session changed, or may have. */
struct journal_patient {
	struct vault *vault;
	struct workspace *ws;
	int fd;
	const char *path;
	uint8_t file_id[FILE_ID_LEN];
	uint64_t ino; /* as the journal knows it */
	struct fernet_key *key;
	bool made;    /* in the session */
	bool records; /* the journal has some of it */
	bool wholly;  /* data may be missing anywhere */
	bool later;   /* it was written to when the session was over */
	enum chunk_holes holes; /* the journal says that it had some */
	bool unmapped; /* what a crash has left of these is not claimed */
	uint64_t floor, before;
};
enum journal_state {
	JOURNAL_SOUND,	/* or nothing to be done about it */
	JOURNAL_TORN,	/* it is to end at *size */
	JOURNAL_STRANGE /* what it lacks no crash takes */
};
/* The first place of a chunk from index on, before end, where there is more
 * than a hole of the backing file; end: nowhere. */
uint64_t journal_next_data_(int fd, uint64_t index, uint64_t end);
/* Look at its end, or all of it; *holes: whether it may have some then. */
MUST_CHECK int journal_examine_(struct journal_patient *p,
				enum journal_state *state, uint64_t *size,
				enum chunk_holes *holes);
/*
 * Chunks first..end-1 were holes, and were being filled: those that hold the
 * beginning of a token are holes again.
 */
MUST_CHECK int journal_unfill_(const struct journal_patient *p, uint64_t first,
			       uint64_t end);
/* And if what is left of them is not claimed, the file is unmapped. */
MUST_CHECK int journal_judge_fill_(struct journal_patient *p, uint64_t first,
				   uint64_t end);
/* Or if zeros lie where those end that this chunk claims. */
MUST_CHECK int journal_judge_behind_(struct journal_patient *p, uint64_t index);

/* journal_session.c */
struct journal_session {
	uint8_t id[JOURNAL_ID_LEN], boot_id[16];
	uint64_t start_s;	     /* since the epoch */
	uint64_t dev, ino, mount_id; /* of .frondfs/journal, to know it again */
	uint64_t kept_s;	     /* of a kept one: when it was put by */
	uint64_t written_s; /* of one that was read: its token's time */
};
/* -ENOENT: there is none. */
MUST_CHECK int journal_session_read_(struct vault *vault, int dir_fd,
				     const char *name,
				     struct journal_session *s);
MUST_CHECK int journal_session_write_(struct vault *vault, int dir_fd,
				      const struct journal_session *s);
/* What one that begins now says. */
MUST_CHECK int journal_session_init_(int dir_fd, struct journal_session *s);
/* Is what one of them left in the page cache still there for the other? */
bool journal_session_same_place_(const struct journal_session *a,
				 const struct journal_session *b);
/* One that is over, with these files' records; needs at most
 * JOURNAL_KEPT_MAX ids. Reading yields a list to be freed. */
MUST_CHECK int journal_kept_write_(struct vault *vault, int dir_fd,
				   const struct journal_session *s,
				   const uint8_t (*ids)[FILE_ID_LEN],
				   size_t count);
MUST_CHECK int journal_kept_read_(struct vault *vault, int dir_fd,
				  const char *name, struct journal_session *s,
				  uint8_t (**ids)[FILE_ID_LEN], size_t *count);
/* What is sealed from now on is later than whatever was put by. */
MUST_CHECK int journal_kept_pass_(struct vault *vault, int dir_fd);
void journal_kept_name_(const uint8_t session[static JOURNAL_ID_LEN],
			char name[static JOURNAL_KEPT_LEN + 1]);
bool journal_is_kept_name_(const char *name);
bool journal_is_segment_name_(const char *name);
/* Is this a segment of a session that is kept? */
bool journal_is_kept_(int dir_fd, const char *segment);
/* Remove this session's segments; those of all that are over. */
MUST_CHECK int
journal_remove_own_(int dir_fd, const uint8_t session[static JOURNAL_ID_LEN]);
MUST_CHECK int journal_remove_stale_(int dir_fd);
void journal_segment_name_(const uint8_t session[static JOURNAL_ID_LEN],
			   unsigned n, char name[static JOURNAL_NAME_LEN + 1]);
/* Locked memory: the key of the MACs. */
uint8_t *journal_key_(struct vault *vault);

#endif
