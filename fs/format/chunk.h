/*
 * The geometry of a backing file: where chunks lie and what its length says.
 * Pure arithmetic (frondfs-format(5), "File").
 */
#ifndef FROND_CHUNK_H
#define FROND_CHUNK_H

#include "cleanup.h"
#include "fernet.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	CHUNK_SIZE = 4096, /* plaintext bytes of a full chunk */
	CHUNK_TAG_LEN = 8, /* index and marks in front of them */
	CHUNK_TOKEN_LEN = FERNET_TOKEN_LEN(CHUNK_TAG_LEN + CHUNK_SIZE),
	CHUNK_LAST_EXTRA = 81, /* a last chunk of n bytes takes n + 81 */
	CHUNK_LAST_MAX = CHUNK_SIZE + CHUNK_LAST_EXTRA,
	CHUNK_AREA_OFFSET = 176, /* HEADER_LEN */
	/* what fits into a full chunk's padding: how many of those behind it
	 * may be holes */
	CHUNK_CLAIM_LEN = 7,
};

#define CHUNK_MARK_LAST (UINT64_C(1) << 63)
#define CHUNK_MARK_HOLES (UINT64_C(1) << 62)
#define CHUNK_MARK_MAPPED (UINT64_C(1) << 61)
#define CHUNK_INDEX_MASK ((UINT64_C(1) << 56) - 1)
#define CHUNK_CLAIM_MAX ((UINT64_C(1) << 56) - 1)

/* What the marks of a last chunk say of holes. */
enum chunk_holes {
	CHUNK_HOLES_NONE,
	CHUNK_HOLES_ANYWHERE,
	/* where the nearest token in front of one claims it, and only there */
	CHUNK_HOLES_MAPPED,
};

/* The longest plaintext whose backing length still fits off_t. */
#define CHUNK_MAX_PLAIN_LEN                                                    \
	((INT64_MAX - CHUNK_AREA_OFFSET - CHUNK_LAST_MAX) / CHUNK_TOKEN_LEN *  \
	 CHUNK_SIZE)

/* Index of the last chunk of a file of plain_len bytes (0 for an empty one) */
static inline uint64_t chunk_last_index(uint64_t plain_len)
{
	return plain_len ? (plain_len - 1) / CHUNK_SIZE : 0;
}

/* Plaintext bytes in the last chunk: 1 to 4096, 0 only for an empty file. */
static inline uint32_t chunk_last_len(uint64_t plain_len)
{
	return plain_len ? (uint32_t)((plain_len - 1) % CHUNK_SIZE) + 1 : 0;
}

/* Where chunk index begins in the backing file. */
static inline uint64_t chunk_offset(uint64_t index)
{
	return CHUNK_AREA_OFFSET + index * CHUNK_TOKEN_LEN;
}

/* Length of the backing file of plain_len bytes. */
static inline uint64_t chunk_backing_len(uint64_t plain_len)
{
	return chunk_offset(chunk_last_index(plain_len)) +
	       chunk_last_len(plain_len) + CHUNK_LAST_EXTRA;
}

/*
 * The plaintext length that a backing length says. -EBADMSG: no file has
 * this length.
 */
MUST_CHECK int chunk_plain_len(uint64_t backing_len, uint64_t *plain_len);

/*
 * The length to show: chunk_plain_len's, or, where a cut within a chunk left
 * a length that no file has, one byte more than the chunks in front of it, so
 * that these can be read, and the read that meets the cut fails. -EBADMSG:
 * not one chunk is whole.
 */
MUST_CHECK int chunk_shown_len(uint64_t backing_len, uint64_t *shown_len);

/*
 * The tag of chunk index, as stored. holes matters only for the last.
 */
static inline uint64_t chunk_tag(uint64_t index, bool last,
				 enum chunk_holes holes)
{
	if (!last)
		return index;
	return index | CHUNK_MARK_LAST | (holes ? CHUNK_MARK_HOLES : 0) |
	       (holes == CHUNK_HOLES_MAPPED ? CHUNK_MARK_MAPPED : 0);
}

/*
 * Is tag what chunk index must carry? For a last chunk *holes tells its
 * holes marks. -EBADMSG: another index, a mark that does not belong, or bits
 * that mean nothing.
 */
MUST_CHECK int chunk_tag_check(uint64_t tag, uint64_t index, bool last,
			       enum chunk_holes *holes);

/*
 * Is an opened token of opened_len bytes as long as one with this many bytes
 * of a chunk must be? can_claim: it may have a claim behind them.
 */
bool chunk_fits(const uint8_t *opened, size_t opened_len, size_t plain_len,
		bool can_claim);
/* How many of the chunks directly behind it may be holes: of one that fits. */
uint64_t chunk_claim(const uint8_t *opened, size_t opened_len);
/* Put one behind a chunk. */
void chunk_claim_store(uint8_t out[static CHUNK_CLAIM_LEN], uint64_t claim);

#endif
