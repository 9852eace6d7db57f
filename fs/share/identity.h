/*
 * Who someone is: an Ed25519 and an X25519 key pair from one 32-byte seed,
 * the fingerprint that people compare, and the card that they exchange
 * (docs/SHARING.md, "Identities and cards").
 */
#ifndef FROND_IDENTITY_H
#define FROND_IDENTITY_H

#include "cleanup.h"

#include <stddef.h>
#include <stdint.h>

enum {
	IDENTITY_SEED_LEN = 32,
	IDENTITY_PUBLIC_LEN = 64, /* sign key | box key */
	IDENTITY_SIGNATURE_LEN = 64,
	/* 8 groups of 5 digits with blanks between */
	IDENTITY_FINGERPRINT_LEN = 47,
	CARD_NAME_MAX = 64,
	CARD_ADDRESS_MAX = 128,
	CARD_TEXT_MAX = 512, /* with the NUL */
};
#define CARD_TEXT_PREFIX "tgcard1."

/* Both public keys, as they stand in every format. */
struct identity_public {
	uint8_t sign[32]; /* Ed25519 */
	uint8_t box[32];  /* X25519 */
};

/* Secret: keep it in locked memory. */
struct identity {
	struct identity_public pub;
	uint8_t sign_secret[64];
	uint8_t box_secret[32];
};

/*
 * Ed25519 seed and X25519 secret are subkeys 1 and 2 (32 bytes each) of
 * crypto_kdf(seed, context "frondid1").
 */
void identity_from_seed(const uint8_t seed[static IDENTITY_SEED_LEN],
			struct identity *id);

/*
 * Keys of others, before anything is sealed to them or believed: -EINVAL: no
 * point of the curve's prime-order group, or of low order.
 */
MUST_CHECK int identity_public_check(const struct identity_public *pub);

/*
 * BLAKE2b-512 of "frondfs fingerprint" | sign | box, its first 40 bytes as 8
 * big-endian 40-bit numbers modulo 100000.
 */
void identity_fingerprint(const struct identity_public *pub,
			  char text[static IDENTITY_FINGERPRINT_LEN + 1]);

/* A card, as read or to be written. address: "dir:..." or "@bot"; may be "". */
struct card {
	char name[CARD_NAME_MAX + 1]; /* UTF-8, no control characters */
	char address[CARD_ADDRESS_MAX + 1];
	struct identity_public pub;
};

/*
 * Text: the prefix and base64url of
 *   name length u8 | name | address length u8 | address | sign | box |
 *   signature (a statement of kind STATEMENT_CARD over all before it)
 * card_digest() is what the statement's digest has to be. -EINVAL: a name or
 * an address that a card must not have.
 */
MUST_CHECK int card_digest(const struct card *card, uint8_t digest[static 32]);
MUST_CHECK int
card_format(const struct card *card,
	    const uint8_t signature[static IDENTITY_SIGNATURE_LEN],
	    char text[static CARD_TEXT_MAX]);
/*
 * Finds the card in text (blanks and line ends around it, and words before
 * it, do not matter). -ENOENT: there is none; -EBADMSG: damaged or not signed
 * by its own key.
 */
MUST_CHECK int card_parse(const char *text, size_t text_len, struct card *card);

/*
 * May this be a contact's name, a sender's folder? 1 to CARD_NAME_MAX bytes of
 * UTF-8, no "/", control characters, leading "." or "-", nor "," (it
 * separates names on the command line).
 */
MUST_CHECK int contact_name_check(const char *name);
/*
 * May somebody be given this name now? Not with blanks at its ends, either,
 * which lists do not show. Names that were given stay good.
 */
MUST_CHECK int contact_name_check_new(const char *name);

#endif
