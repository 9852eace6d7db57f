/*
 * intel-ipsec-mb: many tokens at once. CBC encryption and SHA-256 are serial
 * within a token, so the library puts one token into each vector lane.
 *
 * Sealing and opening both take two passes over a burst, a pass of ciphers
 * and a pass of MACs. For opening that order is the rule (verify, then
 * decrypt); the library's chained jobs would decrypt before a tag can be
 * compared, and they are no faster: decryption takes a seventh of the time.
 *
 * Two managers share the hashing. AVX-512 has 16 lanes and takes as long for
 * one token as for 16, so it gets whole multiples of 16; what remains goes
 * through the SHA instructions, two lanes at a time (one 4 KiB token: 2.4 us
 * instead of 19).
 */
#include "fernet_backend.h"

#include <errno.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

enum {
	SIGNING_KEY_LEN = 16,
	ENCRYPTION_KEY_LEN = 16,
	IV_OFFSET = 9,
	WIDE_LANES = 16,
};

struct ipsecmb_state {
	IMB_MGR *wide;	 /* the best of this CPU */
	IMB_MGR *narrow; /* SHA instructions; NULL: none, or wide uses them */
	void *openssl;
	size_t seal_min, open_min; /* fewer tokens are faster through openssl */
	IMB_JOB jobs[FERNET_BURST];
	uint8_t macs[FERNET_BURST][FERNET_MAC_LEN];
};

/*
 * Key preparation uses none of a manager's queues, so that all threads share
 * this one; the probe makes it before threads start.
 */
static IMB_MGR *key_mgr;

static bool has(const IMB_MGR *mgr, uint64_t features)
{
	return (mgr->features & features) == features;
}

static IMB_MGR *make_best_mgr(void)
{
	IMB_MGR *mgr = alloc_mb_mgr(0);

	if (!mgr)
		return NULL;
	init_mb_mgr_auto(mgr, NULL);
	if (imb_get_errno(mgr) != 0) {
		free_mb_mgr(mgr);
		return NULL;
	}
	return mgr;
}

static IMB_MGR *make_narrow_mgr(void)
{
	IMB_MGR *mgr = alloc_mb_mgr(0);

	if (!mgr)
		return NULL;
	init_mb_mgr_avx2(mgr);
	if (imb_get_errno(mgr) != 0) {
		free_mb_mgr(mgr);
		return NULL;
	}
	return mgr;
}

static int ipsecmb_probe(void)
{
	if (key_mgr)
		return 0;
	key_mgr = make_best_mgr();
	if (!key_mgr)
		return -ENOTSUP;
	if (!has(key_mgr, IMB_FEATURE_AESNI | IMB_FEATURE_AVX2)) {
		free_mb_mgr(TAKE_PTR(key_mgr));
		return -ENOTSUP;
	}
	return 0;
}

static void ipsecmb_key_init(struct fernet_key *key)
{
	uint8_t block[IMB_SHA_256_BLOCK_SIZE] = {0};

	memcpy(block, key->key, SIGNING_KEY_LEN);
	for (size_t i = 0; i < sizeof block; i++)
		block[i] ^= 0x36;
	IMB_SHA256_ONE_BLOCK(key_mgr, block, key->hmac_inner);
	for (size_t i = 0; i < sizeof block; i++)
		block[i] ^= 0x36 ^ 0x5c;
	IMB_SHA256_ONE_BLOCK(key_mgr, block, key->hmac_outer);
	sodium_memzero(block, sizeof block);
	IMB_AES_KEYEXP_128(key_mgr, key->key + SIGNING_KEY_LEN, key->aes_enc,
			   key->aes_dec);
}

static void ipsecmb_state_free(void *p)
{
	struct ipsecmb_state *state = p;

	if (!state)
		return;
	if (state->wide)
		free_mb_mgr(state->wide);
	if (state->narrow)
		free_mb_mgr(state->narrow);
	fernet_openssl.state_free(state->openssl);
	free(state);
}

static bool make_managers(struct ipsecmb_state *state)
{
	bool sha;

	state->wide = make_best_mgr();
	state->openssl = fernet_openssl.state_new();
	if (!state->wide || !state->openssl)
		return false;
	sha = has(state->wide, IMB_FEATURE_SHANI);
	state->seal_min = sha ? 2 : 4;
	state->open_min = sha ? 1 : 4;
	if (!sha || state->wide->used_arch != IMB_ARCH_AVX512)
		return true;
	state->narrow = make_narrow_mgr();
	return state->narrow;
}

static void *ipsecmb_state_new(void)
{
	struct ipsecmb_state *state = calloc(1, sizeof *state);

	if (state && !make_managers(state)) {
		ipsecmb_state_free(state);
		return NULL;
	}
	return state;
}

