/*
 * An unlocked vault in memory, for targets that need one; gone when the
 * process ends well.
 */
#ifndef FROND_FUZZ_VAULT_H
#define FROND_FUZZ_VAULT_H

#include "fuzz.h"

#include "vault.h"

/* Made at the first call; aborts where that fails. */
struct vault *fuzz_vault(void);

/* Key i of the vault. */
void fuzz_subkey(enum kdf_subkey which, struct fernet_key *key);

/* Make name in dirfd anew with these bytes. */
void fuzz_put(int dirfd, const char *name, const void *data, size_t len);

/* A descriptor of a nameless file with these bytes. */
int fuzz_file(const void *data, size_t len);

#endif
