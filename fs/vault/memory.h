/*
 * What this machine remembers of a vault's files and names, outside of the
 * vault: when their chunks were sealed, and what no longer lies under a name.
 * Whoever has the backing directory can put back what was there before, and
 * nothing in there would tell (docs/DESIGN.md, "What a machine remembers").
 *
 * Only what is durable in the backing directory is kept: else a power failure
 * would look like somebody's doing. So what happens is noted in the process
 * first, and kept when everything before has been made durable (memory_mark(),
 * memory_keep()). Not for shared vaults.
 *
 * Beside what seen.h keeps, in an SQLite database called by the vault's id in
 * hex and ".files". Keys are hashes and values have a MAC, both under subkeys
 * of KDF_SEEN; a row that is not right counts as not there.
 *
 * Functions may be called from many threads at once. A vault without a memory
 * (vault->memory is NULL) may be passed to all of them: it remembers nothing.
 */
#ifndef FROND_MEMORY_H
#define FROND_MEMORY_H

#include "vault.h"

struct memory;
struct memory_file;

/*
 * Once the vault's lock is held. accept: what was remembered is forgotten, and
 * whatever is older is fine as well while this process lasts; what lies there
 * is remembered from then on instead. -EBUSY: another process has it still,
 * and what it knows is not known here; memory_keep() tries again. -EBADMSG: it
 * was damaged, and begins anew. Other errors: nothing can be kept here, and
 * vault->memory stays NULL; -ENOTSUP: as something that is no file is in the
 * way, and the log has said so.
 *
 * For a shared vault nothing is opened: others will change names unseen, so
 * what was known of them is forgotten.
 *
 * vault_close() closes it, and keeps what is not kept yet, when that has been
 * made durable.
 */
MUST_CHECK int memory_open(struct vault *vault, bool accept);
/*
 * For a process that remembers nothing, but changes names: what was known of
 * them is forgotten.
 */
MUST_CHECK int memory_pass_over(struct vault *vault);
/*
 * For whoever only compares, with or without the vault's lock: nothing is kept,
 * and a process that opens it meanwhile gets it. -ENOENT: there is none;
 * -EBUSY: another process has it; -EBADMSG: it is damaged, and stays so;
 * -ENOTSUP: as above.
 */
MUST_CHECK int memory_look(struct vault *vault);
void memory_close(struct vault *vault);

/*
 * Everything noted so far will be durable when what the caller does next has
 * succeeded; then memory_keep() writes it. Two calls of a pair are not mixed
 * with another pair's. memory_keep: errors are of the state directory, and
 * everything is tried again by the next pair.
 */
void memory_mark(struct vault *vault);
MUST_CHECK int memory_keep(struct vault *vault);
/* Something is noted that has not been kept. */
bool memory_has_news(const struct vault *vault);
/* So much is noted that it should be kept soon, not at the next regular time */
bool memory_is_full(const struct vault *vault);

/*
 * The file with this id, until memory_file_put(); NULL without a memory, or
 * when it is short: all functions below take that. made: it has just been
 * made, so nothing can be known of it.
 */
struct memory_file *memory_file_get(struct vault *vault,
				    const uint8_t id[static FILE_ID_LEN],
				    bool made);
void memory_file_put(struct vault *vault, struct memory_file *mf);

/*
 * Chunks first..last (AGES_END: and whatever comes behind) have been stored,
 * all sealed at sealed_s or later. What may be in their place after an error
 * is not told. 0: they are holes, or not there any more.
 */
void memory_file_stored(struct memory_file *mf, uint64_t first, uint64_t last,
			uint64_t sealed_s);

/*
 * Chunks first..first+count-1 have been read and verified, sealed at
 * sealed_s[]; UINT64_MAX: a hole, or not looked at. Returns how many of them,
 * from the first, are no older than what was seen: less than count, if
 * somebody has put one back. If all are, it is remembered what was seen.
 */
size_t memory_file_judge(struct memory_file *mf, uint64_t first, size_t count,
			 const uint64_t *sealed_s);

/* Whatever lies there now is right: the user says so. */
void memory_file_accept(struct vault *vault,
			const uint8_t id[static FILE_ID_LEN]);

/*
 * Several files have this id, and what is true of one is not of the others:
 * none of them is judged from now on, here or later, and nothing is known.
 */
void memory_file_ignore(struct vault *vault,
			const uint8_t id[static FILE_ID_LEN]);

/* It is gone for good: nothing has to be known of it any more. */
void memory_file_gone(struct vault *vault,
		      const uint8_t id[static FILE_ID_LEN]);

/*
 * Entries: what was removed, moved or replaced does not come back by itself.
 * A place is a directory's id and the entry's name in the backing directory.
 * What lies there was born when its key token (a file's) or its target (a
 * symbolic link's) was sealed; a directory has no such time, but an id.
 *
 * The place has been left now: nothing that was born before may lie there.
 * dirid: of the directory that lay there; or NULL.
 */
struct memory_place {
	const uint8_t *parent; /* DIRID_LEN bytes */
	const char *entry;
};
void memory_place_left(struct vault *vault, const struct memory_place *place,
		       const uint8_t *dirid);
/*
 * Something is about to be put there on purpose, born then (0: that is not
 * known). Was anything known of the place?
 */
bool memory_place_taken(struct vault *vault, const struct memory_place *place,
			uint64_t born_s);
/* It has been, and nothing that was born before may lie there. */
void memory_place_replaced(struct vault *vault,
			   const struct memory_place *place, uint64_t born_s);
/* The directory with this id is gone, and what was known of its entries. */
void memory_dir_gone(struct vault *vault,
		     const uint8_t dirid[static DIRID_LEN]);

/* Was what lies there put back? born_s for a file or link, else dirid. */
bool memory_place_is_old(struct vault *vault, const struct memory_place *place,
			 uint64_t born_s, const uint8_t *dirid);
/* Whatever lies there is right. */
void memory_place_accept(struct vault *vault, const struct memory_place *place);

#endif
