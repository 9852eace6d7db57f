/* Which zeros of a file are holes. */
#include "check_content.h"

#include "map.h"
#include "xio.h"

#include <errno.h>

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

/* Who looks for a token in front of zeros, and those that are known by then. */
struct walk {
	const struct content *f;
	struct zeros known;
};

static int read_unknown(void *arg, uint64_t index,
			uint8_t stored[static CHUNK_TOKEN_LEN])
{
	const struct walk *w = arg;

	if (index >= w->known.first && index < w->known.end)
		return -EEXIST;
	return read_place((void *)w->f, index, stored);
}

/* -EEXIST: they go on from those in w->known. */
static int find_claimed(const struct walk *w, uint64_t first, struct zeros *z)
{
	const struct map m = {.fd = w->f->fd,
			      .seeks = w->f->sparse,
			      .read = read_unknown,
			      .arg = (void *)w};
	uint8_t stored[CHUNK_TOKEN_LEN];
	uint64_t token;
	int err;

	if (first > w->known.first && first <= w->known.end)
		return -EEXIST;
	err = map_token_before(&m, first, &token);
	if (err)
		return err;
	*z = (struct zeros){.first = first, .claimed = first};
	if (token == first)
		return 0;
	err = read_place((void *)w->f, token, stored);
	z->first = token + 1;
	z->claimed = token + 1 + claim_of(w->f, token, stored);
	return err;
}

uint64_t check_claimed(struct check *c, struct content *f, uint64_t first,
		       uint64_t end)
{
	struct walk w = {.f = f};
	struct zeros z;
	int err;

	if (f->holes != CHUNK_HOLES_MAPPED)
		return f->holes ? UINT64_MAX : first;
	/* which of its tokens are the file's is not settled */
	if (c->redo && check_redo_has(c->redo, f->id))
		return UINT64_MAX;
	pthread_mutex_lock(&f->lock);
	w.known = f->zeros;
	pthread_mutex_unlock(&f->lock);
	err = find_claimed(&w, first, &z);
	if (err == -EEXIST)
		z = w.known;
	else if (err)
		return UINT64_MAX; /* that is said of itself */
	/* the next that go on from there need not be looked at from here */
	pthread_mutex_lock(&f->lock);
	if (z.end < end)
		z.end = end;
	f->zeros = z;
	pthread_mutex_unlock(&f->lock);
	return z.claimed;
}
