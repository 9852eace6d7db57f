#include "slip39.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include <cmocka.h>

static const uint8_t secret[SLIP39_SECRET_LEN] =
	"thirty-two bytes of a file's key";

static void assert_secret(const struct slip39_share *shares, size_t count)
{
	uint8_t back[SLIP39_SECRET_MAX_LEN];
	size_t len = 0;

	assert_int_equal(slip39_combine(shares, count, "", back, &len), 0);
	assert_int_equal(len, sizeof secret);
	assert_memory_equal(back, secret, sizeof secret);
}

static void test_slip39__any_k_of_n_give_the_secret(void **state)
{
	struct slip39_share shares[SLIP39_SHARES_MAX], some[SLIP39_SHARES_MAX];

	(void)state;
	for (unsigned n = 1; n <= SLIP39_SHARES_MAX; n++)
		for (unsigned k = 1; k <= n; k++) {
			unsigned first = randombytes_uniform(n);

			assert_int_equal(slip39_split(secret, k, n, shares), 0);
			for (unsigned i = 0; i < k; i++)
				some[i] = shares[(first + i) % n];
			assert_secret(some, k);
		}
}

static void test_slip39__every_three_of_five(void **state)
{
	struct slip39_share s[5];

	(void)state;
	assert_int_equal(slip39_split(secret, 3, 5, s), 0);
	for (unsigned a = 0; a < 5; a++)
		for (unsigned b = 0; b < 5; b++)
			for (unsigned c = 0; c < 5; c++) {
				const struct slip39_share t[] = {s[a], s[b],
								 s[c]};

				if (a != b && b != c && a != c)
					assert_secret(t, 3);
			}
}

static void test_slip39__refuses_what_cannot_be_split(void **state)
{
	struct slip39_share shares[SLIP39_SHARES_MAX];

	(void)state;
	assert_int_equal(slip39_split(secret, 0, 1, shares), -EINVAL);
	assert_int_equal(slip39_split(secret, 3, 2, shares), -EINVAL);
	assert_int_equal(slip39_split(secret, 1, 17, shares), -EINVAL);
	assert_int_equal(slip39_split(secret, 17, 17, shares), -EINVAL);
}

static void assert_refused(const struct slip39_share *shares, size_t count,
			   int expected)
{
	uint8_t back[SLIP39_SECRET_MAX_LEN];
	size_t len = 0;

	assert_int_equal(slip39_combine(shares, count, "", back, &len),
			 expected);
	assert_int_equal(len, 0);
}

static void test_slip39__refuses_wrong_sets_of_shares(void **state)
{
	struct slip39_share s[4], other[4], t[3];

	(void)state;
	assert_int_equal(slip39_split(secret, 3, 4, s), 0);
	do
		assert_int_equal(slip39_split(secret, 3, 4, other), 0);
	while (other[0].id == s[0].id);
	assert_refused(s, 0, -EINVAL);
	assert_refused(s, 2, -EINVAL);
	assert_refused(s, 4, -EINVAL);
	memcpy(t, s, sizeof t);
	t[2] = t[0];
	assert_refused(t, 3, -EINVAL);
	t[2] = other[2];
	assert_refused(t, 3, -EINVAL);
	t[2].id = s[0].id; /* foreign, and says that it belongs */
	assert_refused(t, 3, -EBADMSG);
	t[2] = s[2];
	t[2].value[7] ^= 1;
	assert_refused(t, 3, -EBADMSG);
	t[2] = s[2];
	t[2].member_threshold = 2;
	assert_refused(t, 3, -EINVAL);
}

static void test_slip39__another_passphrase_gives_another_secret(void **state)
{
	struct slip39_share s[1];
	uint8_t back[SLIP39_SECRET_MAX_LEN];
	size_t len;

	(void)state;
	assert_int_equal(slip39_split(secret, 1, 1, s), 0);
	assert_int_equal(slip39_combine(s, 1, "other", back, &len), 0);
	assert_memory_not_equal(back, secret, sizeof secret);
	assert_int_equal(slip39_combine(s, 1, "tab\t", back, &len), -EINVAL);
}

static void test_slip39__words_and_bytes_say_the_same(void **state)
{
	struct slip39_share s[SLIP39_SHARES_MAX], back;
	uint8_t packed[SLIP39_PACKED_LEN];
	char text[SLIP39_TEXT_MAX];
	unsigned bad;

	(void)state;
	assert_int_equal(slip39_split(secret, 9, 16, s), 0);
	for (unsigned i = 0; i < SLIP39_SHARES_MAX; i++) {
		slip39_to_words(&s[i], text);
		assert_int_equal(
			slip39_from_words(text, strlen(text), &back, &bad), 0);
		assert_memory_equal(&back, &s[i], sizeof back);
		slip39_pack(&s[i], packed);
		assert_int_equal(slip39_unpack(packed, &back), 0);
		assert_memory_equal(&back, &s[i], sizeof back);
	}
}

static void test_slip39__every_flipped_bit_is_noticed(void **state)
{
	struct slip39_share s[1], back;
	uint8_t packed[SLIP39_PACKED_LEN];

	(void)state;
	assert_int_equal(slip39_split(secret, 1, 1, s), 0);
	slip39_pack(s, packed);
	for (unsigned bit = 0; bit < 8 * SLIP39_PACKED_LEN; bit++) {
		packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(slip39_unpack(packed, &back), 0);
		packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void test_slip39__people_write_words_their_own_way(void **state)
{
	struct slip39_share s[1], back;
	char text[SLIP39_TEXT_MAX], odd[3 * SLIP39_TEXT_MAX];
	size_t n = 0;
	unsigned bad;

	(void)state;
	assert_int_equal(slip39_split(secret, 1, 1, s), 0);
	slip39_to_words(s, text);
	odd[n++] = '\n';
	for (const char *c = text; *c; c++) {
		odd[n++] = *c == ' ' ? '\t' : (char)(*c - 'a' + 'A');
		if (*c == ' ')
			odd[n++] = '\r', odd[n++] = '\n';
	}
	assert_int_equal(slip39_from_words(odd, n, &back, &bad), 0);
	assert_memory_equal(&back, s, sizeof back);
}

static void test_slip39__says_which_word_is_none(void **state)
{
	static const struct {
		const char *text;
		unsigned bad_word;
	} cases[] = {
		{"academic acid acme", 3}, {"academicacademic acid", 1},
		{"academic \xff", 2},	   {"", 0},
		{"academic acid", 0},
	};
	struct slip39_share share;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		unsigned bad = 99;

		assert_int_equal(slip39_from_words(cases[i].text,
						   strlen(cases[i].text),
						   &share, &bad),
				 -EINVAL);
		assert_int_equal(bad, cases[i].bad_word);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slip39__any_k_of_n_give_the_secret),
		cmocka_unit_test(test_slip39__every_three_of_five),
		cmocka_unit_test(test_slip39__refuses_what_cannot_be_split),
		cmocka_unit_test(test_slip39__refuses_wrong_sets_of_shares),
		cmocka_unit_test(
			test_slip39__another_passphrase_gives_another_secret),
		cmocka_unit_test(test_slip39__words_and_bytes_say_the_same),
		cmocka_unit_test(test_slip39__every_flipped_bit_is_noticed),
		cmocka_unit_test(test_slip39__people_write_words_their_own_way),
		cmocka_unit_test(test_slip39__says_which_word_is_none),
	};

	return sodium_init() < 0 ? 1
				 : cmocka_run_group_tests(tests, NULL, NULL);
}
