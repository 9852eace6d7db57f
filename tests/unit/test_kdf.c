#include "kdf.h"
#include "text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static const uint8_t salt[KDF_SALT_LEN] = "0123456789abcdef";

static void assert_hex(const uint8_t *bytes, size_t len, const char *want)
{
	char hex[2 * 64 + 1];

	hex_encode(bytes, len, hex);
	assert_string_equal(hex, want);
}

/* Known answers: Python's argon2.low_level.hash_secret_raw, type ID. */
static void test_kdf_passphrase__known_answers(void **state)
{
	uint8_t key[32];

	(void)state;
	assert_int_equal(kdf_passphrase("fern", 4, salt, 1, 8 * MIB, key), 0);
	assert_hex(key, sizeof key,
		   "3d3e50271c4731d97b213d8407e2e9cffd9b131bd0eb7eed065a8782a78"
		   "36607");
	assert_int_equal(kdf_passphrase("", 0, salt, 3, 16 * MIB, key), 0);
	assert_hex(key, sizeof key,
		   "fa15aa9f206bfb57b1e7e83484341b2493f4b76a2e9f9f6fa4ad49a90d7"
		   "f48c6");
}

static void test_kdf_passphrase__bounds_hold_and_out_is_untouched(void **state)
{
	const struct {
		uint64_t ops, mem;
	} bad[] = {
		{0, 8 * MIB},
		{KDF_MAX_OPS + 1, 8 * MIB},
		{UINT64_MAX, 8 * MIB},
		{1, 8 * MIB - 1},
		{1, 0},
		{1, KDF_MAX_MEM_MIB * MIB + 1},
		{1, UINT64_MAX},
	};
	uint8_t key[32] = {7}, before[32] = {7};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(kdf_passphrase("fern", 4, salt, bad[i].ops,
						bad[i].mem, key),
				 -EINVAL);
	assert_memory_equal(key, before, sizeof key);
}

/* Known answers: Python's hashlib.blake2b, salt the number, person the name. */
static void test_kdf_subkey__known_answers(void **state)
{
	uint8_t master[KDF_MASTER_LEN], key[64];

	(void)state;
	for (size_t i = 0; i < sizeof master; i++)
		master[i] = (uint8_t)i;
	kdf_subkey(master, KDF_FILE_KEYS, key, 32);
	assert_hex(key, 32,
		   "91854f9df5f51f0c66727498b70540615ffa2f3a5a935d6542619c2b208"
		   "c1c10");
	kdf_subkey(master, KDF_NAMES, key, 64);
	assert_hex(key, 64,
		   "7ff424ac4819c0cf195701396a5cbd0a6547d1d4f6cc8bb5e8ed68208bb"
		   "02bafae2563714287f96da8608e6d8ebce47ecea31f483940fe801f870a"
		   "55662129a0");
	kdf_subkey(master, KDF_JOURNAL, key, 32);
	assert_hex(key, 32,
		   "cb6131433e3d70a05e6545c372a1168dd3f1f759be157c231a02c622c28"
		   "6e564");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kdf_passphrase__known_answers),
		cmocka_unit_test(
			test_kdf_passphrase__bounds_hold_and_out_is_untouched),
		cmocka_unit_test(test_kdf_subkey__known_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
