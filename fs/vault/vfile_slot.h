/* Where a chunk lies, and how long it is, given the length of its file. */
#ifndef FROND_VFILE_SLOT_H
#define FROND_VFILE_SLOT_H

#include "bytes.h"
#include "chunk.h"

/* A chunk as the length of the file says it must be. */
struct slot {
	uint64_t index;
	bool last;
	size_t plain_len, token_len, stored_len;
};

static inline struct slot slot_of(uint64_t index, uint64_t size)
{
	struct slot s = {.index = index,
			 .last = index == chunk_last_index(size)};

	s.plain_len = s.last ? chunk_last_len(size) : CHUNK_SIZE;
	s.token_len = FERNET_TOKEN_LEN(CHUNK_TAG_LEN + s.plain_len);
	s.stored_len =
		s.last ? s.plain_len + CHUNK_LAST_EXTRA : CHUNK_TOKEN_LEN;
	return s;
}

/* What follows a last chunk's token. */
static inline bool slot_padding_is_zero(const struct slot *s,
					const uint8_t *stored)
{
	return bytes_all_zero(stored + s->token_len,
			      s->stored_len - s->token_len);
}

#endif
