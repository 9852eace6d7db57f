/*
 * Envelopes as text, and in texts. What follows an envelope may be of the
 * same alphabet ("Regards"), so its end is where its check says so, tried at
 * every blank: incrementally, so that a text takes time by its length alone.
 */
#include "armor.h"
#include "envelope.h"
#include "text.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

enum {
	PREFIX_LEN = sizeof ENVELOPE_TEXT_PREFIX - 1,
	SPAN_MIN = ENVELOPE_OVERHEAD + ENVELOPE_TEXT_CHECK_LEN,
	SPAN_MAX = ENVELOPE_TEXT_MAX_BYTES + ENVELOPE_TEXT_CHECK_LEN,
};

int envelope_to_text(const uint8_t *bytes, size_t len, char **text)
{
	uint8_t span[SPAN_MAX], hash[ENVELOPE_HASH_LEN];
	size_t span_len = len + ENVELOPE_TEXT_CHECK_LEN;
	char *out;

	if (len > ENVELOPE_TEXT_MAX_BYTES)
		return -EMSGSIZE;
	out = malloc(PREFIX_LEN + BASE64URL_LEN(span_len) + 1);
	if (!out)
		return -ENOMEM;
	envelope_hash(bytes, len, hash);
	memcpy(span, bytes, len);
	memcpy(span + len, hash, ENVELOPE_TEXT_CHECK_LEN);
	memcpy(out, ENVELOPE_TEXT_PREFIX, PREFIX_LEN);
	base64url_encode(span, span_len, out + PREFIX_LEN);
	*text = out;
	return 0;
}

/* What was decoded so far: bytes, of them hashed in state. */
struct span {
	uint8_t bytes[SPAN_MAX];
	size_t chars, len, hashed;
	uint32_t bits;
	crypto_generichash_state state;
};

static void span_add(struct span *span, int value)
{
	span->bits = span->bits << 6 | (uint32_t)value;
	if (span->chars % 4)
		span->bytes[span->len++] =
			(uint8_t)(span->bits >> (6 - 2 * (span->chars % 4)));
	span->chars++;
}

/* Would the characters so far be an envelope? */
static bool span_is_whole(struct span *span)
{
	static const uint32_t stray[] = {0, 63, 15, 3};
	uint8_t hash[ENVELOPE_HASH_LEN];
	crypto_generichash_state state;
	size_t len;

	if (span->len < SPAN_MIN || span->chars % 4 == 1 ||
	    span->bits & stray[span->chars % 4])
		return false;
	len = span->len - ENVELOPE_TEXT_CHECK_LEN;
	crypto_generichash_update(&span->state, span->bytes + span->hashed,
				  len - span->hashed);
	span->hashed = len;
	state = span->state;
	crypto_generichash_final(&state, hash, sizeof hash);
	return memcmp(hash, span->bytes + len, ENVELOPE_TEXT_CHECK_LEN) == 0;
}

/* The envelope whose prefix ends at a->at; then a->at is behind it. */
static bool span_read(struct armor *a, struct span *span)
{
	span->chars = span->len = span->hashed = 0;
	span->bits = 0;
	crypto_generichash_init(&span->state, NULL, 0, ENVELOPE_HASH_LEN);
	for (;;) {
		size_t end = a->at;
		int value = armor_next(a);

		if ((value < 0 || a->broken) && span_is_whole(span)) {
			a->at = end;
			return true;
		}
		if (value < 0 || span->len == SPAN_MAX)
			return false;
		span_add(span, value);
	}
}

int envelope_find(const char *text, size_t text_len, size_t *at,
		  uint8_t **bytes, size_t *len)
{
	struct span span;
	size_t from = *at;

	while ((from = armor_find(text, text_len, from, ENVELOPE_TEXT_PREFIX)) <
	       text_len) {
		struct armor a = {text, text_len, from + PREFIX_LEN, false};
		uint8_t *found;

		from += PREFIX_LEN;
		if (!span_read(&a, &span))
			continue;
		found = malloc(span.len);
		if (!found)
			return -ENOMEM;
		*len = span.len - ENVELOPE_TEXT_CHECK_LEN;
		memcpy(found, span.bytes, *len);
		*bytes = found;
		*at = a.at;
		return 0;
	}
	return -ENOENT;
}
