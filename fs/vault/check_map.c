/* Which zeros of a file are holes. */
#include "check_content.h"

#include "map.h"
#include "xio.h"

static int read_place(void *arg, uint64_t index,
		      uint8_t stored[static CHUNK_TOKEN_LEN])
{
	const struct content *f = arg;

	return xio_pread(f->fd, stored, CHUNK_TOKEN_LEN,
			 (off_t)chunk_offset(index));
}

/* How many chunks behind this one it claims; 0, too, if it does not verify. */
static uint64_t claim_of(const struct content *f, uint64_t index,
			 const uint8_t *stored)
{
	uint8_t plain[WORKSPACE_PLAIN_STRIDE];
	struct fernet_open_job job = {.token = stored,
				      .token_len = CHUNK_TOKEN_LEN,
				      .plaintext = plain};
	struct workspace *ws = workspace_get();
	enum chunk_holes holes;
	uint64_t claim = 0;

	if (ws && fernet_open(ws->fernet, f->key, &job, 1) == 0 &&
	    chunk_fits(plain, job.plaintext_len, CHUNK_SIZE, f->can_claim) &&
	    chunk_tag_check(be64_load(plain), index, false, &holes) == 0)
		claim = chunk_claim(plain, job.plaintext_len);
	sodium_memzero(plain, sizeof plain);
	return claim;
}

uint64_t check_claimed(struct check *c, const struct content *f, uint64_t first)
{
	const struct map m = {.fd = f->fd,
			      .seeks = f->sparse,
			      .read = read_place,
			      .arg = (void *)f};
	uint8_t stored[CHUNK_TOKEN_LEN];
	uint64_t token;

	if (f->holes != CHUNK_HOLES_MAPPED)
		return f->holes ? UINT64_MAX : first;
	/* which of its tokens are the file's is not settled */
	if (c->redo && check_redo_has(c->redo, f->id))
		return UINT64_MAX;
	/* what cannot be read is said of itself */
	if (map_token_before(&m, first, &token) != 0)
		return UINT64_MAX;
	if (token == first)
		return first;
	if (read_place((void *)f, token, stored) != 0)
		return UINT64_MAX;
	return token + 1 + claim_of(f, token, stored);
}
