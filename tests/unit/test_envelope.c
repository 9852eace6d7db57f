#include "envelope.h"

#include "sharing_known.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

enum { PAYLOAD_LEN = KNOWN_LEN(KNOWN_PAYLOAD), SEALED_AT = 17 };

static struct identity alice, bob;
static uint8_t payload[PAYLOAD_LEN];
static uint8_t known[KNOWN_LEN(KNOWN_ENVELOPE_BYTES)];

static int setup(void **state)
{
	(void)state;
	if (sodium_init() < 0)
		return -1;
	known_identity(KNOWN_ALICE_SEED, &alice);
	known_identity(KNOWN_BOB_SEED, &bob);
	known_bytes(KNOWN_PAYLOAD, payload);
	known_bytes(KNOWN_ENVELOPE_BYTES, known);
	return 0;
}

static void assert_refused(const struct identity *me, const uint8_t *bytes,
			   size_t len, int error)
{
	struct envelope e, untouched;

	memset(&e, 0xa5, sizeof e);
	memset(&untouched, 0xa5, sizeof untouched);
	assert_int_equal(envelope_open(me, bytes, len, &e), error);
	assert_memory_equal(&e, &untouched, sizeof e);
}

static uint8_t *seal(uint8_t kind, uint8_t index, const void *bytes, size_t n,
		     size_t *len)
{
	uint8_t signature[IDENTITY_SIGNATURE_LEN], *out = NULL;
	struct statement s = known_statement(&alice, &bob.pub, kind, index,
					     bytes, n, signature);

	assert_int_equal(envelope_seal(&s, signature, bytes, n, &out, len), 0);
	return out;
}

/* Seal an inner part that says anything, signed for one recipient. */
static void seal_by_hand(const struct statement *s, const struct identity *from,
			 const struct identity_public *to,
			 uint8_t out[static ENVELOPE_OVERHEAD])
{
	uint8_t inner[ENVELOPE_INNER_HEAD_LEN + 64], text[STATEMENT_LEN];

	inner[0] = s->kind;
	inner[1] = s->index;
	memcpy(inner + 2, s->set_id, 16);
	memcpy(inner + 18, &s->sender, 64);
	for (size_t i = 0; i < 8; i++)
		inner[82 + i] = (uint8_t)(s->created_s >> (56 - 8 * i));
	statement_encode(s, text);
	(void)crypto_sign_detached(inner + 90, NULL, text, sizeof text,
				   from->sign_secret);
	out[0] = 1;
	randombytes_buf(out + 1, 16);
	assert_int_equal(
		crypto_box_seal(out + SEALED_AT, inner, sizeof inner, to->box),
		0);
}

static void test_envelope_open__opens_the_known_one(void **state)
{
	struct envelope e;
	uint8_t set_id[SET_ID_LEN];

	(void)state;
	known_bytes(KNOWN_SET_ID, set_id);
	assert_int_equal(sizeof known, ENVELOPE_OVERHEAD + PAYLOAD_LEN);
	assert_int_equal(envelope_open(&bob, known, sizeof known, &e), 0);
	assert_int_equal(e.st.kind, STATEMENT_SHARE);
	assert_int_equal(e.st.index, 1);
	assert_int_equal(e.st.created_s, 1700000000);
	assert_memory_equal(e.st.set_id, set_id, SET_ID_LEN);
	assert_memory_equal(&e.st.sender, &alice.pub, 64);
	assert_memory_equal(&e.st.recipient, &bob.pub, 64);
	assert_int_equal(e.payload_len, PAYLOAD_LEN);
	assert_memory_equal(e.payload, payload, PAYLOAD_LEN);
	envelope_fini(&e);
	assert_null(e.payload);
}

