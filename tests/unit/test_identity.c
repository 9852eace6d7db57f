#include "identity.h"

#include "sharing_known.h"
#include "utf8.h"

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* points of order 1, 2, 4 and 8 of Ed25519, and of X25519's */
static const char *const weak_sign[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
};
static const char *const weak_box[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static struct identity alice, bob;

static int setup(void **state)
{
	(void)state;
	if (sodium_init() < 0)
		return -1;
	known_identity(KNOWN_ALICE_SEED, &alice);
	known_identity(KNOWN_BOB_SEED, &bob);
	return 0;
}

/* Sign and write a card, by hand, whatever it says. */
static void sign_card(const struct card *card, const struct identity *id,
		      uint8_t signature[static IDENTITY_SIGNATURE_LEN])
{
	struct statement s = {.kind = STATEMENT_CARD, .sender = card->pub};

	assert_int_equal(card_digest(card, s.digest), 0);
	s.sender = id->pub;
	assert_int_equal(statement_sign(&s, id, signature), 0);
}

static struct card card_of(const struct identity *id, const char *name,
			   const char *address, char text[static CARD_TEXT_MAX])
{
	struct card card = {.pub = id->pub};
	uint8_t signature[IDENTITY_SIGNATURE_LEN];

	(void)snprintf(card.name, sizeof card.name, "%s", name);
	(void)snprintf(card.address, sizeof card.address, "%s", address);
	sign_card(&card, id, signature);
	assert_int_equal(card_format(&card, signature, text), 0);
	return card;
}

static void assert_same_card(const struct card *a, const struct card *b)
{
	assert_string_equal(a->name, b->name);
	assert_string_equal(a->address, b->address);
	assert_memory_equal(&a->pub, &b->pub, sizeof a->pub);
}

static void assert_found(const char *text, const struct card *expected)
{
	struct card card;

	assert_int_equal(card_parse(text, strlen(text), &card), 0);
	assert_same_card(&card, expected);
}

static void assert_refused(const char *text, size_t len, int error)
{
	struct card card, untouched;

	memset(&card, 0xa5, sizeof card);
	memset(&untouched, 0xa5, sizeof untouched);
	assert_int_equal(card_parse(text, len, &card), error);
	assert_memory_equal(&card, &untouched, sizeof card);
}

static void test_identity_from_seed__derives_the_known_keys(void **state)
{
	uint8_t expected[64];

	(void)state;
	known_bytes(KNOWN_ALICE_PUBLIC, expected);
	assert_memory_equal(&alice.pub, expected, 64);
	known_bytes(KNOWN_ALICE_SIGN_SECRET, expected);
	assert_memory_equal(alice.sign_secret, expected, 64);
	known_bytes(KNOWN_ALICE_BOX_SECRET, expected);
	assert_memory_equal(alice.box_secret, expected, 32);
}

static void test_identity_fingerprint__gives_the_known_digits(void **state)
{
	char text[IDENTITY_FINGERPRINT_LEN + 1];

	(void)state;
	identity_fingerprint(&alice.pub, text);
	assert_string_equal(text, KNOWN_ALICE_FINGERPRINT);
	identity_fingerprint(&bob.pub, text);
	assert_string_equal(text, KNOWN_BOB_FINGERPRINT);
}

static void test_identity_public_check__refuses_weak_keys(void **state)
{
	(void)state;
	assert_int_equal(identity_public_check(&alice.pub), 0);
	for (size_t i = 0; i < sizeof weak_sign / sizeof *weak_sign; i++) {
		struct identity_public pub = alice.pub;

		known_bytes(weak_sign[i], pub.sign);
		assert_int_equal(identity_public_check(&pub), -EINVAL);
	}
	for (size_t i = 0; i < sizeof weak_box / sizeof *weak_box; i++) {
		struct identity_public pub = alice.pub;

		known_bytes(weak_box[i], pub.box);
		assert_int_equal(identity_public_check(&pub), -EINVAL);
	}
}

static void test_card_format__writes_the_known_cards(void **state)
{
	char text[CARD_TEXT_MAX];

	(void)state;
	(void)card_of(&alice, "Alice \xc3\x84.", "@alice_share_bot", text);
	assert_string_equal(text, KNOWN_ALICE_CARD);
	(void)card_of(&bob, "bob", "", text);
	assert_string_equal(text, KNOWN_BOB_CARD);
}

static void test_card_parse__reads_the_longest_card(void **state)
{
	char name[CARD_NAME_MAX + 1], address[CARD_ADDRESS_MAX + 1];
	char text[CARD_TEXT_MAX];
	struct card card;

	(void)state;
	memset(name, 'n', CARD_NAME_MAX);
	memset(address, 'a', CARD_ADDRESS_MAX);
	name[CARD_NAME_MAX] = address[CARD_ADDRESS_MAX] = '\0';
	card = card_of(&alice, name, address, text);
	assert_found(text, &card);
}

static void test_card_parse__finds_cards_in_what_people_write(void **state)
{
	char text[CARD_TEXT_MAX], message[4 * CARD_TEXT_MAX];
	char quoted[4 * CARD_TEXT_MAX], *p = quoted;
	struct card card = card_of(&bob, "bob", "dir:/media/stick", text);

	(void)state;
	(void)snprintf(message, sizeof message,
		       "Hi, my card:\r\n\r\n  %s \r\nBob", text);
	assert_found(message, &card);
	(void)snprintf(message, sizeof message,
		       "not this: tgcard1.AAAA, but <%s>", text);
	assert_found(message, &card);
	for (const char *t = text; *t; t++) {
		*p++ = *t;
		if ((t - text) % 40 == 39)
			p = stpcpy(p, (t - text) % 80 == 39
					      ? "\r\n> > "
					      : " \n\xc2\xa0\t| ");
	}
	(void)stpcpy(p, "\n> Regards");
	assert_found(quoted, &card);
}

static void test_card_parse__says_when_there_is_none(void **state)
{
	static const char *const texts[] = {"", "tgcard1", "tgcard2.AAAA",
					    "nothing of the kind"};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_refused(texts[i], strlen(texts[i]), -ENOENT);
}

static void test_card_parse__refuses_any_changed_character(void **state)
{
	char text[CARD_TEXT_MAX];
	size_t len;

	(void)state;
	(void)card_of(&bob, "bob", "@b", text);
	len = strlen(text);
	for (size_t i = sizeof CARD_TEXT_PREFIX - 1; i < len; i++) {
		char kept = text[i];

		text[i] = kept == 'A' ? 'B' : 'A';
		assert_refused(text, len, -EBADMSG);
		text[i] = kept ^ 1; /* a single bit, in the alphabet or not */
		assert_refused(text, len, -EBADMSG);
		text[i] = kept;
	}
	for (size_t cut = sizeof CARD_TEXT_PREFIX - 1; cut < len; cut++)
		assert_refused(text, cut, -EBADMSG);
}

static void assert_bytes_refused(const uint8_t *bytes, size_t len)
{
	char text[CARD_TEXT_MAX] = CARD_TEXT_PREFIX;

	base64url_encode(bytes, len, text + strlen(text));
	assert_refused(text, strlen(text), -EBADMSG);
}

/* Signed by its key all right, but with a name that fakes another. */
static void assert_name_refused(const char *name, size_t name_len)
{
	struct statement s = {.kind = STATEMENT_CARD, .sender = alice.pub};
	uint8_t bytes[300], *p = bytes;

	*p++ = (uint8_t)name_len;
	memcpy(p, name, name_len);
	p += name_len;
	*p++ = 0;
	memcpy(p, &alice.pub, 64);
	p += 64;
	statement_digest(bytes, (size_t)(p - bytes), s.digest);
	assert_int_equal(statement_sign(&s, &alice, p), 0);
	assert_bytes_refused(bytes, (size_t)(p - bytes) + 64);
}

static const char *const bad_names[] = {
	"a\nb",		 "a\x7f",	   "\x1b[2J",
	"a\xc2\x80",	 "a\xc2\x9f",	   "bob\xe2\x80\xae",
	"\xe2\x81\xa6x", "x\xe2\x80\x8by", "\xef\xbb\xbfx",
	"\xe2\x80\x8f",	 "\xe2\x80\xa8",   "\xc0\xaf",
	"\xe0\x80\xaf",	 "\xed\xa0\x80",   "\xf4\x90\x80\x80",
	"\x80",		 "\xff",	   "\xc3",
	"\xf0\x9f\x92",	 "\xe2\x81\xa0",   "\xf3\xa0\x80\xa1",
	"\xc2\xad",
};

static void test_card_parse__refuses_names_that_deceive(void **state)
{
	char longest[CARD_NAME_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++)
		assert_name_refused(bad_names[i], strlen(bad_names[i]));
	assert_name_refused("", 0);
	assert_name_refused("a\0b", 3);
	memset(longest, 'a', sizeof longest);
	assert_name_refused(longest, CARD_NAME_MAX + 1);
}

/* What stands behind a NUL would not be signed for. */
static void test_card_parse__refuses_what_a_nul_hides(void **state)
{
	struct card card = {.name = "a", .pub = alice.pub};
	uint8_t bytes[5 + 64 + 64] = {3, 'a', 0, 'b', 0};

	(void)state;
	memcpy(bytes + 5, &alice.pub, 64);
	sign_card(&card, &alice, bytes + 69);
	assert_bytes_refused(bytes, sizeof bytes);
}

/* Each card has one text: bits too many in its last character are zero. */
static void test_card_parse__knows_one_text(void **state)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklm"
				       "nopqrstuvwxyz0123456789-_";

	(void)state;
	for (int len = 1; len <= 3; len++) {
		char name[4] = "xxx", text[CARD_TEXT_MAX], *last;
		struct card card;
		unsigned good = 0;

		name[len] = '\0';
		(void)card_of(&alice, name, "", text);
		last = text + strlen(text) - 1;
		for (size_t i = 0; i < 64; i++) {
			*last = alphabet[i];
			good += card_parse(text, strlen(text), &card) == 0;
		}
		assert_int_equal(good, 1);
	}
}

