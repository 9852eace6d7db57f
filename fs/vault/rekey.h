/*
 * Redo files: what vfile_rekey() leaves in .frondfs/journal until the file
 * itself is whole under its new key (frondfs-format(5), "The journal").
 * Internal to this layer.
 *
 *   new backing file, holes kept | record, a token under subkey 8 |
 *   length of that token u32
 *
 * Without a good record it is nothing. With one, the file's header tells how
 * far things are: wholly the old one, and no chunk has been touched; anything
 * between the two, or the new one, and chunks may be old ones that only this
 * file can replace. A live writer holds a lock on it.
 */
#ifndef FROND_REKEY_H
#define FROND_REKEY_H

#include "vfile_internal.h"

#include <sodium.h>
#include <time.h>

#define REKEY_JOURNAL_DIR "journal" /* in .frondfs */
#define REKEY_SUFFIX ".rekey"	    /* after 24 hex digits */

enum {
	REKEY_PATH_MAX = 4095,
	REKEY_DIGEST_LEN = 32,
	REKEY_BATCH = WORKSPACE_IO_MAX / CHUNK_SIZE,
};

struct rekey_record {
	uint8_t file_id[FILE_ID_LEN];
	uint64_t size; /* plaintext bytes */
	uint8_t old_header[HEADER_LEN], new_header[HEADER_LEN];
	uint8_t old_digest[REKEY_DIGEST_LEN];
	struct timespec mtime;
	char path[REKEY_PATH_MAX + 1]; /* "": not known */
};

/* -ENOENT: there is none, and make is not set. */
MUST_CHECK int rekey_open_journal(struct vault *vault, bool make, int *fd);

/* A file of the vault for reading and writing, whatever its mode. */
MUST_CHECK int rekey_open_both(int dirfd, const char *entry, int *out);

/* -EAGAIN: somebody is at work on it. */
MUST_CHECK int rekey_lock(int fd);

/* Put the record behind the contents. */
MUST_CHECK int rekey_write_record(struct vault *vault, int fd,
				  const struct rekey_record *r);
/* -EBADMSG: there is no good one. */
MUST_CHECK int rekey_read_record(struct vault *vault, int fd,
				 struct rekey_record *r);

/*
 * BLAKE2b-256 over a backing file: its header, then for every chunk that is
 * not a hole its index u64 and its stored bytes.
 */
void rekey_digest_begin(crypto_generichash_state *st,
			const uint8_t header[static HEADER_LEN]);
/* Chunks first..first+count-1 as they lie in ws->tokens. */
void rekey_digest_run(crypto_generichash_state *st, const struct workspace *ws,
		      uint64_t first, size_t count, uint64_t size);
MUST_CHECK int rekey_digest_file(int fd, struct workspace *ws, uint64_t size,
				 uint8_t digest[static REKEY_DIGEST_LEN]);

/* Is this the name of a redo file? */
bool rekey_is_redo(const char *name);
/* Does the journal hold any? */
bool rekey_is_pending(struct vault *vault);
/*
 * The files that the redo files are for, to be freed. -EBUSY: not all of them
 * can be read now, and nobody knows.
 */
MUST_CHECK int rekey_list_pending(struct vault *vault,
				  uint8_t (**ids)[FILE_ID_LEN], size_t *count);

/*
 * The first chunk from index on that may be more than a hole: at most the
 * last one, which never is.
 */
uint64_t rekey_skip_hole(int fd, uint64_t index, uint64_t last);

/* How many chunks to take at a time from first on, before end. */
static inline size_t rekey_batch(uint64_t first, uint64_t end)
{
	return end - first < REKEY_BATCH ? (size_t)(end - first) : REKEY_BATCH;
}

/* Chunks of a backing file, read into ws->tokens. */
MUST_CHECK int rekey_read_run(int fd, struct workspace *ws, uint64_t first,
			      size_t count, uint64_t size);
/* Write them, save for holes, to the same place of another. */
MUST_CHECK int rekey_write_run(int fd, struct workspace *ws, uint64_t first,
			       size_t count, uint64_t size);

/*
 * Contents under the key of a header, for the functions of vfile_internal.h
 * that take no lock. Takes fd on success.
 */
MUST_CHECK int rekey_view(struct vault *vault, int fd,
			  const uint8_t header[static HEADER_LEN],
			  uint64_t size, struct vfile **out);

#endif
