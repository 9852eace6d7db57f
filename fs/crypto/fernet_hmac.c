#include "fernet_hmac.h"

#include "bytes.h"

#include <immintrin.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

enum {
	LANES = 4,
	BLOCK = 64,
	DIGEST_WORDS = 8,
	LENGTH_FIELD = 8,
	/* More than compress_4 puts on the stack. */
	STACK_RESIDUE = 2048,
};

enum stage { BODY, TAIL, OUTER, IDLE };

/* A message on its way through the two hashes of an HMAC. */
struct lane {
	const struct fernet_hmac_job *job;
	enum stage stage;
	uint32_t hash[DIGEST_WORDS];
	const uint8_t *next; /* what of this stage is still to be hashed */
	size_t blocks;
	uint8_t tail[2 * BLOCK];
};

/* FIPS 180-4, 4.2.2 */
static const _Alignas(16) uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
	0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
	0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

#define WITH_SHA __attribute__((target("sha,avx512f,avx512vl,avx512bw")))
#define INLINE_WITH_SHA static inline __attribute__((always_inline)) WITH_SHA

/* The working variables as the instructions want them: a, b, e, f and c, d,
 * g, h, the first one highest. */
struct sha {
	__m128i abef, cdgh;
	__m128i abef_before, cdgh_before;
	__m128i schedule[4];
};

INLINE_WITH_SHA void sha_load(struct sha *s, const uint32_t *hash)
{
	__m128i badc =
		_mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)hash), 0xb1);
	__m128i hgfe = _mm_shuffle_epi32(
		_mm_loadu_si128((const __m128i *)(hash + 4)), 0x1b);

	s->abef = _mm_alignr_epi8(badc, hgfe, 8);
	s->cdgh = _mm_blend_epi16(hgfe, badc, 0xf0);
}

INLINE_WITH_SHA void sha_store(const struct sha *s, uint32_t *hash)
{
	__m128i feba = _mm_shuffle_epi32(s->abef, 0x1b);
	__m128i dchg = _mm_shuffle_epi32(s->cdgh, 0xb1);

	_mm_storeu_si128((__m128i *)hash, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(hash + 4), _mm_alignr_epi8(dchg, feba, 8));
}

INLINE_WITH_SHA void sha_begin(struct sha *s)
{
	s->abef_before = s->abef;
	s->cdgh_before = s->cdgh;
}

INLINE_WITH_SHA void sha_end(struct sha *s)
{
	s->abef = _mm_add_epi32(s->abef, s->abef_before);
	s->cdgh = _mm_add_epi32(s->cdgh, s->cdgh_before);
}

/* The next four words of the schedule, in place of the oldest. */
INLINE_WITH_SHA __m128i schedule_words(struct sha *s, int quad,
				       const uint8_t *block)
{
	const __m128i swap =
		_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i *w = s->schedule;
	__m128i sum;

	if (quad < 4) {
		sum = _mm_loadu_si128((const __m128i *)(block + 16 * quad));
		w[quad] = _mm_shuffle_epi8(sum, swap);
		return w[quad];
	}
	sum = _mm_add_epi32(
		_mm_sha256msg1_epu32(w[quad % 4], w[(quad + 1) % 4]),
		_mm_alignr_epi8(w[(quad + 3) % 4], w[(quad + 2) % 4], 4));
	w[quad % 4] = _mm_sha256msg2_epu32(sum, w[(quad + 3) % 4]);
	return w[quad % 4];
}

/* Four rounds. */
INLINE_WITH_SHA void sha_quad(struct sha *s, int quad, const uint8_t *block)
{
	const __m128i *k = (const __m128i *)(round_constants + 4 * quad);
	__m128i wk;

	if (quad == 0)
		sha_begin(s);
	wk = _mm_add_epi32(schedule_words(s, quad, block), _mm_load_si128(k));
	s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, wk);
	wk = _mm_shuffle_epi32(wk, 0x0e);
	s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, wk);
	if (quad == 15)
		sha_end(s);
}

/*
 * A statement for every lane i. Spelled out: lanes in a loop would be kept in
 * memory until it is unrolled, and most of them for ever.
 */
#define EACH_LANE(count, statement)                                            \
	do {                                                                   \
		{                                                              \
			enum { i = 0 };                                        \
			statement;                                             \
		}                                                              \
		if ((count) > 1) {                                             \
			enum { i = 1 };                                        \
			statement;                                             \
		}                                                              \
		if ((count) > 2) {                                             \
			enum { i = 2 };                                        \
			statement;                                             \
		}                                                              \
		if ((count) > 3) {                                             \
			enum { i = 3 };                                        \
			statement;                                             \
		}                                                              \
	} while (0)

/* Sixteen rounds. */
INLINE_WITH_SHA void all_quads(struct sha *sha, int count, int first,
			       const uint8_t *const *data, size_t at)
{
	EACH_LANE(count, sha_quad(&sha[i], first, data[i] + at));
	EACH_LANE(count, sha_quad(&sha[i], first + 1, data[i] + at));
	EACH_LANE(count, sha_quad(&sha[i], first + 2, data[i] + at));
	EACH_LANE(count, sha_quad(&sha[i], first + 3, data[i] + at));
}

