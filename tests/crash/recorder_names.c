/* Calls that change names and attributes. */
#include "recorder_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static int open_recorded(int fd, const char *path, int flags, mode_t mode)
{
	bool was = rec_object_at(fd, path, AT_SYMLINK_NOFOLLOW) >= 0;
	int ret = __real_openat64(fd, path, flags, mode);
	int saved = errno;
	long obj = ret >= 0 ? rec_object_of_fd(ret) : -1;

	if (ret >= 0 && (flags & O_CREAT) && !was)
		rec_note_new(fd, path);
	else if (obj >= 0 && (flags & O_TRUNC))
		rec_note(OP_RESIZE, obj);
	errno = saved;
	return ret;
}

int __wrap_openat64(int fd, const char *path, int flags, ...)
{
	unsigned kinds = CAN_OPEN | CAN_IO;
	mode_t mode = 0;
	int ret;

	if (flags & O_CREAT) {
		va_list ap;

		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
		kinds |= CAN_FILL;
	}
	if (fault_fails("open", kinds, fd, path))
		return -1;
	if (!(flags & (O_CREAT | O_TRUNC)))
		return __real_openat64(fd, path, flags, mode);
	ret = rec_begin() ? open_recorded(fd, path, flags, mode)
			  : __real_openat64(fd, path, flags, mode);
	rec_done();
	return ret;
}

/* Nothing is made by it; of what there is, /proc leads to it as well. */
int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (flags & O_CREAT) {
		va_list ap;

		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	if (fault_fails("open", CAN_OPEN | CAN_IO, AT_FDCWD, path))
		return -1;
	return __real_open64(path, flags, mode);
}

int __wrap_fstatvfs64(int fd, struct statvfs64 *st)
{
	if (fault_fails("statvfs", CAN_LOOK, fd, "."))
		return -1;
	return __real_fstatvfs64(fd, st);
}

int __wrap_mkdirat(int fd, const char *path, mode_t mode)
{
	bool recorded;
	int ret;

	if (fault_fails("mkdir", CAN_FILL | CAN_IO, fd, path))
		return -1;
	recorded = rec_begin();
	ret = __real_mkdirat(fd, path, mode);
	if (ret == 0 && recorded)
		rec_note_new(fd, path);
	rec_done();
	return ret;
}

int __wrap_mknodat(int fd, const char *path, mode_t mode, dev_t dev)
{
	bool recorded;
	int ret;

	if (fault_fails("mknod", CAN_FILL | CAN_IO, fd, path))
		return -1;
	recorded = rec_begin();
	ret = __real_mknodat(fd, path, mode, dev);
	if (ret == 0 && recorded)
		rec_note_new(fd, path);
	rec_done();
	return ret;
}

