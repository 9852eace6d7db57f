#include "message.h"

#include "sharing_known.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>

#include <cmocka.h>

/* What an envelope would hold; only what the parsers look at. */
static struct envelope holding(uint8_t kind, uint8_t index, uint8_t *payload,
			       size_t len)
{
	return (struct envelope){.st = {.kind = kind, .index = index},
				 .payload = payload,
				 .payload_len = len};
}

static int setup(void **state)
{
	(void)state;
	return sodium_init() < 0;
}

static int parse_share(uint8_t kind, uint8_t index, uint8_t *payload,
		       size_t len)
{
	struct envelope e = holding(kind, index, payload, len);
	struct slip39_share share, untouched;
	int err;

	memset(&share, 0xa5, sizeof share);
	memset(&untouched, 0xa5, sizeof untouched);
	err = message_parse_share(&e, &share);
	if (err)
		assert_memory_equal(&share, &untouched, sizeof share);
	else
		assert_int_equal(share.member_index + 1, index);
	return err;
}

static void test_message_parse_share__reads_what_was_split(void **state)
{
	uint8_t secret[SLIP39_SECRET_LEN], again[SLIP39_SECRET_MAX_LEN];
	struct slip39_share shares[16], parsed[16];
	size_t len;

	(void)state;
	randombytes_buf(secret, sizeof secret);
	assert_int_equal(slip39_split(secret, 16, 16, shares), 0);
	for (unsigned i = 0; i < 16; i++) {
		uint8_t packed[SLIP39_PACKED_LEN];
		struct envelope e = holding(
			STATEMENT_SHARE, (uint8_t)(shares[i].member_index + 1),
			packed, sizeof packed);

		slip39_pack(&shares[i], packed);
		assert_int_equal(message_parse_share(&e, &parsed[i]), 0);
	}
	assert_int_equal(slip39_combine(parsed, 16, "", again, &len), 0);
	assert_int_equal(len, sizeof secret);
	assert_memory_equal(again, secret, sizeof secret);
}

static void test_message_parse_share__checks_index_kind_length(void **state)
{
	uint8_t secret[SLIP39_SECRET_LEN] = {7}, packed[SLIP39_PACKED_LEN + 1];
	struct slip39_share shares[3];

	(void)state;
	assert_int_equal(slip39_split(secret, 2, 3, shares), 0);
	slip39_pack(&shares[1], packed);
	assert_int_equal(parse_share(STATEMENT_SHARE, 2, packed, 42), 0);
	assert_int_equal(parse_share(STATEMENT_SHARE, 1, packed, 42), -EBADMSG);
	assert_int_equal(parse_share(STATEMENT_SHARE, 3, packed, 42), -EBADMSG);
	assert_int_equal(parse_share(STATEMENT_CUSTODY, 2, packed, 42),
			 -EBADMSG);
	assert_int_equal(parse_share(STATEMENT_SHARE, 2, packed, 41), -EBADMSG);
	packed[42] = 0;
	assert_int_equal(parse_share(STATEMENT_SHARE, 2, packed, 43), -EBADMSG);
	assert_int_equal(parse_share(STATEMENT_SHARE, 2, NULL, 0), -EBADMSG);
	packed[20] ^= 4;
	assert_int_equal(parse_share(STATEMENT_SHARE, 2, packed, 42), -EBADMSG);
}

/* An exponent of 15 would cost the reader minutes, groups what nobody made. */
static void test_message_parse_share__refuses_costly_shares(void **state)
{
	uint8_t secret[SLIP39_SECRET_LEN] = {7}, packed[SLIP39_PACKED_LEN];
	struct slip39_share shares[3], s;

	(void)state;
	assert_int_equal(slip39_split(secret, 2, 3, shares), 0);
	s = shares[0];
	s.iteration_exponent = 15;
	slip39_pack(&s, packed);
	assert_int_equal(parse_share(STATEMENT_SHARE, 1, packed, 42), -EBADMSG);
	s = shares[0];
	s.group_count = 2;
	slip39_pack(&s, packed);
	assert_int_equal(parse_share(STATEMENT_SHARE, 1, packed, 42), -EBADMSG);
	s.group_index = 1;
	slip39_pack(&s, packed);
	assert_int_equal(parse_share(STATEMENT_SHARE, 1, packed, 42), -EBADMSG);
}