static void test_envelope_seal__round_trips_any_length(void **state)
{
	static const size_t lengths[] = {0, 1, 1000, 100000, 1 << 22};

	(void)state;
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		CLEANUP_FREE uint8_t *bytes = NULL, *plain = NULL;
		struct envelope e;
		size_t len;

		plain = malloc(lengths[i] + 1);
		assert_non_null(plain);
		randombytes_buf(plain, lengths[i]);
		bytes = seal(STATEMENT_MANIFEST, 0, plain, lengths[i], &len);
		assert_int_equal(len, ENVELOPE_OVERHEAD + lengths[i]);
		assert_int_equal(envelope_open(&bob, bytes, len, &e), 0);
		assert_int_equal(e.payload_len, lengths[i]);
		assert_memory_equal(e.payload, plain, lengths[i]);
		envelope_fini(&e);
	}
}

/* No two of one message are alike, nor do they show what is in them. */
static void test_envelope_seal__tells_nothing_outside(void **state)
{
	CLEANUP_FREE uint8_t *a = NULL, *b = NULL;
	size_t len;

	(void)state;
	a = seal(STATEMENT_SHARE, 1, payload, sizeof payload, &len);
	b = seal(STATEMENT_SHARE, 1, payload, sizeof payload, &len);
	assert_int_equal(a[0], 1);
	assert_memory_not_equal(a + 1, b + 1, 16);
	assert_memory_not_equal(a + SEALED_AT, b + SEALED_AT, 32);
	assert_null(memmem(a, len, alice.pub.sign, 32));
	assert_null(memmem(a, len, bob.pub.box, 32));
	assert_null(memmem(a, len, payload, 8));
}

static void test_envelope_open__refuses_any_changed_byte(void **state)
{
	uint8_t bytes[sizeof known];

	(void)state;
	memcpy(bytes, known, sizeof bytes);
	for (size_t i = SEALED_AT; i < sizeof bytes; i++) {
		bytes[i] ^= (uint8_t)(1U << i % 8);
		assert_refused(&bob, bytes, sizeof bytes, -EBADMSG);
		bytes[i] = known[i];
	}
	for (size_t len = 0; len < sizeof bytes; len++) {
		CLEANUP_FREE uint8_t *cut = malloc(len ? len : 1);

		assert_non_null(cut);
		memcpy(cut, known, len);
		assert_refused(&bob, cut, len, -EBADMSG);
	}
}

static void test_envelope_open__knows_versions(void **state)
{
	uint8_t bytes[sizeof known];

	(void)state;
	memcpy(bytes, known, sizeof bytes);
	bytes[0] = 2;
	assert_refused(&bob, bytes, sizeof bytes, -EPROTONOSUPPORT);
	assert_refused(&bob, bytes, 1, -EPROTONOSUPPORT);
	bytes[0] = 0;
	assert_refused(&bob, bytes, sizeof bytes, -EBADMSG);
}

static void test_envelope_open__refuses_what_is_for_another(void **state)
{
	struct identity mixed = bob;

	(void)state;
	assert_refused(&alice, known, sizeof known, -EBADMSG);
	/* the recipient's sign key is signed for, too */
	memcpy(mixed.pub.sign, alice.pub.sign, 32);
	assert_refused(&mixed, known, sizeof known, -EBADMSG);
}

/* Bob seals to Carol what Alice signed for Bob: it must not open. */
static void test_envelope_open__refuses_what_was_readdressed(void **state)
{
	uint8_t bytes[ENVELOPE_OVERHEAD], signature[64];
	struct statement s = known_statement(
		&alice, &bob.pub, STATEMENT_MANIFEST, 0, "", 0, signature);
	struct identity carol;
	struct envelope e;

	(void)state;
	known_identity("00112233445566778899aabbccddeeff"
		       "00112233445566778899aabbccddeeff",
		       &carol);
	seal_by_hand(&s, &alice, &carol.pub, bytes);
	assert_refused(&carol, bytes, sizeof bytes, -EBADMSG);
	/* the same, meant for Carol, does */
	s.recipient = carol.pub;
	seal_by_hand(&s, &alice, &carol.pub, bytes);
	assert_int_equal(envelope_open(&carol, bytes, sizeof bytes, &e), 0);
	envelope_fini(&e);
}

