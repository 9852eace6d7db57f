#include "fernet_hmac.h"

#include <cpuid.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

enum { ROOM = 5000, MOST = 11 };

/* A message that may lie anywhere, and canaries around its MAC. */
struct message {
	uint8_t bytes[ROOM];
	size_t offset, len;
	uint8_t mac[16 + FERNET_MAC_LEN + 16];
};

static struct message messages[MOST];
static struct fernet_key key;

static bool cpu_can(void)
{
	unsigned int a, b = 0, c, d;

	return __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512bw") &&
	       __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

static void random_messages(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct message *m = &messages[i];

		m->offset = randombytes_uniform(64);
		randombytes_buf(m->bytes + m->offset, m->len);
		memset(m->mac, 0xa5, sizeof m->mac);
	}
}

static void check(size_t n)
{
	struct fernet_hmac_job jobs[MOST] = {0};
	uint8_t expected[sizeof messages[0].mac];

	random_messages(n);
	for (size_t i = 0; i < n; i++)
		jobs[i] = (struct fernet_hmac_job){
			.data = messages[i].bytes + messages[i].offset,
			.len = messages[i].len,
			.mac = messages[i].mac + 16,
		};
	fernet_hmac(&key, jobs, n);
	for (size_t i = 0; i < n; i++) {
		memset(expected, 0xa5, sizeof expected);
		assert_non_null(HMAC(EVP_sha256(), key.key, 16, jobs[i].data,
				     jobs[i].len, expected + 16, NULL));
		assert_memory_equal(messages[i].mac, expected, sizeof expected);
	}
}

static void test_fernet_hmac__every_length_alone(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 400; len++) {
		messages[0].len = len;
		check(1);
	}
}

static void test_fernet_hmac__equal_lengths_in_every_count(void **state)
{
	static const size_t lens[] = {0, 55, 56, 63, 64, 119, 120, 4137};

	(void)state;
	for (size_t n = 0; n <= MOST; n++)
		for (size_t l = 0; l < sizeof lens / sizeof *lens; l++) {
			for (size_t i = 0; i < n; i++)
				messages[i].len = lens[l];
			check(n);
		}
}

static void test_fernet_hmac__lengths_that_differ(void **state)
{
	(void)state;
	for (int round = 0; round < 3000; round++) {
		size_t n = 1 + randombytes_uniform(MOST);

		for (size_t i = 0; i < n; i++)
			messages[i].len = randombytes_uniform(
				i % 3 == 0 ? 130 : ROOM - 64);
		check(n);
	}
}

static void test_fernet_hmac__a_mac_behind_its_message(void **state)
{
	uint8_t expected[FERNET_MAC_LEN];
	struct fernet_hmac_job job = {.data = messages[0].bytes, .len = 4137};

	(void)state;
	job.mac = messages[0].bytes + job.len;
	randombytes_buf(messages[0].bytes, job.len);
	HMAC(EVP_sha256(), key.key, 16, job.data, job.len, expected, NULL);
	fernet_hmac(&key, &job, 1);
	assert_memory_equal(job.mac, expected, sizeof expected);
}

static int set_up(void **state)
{
	uint8_t raw[FERNET_KEY_LEN];

	(void)state;
	if (fernet_init("ipsecmb") != 0)
		return -1;
	randombytes_buf(raw, sizeof raw);
	fernet_key_init(&key, raw);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fernet_hmac__every_length_alone),
		cmocka_unit_test(
			test_fernet_hmac__equal_lengths_in_every_count),
		cmocka_unit_test(test_fernet_hmac__lengths_that_differ),
		cmocka_unit_test(test_fernet_hmac__a_mac_behind_its_message),
	};

	if (!cpu_can())
		return 77;
	return cmocka_run_group_tests(tests, set_up, NULL);
}
