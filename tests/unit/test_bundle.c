#include "bundle.h"

#include "envelope.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_bundle_head__is_type_and_big_endian_length(void **state)
{
	static const uint8_t expected[BUNDLE_HEAD_LEN] = {2, 0, 0, 1, 2,
							  3, 4, 5, 6};
	uint8_t head[BUNDLE_HEAD_LEN], type;
	uint64_t len;

	(void)state;
	assert_int_equal(strlen(BUNDLE_MAGIC), BUNDLE_MAGIC_LEN);
	bundle_head_format(BUNDLE_PART, 0x010203040506, head);
	assert_memory_equal(head, expected, sizeof head);
	assert_int_equal(bundle_head_parse(head, 0x010203040506, &type, &len),
			 0);
	assert_int_equal(type, BUNDLE_PART);
	assert_int_equal(len, 0x010203040506);
}

static int parse(uint8_t type, uint64_t said, uint64_t left)
{
	uint8_t head[BUNDLE_HEAD_LEN], type_out = 77;
	uint64_t len_out = 77;
	int err;

	bundle_head_format(type, said, head);
	err = bundle_head_parse(head, left, &type_out, &len_out);
	if (err) {
		assert_int_equal(type_out, 77);
		assert_int_equal(len_out, 77);
	} else {
		assert_int_equal(type_out, type);
		assert_int_equal(len_out, said);
	}
	return err;
}

static void test_bundle_head_parse__refuses_more_than_there_is(void **state)
{
	(void)state;
	assert_int_equal(parse(BUNDLE_PART, 11, 10), -EBADMSG);
	assert_int_equal(parse(BUNDLE_PART, UINT64_MAX, 10), -EBADMSG);
	assert_int_equal(parse(77, 11, 10), -EBADMSG);
	assert_int_equal(parse(77, 10, 10), 0);
	assert_int_equal(parse(0, 0, 0), 0);
}

static void test_bundle_head_parse__refuses_more_than_a_type_has(void **state)
{
	(void)state;
	assert_int_equal(parse(BUNDLE_ENVELOPE, ENVELOPE_MAX_LEN, UINT64_MAX),
			 0);
	assert_int_equal(
		parse(BUNDLE_ENVELOPE, ENVELOPE_MAX_LEN + 1, UINT64_MAX),
		-EBADMSG);
	assert_int_equal(parse(BUNDLE_PART, UINT64_MAX, UINT64_MAX), -EBADMSG);
	assert_int_equal(parse(77, UINT64_MAX, UINT64_MAX), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_bundle_head__is_type_and_big_endian_length),
		cmocka_unit_test(
			test_bundle_head_parse__refuses_more_than_there_is),
		cmocka_unit_test(
			test_bundle_head_parse__refuses_more_than_a_type_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
