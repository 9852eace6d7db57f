/*
 * Among the chunks of a backing file, the nearest that are not zeros: what is
 * in front of a hole says whether it may be one (frondfs-format(5), "Holes").
 */
#ifndef FROND_MAP_H
#define FROND_MAP_H

#include "chunk.h"

struct map {
	int fd;
	bool seeks; /* what is a hole of the backing file is zeros */
	/* The stored bytes of a chunk that is not the last. */
	int (*read)(void *arg, uint64_t index,
		    uint8_t stored[static CHUNK_TOKEN_LEN]);
	void *arg;
};

/* In front of this one, which is zeros; itself: there is none. */
MUST_CHECK int map_token_before(const struct map *m, uint64_t index,
				uint64_t *token);
/* From this one on; the last chunk, if there is none in front of that. */
MUST_CHECK int map_token_behind(const struct map *m, uint64_t index,
				uint64_t last, uint64_t *token);

#endif
