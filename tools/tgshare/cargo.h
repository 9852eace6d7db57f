/*
 * What a set carries, the same for all who get it: for "send" a sealed copy
 * in .frondfs/outbox, for "grant" the keys of the files themselves.
 */
#ifndef TGSHARE_CARGO_H
#define TGSHARE_CARGO_H

#include "item.h"
#include "session.h"
#include "source.h"

struct cargo {
	/* kind, vault id, name, folder and entries; the rest is each set's */
	struct manifest manifest;
	uint8_t *secret; /* the set's key: locked memory */
	char copy[ITEM_COPY_LEN + 1];
	struct item_file *files; /* granted ones */
	size_t file_count;
};

/* Both return an exit status. c is to be freed after either end. */
MUST_CHECK int cargo_seal(struct session *s, const struct source *from,
			  uint64_t part_max, struct cargo *c);
MUST_CHECK int cargo_grant(struct session *s, const struct source *from,
			   struct cargo *c);
void cargo_free(struct cargo *c);

#endif
