#include "workspace.h"

#include "bytes.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

const uint8_t workspace_zeros[CHUNK_SIZE];

static _Atomic uint64_t opened_chunks, sealed_chunks;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;

static void workspace_free(void *p)
{
	struct workspace *ws = p;

	if (!ws)
		return;
	fernet_ctx_free(ws->fernet);
	if (ws->plain)
		sodium_memzero(ws->plain, ws->plain_bytes);
	free(ws->plain);
	free(ws->tokens);
	free(ws->seal);
	free(ws->tags);
	free(ws->open);
	free(ws->open_slot);
	free(ws->stamps);
	free(ws->chunk);
	sodium_memzero(ws, sizeof *ws);
	free(ws);
}

static void make_key(void)
{
	if (pthread_key_create(&thread_key, workspace_free) != 0)
		abort();
}

/* len bytes, aligned for vectors. */
static void *alloc_bytes(size_t len)
{
	return aligned_alloc(64, (len + 63) / 64 * 64);
}

static bool make_plain(struct workspace *ws)
{
	ws->plain_bytes = ws->chunks * WORKSPACE_PLAIN_STRIDE;
	ws->plain = alloc_bytes(ws->plain_bytes);
	ws->chunk = calloc(ws->chunks, sizeof *ws->chunk);
	return ws->plain && ws->chunk;
}

static bool make_sealing(struct workspace *ws)
{
	ws->tokens = alloc_bytes(ws->chunks * CHUNK_TOKEN_LEN + 64);
	ws->seal = calloc(ws->chunks, sizeof *ws->seal);
	ws->tags = calloc(ws->chunks, sizeof *ws->tags);
	return ws->tokens && ws->seal && ws->tags;
}

static bool make_opening(struct workspace *ws)
{
	ws->open = calloc(ws->chunks, sizeof *ws->open);
	ws->open_slot = calloc(ws->chunks, sizeof *ws->open_slot);
	ws->stamps = calloc(ws->chunks, sizeof *ws->stamps);
	return ws->open && ws->open_slot && ws->stamps;
}

static struct workspace *workspace_empty(size_t chunks)
{
	struct workspace *ws = calloc(1, sizeof *ws);

	if (ws)
		ws->chunks = chunks;
	return ws;
}

struct workspace *workspace_keep_new(size_t chunks)
{
	struct workspace *ws = workspace_empty(chunks);

	if (ws && !make_plain(ws)) {
		workspace_free(ws);
		return NULL;
	}
	return ws;
}

void workspace_lend(struct workspace *own, struct workspace *keep)
{
	keep->fernet = own->fernet;
	keep->tokens = own->tokens;
	keep->open = own->open;
	keep->open_slot = own->open_slot;
	keep->stamps = own->stamps;
}

void workspace_keep_free(struct workspace *keep)
{
	if (!keep)
		return;
	keep->fernet = NULL;
	keep->tokens = NULL;
	keep->open = NULL;
	keep->open_slot = NULL;
	keep->stamps = NULL;
	workspace_free(keep);
}

struct workspace *workspace_wide_new(struct workspace *own, size_t len)
{
	struct workspace *ws = workspace_empty(
		(len + CHUNK_SIZE - 1) / CHUNK_SIZE +
		(WORKSPACE_CHUNKS - WORKSPACE_IO_MAX / CHUNK_SIZE));

	if (!ws)
		return NULL;
	if (!make_sealing(ws)) {
		workspace_free(ws);
		return NULL;
	}
	ws->fernet = own->fernet;
	return ws;
}

void workspace_wide_free(struct workspace *wide)
{
	if (!wide)
		return;
	wide->fernet = NULL;
	workspace_free(wide);
}

static struct workspace *workspace_new(void)
{
	struct workspace *ws = workspace_empty(WORKSPACE_CHUNKS);

	if (!ws)
		return NULL;
	ws->fernet = fernet_ctx_new();
	if (!ws->fernet || !make_plain(ws) || !make_sealing(ws) ||
	    !make_opening(ws)) {
		workspace_free(ws);
		return NULL;
	}
	return ws;
}

struct workspace *workspace_get(void)
{
	struct workspace *ws;

