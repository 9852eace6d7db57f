#include "fernet_text.h"

#include "text.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>
#include <time.h>

enum {
	HEAD_LEN = 1 + 8, /* version and time */
	HEAD_TEXT_LEN = HEAD_LEN / 3 * 4,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t ctx_key;
static int ctx_key_error;

static void free_ctx(void *ctx)
{
	fernet_ctx_free(ctx);
}

static void make_ctx_key(void)
{
	ctx_key_error = pthread_key_create(&ctx_key, free_ctx);
}

static struct fernet_ctx *own_ctx(void)
{
	struct fernet_ctx *ctx;

	if (pthread_once(&once, make_ctx_key) != 0 || ctx_key_error)
		return NULL;
	ctx = pthread_getspecific(ctx_key);
	if (ctx)
		return ctx;
	ctx = fernet_ctx_new();
	if (ctx && pthread_setspecific(ctx_key, ctx) != 0) {
		fernet_ctx_free(ctx);
		return NULL;
	}
	return ctx;
}

int fernet_seal_one_at(const struct fernet_key *key, uint64_t seconds,
		       const uint8_t *plaintext, size_t len, uint8_t *token)
{
	const struct fernet_seal_job job = {
		.body = plaintext,
		.body_len = len,
		.token = token,
	};
	struct fernet_ctx *ctx = own_ctx();

	if (!ctx)
		return -ENOMEM;
	return fernet_seal(ctx, key, seconds, &job, 1);
}

int fernet_seal_one(const struct fernet_key *key, const uint8_t *plaintext,
		    size_t len, uint8_t *token)
{
	return fernet_seal_one_at(key, (uint64_t)time(NULL), plaintext, len,
				  token);
}

int fernet_open_one(const struct fernet_key *key, const uint8_t *token,
		    size_t token_len, uint8_t *plaintext, size_t *len_out)
{
	struct fernet_open_job job = {
		.token = token,
		.token_len = token_len,
		.plaintext = plaintext,
	};
	struct fernet_ctx *ctx = own_ctx();

	if (!ctx)
		return -ENOMEM;
	if (fernet_open(ctx, key, &job, 1) != 0)
		return job.status;
	*len_out = job.plaintext_len;
	return 0;
}

int fernet_seal_text_at(const struct fernet_key *key, uint64_t seconds,
			const uint8_t *plaintext, size_t len, char *text)
{
	CLEANUP_FREE uint8_t *token = NULL;
	int err;

	if (len > FERNET_MAX_PLAINTEXT)
		return -EIO;
	token = malloc(FERNET_TOKEN_LEN(len));
	if (!token)
		return -ENOMEM;
	err = fernet_seal_one_at(key, seconds, plaintext, len, token);
	if (err)
		return err;
	base64url_encode_padded(token, FERNET_TOKEN_LEN(len), text);
	return 0;
}

int fernet_seal_text(const struct fernet_key *key, const uint8_t *plaintext,
		     size_t len, char *text)
{
	return fernet_seal_text_at(key, (uint64_t)time(NULL), plaintext, len,
				   text);
}

uint64_t fernet_text_timestamp(const char *text, size_t text_len)
{
	uint8_t head[HEAD_LEN];
	size_t len = 0;

	if (text_len < HEAD_TEXT_LEN ||
	    base64url_decode(text, HEAD_TEXT_LEN, head, sizeof head, &len) ||
	    len != sizeof head)
		return 0;
	return fernet_timestamp(head);
}

/* scratch has room for the padding, which the caller's buffer need not. */
static int open_into(const struct fernet_key *key, const uint8_t *token,
		     size_t token_len, uint8_t *scratch, uint8_t *plaintext,
		     size_t max, size_t *len_out)
{
	size_t len = 0;
	int err = fernet_open_one(key, token, token_len, scratch, &len);

	if (err)
		return err;
	if (len > max)
		return -EMSGSIZE;
	if (len)
		memcpy(plaintext, scratch, len);
	*len_out = len;
	return 0;
}

int fernet_open_text(const struct fernet_key *key, const char *text,
		     size_t text_len, uint8_t *plaintext, size_t max,
		     size_t *len_out)
{
	CLEANUP_FREE uint8_t *token = NULL;
	CLEANUP_FREE uint8_t *scratch = NULL;
	size_t room, token_len;
	int err;

	if (text_len > FERNET_TEXT_LEN(FERNET_MAX_PLAINTEXT))
		return -EBADMSG;
	room = BASE64URL_MAX_BYTES(text_len);
	token = malloc(room);
	scratch = malloc(room);
	if (!token || !scratch)
		return -ENOMEM;
	if (base64url_decode_padded(text, text_len, token, room, &token_len))
		return -EBADMSG;
	err = open_into(key, token, token_len, scratch, plaintext, max,
			len_out);
	sodium_memzero(scratch, room);
	return err;
}
