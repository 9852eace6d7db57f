#include "own_file.h"

#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Root's would keep the owner out; but one that holds something, and that not
 * everybody could have written to anyway, he may have put here to get it.
 * Whoever is in a group may give it what they made.
 */
static void give(int fd, const struct stat *st, const struct stat *dir)
{
	bool secret = st->st_size > 0 && (st->st_mode & 0006) != 0006;

	if (st->st_uid == 0 && dir->st_uid != 0 && !secret)
		(void)!fchown(fd, dir->st_uid, dir->st_gid);
	else if (st->st_gid != dir->st_gid)
		(void)!fchown(fd, (uid_t)-1, dir->st_gid);
}

void own_file(int meta_fd, int fd)
{
	struct stat dir, st;
	mode_t mode;

	if (fstat(meta_fd, &dir) < 0 || fstat(fd, &st) < 0)
		return;
	/* somebody may have put it here who wants to have another file */
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1)
		return;
	mode = 0600 | (dir.st_mode & 0066);
	give(fd, &st, &dir);
	if ((st.st_mode & 07777) != mode)
		(void)!fchmod(fd, mode);
}

void own_file_at(int meta_fd, const char *name)
{
	CLEANUP_FD int fd = openat(
		meta_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		own_file(meta_fd, fd);
}

int own_file_replace(int meta_fd, const char *name, const void *buf, size_t len)
{
	struct stat dir;

	if (fstat(meta_fd, &dir) < 0)
		return -errno;
	return xio_replace_like(meta_fd, name, buf, len, &dir);
}
