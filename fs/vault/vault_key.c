#include "vault_key.h"

#include <errno.h>
#include <string.h>

/*
 * All slots together may cost what one slot of the greatest size costs:
 * whoever writes vault.ini does not keep us busy for days.
 */
static const uint64_t max_work =
	(uint64_t)KDF_MAX_OPS * KDF_MAX_MEM_MIB * 1024 * 1024;

static bool is_too_much_work(const struct vault_ini *ini)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ini->slot_count; i++) {
		uint64_t work = 0;

		if (__builtin_mul_overflow(ini->slots[i].ops,
					   ini->slots[i].mem_bytes, &work) ||
		    __builtin_add_overflow(sum, work, &sum))
			return true;
	}
	return sum > max_work;
}

static int derive_slot_key(const struct vault_slot *slot,
			   const char *passphrase, size_t len,
			   struct vault_secret *s)
{
	int err = kdf_passphrase(passphrase, len, slot->salt, slot->ops,
				 slot->mem_bytes, s->raw);

	if (!err)
		fernet_key_init(&s->slot_key, s->raw);
	return err;
}

/* -EKEYREJECTED: this passphrase does not open this slot. */
static int try_slot(const struct vault_ini *ini, size_t i,
		    const char *passphrase, size_t len, struct vault_secret *s)
{
	const struct vault_slot *slot = &ini->slots[i];
	size_t plain_len = 0;
	int err = derive_slot_key(slot, passphrase, len, s);

	if (err)
		return err == -EINVAL ? -EBADMSG : err;
	err = fernet_open_text(&s->slot_key, slot->token, strlen(slot->token),
			       s->plain, sizeof s->plain, &plain_len);
	if (err)
		return err == -EBADMSG	  ? -EKEYREJECTED
		       : err == -EMSGSIZE ? -EBADMSG
					  : err;
	if (plain_len != sizeof s->plain ||
	    memcmp(s->plain, ini->id, VAULT_ID_LEN) != 0)
		return -EBADMSG;
	memcpy(s->master, s->plain + VAULT_ID_LEN, KDF_MASTER_LEN);
	return 0;
}

int vault_key_unlock(const struct vault_ini_text *t, const char *passphrase,
		     size_t len, struct vault_secret *s, size_t *slot)
{
	int verdict = -EKEYREJECTED;

	if (is_too_much_work(&t->ini))
		return -EBADMSG;
	for (size_t i = 0; i < t->ini.slot_count; i++) {
		int err = try_slot(&t->ini, i, passphrase, len, s);

		if (err == -EKEYREJECTED)
			continue;
		if (err == -ENOMEM) { /* another slot may ask for less */
			verdict = err;
			continue;
		}
		if (err)
			return err;
		kdf_subkey(s->master, KDF_SEAL, s->seal_key,
			   sizeof s->seal_key);
		err = vault_ini_verify(&t->ini, t->text, s->seal_key);
		if (!err)
			*slot = i;
		return err;
	}
	return verdict;
}

int vault_key_seal(const uint8_t id[static VAULT_ID_LEN],
		   struct vault_slot *slot, uint64_t seconds,
		   const char *passphrase, size_t len, struct vault_secret *s)
{
	int err;

	randombytes_buf(slot->salt, sizeof slot->salt);
	err = derive_slot_key(slot, passphrase, len, s);
	if (err)
		return err;
	memcpy(s->plain, id, VAULT_ID_LEN);
	memcpy(s->plain + VAULT_ID_LEN, s->master, KDF_MASTER_LEN);
	return fernet_seal_text_at(&s->slot_key, seconds, s->plain,
				   sizeof s->plain, slot->token);
}

static void derive_one(const struct vault_secret *s, enum kdf_subkey which,
		       struct fernet_key *out)
{
	uint8_t raw[FERNET_KEY_LEN];

	kdf_subkey(s->master, which, raw, sizeof raw);
	fernet_key_init(out, raw);
	sodium_memzero(raw, sizeof raw);
}

void vault_key_derive(const struct vault_secret *s, struct vault_keys *keys)
{
	derive_one(s, KDF_FILE_KEYS, &keys->file_keys);
	derive_one(s, KDF_SYMLINKS, &keys->symlinks);
	derive_one(s, KDF_XATTRS, &keys->xattrs);
	memcpy(keys->master, s->master, sizeof keys->master);
}
