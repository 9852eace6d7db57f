#include "vault_ini.h"

#include "text.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t seal_key[32] = "the seal's key, thirty-two bytes";
static struct vault_ini ini;	     /* two slots */
static char text[VAULT_INI_MAX + 1]; /* its text, NUL-terminated */
static size_t text_len;

static void fill_slot(struct vault_slot *slot, const char *name)
{
	uint8_t token[FERNET_TOKEN_LEN(VAULT_SLOT_PLAIN_LEN)];

	memset(slot, 0, sizeof *slot);
	memcpy(slot->name, name, strlen(name));
	slot->ops = 3;
	slot->mem_bytes = 256 << 20;
	randombytes_buf(slot->salt, sizeof slot->salt);
	randombytes_buf(token, sizeof token);
	base64url_encode_padded(token, sizeof token, slot->token);
}

static int setup(void **state)
{
	(void)state;
	memset(&ini, 0, sizeof ini);
	ini.version = VAULT_VERSION;
	randombytes_buf(ini.id, sizeof ini.id);
	memcpy(ini.created, "2026-11-21T12:00:00Z", sizeof ini.created);
	ini.slot_count = 2;
	fill_slot(&ini.slots[0], "default");
	fill_slot(&ini.slots[1], "Bob_s-key2");
	return vault_ini_format(&ini, seal_key, text, &text_len);
}

/* What parsing says; the line is looked at only where it failed. */
static int parse(const char *bytes, size_t len, unsigned *line)
{
	static struct vault_ini out, untouched;
	unsigned bad = 9999;
	int err;

	memset(&out, 0x5a, sizeof out);
	memset(&untouched, 0x5a, sizeof untouched);
	err = vault_ini_parse(bytes, len, &out, &bad);
	if (err)
		assert_memory_equal(&out, &untouched, sizeof out);
	if (line)
		*line = bad;
	return err;
}

/* The text with its first `from` replaced by `to`. */
static const char *edited(const char *from, const char *to)
{
	static char copy[VAULT_INI_MAX + 512];
	const char *at = strstr(text, from);

	assert_non_null(at);
	(void)snprintf(copy, sizeof copy, "%.*s%s%s", (int)(at - text), text,
		       to, at + strlen(from));
	return copy;
}

static unsigned line_of(const char *what)
{
	unsigned line = 1;

	for (const char *p = text; p < strstr(text, what); p++)
		line += *p == '\n';
	return line;
}

static void assert_damaged(const char *from, const char *to, unsigned line)
{
	const char *changed = edited(from, to);
	unsigned bad;

	if (parse(changed, strlen(changed), &bad) != -EBADMSG)
		fail_msg("accepted: \"%s\" for \"%s\"", to, from);
	if (bad != line)
		fail_msg("\"%s\" for \"%s\": line %u, not %u", to, from, bad,
			 line);
}

static void test_vault_ini_parse__reads_what_was_written(void **state)
{
	static struct vault_ini out;
	unsigned line;

	(void)state;
	assert_int_equal(vault_ini_parse(text, text_len, &out, &line), 0);
	assert_int_equal(out.version, VAULT_VERSION);
	assert_memory_equal(out.id, ini.id, sizeof ini.id);
	assert_string_equal(out.created, ini.created);
	assert_int_equal(out.slot_count, 2);
	assert_memory_equal(out.slots, ini.slots, sizeof ini.slots);
	assert_int_equal(out.sealed_len, strstr(text, "[seal]") - text);
	assert_int_equal(vault_ini_verify(&out, text, seal_key), 0);
}

static void test_vault_ini_verify__notices_every_changed_bit(void **state)
{
	static struct vault_ini out;
	static char copy[VAULT_INI_MAX];
	unsigned line;

	(void)state;
	for (size_t i = 0; i < text_len * 8; i++) {
		int err;

		memcpy(copy, text, text_len);
		copy[i / 8] = (char)(copy[i / 8] ^ 1 << i % 8);
		err = vault_ini_parse(copy, text_len, &out, &line);
		if (err == 0)
			err = vault_ini_verify(&out, copy, seal_key);
		if (err != -EBADMSG && err != -EPROTONOSUPPORT)
			fail_msg("bit %zu: %d", i, err);
	}
}

