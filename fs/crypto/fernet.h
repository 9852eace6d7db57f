/*
 * Fernet tokens in batches (spec: github.com/fernet/spec, version 0x80).
 *
 *   0x80 | timestamp u64 | IV 16 | AES-128-CBC with PKCS#7 | HMAC-SHA256 32
 *
 * keyed by signing key 16 | encryption key 16. Tokens here are those bytes;
 * fernet_text.h has their base64url form. A token is verified in constant
 * time before anything of it is decrypted.
 *
 * A backend does the work: "openssl" everywhere, "ipsecmb" (intel-ipsec-mb,
 * many tokens at once) where it is built in and the CPU can. Both make the
 * same bytes.
 */
#ifndef FROND_FERNET_H
#define FROND_FERNET_H

#include "cleanup.h"

#include <stddef.h>
#include <stdint.h>

enum {
	FERNET_KEY_LEN = 32,
	FERNET_IV_LEN = 16,
	FERNET_BODY_OFFSET = 25, /* where the ciphertext begins */
	FERNET_MAC_LEN = 32,
	FERNET_OVERHEAD = FERNET_BODY_OFFSET + FERNET_MAC_LEN,
	FERNET_MIN_LEN = FERNET_OVERHEAD + 16,
	/* ipsec-mb takes jobs of at most 65534 bytes */
	FERNET_MAX_PLAINTEXT = 65000,
};

/* Length of the token of a plaintext of len bytes. */
#define FERNET_TOKEN_LEN(len) (FERNET_OVERHEAD + ((len) / 16 + 1) * 16)
/* Room that opening a token of len bytes needs (its padding included). */
#define FERNET_OPEN_ROOM(len) ((len)-FERNET_OVERHEAD)

/*
 * A key made ready for use: schedules and HMAC states computed once. Secret:
 * keep it in locked memory, wipe it after. The fields belong to the backends.
 */
struct fernet_key {
	_Alignas(64) uint8_t key[FERNET_KEY_LEN];
	uint8_t hmac_inner[32], hmac_outer[32];
	_Alignas(16) uint8_t aes_enc[11 * 16];
	_Alignas(16) uint8_t aes_dec[11 * 16];
};

/* One token to make. The plaintext is head followed by body. */
struct fernet_seal_job {
	const uint8_t *head;
	size_t head_len;
	const uint8_t *body;
	size_t body_len;
	const uint8_t *iv; /* 16 bytes, for known-answer tests; NULL: random */
	uint8_t *token;	   /* out: FERNET_TOKEN_LEN(head_len + body_len) */
};

/* One token to open. */
struct fernet_open_job {
	const uint8_t *token;
	size_t token_len;
	uint8_t *plaintext;   /* out: FERNET_OPEN_ROOM(token_len) bytes */
	size_t plaintext_len; /* out */
	int status;	      /* out: 0 or -EBADMSG */
};

/*
 * Choose the backend: "openssl", "ipsecmb", or NULL for the fastest that
 * works here. It must pass a known-answer test. Call once, before any other
 * function of this header and before threads start.
 * -ENOENT: no backend of that name in this build; -ENOTSUP: this CPU lacks
 * what it needs; -EILSEQ: it computes wrong tokens.
 */
MUST_CHECK int fernet_init(const char *backend);
/* The chosen backend's name. */
const char *fernet_backend_name(void);

/*
 * Working state of one thread: never use one from two threads at a time.
 * NULL when memory is short.
 */
struct fernet_ctx;
MUST_CHECK struct fernet_ctx *fernet_ctx_new(void);
void fernet_ctx_free(struct fernet_ctx *ctx);

/* Fills *out from a raw key. */
void fernet_key_init(struct fernet_key *out, const uint8_t raw[FERNET_KEY_LEN]);

/*
 * Make n tokens stamped with timestamp (seconds since the epoch). Tokens may
 * lie back to back, unaligned. 0, or -EIO when the backend or the random
 * generator failed; the token buffers are then undefined.
 */
MUST_CHECK int fernet_seal(struct fernet_ctx *ctx, const struct fernet_key *key,
			   uint64_t timestamp,
			   const struct fernet_seal_job *jobs, size_t n);

/*
 * Open n tokens; each job's status tells its fate, and nothing is left in
 * the plaintext buffer of one that failed. Returns how many failed. A token
 * is bad when its version, length, MAC or padding is; the timestamp is not
 * judged.
 */
MUST_CHECK size_t fernet_open(struct fernet_ctx *ctx,
			      const struct fernet_key *key,
			      struct fernet_open_job *jobs, size_t n);

/* The seconds since the epoch that a token of at least 9 bytes is stamped. */
uint64_t fernet_timestamp(const uint8_t *token);

#endif
