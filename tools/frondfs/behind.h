/*
 * The mount that a path lies in, asked of the mount itself: a mount without
 * extended attributes (-o xattr=off) has no other way to tell.
 */
#ifndef FROND_BEHIND_H
#define FROND_BEHIND_H

#include "vault.h"

#include <limits.h>
#include <stdbool.h>

struct behind {
	char backing[PATH_MAX]; /* of the whole vault */
	bool is_mount_point;	/* the path is where it is mounted */
};

/* False: path lies in no mounted vault. */
bool behind_get(const char *path, struct behind *b);

/*
 * vault_probe() of what a command was given: a backing directory, or where it
 * is mounted, either by a symbolic link, too. Then it is in b->backing.
 * -EXDEV: path is in a mount, and is not its mount point.
 */
MUST_CHECK int behind_probe(const char *path, struct behind *b,
			    struct vault_ini *ini, struct vault_fault *fault);

/* A mount of the vault whose absolute path this is, as the table of mounts has
 * it: not one with fsname=. */
bool behind_find(const char *backing, char point[static PATH_MAX]);

/* Of a process that has a vault mounted on this path; 0: none has. For what is
 * not mounted there in the mount namespace of this one. */
long behind_elsewhere(const char *point);

#endif
