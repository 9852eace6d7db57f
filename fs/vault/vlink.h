/*
 * Symbolic links: the target is a text token under subkey 4; one that the
 * backing file system cannot hold as a link target lies beside the link in
 * "@<32 hex digits>.link".
 */
#ifndef FROND_VLINK_H
#define FROND_VLINK_H

#include "vdir.h"

enum { VLINK_TARGET_MAX = 4095 };

/* target: 1 to 4095 bytes. The long name's companion is the caller's duty. */
MUST_CHECK int vlink_make(struct vault *vault, int dirfd, const char *entry,
			  const char *target);

/*
 * Read a link's target into target with a closing NUL. -EIO: the token is
 * damaged or its companion is missing.
 */
MUST_CHECK int vlink_read(const struct vault *vault, int dirfd,
			  const char *entry,
			  char target[static VLINK_TARGET_MAX + 1],
			  size_t *len_out);
/* The same, and when the target was sealed, in seconds since 1970. */
MUST_CHECK int vlink_read_born(const struct vault *vault, int dirfd,
			       const char *entry,
			       char target[static VLINK_TARGET_MAX + 1],
			       size_t *len_out, uint64_t *born_s);

/*
 * Companions of links whose target lies beside them. If entry is such a link:
 * copy its companion into to_fd (before a rename or a hard link into another
 * directory; nothing to do within one), or remember its name before the entry
 * goes and drop the companion after. companion[0] is 0 when there is none.
 */
enum { VLINK_COMPANION_MAX = 64 };
MUST_CHECK int vlink_companion(int dirfd, const char *entry,
			       char companion[static VLINK_COMPANION_MAX]);
MUST_CHECK int vlink_companion_copy(int from_fd, int to_fd,
				    const char *companion);
/*
 * The link is in to_fd now. Another mount that dropped the companion meanwhile
 * did not see it: then copy it once more.
 */
MUST_CHECK int vlink_companion_keep(int from_fd, int to_fd,
				    const char *companion);
void vlink_companion_drop(int dirfd, const char *companion);
/*
 * A link that has other names (hard links) lost one in this directory: drop
 * the companion, unless another name here needs it. It stays where that cannot
 * be seen.
 */
void vlink_companion_settle(int dirfd, const char *companion);

#endif
