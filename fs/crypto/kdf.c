#include "kdf.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

enum { SLOT_KEY_LEN = 32, MIB = 1 << 20 };

int kdf_passphrase(const char *passphrase, size_t len,
		   const uint8_t salt[static KDF_SALT_LEN], uint64_t ops,
		   uint64_t mem_bytes, uint8_t out[32])
{
	uint8_t key[SLOT_KEY_LEN];

	if (ops < 1 || ops > KDF_MAX_OPS ||
	    mem_bytes < (uint64_t)KDF_MIN_MEM_MIB * MIB ||
	    mem_bytes > (uint64_t)KDF_MAX_MEM_MIB * MIB)
		return -EINVAL;
	if (crypto_pwhash(key, sizeof key, passphrase, len, salt, ops,
			  (size_t)mem_bytes, crypto_pwhash_ALG_ARGON2ID13) != 0)
		return -ENOMEM;
	memcpy(out, key, sizeof key);
	sodium_memzero(key, sizeof key);
	return 0;
}

void kdf_subkey(const uint8_t master[static KDF_MASTER_LEN],
		enum kdf_subkey which, uint8_t *out, size_t len)
{
	/* Only a length outside 16..64 makes it fail. */
	(void)crypto_kdf_derive_from_key(out, len, which, "frondfs1", master);
}
