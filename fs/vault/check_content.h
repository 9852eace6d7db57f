/* The content of one file while it is checked. */
#ifndef FROND_CHECK_CONTENT_H
#define FROND_CHECK_CONTENT_H

#include "check_internal.h"

#include <sodium.h>

/* Chunks that are zeros, from the first behind a token, and up to where that
 * claims them. */
struct zeros {
	uint64_t first, end, claimed;
};

struct content {
	int fd;
	struct stat st;
	struct fernet_key *key; /* of the vault's pool, or own */
	bool own_key;
	struct memory_file *seen; /* NULL: not compared */
	uint8_t id[FILE_ID_LEN], dirid[DIRID_LEN];
	bool odd_length; /* no file has this length */
	bool sparse, can_claim;
	uint64_t size, last; /* plaintext bytes; the last chunk's index */
	uint64_t born_s;     /* since 1970: when the key token was sealed */
	/* set before the threads share it */
	enum chunk_holes holes; /* it may have some */
	uint64_t end;		/* chunks to be read by whoever has time */

	pthread_mutex_t lock; /* all below */
	uint64_t next;
	struct zeros zeros; /* those that were looked at last */
	struct chunk_fault *faults;
	size_t fault_count;
	_Atomic int error; /* of CHECK_UNREADABLE chunks */
};

/*
 * Open a file and its header, of which start gets the first room bytes (at
 * least HEADER_LEN; *got of them are there). 0, -EBADMSG, -ENOKEY or another
 * errno; content_fini() is due in any case.
 */
MUST_CHECK int content_open(struct check *c, struct content *f, int dirfd,
			    const char *entry, uint8_t *start, size_t room,
			    size_t *got);
/* Of zeros, chunks first to end-1: the first that may be no hole, if not behind
 * them. */
uint64_t check_claimed(struct check *c, struct content *f, uint64_t first,
		       uint64_t end);
void content_fini(struct check *c, struct content *f);
/* Say that chunks are bad; one more of a row makes the row longer. */
void content_fault(struct check *c, struct content *f,
		   const struct chunk_fault *new);

/* check_seen.c: chunks first to first+count-1 were sealed then; UINT64_MAX: a
 * hole, or bad. */
void content_compare(struct check *c, struct content *f, uint64_t first,
		     size_t count, const uint64_t *sealed_s);

#endif