static void test_vault_ini_verify__notices_another_key(void **state)
{
	static struct vault_ini out;
	uint8_t key[32] = {0};
	unsigned line;

	(void)state;
	assert_int_equal(vault_ini_parse(text, text_len, &out, &line), 0);
	assert_int_equal(vault_ini_verify(&out, text, key), -EBADMSG);
}

static void test_vault_ini_parse__refuses_every_cut(void **state)
{
	(void)state;
	for (size_t len = 0; len < text_len; len++)
		assert_int_equal(parse(text, len, NULL), -EBADMSG);
}

static void test_vault_ini_parse__refuses_what_follows_the_seal(void **state)
{
	static const char *const tails[] = {
		"\n", " ", "x", "mac = x\n", "[slot late]\n", "# comment\n"};
	char copy[VAULT_INI_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
		size_t n = strlen(tails[i]);

		memcpy(copy, text, text_len);
		memcpy(copy + text_len, tails[i], n);
		assert_int_equal(parse(copy, text_len + n, NULL), -EBADMSG);
	}
	memcpy(copy, text, text_len);
	copy[text_len] = '\0';
	assert_int_equal(parse(copy, text_len + 1, NULL), -EBADMSG);
}

static void test_vault_ini_parse__refuses_other_shapes(void **state)
{
	unsigned ops = line_of("ops");

	(void)state;
	assert_damaged("[vault]\n", "\n[vault]\n", 1);
	assert_damaged("[vault]\n", "\xef\xbb\xbf[vault]\n", 1);
	assert_damaged("[vault]\n", "", 1);
	assert_damaged("ops = 3\n", "ops=3\n", ops);
	assert_damaged("ops = 3\n", "ops: 3\n", ops);
	assert_damaged("ops = 3\n", " ops = 3\n", ops);
	assert_damaged("ops = 3\n", "ops = 3 \n", ops);
	assert_damaged("ops = 3\n", "ops = 3\r\n", ops);
	assert_damaged("ops = 3\n", "ops = 3 ; strong\n", ops);
	assert_damaged("ops = 3\n", "ops = \n", ops);
	assert_damaged("ops = 3\n", "ops\n", ops);
	assert_damaged("ops = 3\n", "# note\nops = 3\n", ops);
	assert_damaged("ops = 3\n", "; note\nops = 3\n", ops);
	assert_damaged("ops = 3\n", "ops = 3\n   continued\n", ops + 1);
	assert_damaged("ops = 3\n", "ops = 3\x01\n", ops);
	assert_damaged("ops = 3\n", "ops = 3\xc3\xa9\n", ops);
}

static void test_vault_ini_parse__refuses_bytes_behind_a_nul(void **state)
{
	char copy[VAULT_INI_MAX];
	size_t at = (size_t)(strstr(text, "ops") - text);
	unsigned line;

	(void)state;
	memcpy(copy, text, text_len);
	copy[at] = '\0';
	assert_int_equal(parse(copy, text_len, &line), -EBADMSG);
	assert_int_equal(line, line_of("ops"));
}

static void test_vault_ini_parse__refuses_repetition(void **state)
{
	(void)state;
	assert_damaged("ops = 3\n", "ops = 3\nops = 3\n", line_of("ops") + 1);
	assert_damaged("version = 2\n", "version = 2\nversion = 1\n", 3);
	assert_damaged("[slot default]", "[vault]", line_of("[slot"));
	assert_damaged("[slot Bob_s-key2]", "[slot default]",
		       line_of("[slot Bob"));
	assert_damaged("[slot Bob_s-key2]", "[seal]", line_of("[slot Bob") + 2);
}

