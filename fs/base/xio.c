#include "xio.h"

#include "random.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int xio_pread(int fd, void *buf, size_t len, off_t offset)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		len -= (size_t)n;
		offset += n;
	}
	return 0;
}

int xio_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	const uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		offset += n;
	}
	return 0;
}

int xio_write(int fd, const void *buf, size_t len)
{
	const uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int xio_list(int dirfd, DIR **out)
{
	CLEANUP_FD int fd =
		openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	fd = -1;
	*out = dir;
	return 0;
}

int xio_read_file(int dirfd, const char *name, void *buf, size_t max,
		  size_t *len_out)
{
	CLEANUP_FD int fd = openat(
		dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	int err;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > (off_t)max)
		return -EFBIG;
	err = xio_pread(fd, buf, (size_t)st.st_size, 0);
	if (err)
		return err;
	*len_out = (size_t)st.st_size;
	return 0;
}

bool xio_is_shortage(int err)
{
	return err == -ENOMEM || err == -EMFILE || err == -ENFILE;
}

enum { TEMP_RANDOM_LEN = 12 };

void xio_temp_name(const char *prefix, char *name, size_t size)
{
	uint8_t random[TEMP_RANDOM_LEN];
	char hex[2 * sizeof random + 1];

	random_bytes(random, sizeof random);
	hex_encode(random, sizeof random, hex);
	snprintf(name, size, "%s%s", prefix, hex);
}

bool xio_is_temp_name(const char *prefix, const char *name)
{
	const size_t digits = 2 * TEMP_RANDOM_LEN, len = strlen(prefix);

	return strncmp(name, prefix, len) == 0 &&
	       strspn(name + len, "0123456789abcdef") == digits &&
	       name[len + digits] == '\0';
}

/* owner: NULL, or whose it is to be, if root writes it. */
static int write_aside(int dirfd, const char *temp, const void *buf, size_t len,
		       mode_t mode, const struct stat *owner)
{
	CLEANUP_FD int fd = openat(
		dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	int err;

	if (fd < 0 || (owner && geteuid() == 0 &&
		       fchown(fd, owner->st_uid, owner->st_gid) < 0))
		return -errno;
	err = xio_write(fd, buf, len);
	if (err)
		return err;
	if (fsync(fd) < 0)
		return -errno;
	return close(TAKE_FD(fd)) < 0 ? -errno : 0;
}

static int replace(int dirfd, const char *name, const void *buf, size_t len,
		   mode_t mode, const struct stat *owner)
{
	CLEANUP_FD int sync_fd =
		openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char temp[64];
	int err;

	if (sync_fd < 0)
		return -errno;
	xio_temp_name(".tmp-", temp, sizeof temp);
	err = write_aside(dirfd, temp, buf, len, mode, owner);
	if (!err && renameat(dirfd, temp, dirfd, name) < 0)
		err = -errno;
	if (err) {
		unlinkat(dirfd, temp, 0);
		return err;
	}
	return fsync(sync_fd) < 0 ? -errno : 0;
}

int xio_sync_dir(int dirfd)
{
	CLEANUP_FD int fd =
		openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int xio_replace_file(int dirfd, const char *name, const void *buf, size_t len,
		     mode_t mode)
{
	return replace(dirfd, name, buf, len, mode, NULL);
}

int xio_replace_like(int dirfd, const char *name, const void *buf, size_t len,
		     const struct stat *st)
{
	return replace(dirfd, name, buf, len, st->st_mode & 0666, st);
}