static void test_envelope_open__refuses_a_borrowed_name(void **state)
{
	uint8_t bytes[ENVELOPE_OVERHEAD], signature[64];
	struct statement s = known_statement(
		&alice, &bob.pub, STATEMENT_MANIFEST, 0, "", 0, signature);

	(void)state;
	/* signed by Bob, says Alice */
	seal_by_hand(&s, &bob, &bob.pub, bytes);
	assert_refused(&bob, bytes, sizeof bytes, -EBADMSG);
}

static void test_envelope_open__refuses_fields_that_do_not_fit(void **state)
{
	uint8_t bytes[ENVELOPE_OVERHEAD], signature[64];
	const struct statement good = known_statement(
		&alice, &bob.pub, STATEMENT_MANIFEST, 0, "", 0, signature);
	struct statement s = good;

	(void)state;
	s.index = 1;
	seal_by_hand(&s, &alice, &bob.pub, bytes);
	assert_refused(&bob, bytes, sizeof bytes, -EBADMSG);
	s = good;
	s.kind = STATEMENT_SHARE;
	seal_by_hand(&s, &alice, &bob.pub, bytes);
	assert_refused(&bob, bytes, sizeof bytes, -EBADMSG);
	s = good;
	s.kind = STATEMENT_CARD;
	seal_by_hand(&s, &alice, &bob.pub, bytes);
	assert_refused(&bob, bytes, sizeof bytes, -EBADMSG);
	s = good;
	memset(s.sender.box, 0, 32);
	seal_by_hand(&s, &alice, &bob.pub, bytes);
	assert_refused(&bob, bytes, sizeof bytes, -EBADMSG);
}

/* Kinds of later versions come through, for the caller to ignore. */
static void test_envelope_open__lets_later_kinds_pass(void **state)
{
	uint8_t bytes[ENVELOPE_OVERHEAD], signature[64];
	struct statement s = known_statement(
		&alice, &bob.pub, STATEMENT_MANIFEST, 0, "", 0, signature);
	struct envelope e;

	(void)state;
	s.kind = 99;
	s.index = 200;
	seal_by_hand(&s, &alice, &bob.pub, bytes);
	assert_int_equal(envelope_open(&bob, bytes, sizeof bytes, &e), 0);
	assert_int_equal(e.st.kind, 99);
	assert_int_equal(e.payload_len, 0);
	envelope_fini(&e);
}

static int try_seal(const struct statement *s, const uint8_t *signature,
		    size_t payload_len)
{
	uint8_t *out = NULL;
	size_t len;
	int err = envelope_seal(s, signature, payload, payload_len, &out, &len);

	assert_true(err ? !out : !!out);
	free(out);
	return err;
}

static void test_envelope_seal__refuses_what_nobody_could_open(void **state)
{
	uint8_t signature[64], other[64];
	const struct statement good =
		known_statement(&alice, &bob.pub, STATEMENT_SHARE, 1, payload,
				sizeof payload, signature);
	struct statement s = good;

	(void)state;
	assert_int_equal(try_seal(&s, signature, sizeof payload), 0);
	assert_int_equal(try_seal(&s, signature, sizeof payload - 1), -EINVAL);
	memcpy(other, signature, 64);
	other[0] ^= 1;
	assert_int_equal(try_seal(&s, other, sizeof payload), -EINVAL);
	s.index = 0;
	assert_int_equal(try_seal(&s, signature, sizeof payload), -EINVAL);
	s = good;
	memset(s.recipient.box, 0, 32);
	assert_int_equal(statement_sign(&s, &alice, other), 0);
	assert_int_equal(try_seal(&s, other, sizeof payload), -EINVAL);
	assert_int_equal(try_seal(&good, signature, ENVELOPE_MAX_LEN),
			 -EMSGSIZE);
	assert_int_equal(try_seal(&good, signature, SIZE_MAX - 1), -EMSGSIZE);
}

/* Texts */

static void assert_found(const char *text, size_t *at, const uint8_t *bytes,
			 size_t len)
{
	uint8_t *found = NULL;
	size_t found_len = 0;

	assert_int_equal(
		envelope_find(text, strlen(text), at, &found, &found_len), 0);
	assert_int_equal(found_len, len);
	assert_memory_equal(found, bytes, len);
	free(found);
}

