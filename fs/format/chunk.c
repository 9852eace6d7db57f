#include "chunk.h"

#include "header.h"

#include <errno.h>

_Static_assert((int)CHUNK_AREA_OFFSET == (int)HEADER_LEN,
	       "chunks follow the header");
_Static_assert(CHUNK_TOKEN_LEN == 4169, "the format's length of a full chunk");
/* The index of any chunk that off_t can reach leaves the marks alone. */
_Static_assert(CHUNK_MAX_PLAIN_LEN / CHUNK_SIZE <= CHUNK_INDEX_MASK,
	       "chunk indices fit their field");
_Static_assert(FERNET_TOKEN_LEN(CHUNK_TAG_LEN + CHUNK_SIZE + CHUNK_CLAIM_LEN) ==
		       CHUNK_TOKEN_LEN,
	       "a claim takes no room");

int chunk_plain_len(uint64_t backing_len, uint64_t *plain_len)
{
	uint64_t full, rest, len;

	if (backing_len < CHUNK_AREA_OFFSET + CHUNK_LAST_EXTRA)
		return -EBADMSG;
	full = (backing_len - CHUNK_AREA_OFFSET) / CHUNK_TOKEN_LEN;
	rest = (backing_len - CHUNK_AREA_OFFSET) % CHUNK_TOKEN_LEN;
	/* A long last chunk takes a few bytes more than a full one. */
	if (rest < CHUNK_LAST_EXTRA && full > 0) {
		full--;
		rest += CHUNK_TOKEN_LEN;
	}
	if (rest < CHUNK_LAST_EXTRA || rest > CHUNK_LAST_MAX)
		return -EBADMSG;
	if (rest == CHUNK_LAST_EXTRA && full > 0)
		return -EBADMSG; /* only an empty file ends in no bytes */
	len = full * CHUNK_SIZE + rest - CHUNK_LAST_EXTRA;
	if (len > CHUNK_MAX_PLAIN_LEN)
		return -EBADMSG;
	*plain_len = len;
	return 0;
}

int chunk_shown_len(uint64_t backing_len, uint64_t *shown_len)
{
	uint64_t whole;

	if (chunk_plain_len(backing_len, shown_len) == 0)
		return 0;
	if (backing_len < CHUNK_AREA_OFFSET + CHUNK_TOKEN_LEN)
		return -EBADMSG;
	whole = (backing_len - CHUNK_AREA_OFFSET) / CHUNK_TOKEN_LEN;
	if (whole > CHUNK_MAX_PLAIN_LEN / CHUNK_SIZE - 1)
		return -EBADMSG;
	*shown_len = whole * CHUNK_SIZE + 1;
	return 0;
}

int chunk_tag_check(uint64_t tag, uint64_t index, bool last,
		    enum chunk_holes *holes)
{
	if (!last)
		return tag == index ? 0 : -EBADMSG;
	for (*holes = CHUNK_HOLES_NONE; *holes <= CHUNK_HOLES_MAPPED; ++*holes)
		if (tag == chunk_tag(index, true, *holes))
			return 0;
	return -EBADMSG;
}

bool chunk_fits(const uint8_t *opened, size_t opened_len, size_t plain_len,
		bool can_claim)
{
	if (opened_len == CHUNK_TAG_LEN + plain_len)
		return true;
	return can_claim && plain_len == CHUNK_SIZE &&
	       opened_len == CHUNK_TAG_LEN + CHUNK_SIZE + CHUNK_CLAIM_LEN &&
	       chunk_claim(opened, opened_len) > 0;
}

uint64_t chunk_claim(const uint8_t *opened, size_t opened_len)
{
	uint64_t claim = 0;

	for (size_t i = CHUNK_TAG_LEN + CHUNK_SIZE; i < opened_len; i++)
		claim = claim << 8 | opened[i];
	return claim;
}

void chunk_claim_store(uint8_t out[static CHUNK_CLAIM_LEN], uint64_t claim)
{
	for (size_t i = CHUNK_CLAIM_LEN; i-- > 0; claim >>= 8)
		out[i] = (uint8_t)claim;
}
