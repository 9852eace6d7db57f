/*
 * Does the time that secret-dependent code takes tell of the secret? After
 * dudect (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?",
 * 2017): two classes of input in random order, Welch's t-test of their times,
 * also with the slowest ones left out. |t| beyond 10 is a leak, below 4.5
 * nothing was seen.
 *
 *   FRONDFS_CRYPTO=openssl|ipsecmb timing [SAMPLES]
 *
 * Comparing with memcmp() is measured as well: were it not found to leak, the
 * measurement would be worth nothing. Exit status 1 then, or if ours leaks.
 */
#include "fernet.h"
#include "vault_ini.h"

#include "../../fs/share/slip39.c"

#include <math.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

enum {
	CHUNK = 4104,
	TOKEN = FERNET_TOKEN_LEN(CHUNK),
	BATCH = 16,
	NAIVE = 4096,
	REPEATED = 64,
};
enum { SAMPLES_DEFAULT = 100000, WARM_UP = 1000, THRESHOLDS = 20 };

static const double leak = 10;

/* What is measured, in the same places for both classes. */
static struct bench {
	struct fernet_ctx *ctx;
	struct fernet_key key;
	uint8_t good[TOKEN], tokens[BATCH][TOKEN];
	uint8_t plaintexts[BATCH][FERNET_OPEN_ROOM(TOKEN)];
	struct fernet_open_job jobs[BATCH];
	uint8_t seal_key[32], naive[2][NAIVE], secret[SLIP39_SECRET_MAX_LEN];
	struct vault_ini ini;
	char text[VAULT_INI_MAX];
	size_t text_len;
	struct points points;
	uint8_t digests[2][DIGEST_LEN];
	int result; /* used, so that nothing is left out */
} bench;

/* mac with its first or its last byte wrong; the same steps for both. */
static void spoil_mac(const uint8_t mac[static 32], bool second,
		      uint8_t out[static 32])
{
	const uint8_t last = (uint8_t) - (int)second;

	memcpy(out, mac, 32);
	out[0] ^= 0x55 & (uint8_t)~last;
	out[31] ^= 0x55 & last;
}

static void spoil_tokens(bool second)
{
	uint8_t mac[FERNET_MAC_LEN];

	spoil_mac(bench.good + TOKEN - FERNET_MAC_LEN, second, mac);
	for (size_t n = 0; n < BATCH; n++) {
		memcpy(bench.tokens[n], bench.good, TOKEN - FERNET_MAC_LEN);
		memcpy(bench.tokens[n] + TOKEN - FERNET_MAC_LEN, mac,
		       sizeof mac);
	}
}

static void open_one(void)
{
	bench.result += (int)fernet_open(bench.ctx, &bench.key, bench.jobs, 1);
}

static void open_batch(void)
{
	bench.result +=
		(int)fernet_open(bench.ctx, &bench.key, bench.jobs, BATCH);
}

static uint8_t right_mac[VAULT_MAC_LEN];

static void spoil_seal(bool second)
{
	spoil_mac(right_mac, second, bench.ini.mac);
}

static void verify_seal(void)
{
	bench.result +=
		vault_ini_verify(&bench.ini, bench.text, bench.seal_key);
}

/* Three shares: of nothing but zeros, or of random bytes. The way there must
 * be one and the same, for what it leaves in caches is measured, too. */
static void choose_shares(bool second)
{
	const uint8_t keep = (uint8_t) - (int)second;
	uint8_t values[3][SLIP39_SECRET_LEN];

	randombytes_buf(values, sizeof values);
	for (size_t n = 0; n < sizeof values; n++)
		values[n / SLIP39_SECRET_LEN][n % SLIP39_SECRET_LEN] &= keep;
	bench.points = (struct points){.len = SLIP39_SECRET_LEN};
	for (uint8_t n = 0; n < 3; n++)
		add_point(&bench.points, n, values[n]);
}

static void join_shares(void)
{
	bench.result += join_value(&bench.points, bench.secret);
}

/* Two digests that differ in the first or the last byte. */
static void spoil_digest(bool second)
{
	const uint8_t last = (uint8_t) - (int)second;

	randombytes_buf(bench.digests[0], DIGEST_LEN);
	memcpy(bench.digests[1], bench.digests[0], DIGEST_LEN);
	bench.digests[1][0] ^= 0x55 & (uint8_t)~last;
	bench.digests[1][DIGEST_LEN - 1] ^= 0x55 & last;
}

/* Four bytes take so little that it has to be done often. */
static void compare_digests(void)
{
	for (size_t n = 0; n < REPEATED; n++)
		bench.result +=
			is_same_digest(bench.digests[0], bench.digests[1]);
}

static void spoil_naive(bool second)
{
	memset(bench.naive, 0, sizeof bench.naive);
	bench.naive[0][second ? NAIVE - 1 : 0] = 1;
}

static void compare_naively(void)
{
	bench.result += memcmp(bench.naive[0], bench.naive[1], NAIVE);
}

static const struct target {
	const char *name;
	void (*prepare)(bool second);
	void (*run)(void);
	bool leaks; /* as it must */
} targets[] = {
	{"a token's MAC, one at a time", spoil_tokens, open_one, false},
	{"tokens' MACs, many at a time", spoil_tokens, open_batch, false},
	{"the seal of vault.ini", spoil_seal, verify_seal, false},
	{"shares put together", choose_shares, join_shares, false},
	{"the digest of shares", spoil_digest, compare_digests, false},
	{"memcmp(), which leaks", spoil_naive, compare_naively, true},
};

