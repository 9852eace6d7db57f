#ifndef FROND_VAULT_OWN_FILE_H
#define FROND_VAULT_OWN_FILE_H

#include "cleanup.h"

#include <stddef.h>

/*
 * Our own files in .frondfs are its owner's alone, and those users' to whom its
 * mode opens .frondfs: several of them may have a vault in common. So it is
 * whatever the umask of who makes one.
 */

/* One that is open. Best effort: it may be somebody else's. */
void own_file(int meta_fd, int fd);

/* The same by its name, if there is one. */
void own_file_at(int meta_fd, const char *name);

/* xio_replace_file() */
MUST_CHECK int own_file_replace(int meta_fd, const char *name, const void *buf,
				size_t len);

#endif
