/*
 * The mount that a path lies in, asked of the mount itself: a mount without
 * extended attributes (-o xattr=off) has no other way to tell.
 */
#ifndef FROND_BEHIND_H
#define FROND_BEHIND_H

#include <limits.h>
#include <stdbool.h>

struct behind {
	char backing[PATH_MAX]; /* of the whole vault */
	bool is_mount_point;	/* the path is where it is mounted */
};

/* False: path lies in no mounted vault. */
bool behind_get(const char *path, struct behind *b);

/* A mount, here and not hidden from the caller, of the vault whose absolute
 * path this is. */
bool behind_find(const char *backing, char point[static PATH_MAX]);

#endif
