/*
 * The one thing that identities sign: a statement of fixed size that says
 * what kind of message this is, from whom, to whom, about which set, and what
 * the payload's digest is. A signature can therefore not be taken for one
 * over anything else, nor be passed on as meant for somebody else.
 */
#ifndef FROND_STATEMENT_H
#define FROND_STATEMENT_H

#include "identity.h"

enum { SET_ID_LEN = 16, STATEMENT_DIGEST_LEN = 32 };

/* The numbers are part of the format. Others are to be ignored politely. */
enum statement_kind {
	STATEMENT_CARD = 1, /* to nobody: recipient and set are zero */
	STATEMENT_SHARE = 2,
	STATEMENT_MANIFEST = 3,
	STATEMENT_ACK = 4,
	STATEMENT_REVOKE = 5,
	STATEMENT_CUSTODY = 6, /* a complete envelope for someone else */
};

struct statement {
	uint8_t kind;
	uint8_t index; /* SHARE, CUSTODY: the share's, 1 to 16; else 0 */
	uint8_t set_id[SET_ID_LEN];
	struct identity_public sender, recipient;
	uint64_t created_s;		      /* since the epoch; 0 on a card */
	uint8_t digest[STATEMENT_DIGEST_LEN]; /* BLAKE2b-256 of the payload */
};

/*
 * Signed bytes: "frondfs-share-v1" (16) | kind u8 | index u8 | set id 16 |
 * sender 64 | recipient 64 | created u64 | digest 32.
 */
enum { STATEMENT_LEN = 16 + 2 + SET_ID_LEN + 64 + 64 + 8 + 32 };
void statement_encode(const struct statement *s,
		      uint8_t out[static STATEMENT_LEN]);

/* Is it one that may be signed: known kind, fields as that kind has them? */
MUST_CHECK int statement_check(const struct statement *s);
/* -EINVAL: statement_check says no, or the sender is not this identity. */
MUST_CHECK int statement_sign(const struct statement *s,
			      const struct identity *id,
			      uint8_t signature[static IDENTITY_SIGNATURE_LEN]);
/* -EBADMSG: not signed by its sender. Any kind. */
MUST_CHECK int
statement_verify(const struct statement *s,
		 const uint8_t signature[static IDENTITY_SIGNATURE_LEN]);

/* BLAKE2b-256 without a key. */
void statement_digest(const void *payload, size_t len,
		      uint8_t digest[static STATEMENT_DIGEST_LEN]);

#endif
