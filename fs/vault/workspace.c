#include "workspace.h"

#include <pthread.h>
#include <sodium.h>

const uint8_t workspace_zeros[CHUNK_SIZE];

enum {
	TOKENS_BYTES = WORKSPACE_CHUNKS * CHUNK_TOKEN_LEN + 64,
	PLAIN_BYTES = WORKSPACE_CHUNKS * WORKSPACE_PLAIN_STRIDE,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

static void workspace_free(void *p)
{
	struct workspace *ws = p;

	if (!ws)
		return;
	fernet_ctx_free(ws->fernet);
	if (ws->plain)
		sodium_memzero(ws->plain, PLAIN_BYTES);
	free(ws->plain);
	free(ws->tokens);
	sodium_memzero(ws, sizeof *ws);
	free(ws);
}

static void make_key(void)
{
	if (pthread_key_create(&key, workspace_free) != 0)
		abort();
}

static struct workspace *workspace_new(void)
{
	struct workspace *ws = calloc(1, sizeof *ws);

	if (!ws)
		return NULL;
	ws->fernet = fernet_ctx_new();
	ws->tokens = aligned_alloc(64, (TOKENS_BYTES + 63) / 64 * 64);
	ws->plain = aligned_alloc(64, (PLAIN_BYTES + 63) / 64 * 64);
	if (!ws->fernet || !ws->tokens || !ws->plain) {
		workspace_free(ws);
		return NULL;
	}
	return ws;
}

struct workspace *workspace_get(void)
{
	struct workspace *ws;

	pthread_once(&once, make_key);
	ws = pthread_getspecific(key);
	if (ws)
		return ws;
	ws = workspace_new();
	if (ws && pthread_setspecific(key, ws) != 0) {
		workspace_free(ws);
		return NULL;
	}
	return ws;
}
