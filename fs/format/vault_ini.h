/*
 * .frondfs/vault.ini: settings and key slots (frondfs-format(5), "vault.ini").
 * Pure: text to struct and back. Read with inih, after a check that the text
 * is of the strict shape that the format demands.
 */
#ifndef FROND_VAULT_INI_H
#define FROND_VAULT_INI_H

#include "fernet_text.h"
#include "kdf.h"

enum {
	VAULT_VERSION = 2,	/* of those made now */
	VAULT_VERSION_MAPS = 2, /* from this on, full chunks claim holes */
	VAULT_ID_LEN = 16,
	VAULT_SLOTS_MAX = 16,
	VAULT_SLOT_NAME_MAX = 32, /* A-Z a-z 0-9 - _ */
	VAULT_INI_MAX = 16384,
	VAULT_SLOT_PLAIN_LEN = VAULT_ID_LEN + KDF_MASTER_LEN,
	VAULT_SLOT_TEXT_LEN = FERNET_TEXT_LEN(VAULT_SLOT_PLAIN_LEN),
	VAULT_MAC_LEN = 32,
};

struct vault_slot {
	char name[VAULT_SLOT_NAME_MAX + 1]; /* "default" */
	uint64_t ops, mem_bytes;
	uint8_t salt[KDF_SALT_LEN];
	char token[VAULT_SLOT_TEXT_LEN + 1]; /* vault id | master key, sealed */
};

struct vault_ini {
	unsigned version;
	uint8_t id[VAULT_ID_LEN];
	char created[21]; /* 2026-11-21T12:00:00Z */
	size_t slot_count;
	struct vault_slot slots[VAULT_SLOTS_MAX];
	uint8_t mac[VAULT_MAC_LEN];
	size_t sealed_len; /* bytes of the text in front of "[seal]" */
};

/*
 * Parse len bytes. -EPROTONOSUPPORT: a newer version (recognised before
 * anything else is judged); -EBADMSG: damaged; then *bad_line is the line it
 * was noticed at (0: the file as a whole).
 */
MUST_CHECK int vault_ini_parse(const char *text, size_t len,
			       struct vault_ini *out, unsigned *bad_line);

/* Is the seal right? key: subkey 5. -EBADMSG when it is not. */
MUST_CHECK int vault_ini_verify(const struct vault_ini *ini, const char *text,
				const uint8_t seal_key[32]);

/*
 * Write *ini, sealed with subkey 5, into text (VAULT_INI_MAX bytes);
 * *len_out is its length. -EMSGSIZE when it does not fit.
 */
MUST_CHECK int vault_ini_format(const struct vault_ini *ini,
				const uint8_t seal_key[32], char *text,
				size_t *len_out);

#endif
