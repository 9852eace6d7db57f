#include "bytes.h"
#include "fernet_backend.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>

/*
 * Token i has IV iiii..., a plaintext of i * 113 bytes, byte j of it i + j
 * (mod 256), its first 8 bytes as head; key 00 01 02 ... 1f. The number is no
 * multiple of any lane count. The digest is BLAKE2b-256 of all tokens in a
 * row, computed with Python's cryptography and hashlib.
 */
enum { TOKENS = 37, STEP = 113, HEAD_LEN = 8, TAMPERED = 18 };
static const uint64_t timestamp = 1000000000;
static const uint8_t digest_of_tokens[32] = {
	0x62, 0xce, 0x5b, 0x7b, 0x22, 0xc0, 0x05, 0x5b, 0xe5, 0x46, 0xae,
	0x8c, 0x5c, 0x5a, 0x0e, 0x3d, 0xf1, 0x03, 0x2d, 0x10, 0xbf, 0xb6,
	0x97, 0x47, 0x1a, 0x9f, 0x40, 0x10, 0xfe, 0x47, 0x7c, 0xf1,
};

struct kat {
	struct fernet_key key;
	uint8_t plain[TOKENS][TOKENS * STEP];
	uint8_t opened[TOKENS][TOKENS * STEP + 16];
	uint8_t tokens[TOKENS * FERNET_TOKEN_LEN(TOKENS * STEP)];
	uint8_t iv[TOKENS][FERNET_IV_LEN];
	struct fernet_seal_job seal[TOKENS];
	struct fernet_open_job open[TOKENS];
};

static void set_up(struct kat *kat)
{
	uint8_t raw[FERNET_KEY_LEN];
	uint8_t *token = kat->tokens;

	for (size_t i = 0; i < sizeof raw; i++)
		raw[i] = (uint8_t)i;
	fernet_key_init(&kat->key, raw);
	for (size_t i = 0; i < TOKENS; i++) {
		size_t len = i * STEP;
		size_t head_len = len < HEAD_LEN ? len : HEAD_LEN;

		for (size_t j = 0; j < len; j++)
			kat->plain[i][j] = (uint8_t)(i + j);
		memset(kat->iv[i], (int)i, FERNET_IV_LEN);
		kat->seal[i] = (struct fernet_seal_job){
			.head = kat->plain[i],
			.head_len = head_len,
			.body = kat->plain[i] + head_len,
			.body_len = len - head_len,
			.iv = kat->iv[i],
			.token = token,
		};
		kat->open[i] = (struct fernet_open_job){
			.token = token,
			.token_len = FERNET_TOKEN_LEN(len),
			.plaintext = kat->opened[i],
		};
		token += FERNET_TOKEN_LEN(len);
	}
}

static bool sealed_right(struct fernet_ctx *ctx, struct kat *kat)
{
	const struct fernet_open_job *last = &kat->open[TOKENS - 1];
	size_t len = (size_t)(last->token - kat->tokens) + last->token_len;
	uint8_t digest[sizeof digest_of_tokens];

	if (fernet_seal(ctx, &kat->key, timestamp, kat->seal, TOKENS) != 0)
		return false;
	crypto_generichash(digest, sizeof digest, kat->tokens, len, NULL, 0);
	return memcmp(digest, digest_of_tokens, sizeof digest) == 0;
}

static bool opened_right(struct fernet_ctx *ctx, struct kat *kat)
{
	kat->seal[TAMPERED].token[FERNET_BODY_OFFSET + 5] ^= 1;
	if (fernet_open(ctx, &kat->key, kat->open, TOKENS) != 1 ||
	    kat->open[TAMPERED].status != -EBADMSG)
		return false;
	for (size_t i = 0; i < TOKENS; i++)
		if (i != TAMPERED &&
		    (kat->open[i].plaintext_len != i * STEP ||
		     memcmp(kat->opened[i], kat->plain[i], i * STEP) != 0))
			return false;
	return bytes_all_zero(kat->opened[TAMPERED],
			      sizeof kat->opened[TAMPERED]);
}

int fernet_kat(void)
{
	CLEANUP_FREE void *room = NULL;
	struct kat *kat;
	struct fernet_ctx *ctx;
	bool right;

	if (posix_memalign(&room, _Alignof(struct kat), sizeof *kat) != 0)
		return -ENOMEM;
	kat = memset(room, 0, sizeof *kat);
	ctx = fernet_ctx_new();
	if (!ctx)
		return -ENOMEM;
	set_up(kat);
	right = sealed_right(ctx, kat) && opened_right(ctx, kat);
	fernet_ctx_free(ctx);
	return right ? 0 : -EILSEQ;
}
