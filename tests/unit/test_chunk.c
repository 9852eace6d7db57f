#include "chunk.h"

#include "header.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BRUTE_PLAIN = 4 * CHUNK_SIZE, BRUTE_BACKING = 176 + 4 * 4169 + 4177 };

/* The length of a file of len bytes, spelt out chunk by chunk. */
static uint64_t slow_backing_len(uint64_t len)
{
	uint64_t backing = HEADER_LEN;

	for (; len > CHUNK_SIZE; len -= CHUNK_SIZE)
		backing += FERNET_TOKEN_LEN(CHUNK_TAG_LEN + CHUNK_SIZE);
	/* the token, then zeros up to a length that tells len */
	backing += FERNET_TOKEN_LEN(CHUNK_TAG_LEN + len);
	return backing + (len + CHUNK_TAG_LEN) % 16;
}

static void test_chunk_lengths__match_the_tokens(void **state)
{
	(void)state;
	for (uint64_t len = 0; len <= BRUTE_PLAIN; len++)
		assert_int_equal(chunk_backing_len(len), slow_backing_len(len));
	assert_int_equal(CHUNK_TOKEN_LEN, 4169);
	assert_int_equal(chunk_backing_len(0), HEADER_LEN + 81);
}

/*
 * Every backing length either belongs to exactly one plaintext length, and
 * is read as that, or to none, and is refused.
 */
static void test_chunk_plain_len__is_the_inverse(void **state)
{
	static uint32_t owner[BRUTE_BACKING]; /* plaintext length + 1 */

	(void)state;
	for (uint32_t len = 0; len <= BRUTE_PLAIN; len++) {
		uint64_t backing = slow_backing_len(len);

		assert_in_range(backing, 0, BRUTE_BACKING - 1);
		assert_int_equal(owner[backing], 0);
		owner[backing] = len + 1;
	}
	for (uint64_t b = 0; b <= slow_backing_len(BRUTE_PLAIN); b++) {
		uint64_t len = 77777;
		int err = chunk_plain_len(b, &len);

		if (owner[b]) {
			assert_int_equal(err, 0);
			assert_int_equal(len, owner[b] - 1);
		} else {
			assert_int_equal(err, -EBADMSG);
			assert_int_equal(len, 77777);
		}
	}
}

static uint64_t random_len(void)
{
	uint64_t r = 0;

	for (int i = 0; i < 5; i++)
		r = r << 15 ^ (uint64_t)(rand() & 0x7fff);
	return r >> (rand() % 52) & INT64_MAX;
}

static void check_large(uint64_t len)
{
	uint64_t got, index = chunk_last_index(len);

	assert_true(chunk_backing_len(len) <= INT64_MAX);
	assert_int_equal(chunk_plain_len(chunk_backing_len(len), &got), 0);
	assert_true(got == len);
	assert_true(index <= CHUNK_INDEX_MASK);
	assert_true(index * CHUNK_SIZE + chunk_last_len(len) == len);
	assert_true(chunk_offset(index) < chunk_backing_len(len));
	/* one byte more is another length */
	if (len < CHUNK_MAX_PLAIN_LEN)
		assert_true(chunk_backing_len(len + 1) >
			    chunk_backing_len(len));
}

static void test_chunk_plain_len__holds_for_large_files(void **state)
{
	(void)state;
	srand(1);
	for (int i = 0; i < 200000; i++)
		check_large(random_len() % (CHUNK_MAX_PLAIN_LEN + 1));
	for (uint64_t d = 0; d < 3 * CHUNK_SIZE; d++)
		check_large(CHUNK_MAX_PLAIN_LEN - d);
}

/* Whatever length is accepted is that of the plaintext it is read as. */
static void test_chunk_plain_len__accepts_no_other_length(void **state)
{
	(void)state;
	srand(2);
	for (int i = 0; i < 500000; i++) {
		uint64_t backing = random_len(), len;

		if (chunk_plain_len(backing, &len) == 0)
			assert_true(chunk_backing_len(len) == backing);
	}
}

static void test_chunk_plain_len__refuses_the_unreachable(void **state)
{
	uint64_t len = 5;

	(void)state;
	assert_int_equal(
		chunk_plain_len(chunk_backing_len(CHUNK_MAX_PLAIN_LEN) + 82,
				&len),
		-EBADMSG);
	for (uint64_t b = UINT64_MAX; b > UINT64_MAX - 9000; b--)
		assert_int_equal(chunk_plain_len(b, &len), -EBADMSG);
	assert_int_equal(len, 5);
}

