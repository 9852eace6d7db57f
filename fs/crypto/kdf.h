/*
 * Key derivation: a passphrase to a slot key (Argon2id), the master key to
 * subkeys (BLAKE2b through libsodium's crypto_kdf, context "frondfs1").
 */
#ifndef FROND_KDF_H
#define FROND_KDF_H

#include "cleanup.h"

#include <stddef.h>
#include <stdint.h>

enum {
	KDF_SALT_LEN = 16,
	KDF_MASTER_LEN = 32,
	KDF_DEFAULT_OPS = 3,
	KDF_DEFAULT_MEM_MIB = 256,
	KDF_MIN_MEM_MIB = 8,
	KDF_MAX_MEM_MIB = 4096, /* what a vault.ini may ask of us, at most */
	KDF_MAX_OPS = 64,
};

/* What each subkey is for; the numbers are part of the format. */
enum kdf_subkey {
	KDF_FILE_KEYS = 1,
	KDF_NAMES = 2, /* 64 bytes; every other 32 */
	KDF_IDENTITY = 3,
	KDF_SYMLINKS = 4,
	KDF_SEAL = 5,
	KDF_LOG = 6,
	KDF_XATTRS = 7,
	KDF_JOURNAL = 8,
	KDF_SHARING = 9, /* the inbox's records */
	KDF_SEEN = 10,	 /* what a machine remembers, outside of the vault */
};

/* -ENOMEM: the memory is not to be had; -EINVAL: out of the bounds above. */
MUST_CHECK int kdf_passphrase(const char *passphrase, size_t len,
			      const uint8_t salt[static KDF_SALT_LEN],
			      uint64_t ops, uint64_t mem_bytes,
			      uint8_t out[32]);

/* len is 16 to 64. */
void kdf_subkey(const uint8_t master[static KDF_MASTER_LEN],
		enum kdf_subkey which, uint8_t *out, size_t len);

#endif