INLINE_WITH_SHA void compress(struct lane *const *lanes, int count,
			      size_t blocks)
{
	const uint8_t *data[LANES];
	struct sha sha[LANES];

	EACH_LANE(count, data[i] = lanes[i]->next);
	EACH_LANE(count, sha_load(&sha[i], lanes[i]->hash));
	for (size_t at = 0; at < blocks * BLOCK; at += BLOCK) {
		all_quads(sha, count, 0, data, at);
		all_quads(sha, count, 4, data, at);
		all_quads(sha, count, 8, data, at);
		all_quads(sha, count, 12, data, at);
	}
	EACH_LANE(count, sha_store(&sha[i], lanes[i]->hash));
}

/* In one function, compilers would share registers between the four. */
#define COMPRESS(count)                                                        \
	WITH_SHA __attribute__((noinline)) static void compress_##count(       \
		struct lane *const *lanes, size_t blocks)                      \
	{                                                                      \
		compress(lanes, count, blocks);                                \
	}
COMPRESS(1)
COMPRESS(2)
COMPRESS(3)
COMPRESS(4)

static void compress_lanes(struct lane *const *lanes, int count, size_t blocks)
{
	switch (count) {
	case 1:
		compress_1(lanes, blocks);
		break;
	case 2:
		compress_2(lanes, blocks);
		break;
	case 3:
		compress_3(lanes, blocks);
		break;
	default:
		compress_4(lanes, blocks);
	}
}

/* hash -> big-endian bytes */
static void put_digest(const struct lane *lane, uint8_t *out)
{
	for (size_t i = 0; i < DIGEST_WORDS; i++) {
		uint32_t word = htobe32(lane->hash[i]);

		memcpy(out + i * sizeof word, &word, sizeof word);
	}
}

/* len bytes stand in the tail; total were hashed, key block included. */
static void pad_tail(struct lane *lane, size_t len, size_t total)
{
	lane->blocks = len + 1 + LENGTH_FIELD > BLOCK ? 2 : 1;
	lane->next = lane->tail;
	memset(lane->tail + len, 0, lane->blocks * BLOCK - len);
	lane->tail[len] = 0x80;
	be64_store(lane->tail + lane->blocks * BLOCK - LENGTH_FIELD,
		   (uint64_t)total * 8);
}

/* A stage's blocks are hashed: go on to the next. */
static void advance(struct lane *lane, const struct fernet_key *key)
{
	size_t len = lane->job->len;

	switch (lane->stage) {
	case BODY:
		memcpy(lane->tail, lane->job->data + len - len % BLOCK,
		       len % BLOCK);
		pad_tail(lane, len % BLOCK, BLOCK + len);
		lane->stage = TAIL;
		break;
	case TAIL:
		put_digest(lane, lane->tail);
		memcpy(lane->hash, key->hmac_outer, sizeof lane->hash);
		pad_tail(lane, FERNET_MAC_LEN, BLOCK + FERNET_MAC_LEN);
		lane->stage = OUTER;
		break;
	case OUTER:
		put_digest(lane, lane->job->mac);
		lane->stage = IDLE;
		break;
	case IDLE:
		break;
	}
}

static void start(struct lane *lane, const struct fernet_key *key,
		  const struct fernet_hmac_job *job)
{
	lane->job = job;
	lane->stage = BODY;
	lane->next = job->data;
	lane->blocks = job->len / BLOCK;
	memcpy(lane->hash, key->hmac_inner, sizeof lane->hash);
	if (lane->blocks == 0)
		advance(lane, key);
}

/* Hash as many blocks as all of these lanes have left in their stages. */
static void step(struct lane *const *busy, int count,
		 const struct fernet_key *key)
{
	size_t blocks = busy[0]->blocks;

	for (int i = 1; i < count; i++)
		if (busy[i]->blocks < blocks)
			blocks = busy[i]->blocks;
	compress_lanes(busy, count, blocks);
	for (int i = 0; i < count; i++) {
		busy[i]->next += blocks * BLOCK;
		busy[i]->blocks -= blocks;
		if (busy[i]->blocks == 0)
			advance(busy[i], key);
	}
}

void fernet_hmac(const struct fernet_key *key,
		 const struct fernet_hmac_job *jobs, size_t n)
{
	struct lane lanes[LANES];
	struct lane *busy[LANES];
	size_t started = 0;
	int count;

	for (int i = 0; i < LANES; i++)
		lanes[i].stage = IDLE;
	for (;;) {
		count = 0;
		for (int i = 0; i < LANES; i++) {
			if (lanes[i].stage == IDLE && started < n)
				start(&lanes[i], key, &jobs[started++]);
			if (lanes[i].stage != IDLE)
				busy[count++] = &lanes[i];
		}
		if (count == 0)
			break;
		step(busy, count, key);
	}
	/* The states that a key begins with are as good as the key. */
	sodium_memzero(lanes, sizeof lanes);
	sodium_stackzero(STACK_RESIDUE);
}
