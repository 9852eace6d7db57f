#include "siv_x86.h"

#include <errno.h>
#include <immintrin.h>
#include <sodium.h>
#include <string.h>

enum { BLOCK = 16, ROUNDS = SIV_X86_ROUND_KEYS - 1 };

#define WITH_AES __attribute__((target("aes,sse4.1")))
#define INLINE_WITH_AES static inline __attribute__((always_inline)) WITH_AES

bool siv_x86_usable(void)
{
	return __builtin_cpu_supports("aes") &&
	       __builtin_cpu_supports("sse4.1");
}

INLINE_WITH_AES __m128i load(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

INLINE_WITH_AES void store(uint8_t *p, __m128i block)
{
	_mm_storeu_si128((__m128i *)p, block);
}

/* Each word becomes the sum of itself and those before it. */
INLINE_WITH_AES __m128i sum_words(__m128i key)
{
	key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
	key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
	return _mm_xor_si128(key, _mm_slli_si128(key, 4));
}

/* FIPS 197, 5.2: the constant is part of an instruction. */
#define NEXT_EVEN(even, odd, constant)                                         \
	_mm_xor_si128(sum_words(even),                                         \
		      _mm_shuffle_epi32(                                       \
			      _mm_aeskeygenassist_si128(odd, constant), 0xff))
#define NEXT_ODD(odd, even)                                                    \
	_mm_xor_si128(                                                         \
		sum_words(odd),                                                \
		_mm_shuffle_epi32(_mm_aeskeygenassist_si128(even, 0), 0xaa))

WITH_AES static void expand(const uint8_t *key, uint8_t *schedule)
{
	__m128i even = load(key), odd = load(key + BLOCK);

	store(schedule, even);
	store(schedule + BLOCK, odd);
#define EXPAND(at, constant)                                                   \
	do {                                                                   \
		even = NEXT_EVEN(even, odd, constant);                         \
		store(schedule + (at)*BLOCK, even);                            \
		if ((at) < ROUNDS) {                                           \
			odd = NEXT_ODD(odd, even);                             \
			store(schedule + ((at) + 1) * BLOCK, odd);             \
		}                                                              \
	} while (0)
	EXPAND(2, 0x01);
	EXPAND(4, 0x02);
	EXPAND(6, 0x04);
	EXPAND(8, 0x08);
	EXPAND(10, 0x10);
	EXPAND(12, 0x20);
	EXPAND(14, 0x40);
#undef EXPAND
}

INLINE_WITH_AES __m128i encrypt_block(const uint8_t *schedule, __m128i block)
{
	block = _mm_xor_si128(block, load(schedule));
	for (int i = 1; i < ROUNDS; i++)
		block = _mm_aesenc_si128(block, load(schedule + i * BLOCK));
	return _mm_aesenclast_si128(block, load(schedule + ROUNDS * BLOCK));
}

/* Times x in GF(2^128) (RFC 5297, 2.3). */
static void dbl(uint8_t block[BLOCK])
{
	uint8_t carry = block[0] >> 7;

	for (size_t i = 0; i < BLOCK - 1; i++)
		block[i] = (uint8_t)(block[i] << 1 | block[i + 1] >> 7);
	block[BLOCK - 1] = (uint8_t)(block[BLOCK - 1] << 1 ^ carry * 0x87);
}

static void xor_into(uint8_t *to, const uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] ^= from[i];
}

/* The last block of a message, len bytes of it, as both MACs pad it. */
static void pad(uint8_t block[BLOCK], const uint8_t *last, size_t len)
{
	memset(block, 0, BLOCK);
	memcpy(block, last, len);
	if (len < BLOCK)
		block[len] = 0x80;
}

