/* What the journal_re*.c files share; nobody else includes this. */
#ifndef FROND_JOURNAL_RECOVER_H
#define FROND_JOURNAL_RECOVER_H

#include "journal_internal.h"

enum { JOURNAL_MEND_SEGMENT = 4 }; /* 0 to 3 are the session's own */

/* A record and its place among all. */
struct logged {
	struct journal_found found;
	size_t seq;
	uint64_t limit; /* chunks from here on were cut off later */
	bool whole;	/* as last looked at */
};

/* The records of one file: they have its id and its inode number. */
struct file_log {
	struct logged *log; /* in order */
	size_t count;
	uint64_t ino;
	bool torn;	/* not all of them were whole */
	uint64_t floor; /* what those that were not say */
	bool done;	/* they are in place */
	/* A file of this id has been met, and was not to be touched. */
	bool met;
	char *path; /* of the first one; NULL: none, or no memory */
	/* journal_scout_(): files of this id, and whether one is that with ino
	 */
	unsigned places;
	uint64_t first_ino;
	bool with_ino;
};

struct recovery {
	struct vault *vault;
	struct journal_recovery *out;
	struct journal_reader *reader;
	struct workspace *ws;
	struct fernet_key *key; /* locked memory: of the file at hand */
	struct logged *log;	/* by file, then in order */
	size_t count;
	struct file_log *files; /* by id, then by inode number */
	size_t file_count;
	uint64_t *inos; /* of the records, sorted */
	/* files that are on their way to another key, which goes first */
	uint8_t (*rekeyed)[FILE_ID_LEN];
	size_t rekeyed_count;
	bool rekeyed_unknown; /* there may be others */
	/* Is it where it was when it began? */
	bool here;	   /* yes: inode numbers tell files apart */
	bool same_tree;	   /* perhaps: files that were not changed are known */
	bool copied;	   /* no: all have other numbers, or another's */
	bool stale;	   /* it may have been over long ago */
	bool doubtful;	   /* it may be older than what the files hold */
	bool again;	   /* kept by an earlier one; others have come since */
	bool wholly;	   /* data may be missing anywhere */
	bool exact;	   /* nothing that was written is missing */
	bool one_by_one;   /* files are made durable, not all at once */
	bool scouting;	   /* only find out where the files are */
	bool wrote;	   /* to the file at hand */
	int64_t start_s;   /* the session's */
	int64_t since_s;   /* what has changed since is looked at */
	int64_t last_s;	   /* its last sign of life */
	uint64_t root_dev; /* of the root directory */
	size_t skipped;	   /* what could not be looked at... */
	size_t failed;	   /* ...and should have been */
	/* what mending writes, before it goes to its place */
	int mend_fd;
	struct journal_ids mend_ids;
	uint64_t mend_end;
};

void journal_tell_(struct recovery *rec, const struct journal_patient *p,
		   enum journal_event event, uint64_t size);
/* Is this file to be looked at? */
bool journal_wants_(const struct recovery *rec, const struct stat *st);
/*
 * Is this inode one that was made in the session? unknown: what to say where
 * the file system does not tell.
 */
bool journal_is_born_(const struct recovery *rec, int fd, bool unknown);
/* Did the session make the file with this header? */
bool journal_is_made_(const struct recovery *rec, int fd,
		      const uint8_t header[static HEADER_LEN]);
/* Did nobody change it since the session was put by, if it was? */
bool journal_is_untouched_(const struct recovery *rec, const struct stat *st);
/* This cannot be gone on from: everything stays for the next try. */
bool journal_is_fatal_(const struct recovery *rec, int err);

/* kept: the name of a session that is; NULL: the one that did not end. */
MUST_CHECK int journal_recover_one_(struct vault *vault, const char *kept,
				    struct journal_recovery *r);

/* journal_walk.c: look at every file of the tree. */
MUST_CHECK int journal_walk_(struct recovery *rec);

/* journal_redo.c: see to one file, open for both unless only looking. */
MUST_CHECK int journal_treat_(struct recovery *rec, int dirfd,
			      const char *entry, const char *path, int fd);

/* journal_home.c: whose are the records? */
MUST_CHECK int journal_sort_(struct recovery *rec);
void journal_logs_free_(struct recovery *rec);
/* A file of this id is there. */
void journal_scout_(struct recovery *rec, const uint8_t id[static FILE_ID_LEN],
		    const struct stat *st);
enum journal_claim {
	JOURNAL_NONE, /* there are no records of it */
	JOURNAL_HOME, /* these are its */
	JOURNAL_DOUBT /* they may be another's: it is left alone */
};
enum journal_claim journal_claim_(struct recovery *rec,
				  const struct journal_patient *p,
				  const struct stat *st, struct file_log **out);
/* This is the inode of some, though nobody can tell the file's id or key: they
 * are wanted. */
void journal_meet_(struct recovery *rec, const struct journal_patient *p,
		   const struct stat *st);
/* Has somebody else written the file since these records? newest: the latest
 * time of their tokens. */
MUST_CHECK int journal_is_newer_(const struct journal_patient *p,
				 const struct file_log *fl, uint64_t newest,
				 bool *newer);

/* journal_end.c: seal the last chunk of so long a file as such. Its times
 * move. */
MUST_CHECK int journal_put_end_(struct recovery *rec,
				const struct journal_patient *p, uint64_t size,
				enum chunk_holes holes);

/*
 * Has the file been written to since the session was put by? Then what it lacks
 * is not missed by whoever did, and does not fit any more.
 */
MUST_CHECK int journal_is_used_(const struct recovery *rec,
				const struct journal_patient *p,
				const struct stat *st, bool *used);

/* journal_empty.c: a file without a header */
MUST_CHECK int journal_treat_nothing_(struct recovery *rec,
				      struct journal_patient *p, int dirfd,
				      const char *entry, const struct stat *st);

/* journal_kept.c: what is not destroyed, and what is not lost */
/*
 * Before everything from offset on is cut off: keep it, if there is anything.
 * grown: before its records are put in place; more may be cut off after.
 */
MUST_CHECK int journal_keep_tail_(struct recovery *rec,
				  const struct journal_patient *p,
				  uint64_t offset, bool grown);
/* Are records left, that will be wanted again? */
bool journal_is_left_(const struct recovery *rec, const struct file_log *fl);
/* Is the (kept) session about all files, as its records are not all whole? */
bool journal_wants_all_(const struct journal_reader *r);
/* Is the (kept) session about this file? */
bool journal_is_wanted_(const struct journal_reader *r,
			const uint8_t id[static FILE_ID_LEN]);
/* Is this kept one known to have been finished, and was put back? */
bool journal_kept_is_over_(struct vault *vault,
			   const struct journal_session *s);
/* ...then nothing that it holds is of use any more. */
MUST_CHECK int journal_remove_kept_(struct vault *vault, const char *name);
/* Give up the room that was set aside for this. */
void journal_drop_reserve_(const struct journal_reader *r);
/* Keep the session: what of it is left can be tried again. */
MUST_CHECK int journal_put_by_(struct recovery *rec);
/* The session's own files are of no use any more, or stay with kept. */
MUST_CHECK int journal_drop_session_(struct recovery *rec, bool kept);

#endif
