/*
 * Every backend runs in a process of its own, as fernet_init() wants to be
 * called once; the last process has both and compares them.
 */
#include "bytes.h"
#include "fernet_text.h"
#include "secret.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

enum { MAX_BATCH = 300, MAX_LEN = 4104, THREADS = 4 };

/* A row of tokens of mixed lengths, back to back, and what they hold. */
struct row {
	size_t count;
	size_t plain_len[MAX_BATCH];
	uint8_t iv[MAX_BATCH][FERNET_IV_LEN];
	uint8_t plain[MAX_BATCH][MAX_LEN];
	uint8_t opened[MAX_BATCH][MAX_LEN + 16];
	uint8_t tokens[MAX_BATCH * FERNET_TOKEN_LEN(MAX_LEN)];
	struct fernet_seal_job seal[MAX_BATCH];
	struct fernet_open_job open[MAX_BATCH];
};

static struct fernet_ctx *ctx;
static struct fernet_key key;
static struct row *row;

static uint64_t random_state = 88172645463325252;

/* xorshift64: the same numbers in every run. */
static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static void fill_random(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)next_random();
}

static size_t mixed_length(size_t i)
{
	switch (i % 5) {
	case 0:
	case 3:
		return MAX_LEN;
	case 1:
		return next_random() % 64;
	default:
		return next_random() % (MAX_LEN + 1);
	}
}

static void fill_row(size_t count, bool fixed_iv)
{
	uint8_t *token = row->tokens + 1; /* unaligned */

	row->count = count;
	for (size_t i = 0; i < count; i++) {
		size_t len = mixed_length(i);
		size_t head_len = next_random() % 40;

		head_len = head_len > len ? len : head_len;
		row->plain_len[i] = len;
		fill_random(row->plain[i], len);
		fill_random(row->iv[i], FERNET_IV_LEN);
		row->seal[i] = (struct fernet_seal_job){
			.head = row->plain[i],
			.head_len = head_len,
			.body = row->plain[i] + head_len,
			.body_len = len - head_len,
			.iv = fixed_iv ? row->iv[i] : NULL,
			.token = token,
		};
		row->open[i] = (struct fernet_open_job){
			.token = token,
			.token_len = FERNET_TOKEN_LEN(len),
			.plaintext = row->opened[i],
		};
		token += FERNET_TOKEN_LEN(len);
	}
}

static size_t row_bytes(void)
{
	const struct fernet_open_job *last = &row->open[row->count - 1];

	return (size_t)(last->token - row->tokens) + last->token_len;
}

static void assert_opened(size_t i)
{
	assert_int_equal(row->open[i].status, 0);
	assert_int_equal(row->open[i].plaintext_len, row->plain_len[i]);
	assert_memory_equal(row->opened[i], row->plain[i], row->plain_len[i]);
}

static void use_key(const uint8_t raw[FERNET_KEY_LEN])
{
	fernet_key_init(&key, raw);
}

static int set_up(void **state)
{
	uint8_t raw[FERNET_KEY_LEN];

	(void)state;
	fill_random(raw, sizeof raw);
	row = calloc(1, sizeof *row);
	ctx = fernet_ctx_new();
	if (!row || !ctx)
		return -1;
	use_key(raw);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	free(row);
	fernet_ctx_free(ctx);
	fernet_ctx_free(NULL);
	return 0;
}

/* A vector file, whose objects hold strings and one array of numbers. */
static void load_vectors(const char *name, char *text, size_t size)
{
	char path[256];
	size_t len;

	snprintf(path, sizeof path, "%s/%s", VECTORS, name);
	assert_int_equal(xio_read_file(AT_FDCWD, path, text, size - 1, &len),
			 0);
	text[len] = '\0';
}

static char *field_of(const char *object, const char *name, char *value,
		      size_t size)
{
	const char *end = strchr(object, '}');
	char quoted[32];
	const char *at;

	snprintf(quoted, sizeof quoted, "\"%s\": \"", name);
	at = strstr(object, quoted);
	assert_non_null(at);
	assert_true(at < end);
	at += strlen(quoted);
	snprintf(value, size, "%.*s", (int)strcspn(at, "\""), at);
	return value;
}

static void use_vector_key(const char *object)
{
	uint8_t raw[FERNET_KEY_LEN];
	char secret[64];
	size_t len;

	field_of(object, "secret", secret, sizeof secret);
	assert_int_equal(base64url_decode_padded(secret, strlen(secret), raw,
						 sizeof raw, &len),
			 0);
	assert_int_equal(len, FERNET_KEY_LEN);
	use_key(raw);
}

