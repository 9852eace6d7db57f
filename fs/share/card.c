#include "armor.h"
#include "reader.h"
#include "statement.h"
#include "text.h"
#include "utf8.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

enum {
	CARD_BODY_MAX =
		1 + CARD_NAME_MAX + 1 + CARD_ADDRESS_MAX + IDENTITY_PUBLIC_LEN,
	CARD_BYTES_MAX = CARD_BODY_MAX + IDENTITY_SIGNATURE_LEN,
};
static_assert(sizeof CARD_TEXT_PREFIX + BASE64URL_LEN(CARD_BYTES_MAX) <=
		      CARD_TEXT_MAX,
	      "every card fits its text");

/* What is signed; -EINVAL: texts that a card must not have. */
static int encode(const struct card *card, uint8_t out[static CARD_BODY_MAX],
		  size_t *len)
{
	size_t name = strnlen(card->name, sizeof card->name);
	size_t address = strnlen(card->address, sizeof card->address);
	uint8_t *p = out;

	if (name == 0 || name > CARD_NAME_MAX || address > CARD_ADDRESS_MAX ||
	    !utf8_valid(card->name, name, UTF8_NAME) ||
	    !utf8_valid(card->address, address, UTF8_NAME))
		return -EINVAL;
	*p++ = (uint8_t)name;
	memcpy(p, card->name, name);
	p += name;
	*p++ = (uint8_t)address;
	memcpy(p, card->address, address);
	p += address;
	memcpy(p, &card->pub, IDENTITY_PUBLIC_LEN);
	*len = (size_t)(p - out) + IDENTITY_PUBLIC_LEN;
	return 0;
}

int card_digest(const struct card *card, uint8_t digest[static 32])
{
	uint8_t body[CARD_BODY_MAX];
	size_t len;
	int err = encode(card, body, &len);

	if (err)
		return err;
	statement_digest(body, len, digest);
	return 0;
}

static int verify(const struct card *card,
		  const uint8_t signature[static IDENTITY_SIGNATURE_LEN])
{
	struct statement s = {.kind = STATEMENT_CARD, .sender = card->pub};
	int err = card_digest(card, s.digest);

	if (!err)
		err = identity_public_check(&card->pub);
	return err ? err : statement_verify(&s, signature);
}

int card_format(const struct card *card,
		const uint8_t signature[static IDENTITY_SIGNATURE_LEN],
		char text[static CARD_TEXT_MAX])
{
	uint8_t bytes[CARD_BYTES_MAX];
	size_t len;

	if (verify(card, signature) != 0 || encode(card, bytes, &len) != 0)
		return -EINVAL;
	memcpy(bytes + len, signature, IDENTITY_SIGNATURE_LEN);
	memcpy(text, CARD_TEXT_PREFIX, sizeof CARD_TEXT_PREFIX);
	base64url_encode(bytes, len + IDENTITY_SIGNATURE_LEN,
			 text + sizeof CARD_TEXT_PREFIX - 1);
	return 0;
}

static void read_text(struct reader *r, char *out, size_t max)
{
	size_t len = reader_u8(r);

	if (len > max)
		r->bad = true;
	else
		reader_copy(r, out, len);
}

/* A card says how long it is, so what follows it does not matter. */
static int parse_bytes(const uint8_t *bytes, size_t len, struct card *card,
		       size_t *used)
{
	struct reader r = {bytes, len, false};
	uint8_t signature[IDENTITY_SIGNATURE_LEN];

	*card = (struct card){0};
	read_text(&r, card->name, CARD_NAME_MAX);
	read_text(&r, card->address, CARD_ADDRESS_MAX);
	reader_copy(&r, &card->pub, sizeof card->pub);
	reader_copy(&r, signature, sizeof signature);
	if (r.bad)
		return -EBADMSG;
	/* a NUL would end the name, and the signature be that of another */
	*used = len - r.left;
	if (*used != 2 + strlen(card->name) + strlen(card->address) +
			     IDENTITY_PUBLIC_LEN + IDENTITY_SIGNATURE_LEN)
		return -EBADMSG;
	return verify(card, signature) ? -EBADMSG : 0;
}

/* Bits that a last character has too many must be zero. */
static bool stray_bits(const uint8_t *values, size_t bytes)
{
	uint8_t last = values[BASE64URL_LEN(bytes) - 1];

	return (bytes % 3 == 1 && last % 16) || (bytes % 3 == 2 && last % 4);
}

/* The card whose prefix ends at a->at. */
static int parse_at(struct armor *a, struct card *card)
{
	uint8_t values[BASE64URL_LEN(CARD_BYTES_MAX)];
	uint8_t bytes[CARD_BYTES_MAX];
	uint32_t bits = 0;
	size_t count = 0, len = 0, used;
	int value;

	while (count < sizeof values && (value = armor_next(a)) >= 0) {
		values[count] = (uint8_t)value;
		bits = bits << 6 | (uint32_t)value;
		if (count % 4)
			bytes[len++] = (uint8_t)(bits >> (6 - 2 * (count % 4)));
		count++;
	}
	if (parse_bytes(bytes, len, card, &used) != 0 ||
	    stray_bits(values, used))
		return -EBADMSG;
	return 0;
}

int card_parse(const char *text, size_t text_len, struct card *card)
{
	static const size_t prefix_len = sizeof CARD_TEXT_PREFIX - 1;
	size_t at = 0;
	int err = -ENOENT;

	while ((at = armor_find(text, text_len, at, CARD_TEXT_PREFIX)) <
	       text_len) {
		struct armor a = {text, text_len, at + prefix_len, false};
		struct card found;

		at += prefix_len;
		err = parse_at(&a, &found);
		if (!err) {
			*card = found;
			return 0;
		}
	}
	return err;
}