/* CMAC (RFC 4493); the last bytes of the message are xored with end first. */
WITH_AES static void cmac(const struct siv_x86 *siv, const uint8_t *message,
			  size_t len, const uint8_t *end, uint8_t mac[BLOCK])
{
	/* those bytes lie in the last two blocks */
	uint8_t tail[2 * BLOCK], last[BLOCK];
	size_t tail_len = len < BLOCK ? len : len % BLOCK + BLOCK;
	size_t before = len - tail_len, rest;
	__m128i sum = _mm_setzero_si128();

	for (size_t at = 0; at < before; at += BLOCK)
		sum = encrypt_block(siv->mac,
				    _mm_xor_si128(sum, load(message + at)));
	memcpy(tail, message + before, tail_len);
	if (end)
		xor_into(tail + tail_len - BLOCK, end, BLOCK);
	rest = tail_len > BLOCK ? BLOCK : 0;
	if (rest)
		sum = encrypt_block(siv->mac, _mm_xor_si128(sum, load(tail)));
	pad(last, tail + rest, tail_len - rest);
	xor_into(last, tail_len - rest < BLOCK ? siv->padded : siv->whole,
		 BLOCK);
	store(mac, encrypt_block(siv->mac, _mm_xor_si128(sum, load(last))));
}

/* RFC 5297, 2.4, of one datum and the plaintext. */
static void s2v(const struct siv_x86 *siv, const uint8_t *ad, size_t ad_len,
		const uint8_t *plaintext, size_t len, uint8_t tag[BLOCK])
{
	uint8_t sum[BLOCK], mac[BLOCK];

	memcpy(sum, siv->zero_mac, BLOCK);
	dbl(sum);
	cmac(siv, ad, ad_len, NULL, mac);
	xor_into(sum, mac, BLOCK);
	if (len >= BLOCK) {
		cmac(siv, plaintext, len, sum, tag);
		return;
	}
	dbl(sum);
	pad(mac, plaintext, len);
	xor_into(sum, mac, BLOCK);
	cmac(siv, sum, BLOCK, NULL, tag);
}

WITH_AES static void counter_mode(const struct siv_x86 *siv,
				  const uint8_t tag[BLOCK], const uint8_t *in,
				  size_t len, uint8_t *out)
{
	uint8_t counter[BLOCK], stream[BLOCK];
	uint32_t low;

	memcpy(counter, tag, BLOCK);
	/* so that no carry leaves the lowest 32 bits */
	counter[8] &= 0x7f;
	counter[12] &= 0x7f;
	memcpy(&low, counter + 12, sizeof low);
	low = __builtin_bswap32(low);
	for (size_t at = 0; at < len; at += BLOCK, low++) {
		size_t part = len - at < BLOCK ? len - at : BLOCK;
		uint32_t word = __builtin_bswap32(low);

		memcpy(counter + 12, &word, sizeof word);
		store(stream, encrypt_block(siv->ctr, load(counter)));
		for (size_t i = 0; i < part; i++)
			out[at + i] = in[at + i] ^ stream[i];
	}
	sodium_memzero(stream, sizeof stream);
}

WITH_AES void siv_x86_init(struct siv_x86 *siv,
			   const uint8_t key[static SIV_KEY_LEN])
{
	expand(key, siv->mac);
	expand(key + SIV_KEY_LEN / 2, siv->ctr);
	store(siv->whole, encrypt_block(siv->mac, _mm_setzero_si128()));
	dbl(siv->whole);
	memcpy(siv->padded, siv->whole, BLOCK);
	dbl(siv->padded);
	store(siv->zero_mac, encrypt_block(siv->mac, load(siv->whole)));
}

void siv_x86_seal(const struct siv_x86 *siv, const uint8_t *ad, size_t ad_len,
		  const uint8_t *plaintext, size_t len, uint8_t *out)
{
	uint8_t tag[BLOCK];

	s2v(siv, ad, ad_len, plaintext, len, tag);
	counter_mode(siv, tag, plaintext, len, out + BLOCK);
	memcpy(out, tag, BLOCK);
}

int siv_x86_open(const struct siv_x86 *siv, const uint8_t *ad, size_t ad_len,
		 const uint8_t *sealed, size_t sealed_len, uint8_t *out)
{
	size_t len = sealed_len - BLOCK;
	uint8_t given[BLOCK], tag[BLOCK];

	memcpy(given, sealed, BLOCK);
	counter_mode(siv, given, sealed + BLOCK, len, out);
	s2v(siv, ad, ad_len, out, len, tag);
	if (sodium_memcmp(given, tag, BLOCK) == 0)
		return 0;
	sodium_memzero(out, len);
	return -EBADMSG;
}
