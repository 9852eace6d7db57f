/* What the journal_re*.c files share; nobody else includes this. */
#ifndef FROND_JOURNAL_RECOVER_H
#define FROND_JOURNAL_RECOVER_H

#include "journal_internal.h"

/* A record and its place among all. */
struct logged {
	struct journal_found found;
	size_t seq;
	bool done;	/* its file has been found */
	uint64_t limit; /* chunks from here on were cut off later */
};

struct recovery {
	struct vault *vault;
	struct journal_recovery *out;
	struct journal_reader *reader;
	struct workspace *ws;
	struct fernet_key *key; /* locked memory: of the file at hand */
	struct logged *log;	/* by file, then in order */
	size_t count;
	uint64_t *inos;	 /* of the records, sorted */
	bool moved;	 /* inode numbers mean nothing */
	bool wholly;	 /* data may be missing anywhere */
	int64_t start_s; /* the session's */
	int64_t since_s; /* what has changed since is looked at */
	/* what mending writes, before it goes to its place */
	int mend_fd;
	struct journal_ids mend_ids;
	uint64_t mend_end;
};

void journal_tell_(struct recovery *rec, const struct journal_patient *p,
		   enum journal_event event, uint64_t size);
/* Is this file to be looked at? */
bool journal_wants_(const struct recovery *rec, const struct stat *st);
/* The records of a file, in order. */
struct logged *journal_log_of_(const struct recovery *rec,
			       const uint8_t id[static FILE_ID_LEN],
			       size_t *count);
/* journal_walk.c: look at every file of the tree. */
MUST_CHECK int journal_walk_(struct recovery *rec);
/* journal_redo.c: see to one file, open for both unless only looking. */
MUST_CHECK int journal_treat_(struct recovery *rec, int dirfd,
			      const char *entry, const char *path, int fd);

#endif