/* 1985-10-26T01:20:00-07:00; the vectors have western zones only. */
static uint64_t vector_time(const char *object)
{
	char now[64];
	struct tm tm = {0};
	const char *zone;
	int hours, minutes;

	zone = strptime(field_of(object, "now", now, sizeof now),
			"%Y-%m-%dT%H:%M:%S", &tm);
	assert_non_null(zone);
	assert_int_equal(sscanf(zone, "-%d:%d", &hours, &minutes), 2);
	return (uint64_t)(timegm(&tm) + hours * 3600 + minutes * 60);
}

static void test_fernet__official_generate_vectors(void **state)
{
	char vectors[4096], src[256], want[512], text[512];
	uint8_t iv[FERNET_IV_LEN], token[256];
	size_t seen = 0;

	(void)state;
	load_vectors("fernet_generate.json", vectors, sizeof vectors);
	for (char *o = strchr(vectors, '{'); o; o = strchr(o + 1, '{')) {
		struct fernet_seal_job job = {.iv = iv, .token = token};
		char *number = strchr(strstr(o, "\"iv\""), '[') + 1;

		for (size_t i = 0; i < sizeof iv; i++, number++)
			iv[i] = (uint8_t)strtoul(number, &number, 10);
		use_vector_key(o);
		field_of(o, "src", src, sizeof src);
		job.body = (const uint8_t *)src;
		job.body_len = strlen(src);
		assert_int_equal(
			fernet_seal(ctx, &key, vector_time(o), &job, 1), 0);
		base64url_encode_padded(token, FERNET_TOKEN_LEN(job.body_len),
					text);
		assert_string_equal(text,
				    field_of(o, "token", want, sizeof want));
		seen++;
	}
	assert_true(seen > 0);
}

static void test_fernet__official_verify_vectors(void **state)
{
	char vectors[4096], src[256], text[512];
	uint8_t plain[256];
	size_t len, seen = 0;

	(void)state;
	load_vectors("fernet_verify.json", vectors, sizeof vectors);
	for (char *o = strchr(vectors, '{'); o; o = strchr(o + 1, '{')) {
		use_vector_key(o);
		field_of(o, "token", text, sizeof text);
		field_of(o, "src", src, sizeof src);
		assert_int_equal(fernet_open_text(&key, text, strlen(text),
						  plain, sizeof plain, &len),
				 0);
		assert_int_equal(len, strlen(src));
		assert_memory_equal(plain, src, len);
		seen++;
	}
	assert_true(seen > 0);
}

/* All must be refused, but for the two that only a clock can refuse. */
static void test_fernet__official_invalid_vectors(void **state)
{
	char vectors[8192], desc[128], text[512];
	uint8_t plain[256];
	size_t len, seen = 0, timely = 0;

	(void)state;
	load_vectors("fernet_invalid.json", vectors, sizeof vectors);
	for (char *o = strchr(vectors, '{'); o; o = strchr(o + 1, '{')) {
		bool by_time = strstr(field_of(o, "desc", desc, sizeof desc),
				      "TS (") ||
			       strstr(desc, "TTL");

		use_vector_key(o);
		field_of(o, "token", text, sizeof text);
		memset(plain, 0, sizeof plain);
		assert_int_equal(fernet_open_text(&key, text, strlen(text),
						  plain, sizeof plain, &len),
				 by_time ? 0 : -EBADMSG);
		assert_true(by_time || bytes_all_zero(plain, sizeof plain));
		timely += by_time;
		seen++;
	}
	assert_int_equal(seen, 8);
	assert_int_equal(timely, 2);
}

static void test_fernet__batches_of_1_to_300_come_back(void **state)
{
	(void)state;
	for (size_t n = 1; n <= MAX_BATCH; n += n < 70 ? 1 : 23) {
		fill_row(n, false);
		row->tokens[0] = 0x5a;
		row->tokens[row_bytes()] = 0xa5;
		assert_int_equal(
			fernet_seal(ctx, &key, 12345 + n, row->seal, n), 0);
		assert_int_equal(row->tokens[0], 0x5a);
		assert_int_equal(row->tokens[row_bytes()], 0xa5);
		assert_int_equal(fernet_open(ctx, &key, row->open, n), 0);
		for (size_t i = 0; i < n; i++) {
			assert_opened(i);
			assert_true(fernet_timestamp(row->seal[i].token) ==
				    12345 + n);
		}
	}
	assert_int_equal(fernet_seal(ctx, &key, 1, NULL, 0), 0);
	assert_int_equal(fernet_open(ctx, &key, NULL, 0), 0);
}

