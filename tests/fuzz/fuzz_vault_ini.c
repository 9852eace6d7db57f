/*
 * vault.ini: what is accepted means the same after it was written anew, and
 * its seal, made right, makes it verify.
 */
#include "fuzz.h"

#include "vault_ini.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

static const uint8_t seal_key[32] = "the seal's key, thirty-two bytes";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return sodium_init() < 0;
}

static unsigned count_lines(const char *text, size_t len)
{
	unsigned lines = 0;

	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	return lines;
}

static void check_accepted(const struct vault_ini *ini, const char *text,
			   size_t len)
{
	static char again[VAULT_INI_MAX];
	static struct vault_ini back;
	size_t again_len;
	unsigned line;
	int err;

	REQUIRE(ini->version >= 1 && ini->version <= VAULT_VERSION);
	REQUIRE(ini->slot_count >= 1 && ini->slot_count <= VAULT_SLOTS_MAX);
	REQUIRE(ini->sealed_len < len);
	REQUIRE(memcmp(text + ini->sealed_len, "[seal]\nmac = ", 13) == 0);
	err = vault_ini_verify(ini, text, seal_key);
	REQUIRE(err == 0 || err == -EBADMSG);

	REQUIRE(vault_ini_format(ini, seal_key, again, &again_len) == 0);
	REQUIRE(vault_ini_parse(again, again_len, &back, &line) == 0);
	REQUIRE(vault_ini_verify(&back, again, seal_key) == 0);
	REQUIRE(back.slot_count == ini->slot_count);
	REQUIRE(memcmp(back.id, ini->id, sizeof back.id) == 0);
	REQUIRE(strcmp(back.created, ini->created) == 0);
	for (size_t i = 0; i < ini->slot_count; i++) {
		REQUIRE(strcmp(back.slots[i].name, ini->slots[i].name) == 0);
		REQUIRE(strcmp(back.slots[i].token, ini->slots[i].token) == 0);
		REQUIRE(back.slots[i].ops == ini->slots[i].ops);
		REQUIRE(back.slots[i].mem_bytes == ini->slots[i].mem_bytes);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vault_ini ini;
	const char *text = (const char *)data;
	unsigned line = 0;
	int err = vault_ini_parse(text, size, &ini, &line);

	REQUIRE(err == 0 || err == -EBADMSG || err == -EPROTONOSUPPORT);
	if (err == -EBADMSG)
		REQUIRE(line <= count_lines(text, size) + 1);
	if (err == 0)
		check_accepted(&ini, text, size);
	return 0;
}
