/* Shares as words and as bytes: the bit layout and checksum of SLIP-0039. */
#include "slip39.h"
#include "slip39_wordlist.h"

#include <ctype.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

enum {
	WORD_BITS = 10,
	HEAD_WORDS = 4, /* id, flags, group and member */
	CHECKSUM_WORDS = 3,
	WORDS_MIN = 20,
	PADDING_MAX_BITS = 8,
};

/* A share as numbers below 1024. Secret. */
struct words {
	size_t count;
	uint16_t word[SLIP39_WORDS_MAX];
};

static void put_bits(uint16_t *words, unsigned *at, unsigned value,
		     unsigned bits)
{
	while (bits-- > 0) {
		unsigned place = WORD_BITS - 1 - *at % WORD_BITS;

		words[*at / WORD_BITS] |=
			(uint16_t)((value >> bits & 1u) << place);
		++*at;
	}
}

static unsigned take_bits(const uint16_t *words, unsigned *at, unsigned bits)
{
	unsigned value = 0;

	while (bits-- > 0) {
		unsigned place = WORD_BITS - 1 - *at % WORD_BITS;

		value = value << 1 |
			((unsigned)words[*at / WORD_BITS] >> place & 1u);
		++*at;
	}
	return value;
}

static uint32_t polymod_step(uint32_t sum, unsigned symbol)
{
	static const uint32_t generator[WORD_BITS] = {
		0x00e0e040, 0x01c1c080, 0x03838100, 0x07070200, 0x0e0e0009,
		0x1c0c2412, 0x38086c24, 0x3090fc48, 0x21b1f890, 0x03f3f120,
	};
	uint32_t top = sum >> 20;

	sum = (sum & 0xfffff) << WORD_BITS ^ symbol;
	for (unsigned bit = 0; bit < WORD_BITS; bit++)
		sum ^= generator[bit] & (0u - (top >> bit & 1u));
	return sum;
}

/* RS1024 over the customization string and the words. */
static uint32_t checksum(bool extendable, const struct words *w)
{
	const char *custom = extendable ? "shamir_extendable" : "shamir";
	uint32_t sum = 1;

	for (; *custom; custom++)
		sum = polymod_step(sum, (unsigned char)*custom);
	for (size_t i = 0; i < w->count; i++)
		sum = polymod_step(sum, w->word[i]);
	return sum;
}

static void encode(const struct slip39_share *s, struct words *w)
{
	size_t value_words = (s->value_len * 8u + WORD_BITS - 1) / WORD_BITS;
	unsigned at = 0;
	uint32_t sum;

	*w = (struct words){.count = HEAD_WORDS + value_words + CHECKSUM_WORDS};
	put_bits(w->word, &at, s->id, 15);
	put_bits(w->word, &at, s->extendable, 1);
	put_bits(w->word, &at, s->iteration_exponent, 4);
	put_bits(w->word, &at, s->group_index, 4);
	put_bits(w->word, &at, s->group_threshold - 1u, 4);
	put_bits(w->word, &at, s->group_count - 1u, 4);
	put_bits(w->word, &at, s->member_index, 4);
	put_bits(w->word, &at, s->member_threshold - 1u, 4);
	at += (unsigned)(value_words * WORD_BITS - s->value_len * 8u);
	for (size_t i = 0; i < s->value_len; i++)
		put_bits(w->word, &at, s->value[i], 8);
	sum = checksum(s->extendable, w) ^ 1u;
	put_bits(w->word, &at, sum, WORD_BITS * CHECKSUM_WORDS);
}

static void take_head(const struct words *w, unsigned *at,
		      struct slip39_share *s)
{
	s->id = (uint16_t)take_bits(w->word, at, 15);
	s->extendable = take_bits(w->word, at, 1);
	s->iteration_exponent = (uint8_t)take_bits(w->word, at, 4);
	s->group_index = (uint8_t)take_bits(w->word, at, 4);
	s->group_threshold = (uint8_t)(take_bits(w->word, at, 4) + 1);
	s->group_count = (uint8_t)(take_bits(w->word, at, 4) + 1);
	s->member_index = (uint8_t)take_bits(w->word, at, 4);
	s->member_threshold = (uint8_t)(take_bits(w->word, at, 4) + 1);
}

