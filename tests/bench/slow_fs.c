/*
 * slow_fs ROOT MOUNTPOINT MS [FUSE-OPTION...]: shows the directory ROOT at
 * MOUNTPOINT, and lets every operation on it take MS milliseconds longer, any
 * number of them at the same time: a file server far away. Setting the
 * attribute user.slow_fs.ms of ROOT changes MS; below 0 it is away, and
 * everything is EIO until it is back.
 */
#define FUSE_USE_VERSION 314
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 128, ATTRIBUTE_CACHE_S = 1 };

static int root_fd;
static _Atomic long delay_ms;

/* False: it is not there. */
static bool reach(void)
{
	long ms = delay_ms;

	if (ms < 0)
		return false;
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
	return true;
}

/* fuse's "/a/b", seen from root_fd */
static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int status(int result)
{
	return result < 0 ? -errno : 0;
}

static ssize_t length(ssize_t result)
{
	return result < 0 ? -errno : result;
}

/* For calls that take no directory descriptor. */
static const char *full(const char *path, char buf[static PATH_MAX])
{
	snprintf(buf, PATH_MAX, "/proc/self/fd/%d/%s", root_fd, below(path));
	return buf;
}

static void *slow_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
	conn->want |= conn->capable & FUSE_CAP_PARALLEL_DIROPS;
	cfg->use_ino = 1;
	cfg->entry_timeout = cfg->attr_timeout = ATTRIBUTE_CACHE_S;
	cfg->negative_timeout = 0;
	return NULL;
}

static int slow_getattr(const char *path, struct stat *st,
			struct fuse_file_info *fi)
{
	if (!reach())
		return -EIO;
	if (fi)
		return status(fstat((int)fi->fh, st));
	return status(fstatat(root_fd, below(path), st, AT_SYMLINK_NOFOLLOW));
}

