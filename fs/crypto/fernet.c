#include "fernet.h"

#include "bytes.h"
#include "fernet_backend.h"
#include "random.h"

#include <errno.h>
#include <openssl/rand.h>
#include <sodium.h>
#include <stdbool.h>

enum { VERSION = 0x80, IV_OFFSET = 9, BLOCK = 16, FEW = 8 };

struct fernet_ctx {
	const struct fernet_backend *backend;
	void *state;
};

/* Fastest first. */
static const struct fernet_backend *const backends[] = {
#ifdef FROND_HAVE_IPSECMB
	&fernet_ipsecmb,
#endif
	&fernet_openssl,
};
static const struct fernet_backend *chosen;

static int try_backend(const struct fernet_backend *backend)
{
	const struct fernet_backend *before = chosen;
	int err = backend->probe();

	if (err)
		return err;
	chosen = backend;
	err = fernet_kat();
	if (err)
		chosen = before;
	return err;
}

int fernet_init(const char *name)
{
	int err = -ENOENT;

	if (sodium_init() < 0)
		return -ENOTSUP;
	for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
		if (name && strcmp(name, backends[i]->name) != 0)
			continue;
		err = try_backend(backends[i]);
		if (!err)
			break;
	}
	return err;
}

const char *fernet_backend_name(void)
{
	return chosen->name;
}

struct fernet_ctx *fernet_ctx_new(void)
{
	struct fernet_ctx *ctx = malloc(sizeof *ctx);

	if (!ctx)
		return NULL;
	ctx->backend = chosen;
	ctx->state = chosen->state_new();
	if (!ctx->state) {
		free(ctx);
		return NULL;
	}
	return ctx;
}

void fernet_ctx_free(struct fernet_ctx *ctx)
{
	if (!ctx)
		return;
	ctx->backend->state_free(ctx->state);
	free(ctx);
}

void fernet_key_init(struct fernet_key *out, const uint8_t raw[FERNET_KEY_LEN])
{
	memcpy(out->key, raw, FERNET_KEY_LEN);
	if (chosen->key_init)
		chosen->key_init(out);
}

uint64_t fernet_timestamp(const uint8_t *token)
{
	return be64_load(token + 1);
}

/* Everything but the encryption and the MAC; returns the ciphertext length. */
static size_t lay_out(const struct fernet_seal_job *job, uint64_t timestamp,
		      const uint8_t *random_iv)
{
	uint8_t *token = job->token;
	uint8_t *p = token + FERNET_BODY_OFFSET;
	size_t len = job->head_len + job->body_len;
	size_t pad = BLOCK - len % BLOCK;

	token[0] = VERSION;
	be64_store(token + 1, timestamp);
	memcpy(token + IV_OFFSET, job->iv ? job->iv : random_iv, FERNET_IV_LEN);
	if (job->head_len)
		memcpy(p, job->head, job->head_len);
	if (job->body_len)
		memcpy(p + job->head_len, job->body, job->body_len);
	memset(p + len, (int)pad, pad);
	return len + pad;
}

/* Plaintext that was laid out must not be taken for a token. */
static void wipe_tokens(const struct fernet_seal_job *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sodium_memzero(
			jobs[i].token,
			FERNET_TOKEN_LEN(jobs[i].head_len + jobs[i].body_len));
}

static bool job_fits(const struct fernet_seal_job *job)
{
	return job->head_len <= FERNET_MAX_PLAINTEXT &&
	       job->body_len <= FERNET_MAX_PLAINTEXT - job->head_len;
}

/* libcrypto's generator is fast for many, and slow to begin. */
static int draw_ivs(uint8_t (*iv)[FERNET_IV_LEN], size_t n)
{
	if (n <= FEW)
		random_bytes(iv, n * FERNET_IV_LEN);
	else if (RAND_bytes(iv[0], (int)(n * FERNET_IV_LEN)) != 1)
		return -EIO;
	return 0;
}

static int seal_burst(struct fernet_ctx *ctx, const struct fernet_key *key,
		      uint64_t timestamp, const struct fernet_seal_job *jobs,
		      size_t n)
{
	uint8_t iv[FERNET_BURST][FERNET_IV_LEN];
	uint8_t *tokens[FERNET_BURST];
	size_t ciphertext_len[FERNET_BURST];
	int err = draw_ivs(iv, n);

	if (err)
		return err;
	for (size_t i = 0; i < n; i++)
		if (!job_fits(&jobs[i]))
			return -EIO;
	for (size_t i = 0; i < n; i++) {
		tokens[i] = jobs[i].token;
		ciphertext_len[i] = lay_out(&jobs[i], timestamp, iv[i]);
	}
	err = ctx->backend->seal(ctx->state, key, tokens, ciphertext_len, n);
	if (err)
		wipe_tokens(jobs, n);
	return err;
}

int fernet_seal(struct fernet_ctx *ctx, const struct fernet_key *key,
		uint64_t timestamp, const struct fernet_seal_job *jobs,
		size_t n)
{
	for (size_t done = 0; done < n; done += FERNET_BURST) {
		size_t count =
			n - done < FERNET_BURST ? n - done : FERNET_BURST;
		int err = seal_burst(ctx, key, timestamp, jobs + done, count);

		if (err)
			return err;
	}
	return 0;
}

static bool looks_like_token(const struct fernet_open_job *job)
{
	return job->token_len >= FERNET_MIN_LEN &&
	       job->token_len <= FERNET_TOKEN_LEN(FERNET_MAX_PLAINTEXT) &&
	       (job->token_len - FERNET_OVERHEAD) % BLOCK == 0 &&
	       job->token[0] == VERSION;
}

/*
 * PKCS#7 as RFC 5652 section 6.3 has it. The MAC held, so the padding is what
 * the key's owner wrote and its check gives nobody an oracle.
 */
static void strip_padding(struct fernet_open_job *job)
{
	size_t padded = FERNET_OPEN_ROOM(job->token_len);
	size_t pad = job->plaintext[padded - 1];
	bool good = pad >= 1 && pad <= BLOCK;

	for (size_t i = 1; good && i <= pad; i++)
		good = job->plaintext[padded - i] == pad;
	if (good) {
		job->plaintext_len = padded - pad;
		return;
	}
	sodium_memzero(job->plaintext, padded);
	job->status = -EBADMSG;
}

static size_t open_burst(struct fernet_ctx *ctx, const struct fernet_key *key,
			 struct fernet_open_job *jobs, size_t n)
{
	struct fernet_open_job *likely[FERNET_BURST];
	size_t likely_count = 0;
	size_t failed = 0;

	for (size_t i = 0; i < n; i++) {
		jobs[i].status = -EBADMSG;
		jobs[i].plaintext_len = 0;
		if (looks_like_token(&jobs[i]))
			likely[likely_count++] = &jobs[i];
	}
	if (likely_count)
		ctx->backend->open(ctx->state, key, likely, likely_count);
	for (size_t i = 0; i < n; i++) {
		if (jobs[i].status == 0)
			strip_padding(&jobs[i]);
		failed += jobs[i].status != 0;
	}
	return failed;
}

size_t fernet_open(struct fernet_ctx *ctx, const struct fernet_key *key,
		   struct fernet_open_job *jobs, size_t n)
{
	size_t failed = 0;

	for (size_t done = 0; done < n; done += FERNET_BURST) {
		size_t count =
			n - done < FERNET_BURST ? n - done : FERNET_BURST;

		failed += open_burst(ctx, key, jobs + done, count);
	}
	return failed;
}