static int decode(const struct words *w, struct slip39_share *share)
{
	struct slip39_share s = {0};
	unsigned at = 0, value_bits, padding;

	if (w->count < WORDS_MIN || w->count > SLIP39_WORDS_MAX)
		return -EINVAL;
	value_bits =
		(unsigned)(w->count - HEAD_WORDS - CHECKSUM_WORDS) * WORD_BITS;
	padding = value_bits % 16;
	if (padding > PADDING_MAX_BITS)
		return -EINVAL;
	take_head(w, &at, &s);
	if (checksum(s.extendable, w) != 1)
		return -EBADMSG;
	if (s.group_threshold > s.group_count ||
	    take_bits(w->word, &at, padding))
		return -EINVAL;
	s.value_len = (uint8_t)((value_bits - padding) / 8);
	for (size_t i = 0; i < s.value_len; i++)
		s.value[i] = (uint8_t)take_bits(w->word, &at, 8);
	*share = s;
	sodium_memzero(&s, sizeof s);
	return 0;
}

void slip39_to_words(const struct slip39_share *share, char *text)
{
	struct words w;

	encode(share, &w);
	for (size_t i = 0; i < w.count; i++) {
		const char *word = slip39_wordlist[w.word[i]];
		size_t len = strlen(word);

		memcpy(text, word, len);
		text[len] = i + 1 < w.count ? ' ' : '\0';
		text += len + 1;
	}
	sodium_memzero(&w, sizeof w);
}

/* The number of a word in any case, or -1. */
static int find_word(const char *text, size_t len)
{
	char word[SLIP39_WORD_MAX + 1] = "";
	int low = 0, high = SLIP39_WORD_COUNT - 1, found = -1;

	if (len > SLIP39_WORD_MAX)
		return -1;
	for (size_t i = 0; i < len; i++)
		word[i] = (char)tolower((unsigned char)text[i]);
	while (low <= high && found < 0) {
		int middle = (low + high) / 2;
		int order = strcmp(word, slip39_wordlist[middle]);

		if (order == 0)
			found = middle;
		else if (order < 0)
			high = middle - 1;
		else
			low = middle + 1;
	}
	sodium_memzero(word, sizeof word);
	return found;
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Read all words; -EINVAL with *bad_word where one is none. */
static int read_words(const char *text, size_t text_len, struct words *w,
		      unsigned *bad_word)
{
	size_t at = 0;

	while (at < text_len) {
		size_t begin = at;
		int number;

		if (is_blank(text[at])) {
			at++;
			continue;
		}
		while (at < text_len && !is_blank(text[at]))
			at++;
		number = find_word(text + begin, at - begin);
		if (number < 0) {
			*bad_word = (unsigned)w->count + 1;
			return -EINVAL;
		}
		if (w->count == SLIP39_WORDS_MAX)
			return -EINVAL;
		w->word[w->count++] = (uint16_t)number;
	}
	return 0;
}

int slip39_from_words(const char *text, size_t text_len,
		      struct slip39_share *share, unsigned *bad_word)
{
	struct words w = {0};
	int err;

	*bad_word = 0;
	err = read_words(text, text_len, &w, bad_word);
	if (!err)
		err = decode(&w, share);
	sodium_memzero(&w, sizeof w);
	return err;
}

void slip39_pack(const struct slip39_share *share,
		 uint8_t out[static SLIP39_PACKED_LEN])
{
	struct words w;
	unsigned at = 0;

	encode(share, &w);
	memset(out, 0, SLIP39_PACKED_LEN);
	for (unsigned bit = 0; bit < SLIP39_WORDS * WORD_BITS; bit++)
		out[bit / 8] |=
			(uint8_t)(take_bits(w.word, &at, 1) << (7 - bit % 8));
	sodium_memzero(&w, sizeof w);
}

int slip39_unpack(const uint8_t in[static SLIP39_PACKED_LEN],
		  struct slip39_share *share)
{
	struct words w = {.count = SLIP39_WORDS};
	unsigned at = 0,
		 spare = SLIP39_PACKED_LEN * 8 - SLIP39_WORDS * WORD_BITS;
	int err;

	if (in[SLIP39_PACKED_LEN - 1] & ((1u << spare) - 1))
		return -EINVAL;
	for (unsigned bit = 0; bit < SLIP39_WORDS * WORD_BITS; bit++)
		put_bits(w.word, &at,
			 (unsigned)in[bit / 8] >> (7 - bit % 8) & 1u, 1);
	err = decode(&w, share);
	sodium_memzero(&w, sizeof w);
	return err;
}