static void test_fernet_seal__never_uses_an_iv_twice(void **state)
{
	uint8_t(*seen)[FERNET_IV_LEN] = row->iv;

	(void)state;
	fill_row(MAX_BATCH, false);
	assert_int_equal(fernet_seal(ctx, &key, 1, row->seal, MAX_BATCH), 0);
	for (size_t i = 0; i < MAX_BATCH; i++) {
		memcpy(seen[i], row->seal[i].token + 9, FERNET_IV_LEN);
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(seen[i], seen[j],
						FERNET_IV_LEN);
	}
}

static void test_fernet_open__refuses_every_tampered_byte(void **state)
{
	enum { N = 40, VICTIM = 17 };
	uint8_t *token;
	size_t len;

	(void)state;
	fill_row(N, false);
	assert_int_equal(fernet_seal(ctx, &key, 1, row->seal, N), 0);
	token = row->seal[VICTIM].token;
	len = row->open[VICTIM].token_len;
	assert_true(len > 100);
	for (size_t at = 0; at < len; at++) {
		uint8_t flip = (uint8_t)(1U << at % 8);

		memset(row->opened[VICTIM], 0, sizeof row->opened[VICTIM]);
		token[at] ^= flip;
		/* Amid others while small, then with one neighbour. */
		if (at < 200) {
			assert_int_equal(fernet_open(ctx, &key, row->open, N),
					 1);
			for (size_t i = 0; i < N; i++)
				if (i != VICTIM)
					assert_opened(i);
		} else {
			assert_int_equal(
				fernet_open(ctx, &key, row->open + VICTIM, 2),
				1);
			assert_opened(VICTIM + 1);
		}
		assert_int_equal(row->open[VICTIM].status, -EBADMSG);
		assert_true(bytes_all_zero(row->opened[VICTIM],
					   sizeof row->opened[VICTIM]));
		token[at] ^= flip;
	}
}

static void test_fernet_open__judges_each_of_a_batch(void **state)
{
	(void)state;
	for (size_t round = 0; round < 40; round++) {
		uint64_t bad = next_random();
		size_t want = 0;

		fill_row(50, false);
		assert_int_equal(fernet_seal(ctx, &key, 1, row->seal, 50), 0);
		memset(row->opened, 0, sizeof row->opened);
		for (size_t i = 0; i < 50; i++) {
			if (!(bad >> i & 1))
				continue;
			row->seal[i].token[next_random() %
					   row->open[i].token_len] ^= 0x10;
			want++;
		}
		assert_int_equal(fernet_open(ctx, &key, row->open, 50), want);
		for (size_t i = 0; i < 50; i++) {
			if (!(bad >> i & 1)) {
				assert_opened(i);
				continue;
			}
			assert_int_equal(row->open[i].status, -EBADMSG);
			assert_true(bytes_all_zero(row->opened[i],
						   sizeof row->opened[i]));
		}
	}
}

static void test_fernet_open__refuses_other_lengths(void **state)
{
	uint8_t *token = row->tokens + 1, plain[400];
	size_t len, whole;

	(void)state;
	fill_row(1, false);
	row->seal[0].body_len = 150 - row->seal[0].head_len;
	whole = FERNET_TOKEN_LEN(150);
	assert_int_equal(fernet_seal(ctx, &key, 1, row->seal, 1), 0);
	for (size_t n = 0; n < whole + 100; n++)
		assert_int_equal(fernet_open_one(&key, token, n, plain, &len),
				 n == whole ? 0 : -EBADMSG);
	assert_int_equal(fernet_open_one(&key, token, SIZE_MAX, plain, &len),
			 -EBADMSG);
}