static void set_job(IMB_JOB *job, const struct fernet_key *key,
		    const uint8_t *token, size_t ciphertext_len, uint8_t *dst,
		    uint8_t *mac)
{
	*job = (IMB_JOB){
		.enc_keys = key->aes_enc,
		.dec_keys = key->aes_dec,
		.key_len_in_bytes = ENCRYPTION_KEY_LEN,
		.cipher_mode = IMB_CIPHER_CBC,
		.iv = token + IV_OFFSET,
		.iv_len_in_bytes = FERNET_IV_LEN,
		.src = token,
		.dst = dst,
		.cipher_start_src_offset_in_bytes = FERNET_BODY_OFFSET,
		.msg_len_to_cipher_in_bytes = ciphertext_len,
		.hash_alg = IMB_AUTH_HMAC_SHA_256,
		.msg_len_to_hash_in_bytes = FERNET_BODY_OFFSET + ciphertext_len,
		.auth_tag_output = mac,
		.auth_tag_output_len_in_bytes = FERNET_MAC_LEN,
		.u.HMAC._hashed_auth_key_xor_ipad = key->hmac_inner,
		.u.HMAC._hashed_auth_key_xor_opad = key->hmac_outer,
	};
}

static bool all_completed(const IMB_JOB *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (jobs[i].status != IMB_STATUS_COMPLETED)
			return false;
	return true;
}

static bool hash_with(IMB_MGR *mgr, IMB_JOB *jobs, size_t n)
{
	return n == 0 || (IMB_SUBMIT_HASH_BURST(mgr, jobs, (uint32_t)n,
						IMB_AUTH_HMAC_SHA_256) == n &&
			  all_completed(jobs, n));
}

static bool hash(struct ipsecmb_state *state, size_t n)
{
	size_t whole = state->narrow ? n - n % WIDE_LANES : n;

	return hash_with(state->wide, state->jobs, whole) &&
	       hash_with(state->narrow, state->jobs + whole, n - whole);
}

static bool cipher(struct ipsecmb_state *state, size_t n,
		   IMB_CIPHER_DIRECTION direction)
{
	for (size_t i = 0; i < n; i++)
		state->jobs[i].cipher_direction = direction;
	return IMB_SUBMIT_CIPHER_BURST(state->wide, state->jobs, (uint32_t)n,
				       IMB_CIPHER_CBC, direction,
				       IMB_KEY_128_BYTES) == n &&
	       all_completed(state->jobs, n);
}

static int ipsecmb_seal(void *p, const struct fernet_key *key,
			uint8_t *const *tokens, const size_t *ciphertext_len,
			size_t n)
{
	struct ipsecmb_state *state = p;

	if (n < state->seal_min)
		return fernet_openssl.seal(state->openssl, key, tokens,
					   ciphertext_len, n);
	for (size_t i = 0; i < n; i++) {
		uint8_t *body = tokens[i] + FERNET_BODY_OFFSET;

		set_job(&state->jobs[i], key, tokens[i], ciphertext_len[i],
			body, body + ciphertext_len[i]);
	}
	return cipher(state, n, IMB_DIR_ENCRYPT) && hash(state, n) ? 0 : -EIO;
}

static void set_open_job(struct ipsecmb_state *state, size_t at,
			 const struct fernet_key *key,
			 const struct fernet_open_job *job)
{
	set_job(&state->jobs[at], key, job->token,
		FERNET_OPEN_ROOM(job->token_len), job->plaintext,
		state->macs[at]);
}

static void ipsecmb_open(void *p, const struct fernet_key *key,
			 struct fernet_open_job *const *jobs, size_t n)
{
	struct ipsecmb_state *state = p;
	struct fernet_open_job *good[FERNET_BURST];
	size_t good_count = 0;

	if (n < state->open_min) {
		fernet_openssl.open(state->openssl, key, jobs, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		set_open_job(state, i, key, jobs[i]);
	if (!hash(state, n))
		return;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *mac =
			jobs[i]->token + jobs[i]->token_len - FERNET_MAC_LEN;

		if (CRYPTO_memcmp(state->macs[i], mac, FERNET_MAC_LEN) != 0)
			continue;
		if (good_count != i)
			set_open_job(state, good_count, key, jobs[i]);
		good[good_count++] = jobs[i];
	}
	if (good_count == 0)
		return;
	if (cipher(state, good_count, IMB_DIR_DECRYPT))
		for (size_t i = 0; i < good_count; i++)
			good[i]->status = 0;
	else
		for (size_t i = 0; i < good_count; i++)
			sodium_memzero(good[i]->plaintext,
				       FERNET_OPEN_ROOM(good[i]->token_len));
}

const struct fernet_backend fernet_ipsecmb = {
	.name = "ipsecmb",
	.probe = ipsecmb_probe,
	.key_init = ipsecmb_key_init,
	.state_new = ipsecmb_state_new,
	.state_free = ipsecmb_state_free,
	.seal = ipsecmb_seal,
	.open = ipsecmb_open,
};
