/*
 * Exact I/O: calls that move all bytes or say why not, restarted after
 * signals. All return 0 or a negative errno unless stated otherwise.
 */
#ifndef FROND_XIO_H
#define FROND_XIO_H

#include "cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* -ENODATA: the file ends before len bytes. */
MUST_CHECK int xio_pread(int fd, void *buf, size_t len, off_t offset);
MUST_CHECK int xio_pwrite(int fd, const void *buf, size_t len, off_t offset);
MUST_CHECK int xio_write(int fd, const void *buf, size_t len);

/*
 * A stream of the directory behind dirfd (O_PATH will do), which stays open
 * and where it is.
 */
MUST_CHECK int xio_list(int dirfd, DIR **out);

/*
 * Read a whole small file below dirfd, never through a symbolic link.
 * -EFBIG when it is longer than max; *len_out is its length.
 */
MUST_CHECK int xio_read_file(int dirfd, const char *name, void *buf, size_t max,
			     size_t *len_out);

/*
 * Make the file below dirfd hold exactly these bytes, durably, and whole at
 * any instant: written aside, fsync, rename, fsync of the directory. What
 * was there before stays on any failure.
 */
MUST_CHECK int xio_replace_file(int dirfd, const char *name, const void *buf,
				size_t len, mode_t mode);
/* With this mode; whoever it is that root does it for, it is his at any
 * instant, too. */
MUST_CHECK int xio_replace_like(int dirfd, const char *name, const void *buf,
				size_t len, const struct stat *st);

/* Make the names in a directory durable; dirfd may be O_PATH. */
MUST_CHECK int xio_sync_dir(int dirfd);

/* Nobody could look (no memory, no descriptor): that says nothing of what there
 * is. */
bool xio_is_shortage(int err);

/* prefix followed by 24 random hex digits and a NUL; name has size bytes. */
void xio_temp_name(const char *prefix, char *name, size_t size);
/* May that have given this name? */
bool xio_is_temp_name(const char *prefix, const char *name);

#endif