static void test_fernet__takes_the_longest_plaintext_and_no_more(void **state)
{
	CLEANUP_FREE uint8_t *plain = malloc(FERNET_MAX_PLAINTEXT + 1);
	CLEANUP_FREE uint8_t *back = malloc(FERNET_MAX_PLAINTEXT + 16);
	CLEANUP_FREE uint8_t *token =
		malloc(FERNET_TOKEN_LEN(FERNET_MAX_PLAINTEXT + 1));
	size_t len;

	(void)state;
	fill_random(plain, FERNET_MAX_PLAINTEXT + 1);
	assert_int_equal(
		fernet_seal_one(&key, plain, FERNET_MAX_PLAINTEXT, token), 0);
	assert_int_equal(fernet_open_one(&key, token,
					 FERNET_TOKEN_LEN(FERNET_MAX_PLAINTEXT),
					 back, &len),
			 0);
	assert_int_equal(len, FERNET_MAX_PLAINTEXT);
	assert_memory_equal(back, plain, len);
	assert_int_equal(
		fernet_seal_one(&key, plain, FERNET_MAX_PLAINTEXT + 1, token),
		-EIO);
	assert_int_equal(
		fernet_open_one(&key, token, 65600 / 16 * 16 + 57, back, &len),
		-EBADMSG);
}

/*
 * Tokens with a MAC that holds and another version, or padding that is none:
 * made with OpenSSL here, as no seal function would.
 */
static void seal_raw(const uint8_t raw[FERNET_KEY_LEN], uint8_t version,
		     const uint8_t *padded, size_t len, uint8_t *token)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	unsigned mac_len = 0;
	int n;

	memset(token, 0, FERNET_BODY_OFFSET);
	token[0] = version;
	assert_true(EVP_EncryptInit_ex(cipher, EVP_aes_128_cbc(), NULL,
				       raw + 16, token + 9));
	EVP_CIPHER_CTX_set_padding(cipher, 0);
	assert_true(EVP_EncryptUpdate(cipher, token + FERNET_BODY_OFFSET, &n,
				      padded, (int)len));
	EVP_CIPHER_CTX_free(cipher);
	assert_non_null(HMAC(EVP_sha256(), raw, 16, token,
			     FERNET_BODY_OFFSET + len,
			     token + FERNET_BODY_OFFSET + len, &mac_len));
	assert_int_equal(mac_len, FERNET_MAC_LEN);
}

static void test_fernet_open__judges_the_padding(void **state)
{
	const uint8_t raw[FERNET_KEY_LEN] = {5, 6, 7};
	uint8_t padded[32], token[FERNET_OVERHEAD + 32], plain[32];
	size_t len;

	(void)state;
	use_key(raw);
	for (unsigned pad = 0; pad < 256; pad++) {
		bool good = pad >= 1 && pad <= 16;

		memset(padded, 'x', sizeof padded);
		memset(padded + 32 - (good ? pad : 1), (int)pad,
		       good ? pad : 1);
		seal_raw(raw, 0x80, padded, sizeof padded, token);
		memset(plain, 0, sizeof plain);
		assert_int_equal(
			fernet_open_one(&key, token, sizeof token, plain, &len),
			good ? 0 : -EBADMSG);
		if (good)
			assert_int_equal(len, 32 - pad);
		else
			assert_true(bytes_all_zero(plain, sizeof plain));
		/* One padding byte that says otherwise spoils it. */
		if (!good || pad == 1)
			continue;
		padded[32 - pad + next_random() % (pad - 1)] ^= 1;
		seal_raw(raw, 0x80, padded, sizeof padded, token);
		assert_int_equal(
			fernet_open_one(&key, token, sizeof token, plain, &len),
			-EBADMSG);
	}
}

static void test_fernet_open__knows_one_version(void **state)
{
	const uint8_t raw[FERNET_KEY_LEN] = {5, 6, 7};
	uint8_t padded[16], token[FERNET_OVERHEAD + 16], plain[16];
	size_t len;

	(void)state;
	use_key(raw);
	memset(padded, 16, sizeof padded);
	for (unsigned version = 0; version < 256; version++) {
		seal_raw(raw, (uint8_t)version, padded, sizeof padded, token);
		assert_int_equal(
			fernet_open_one(&key, token, sizeof token, plain, &len),
			version == 0x80 ? 0 : -EBADMSG);
	}
}

/* len bytes that end (at_end) or begin where memory ends. */
static uint8_t *beside_guard(uint8_t *region, size_t pages, size_t len,
			     bool at_end)
{
	return at_end ? region + (1 + pages) * 4096 - len : region + 4096;
}