	pthread_once(&once, make_key);
	ws = pthread_getspecific(thread_key);
	if (ws) {
		workspace_forget_ahead(ws);
		return ws;
	}
	ws = workspace_new();
	if (ws && pthread_setspecific(thread_key, ws) != 0) {
		workspace_free(ws);
		return NULL;
	}
	return ws;
}

void workspace_count_opened(size_t chunks)
{
	atomic_fetch_add_explicit(&opened_chunks, chunks, memory_order_relaxed);
}

void workspace_counts(uint64_t *opened, uint64_t *sealed)
{
	*opened = atomic_load_explicit(&opened_chunks, memory_order_relaxed);
	*sealed = atomic_load_explicit(&sealed_chunks, memory_order_relaxed);
}

static bool is_ahead(const struct workspace *ws, size_t i)
{
	return i >= ws->ahead_first && i - ws->ahead_first < ws->ahead_count;
}

void workspace_stage(struct workspace *ws, size_t i, uint64_t tag,
		     const uint8_t *plain, size_t len)
{
	if (is_ahead(ws, i)) {
		if (be64_load(ws->tags[i]) == tag &&
		    ws->seal[i].body == plain && ws->seal[i].body_len == len)
			return;
		workspace_forget_ahead(ws);
	}
	be64_store(ws->tags[i], tag);
	ws->seal[i] = (struct fernet_seal_job){
		.head = ws->tags[i],
		.head_len = CHUNK_TAG_LEN,
		.body = plain,
		.body_len = len,
		.token = ws->tokens + i * CHUNK_TOKEN_LEN,
	};
}

void workspace_stage_full(struct workspace *ws, size_t i, uint64_t index,
			  const uint8_t *plain, uint64_t claim)
{
	uint64_t tag = chunk_tag(index, false, CHUNK_HOLES_NONE);

	if (claim == 0) {
		workspace_stage(ws, i, tag, plain, CHUNK_SIZE);
		return;
	}
	memcpy(ws->claiming, plain, CHUNK_SIZE);
	chunk_claim_store(ws->claiming + CHUNK_SIZE, claim);
	workspace_stage(ws, i, tag, ws->claiming, sizeof ws->claiming);
}

static int seal_slots(struct workspace *ws, const struct fernet_key *key,
		      size_t first, size_t end)
{
	uint64_t now = ws->seal_s ? ws->seal_s : (uint64_t)time(NULL);
	int err;

	if (first >= end)
		return 0;
	if (now < ws->sealed_s)
		ws->sealed_s = now;
	err = fernet_seal(ws->fernet, key, now, ws->seal + first, end - first);
	if (!err)
		atomic_fetch_add_explicit(&sealed_chunks, end - first,
					  memory_order_relaxed);
	return err;
}

int workspace_seal_ahead(struct workspace *ws, const struct fernet_key *key,
			 size_t first, size_t count)
{
	int err = seal_slots(ws, key, first, first + count);

	if (!err) {
		ws->ahead_first = first;
		ws->ahead_count = count;
		ws->ahead_s = ws->seal_s;
	}
	ws->seal_s = 0;
	return err;
}

void workspace_forget_ahead(struct workspace *ws)
{
	ws->ahead_count = 0;
}

int workspace_seal(struct workspace *ws, const struct fernet_key *key,
		   size_t count, bool ends_file, size_t *stored_len)
{
	const struct fernet_seal_job *end = &ws->seal[count - 1];
	size_t len = (count - 1) * CHUNK_TOKEN_LEN +
		     FERNET_TOKEN_LEN(CHUNK_TAG_LEN + end->body_len);
	size_t zeros = (end->body_len + CHUNK_TAG_LEN) % 16;
	size_t from = ws->ahead_first, to = from + ws->ahead_count;
	int err;

	if (to > count || from == to)
		from = to = 0;
	ws->sealed_s = from < to ? ws->ahead_s : UINT64_MAX;
	workspace_forget_ahead(ws);
	err = seal_slots(ws, key, 0, from);
	if (!err)
		err = seal_slots(ws, key, to, count);
	ws->seal_s = 0;
	if (err)
		return err;
	if (ends_file) {
		memset(ws->tokens + len, 0, zeros);
		len += zeros;
	}
	*stored_len = len;
	return 0;
}