int __wrap_symlinkat(const char *text, int fd, const char *path)
{
	bool recorded;
	int ret;

	if (fault_fails("symlink", CAN_FILL | CAN_IO, fd, path))
		return -1;
	recorded = rec_begin();
	ret = __real_symlinkat(text, fd, path);
	if (ret == 0 && recorded) {
		struct op *op = rec_note_new(fd, path);

		if (op) {
			op->bytes = (uint8_t *)rec_text(text);
			op->len = strlen(text);
		}
	}
	rec_done();
	return ret;
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to,
		  int flags)
{
	const char *name;
	struct stat64 st;
	bool recorded;
	int ret;

	if (fault_fails("link", CAN_FILL | CAN_IO, to_fd, to))
		return -1;
	recorded = rec_begin();
	ret = __real_linkat(from_fd, from, to_fd, to, flags);
	if (ret == 0 && recorded &&
	    __real_fstatat64(to_fd, to, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		long obj = rec_object_of(&st),
		     dir = rec_place(to_fd, to, &name);

		if (obj >= 0 && dir >= 0)
			rec_note_entry(dir, name, obj, false, &st);
	}
	rec_done();
	return ret;
}

int __wrap_unlinkat(int fd, const char *path, int flags)
{
	const char *name;
	bool recorded;
	int ret;

	if (fault_fails("unlink", CAN_IO, fd, path))
		return -1;
	recorded = rec_begin();
	ret = __real_unlinkat(fd, path, flags);
	if (ret == 0 && recorded) {
		long dir = rec_place(fd, path, &name);

		if (dir >= 0) {
			struct op *op = rec_note(OP_LEAVE, 0);

			op->dir = (unsigned)dir;
			op->name = rec_text(name);
		}
	}
	rec_done();
	return ret;
}

static int rename_recorded(int from_fd, const char *from, int to_fd,
			   const char *to, unsigned flags)
{
	bool recorded = rec_begin();
	const char *name, *to_name;
	int ret = __real_renameat2(from_fd, from, to_fd, to, flags);

	if (ret == 0 && recorded) {
		long dir = rec_place(from_fd, from, &name);
		long to_dir = rec_place(to_fd, to, &to_name);

		if (dir >= 0 && to_dir >= 0) {
			struct op *op = rec_note(
				flags & RENAME_EXCHANGE ? OP_SWAP : OP_MOVE, 0);

			op->dir = (unsigned)dir;
			op->to_dir = (unsigned)to_dir;
			op->name = rec_text(name);
			op->to_name = rec_text(to_name);
		}
	}
	rec_done();
	return ret;
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags)
{
	if (fault_fails("rename", CAN_FILL | CAN_IO, to_fd, to))
		return -1;
	return rename_recorded(from_fd, from, to_fd, to, flags);
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	if (fault_fails("rename", CAN_FILL | CAN_IO, to_fd, to))
		return -1;
	return rename_recorded(from_fd, from, to_fd, to, 0);
}

static int note_mode(long obj, int ret, mode_t mode)
{
	if (ret == 0 && obj >= 0)
		rec_note(OP_MODE, obj)->mode = mode & 07777;
	return ret;
}

int __wrap_fchmod(int fd, mode_t mode)
{
	int ret;

	if (fault_fails("fchmod", CAN_IO | CAN_FILL, fd, "."))
		return -1;
	ret = rec_begin() ? note_mode(rec_object_of_fd(fd),
				      __real_fchmod(fd, mode), mode)
			  : __real_fchmod(fd, mode);
	rec_done();
	return ret;
}

int __wrap_chmod(const char *path, mode_t mode)
{
	int ret;

	if (fault_fails("chmod", CAN_IO | CAN_FILL, AT_FDCWD, path))
		return -1;
	ret = rec_begin() ? note_mode(rec_object_at(AT_FDCWD, path, 0),
				      __real_chmod(path, mode), mode)
			  : __real_chmod(path, mode);
	rec_done();
	return ret;
}

/* Owners and times are not looked at after a crash; only to fail. */
int __wrap_fchownat(int fd, const char *path, uid_t uid, gid_t gid, int flags)
{
	if (fault_fails("fchownat", CAN_IO | CAN_FILL, fd, path))
		return -1;
	return __real_fchownat(fd, path, uid, gid, flags);
}

int __wrap_utimensat(int fd, const char *path, const struct timespec times[2],
		     int flags)
{
	if (fault_fails("utimensat", CAN_IO | CAN_FILL, fd, path))
		return -1;
	return __real_utimensat(fd, path, times, flags);
}

int __wrap_futimens(int fd, const struct timespec times[2])
{
	if (fault_fails("futimens", CAN_IO | CAN_FILL, fd, "."))
		return -1;
	return __real_futimens(fd, times);
}

static void note_xattr(const char *path, const char *name, const void *value,
		       size_t len)
{
	long obj = rec_object_at(AT_FDCWD, path, 0);
	struct op *op;

	if (obj < 0 || strncmp(name, "user.", 5) != 0)
		return;
	op = rec_note(OP_XATTR, obj);
	op->name = rec_text(name);
	if (!value)
		return;
	op->len = len;
	op->bytes = image_alloc(NULL, len);
	memcpy(op->bytes, value, len);
}

int __wrap_setxattr(const char *path, const char *name, const void *value,
		    size_t len, int flags)
{
	bool recorded;
	int ret;

	if (fault_fails("setxattr", CAN_IO | CAN_FILL, AT_FDCWD, path))
		return -1;
	recorded = rec_begin();
	ret = __real_setxattr(path, name, value, len, flags);
	if (ret == 0 && recorded)
		note_xattr(path, name, value, len);
	rec_done();
	return ret;
}

int __wrap_removexattr(const char *path, const char *name)
{
	bool recorded;
	int ret;

	if (fault_fails("removexattr", CAN_IO, AT_FDCWD, path))
		return -1;
	recorded = rec_begin();
	ret = __real_removexattr(path, name);
	if (ret == 0 && recorded)
		note_xattr(path, name, NULL, 0);
	rec_done();
	return ret;
}
