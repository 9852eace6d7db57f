/*
 * What a set consists of: how its key is split, and the files in it
 * (docs/SHARING.md, "Manifests"). The payload of STATEMENT_MANIFEST.
 */
#ifndef FROND_MANIFEST_H
#define FROND_MANIFEST_H

#include "header.h"
#include "slip39.h"
#include "statement.h"

#include <stdbool.h>

enum {
	MANIFEST_VERSION = 1,
	MANIFEST_PATH_MAX = 4095,
	MANIFEST_NOTE_MAX = 1000,
	MANIFEST_ENTRIES_MAX = 65536,
	MANIFEST_PARTS_MAX = 1 << 20, /* of one entry */
	MANIFEST_HASH_LEN = 32,
	MANIFEST_VAULT_ID_LEN = 16,
};

enum manifest_kind { MANIFEST_SEND = 1, MANIFEST_GRANT = 2 };
enum manifest_entry_type { MANIFEST_FILE = 1, MANIFEST_DIR = 2 };

/* A piece of a sealed copy; pieces follow one another without gaps. */
struct manifest_part {
	uint64_t len;
	uint8_t hash[MANIFEST_HASH_LEN]; /* BLAKE2b-256 */
};

struct manifest_entry {
	uint8_t type;
	char *path;    /* relative to the set, for a set of one file its name */
	uint64_t size; /* plaintext bytes */
	int64_t mtime_s;
	uint32_t mtime_ns;
	/* 0777 bits; of files manifest_encode writes 0666, others are refused
	 */
	uint32_t mode;
	uint8_t file_id[FILE_ID_LEN]; /* of the sealed copy, or granted file */
	/* under the set's key, of file id 16 | file key 32; absent when the
	 * set's key is the file's */
	bool has_key_token;
	uint8_t key_token[HEADER_KEY_TOKEN_LEN];
	struct manifest_part *parts; /* MANIFEST_SEND */
	size_t part_count;
	char *backing_path; /* MANIFEST_GRANT: relative to the backing dir */
};

/* Who was given a share: for "waiting for carol or dave". */
struct manifest_share {
	uint8_t commitment[MANIFEST_HASH_LEN];
	char holder[CARD_NAME_MAX + 1]; /* as the sender calls them */
	bool direct;			/* sent straight to the recipient */
};

struct manifest {
	uint8_t kind;
	uint8_t k, n;
	uint8_t nonce[32];
	struct manifest_share shares[SLIP39_SHARES_MAX];
	uint8_t secret_commitment[MANIFEST_HASH_LEN];
	uint64_t expires_s;	      /* since the epoch; 0: never */
	uint8_t replaces[SET_ID_LEN]; /* the set before a re-key, or zeros */
	uint8_t vault_id[MANIFEST_VAULT_ID_LEN]; /* MANIFEST_GRANT */
	bool no_content; /* the sealed copy comes some other way */
	bool folder;	 /* entries lie in a folder called name */
	char name[256];	 /* of the file or folder, one component */
	char note[MANIFEST_NOTE_MAX + 1];
	struct manifest_entry *entries;
	size_t entry_count;
};

/*
 * Commitments: BLAKE2b-256 keyed with the nonce, of "share" | set id | index
 * u8 | packed share, and of "secret" | set id | secret.
 */
void manifest_commit_share(const uint8_t nonce[static 32],
			   const uint8_t set_id[static SET_ID_LEN],
			   unsigned index,
			   const uint8_t packed[static SLIP39_PACKED_LEN],
			   uint8_t out[static MANIFEST_HASH_LEN]);
void manifest_commit_secret(const uint8_t nonce[static 32],
			    const uint8_t set_id[static SET_ID_LEN],
			    const uint8_t secret[static SLIP39_SECRET_LEN],
			    uint8_t out[static MANIFEST_HASH_LEN]);

/*
 * Six digits that both sides show for a set: BLAKE2b-256 of "frondfs set" |
 * set id | sender 64 | recipient 64 | secret commitment, its first 8 bytes
 * modulo 10^6.
 */
void manifest_code(const struct manifest *m,
		   const uint8_t set_id[static SET_ID_LEN],
		   const struct identity_public *sender,
		   const struct identity_public *recipient,
		   char code[static 7]);

/*
 * *out is malloced. Entries are written, and therefore parsed, in the order
 * of their paths with "/" before all other bytes, whatever order they have
 * here. -EINVAL: the parser would refuse it.
 */
MUST_CHECK int manifest_encode(const struct manifest *m, uint8_t **out,
			       size_t *out_len);
/*
 * -EBADMSG: not a manifest, or one that lies: paths that are absolute, have
 * "..", ".", empty components, NUL or control characters, components above
 * 255 bytes, duplicates, a file where a directory is, a directory that is no
 * entry itself (so a parent always comes before what lies in it), entries out
 * of order; a set that is no folder but not one file called name; a file
 * without key token that is not the only one; k, n, sizes, parts whose lengths
 * do not add up to the backing length that size says (chunk.h); holders that
 * are neither "" nor contact names; notes that are no text; bytes left over.
 * -EPROTONOSUPPORT: a newer version.
 */
MUST_CHECK int manifest_parse(const uint8_t *bytes, size_t len,
			      struct manifest **out);
void manifest_free(struct manifest *m);

#endif