static uint64_t now(void)
{
#if defined(__x86_64__)
	unsigned core;

	_mm_mfence();
	_mm_lfence();
	return __rdtscp(&core);
#else
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
#endif
}

struct samples {
	size_t count;
	double *times, *sorted;
	uint8_t *classes;
};

static void measure(const struct target *t, struct samples *s)
{
	for (size_t n = 0; n < s->count + WARM_UP; n++) {
		uint8_t class = randombytes_random() & 1;
		uint64_t begin, end;

		t->prepare(class);
		begin = now();
		t->run();
		end = now();
		if (n < WARM_UP)
			continue;
		s->classes[n - WARM_UP] = class;
		s->times[n - WARM_UP] = (double)(end - begin);
	}
}

/* Welch's t of the samples that took at most limit. */
static double welch(const struct samples *s, double limit)
{
	double count[2] = {0}, mean[2] = {0}, square[2] = {0};

	for (size_t n = 0; n < s->count; n++) {
		uint8_t c = s->classes[n];
		double before = s->times[n] - mean[c];

		if (s->times[n] > limit)
			continue;
		count[c]++;
		mean[c] += before / count[c];
		square[c] += before * (s->times[n] - mean[c]);
	}
	if (count[0] < 2 || count[1] < 2 || square[0] + square[1] <= 0)
		return 0;
	return (mean[0] - mean[1]) /
	       sqrt(square[0] / (count[0] - 1) / count[0] +
		    square[1] / (count[1] - 1) / count[1]);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double worst_t(const struct samples *s)
{
	double worst = 0;

	memcpy(s->sorted, s->times, s->count * sizeof *s->times);
	qsort(s->sorted, s->count, sizeof *s->sorted, by_size);
	for (size_t k = 1; k <= THRESHOLDS; k++) {
		double t = welch(s, s->sorted[s->count * k / THRESHOLDS - 1]);

		if (fabs(t) > fabs(worst))
			worst = t;
	}
	return worst;
}

static bool set_up(void)
{
	static const uint8_t raw[FERNET_KEY_LEN] = {7}, plain[CHUNK];
	struct fernet_seal_job job = {
		.body = plain, .body_len = CHUNK, .token = bench.good};
	struct vault_slot *slot = bench.ini.slots;

	if (sodium_init() < 0 || fernet_init(getenv("FRONDFS_CRYPTO")))
		return false;
	bench.ctx = fernet_ctx_new();
	fernet_key_init(&bench.key, raw);
	if (!bench.ctx || fernet_seal(bench.ctx, &bench.key, 0, &job, 1))
		return false;
	for (size_t n = 0; n < BATCH; n++)
		bench.jobs[n] = (struct fernet_open_job){
			.token = bench.tokens[n],
			.token_len = TOKEN,
			.plaintext = bench.plaintexts[n],
		};
	bench.ini.version = VAULT_VERSION;
	bench.ini.slot_count = 1;
	strcpy(bench.ini.created, "2026-11-21T12:00:00Z");
	strcpy(slot->name, "default");
	slot->ops = KDF_DEFAULT_OPS;
	slot->mem_bytes = (uint64_t)KDF_DEFAULT_MEM_MIB << 20;
	memset(slot->token, 'A', VAULT_SLOT_TEXT_LEN);
	if (vault_ini_format(&bench.ini, bench.seal_key, bench.text,
			     &bench.text_len))
		return false;
	/* what format() has just written, as parsing finds it */
	bench.ini.sealed_len =
		(size_t)(strstr(bench.text, "[seal]") - bench.text);
	crypto_generichash(right_mac, sizeof right_mac,
			   (const uint8_t *)bench.text, bench.ini.sealed_len,
			   bench.seal_key, sizeof bench.seal_key);
	memcpy(bench.ini.mac, right_mac, sizeof right_mac);
	return vault_ini_verify(&bench.ini, bench.text, bench.seal_key) == 0;
}

int main(int argc, char **argv)
{
	struct samples s = {.count = argc > 1 ? strtoul(argv[1], NULL, 10)
					      : SAMPLES_DEFAULT};
	bool good = true;

	s.times = calloc(s.count, sizeof *s.times);
	s.sorted = calloc(s.count, sizeof *s.sorted);
	s.classes = calloc(s.count, 1);
	if (s.count < THRESHOLDS || !s.times || !s.sorted || !s.classes ||
	    !set_up()) {
		fprintf(stderr, "timing: cannot begin\n");
		return 2;
	}
	printf("backend %s, %zu samples each\n", fernet_backend_name(),
	       s.count);
	for (size_t n = 0; n < sizeof targets / sizeof *targets; n++) {
		double t;

		measure(&targets[n], &s);
		t = worst_t(&s);
		printf("%-30s median %8.0f  t %8.2f  %s\n", targets[n].name,
		       s.sorted[s.count / 2], t,
		       fabs(t) > leak  ? "leaks"
		       : fabs(t) > 4.5 ? "perhaps"
				       : "nothing seen");
		good &= targets[n].leaks == (fabs(t) > leak);
	}
	free(s.times);
	free(s.sorted);
	free(s.classes);
	fernet_ctx_free(bench.ctx);
	return good ? 0 : 1;
}
