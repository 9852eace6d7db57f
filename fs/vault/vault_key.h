/*
 * From vault.ini's text and a passphrase to the master key, and back. No I/O;
 * everything secret stays in locked memory.
 */
#ifndef FROND_VAULT_KEY_H
#define FROND_VAULT_KEY_H

#include "vault.h"

/* What unlocking works with and leaves. Allocate with secret_alloc(). */
struct vault_secret {
	struct fernet_key slot_key;
	uint8_t raw[FERNET_KEY_LEN];
	uint8_t plain[VAULT_SLOT_PLAIN_LEN]; /* vault id | master key */
	uint8_t seal_key[32];
	uint8_t names_key[SIV_KEY_LEN];
	uint8_t master[KDF_MASTER_LEN];
};

/* vault.ini as it lies on disk, and as parsed. */
struct vault_ini_text {
	struct vault_ini ini;
	size_t len;
	char text[VAULT_INI_MAX];
};

/*
 * Find the slot that the passphrase opens, and check the seal: *slot is its
 * index, and s->master and s->seal_key are set. Errors as for vault_open.
 */
MUST_CHECK int vault_key_unlock(const struct vault_ini_text *t,
				const char *passphrase, size_t len,
				struct vault_secret *s, size_t *slot);

/*
 * Seal s->master into *slot, whose ops and mem_bytes are set, under the
 * passphrase and a new salt. seconds: since 1970, what the token says.
 */
MUST_CHECK int vault_key_seal(const uint8_t id[static VAULT_ID_LEN],
			      struct vault_slot *slot, uint64_t seconds,
			      const char *passphrase, size_t len,
			      struct vault_secret *s);

/* The subkeys that a mounted vault uses. */
void vault_key_derive(const struct vault_secret *s, struct vault_keys *keys);

#endif