static int slow_readlink(const char *path, char *buf, size_t size)
{
	ssize_t n;

	if (!reach())
		return -EIO;
	n = readlinkat(root_fd, below(path), buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

static int slow_mkdir(const char *path, mode_t mode)
{
	if (!reach())
		return -EIO;
	return status(mkdirat(root_fd, below(path), mode));
}

static int slow_unlink(const char *path)
{
	if (!reach())
		return -EIO;
	return status(unlinkat(root_fd, below(path), 0));
}

static int slow_rmdir(const char *path)
{
	if (!reach())
		return -EIO;
	return status(unlinkat(root_fd, below(path), AT_REMOVEDIR));
}

static int slow_symlink(const char *target, const char *path)
{
	if (!reach())
		return -EIO;
	return status(symlinkat(target, root_fd, below(path)));
}

static int slow_rename(const char *from, const char *to, unsigned flags)
{
	if (!reach())
		return -EIO;
	return status(
		renameat2(root_fd, below(from), root_fd, below(to), flags));
}

static int slow_link(const char *from, const char *to)
{
	if (!reach())
		return -EIO;
	return status(linkat(root_fd, below(from), root_fd, below(to), 0));
}

static int slow_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	if (!reach())
		return -EIO;
	if (fi)
		return status(fchmod((int)fi->fh, mode));
	return status(fchmodat(root_fd, below(path), mode, 0));
}

static int slow_chown(const char *path, uid_t uid, gid_t gid,
		      struct fuse_file_info *fi)
{
	(void)fi;
	if (!reach())
		return -EIO;
	return status(
		fchownat(root_fd, below(path), uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int slow_utimens(const char *path, const struct timespec times[2],
			struct fuse_file_info *fi)
{
	if (!reach())
		return -EIO;
	if (fi)
		return status(futimens((int)fi->fh, times));
	return status(
		utimensat(root_fd, below(path), times, AT_SYMLINK_NOFOLLOW));
}

static int slow_truncate(const char *path, off_t size,
			 struct fuse_file_info *fi)
{
	char buf[PATH_MAX];

	if (!reach())
		return -EIO;
	if (fi)
		return status(ftruncate((int)fi->fh, size));
	return status(truncate(full(path, buf), size));
}

static int open_at(const char *path, int flags, mode_t mode,
		   struct fuse_file_info *fi)
{
	int fd;

	if (!reach())
		return -EIO;
	fd = openat(root_fd, below(path), flags | O_CLOEXEC, mode);
	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	return 0;
}

static int slow_open(const char *path, struct fuse_file_info *fi)
{
	return open_at(path, fi->flags & ~(O_NOFOLLOW | O_DIRECT), 0, fi);
}

static int slow_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	return open_at(path, (fi->flags & ~O_DIRECT) | O_CREAT, mode, fi);
}

static int slow_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	return status(close((int)fi->fh));
}

static int slow_read(const char *path, char *buf, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	(void)path;
	if (!reach())
		return -EIO;
	return (int)length(pread((int)fi->fh, buf, size, offset));
}

static int slow_write(const char *path, const char *buf, size_t size,
		      off_t offset, struct fuse_file_info *fi)
{
	(void)path;
	if (!reach())
		return -EIO;
	return (int)length(pwrite((int)fi->fh, buf, size, offset));
}

static int slow_fsync(const char *path, int data_only,
		      struct fuse_file_info *fi)
{
	(void)path;
	if (!reach())
		return -EIO;
	return status(data_only ? fdatasync((int)fi->fh) : fsync((int)fi->fh));
}

static int slow_fallocate(const char *path, int mode, off_t offset, off_t len,
			  struct fuse_file_info *fi)
{
	(void)path;
	if (!reach())
		return -EIO;
	return status(fallocate((int)fi->fh, mode, offset, len));
}

static int slow_statfs(const char *path, struct statvfs *st)
{
	(void)path;
	if (!reach())
		return -EIO;
	return status(fstatvfs(root_fd, st));
}

static int slow_readdir(const char *path, void *buf, fuse_fill_dir_t fill,
			off_t offset, struct fuse_file_info *fi,
			enum fuse_readdir_flags flags)
{
	int fd = openat(root_fd, below(path), O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;

	(void)offset, (void)fi, (void)flags;
	if (!reach() || !dir) {
		int err = dir ? -EIO : -errno;

		if (dir)
			closedir(dir);
		else if (fd >= 0)
			close(fd);
		return err;
	}
	while ((d = readdir(dir))) {
		struct stat st = {.st_ino = d->d_ino,
				  .st_mode = (mode_t)DTTOIF(d->d_type)};

		if (fill(buf, d->d_name, &st, 0, 0))
			break;
	}
	closedir(dir);
	return 0;
}

static int slow_getxattr(const char *path, const char *name, char *value,
			 size_t size)
{
	char buf[PATH_MAX];

	if (!reach())
		return -EIO;
	return (int)length(lgetxattr(full(path, buf), name, value, size));
}

static int slow_setxattr(const char *path, const char *name, const char *value,
			 size_t size, int flags)
{
	char buf[PATH_MAX];

	if (strcmp(name, "user.slow_fs.ms") == 0) {
		snprintf(buf, sizeof buf, "%.*s", (int)size, value);
		delay_ms = strtol(buf, NULL, 10);
		return 0;
	}
	if (!reach())
		return -EIO;
	return status(lsetxattr(full(path, buf), name, value, size, flags));
}

static int slow_listxattr(const char *path, char *list, size_t size)
{
	char buf[PATH_MAX];

	if (!reach())
		return -EIO;
	return (int)length(llistxattr(full(path, buf), list, size));
}

static int slow_removexattr(const char *path, const char *name)
{
	char buf[PATH_MAX];

	if (!reach())
		return -EIO;
	return status(lremovexattr(full(path, buf), name));
}

static const struct fuse_operations operations = {
	.init = slow_init,
	.getattr = slow_getattr,
	.readlink = slow_readlink,
	.mkdir = slow_mkdir,
	.unlink = slow_unlink,
	.rmdir = slow_rmdir,
	.symlink = slow_symlink,
	.rename = slow_rename,
	.link = slow_link,
	.chmod = slow_chmod,
	.chown = slow_chown,
	.truncate = slow_truncate,
	.open = slow_open,
	.create = slow_create,
	.read = slow_read,
	.write = slow_write,
	.statfs = slow_statfs,
	.release = slow_release,
	.fsync = slow_fsync,
	.readdir = slow_readdir,
	.utimens = slow_utimens,
	.fallocate = slow_fallocate,
	.getxattr = slow_getxattr,
	.setxattr = slow_setxattr,
	.listxattr = slow_listxattr,
	.removexattr = slow_removexattr,
};

static int serve(struct fuse *fuse, const char *mount_point)
{
	struct fuse_loop_config *cfg = fuse_loop_cfg_create();
	int err = cfg ? 0 : -ENOMEM;

	if (!err && fuse_mount(fuse, mount_point))
		err = -EIO;
	if (!err && fuse_daemonize(0))
		err = -EIO;
	if (!err) {
		fuse_loop_cfg_set_max_threads(cfg, THREADS);
		fuse_set_signal_handlers(fuse_get_session(fuse));
		err = fuse_loop_mt(fuse, cfg);
		fuse_remove_signal_handlers(fuse_get_session(fuse));
	}
	fuse_unmount(fuse);
	fuse_loop_cfg_destroy(cfg);
	return err;
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse *fuse;
	int err;

	if (argc < 4) {
		fprintf(stderr, "usage: slow_fs ROOT MOUNTPOINT MS [-o OPT]\n");
		return 2;
	}
	delay_ms = strtol(argv[3], NULL, 10);
	root_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0) {
		perror(argv[1]);
		return 1;
	}
	umask(0);
	fuse_opt_add_arg(&args, argv[0]);
	for (int k = 4; k < argc; k++)
		fuse_opt_add_arg(&args, argv[k]);
	fuse = fuse_new(&args, &operations, sizeof operations, NULL);
	err = fuse ? serve(fuse, argv[2]) : -EINVAL;
	if (fuse)
		fuse_destroy(fuse);
	fuse_opt_free_args(&args);
	return err ? 1 : 0;
}
