/* One message to one person: stated, signed by the mount, sealed. */
#ifndef TGSHARE_LETTER_H
#define TGSHARE_LETTER_H

#include "envelope.h"
#include "mounted.h"

struct letter {
	uint8_t kind, index;
	uint8_t set_id[SET_ID_LEN];
	struct identity_public to;
	const uint8_t *payload;
	size_t payload_len;
};

/* *out is malloced. */
MUST_CHECK int letter_seal(const struct mounted *m, const struct letter *letter,
			   uint8_t **out, size_t *out_len);

#endif
