/*
 * Extended attributes: names under AES-SIV, values as tokens under subkey 7,
 * bound to the file or directory that has them. POSIX ACLs and what begins
 * with "system." are stored as they are. fd is a descriptor of the object
 * itself (O_PATH works: /proc/self/fd is used); owner is the file's id, the
 * directory's id, or 16 zero bytes for anything else.
 */
#ifndef FROND_VXATTR_H
#define FROND_VXATTR_H

#include "vault.h"

#include <stdbool.h>
#include <sys/types.h>

/* what a token holds beside owner, name length and the longest name */
enum { VXATTR_VALUE_MAX = FERNET_MAX_PLAINTEXT - FILE_ID_LEN - 2 - 255 };

/*
 * The value's length, or a negative errno: -ENODATA; -ERANGE when it is
 * longer than size; -EIO when it is damaged. size 0 asks for the length.
 */
MUST_CHECK ssize_t vxattr_get(const struct vault *vault, int fd,
			      const uint8_t owner[static FILE_ID_LEN],
			      const char *name, void *value, size_t size);

/* No attributes at all, neither vxattrs nor ACLs; false: or who knows. */
MUST_CHECK bool vxattr_none(int fd);

/* flags as setxattr(2): XATTR_CREATE, XATTR_REPLACE. */
MUST_CHECK int vxattr_set(const struct vault *vault, int fd,
			  const uint8_t owner[static FILE_ID_LEN],
			  const char *name, const void *value, size_t size,
			  int flags);

/*
 * NUL-terminated plain names one after the other, ACLs included where
 * present; size 0 asks for the length. Damaged attributes are left out.
 */
MUST_CHECK ssize_t vxattr_list(const struct vault *vault, int fd,
			       const uint8_t owner[static FILE_ID_LEN],
			       char *list, size_t size);

MUST_CHECK int vxattr_remove(const struct vault *vault, int fd,
			     const char *name);

#endif
