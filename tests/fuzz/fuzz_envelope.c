/*
 * Envelopes. The first byte chooses what the rest is: an envelope; what is
 * sealed in one; head and payload, signed by the right key; a text to find
 * envelopes in; an envelope to be written into a text, broken and quoted as
 * the bytes in front of it say.
 */
#include "fuzz.h"

#include "envelope.h"
#include "secret.h"

#include <errno.h>
#include <string.h>

static struct identity me;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t seed[IDENTITY_SEED_LEN] =
		"the seed of fuzzed envelopes....";

	(void)argc;
	(void)argv;
	if (sodium_init() < 0)
		return 1;
	identity_from_seed(seed, &me);
	return 0;
}

static int open_it(const uint8_t *bytes, size_t len)
{
	struct envelope e;
	int err = envelope_open(&me, bytes, len, &e);

	if (err) {
		REQUIRE(err == -EBADMSG || err == -EPROTONOSUPPORT);
		return err;
	}
	REQUIRE(e.payload_len + ENVELOPE_OVERHEAD == len);
	REQUIRE(e.st.kind != STATEMENT_CARD);
	REQUIRE(memcmp(&e.st.recipient, &me.pub, sizeof me.pub) == 0);
	REQUIRE(e.st.kind > STATEMENT_CUSTODY || e.st.kind == 0 ||
		statement_check(&e.st) == 0);
	envelope_fini(&e);
	return 0;
}

static int open_sealed(const uint8_t *inner, size_t len)
{
	CLEANUP_FREE uint8_t *bytes = malloc(17 + crypto_box_SEALBYTES + len);

	REQUIRE(bytes);
	memset(bytes, 1, 17);
	REQUIRE(crypto_box_seal(bytes + 17, inner, len, me.pub.box) == 0);
	return open_it(bytes, 17 + crypto_box_SEALBYTES + len);
}

/* kind, index, set id, time, payload */
static void open_signed(const uint8_t *data, size_t size)
{
	CLEANUP_FREE uint8_t *inner = malloc(size + 128);
	struct statement s = {.sender = me.pub, .recipient = me.pub};
	uint8_t text[STATEMENT_LEN];

	REQUIRE(inner);
	if (size < 26)
		return;
	s.kind = data[0];
	s.index = data[1];
	memcpy(s.set_id, data + 2, SET_ID_LEN);
	for (size_t i = 0; i < 8; i++)
		s.created_s = s.created_s << 8 | data[18 + i];
	statement_digest(data + 26, size - 26, s.digest);
	memcpy(inner, data, 18);
	memcpy(inner + 18, &me.pub, 64);
	memcpy(inner + 82, data + 18, size - 18);
	statement_encode(&s, text);
	(void)crypto_sign_detached(inner + size + 64, NULL, text, sizeof text,
				   me.sign_secret);
	REQUIRE((open_sealed(inner, size + 128) == 0) ==
		(s.kind == 0 || s.kind > STATEMENT_CUSTODY ||
		 (s.kind != STATEMENT_CARD && statement_check(&s) == 0)));
}

static void find(const char *text, size_t len)
{
	size_t at = 0;

	for (;;) {
		uint8_t *bytes;
		size_t before = at, found_len;
		char *again;

		if (envelope_find(text, len, &at, &bytes, &found_len) != 0)
			return;
		REQUIRE(at > before && at <= len);
		REQUIRE(found_len >= ENVELOPE_OVERHEAD);
		REQUIRE(envelope_to_text(bytes, found_len, &again) == 0);
		REQUIRE(strlen(again) <= ENVELOPE_TEXT_MAX_CHARS);
		free(again);
		free(bytes);
	}
}

/* data: how far to the next break, and which; then the envelope. */
static void find_broken(const uint8_t *data, size_t size)
{
	static const char *const breaks[] = {"\n",   "\r\n> ", " ",  "\n\t| ",
					     "\n\n", "\n>>",   "\t", "\n "};
	enum { BREAKS = 16 };
	uint8_t hash[ENVELOPE_HASH_LEN];
	CLEANUP_FREE char *text = NULL, *broken = NULL;
	CLEANUP_FREE uint8_t *found = NULL;
	size_t at = 0, len, next = 9, count = 0;
	char *out;

	if (size < BREAKS + ENVELOPE_OVERHEAD ||
	    envelope_to_text(data + BREAKS, size - BREAKS, &text) != 0)
		return;
	broken = malloc(strlen(text) + 8 * (BREAKS + 1));
	REQUIRE(broken);
	out = broken;
	for (size_t i = 0; text[i]; i++) {
		if (i == next && count < BREAKS) {
			out = stpcpy(out, breaks[data[count] % 8]);
			next += 1 + data[count++];
		}
		*out++ = text[i];
	}
	(void)stpcpy(out, " word");
	REQUIRE(envelope_find(broken, strlen(broken), &at, &found, &len) == 0);
	REQUIRE(len <= size - BREAKS && memcmp(found, data + BREAKS, len) == 0);
	REQUIRE(broken + at <= out);
	if (len == size - BREAKS) {
		REQUIRE(broken + at == out);
		return;
	}
	/* who makes one may put the check of its beginning into it */
	envelope_hash(found, len, hash);
	REQUIRE(len + ENVELOPE_TEXT_CHECK_LEN <= size - BREAKS);
	REQUIRE(memcmp(hash, data + BREAKS + len, ENVELOPE_TEXT_CHECK_LEN) ==
		0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	switch (data[0] % 5) {
	case 0:
		(void)open_it(data + 1, size - 1);
		break;
	case 1:
		(void)open_sealed(data + 1, size - 1);
		break;
	case 2:
		open_signed(data + 1, size - 1);
		break;
	case 3:
		find((const char *)data + 1, size - 1);
		break;
	default:
		find_broken(data + 1, size - 1);
	}
	return 0;
}
