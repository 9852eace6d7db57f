/*
 * Secrets split into shares by SLIP-0039 (Shamir's secret-sharing for
 * mnemonic codes): one group, k of n members, as hardware wallets print them.
 * Arithmetic in GF(256) without branches or look-ups on secret data; only
 * word look-up, when words are read or written, touches tables.
 */
#ifndef FROND_SLIP39_H
#define FROND_SLIP39_H

#include "cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SLIP39_SHARES_MAX = 16,
	SLIP39_SECRET_LEN = 32,	    /* what we split */
	SLIP39_SECRET_MIN_LEN = 16, /* what we combine: 16 to 64, even */
	SLIP39_SECRET_MAX_LEN = 64,
	SLIP39_WORDS = 33, /* of a share of a 32-byte secret */
	SLIP39_WORDS_MAX = 59,
	SLIP39_WORD_MAX = 8,				 /* letters */
	SLIP39_PACKED_LEN = (SLIP39_WORDS * 10 + 7) / 8, /* 42 */
	/* the words with blanks between, and a NUL */
	SLIP39_TEXT_MAX = SLIP39_WORDS_MAX * (SLIP39_WORD_MAX + 1),
};

/* One share, as its words say it. value is secret. */
struct slip39_share {
	uint16_t id; /* 15 bits, the same in all shares of a set */
	bool extendable;
	uint8_t iteration_exponent; /* 0 to 15 */
	uint8_t group_index, group_threshold, group_count;
	uint8_t member_index;	  /* 0 to 15 */
	uint8_t member_threshold; /* 1 to 16 */
	uint8_t value_len;
	uint8_t value[SLIP39_SECRET_MAX_LEN];
};

/*
 * Split into n shares, any k of which suffice; 1 <= k <= n <= 16, else
 * -EINVAL. Empty passphrase, iteration exponent 0, not extendable. With k 1
 * all shares have the secret as value. -EIO: no random numbers.
 */
MUST_CHECK int slip39_split(const uint8_t secret[static SLIP39_SECRET_LEN],
			    unsigned k, unsigned n,
			    struct slip39_share *shares);

/*
 * Put exactly the needed shares together (several groups too). passphrase is
 * printable ASCII, "" by default. -EINVAL: they do not belong together, too few
 * or too many, one twice, or lengths that differ; -EBADMSG: the digest says
 * that the secret is not the one that was split. *len is 16 to
 * SLIP39_SECRET_MAX_LEN.
 */
MUST_CHECK int slip39_combine(const struct slip39_share *shares, size_t count,
			      const char *passphrase,
			      uint8_t secret[static SLIP39_SECRET_MAX_LEN],
			      size_t *len);

/* Words, one blank between; text has SLIP39_TEXT_MAX bytes. */
void slip39_to_words(const struct slip39_share *share, char *text);
/*
 * Any white space between, any case. -EINVAL: a word that is none (*bad_word,
 * counted from 1; 0 when all are words), a wrong number of them, or values that
 * SLIP-39 rules out; -EBADMSG: the checksum is wrong.
 */
MUST_CHECK int slip39_from_words(const char *text, size_t text_len,
				 struct slip39_share *share,
				 unsigned *bad_word);

/*
 * The same as bytes: the words' 10-bit numbers one after the other, and six
 * zero bits. For shares of 32-byte secrets. Errors as above.
 */
void slip39_pack(const struct slip39_share *share,
		 uint8_t out[static SLIP39_PACKED_LEN]);
MUST_CHECK int slip39_unpack(const uint8_t in[static SLIP39_PACKED_LEN],
			     struct slip39_share *share);

#endif