static void test_vault_ini_parse__refuses_the_unknown(void **state)
{
	unsigned slot = line_of("[slot");

	(void)state;
	assert_damaged("ops = 3\n", "ops = 3\ncolour = red\n",
		       line_of("ops") + 1);
	assert_damaged("version = 2\n", "version = 2\nops = 3\n", 3);
	assert_damaged("mac = ", "mak = ", line_of("mac"));
	assert_damaged("[slot default]", "[Slot default]", slot);
	assert_damaged("[slot default]", "[slot]", slot);
	assert_damaged("[slot default]", "[slot ]", slot);
	assert_damaged("[slot default]", "[slot a b]", slot);
	assert_damaged("[slot default]", "[slot a]]", slot);
	assert_damaged("[slot default]", "[slot default] ", slot);
	assert_damaged("[slot default]", "[slot default", slot);
	assert_damaged("[slot default]", "[share]", slot);
	assert_damaged("[slot default]",
		       "[slot abcdefghijklmnopqrstuvwxyz0123456]", slot);
	assert_damaged("type = passphrase", "type = keyfile", line_of("type"));
	assert_damaged("kdf = argon2id", "kdf = argon2i", line_of("kdf"));
}

static void test_vault_ini_parse__refuses_missing_keys(void **state)
{
	(void)state;
	assert_damaged("version = 2\n", "", 0);
	assert_damaged("created = 2026-11-21T12:00:00Z\n", "", 0);
	assert_damaged("ops = 3\n", "", 0);
	assert_damaged("type = passphrase\n", "", 0);
	/* a section of which nothing is there */
	assert_damaged("[slot default]\n", "[slot empty]\n[slot default]\n", 0);
	assert_damaged("mac = ", "", line_of("mac"));
}

static void test_vault_ini_parse__refuses_other_values(void **state)
{
	unsigned ops = line_of("ops"), mem = line_of("mem");
	unsigned salt = line_of("salt"), token = line_of("token");

	(void)state;
	assert_damaged("ops = 3", "ops = 0", ops);
	assert_damaged("ops = 3", "ops = 03", ops);
	assert_damaged("ops = 3", "ops = +3", ops);
	assert_damaged("ops = 3", "ops = 3x", ops);
	assert_damaged("ops = 3", "ops = 65", ops);
	assert_damaged("ops = 3", "ops = 18446744073709551619", ops);
	assert_damaged("mem = 268435456", "mem = 268435457", mem);
	assert_damaged("mem = 268435456", "mem = 8387584", mem);
	assert_damaged("mem = 268435456", "mem = 4294968320", mem);
	assert_damaged("salt = ", "salt = AAAA", salt);
	assert_damaged("salt = ", "salt = =", salt);
	assert_damaged("token = ", "token = AAAA", token);
	assert_damaged("token = ", "token = !", token);
	assert_damaged("id = ", "id = 0", line_of("id"));
	assert_damaged("version = 2", "version = 0", 2);
	assert_damaged("version = 2", "version = one", 2);
	assert_damaged("2026-11-21T12:00:00Z", "2026-11-21 12:00:00", 4);
	assert_damaged("2026-11-21T12:00:00Z", "2026-11-21T12:00:0xZ", 4);
}

static void test_vault_ini_parse__accepts_the_bounds(void **state)
{
	const char *changed = edited("ops = 3", "ops = 64");

	(void)state;
	assert_int_equal(parse(changed, strlen(changed), NULL), 0);
	changed = edited("mem = 268435456", "mem = 8388608");
	assert_int_equal(parse(changed, strlen(changed), NULL), 0);
	changed = edited("mem = 268435456", "mem = 4294967296");
	assert_int_equal(parse(changed, strlen(changed), NULL), 0);
	changed = edited("[slot default]",
			 "[slot abcdefghijklmnopqrstuvwxyz012345]");
	assert_int_equal(parse(changed, strlen(changed), NULL), 0);
}

/* Whatever else a newer program puts there, it is newer and not damaged. */
static void test_vault_ini_parse__recognises_a_newer_version(void **state)
{
	static const char *const newer[] = {
		"version = 3",
		"version = 4000000000",
		"version = 3\ncipher = aegis",
		"cipher = aegis ; why not\nversion: 3",
	};

	(void)state;
	for (size_t i = 0; i < sizeof newer / sizeof newer[0]; i++) {
		const char *changed = edited("version = 2", newer[i]);

		assert_int_equal(parse(changed, strlen(changed), NULL),
				 -EPROTONOSUPPORT);
	}
}

