/*
 * Foreign bytes read front to back. Reading past the end sets bad and gives
 * zeros from then on, so a caller checks once per record, and before it
 * allocates by what it read.
 */
#ifndef FROND_READER_H
#define FROND_READER_H

#include "bytes.h"

struct reader {
	const uint8_t *p;
	size_t left;
	bool bad;
};

/* The next len bytes, or NULL. */
static inline const uint8_t *reader_take(struct reader *r, size_t len)
{
	const uint8_t *p = r->p;

	if (r->bad || len > r->left) {
		r->bad = true;
		return NULL;
	}
	r->p += len;
	r->left -= len;
	return p;
}

static inline void reader_copy(struct reader *r, void *out, size_t len)
{
	const uint8_t *p = reader_take(r, len);

	if (p)
		memcpy(out, p, len);
	else
		memset(out, 0, len);
}

static inline uint8_t reader_u8(struct reader *r)
{
	const uint8_t *p = reader_take(r, 1);

	return p ? *p : 0;
}

static inline uint16_t reader_u16(struct reader *r)
{
	const uint8_t *p = reader_take(r, 2);

	return p ? be16_load(p) : 0;
}

static inline uint32_t reader_u32(struct reader *r)
{
	uint32_t high = reader_u16(r);

	return high << 16 | reader_u16(r);
}

static inline uint64_t reader_u64(struct reader *r)
{
	const uint8_t *p = reader_take(r, 8);

	return p ? be64_load(p) : 0;
}

#endif