static uint8_t *guarded(size_t pages)
{
	uint8_t *region = mmap(NULL, (pages + 2) * 4096, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(region != MAP_FAILED);
	assert_int_equal(mprotect(region, 4096, PROT_NONE), 0);
	assert_int_equal(mprotect(region + (1 + pages) * 4096, 4096, PROT_NONE),
			 0);
	return region;
}

/* Vector code that touches a byte beside a buffer dies here. */
static void test_fernet__stays_within_its_buffers(void **state)
{
	enum { N = 20, PAGES = 2 };
	uint8_t *tokens[N], *bodies[N], *plains[N];
	const size_t lengths[] = {0,   1,   15,	 16,   17,   31,   32,	38,
				  39,  40,  54,	 55,   56,   63,   64,	100,
				  127, 128, 129, 2000, 4095, 4096, 4104};

	(void)state;
	for (size_t i = 0; i < N; i++) {
		tokens[i] = guarded(PAGES);
		bodies[i] = guarded(PAGES);
		plains[i] = guarded(PAGES);
	}
	for (size_t round = 0; round < 400; round++) {
		size_t n = 1 + next_random() % N;
		bool at_end = round % 2;

		for (size_t i = 0; i < n; i++) {
			size_t len = lengths[next_random() % (sizeof lengths /
							      sizeof *lengths)];
			size_t whole = FERNET_TOKEN_LEN(len);
			uint8_t *token =
				beside_guard(tokens[i], PAGES, whole, at_end);

			row->seal[i] = (struct fernet_seal_job){
				.body = beside_guard(bodies[i], PAGES, len,
						     at_end),
				.body_len = len,
				.token = token,
			};
			row->open[i] = (struct fernet_open_job){
				.token = token,
				.token_len = whole,
				.plaintext = beside_guard(
					plains[i], PAGES,
					FERNET_OPEN_ROOM(whole), at_end),
			};
		}
		assert_int_equal(fernet_seal(ctx, &key, 1, row->seal, n), 0);
		assert_int_equal(fernet_open(ctx, &key, row->open, n), 0);
	}
	for (size_t i = 0; i < N; i++) {
		munmap(tokens[i], (PAGES + 2) * 4096);
		munmap(bodies[i], (PAGES + 2) * 4096);
		munmap(plains[i], (PAGES + 2) * 4096);
	}
}

static void test_fernet_text__comes_back_and_is_judged(void **state)
{
	uint8_t plain[100], back[100];
	char text[FERNET_TEXT_LEN(100) + 1];
	size_t len = 999;

	(void)state;
	fill_random(plain, sizeof plain);
	for (size_t n = 0; n <= sizeof plain; n++) {
		assert_int_equal(fernet_seal_text(&key, plain, n, text), 0);
		assert_int_equal(strlen(text), FERNET_TEXT_LEN(n));
		assert_int_equal(fernet_open_text(&key, text, strlen(text),
						  back, n, &len),
				 0);
		assert_int_equal(len, n);
		assert_memory_equal(back, plain, n);
	}
	len = 999;
	assert_int_equal(
		fernet_open_text(&key, text, strlen(text), back, 99, &len),
		-EMSGSIZE);
	assert_int_equal(
		fernet_open_text(&key, text, strlen(text) - 1, back, 100, &len),
		-EBADMSG);
	assert_int_equal(fernet_open_text(&key, "", 0, back, 100, &len),
			 -EBADMSG);
	assert_int_equal(
		fernet_open_text(&key, text, SIZE_MAX, back, 100, &len),
		-EBADMSG);
	text[50] ^= 1;
	assert_int_equal(
		fernet_open_text(&key, text, strlen(text), back, 100, &len),
		-EBADMSG);
	assert_int_equal(len, 999);
}

static void test_fernet_text__is_stamped_with_the_present(void **state)
{
	uint8_t token[FERNET_TOKEN_LEN(1)];
	uint64_t before = (uint64_t)time(NULL);

	(void)state;
	assert_int_equal(fernet_seal_one(&key, (const uint8_t *)"x", 1, token),
			 0);
	assert_in_range(fernet_timestamp(token), before, (uint64_t)time(NULL));
}

static void test_fernet_text__tells_its_time(void **state)
{
	char text[FERNET_TEXT_LEN(1) + 1];

	(void)state;
	assert_int_equal(fernet_seal_text_at(&key, UINT64_C(0x123456789abcdef0),
					     (const uint8_t *)"x", 1, text),
			 0);
	assert_true(fernet_text_timestamp(text, strlen(text)) ==
		    UINT64_C(0x123456789abcdef0));
	assert_int_equal(fernet_text_timestamp(text, 11), 0);
	text[11] = '?';
	assert_int_equal(fernet_text_timestamp(text, strlen(text)), 0);
}

static void *work_alone(void *arg)
{
	size_t *wrong = arg;
	uint8_t plain[77], token[FERNET_TOKEN_LEN(77)], back[96];
	size_t len;

	for (size_t i = 0; i < 2000; i++) {
		memset(plain, (int)i, sizeof plain);
		if (fernet_seal_one(&key, plain, sizeof plain, token) ||
		    fernet_open_one(&key, token, sizeof token, back, &len) ||
		    len != sizeof plain || memcmp(plain, back, len) != 0)
			++*wrong;
	}
	return NULL;
}

static void test_fernet_text__serves_threads_at_once(void **state)
{
	pthread_t threads[THREADS];
	size_t wrong[THREADS] = {0};

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work_alone,
						&wrong[i]),
				 0);
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(wrong[i], 0);
	}
}

