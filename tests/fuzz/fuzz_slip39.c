/*
 * Shares as people type them, and as bytes. The first byte chooses: even:
 * the rest is text; odd: the rest are packed shares to be combined.
 */
#include "fuzz.h"

#include "slip39.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

enum { SHARES_MAX = 20 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return sodium_init() < 0;
}

/* What is read is written the same, but for blanks and case. */
static void read_text(const char *text, size_t len)
{
	struct slip39_share share, again;
	char words[SLIP39_TEXT_MAX];
	unsigned bad_word = 99;
	int err = slip39_from_words(text, len, &share, &bad_word);

	REQUIRE(bad_word <= SLIP39_WORDS_MAX + 1);
	REQUIRE(err == 0 || err == -EINVAL || err == -EBADMSG);
	if (err)
		return;
	slip39_to_words(&share, words);
	REQUIRE(slip39_from_words(words, strlen(words), &again, &bad_word) ==
		0);
	REQUIRE(memcmp(&share, &again, sizeof share) == 0);
}

static void combine(const uint8_t *data, size_t len)
{
	struct slip39_share shares[SHARES_MAX];
	uint8_t packed[SLIP39_PACKED_LEN], secret[SLIP39_SECRET_MAX_LEN];
	size_t count = 0, secret_len = 0;
	int err;

	for (; len >= SLIP39_PACKED_LEN && count < SHARES_MAX;
	     data += SLIP39_PACKED_LEN, len -= SLIP39_PACKED_LEN) {
		struct slip39_share *s = &shares[count];

		if (slip39_unpack(data, s))
			continue;
		slip39_pack(s, packed);
		REQUIRE(memcmp(packed, data, sizeof packed) == 0);
		/* whatever they say, as cheap as ours */
		s->iteration_exponent = 0;
		count++;
	}
	err = slip39_combine(shares, count, "", secret, &secret_len);
	REQUIRE(err == 0 || err == -EINVAL || err == -EBADMSG);
	REQUIRE((err == 0) == (secret_len != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 2)
		combine(data + 1, size - 1);
	else
		read_text((const char *)data + 1, size - 1);
	return 0;
}
