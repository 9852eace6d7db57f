/*
 * The reference backend: libcrypto's EVP, one token after the other. Contexts
 * are made once; a call keys them, a token costs a new IV and a MAC reset.
 */
#include "fernet_backend.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdbool.h>

enum { SIGNING_KEY_LEN = 16, IV_OFFSET = 9 };

struct openssl_state {
	EVP_CIPHER_CTX *encrypt, *decrypt;
	EVP_MAC_CTX *mac;
};

static int openssl_probe(void)
{
	return 0;
}

static void openssl_state_free(void *p)
{
	struct openssl_state *state = p;

	if (!state)
		return;
	EVP_CIPHER_CTX_free(state->encrypt);
	EVP_CIPHER_CTX_free(state->decrypt);
	EVP_MAC_CTX_free(state->mac);
	free(state);
}

/* The contexts hold references of their own to what is fetched here. */
static bool make_contexts(struct openssl_state *state)
{
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest,
						 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_CIPHER *cbc = EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL);
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	bool ok = cbc && hmac;

	if (ok) {
		state->encrypt = EVP_CIPHER_CTX_new();
		state->decrypt = EVP_CIPHER_CTX_new();
		state->mac = EVP_MAC_CTX_new(hmac);
		ok = state->encrypt && state->decrypt && state->mac;
	}
	ok = ok && EVP_EncryptInit_ex2(state->encrypt, cbc, NULL, NULL, NULL) &&
	     EVP_DecryptInit_ex2(state->decrypt, cbc, NULL, NULL, NULL) &&
	     EVP_MAC_CTX_set_params(state->mac, params);
	EVP_CIPHER_free(cbc);
	EVP_MAC_free(hmac);
	return ok;
}

static void *openssl_state_new(void)
{
	struct openssl_state *state = calloc(1, sizeof *state);

	if (state && !make_contexts(state)) {
		openssl_state_free(state);
		return NULL;
	}
	return state;
}

static bool set_mac_key(struct openssl_state *state,
			const struct fernet_key *key)
{
	return EVP_MAC_init(state->mac, key->key, SIGNING_KEY_LEN, NULL);
}

static bool compute_mac(struct openssl_state *state, const uint8_t *token,
			size_t len, uint8_t mac[FERNET_MAC_LEN])
{
	size_t mac_len;

	return EVP_MAC_init(state->mac, NULL, 0, NULL) &&
	       EVP_MAC_update(state->mac, token, len) &&
	       EVP_MAC_final(state->mac, mac, &mac_len, FERNET_MAC_LEN) &&
	       mac_len == FERNET_MAC_LEN;
}

/* In place or not; the padding is fernet.c's business. */
static bool cipher(EVP_CIPHER_CTX *ctx, const uint8_t *iv, const uint8_t *in,
		   size_t len, uint8_t *out)
{
	int out_len;

	return EVP_CipherInit_ex2(ctx, NULL, NULL, iv, -1, NULL) &&
	       EVP_CIPHER_CTX_set_padding(ctx, 0) &&
	       EVP_CipherUpdate(ctx, out, &out_len, in, (int)len) &&
	       out_len == (int)len;
}

static int openssl_seal(void *p, const struct fernet_key *key,
			uint8_t *const *tokens, const size_t *ciphertext_len,
			size_t n)
{
	struct openssl_state *state = p;

	if (!set_mac_key(state, key) ||
	    !EVP_EncryptInit_ex2(state->encrypt, NULL,
				 key->key + SIGNING_KEY_LEN, NULL, NULL))
		return -EIO;
	for (size_t i = 0; i < n; i++) {
		uint8_t *body = tokens[i] + FERNET_BODY_OFFSET;
		size_t len = ciphertext_len[i];

		if (!cipher(state->encrypt, tokens[i] + IV_OFFSET, body, len,
			    body) ||
		    !compute_mac(state, tokens[i], FERNET_BODY_OFFSET + len,
				 body + len))
			return -EIO;
	}
	return 0;
}

static bool open_one(struct openssl_state *state, struct fernet_open_job *job)
{
	size_t signed_len = job->token_len - FERNET_MAC_LEN;
	uint8_t mac[FERNET_MAC_LEN];

	if (!compute_mac(state, job->token, signed_len, mac) ||
	    sodium_memcmp(mac, job->token + signed_len, sizeof mac) != 0)
		return false;
	if (cipher(state->decrypt, job->token + IV_OFFSET,
		   job->token + FERNET_BODY_OFFSET,
		   FERNET_OPEN_ROOM(job->token_len), job->plaintext))
		return true;
	sodium_memzero(job->plaintext, FERNET_OPEN_ROOM(job->token_len));
	return false;
}

static void openssl_open(void *p, const struct fernet_key *key,
			 struct fernet_open_job *const *jobs, size_t n)
{
	struct openssl_state *state = p;

	if (!set_mac_key(state, key) ||
	    !EVP_DecryptInit_ex2(state->decrypt, NULL,
				 key->key + SIGNING_KEY_LEN, NULL, NULL))
		return;
	for (size_t i = 0; i < n; i++)
		if (open_one(state, jobs[i]))
			jobs[i]->status = 0;
}

const struct fernet_backend fernet_openssl = {
	.name = "openssl",
	.probe = openssl_probe,
	.state_new = openssl_state_new,
	.state_free = openssl_state_free,
	.seal = openssl_seal,
	.open = openssl_open,
};
