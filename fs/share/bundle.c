#include "bundle.h"

#include "bytes.h"
#include "chunk.h"
#include "envelope.h"

#include <errno.h>

void bundle_head_format(uint8_t type, uint64_t len,
			uint8_t head[static BUNDLE_HEAD_LEN])
{
	head[0] = type;
	be64_store(head + 1, len);
}

static uint64_t longest(uint8_t type)
{
	switch (type) {
	case BUNDLE_ENVELOPE:
		return ENVELOPE_MAX_LEN;
	case BUNDLE_PART:
		return chunk_backing_len(CHUNK_MAX_PLAIN_LEN);
	default:
		return INT64_MAX;
	}
}

int bundle_head_parse(const uint8_t head[static BUNDLE_HEAD_LEN], uint64_t left,
		      uint8_t *type, uint64_t *len)
{
	uint64_t found = be64_load(head + 1);

	if (found > left || found > longest(head[0]))
		return -EBADMSG;
	*type = head[0];
	*len = found;
	return 0;
}