/* In memory that ends where it ends, so that a sanitizer sees overreads. */
static void test_utf8_valid__reads_no_further_than_it_may(void **state)
{
	static const char clover[] = "\xf0\x9f\x8d\x80";

	(void)state;
	for (size_t len = 0; len <= 4; len++) {
		CLEANUP_FREE char *exact = malloc(len ? len : 1);

		assert_non_null(exact);
		memcpy(exact, clover, len);
		assert_int_equal(utf8_valid(exact, len, UTF8_NAME),
				 len == 0 || len == 4);
	}
}

static void test_card_format__refuses_what_cannot_be_read(void **state)
{
	struct card card = {.name = "alice", .pub = alice.pub}, other;
	uint8_t signature[IDENTITY_SIGNATURE_LEN];
	char text[CARD_TEXT_MAX];

	(void)state;
	sign_card(&card, &alice, signature);
	other = card;
	other.name[0] = 'b';
	assert_int_equal(card_format(&other, signature, text), -EINVAL);
	other = card;
	other.address[0] = '\n';
	assert_int_equal(card_format(&other, signature, text), -EINVAL);
	memset(other.name, 'x', sizeof other.name);
	assert_int_equal(card_digest(&other, signature), -EINVAL);
	sign_card(&card, &bob, signature);
	assert_int_equal(card_format(&card, signature, text), -EINVAL);
}

