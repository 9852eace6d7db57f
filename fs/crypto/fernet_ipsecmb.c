/*
 * intel-ipsec-mb: many tokens at once. CBC encryption and SHA-256 are serial
 * within a token, so the library puts one token into each vector lane.
 *
 * Sealing and opening both take two passes over a burst, a pass of ciphers
 * and a pass of MACs. For opening that order is the rule (verify, then
 * decrypt); the library's chained jobs would decrypt before a tag can be
 * compared, and they are no faster: decryption takes a seventh of the time.
 *
 * Hashing takes most of the time, and which way is fastest depends on the
 * CPU: 16 lanes of AVX-512 on some, four lanes of the SHA instructions
 * (fernet_hmac.h) on others. The probe tries both. AVX-512 takes as long for
 * one token as for 16, so it never gets less than 16.
 */
#include "fernet_backend.h"
#include "fernet_hmac.h"

#include "clock.h"

#include <errno.h>
#include <intel-ipsec-mb.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

enum {
	SIGNING_KEY_LEN = 16,
	ENCRYPTION_KEY_LEN = 16,
	IV_OFFSET = 9,
	WIDE_LANES = 16,
	TRIALS = 20,
	TRIAL_CIPHERTEXT_LEN = 4112, /* of a chunk's token */
	TRIAL_TOKEN_LEN = FERNET_OVERHEAD + TRIAL_CIPHERTEXT_LEN,
};

/* Which MACs the library computes; fernet_hmac() computes the others. */
enum hashing { ALL_WIDE, SIXTEENS_WIDE, NONE_WIDE };

struct ipsecmb_state {
	IMB_MGR *mgr;
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
/* The probe's choice. */
static enum hashing hashing;

static bool has(const IMB_MGR *mgr, uint64_t features)
{
	return (mgr->features & features) == features;
}

static IMB_MGR *make_mgr(void)
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
	if (state->mgr)
		free_mb_mgr(state->mgr);
	fernet_openssl.state_free(state->openssl);
	free(state);
}

/* What is the same for every token. */
static void prepare_job(IMB_JOB *job)
{
	*job = (IMB_JOB){
		.key_len_in_bytes = ENCRYPTION_KEY_LEN,
		.cipher_mode = IMB_CIPHER_CBC,
		.iv_len_in_bytes = FERNET_IV_LEN,
		.cipher_start_src_offset_in_bytes = FERNET_BODY_OFFSET,
		.hash_alg = IMB_AUTH_HMAC_SHA_256,
		.auth_tag_output_len_in_bytes = FERNET_MAC_LEN,
	};
}

static void *ipsecmb_state_new(void)
{
	struct ipsecmb_state *state = calloc(1, sizeof *state);
	bool sha;

	if (!state)
		return NULL;
	state->mgr = make_mgr();
	state->openssl = fernet_openssl.state_new();
	if (!state->mgr || !state->openssl) {
		ipsecmb_state_free(state);
		return NULL;
	}
	sha = has(state->mgr, IMB_FEATURE_SHANI);
	state->seal_min = sha ? 2 : 4;
	state->open_min = sha ? 1 : 4;
	for (size_t i = 0; i < FERNET_BURST; i++)
		prepare_job(&state->jobs[i]);
	return state;
}

static void set_job(IMB_JOB *job, const struct fernet_key *key,
		    const uint8_t *token, size_t ciphertext_len, uint8_t *dst,
		    uint8_t *mac)
{
	job->enc_keys = key->aes_enc;
	job->dec_keys = key->aes_dec;
	job->iv = token + IV_OFFSET;
	job->src = token;
	job->dst = dst;
	job->msg_len_to_cipher_in_bytes = ciphertext_len;
	job->msg_len_to_hash_in_bytes = FERNET_BODY_OFFSET + ciphertext_len;
	job->auth_tag_output = mac;
	job->u.HMAC._hashed_auth_key_xor_ipad = key->hmac_inner;
	job->u.HMAC._hashed_auth_key_xor_opad = key->hmac_outer;
	job->status = IMB_STATUS_BEING_PROCESSED;
}

static bool all_completed(const IMB_JOB *jobs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (jobs[i].status != IMB_STATUS_COMPLETED)
			return false;
	return true;
}