static void test_chunk_shown_len__ends_in_the_cut_chunk(void **state)
{
	uint64_t len, shown = 5;

	(void)state;
	for (uint64_t b = 0; b < CHUNK_AREA_OFFSET + 4 * CHUNK_TOKEN_LEN; b++) {
		int err = chunk_shown_len(b, &shown);

		if (chunk_plain_len(b, &len) == 0) {
			assert_int_equal(err, 0);
			assert_true(shown == len);
		} else if (b < chunk_offset(1)) {
			assert_int_equal(err, -EBADMSG);
		} else {
			/* the chunk that is shown as last is not all there */
			assert_int_equal(err, 0);
			assert_true(chunk_offset(chunk_last_index(shown)) <= b);
			assert_true(chunk_backing_len(shown) > b);
		}
	}
	for (uint64_t b = UINT64_MAX; b > UINT64_MAX - 9000; b--)
		assert_int_equal(chunk_shown_len(b, &shown), -EBADMSG);
}

static void test_chunk_tag_check__accepts_what_chunk_tag_makes(void **state)
{
	const uint64_t indices[] = {0, 1, 255, 1 << 20, CHUNK_INDEX_MASK};

	(void)state;
	for (size_t i = 0; i < sizeof indices / sizeof indices[0]; i++) {
		uint64_t index = indices[i];
		enum chunk_holes holes = CHUNK_HOLES_ANYWHERE, got;

		assert_int_equal(chunk_tag(index, false, holes), index);
		assert_int_equal(chunk_tag_check(index, index, false, &holes),
				 0);
		assert_int_equal(holes, CHUNK_HOLES_ANYWHERE); /* untouched */
		for (holes = CHUNK_HOLES_NONE; holes <= CHUNK_HOLES_MAPPED;
		     holes++) {
			uint64_t tag = chunk_tag(index, true, holes);

			assert_int_equal(
				chunk_tag_check(tag, index, true, &got), 0);
			assert_int_equal(got, holes);
		}
	}
	assert_true(chunk_tag(5, true, CHUNK_HOLES_MAPPED) ==
		    UINT64_C(0xe000000000000005));
}

/* Of a good tag, any one bit changed is refused, but for the holes marks: a map
 * goes with holes only. */
static void test_chunk_tag_check__refuses_every_other_bit(void **state)
{
	enum chunk_holes holes;

	(void)state;
	for (int bit = 0; bit < 64; bit++) {
		uint64_t flip = UINT64_C(1) << bit;
		uint64_t none = chunk_tag(9, true, CHUNK_HOLES_NONE);
		uint64_t mapped = chunk_tag(9, true, CHUNK_HOLES_MAPPED);

		assert_int_equal(chunk_tag_check(9 ^ flip, 9, false, &holes),
				 -EBADMSG);
		assert_int_equal(chunk_tag_check(none ^ flip, 9, true, &holes),
				 bit == 62 ? 0 : -EBADMSG);
		assert_int_equal(
			chunk_tag_check(mapped ^ flip, 9, true, &holes),
			bit == 61 ? 0 : -EBADMSG);
	}
}

/* 56 bits, behind a full chunk; and none that claims nothing. */
static void test_chunk_claim__as_the_format_says(void **state)
{
	const uint64_t claims[] = {1, 255, 256, UINT64_C(0x0102030405060708),
				   CHUNK_INDEX_MASK};
	const size_t len = CHUNK_TAG_LEN + CHUNK_SIZE + CHUNK_CLAIM_LEN;
	uint8_t opened[CHUNK_TAG_LEN + CHUNK_SIZE + CHUNK_CLAIM_LEN + 1] = {0};
	uint8_t *at = opened + CHUNK_TAG_LEN + CHUNK_SIZE;

	(void)state;
	for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++) {
		uint64_t claim = claims[i] & CHUNK_INDEX_MASK;

		chunk_claim_store(at, claims[i]);
		assert_true(chunk_claim(opened, len) == claim);
		assert_int_equal(at[6], claim & 0xff);
		assert_true(chunk_fits(opened, len, CHUNK_SIZE, true));
		assert_false(chunk_fits(opened, len, CHUNK_SIZE, false));
		assert_false(chunk_fits(opened, len, CHUNK_SIZE - 1, true));
		assert_false(chunk_fits(opened, len - 1, CHUNK_SIZE, true));
		assert_false(chunk_fits(opened, len + 1, CHUNK_SIZE, true));
	}
	chunk_claim_store(at, 0);
	assert_false(chunk_fits(opened, len, CHUNK_SIZE, true));
	assert_true(
		chunk_fits(opened, len - CHUNK_CLAIM_LEN, CHUNK_SIZE, false));
	assert_true(chunk_claim(opened, len - CHUNK_CLAIM_LEN) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunk_lengths__match_the_tokens),
		cmocka_unit_test(test_chunk_plain_len__is_the_inverse),
		cmocka_unit_test(test_chunk_plain_len__holds_for_large_files),
		cmocka_unit_test(test_chunk_plain_len__accepts_no_other_length),
		cmocka_unit_test(test_chunk_plain_len__refuses_the_unreachable),
		cmocka_unit_test(test_chunk_shown_len__ends_in_the_cut_chunk),
		cmocka_unit_test(
			test_chunk_tag_check__accepts_what_chunk_tag_makes),
		cmocka_unit_test(test_chunk_tag_check__refuses_every_other_bit),
		cmocka_unit_test(test_chunk_claim__as_the_format_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