static void assert_none(const char *text, size_t at)
{
	uint8_t *found = NULL;
	size_t len = 7, before = at;

	assert_int_equal(envelope_find(text, strlen(text), &at, &found, &len),
			 -ENOENT);
	assert_null(found);
	assert_int_equal(len, 7);
	assert_int_equal(at, before);
}

static void test_envelope_to_text__gives_the_known_text(void **state)
{
	CLEANUP_FREE char *text = NULL;
	size_t at = 0;

	(void)state;
	assert_int_equal(envelope_to_text(known, sizeof known, &text), 0);
	assert_string_equal(text, KNOWN_ENVELOPE_TEXT);
	assert_found(text, &at, known, sizeof known);
	assert_int_equal(at, strlen(text));
	assert_none(text, at);
}

static void test_envelope_to_text__fills_a_message(void **state)
{
	uint8_t bytes[ENVELOPE_TEXT_MAX_BYTES + 1];

	(void)state;
	randombytes_buf(bytes, sizeof bytes);
	for (size_t len = sizeof bytes - 4; len < sizeof bytes; len++) {
		CLEANUP_FREE char *text = NULL;
		size_t at = 0;

		assert_int_equal(envelope_to_text(bytes, len, &text), 0);
		assert_true(strlen(text) <= ENVELOPE_TEXT_MAX_CHARS);
		assert_found(text, &at, bytes, len);
	}
	char *text = NULL;

	assert_int_equal(envelope_to_text(bytes, sizeof bytes, &text),
			 -EMSGSIZE);
	assert_null(text);
}

static void test_envelope_find__ends_where_words_begin(void **state)
{
	static const char *const ways[] = {
		"%s\nBob",
		"%s Regards, Alice",
		"(%s)",
		"see: %s.",
		"%s\n\n-- \nA",
		"\xe2\x80\x9c%s\xe2\x80\x9d",
		"> %s\n> > tgshare1.AAAA",
		"tgshare1.AAAA %s AAAA AAAA",
		"tgshare1.tgshare1.%s\r\nx",
		"<code>%s</code>",
		"Forwarded from Alice:\n\n\t%s\n\nShall I?"};
	char text[8192];

	(void)state;
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		size_t at = 0;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		(void)snprintf(text, sizeof text, ways[i], KNOWN_ENVELOPE_TEXT);
#pragma GCC diagnostic pop
		assert_found(text, &at, known, sizeof known);
		assert_none(text, at);
	}
}

/* Put into lines of width characters, each behind what a program puts there. */
static void wrap(const char *in, size_t width, const char *between, char *out)
{
	size_t column = 0;

	for (; *in; in++) {
		*out++ = *in;
		if (++column == width) {
			out = stpcpy(out, between);
			column = 0;
		}
	}
	(void)stpcpy(out, between);
}

static void test_envelope_find__puts_broken_lines_together(void **state)
{
	static const char *const betweens[] = {
		"\n",	      "\r\n",	 "\n> ",
		"\n> > ",     "\r\n>>>", "\n    ",
		" ",	      "\n| ",	 "\n\xc2\xa0\xc2\xa0",
		" \n\n> \n> "};
	char text[16384];

	(void)state;
	for (size_t width = sizeof ENVELOPE_TEXT_PREFIX - 1; width < 500;
	     width += 13)
		for (size_t i = 0; i < sizeof betweens / sizeof *betweens;
		     i++) {
			size_t at = 0;

			wrap(KNOWN_ENVELOPE_TEXT, width, betweens[i], text);
			(void)stpcpy(text + strlen(text), "Yours");
			assert_found(text, &at, known, sizeof known);
			assert_none(text, at);
		}
}