static void test_vault_ini_format__has_room_for_all_slots(void **state)
{
	static struct vault_ini full, back;
	static char out[VAULT_INI_MAX];
	unsigned line;
	size_t len;

	(void)state;
	full = ini;
	full.slot_count = VAULT_SLOTS_MAX;
	for (size_t i = 0; i < VAULT_SLOTS_MAX; i++) {
		char name[VAULT_SLOT_NAME_MAX + 1];

		(void)snprintf(name, sizeof name, "%032zu", i);
		fill_slot(&full.slots[i], name);
	}
	assert_int_equal(vault_ini_format(&full, seal_key, out, &len), 0);
	assert_int_equal(vault_ini_parse(out, len, &back, &line), 0);
	assert_memory_equal(back.slots, full.slots, sizeof full.slots);
}

static void test_vault_ini_parse__refuses_too_many_slots(void **state)
{
	static char many[VAULT_INI_MAX];
	size_t head = (size_t)(strstr(text, "[slot") - text), len = head;
	size_t body = (size_t)(strstr(text, "[slot B") - text) - head;
	const char *slot = strchr(text + head, '\n');

	(void)state;
	memcpy(many, text, head);
	for (int i = 0; i <= VAULT_SLOTS_MAX; i++)
		len += (size_t)snprintf(
			many + len, sizeof many - len, "[slot s%d]%.*s", i,
			(int)(body - strlen("[slot default]")), slot);
	len += (size_t)snprintf(many + len, sizeof many - len, "%s",
				strstr(text, "[seal]"));
	assert_in_range(len, 1, sizeof many - 1);
	assert_int_equal(parse(many, len, NULL), -EBADMSG);
	/* one fewer is fine */
	*strstr(many, "[slot s16]") = '\0';
	(void)strcat(many, strstr(text, "[seal]"));
	assert_int_equal(parse(many, strlen(many), NULL), 0);
}

static void test_vault_ini_parse__refuses_long_lines_and_files(void **state)
{
	static char big[VAULT_INI_MAX + 512];
	char line[256];

	(void)state;
	(void)snprintf(line, sizeof line, "ops = %0193d\n", 3);
	assert_damaged("ops = 3\n", line, line_of("ops"));
	memset(big, '\n', sizeof big);
	memcpy(big, text, text_len);
	/* to the byte, for whoever watches; and more than there is room for */
	assert_int_equal(parse(big, VAULT_INI_MAX + 1, NULL), -EBADMSG);
	assert_int_equal(parse(big, sizeof big, NULL), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vault_ini_parse__reads_what_was_written),
		cmocka_unit_test(
			test_vault_ini_verify__notices_every_changed_bit),
		cmocka_unit_test(test_vault_ini_verify__notices_another_key),
		cmocka_unit_test(test_vault_ini_parse__refuses_every_cut),
		cmocka_unit_test(
			test_vault_ini_parse__refuses_what_follows_the_seal),
		cmocka_unit_test(test_vault_ini_parse__refuses_other_shapes),
		cmocka_unit_test(
			test_vault_ini_parse__refuses_bytes_behind_a_nul),
		cmocka_unit_test(test_vault_ini_parse__refuses_repetition),
		cmocka_unit_test(test_vault_ini_parse__refuses_the_unknown),
		cmocka_unit_test(test_vault_ini_parse__refuses_missing_keys),
		cmocka_unit_test(test_vault_ini_parse__refuses_other_values),
		cmocka_unit_test(test_vault_ini_parse__accepts_the_bounds),
		cmocka_unit_test(
			test_vault_ini_parse__recognises_a_newer_version),
		cmocka_unit_test(test_vault_ini_format__has_room_for_all_slots),
		cmocka_unit_test(test_vault_ini_parse__refuses_too_many_slots),
		cmocka_unit_test(
			test_vault_ini_parse__refuses_long_lines_and_files),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, setup, NULL);
}
