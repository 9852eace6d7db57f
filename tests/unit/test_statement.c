#include "statement.h"

#include "sharing_known.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>

#include <cmocka.h>

static struct identity alice, bob;
static struct statement known;
static uint8_t signature[IDENTITY_SIGNATURE_LEN];

static int setup(void **state)
{
	uint8_t payload[KNOWN_LEN(KNOWN_PAYLOAD)];

	(void)state;
	if (sodium_init() < 0)
		return -1;
	known_identity(KNOWN_ALICE_SEED, &alice);
	known_identity(KNOWN_BOB_SEED, &bob);
	known_bytes(KNOWN_PAYLOAD, payload);
	known = known_statement(&alice, &bob.pub, STATEMENT_SHARE, 1, payload,
				sizeof payload, signature);
	return 0;
}

static void test_statement_encode__gives_the_known_bytes(void **state)
{
	uint8_t out[STATEMENT_LEN], expected[KNOWN_LEN(KNOWN_STATEMENT)];

	(void)state;
	assert_int_equal(sizeof expected, STATEMENT_LEN);
	known_bytes(KNOWN_STATEMENT, expected);
	statement_encode(&known, out);
	assert_memory_equal(out, expected, sizeof expected);
}

static void test_statement_sign__gives_the_known_signature(void **state)
{
	uint8_t expected[IDENTITY_SIGNATURE_LEN];

	(void)state;
	known_bytes(KNOWN_SIGNATURE, expected);
	assert_memory_equal(signature, expected, sizeof expected);
	assert_int_equal(statement_verify(&known, signature), 0);
}

static void test_statement_verify__refuses_any_changed_bit(void **state)
{
	(void)state;
	for (size_t i = 0; i < 8 * sizeof known; i++) {
		struct statement s = known;
		uint8_t before[STATEMENT_LEN], after[STATEMENT_LEN];

		((uint8_t *)&s)[i / 8] ^= (uint8_t)(1U << i % 8);
		statement_encode(&known, before);
		statement_encode(&s, after);
		/* not of the padding between the fields */
		if (memcmp(before, after, sizeof before) != 0)
			assert_int_equal(statement_verify(&s, signature),
					 -EBADMSG);
	}
	for (size_t i = 0; i < 8 * sizeof signature; i++) {
		uint8_t altered[IDENTITY_SIGNATURE_LEN];

		memcpy(altered, signature, sizeof altered);
		altered[i / 8] ^= (uint8_t)(1U << i % 8);
		assert_int_equal(statement_verify(&known, altered), -EBADMSG);
	}
}

/* With the key zero, any message has a valid "signature" of zeros. */
static void test_statement_verify__refuses_a_weak_key(void **state)
{
	uint8_t zeros[IDENTITY_SIGNATURE_LEN] = {1};
	struct statement s = known;

	(void)state;
	memset(s.sender.sign, 0, sizeof s.sender.sign);
	assert_int_equal(statement_verify(&s, zeros), -EBADMSG);
	s.sender.sign[0] = 1;
	assert_int_equal(statement_verify(&s, zeros), -EBADMSG);
}

static void test_statement_sign__refuses_to_sign_for_another(void **state)
{
	uint8_t out[IDENTITY_SIGNATURE_LEN];
	struct statement s = known;

	(void)state;
	assert_int_equal(statement_sign(&s, &bob, out), -EINVAL);
	memcpy(s.sender.box, bob.pub.box, sizeof s.sender.box);
	assert_int_equal(statement_sign(&s, &alice, out), -EINVAL);
}

/* Is kind, with this index, one that may be signed? */
static int check(uint8_t kind, uint8_t index)
{
	struct statement s = known;

	s.kind = kind;
	s.index = index;
	return statement_check(&s);
}

static void test_statement_check__knows_where_an_index_belongs(void **state)
{
	(void)state;
	for (unsigned index = 0; index < 256; index++) {
		int share = index >= 1 && index <= 16 ? 0 : -EINVAL;
		int other = index == 0 ? 0 : -EINVAL;
		uint8_t i = (uint8_t)index;

		assert_int_equal(check(STATEMENT_SHARE, i), share);
		assert_int_equal(check(STATEMENT_CUSTODY, i), share);
		assert_int_equal(check(STATEMENT_MANIFEST, i), other);
		assert_int_equal(check(STATEMENT_ACK, i), other);
		assert_int_equal(check(STATEMENT_REVOKE, i), other);
	}
	for (unsigned kind = 0; kind < 256; kind++)
		if (kind < STATEMENT_CARD || kind > STATEMENT_CUSTODY)
			assert_int_equal(check((uint8_t)kind, 0), -EINVAL);
}

static void test_statement_check__wants_set_time_and_recipient(void **state)
{
	struct statement s = known;

	(void)state;
	memset(s.set_id, 0, sizeof s.set_id);
	assert_int_equal(statement_check(&s), -EINVAL);
	s = known;
	s.created_s = 0;
	assert_int_equal(statement_check(&s), -EINVAL);
	s = known;
	memset(&s.recipient, 0, sizeof s.recipient);
	assert_int_equal(statement_check(&s), -EINVAL);
}

/* Else the signature of a card could say things to somebody. */
static void test_statement_check__wants_cards_to_nobody(void **state)
{
	struct statement card = {.kind = STATEMENT_CARD, .sender = alice.pub};
	struct statement s;

	(void)state;
	assert_int_equal(statement_check(&card), 0);
	s = card;
	s.index = 1;
	assert_int_equal(statement_check(&s), -EINVAL);
	s = card;
	s.set_id[15] = 1;
	assert_int_equal(statement_check(&s), -EINVAL);
	s = card;
	s.created_s = 1;
	assert_int_equal(statement_check(&s), -EINVAL);
	s = card;
	s.recipient.box[31] = 1;
	assert_int_equal(statement_check(&s), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statement_encode__gives_the_known_bytes),
		cmocka_unit_test(
			test_statement_sign__gives_the_known_signature),
		cmocka_unit_test(
			test_statement_verify__refuses_any_changed_bit),
		cmocka_unit_test(test_statement_verify__refuses_a_weak_key),
		cmocka_unit_test(
			test_statement_sign__refuses_to_sign_for_another),
		cmocka_unit_test(
			test_statement_check__knows_where_an_index_belongs),
		cmocka_unit_test(
			test_statement_check__wants_set_time_and_recipient),
		cmocka_unit_test(test_statement_check__wants_cards_to_nobody),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
