#include "slip39.h"

#include "bytes.h"

#include <errno.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

enum {
	DIGEST_LEN = 4,
	DIGEST_X = 254, /* where the digest lies on the polynomial */
	SECRET_X = 255, /* and the secret */
	ROUNDS = 4,
	ITERATIONS = 10000, /* of all rounds, shifted by the exponent */
	POINTS_MAX = SLIP39_SHARES_MAX,
	PASSPHRASE_MAX = 256,
	HALF_MAX = SLIP39_SECRET_MAX_LEN / 2,
};

/* Points of a polynomial over GF(256) for each byte of the values. */
struct points {
	size_t count, len;
	uint8_t x[POINTS_MAX];
	uint8_t y[POINTS_MAX][SLIP39_SECRET_MAX_LEN];
};

/* In GF(256) modulo x^8 + x^4 + x^3 + x + 1, without branches. */
static uint8_t gf_mul(uint8_t a, uint8_t b)
{
	unsigned product = 0, shifted = a;

	for (unsigned bit = 0; bit < 8; bit++) {
		product ^= shifted & (0u - ((unsigned)b >> bit & 1u));
		shifted = shifted << 1 ^ (0x11bu & (0u - (shifted >> 7 & 1u)));
	}
	return (uint8_t)product;
}

/* a^254, the inverse; 0 for 0. */
static uint8_t gf_inverse(uint8_t a)
{
	uint8_t power = a, result = 1;

	for (unsigned bit = 1; bit < 8; bit++) {
		power = gf_mul(power, power);
		result = gf_mul(result, power);
	}
	return result;
}

/* The Lagrange basis of point i at x; the points' x are public and differ. */
static uint8_t basis(const struct points *p, size_t i, uint8_t x)
{
	uint8_t over = 1, under = 1;

	for (size_t j = 0; j < p->count; j++) {
		if (j == i)
			continue;
		over = gf_mul(over, p->x[j] ^ x);
		under = gf_mul(under, p->x[j] ^ p->x[i]);
	}
	return gf_mul(over, gf_inverse(under));
}

static void interpolate(const struct points *p, uint8_t x, uint8_t *out)
{
	memset(out, 0, p->len);
	for (size_t i = 0; i < p->count; i++) {
		uint8_t factor = basis(p, i, x);

		for (size_t n = 0; n < p->len; n++)
			out[n] ^= gf_mul(p->y[i][n], factor);
	}
}

static void add_point(struct points *p, uint8_t x, const uint8_t *y)
{
	p->x[p->count] = x;
	memcpy(p->y[p->count], y, p->len);
	p->count++;
}

/* The first bytes of HMAC-SHA256 of the secret, keyed with the padding. */
static void digest_of(const uint8_t *secret, size_t len, const uint8_t *padding,
		      uint8_t digest[static DIGEST_LEN])
{
	crypto_auth_hmacsha256_state state;
	uint8_t mac[crypto_auth_hmacsha256_BYTES];

	crypto_auth_hmacsha256_init(&state, padding, len - DIGEST_LEN);
	crypto_auth_hmacsha256_update(&state, secret, len);
	crypto_auth_hmacsha256_final(&state, mac);
	memcpy(digest, mac, DIGEST_LEN);
	sodium_memzero(&state, sizeof state);
	sodium_memzero(mac, sizeof mac);
}

/*
 * k - 2 random shares, the digest and the secret determine the polynomial;
 * the other shares lie on it.
 */
static void split_value(const uint8_t *secret, size_t len, unsigned k,
			unsigned n, struct slip39_share *shares)
{
	uint8_t digest[SLIP39_SECRET_MAX_LEN];
	struct points p = {.len = len};
	unsigned i = 0;

	if (k == 1) {
		for (; i < n; i++)
			memcpy(shares[i].value, secret, len);
		return;
	}
	for (; i < k - 2; i++) {
		randombytes_buf(shares[i].value, len);
		add_point(&p, (uint8_t)i, shares[i].value);
	}
	randombytes_buf(digest + DIGEST_LEN, len - DIGEST_LEN);
	digest_of(secret, len, digest + DIGEST_LEN, digest);
	add_point(&p, DIGEST_X, digest);
	add_point(&p, SECRET_X, secret);
	for (; i < n; i++)
		interpolate(&p, (uint8_t)i, shares[i].value);
	sodium_memzero(&p, sizeof p);
	sodium_memzero(digest, sizeof digest);
}

