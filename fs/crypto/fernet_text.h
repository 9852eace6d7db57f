/*
 * Single tokens, for everything that is not the hot path: key tokens, link
 * targets, slots, extended attributes. Uses a context of the calling thread's
 * own and the present time.
 */
#ifndef FROND_FERNET_TEXT_H
#define FROND_FERNET_TEXT_H

#include "fernet.h"

/* token has room for FERNET_TOKEN_LEN(len) bytes. 0, -EIO or -ENOMEM. */
MUST_CHECK int fernet_seal_one(const struct fernet_key *key,
			       const uint8_t *plaintext, size_t len,
			       uint8_t *token);
/* The same with a time of the caller's, in seconds since 1970. */
MUST_CHECK int fernet_seal_one_at(const struct fernet_key *key,
				  uint64_t seconds, const uint8_t *plaintext,
				  size_t len, uint8_t *token);

/*
 * plaintext has room for FERNET_OPEN_ROOM(token_len) bytes (token_len may be
 * anything: too short is just bad). -EBADMSG: not a token under this key.
 */
MUST_CHECK int fernet_open_one(const struct fernet_key *key,
			       const uint8_t *token, size_t token_len,
			       uint8_t *plaintext, size_t *len_out);

/* Characters of the text token (padded base64url) of len plaintext bytes. */
#define FERNET_TEXT_LEN(len) ((FERNET_TOKEN_LEN(len) + 2) / 3 * 4)

/* text has room for FERNET_TEXT_LEN(len) + 1. */
MUST_CHECK int fernet_seal_text(const struct fernet_key *key,
				const uint8_t *plaintext, size_t len,
				char *text);
MUST_CHECK int fernet_seal_text_at(const struct fernet_key *key,
				   uint64_t seconds, const uint8_t *plaintext,
				   size_t len, char *text);

/*
 * plaintext has room for max bytes. -EBADMSG: not a text token under this
 * key; -EMSGSIZE: the plaintext is longer than max.
 */
MUST_CHECK int fernet_open_text(const struct fernet_key *key, const char *text,
				size_t text_len, uint8_t *plaintext, size_t max,
				size_t *len_out);

/* The time on a text token, which has been opened; 0: it is none. */
uint64_t fernet_text_timestamp(const char *text, size_t text_len);

#endif