static void test_fernet_init__knows_its_backends(void **state)
{
	(void)state;
	assert_int_equal(fernet_init("rot13"), -ENOENT);
	assert_int_equal(fernet_init(""), -ENOENT);
}

/* The same jobs with the same IVs on both backends, which both are ready. */
static void test_fernet__backends_make_the_same_bytes(void **state)
{
	CLEANUP_FREE uint8_t *first = NULL;
	struct fernet_ctx *reference;

	(void)state;
	assert_int_equal(fernet_init("openssl"), 0);
	reference = fernet_ctx_new();
	assert_non_null(reference);
	assert_int_equal(fernet_init("ipsecmb"), 0);
	for (size_t n = 1; n <= MAX_BATCH; n += n < 40 ? 1 : 37) {
		fill_row(n, true);
		free(TAKE_PTR(first));
		first = malloc(row_bytes());
		assert_int_equal(fernet_seal(reference, &key, n, row->seal, n),
				 0);
		memcpy(first, row->tokens, row_bytes());
		memset(row->tokens + 1, 0, row_bytes() - 1);
		assert_int_equal(fernet_seal(ctx, &key, n, row->seal, n), 0);
		assert_memory_equal(first, row->tokens, row_bytes());
		assert_int_equal(fernet_open(reference, &key, row->open, n), 0);
		for (size_t i = 0; i < n; i++)
			assert_opened(i);
	}
	fernet_ctx_free(reference);
}

static int run_backend(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fernet__official_generate_vectors),
		cmocka_unit_test(test_fernet__official_verify_vectors),
		cmocka_unit_test(test_fernet__official_invalid_vectors),
		cmocka_unit_test(test_fernet__batches_of_1_to_300_come_back),
		cmocka_unit_test(test_fernet_seal__never_uses_an_iv_twice),
		cmocka_unit_test(test_fernet_open__refuses_every_tampered_byte),
		cmocka_unit_test(test_fernet_open__judges_each_of_a_batch),
		cmocka_unit_test(test_fernet_open__refuses_other_lengths),
		cmocka_unit_test(
			test_fernet__takes_the_longest_plaintext_and_no_more),
		cmocka_unit_test(test_fernet_open__judges_the_padding),
		cmocka_unit_test(test_fernet_open__knows_one_version),
		cmocka_unit_test(test_fernet__stays_within_its_buffers),
		cmocka_unit_test(test_fernet_text__comes_back_and_is_judged),
		cmocka_unit_test(test_fernet_text__is_stamped_with_the_present),
		cmocka_unit_test(test_fernet_text__tells_its_time),
		cmocka_unit_test(test_fernet_text__serves_threads_at_once),
		cmocka_unit_test(test_fernet_init__knows_its_backends),
	};

	return cmocka_run_group_tests_name(fernet_backend_name(), tests, set_up,
					   tear_down);
}

static int run_comparison(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fernet__backends_make_the_same_bytes),
	};

	return cmocka_run_group_tests_name("both backends", tests, set_up,
					   tear_down);
}

static int run_apart(const char *backend, int (*run)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		int err = fernet_init(backend);

		if (err == -ENOENT || err == -ENOTSUP) {
			printf("%s: not here, skipped\n", backend);
			exit(strcmp(backend, "openssl") == 0);
		}
		exit(err ? 1 : run());
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

int main(void)
{
	return run_apart("openssl", run_backend) |
	       run_apart("ipsecmb", run_backend) |
	       run_apart("ipsecmb", run_comparison);
}