static bool hash_wide(struct ipsecmb_state *state, size_t n)
{
	return IMB_SUBMIT_HASH_BURST(state->mgr, state->jobs, (uint32_t)n,
				     IMB_AUTH_HMAC_SHA_256) == n &&
	       all_completed(state->jobs, n);
}

static void hash_narrow(const struct fernet_key *key, const IMB_JOB *jobs,
			size_t n)
{
	struct fernet_hmac_job hmac[FERNET_BURST];

	for (size_t i = 0; i < n; i++)
		hmac[i] = (struct fernet_hmac_job){
			.data = jobs[i].src,
			.len = jobs[i].msg_len_to_hash_in_bytes,
			.mac = jobs[i].auth_tag_output,
		};
	fernet_hmac(key, hmac, n);
}

static bool hash(struct ipsecmb_state *state, const struct fernet_key *key,
		 size_t n)
{
	size_t wide = n;

	if (hashing == SIXTEENS_WIDE)
		wide = n - n % WIDE_LANES;
	if (hashing == NONE_WIDE)
		wide = 0;
	if (wide && !hash_wide(state, wide))
		return false;
	if (wide < n)
		hash_narrow(key, state->jobs + wide, n - wide);
	return true;
}

static bool cipher(struct ipsecmb_state *state, size_t n,
		   IMB_CIPHER_DIRECTION direction)
{
	for (size_t i = 0; i < n; i++)
		state->jobs[i].cipher_direction = direction;
	return IMB_SUBMIT_CIPHER_BURST(state->mgr, state->jobs, (uint32_t)n,
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
	return cipher(state, n, IMB_DIR_ENCRYPT) && hash(state, key, n) ? 0
									: -EIO;
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
	if (!hash(state, key, n))
		return;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *mac =
			jobs[i]->token + jobs[i]->token_len - FERNET_MAC_LEN;

		if (crypto_verify_32(state->macs[i], mac) != 0)
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

/* Both ways must agree, and the faster one is chosen. */
static int try_hashing(struct ipsecmb_state *state,
		       const struct fernet_key *key)
{
	uint8_t macs[WIDE_LANES][FERNET_MAC_LEN];
	int64_t wide = INT64_MAX, narrow = INT64_MAX;

	for (int i = 0; i < TRIALS; i++) {
		int64_t begin = clock_now_ns(), middle, end;

		if (!hash_wide(state, WIDE_LANES))
			return -EILSEQ;
		middle = clock_now_ns();
		memcpy(macs, state->macs, sizeof macs);
		hash_narrow(key, state->jobs, WIDE_LANES);
		end = clock_now_ns();
		if (memcmp(macs, state->macs, sizeof macs) != 0)
			return -EILSEQ;
		wide = middle - begin < wide ? middle - begin : wide;
		narrow = end - middle < narrow ? end - middle : narrow;
	}
	hashing = narrow < wide ? NONE_WIDE : SIXTEENS_WIDE;
	return 0;
}

static int choose_hashing(void)
{
	static const struct fernet_key key;
	CLEANUP_FREE uint8_t *tokens = malloc(WIDE_LANES * TRIAL_TOKEN_LEN);
	struct ipsecmb_state *state;
	int err;

	hashing = ALL_WIDE;
	if (!has(key_mgr, IMB_FEATURE_SHANI | IMB_FEATURE_AVX512_SKX))
		return 0;
	state = ipsecmb_state_new();
	if (!state || !tokens) {
		ipsecmb_state_free(state);
		return -ENOMEM;
	}
	for (size_t i = 0; i < WIDE_LANES; i++) {
		uint8_t *token = tokens + i * TRIAL_TOKEN_LEN;

		memset(token, (int)i, TRIAL_TOKEN_LEN);
		set_job(&state->jobs[i], &key, token, TRIAL_CIPHERTEXT_LEN,
			NULL, state->macs[i]);
	}
	err = try_hashing(state, &key);
	ipsecmb_state_free(state);
	return err;
}

static int ipsecmb_probe(void)
{
	int err = -ENOTSUP;

	if (key_mgr)
		return 0;
	key_mgr = make_mgr();
	if (!key_mgr)
		return -ENOTSUP;
	if (has(key_mgr, IMB_FEATURE_AESNI | IMB_FEATURE_AVX2))
		err = choose_hashing();
	if (err)
		free_mb_mgr(TAKE_PTR(key_mgr));
	return err;
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