/* In the same time, wherever they differ. */
static bool is_same_digest(const uint8_t a[static DIGEST_LEN],
			   const uint8_t b[static DIGEST_LEN])
{
	return sodium_memcmp(a, b, DIGEST_LEN) == 0;
}

/* The reverse: exactly as many points as the threshold says. */
static int join_value(const struct points *p, uint8_t *secret)
{
	uint8_t digest[SLIP39_SECRET_MAX_LEN], expected[DIGEST_LEN];
	int err;

	if (p->count == 1) {
		memcpy(secret, p->y[0], p->len);
		return 0;
	}
	interpolate(p, SECRET_X, secret);
	interpolate(p, DIGEST_X, digest);
	digest_of(secret, p->len, digest + DIGEST_LEN, expected);
	err = is_same_digest(digest, expected) ? 0 : -EBADMSG;
	sodium_memzero(digest, sizeof digest);
	sodium_memzero(expected, sizeof expected);
	return err;
}

/* What the Feistel rounds need to know of the set. */
struct cipher {
	const struct slip39_share *share;
	const char *passphrase;
	size_t passphrase_len;
};

/* PBKDF2 of round and passphrase, salted with the set's id and the half. */
static int round_key(const struct cipher *c, uint8_t round, const uint8_t *half,
		     size_t len, uint8_t *out)
{
	uint8_t salt[8 + HALF_MAX] = "shamir";
	char password[1 + PASSPHRASE_MAX];
	size_t salt_len = 0;
	int iterations = (ITERATIONS / ROUNDS) << c->share->iteration_exponent;
	int ok;

	if (!c->share->extendable) {
		be16_store(salt + 6, c->share->id);
		salt_len = 8;
	}
	memcpy(salt + salt_len, half, len);
	password[0] = (char)round;
	memcpy(password + 1, c->passphrase, c->passphrase_len);
	ok = PKCS5_PBKDF2_HMAC(password, (int)c->passphrase_len + 1, salt,
			       (int)(salt_len + len), iterations, EVP_sha256(),
			       (int)len, out);
	sodium_memzero(salt, sizeof salt);
	sodium_memzero(password, sizeof password);
	return ok == 1 ? 0 : -EIO;
}

/* The Feistel cipher over both halves; backwards it undoes itself. */
static int feistel(const struct cipher *c, bool backwards, uint8_t *value,
		   size_t len)
{
	uint8_t left[HALF_MAX], right[HALF_MAX], key[HALF_MAX];
	size_t half = len / 2;
	int err = 0;

	memcpy(left, value, half);
	memcpy(right, value + half, half);
	for (unsigned i = 0; i < ROUNDS && !err; i++) {
		unsigned round = backwards ? ROUNDS - 1 - i : i;

		err = round_key(c, (uint8_t)round, right, half, key);
		for (size_t n = 0; n < half; n++)
			key[n] ^= left[n];
		memcpy(left, right, half);
		memcpy(right, key, half);
	}
	if (!err) {
		memcpy(value, right, half);
		memcpy(value + half, left, half);
	}
	sodium_memzero(left, sizeof left);
	sodium_memzero(right, sizeof right);
	sodium_memzero(key, sizeof key);
	return err;
}

