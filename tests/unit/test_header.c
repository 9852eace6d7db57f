#include "header.h"

#include "fernet_text.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct fernet_key file_keys;
	struct header header;
	uint8_t bytes[HEADER_LEN];
};

static struct fixture f;

static int setup(void **state)
{
	uint8_t raw[FERNET_KEY_LEN];

	(void)state;
	randombytes_buf(raw, sizeof raw);
	fernet_key_init(&f.file_keys, raw);
	randombytes_buf(&f.header, sizeof f.header);
	return header_build(&f.header, &f.file_keys, f.bytes);
}

static void assert_refused(const uint8_t bytes[static HEADER_LEN],
			   const struct fernet_key *key)
{
	struct header h, untouched;

	memset(&h, 0xa5, sizeof h);
	memset(&untouched, 0xa5, sizeof untouched);
	assert_int_equal(header_parse(bytes, key, &h), -EBADMSG);
	assert_memory_equal(&h, &untouched, sizeof h);
}

static void test_header_parse__reads_what_was_built(void **state)
{
	struct header h;

	(void)state;
	assert_int_equal(header_parse(f.bytes, &f.file_keys, &h), 0);
	assert_memory_equal(&h, &f.header, sizeof h);
}

static void test_header_build__lays_out_what_the_format_says(void **state)
{
	static const uint8_t zero[15];
	uint8_t plain[64];
	size_t len;

	(void)state;
	assert_memory_equal(f.bytes, "FRONDFS1", 8);
	assert_memory_equal(f.bytes + 8, f.header.file_id, 16);
	assert_memory_equal(f.bytes + 24, f.header.dirid, 16);
	assert_memory_equal(f.bytes + 161, zero, 15);
	assert_int_equal(
		fernet_open_one(&f.file_keys, f.bytes + 40, 121, plain, &len),
		0);
	assert_int_equal(len, 48);
	assert_memory_equal(plain, f.header.file_id, 16);
	assert_memory_equal(plain + 16, f.header.file_key, 32);
}

/* Everything but the hint at 24..39 is vouched for. */
static void test_header_parse__refuses_any_changed_bit(void **state)
{
	(void)state;
	for (size_t i = 0; i < HEADER_LEN * 8; i++) {
		uint8_t bytes[HEADER_LEN];
		struct header h;

		memcpy(bytes, f.bytes, sizeof bytes);
		bytes[i / 8] ^= (uint8_t)(1U << i % 8);
		if (i / 8 >= 24 && i / 8 < 40)
			assert_int_equal(header_parse(bytes, &f.file_keys, &h),
					 0);
		else
			assert_refused(bytes, &f.file_keys);
	}
}

static void test_header_locked__has_no_key_and_says_so(void **state)
{
	uint8_t bytes[HEADER_LEN], id[FILE_ID_LEN] = {0};
	struct header h;
	bool locked = false;

	(void)state;
	header_build_locked(f.header.file_id, f.header.dirid, bytes);
	assert_memory_equal(bytes, f.bytes, 40);
	for (size_t i = 40; i < HEADER_LEN; i++)
		assert_int_equal(bytes[i], 0);
	assert_int_equal(header_parse(bytes, &f.file_keys, &h), -ENOKEY);
	assert_int_equal(header_probe(bytes, id, &locked), 0);
	assert_memory_equal(id, f.header.file_id, sizeof id);
	assert_true(locked);
	/* One bit more is a key token, and none that verifies. */
	bytes[160] = 1;
	assert_refused(bytes, &f.file_keys);
	assert_int_equal(header_probe(bytes, id, &locked), 0);
	assert_false(locked);
	bytes[160] = 0;
	bytes[161] = 1;
	assert_refused(bytes, &f.file_keys);
	assert_int_equal(header_probe(bytes, id, &locked), -EBADMSG);
}

static void test_header_parse__refuses_the_key_of_another_file(void **state)
{
	struct header other = f.header;
	uint8_t bytes[HEADER_LEN];

	(void)state;
	other.file_id[3] ^= 1;
	assert_int_equal(header_build(&other, &f.file_keys, bytes), 0);
	memcpy(bytes + 8, f.header.file_id, FILE_ID_LEN);
	assert_refused(bytes, &f.file_keys);
}

static void test_header_parse__refuses_another_vault(void **state)
{
	struct fernet_key key;
	uint8_t raw[FERNET_KEY_LEN];

	(void)state;
	randombytes_buf(raw, sizeof raw);
	fernet_key_init(&key, raw);
	assert_refused(f.bytes, &key);
}

/* A token of the right length and key, but with more in it. */
static void test_header_parse__refuses_a_longer_key(void **state)
{
	uint8_t plain[63] = {0}, token[FERNET_TOKEN_LEN(63)];
	uint8_t bytes[HEADER_LEN];

	(void)state;
	for (size_t len = 48; len < 64; len++) {
		assert_int_equal(FERNET_TOKEN_LEN(len), 121);
		memcpy(plain, f.header.file_id, FILE_ID_LEN);
		assert_int_equal(
			fernet_seal_one(&f.file_keys, plain, len, token), 0);
		memcpy(bytes, f.bytes, sizeof bytes);
		memcpy(bytes + 40, token, 121);
		if (len != 48)
			assert_refused(bytes, &f.file_keys);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_parse__reads_what_was_built),
		cmocka_unit_test(
			test_header_build__lays_out_what_the_format_says),
		cmocka_unit_test(test_header_parse__refuses_any_changed_bit),
		cmocka_unit_test(
			test_header_parse__refuses_the_key_of_another_file),
		cmocka_unit_test(test_header_locked__has_no_key_and_says_so),
		cmocka_unit_test(test_header_parse__refuses_another_vault),
		cmocka_unit_test(test_header_parse__refuses_a_longer_key),
	};

	if (sodium_init() < 0 || fernet_init(NULL) != 0)
		return 1;
	return cmocka_run_group_tests(tests, setup, NULL);
}
