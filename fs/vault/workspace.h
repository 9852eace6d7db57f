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

/* Rows of as many as it has chunks: WORKSPACE_CHUNKS but for special ones. */
struct workspace {
	size_t chunks;
	struct fernet_ctx *fernet;
	uint8_t *tokens; /* a token each, and a last one's padding */
	uint8_t *plain;	 /* a slot of WORKSPACE_PLAIN_STRIDE each */
	size_t plain_bytes;
	struct fernet_seal_job *seal;
	uint8_t (*tags)[CHUNK_TAG_LEN]; /* of what is being sealed */
	/* Tokens sealed ahead: of these slots, as they are staged, under the
	 * key of this number. */
	size_t ahead_first, ahead_count;
	unsigned ahead_key;
	/* Of what is sealed next: since 1970; 0: now. And of those ahead. */
	uint64_t seal_s, ahead_s;
	uint64_t sealed_s; /* the earliest of what was sealed last */
	struct fernet_open_job *open;
	size_t *open_slot;     /* which slot each job fills */
	uint64_t *stamps;      /* when each slot's chunk was sealed */
	const uint8_t **chunk; /* each slot's plaintext */
	uint8_t head[CHUNK_SIZE], tail[CHUNK_SIZE]; /* chunks being merged */
	uint8_t claiming[CHUNK_SIZE + CHUNK_CLAIM_LEN]; /* and its claim */
	/* After -EAGAIN: among these are zeros that may be holes. */
	uint64_t zeros_first, zeros_last;
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
 * One for writing len bytes at once, more than WORKSPACE_IO_MAX, and for
 * nothing else; own lends it the rest meanwhile. NULL when memory is short.
 */
MUST_CHECK struct workspace *workspace_wide_new(struct workspace *own,
						size_t len);
void workspace_wide_free(struct workspace *wide);

/* How many bytes may be written at once with this one. */
static inline size_t workspace_write_max(const struct workspace *ws)
{
	return (ws->chunks -
		(WORKSPACE_CHUNKS - WORKSPACE_IO_MAX / CHUNK_SIZE)) *
	       CHUNK_SIZE;
}

/*
 * Prepare the i-th token of a run, of len bytes of plain with this tag in
 * front. plain must stay until the run is sealed.
 */
void workspace_stage(struct workspace *ws, size_t i, uint64_t tag,
		     const uint8_t *plain, size_t len);

/*
 * The same of a full chunk that claims so many of those behind it as holes;
 * unless that is 0, only one of a run may.
 */
void workspace_stage_full(struct workspace *ws, size_t i, uint64_t index,
			  const uint8_t *plain, uint64_t claim);

/*
 * Seal the first count staged tokens, back to back, into ws->tokens. When the
 * last of them ends the file, it is followed by the zeros that bring it to its
 * length. *stored_len: how many bytes that makes.
 */
MUST_CHECK int workspace_seal(struct workspace *ws,
			      const struct fernet_key *key, size_t count,
			      bool ends_file, size_t *stored_len);

/*
 * Seal count staged tokens from slot first on, of a run that is not known yet
 * in whole. workspace_seal() then leaves out those that have been staged again
 * exactly as they were, unless workspace_forget_ahead() comes in between: as
 * it must before anything else is done with the workspace, or what it points
 * at changes.
 */
MUST_CHECK int workspace_seal_ahead(struct workspace *ws,
				    const struct fernet_key *key, size_t first,
				    size_t count);
void workspace_forget_ahead(struct workspace *ws);

/* Chunks opened and sealed by this process, be they good or bad. */
void workspace_count_opened(size_t chunks);
void workspace_counts(uint64_t *opened, uint64_t *sealed);

/* A page of zeros, for holes. */
extern const uint8_t workspace_zeros[CHUNK_SIZE];

#endif
