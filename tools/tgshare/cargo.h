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
	struct item_keys *keys; /* locked memory */
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

/*
 * cargo_seal() in steps, for who sends parts while others are being sealed.
 * These return 0 or a negative errno.
 */

/* With keys and a name for the copy, and nothing sealed yet. */
MUST_CHECK int cargo_begin(struct session *s, const struct source *from,
			   struct cargo *c);
/*
 * With those of a draft, and the parts of its copy, which lose what is behind
 * them. -EAGAIN: the files changed since; -ENOENT, -EBADMSG: keys or copy are
 * not what they were.
 */
MUST_CHECK int cargo_adopt(struct session *s, const struct source *from,
			   const struct item *draft, struct cargo *c);

/* Called from within, in the thread of cargo_write(); not 0: stop with it. */
struct cargo_watch {
	/* a part is whole, and its file is what it was; or NULL */
	int (*part)(void *arg, uint64_t len,
		    const uint8_t hash[static MANIFEST_HASH_LEN]);
	/* so many bytes of plaintext are sealed; or NULL */
	int (*step)(void *arg, uint64_t done);
	void *arg;
};

/*
 * Seal what is not sealed yet; durable at the end. *at: the entry at work.
 * -EAGAIN: it changed.
 */
MUST_CHECK int cargo_write(struct session *s, const struct source *from,
			   uint64_t part_max, const struct cargo_watch *watch,
			   struct cargo *c, size_t *at);
/* Say why an entry of from was not sealed; CMD_FAILED. */
int cargo_report(const struct source *from, size_t at, int err);

/* What cargo.c and cargo_seal.c share: a draft's keys without its parts; id
 * and key of a file that is sealed; a file's key under the set's. */
MUST_CHECK int cargo_begin_as(struct session *s, const struct source *from,
			      const struct item *draft, struct cargo *c);
void cargo_file_key(const struct cargo *c, uint64_t index,
		    uint8_t id[static FILE_ID_LEN],
		    uint8_t key[static FERNET_KEY_LEN]);
MUST_CHECK int cargo_wrap_key(const struct cargo *c, struct manifest_entry *e,
			      const uint8_t key[static FERNET_KEY_LEN]);

#endif