static int parse_ack(uint8_t kind, uint8_t state, uint8_t index, size_t len)
{
	uint8_t payload[3] = {state, index, 0};
	struct envelope e = holding(kind, 0, payload, len);
	struct message_ack ack = {0xa5, 0xa5};
	int err = message_parse_ack(&e, &ack);

	assert_int_equal(ack.state, err ? 0xa5 : state);
	assert_int_equal(ack.index, err ? 0xa5 : index);
	return err;
}

static void test_message_parse_ack__knows_states_and_indexes(void **state)
{
	(void)state;
	for (unsigned s = 0; s < 256; s++)
		for (unsigned i = 0; i < 256; i++) {
			bool share = i >= 1 && i <= 16;
			bool good = s == ACK_RECEIVED || s == ACK_OPENED
					    ? i == 0
				    : s == ACK_CUSTODY || s == ACK_RELEASED
					    ? share
					    : s == ACK_DECLINED && i <= 16;

			assert_int_equal(parse_ack(STATEMENT_ACK, (uint8_t)s,
						   (uint8_t)i, 2),
					 good ? 0 : -EBADMSG);
		}
	assert_int_equal(parse_ack(STATEMENT_ACK, ACK_OPENED, 0, 1), -EBADMSG);
	assert_int_equal(parse_ack(STATEMENT_ACK, ACK_OPENED, 0, 3), -EBADMSG);
	assert_int_equal(parse_ack(STATEMENT_REVOKE, ACK_OPENED, 0, 2),
			 -EBADMSG);
}

static int parse_revoke(uint8_t kind, uint8_t reason, size_t len)
{
	uint8_t payload[2] = {reason, 0}, out = 0xa5;
	struct envelope e = holding(kind, 0, payload, len);
	int err = message_parse_revoke(&e, &out);

	assert_int_equal(out, err ? 0xa5 : reason);
	return err;
}

static void test_message_parse_revoke__knows_reasons(void **state)
{
	(void)state;
	for (unsigned reason = 0; reason < 256; reason++)
		assert_int_equal(
			parse_revoke(STATEMENT_REVOKE, (uint8_t)reason, 1),
			reason == REVOKE_REVOKED || reason == REVOKE_WITHDRAWN
				? 0
				: -EBADMSG);
	assert_int_equal(parse_revoke(STATEMENT_REVOKE, 1, 0), -EBADMSG);
	assert_int_equal(parse_revoke(STATEMENT_REVOKE, 1, 2), -EBADMSG);
	assert_int_equal(parse_revoke(STATEMENT_ACK, 1, 1), -EBADMSG);
}

enum {
	CUSTODY_LEN = KNOWN_LEN(KNOWN_CUSTODY_PAYLOAD),
	INNER_LEN = KNOWN_LEN(KNOWN_ENVELOPE_BYTES)
};

static void test_message_format_custody__gives_the_known_bytes(void **state)
{
	uint8_t expected[CUSTODY_LEN], inner[INNER_LEN];
	CLEANUP_FREE uint8_t *out = NULL;
	size_t len;

	(void)state;
	known_bytes(KNOWN_CUSTODY_PAYLOAD, expected);
	known_bytes(KNOWN_ENVELOPE_BYTES, inner);
	assert_int_equal(message_format_custody(1800000000, KNOWN_BOB_CARD,
						inner, sizeof inner, &out,
						&len),
			 0);
	assert_int_equal(len, sizeof expected);
	assert_memory_equal(out, expected, len);
}

