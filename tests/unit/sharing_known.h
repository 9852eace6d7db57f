/* Alice, Bob, and bytes from sharing_vectors.h, for the tests of fs/share. */
#ifndef FROND_SHARING_KNOWN_H
#define FROND_SHARING_KNOWN_H

#include "sharing_vectors.h"

#include "envelope.h"
#include "text.h"

#include <string.h>

#define KNOWN_LEN(hex) ((sizeof(hex) - 1) / 2)

/* Any string of hex digits into out, which has room for them. */
static inline void known_bytes(const char *hex, uint8_t *out)
{
	if (hex_decode(hex, strlen(hex), out, strlen(hex) / 2) != 0)
		abort();
}

static inline void known_identity(const char *seed_hex, struct identity *id)
{
	uint8_t seed[IDENTITY_SEED_LEN];

	known_bytes(seed_hex, seed);
	identity_from_seed(seed, id);
}

/* A statement from one to another about KNOWN_SET_ID, with its signature. */
static inline struct statement
known_statement(const struct identity *from, const struct identity_public *to,
		uint8_t kind, uint8_t index, const void *payload, size_t len,
		uint8_t signature[static IDENTITY_SIGNATURE_LEN])
{
	struct statement s = {.kind = kind,
			      .index = index,
			      .sender = from->pub,
			      .recipient = *to,
			      .created_s = 1700000000};

	known_bytes(KNOWN_SET_ID, s.set_id);
	statement_digest(payload, len, s.digest);
	if (statement_sign(&s, from, signature) != 0)
		abort();
	return s;
}

#endif
