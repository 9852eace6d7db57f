#include "name.h"

#include "text.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct siv *siv;
static const uint8_t dirid[DIRID_LEN] = "directory-number";
static const uint8_t other_dirid[DIRID_LEN] = "directory-other!";

static int setup(void **state)
{
	uint8_t key[SIV_KEY_LEN];

	(void)state;
	for (size_t i = 0; i < sizeof key; i++)
		key[i] = (uint8_t)i;
	return siv_new(key, &siv);
}

static int teardown(void **state)
{
	(void)state;
	siv_free(siv);
	return 0;
}

/* len bytes, none of them NUL or "/", never "." or ".." */
static void random_name(char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		do
			name[i] = (char)(rand() % 255 + 1);
		while (name[i] == '/' || name[i] == '.');
}

static void test_name_decode__returns_what_was_encoded(void **state)
{
	(void)state;
	srand(1);
	for (size_t len = 1; len <= NAME_PLAIN_MAX; len++) {
		char name[NAME_PLAIN_MAX], back[NAME_PLAIN_MAX + 1];
		struct backing_name b;
		size_t back_len;

		random_name(name, len);
		assert_int_equal(name_encode(siv, dirid, name, len, &b), 0);
		assert_int_equal(b.is_long, len > 175);
		assert_int_equal(strlen(b.full), BASE64URL_LEN(16 + len));
		assert_int_equal(name_classify(b.entry),
				 b.is_long ? NAME_KIND_LONG : NAME_KIND_ENTRY);
		if (!b.is_long)
			assert_string_equal(b.entry, b.full);
		assert_int_equal(name_decode(siv, dirid, b.full, strlen(b.full),
					     back, &back_len),
				 0);
		assert_int_equal(back_len, len);
		assert_int_equal(back[len], 0);
		assert_memory_equal(back, name, len);
	}
}

/* Made with Python: AESSIV(bytes(range(64))), base64url, hashlib.blake2b */
static void test_name_encode__makes_the_same_as_python(void **state)
{
	struct backing_name b;
	char name[200];

	(void)state;
	assert_int_equal(name_encode(siv, dirid, "report.pdf", 10, &b), 0);
	assert_string_equal(b.entry, "V2i2A3m0pe4_s5059kEjV3dla8mqpDDJjFw");
	memset(name, 'n', sizeof name);
	assert_int_equal(name_encode(siv, dirid, name, sizeof name, &b), 0);
	assert_true(b.is_long);
	assert_string_equal(b.entry,
			    "@vgM6mhvJh2350ijF5FeozK2Tawl0PwNHNEd_9wenKrk");
}

static void test_name_encode__refuses_what_no_name_is(void **state)
{
	struct backing_name b = {.entry = "x"};
	char name[NAME_PLAIN_MAX + 1];

	(void)state;
	memset(name, 'n', sizeof name);
	assert_int_equal(name_encode(siv, dirid, name, sizeof name, &b),
			 -ENAMETOOLONG);
	assert_int_equal(name_encode(siv, dirid, "", 0, &b), -EINVAL);
	assert_int_equal(name_encode(siv, dirid, "a/b", 3, &b), -EINVAL);
	assert_int_equal(name_encode(siv, dirid, "a\0b", 3, &b), -EINVAL);
	assert_int_equal(name_encode(siv, dirid, ".", 1, &b), -EINVAL);
	assert_int_equal(name_encode(siv, dirid, "..", 2, &b), -EINVAL);
	assert_string_equal(b.entry, "x");
	assert_int_equal(name_encode(siv, dirid, "...", 3, &b), 0);
}

static void test_name_decode__refuses_another_directory(void **state)
{
	char plain[NAME_PLAIN_MAX + 1] = "untouched";
	struct backing_name b;
	size_t len = 7;

	(void)state;
	assert_int_equal(name_encode(siv, dirid, "name", 4, &b), 0);
	assert_int_equal(name_decode(siv, other_dirid, b.full, strlen(b.full),
				     plain, &len),
			 -EBADMSG);
	assert_string_equal(plain, "untouched");
	assert_int_equal(len, 7);
}

/* One name has one spelling: any other character, more or fewer, is damage. */
static void test_name_decode__refuses_any_other_spelling(void **state)
{
	char plain[NAME_PLAIN_MAX + 1], text[64];
	struct backing_name b;
	size_t len;

	(void)state;
	assert_int_equal(name_encode(siv, dirid, "file", 4, &b), 0);
	assert_non_null(strchr(b.full, '_'));
	len = strlen(b.full);
	for (size_t i = 0; i < len; i++) {
		for (int c = 0; c < 256; c++) {
			memcpy(text, b.full, len + 1);
			text[i] = (char)c;
			assert_int_equal(
				name_decode(siv, dirid, text, len, plain, NULL),
				(char)c == b.full[i] ? 0 : -EBADMSG);
		}
		assert_int_equal(
			name_decode(siv, dirid, b.full, i, plain, NULL),
			-EBADMSG);
	}
	memcpy(text, b.full, len);
	memcpy(text + len, "=", 2);
	assert_int_equal(name_decode(siv, dirid, text, len + 1, plain, NULL),
			 -EBADMSG);
}

