/* Opening the backing files of regular files. */
#include "file_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/*
 * Open a backing file whose mode does not let even its owner in, as files
 * that were made read-only or write-only under an open handle: let the owner
 * in for an instant.
 */
static int open_as_owner(struct fs *fs, struct inode *i, int *fd)
{
	CLEANUP_FD int path_fd = -1;
	char proc[40];
	struct stat st;
	int err = inode_open_path(fs->inodes, i, &path_fd);

	if (err)
		return err;
	if (fstat(path_fd, &st) < 0)
		return -errno;
	if (st.st_uid != fs->uid || !S_ISREG(st.st_mode))
		return -EACCES;
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", path_fd);
	if (chmod(proc, (st.st_mode & 07777) | 0600) < 0)
		return -errno;
	*fd = open(proc, O_RDWR | O_CLOEXEC);
	err = *fd < 0 ? -errno : 0;
	if (chmod(proc, st.st_mode & 07777) < 0 && !err) {
		err = -errno;
		close(*fd);
	}
	return err;
}

/* How a backing file is to be opened, and what came of it. */
struct opening {
	const struct inode *inode;
	int access;
	int fd;
};

static int open_at(const struct inode_place *p, void *arg)
{
	struct opening *o = arg;
	CLEANUP_FD int fd =
		openat(p->dirfd, p->entry,
		       o->access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_ino != o->inode->ino || st.st_dev != o->inode->dev)
		return -ESTALE;
	o->fd = TAKE_FD(fd);
	return 0;
}

int file_open_backing(struct fs *fs, struct inode *i, bool for_writing, int *fd,
		      bool *writable)
{
	struct opening o = {.inode = i, .access = O_RDWR};
	int err = -EROFS;

	if (!fs->opt->read_only)
		err = inode_at_place(fs->inodes, i, open_at, &o);
	*writable = !err;
	if (!for_writing &&
	    (err == -EACCES || err == -EPERM || err == -EROFS)) {
		o.access = O_RDONLY;
		err = inode_at_place(fs->inodes, i, open_at, &o);
	}
	if (err == -EACCES && !fs->opt->read_only) {
		err = open_as_owner(fs, i, &o.fd);
		*writable = !err;
	}
	if (!err)
		*fd = o.fd;
	return err;
}
