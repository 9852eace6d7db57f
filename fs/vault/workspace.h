/*
 * What one thread needs to read or write chunks without allocating: a Fernet
 * context, room for the tokens and the plaintext of one request, and the jobs.
 * Made at a thread's first request, freed when the thread ends.
 */
#ifndef FROND_WORKSPACE_H
#define FROND_WORKSPACE_H

#include "chunk.h"

enum {
	WORKSPACE_IO_MAX = 1 << 20, /* plaintext bytes of one request */
	/* those, unaligned, and the former last chunk in front */
	WORKSPACE_CHUNKS = WORKSPACE_IO_MAX / CHUNK_SIZE + 3,
	WORKSPACE_PLAIN_STRIDE = FERNET_OPEN_ROOM(CHUNK_TOKEN_LEN),
};

struct workspace {
	struct fernet_ctx *fernet;
	uint8_t *tokens; /* WORKSPACE_CHUNKS tokens and a last one's padding */
	uint8_t *plain;	 /* WORKSPACE_CHUNKS slots of WORKSPACE_PLAIN_STRIDE */
	size_t plain_bytes;
	uint8_t tags[WORKSPACE_CHUNKS][CHUNK_TAG_LEN];
	struct fernet_seal_job seal[WORKSPACE_CHUNKS];
	struct fernet_open_job open[WORKSPACE_CHUNKS];
	size_t open_slot[WORKSPACE_CHUNKS];	/* which slot each job fills */
	const uint8_t *chunk[WORKSPACE_CHUNKS]; /* each slot's plaintext */
	uint8_t head[CHUNK_SIZE], tail[CHUNK_SIZE]; /* chunks being merged */
};

/* The calling thread's; NULL when memory is short. */
MUST_CHECK struct workspace *workspace_get(void);

/*
 * One that keeps what was read: it has room for the plaintext of so many
 * chunks and nothing else, and another lends it the rest for each read.
 */
MUST_CHECK struct workspace *workspace_keep_new(size_t chunks);
void workspace_keep_free(struct workspace *keep);
void workspace_lend(struct workspace *own, struct workspace *keep);

/*
 * Prepare the i-th token of a run, of len bytes of plain with this tag in
 * front. plain must stay until the run is sealed.
 */
void workspace_stage(struct workspace *ws, size_t i, uint64_t tag,
		     const uint8_t *plain, size_t len);

/*
 * Seal the first count staged tokens, back to back, into ws->tokens. When the
 * last of them ends the file, it is followed by the zeros that bring it to its
 * length. *stored_len: how many bytes that makes.
 */
MUST_CHECK int workspace_seal(struct workspace *ws,
			      const struct fernet_key *key, size_t count,
			      bool ends_file, size_t *stored_len);

/* Chunks opened and sealed by this process, be they good or bad. */
void workspace_count_opened(size_t chunks);
void workspace_counts(uint64_t *opened, uint64_t *sealed);

/* A page of zeros, for holes. */
extern const uint8_t workspace_zeros[CHUNK_SIZE];

#endif
