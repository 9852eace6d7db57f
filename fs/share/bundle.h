/*
 * One file that carries sealed things by any other way:
 *   magic "FRONDBN1" | records: type u8 | length u64 | bytes, to the end.
 * Record types: 1 an envelope, 2 a part of a sealed copy. Unknown types are
 * passed over. Pure: the caller reads and writes.
 */
#ifndef FROND_BUNDLE_H
#define FROND_BUNDLE_H

#include "cleanup.h"

#include <stdint.h>

enum {
	BUNDLE_MAGIC_LEN = 8,
	BUNDLE_HEAD_LEN = 9, /* of a record */
	BUNDLE_ENVELOPE = 1,
	BUNDLE_PART = 2,
};
#define BUNDLE_MAGIC "FRONDBN1"

void bundle_head_format(uint8_t type, uint64_t len,
			uint8_t head[static BUNDLE_HEAD_LEN]);
/* left: bytes that follow the head. -EBADMSG: the record would be longer, or
 * than its type may be. */
MUST_CHECK int bundle_head_parse(const uint8_t head[static BUNDLE_HEAD_LEN],
				 uint64_t left, uint8_t *type, uint64_t *len);

#endif
