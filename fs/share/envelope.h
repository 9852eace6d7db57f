/*
 * A message to one person: sealed to the recipient's X25519 key, signed
 * inside by the sender (docs/SHARING.md, "Envelopes").
 *
 *   version u8 = 1 | routing id 16, random | crypto_box_seal of:
 *     kind u8 | index u8 | set id 16 | sender 64 | created u64 |
 *     payload | signature 64
 *
 * The signature is that of the statement (statement.h) with the recipient's
 * own keys as recipient.
 */
#ifndef FROND_ENVELOPE_H
#define FROND_ENVELOPE_H

#include "statement.h"

enum {
	ENVELOPE_VERSION = 1,
	ENVELOPE_ROUTING_LEN = 16,
	ENVELOPE_INNER_HEAD_LEN = 2 + SET_ID_LEN + 64 + 8,
	/* version, routing id, sealed box, head, signature */
	ENVELOPE_OVERHEAD =
		1 + ENVELOPE_ROUTING_LEN + 48 + ENVELOPE_INNER_HEAD_LEN + 64,
	ENVELOPE_MAX_LEN = 16 << 20,
	ENVELOPE_TEXT_MAX_CHARS = 4096, /* Telegram's longest message */
	ENVELOPE_HASH_LEN = 32,
};
/*
 * Text: the prefix and base64url of the envelope followed by the first 4 bytes
 * of its hash. These tell where it ends when words stand behind it, and
 * whether it is damaged, without a key.
 */
#define ENVELOPE_TEXT_PREFIX "tgshare1."
enum {
	ENVELOPE_TEXT_CHECK_LEN = 4,
	/* Longest envelope that still fits a text message. */
	ENVELOPE_TEXT_MAX_BYTES =
		(ENVELOPE_TEXT_MAX_CHARS - 9) / 4 * 3 - ENVELOPE_TEXT_CHECK_LEN,
};

/*
 * Seal; *out is malloced. -EINVAL: a statement that cannot be, one about
 * another payload, not signed by its sender, or a recipient's keys that are
 * none; -EMSGSIZE.
 */
MUST_CHECK int
envelope_seal(const struct statement *s,
	      const uint8_t signature[static IDENTITY_SIGNATURE_LEN],
	      const uint8_t *payload, size_t payload_len, uint8_t **out,
	      size_t *out_len);

/* An opened one. Payloads may be secret: they lie in locked memory. */
struct envelope {
	struct statement st; /* recipient: the opener */
	uint8_t *payload;    /* secret_alloc */
	size_t payload_len;
};

/*
 * Unseal and verify. -EBADMSG: not for this identity, or altered, or not
 * signed by whom it says; -EPROTONOSUPPORT: a newer version. Unknown kinds are
 * not judged: the caller ignores them. Known ones have the fields that
 * statement_check wants.
 */
MUST_CHECK int envelope_open(const struct identity *me, const uint8_t *bytes,
			     size_t len, struct envelope *e);
void envelope_fini(struct envelope *e);

/* What the spool names it by: BLAKE2b-256 of the bytes. */
void envelope_hash(const uint8_t *bytes, size_t len,
		   uint8_t hash[static ENVELOPE_HASH_LEN]);

/* The text form, malloced. -EMSGSIZE: it does not fit a message. */
MUST_CHECK int envelope_to_text(const uint8_t *bytes, size_t len, char **text);
/*
 * The next envelope in a text that people may have quoted, forwarded, broken
 * into lines or indented: *bytes malloced, *at is where to look for the one
 * after. -ENOENT: none. Damaged ones are passed over.
 */
MUST_CHECK int envelope_find(const char *text, size_t text_len, size_t *at,
			     uint8_t **bytes, size_t *len);

#endif
