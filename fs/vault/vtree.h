/*
 * A vault's tree by plain paths, for what works on it from inside (the inbox,
 * the contacts). Paths are relative to the vault's root, "/" between
 * components, no "." or "..", "" is the root. Never through symbolic links.
 */
#ifndef FROND_VTREE_H
#define FROND_VTREE_H

#include "vdir.h"
#include "vfile.h"

/* A directory: descriptor (O_PATH) and id. */
struct vtree_dir {
	int fd;
	uint8_t id[DIRID_LEN];
};
/* -ENOENT, -ENOTDIR, -EIO: damaged. With make, missing ones are made. */
MUST_CHECK int vtree_open_dir(struct vault *vault, const char *path, bool make,
			      mode_t mode, struct vtree_dir *dir);
void vtree_close_dir(struct vtree_dir *dir);
/* The same for one component below dir. */
MUST_CHECK int vtree_open_child(struct vault *vault,
				const struct vtree_dir *dir, const char *name,
				bool make, mode_t mode,
				struct vtree_dir *child);
/* What root makes for the vault's owner is the owner's. fd may be O_PATH. */
MUST_CHECK int vtree_own(const struct vault *vault, int fd);
/* statx of name in dir. -ENOENT. *backing is where it lies. */
MUST_CHECK int vtree_stat(struct vault *vault, const struct vtree_dir *dir,
			  const char *name, struct backing_name *backing,
			  struct statx *stx);
/* A whole small file. -EFBIG: longer than max. */
MUST_CHECK int vtree_read(struct vault *vault, const struct vtree_dir *dir,
			  const char *name, void *buf, size_t max, size_t *len);
/* Calls fn for every entry's plain name; not 0 ends it and is returned. */
MUST_CHECK int vtree_list(struct vault *vault, const struct vtree_dir *dir,
			  int (*fn)(void *arg, const char *name,
				    unsigned char type),
			  void *arg);

#endif
