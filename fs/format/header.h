/*
 * The 176 bytes in front of a backing file's chunks (frondfs-format(5)).
 */
#ifndef FROND_HEADER_H
#define FROND_HEADER_H

#include "fernet.h"

#include <stdbool.h>

enum {
	HEADER_LEN = 176,
	FILE_ID_LEN = 16,
	DIRID_LEN = 16,
	HEADER_KEY_TOKEN_LEN = FERNET_TOKEN_LEN(FILE_ID_LEN + FERNET_KEY_LEN),
};

struct header {
	uint8_t file_id[FILE_ID_LEN];
	uint8_t dirid[DIRID_LEN]; /* of the directory it was made in: a hint */
	uint8_t file_key[FERNET_KEY_LEN]; /* secret */
	uint64_t sealed_s; /* since 1970: when its key token was */
};

/*
 * Lay out *h with the key sealed under the vault's subkey 1. 0 or -EIO.
 */
MUST_CHECK int header_build(const struct header *h,
			    const struct fernet_key *file_keys,
			    uint8_t out[static HEADER_LEN]);

/*
 * Read a header. -EBADMSG: not a header of this vault (magic, reserved bytes,
 * key token, or a key token made for another file id); -ENOKEY: its key token
 * is zero, so the key is elsewhere. *h is untouched then.
 */
MUST_CHECK int header_parse(const uint8_t bytes[static HEADER_LEN],
			    const struct fernet_key *file_keys,
			    struct header *h);

/* sealed_s of a header that has been parsed before. */
uint64_t header_sealed_s(const uint8_t bytes[static HEADER_LEN]);

/* The header of a file whose key is elsewhere: its key token is zero. */
void header_build_locked(const uint8_t file_id[static FILE_ID_LEN],
			 const uint8_t dirid[static DIRID_LEN],
			 uint8_t out[static HEADER_LEN]);

/*
 * What a header says to whoever has no key of the vault: the file id, and
 * whether its key token is zero. Neither is verified. -EBADMSG: no header.
 */
MUST_CHECK int header_probe(const uint8_t bytes[static HEADER_LEN],
			    uint8_t file_id[static FILE_ID_LEN], bool *locked);

#endif
