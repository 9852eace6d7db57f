/*
 * lseek(2) for holes and data.
 *
 * While the kernel collects writes, what lies in its cache would look like
 * holes. Whoever asks holds the inode's lock in the kernel meanwhile, so none
 * of our threads may wait for those pages to be written: killed in that
 * moment, the daemon could not end. A file that is open for writing is
 * therefore said to be data from one end to the other, which is always true;
 * closing it hands everything over, and from then on the answer is exact.
 *
 * Only the kernel knows where such a file ends. It is asked about the file
 * that the caller has open, in a way that makes it send no request here.
 */
#include "file_cache.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>

/* The size that the kernel has in mind, whatever it has not written yet. */
static int statx_cached(int dirfd, const char *name, struct statx *stx)
{
	return statx(dirfd, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		     STATX_SIZE | STATX_INO, stx) < 0
		       ? -errno
		       : 0;
}

dev_t seek_device(const char *mountpoint)
{
	struct statx stx;

	if (statx_cached(AT_FDCWD, mountpoint, &stx))
		return 0;
	return makedev(stx.stx_dev_major, stx.stx_dev_minor);
}

static bool is_this(const struct fs *fs, const struct inode *i,
		    const struct statx *stx)
{
	return makedev(stx->stx_dev_major, stx->stx_dev_minor) == fs->dev &&
	       stx->stx_ino == inode_number(fs->inodes, i->dev, i->ino);
}

/* What a process has open; NULL: it could not be looked at. */
static DIR *open_fds(struct fs *fs, pid_t pid)
{
	unsigned tries = 0;
	char path[40];
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	do {
		dir = opendir(path);
	} while (!dir && fs_spare_fd(fs, -errno, &tries));
	return dir;
}

/*
 * The caller is in the middle of lseek(2), with the file among what it has
 * open. -ENOSYS: it could not be looked at.
 */
static int size_at_caller(fuse_req_t req, const struct inode *i, uint64_t *size)
{
	CLEANUP_DIR DIR *dir = open_fds(fs_of(req), fuse_req_ctx(req)->pid);
	const struct dirent *d;
	struct statx stx;

	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] != '.' &&
		    !statx_cached(dirfd(dir), d->d_name, &stx) &&
		    is_this(fs_of(req), i, &stx)) {
			*size = stx.stx_size;
			return 0;
		}
	}
	return -ENOSYS;
}

/* Answer for a file of which any part may be in the kernel's cache only. */
static int seek_all_data(fuse_req_t req, const struct inode *i, uint64_t offset,
			 int whence, uint64_t *result)
{
	uint64_t size;
	int err = size_at_caller(req, i, &size);

	if (err) {
		/* the kernel does the same by itself, from now on for all */
		log_notice("holes are not told any more until unmounted: "
			   "process %d cannot be looked at",
			   fuse_req_ctx(req)->pid);
		return err;
	}
	if (offset >= size)
		return -ENXIO;
	*result = whence == SEEK_DATA ? offset : size;
	return 0;
}

static int seek_exactly(struct fs *fs, struct open_file *of, uint64_t offset,
			int whence, uint64_t *result)
{
	struct workspace *ws = workspace_get();
	struct vfile *vf;
	int err = ws ? file_acquire(fs, of, false, &vf) : -ENOMEM;

	if (err)
		return err;
	err = vfile_seek(vf, ws, offset, whence, result);
	file_release(of);
	return err;
}

static void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence,
		      struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	const struct open_handle *h = (struct open_handle *)(uintptr_t)fi->fh;
	const struct inode *i = file_inode(h->file);
	uint64_t result;
	int err;

	(void)ino;
	if (fs->collects_writes && i->writers > 0)
		err = seek_all_data(req, i, (uint64_t)offset, whence, &result);
	else
		err = seek_exactly(fs, h->file, (uint64_t)offset, whence,
				   &result);
	if (err)
		fs_reply_err(req, err);
	else
		fuse_reply_lseek(req, (off_t)result);
}

void ops_fill_seek(struct fuse_lowlevel_ops *ops)
{
	ops->lseek = ops_lseek;
}