static void test_envelope_find__finds_one_after_the_other(void **state)
{
	CLEANUP_FREE uint8_t *other = NULL;
	CLEANUP_FREE char *other_text = NULL;
	char text[8192];
	size_t at = 0, len;

	(void)state;
	other = seal(STATEMENT_ACK, 0, "\1\0", 2, &len);
	assert_int_equal(envelope_to_text(other, len, &other_text), 0);
	(void)snprintf(text, sizeof text, "%s\n%s %sx\n%s", KNOWN_ENVELOPE_TEXT,
		       other_text, KNOWN_ENVELOPE_TEXT, other_text);
	assert_found(text, &at, known, sizeof known);
	assert_found(text, &at, other, len);
	/* the third has a letter too many, so it is damaged */
	assert_found(text, &at, other, len);
	assert_none(text, at);
}

static void test_envelope_find__passes_over_damaged_ones(void **state)
{
	char text[sizeof KNOWN_ENVELOPE_TEXT] = KNOWN_ENVELOPE_TEXT;
	size_t len = strlen(text);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		char kept = text[i];

		text[i] = kept == 'x' ? 'y' : 'x';
		assert_none(text, 0);
		text[i] = '*';
		assert_none(text, 0);
		text[i] = kept;
	}
	for (; len > 0; len--) {
		text[len - 1] = '\0';
		assert_none(text, 0);
	}
}

static void test_envelope_find__knows_one_text(void **state)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm"
				       "nopqrstuvwxyz0123456789-_";
	uint8_t bytes[ENVELOPE_OVERHEAD + 3] = {1};

	(void)state;
	for (size_t len = ENVELOPE_OVERHEAD; len <= sizeof bytes; len++) {
		CLEANUP_FREE char *text = NULL;
		unsigned good = 0;

		assert_int_equal(envelope_to_text(bytes, len, &text), 0);
		for (size_t i = 0; i < 64; i++) {
			uint8_t *found = NULL;
			size_t at = 0, found_len;

			text[strlen(text) - 1] = alphabet[i];
			good += envelope_find(text, strlen(text), &at, &found,
					      &found_len) == 0;
			free(found);
		}
		assert_int_equal(good, 1);
	}
}

/* A megabyte of what costs most: a candidate at every other character. */
static void test_envelope_find__takes_time_by_length(void **state)
{
	enum { LEN = 1 << 20 };
	CLEANUP_FREE char *text = malloc(LEN + 1);
	struct timespec begin, end;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < LEN; i++)
		text[i] = i % 2 ? ' ' : 'A';
	for (size_t i = 0; i + 10 < LEN; i += 9000)
		memcpy(text + i, "tgshare1.", 9);
	text[LEN] = '\0';
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	assert_none(text, 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_true(end.tv_sec - begin.tv_sec < 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_envelope_open__opens_the_known_one),
		cmocka_unit_test(test_envelope_seal__round_trips_any_length),
		cmocka_unit_test(test_envelope_seal__tells_nothing_outside),
		cmocka_unit_test(test_envelope_open__refuses_any_changed_byte),
		cmocka_unit_test(test_envelope_open__knows_versions),
		cmocka_unit_test(
			test_envelope_open__refuses_what_is_for_another),
		cmocka_unit_test(
			test_envelope_open__refuses_what_was_readdressed),
		cmocka_unit_test(test_envelope_open__refuses_a_borrowed_name),
		cmocka_unit_test(
			test_envelope_open__refuses_fields_that_do_not_fit),
		cmocka_unit_test(test_envelope_open__lets_later_kinds_pass),
		cmocka_unit_test(
			test_envelope_seal__refuses_what_nobody_could_open),
		cmocka_unit_test(test_envelope_to_text__gives_the_known_text),
		cmocka_unit_test(test_envelope_to_text__fills_a_message),
		cmocka_unit_test(test_envelope_find__ends_where_words_begin),
		cmocka_unit_test(
			test_envelope_find__puts_broken_lines_together),
		cmocka_unit_test(test_envelope_find__finds_one_after_the_other),
		cmocka_unit_test(test_envelope_find__passes_over_damaged_ones),
		cmocka_unit_test(test_envelope_find__knows_one_text),
		cmocka_unit_test(test_envelope_find__takes_time_by_length),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
