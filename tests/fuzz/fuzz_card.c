/*
 * Cards in texts, names, and UTF-8. The first byte chooses: a text to look for
 * a card in; the bytes of a card that is then signed by the right key; a
 * contact's name.
 */
#include "fuzz.h"

#include "statement.h"
#include "text.h"
#include "utf8.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

enum { SIGNED_MAX = 300 };

static struct identity me;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t seed[IDENTITY_SEED_LEN] =
		"the seed of every fuzzed card...";

	(void)argc;
	(void)argv;
	if (sodium_init() < 0)
		return 1;
	identity_from_seed(seed, &me);
	return 0;
}

/* A card that was read may be shown, and is written the same again. */
static void check_card(const struct card *card)
{
	uint8_t digest[32];

	REQUIRE(card_digest(card, digest) == 0);
	REQUIRE(identity_public_check(&card->pub) == 0);
	REQUIRE(card->name[0] && strlen(card->name) <= CARD_NAME_MAX);
	REQUIRE(strlen(card->address) <= CARD_ADDRESS_MAX);
	REQUIRE(utf8_valid(card->name, strlen(card->name), UTF8_NAME));
}

static int look(const char *text, size_t len)
{
	struct card card;
	int err = card_parse(text, len, &card);

	REQUIRE(err == 0 || err == -ENOENT || err == -EBADMSG);
	if (!err)
		check_card(&card);
	return err;
}

/* body: names and lengths; behind it come our keys and their signature. */
static void look_at_signed(const uint8_t *body, size_t len)
{
	uint8_t bytes[SIGNED_MAX + 128];
	char text[BASE64URL_LEN(sizeof bytes) + sizeof CARD_TEXT_PREFIX];
	struct statement s = {.kind = STATEMENT_CARD, .sender = me.pub};

	if (len > SIGNED_MAX)
		return;
	memcpy(bytes, body, len);
	memcpy(bytes + len, &me.pub, sizeof me.pub);
	statement_digest(bytes, len + 64, s.digest);
	REQUIRE(statement_sign(&s, &me, bytes + len + 64) == 0);
	memcpy(text, CARD_TEXT_PREFIX, sizeof CARD_TEXT_PREFIX);
	base64url_encode(bytes, len + 128, text + strlen(text));
	REQUIRE(look(text, strlen(text)) != -ENOENT);
}

static void check_name(const char *name, size_t len)
{
	bool fits = contact_name_check(name) == 0;

	if (fits)
		REQUIRE(utf8_valid(name, strlen(name), UTF8_NAME) &&
			!strchr(name, '/') && name[0] != '.');
	if (utf8_valid(name, len, UTF8_NAME))
		REQUIRE(utf8_valid(name, len, UTF8_TEXT));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *name;

	if (size == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		(void)look((const char *)data + 1, size - 1);
		break;
	case 1:
		look_at_signed(data + 1, size - 1);
		break;
	default:
		name = strndup((const char *)data + 1, size - 1);
		REQUIRE(name);
		check_name(name, strlen(name));
		free(name);
	}
	return 0;
}