int slip39_split(const uint8_t secret[static SLIP39_SECRET_LEN], unsigned k,
		 unsigned n, struct slip39_share *shares)
{
	uint8_t value[SLIP39_SECRET_LEN];
	struct slip39_share common = {
		.id = (uint16_t)(randombytes_random() & 0x7fff),
		.group_threshold = 1,
		.group_count = 1,
		.member_threshold = (uint8_t)k,
		.value_len = SLIP39_SECRET_LEN,
	};
	const struct cipher cipher = {.share = &common, .passphrase = ""};
	int err;

	if (k < 1 || k > n || n > SLIP39_SHARES_MAX)
		return -EINVAL;
	memcpy(value, secret, sizeof value);
	err = feistel(&cipher, false, value, sizeof value);
	if (!err) {
		for (unsigned i = 0; i < n; i++) {
			shares[i] = common;
			shares[i].member_index = (uint8_t)i;
		}
		split_value(value, sizeof value, k, n, shares);
	}
	sodium_memzero(value, sizeof value);
	return err;
}

static bool same_set(const struct slip39_share *a, const struct slip39_share *b)
{
	return a->id == b->id && a->extendable == b->extendable &&
	       a->iteration_exponent == b->iteration_exponent &&
	       a->group_threshold == b->group_threshold &&
	       a->group_count == b->group_count && a->value_len == b->value_len;
}

/* Collect the shares of one group; -EINVAL: not just those that it needs. */
static int gather_group(const struct slip39_share *shares, size_t count,
			uint8_t group, struct points *p)
{
	unsigned threshold = 0;

	for (size_t i = 0; i < count; i++) {
		if (shares[i].group_index != group)
			continue;
		if (threshold == 0)
			threshold = shares[i].member_threshold;
		if (shares[i].member_threshold != threshold ||
		    p->count == threshold ||
		    memchr(p->x, shares[i].member_index, p->count))
			return -EINVAL;
		add_point(p, shares[i].member_index, shares[i].value);
	}
	return p->count == threshold ? 0 : -EINVAL;
}

/* Every group that has shares becomes a point of the groups' polynomial. */
static int join_groups(const struct slip39_share *shares, size_t count,
		       struct points *groups)
{
	uint8_t value[SLIP39_SECRET_MAX_LEN];
	struct points members;
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		uint8_t group = shares[i].group_index;

		if (memchr(groups->x, group, groups->count))
			continue;
		if (groups->count == shares[0].group_threshold)
			return -EINVAL;
		members = (struct points){.len = groups->len};
		err = gather_group(shares, count, group, &members);
		if (!err)
			err = join_value(&members, value);
		if (!err)
			add_point(groups, group, value);
		sodium_memzero(&members, sizeof members);
	}
	sodium_memzero(value, sizeof value);
	if (!err && groups->count != shares[0].group_threshold)
		err = -EINVAL;
	return err;
}

static bool passphrase_ok(const char *passphrase, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (passphrase[i] < ' ' || passphrase[i] > '~')
			return false;
	return len <= PASSPHRASE_MAX;
}

int slip39_combine(const struct slip39_share *shares, size_t count,
		   const char *passphrase,
		   uint8_t secret[static SLIP39_SECRET_MAX_LEN], size_t *len)
{
	const struct cipher cipher = {.share = shares,
				      .passphrase = passphrase,
				      .passphrase_len = strlen(passphrase)};
	struct points groups = {0};
	uint8_t value[SLIP39_SECRET_MAX_LEN];
	int err;

	if (count == 0 || count > SLIP39_SHARES_MAX * SLIP39_SHARES_MAX ||
	    !passphrase_ok(passphrase, cipher.passphrase_len))
		return -EINVAL;
	for (size_t i = 1; i < count; i++)
		if (!same_set(&shares[0], &shares[i]))
			return -EINVAL;
	groups.len = shares[0].value_len;
	err = join_groups(shares, count, &groups);
	if (!err)
		err = join_value(&groups, value);
	if (!err)
		err = feistel(&cipher, true, value, groups.len);
	if (!err) {
		memcpy(secret, value, groups.len);
		*len = groups.len;
	}
	sodium_memzero(&groups, sizeof groups);
	sodium_memzero(value, sizeof value);
	return err;
}
