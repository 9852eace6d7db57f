#include "vtree.h"

#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A copy of the path, cut into components one after the other. */
struct walk {
	const char *at;
	char name[NAME_PLAIN_MAX + 1];
};

/* The next component; false at the end, or with *err set. */
static bool walk_next(struct walk *w, int *err)
{
	size_t len = strcspn(w->at, "/");

	if (w->at[0] == '\0')
		return false;
	if (len == 0 || len > NAME_PLAIN_MAX) {
		*err = len ? -ENAMETOOLONG : -EINVAL;
		return false;
	}
	memcpy(w->name, w->at, len);
	w->name[len] = '\0';
	w->at += len + (w->at[len] == '/');
	if (strcmp(w->name, ".") == 0 || strcmp(w->name, "..") == 0) {
		*err = -EINVAL;
		return false;
	}
	return true;
}

static int open_root(struct vault *vault, struct vtree_dir *dir)
{
	CLEANUP_FD int fd = -1;
	int err = vdir_open_path(vault->root_fd, ".", &fd);

	if (!err)
		err = vdir_read_id(fd, dir->id);
	if (err)
		return err;
	dir->fd = TAKE_FD(fd);
	return 0;
}

void vtree_close_dir(struct vtree_dir *dir)
{
	cleanup_fd_(&dir->fd);
	dir->fd = -1;
}

int vtree_own(const struct vault *vault, int fd)
{
	struct stat root, st;

	if (geteuid() != 0)
		return 0;
	if (fstat(vault->root_fd, &root) < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* somebody else's is not ours to give away */
	if (st.st_uid != 0 || root.st_uid == 0)
		return 0;
	/* AT_EMPTY_PATH: the descriptor may be O_PATH */
	return fchownat(fd, "", root.st_uid, root.st_gid, AT_EMPTY_PATH) < 0
		       ? -errno
		       : 0;
}

static int make_child(const struct vtree_dir *dir,
		      const struct backing_name *backing, mode_t mode)
{
	int err = vdir_make(dir->fd, dir->id, backing, mode);

	if (err)
		return err == -EEXIST ? 0 : err;
	return xio_sync_dir(dir->fd);
}

int vtree_open_child(struct vault *vault, const struct vtree_dir *dir,
		     const char *name, bool make, mode_t mode,
		     struct vtree_dir *child)
{
	CLEANUP_FD int fd = -1;
	struct backing_name backing;
	uint8_t id[DIRID_LEN];
	int err = name_encode(vault->names, dir->id, name, strlen(name),
			      &backing);

	if (err)
		return err;
	err = vdir_open_path(dir->fd, backing.entry, &fd);
	if (err == -ENOENT && make) {
		err = make_child(dir, &backing, mode);
		if (!err)
			err = vdir_open_path(dir->fd, backing.entry, &fd);
	}
	/* what open(O_DIRECTORY | O_NOFOLLOW) says of a symbolic link */
	if (err == -ELOOP)
		err = -ENOTDIR;
	if (!err)
		err = vdir_read_id(fd, id);
	/* made just now, or before a crash */
	if (!err && make)
		err = vtree_own(vault, fd);
	if (err)
		return err;
	child->fd = TAKE_FD(fd);
	memcpy(child->id, id, sizeof id);
	return 0;
}

int vtree_open_dir(struct vault *vault, const char *path, bool make,
		   mode_t mode, struct vtree_dir *dir)
{
	struct walk w = {.at = path};
	struct vtree_dir here, child;
	int err = open_root(vault, &here);

	if (err)
		return err;
	while (!err && walk_next(&w, &err)) {
		err = vtree_open_child(vault, &here, w.name, make, mode,
				       &child);
		vtree_close_dir(&here);
		if (!err)
			here = child;
	}
	if (err) {
		vtree_close_dir(&here);
		return err;
	}
	*dir = here;
	return 0;
}

int vtree_stat(struct vault *vault, const struct vtree_dir *dir,
	       const char *name, struct backing_name *backing,
	       struct statx *stx)
{
	struct backing_name encoded;
	int err = name_encode(vault->names, dir->id, name, strlen(name),
			      &encoded);

	if (err)
		return err;
	if (statx(dir->fd, encoded.entry, AT_SYMLINK_NOFOLLOW,
		  STATX_BASIC_STATS | STATX_BTIME, stx) < 0)
		return -errno;
	*backing = encoded;
	return 0;
}

/* All of f, size bytes, into buf. */
static int read_all(struct vfile *f, uint8_t *buf, uint64_t size)
{
	struct iovec iov[WORKSPACE_CHUNKS];
	struct workspace *ws = workspace_get();
	uint64_t at = 0, bad = 0;

	if (!ws)
		return -ENOMEM;
	while (at < size) {
		size_t want = size - at < VFILE_IO_MAX ? (size_t)(size - at)
						       : VFILE_IO_MAX;
		int count = 0;
		ssize_t n = vfile_read(f, ws, at, want, iov, &count, &bad);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		for (int i = 0; i < count; i++) {
			memcpy(buf + at, iov[i].iov_base, iov[i].iov_len);
			at += iov[i].iov_len;
		}
	}
	return 0;
}

int vtree_read(struct vault *vault, const struct vtree_dir *dir,
	       const char *name, void *buf, size_t max, size_t *len)
{
	CLEANUP_FD int fd = -1;
	struct backing_name backing;
	struct vfile *f = NULL;
	int err = name_encode(vault->names, dir->id, name, strlen(name),
			      &backing);

	if (err)
		return err;
	fd = openat(dir->fd, backing.entry,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = vfile_open(vault, fd, false, &f);
	if (err)
		return err;
	fd = -1;
	if (vfile_size(f) > max)
		err = -EFBIG;
	else
		err = read_all(f, buf, vfile_size(f));
	if (!err)
		*len = (size_t)vfile_size(f);
	vfile_close(f);
	return err;
}

int vtree_list(struct vault *vault, const struct vtree_dir *dir,
	       int (*fn)(void *arg, const char *name, unsigned char type),
	       void *arg)
{
	CLEANUP_DIR DIR *stream = NULL;
	char plain[NAME_PLAIN_MAX + 1];
	const struct dirent *e;
	int err = xio_list(dir->fd, &stream);

	if (err)
		return err;
	for (errno = 0; (e = readdir(stream)); errno = 0) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		err = vdir_plain_name(vault, dir->fd, dir->id, e->d_name,
				      plain);
		if (err == -ENOENT || err == -EBADMSG)
			continue;
		if (!err)
			err = fn(arg, plain, e->d_type);
		if (err)
			return err;
	}
	return -errno;
}
