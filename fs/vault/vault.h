/*
 * A vault: a backing directory and, once unlocked, its keys. No FUSE here.
 */
#ifndef FROND_VAULT_H
#define FROND_VAULT_H

#include "header.h"
#include "kdf.h"
#include "name.h"
#include "secret.h"
#include "siv.h"
#include "vault_ini.h"

#include <stdatomic.h>
#include <stdbool.h>

#define VAULT_INI_FILE "vault.ini"  /* in .frondfs */
#define VAULT_LOCK_FILE "lock"	    /* in .frondfs: who has it mounted */
#define VAULT_ORPHANS_DIR "orphans" /* in .frondfs: unlinked, still open */

/* The subkeys in use, ready for use. Lives in locked memory. */
struct vault_keys {
	struct fernet_key file_keys; /* subkey 1 */
	struct fernet_key symlinks;  /* subkey 4 */
	struct fernet_key xattrs;    /* subkey 7 */
	uint8_t master[KDF_MASTER_LEN];
};

struct journal;
struct memory;

struct vault {
	char *path;	  /* absolute path of the backing directory */
	int root_fd;	  /* O_PATH, the backing directory */
	int meta_fd;	  /* O_PATH, its .frondfs */
	int orphans_fd;	  /* O_PATH, or -1 before vault_orphans_open() */
	int lock_fd;	  /* -1 before vault_lock() */
	unsigned version; /* of its format (vault_ini.h) */
	bool shared;	  /* other mounts may write it too */
	bool exclusive;	  /* the lock is held alone */
	bool remembers;	  /* this machine notes what it has seen (seen.h) */
	uint8_t id[VAULT_ID_LEN];
	uint8_t seal[VAULT_MAC_LEN]; /* of vault.ini, when it was opened */
	uint64_t sealed_s; /* since 1970: when the latest of its slots was */
	struct vault_keys *keys;
	struct siv *names;	       /* subkey 2 */
	struct secret_pool *file_keys; /* slots of struct fernet_key */
	struct journal *journal;       /* NULL: none (journal.h) */
	struct memory *memory;	       /* NULL: none (memory.h) */
	_Atomic uint64_t latest_s;     /* vault_now() has said so */
};

/* More about a failure, for whoever words it. */
struct vault_fault {
	unsigned ini_line; /* with -EBADMSG: where vault.ini is damaged; 0: the
			      file as a whole, or its seal */
};

struct vault_create_options {
	const char *passphrase; /* not NUL-terminated */
	size_t passphrase_len;
	uint64_t ops, mem_bytes;
	unsigned version; /* of the format; 0: the newest */
};

/*
 * Make a vault in a directory that is empty or does not exist yet (its
 * parent must). -ENOTEMPTY: something is in there; -EEXIST: a vault is.
 * On any failure the directory is as it was.
 */
MUST_CHECK int vault_create(const char *path,
			    const struct vault_create_options *opt);

/*
 * Unlock. -ENOENT: no such directory; -ENOMEDIUM: not a vault; -EKEYREJECTED:
 * wrong passphrase; -EBADMSG: vault.ini is damaged (*fault tells where) or was
 * changed by someone without the key; -EPROTONOSUPPORT: made by a newer
 * version; -ENOMEM: the KDF's memory is not to be had.
 * key_slots: how many files may be open at once.
 */
MUST_CHECK int vault_open(const char *path, const char *passphrase,
			  size_t passphrase_len, size_t key_slots,
			  struct vault **out, struct vault_fault *fault);
/* Wipes the keys and releases the lock; NULL is fine. */
void vault_close(struct vault *vault);

/* Is path a readable vault? The errors of vault_open that need no key. */
MUST_CHECK int vault_probe(const char *path, struct vault_ini *ini,
			   struct vault_fault *fault);

/*
 * Say that this process has it mounted, until vault_close(). Exclusive unless
 * shared or read_only. -EBUSY: someone else has it in a way that excludes
 * this one; shared ones exclude those that are only read_only. Held by open
 * file description locks on bytes 0, 2 and 3 of .frondfs/lock, so it goes with
 * the process and works over NFS. The lock file may be opened
 * by whoever may enter .frondfs; a read-only mount of a read-only file system
 * that has none goes without. Fails with what fcntl(2) says where the backing
 * file system has no locks.
 */
MUST_CHECK int vault_lock(struct vault *vault, bool shared, bool read_only);

/* From now on with others, without letting go of it in between. */
MUST_CHECK int vault_lock_share(struct vault *vault);

/*
 * Somebody has removed .frondfs under who has the vault alone: make it anew, or
 * take what stands there by now, and lock that. What else was in it is gone:
 * vault.ini can only come from a backup. -EBUSY: somebody has locked that one;
 * -ENOENT: this is no vault's directory any more.
 */
MUST_CHECK int vault_find_meta(struct vault *vault);
/* Is there a vault.ini, or one that only cannot be looked for? */
bool vault_has_ini(const struct vault *vault);

/* Let go of it. */
void vault_unlock(struct vault *vault);

/*
 * Wait until nobody holds path's lock, at most timeout_ms. -EBUSY: still held.
 */
MUST_CHECK int vault_wait_unlocked(const char *path, int timeout_ms);
/* And until all that was written there by the last one is durable. */
MUST_CHECK int vault_wait_at_rest(const char *path, int timeout_ms);

/*
 * Open .frondfs/orphans, making it where needed; an exclusive holder of the
 * lock also deletes what a crash left in it.
 */
MUST_CHECK int vault_orphans_open(struct vault *vault);

/*
 * Put another passphrase into the slot that the old one opens; every other
 * slot stays as it is, and vault is what vault.ini is then. It is newer than
 * what it replaces, by any clock. Works while the vault is mounted; of two
 * callers at a time the second waits. Errors as for vault_open. -ESTALE: an
 * older vault.ini was put back since vault was opened.
 */
MUST_CHECK int vault_change_passphrase(struct vault *vault, const char *old,
				       size_t old_len, const char *replacement,
				       size_t replacement_len,
				       struct vault_fault *fault);

/* Is this a file of .frondfs that one of those left that was killed, or is at
 * work? */
bool vault_is_aborted(const struct vault *vault, const char *name);
/* Remove these, unless somebody is changing the passphrase right now. */
void vault_clear_aborted(const struct vault *vault);

/*
 * The time, in seconds since 1970, of what is sealed now; never an earlier one
 * than the last, though the clock be set back: it tells which of two chunks is
 * the newer one.
 */
uint64_t vault_now(struct vault *vault);
/* Never so early again. */
void vault_pass(struct vault *vault, uint64_t seconds);

#endif