static void test_message_parse_custody__reads_the_known_bytes(void **state)
{
	uint8_t bytes[CUSTODY_LEN], inner[INNER_LEN];
	struct envelope e = holding(STATEMENT_CUSTODY, 3, bytes, sizeof bytes);
	struct message_custody c;
	struct identity bob;

	(void)state;
	known_identity(KNOWN_BOB_SEED, &bob);
	known_bytes(KNOWN_CUSTODY_PAYLOAD, bytes);
	known_bytes(KNOWN_ENVELOPE_BYTES, inner);
	assert_int_equal(message_parse_custody(&e, &c), 0);
	assert_int_equal(c.expires_s, 1800000000);
	assert_string_equal(c.recipient.name, "bob");
	assert_memory_equal(&c.recipient.pub, &bob.pub, sizeof bob.pub);
	assert_int_equal(c.inner_len, sizeof inner);
	assert_memory_equal(c.inner, inner, sizeof inner);
	assert_true(c.inner > bytes &&
		    c.inner + c.inner_len == bytes + sizeof bytes);
	e.st.kind = STATEMENT_SHARE;
	assert_int_equal(message_parse_custody(&e, &c), -EBADMSG);
}

static int parse_custody(const uint8_t *bytes, size_t len)
{
	CLEANUP_FREE uint8_t *exact = malloc(len ? len : 1);
	struct envelope e = holding(STATEMENT_CUSTODY, 3, exact, len);
	struct message_custody c;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	return message_parse_custody(&e, &c);
}

static void test_message_parse_custody__refuses_what_does_not_fit(void **state)
{
	uint8_t bytes[CUSTODY_LEN + ENVELOPE_TEXT_MAX_BYTES] = {0};
	const size_t front = CUSTODY_LEN - INNER_LEN;

	(void)state;
	known_bytes(KNOWN_CUSTODY_PAYLOAD, bytes);
	for (size_t len = 0; len < front + ENVELOPE_OVERHEAD; len++)
		assert_int_equal(parse_custody(bytes, len), -EBADMSG);
	assert_int_equal(parse_custody(bytes, front + ENVELOPE_OVERHEAD), 0);
	assert_int_equal(parse_custody(bytes, front + ENVELOPE_TEXT_MAX_BYTES),
			 0);
	assert_int_equal(
		parse_custody(bytes, front + ENVELOPE_TEXT_MAX_BYTES + 1),
		-EBADMSG);
	/* length and characters of the card */
	for (size_t i = 8; i < front; i++) {
		bytes[i] ^= 1;
		assert_int_equal(parse_custody(bytes, CUSTODY_LEN), -EBADMSG);
		bytes[i] ^= 1;
	}
}

static void test_message_format_custody__wants_a_card_and_no_more(void **state)
{
	uint8_t inner[ENVELOPE_TEXT_MAX_BYTES + 1] = {0}, *out = NULL;
	char long_text[CARD_TEXT_MAX + 1];
	size_t len;

	(void)state;
	assert_int_equal(message_format_custody(0, KNOWN_BOB_CARD "\n", inner,
						300, &out, &len),
			 -EINVAL);
	assert_int_equal(message_format_custody(0, " " KNOWN_BOB_CARD, inner,
						300, &out, &len),
			 -EINVAL);
	assert_int_equal(
		message_format_custody(0, "tgcard1.", inner, 300, &out, &len),
		-EINVAL);
	memset(long_text, 'A', sizeof long_text);
	assert_int_equal(
		message_format_custody(0, long_text, inner, 300, &out, &len),
		-EINVAL);
	assert_int_equal(message_format_custody(0, KNOWN_BOB_CARD, inner,
						ENVELOPE_OVERHEAD - 1, &out,
						&len),
			 -EINVAL);
	assert_int_equal(message_format_custody(0, KNOWN_BOB_CARD, inner,
						sizeof inner, &out, &len),
			 -EINVAL);
	assert_null(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_message_parse_share__reads_what_was_split),
		cmocka_unit_test(
			test_message_parse_share__checks_index_kind_length),
		cmocka_unit_test(
			test_message_parse_share__refuses_costly_shares),
		cmocka_unit_test(
			test_message_parse_ack__knows_states_and_indexes),
		cmocka_unit_test(test_message_parse_revoke__knows_reasons),
		cmocka_unit_test(
			test_message_format_custody__gives_the_known_bytes),
		cmocka_unit_test(
			test_message_parse_custody__reads_the_known_bytes),
		cmocka_unit_test(
			test_message_parse_custody__refuses_what_does_not_fit),
		cmocka_unit_test(
			test_message_format_custody__wants_a_card_and_no_more),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