/* A sender cannot take over the box key zero and be sealed to by all. */
static void test_card_parse__refuses_weak_keys(void **state)
{
	struct identity weak = alice;
	struct statement s = {.kind = STATEMENT_CARD};
	uint8_t bytes[134] = {3, 'e', 'v', 'e', 0};

	(void)state;
	known_bytes(weak_box[2], weak.pub.box);
	s.sender = weak.pub;
	memcpy(bytes + 5, &weak.pub, 64);
	statement_digest(bytes, 69, s.digest);
	assert_int_equal(statement_sign(&s, &weak, bytes + 69), 0);
	assert_bytes_refused(bytes, 133);
}

static void test_contact_name_check__takes_names_of_people(void **state)
{
	static const char *const good[] = {"bob",
					   "Bj\xc3\xb6rk",
					   "O'Neil jr.",
					   "a",
					   "\xe6\x9d\x8e\xe6\x98\x8e",
					   "a.b-c",
					   "\xf0\x9f\x8c\xbf"};
	static const char *const bad[] = {"",	 ".",	"..",  ".bob", "-n",
					  "a/b", "a,b", "a\t", "a\xcc"};
	char longest[CARD_NAME_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_int_equal(contact_name_check(good[i]), 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(contact_name_check(bad[i]), -EINVAL);
	for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++)
		assert_int_equal(contact_name_check(bad_names[i]), -EINVAL);
	memset(longest, 'a', sizeof longest);
	longest[CARD_NAME_MAX + 1] = '\0';
	assert_int_equal(contact_name_check(longest), -EINVAL);
	longest[CARD_NAME_MAX] = '\0';
	assert_int_equal(contact_name_check(longest), 0);
}

static void test_contact_name_check_new__wants_ends_that_show(void **state)
{
	static const char *const good[] = {"bob", "Bj\xc3\xb6rk", "O'Neil jr.",
					   "a\xc2\xa0z"};
	/* vaults may have contacts of such names */
	static const char *const old[] = {" ",
					  "   ",
					  " bob",
					  "bob ",
					  "\xc2\xa0",
					  "bob\xe2\x80\x83",
					  "\xe3\x80\x80li",
					  "\xe2\xa0\x80"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_int_equal(contact_name_check_new(good[i]), 0);
	for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
		assert_int_equal(contact_name_check_new(old[i]), -EINVAL);
		assert_int_equal(contact_name_check(old[i]), 0);
	}
	assert_int_equal(contact_name_check_new(""), -EINVAL);
	assert_int_equal(contact_name_check_new("a/b"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_identity_from_seed__derives_the_known_keys),
		cmocka_unit_test(
			test_identity_fingerprint__gives_the_known_digits),
		cmocka_unit_test(test_identity_public_check__refuses_weak_keys),
		cmocka_unit_test(test_card_format__writes_the_known_cards),
		cmocka_unit_test(test_card_parse__reads_the_longest_card),
		cmocka_unit_test(
			test_card_parse__finds_cards_in_what_people_write),
		cmocka_unit_test(test_card_parse__says_when_there_is_none),
		cmocka_unit_test(
			test_card_parse__refuses_any_changed_character),
		cmocka_unit_test(test_card_parse__refuses_names_that_deceive),
		cmocka_unit_test(test_card_parse__refuses_weak_keys),
		cmocka_unit_test(test_card_parse__refuses_what_a_nul_hides),
		cmocka_unit_test(test_card_parse__knows_one_text),
		cmocka_unit_test(test_utf8_valid__reads_no_further_than_it_may),
		cmocka_unit_test(test_card_format__refuses_what_cannot_be_read),
		cmocka_unit_test(
			test_contact_name_check__takes_names_of_people),
		cmocka_unit_test(
			test_contact_name_check_new__wants_ends_that_show),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
