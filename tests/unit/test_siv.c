#include "bytes.h"
#include "siv.h"
#include "text.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_NAME = 300, THREADS = 4, ROUNDS = 20000 };

static struct siv *siv;
static const uint8_t dirid[16] = "a directory's id";

static int set_up(void **state)
{
	uint8_t key[SIV_KEY_LEN];

	(void)state;
	for (size_t i = 0; i < sizeof key; i++)
		key[i] = (uint8_t)i;
	return siv_new(key, &siv);
}

static int tear_down(void **state)
{
	(void)state;
	siv_free(siv);
	siv_free(NULL);
	return 0;
}

/* Known answers: Python's AESSIV(bytes(range(64))).encrypt(name, [dirid]). */
static void test_siv__known_answers_whatever_came_before(void **state)
{
	static const struct {
		const char *name, *sealed;
	} known[] = {
		{"a", "77f39411c88dcc2461fdb429393610cadd"},
		{"README.md",
		 "57359861bb21b5786ecad0a2d7cc9ce202c825bad33b1cad8b"},
		{"fifteen letters", "1a986a945fb3c9b20ecaf730da518c605a50921918"
				    "b54906c8033d73f1bb83"},
		{"sixteen letters.", "af44d04a7d75ce5b00c4064a00ae9007a68940e6f"
				     "448b21b54519afd1264bf32"},
		{"seventeen letters", "e0c994bab36cbaa183ad08fe831810fef36de66b"
				      "3250d24d11ced51cb66976cd3d"},
		{"a name that is longer than two blocks",
		 "710d489c63529b04720027e03c09f54c32248f7bc172f5e2e60444ee5cdc7"
		 "77917fd8d8967e9afebad9a8a7cb753a4583a169e2ef0"},
	};
	uint8_t sealed[SIV_TAG_LEN + 64], name[64];
	char hex[2 * sizeof sealed + 1];

	(void)state;
	for (size_t round = 0; round < 100; round++) {
		size_t i = round * 7 % (sizeof known / sizeof *known);
		size_t len = strlen(known[i].name);

		assert_int_equal(siv_seal(siv, dirid, sizeof dirid,
					  (const uint8_t *)known[i].name, len,
					  sealed),
				 0);
		hex_encode(sealed, SIV_TAG_LEN + len, hex);
		assert_string_equal(hex, known[i].sealed);
		assert_int_equal(siv_open(siv, dirid, sizeof dirid, sealed,
					  SIV_TAG_LEN + len, name),
				 0);
		assert_memory_equal(name, known[i].name, len);
		/* A refusal in between must leave no trace either. */
		sealed[round % (SIV_TAG_LEN + len)] ^= 1;
		assert_int_equal(siv_open(siv, dirid, sizeof dirid, sealed,
					  SIV_TAG_LEN + len, name),
				 -EBADMSG);
	}
}

static void test_siv__every_length_comes_back(void **state)
{
	uint8_t name[MAX_NAME], sealed[SIV_TAG_LEN + MAX_NAME], back[MAX_NAME];

	(void)state;
	for (size_t len = 1; len <= MAX_NAME; len++) {
		for (size_t i = 0; i < len; i++)
			name[i] = (uint8_t)(len * 31 + i);
		assert_int_equal(
			siv_seal(siv, dirid, sizeof dirid, name, len, sealed),
			0);
		assert_int_equal(siv_open(siv, dirid, sizeof dirid, sealed,
					  SIV_TAG_LEN + len, back),
				 0);
		assert_memory_equal(back, name, len);
	}
}

static void test_siv_open__refuses_every_flipped_bit(void **state)
{
	static const uint8_t name[] = "a name of more than one block";
	uint8_t sealed[SIV_TAG_LEN + sizeof name], back[sizeof name];

	(void)state;
	assert_int_equal(
		siv_seal(siv, dirid, sizeof dirid, name, sizeof name, sealed),
		0);
	for (size_t bit = 0; bit < 8 * sizeof sealed; bit++) {
		memset(back, 0, sizeof back);
		sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(siv_open(siv, dirid, sizeof dirid, sealed,
					  sizeof sealed, back),
				 -EBADMSG);
		assert_true(bytes_all_zero(back, sizeof back));
		sealed[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	assert_int_equal(siv_open(siv, dirid, sizeof dirid, sealed,
				  sizeof sealed - 1, back),
			 -EBADMSG);
}

static void test_siv_open__refuses_another_datum_or_no_name(void **state)
{
	uint8_t sealed[SIV_TAG_LEN + 4], back[4], other[16];

	(void)state;
	assert_int_equal(siv_seal(siv, dirid, sizeof dirid,
				  (const uint8_t *)"name", 4, sealed),
			 0);
	for (size_t i = 0; i < sizeof other; i++) {
		memcpy(other, dirid, sizeof other);
		other[i] ^= 0x80;
		assert_int_equal(siv_open(siv, other, sizeof other, sealed,
					  sizeof sealed, back),
				 -EBADMSG);
	}
	assert_int_equal(siv_open(siv, dirid, sizeof dirid - 1, sealed,
				  sizeof sealed, back),
			 -EBADMSG);
	for (size_t len = 0; len <= SIV_TAG_LEN; len++)
		assert_int_equal(
			siv_open(siv, dirid, sizeof dirid, sealed, len, back),
			-EBADMSG);
}

/* Counts what went wrong, as cmocka's asserts belong to the main thread. */
static void *seal_and_open(void *arg)
{
	size_t *wrong = arg;
	uint8_t name[32], sealed[SIV_TAG_LEN + sizeof name], back[sizeof name];

	for (size_t i = 0; i < ROUNDS; i++) {
		size_t len = 1 + i % sizeof name;

		memset(name, (int)i, sizeof name);
		be64_store(name, i);
		if (siv_seal(siv, name, sizeof name, name, len, sealed) ||
		    siv_open(siv, name, sizeof name, sealed, SIV_TAG_LEN + len,
			     back) ||
		    memcmp(name, back, len) != 0)
			++*wrong;
	}
	return NULL;
}

static void test_siv__serves_threads_at_once(void **state)
{
	pthread_t threads[THREADS];
	size_t wrong[THREADS] = {0};

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						seal_and_open, &wrong[i]),
				 0);
	for (size_t i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(wrong[i], 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siv__known_answers_whatever_came_before),
		cmocka_unit_test(test_siv__every_length_comes_back),
		cmocka_unit_test(test_siv_open__refuses_every_flipped_bit),
		cmocka_unit_test(
			test_siv_open__refuses_another_datum_or_no_name),
		cmocka_unit_test(test_siv__serves_threads_at_once),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