/* Whoever has the key may still not make us show such entries. */
static void test_name_decode__refuses_sealed_non_names(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {{"../up", 5}, {"a\0b", 3}, {".", 1}, {"..", 2}, {"/", 1}};
	char plain[NAME_PLAIN_MAX + 1], text[64];
	uint8_t sealed[32];

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		size_t len = SIV_TAG_LEN + bad[i].len;

		assert_int_equal(siv_seal(siv, dirid, DIRID_LEN,
					  (const uint8_t *)bad[i].bytes,
					  bad[i].len, sealed),
				 0);
		base64url_encode(sealed, len, text);
		assert_int_equal(name_decode(siv, dirid, text, strlen(text),
					     plain, NULL),
				 -EBADMSG);
	}
}

#define HASH43 "abcdefghijklmnopqrstuvwxyz-_ABCDEFGHIJKLMNO"
#define HEX32 "0123456789abcdef0123456789abcdef"

static void test_name_classify__knows_every_kind(void **state)
{
	static const struct {
		const char *entry;
		enum name_kind kind;
	} cases[] = {
		{".dirid", NAME_KIND_INTERNAL},
		{".frondfs", NAME_KIND_INTERNAL},
		{".tmp-", NAME_KIND_INTERNAL},
		{".tmp-0123", NAME_KIND_INTERNAL},
		{"@" HASH43 ".name", NAME_KIND_INTERNAL},
		{"@" HEX32 ".link", NAME_KIND_INTERNAL},
		{"@" HASH43, NAME_KIND_LONG},
		{"ABCDEFGHIJKLMNOPQRSTUVW", NAME_KIND_ENTRY},
		{"-_CDEFGHIJKLMNOPQRSTUVWX", NAME_KIND_ENTRY},
		{HASH43, NAME_KIND_ENTRY},
		{HEX32, NAME_KIND_ENTRY},
		/* shorter than any; a length that base64url does not have */
		{"ABCDEFGHIJKLMNOPQRSTUV", NAME_KIND_FOREIGN},
		{"ABCDEFGHIJKLMNOPQRSTUVWXY", NAME_KIND_FOREIGN},
		{"ABCDEFGHIJKLMNOPQRSTUVW=", NAME_KIND_FOREIGN},
		{"ABCDEFGHIJKLMNOPQRSTUVW (conflict)", NAME_KIND_FOREIGN},
		{"@" HASH43 ".link", NAME_KIND_FOREIGN},
		{"@" HASH43 ".name~", NAME_KIND_FOREIGN},
		{"@" HASH43 "P", NAME_KIND_FOREIGN},
		{"@" HEX32, NAME_KIND_FOREIGN},
		{"@" HEX32 ".name", NAME_KIND_FOREIGN},
		{"@0123456789ABCDEF0123456789ABCDEF.link", NAME_KIND_FOREIGN},
		{"@", NAME_KIND_FOREIGN},
		{"", NAME_KIND_FOREIGN},
		{".", NAME_KIND_FOREIGN},
		{"..", NAME_KIND_FOREIGN},
		{".dirid2", NAME_KIND_FOREIGN},
		{".tmp", NAME_KIND_FOREIGN},
		{"vault.ini", NAME_KIND_FOREIGN},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (name_classify(cases[i].entry) != cases[i].kind)
			fail_msg("\"%s\" is of kind %d", cases[i].entry,
				 (int)name_classify(cases[i].entry));
}

static void test_name_xattr_encode__fits_whatever_the_length(void **state)
{
	char name[NAME_PLAIN_MAX + 2], out[NAME_XATTR_MAX + 1];
	const size_t prefix = strlen(NAME_XATTR_PREFIX);

	(void)state;
	for (size_t len = 1; len <= NAME_PLAIN_MAX; len++) {
		memset(name, 'x', len);
		name[len] = '\0';
		memset(out, '!', sizeof out);
		assert_int_equal(name_xattr_encode(siv, name, out), 0);
		assert_memory_equal(out, NAME_XATTR_PREFIX, prefix);
		if (len <= 165)
			assert_int_equal(strlen(out),
					 prefix + BASE64URL_LEN(16 + len));
		else
			assert_int_equal(strlen(out), prefix + NAME_LONG_LEN);
		assert_int_equal(out[prefix] == '@', len > 165);
	}
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	assert_int_equal(name_xattr_encode(siv, name, out), -ERANGE);
	assert_int_equal(name_xattr_encode(siv, "", out), -EINVAL);
}

static void test_name_xattr_encode__makes_the_same_as_python(void **state)
{
	char out[NAME_XATTR_MAX + 1];

	(void)state;
	assert_int_equal(name_xattr_encode(siv, "user.comment", out), 0);
	assert_string_equal(
		out, "user.frondfs.6BMMxPvGZU3ngwc8hVglNRmA6gmxQpl1Kku7iw");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_decode__returns_what_was_encoded),
		cmocka_unit_test(test_name_encode__makes_the_same_as_python),
		cmocka_unit_test(test_name_encode__refuses_what_no_name_is),
		cmocka_unit_test(test_name_decode__refuses_another_directory),
		cmocka_unit_test(test_name_decode__refuses_any_other_spelling),
		cmocka_unit_test(test_name_decode__refuses_sealed_non_names),
		cmocka_unit_test(test_name_classify__knows_every_kind),
		cmocka_unit_test(
			test_name_xattr_encode__fits_whatever_the_length),
		cmocka_unit_test(
			test_name_xattr_encode__makes_the_same_as_python),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, setup, teardown);
}
