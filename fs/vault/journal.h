/*
 * The redo journal of a vault that this process alone writes. Bytes of a
 * backing file that hold a chunk are not overwritten before the new token
 * lies durably in a segment, a file in .frondfs/journal; until then reads
 * find it there. A session, from journal_start() to journal_stop(), that did
 * not end left its segments behind: the next one begins by journal_recover().
 * frondfs-format(5), "The journal", has the bytes; docs/CRASH.md says what
 * this promises.
 */
#ifndef FROND_JOURNAL_H
#define FROND_JOURNAL_H

#include "vault.h"

#include <sys/types.h>

/*
 * Begin a session; vault_lock() must have been taken exclusively, and
 * vault_rekey_finish() and journal_recover() have run. vault->journal is set,
 * and files opened from now on use it. 0, or an error with everything as
 * before.
 */
MUST_CHECK int journal_start(struct vault *vault);
/* Its two halves: the session, and the thread, for whoever gives up privileges
 * in between, which each thread has of its own. */
MUST_CHECK int journal_begin(struct vault *vault);
MUST_CHECK int journal_run(struct vault *vault);

/*
 * End the session; every file must be closed, and nothing else may be done
 * with the vault: it is unlocked as soon as all is in its place, and locked
 * again, unless somebody else has it then, once all is durable. Nothing is
 * left in .frondfs/journal. On failure the session stays on disk as if it had
 * crashed: nothing is lost. Without a journal: 0.
 */
int journal_stop(struct vault *vault);

/*
 * Put everything into its place and make it durable; the journal is empty
 * then, unless others go on writing. Without a journal: 0.
 */
MUST_CHECK int journal_flush(struct vault *vault);

/* What recovery found, one call each; paths are the backing directory's. */
enum journal_event {
	JOURNAL_REDONE,	 /* records were put in place; size: the file's */
	JOURNAL_MENDED,	 /* its tail was torn: cut to size bytes */
	JOURNAL_EMPTIED, /* it had no header: an empty file is there now */
	JOURNAL_LOST,	 /* records of a file that is not there any more */
	JOURNAL_BEYOND,	 /* it is damaged in a way that no crash leaves */
	JOURNAL_LEFT,	 /* its records were not put in place, and are kept:
			    it may be newer, or another one, or it is where
			    nothing can be read */
};
struct journal_finding {
	enum journal_event event;
	const char *path; /* relative; NULL with JOURNAL_LOST, and where
			     nobody knows */
	uint8_t file_id[FILE_ID_LEN];
	uint64_t size; /* plaintext bytes */
};

struct journal_recovery {
	bool look_only; /* say what would be done, and do nothing */
	bool wholly;	/* look at files as after a power failure, whatever
			   the session says */
	bool doubtful;	/* it may have been put back: no file that is newer is
			   touched. Needed for one that ended here before */
	bool go_on;	/* without room, too: what cannot be done is kept */
	bool once;	/* of journal_retry(): not what was so tried before */
	void (*tell)(void *arg, const struct journal_finding *finding);
	void *arg;
	/* out */
	bool crashed; /* there was a session that did not end */
	size_t redone, mended, emptied, lost, beyond, left;
};

/*
 * Finish a session that did not end, if there is one: its records are redone,
 * torn tails of files that it had changed are mended. After
 * vault_rekey_finish(), before anything else opens files, under an exclusive
 * vault_lock() unless look_only. May be killed at any instant and run again.
 * r may be NULL: findings go to the log alone. What of one file or directory
 * cannot be done does not stop it: it is said, and the session is kept under
 * another name, for journal_retry(). An error: everything is as it was, for the
 * next try. -ESTALE: it ended on this machine long ago, see journal_seen().
 */
MUST_CHECK int journal_recover(struct vault *vault, struct journal_recovery *r);

/*
 * Once more what earlier recoveries could not bring to its place; with
 * look_only, only name it. kept() is called for each such session, if there is
 * one to call.
 */
MUST_CHECK int journal_retry(struct vault *vault, struct journal_recovery *r,
			     void (*kept)(void *arg, const char *name,
					  bool finished));

/*
 * -ESTALE: there is a session that ended on this machine (seen.h), and was put
 * back: from a backup, or by somebody who wants to see old chunks come back.
 * Another error: nobody could look. That it is damaged, or not the caller's to
 * read, shows elsewhere: 0.
 */
MUST_CHECK int journal_seen(struct vault *vault);

/* Is there a session that did not end, or that nobody can tell of? What it
 * wrote last may lie in the journal alone. */
bool journal_is_unfinished(struct vault *vault);
/* The same, or one that has ended, and may not be durable. */
bool journal_is_pending(struct vault *vault);

/* Make one durable that has ended, if no other is to begin. */
MUST_CHECK int journal_forget_ended(struct vault *vault);

/*
 * The records of a session that did not end (or goes on: of another
 * process), oldest first, as far as they are whole. Changes nothing.
 * -ENOENT: there is none.
 */
#define JOURNAL_SIZE_KEPT UINT64_MAX
struct journal_reader;
struct journal_record {
	uint8_t file_id[FILE_ID_LEN];
	uint64_t ino;
	uint64_t size; /* the file's, from this record on; JOURNAL_SIZE_KEPT:
			  as it was */
	bool holes;    /* the chunks became holes: no tokens */
	bool filled;   /* they were some, and are filled in place: none, too */
	uint64_t first;
	uint64_t count; /* chunks first..first+count-1; 0: only the size */
	int fd;		/* of the segment, the reader's */
	/* Where their tokens lie, back to back; if the last of them ends the
	 * file it is followed by the zeros that bring it to its length. */
	off_t offset;
	size_t len;
};
MUST_CHECK int journal_reader_open(struct vault *vault,
				   struct journal_reader **out);
/* 1: *out is filled; 0: there are no more; or an error. */
MUST_CHECK int journal_reader_next(struct journal_reader *r,
				   struct journal_record *out);
void journal_reader_close(struct journal_reader *r);

/* Out of descriptors: close what is kept of files no longer open. True: some
 * were. */
bool journal_spare_fds(struct vault *vault);
/* So many it keeps: whoever closes a file may only have given it another. */
size_t journal_count_fds(struct vault *vault);

/*
 * The length of a file that is not open, where what lies in the backing
 * directory is older than what the journal holds. False: look there; and who
 * has looked before looks again, unless journal_is_quiet(): it may have got
 * there in between.
 */
bool journal_size(struct vault *vault, dev_t dev, ino_t ino, uint64_t *size);
/* It has let go of no file for seconds. */
bool journal_is_quiet(struct vault *vault);

/*
 * Between these two the times of the backing file with this inode number are
 * not put back to what they were before chunks went to their place: for whoever
 * sets times.
 */
void journal_times_lock(struct vault *vault, ino_t ino);
void journal_times_unlock(struct vault *vault, ino_t ino);
/*
 * What was looked at after journal_times_kept() may have been looked at amid
 * that: then it is to be done again between these two.
 */
uint64_t journal_times_kept(const struct vault *vault);
bool journal_times_moved(struct vault *vault, ino_t ino, uint64_t since);

/* What it has done; zeros without a journal. */
struct journal_counters {
	uint64_t records, bytes; /* appended */
	uint64_t commits;	 /* a segment made durable */
	uint64_t applied;	 /* chunks put in place */
	uint64_t pending;	 /* chunks not in place yet */
};
void journal_counters(struct vault *vault, struct journal_counters *out);

#endif
