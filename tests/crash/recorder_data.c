/* Calls that change what a file holds. */
#include "recorder_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	if (fault_fails("pread", CAN_IO, fd, "."))
		return -1;
	return __real_pread64(fd, buf, len, offset);
}

static ssize_t pwrite_recorded(int fd, const void *buf, size_t len,
			       off_t offset)
{
	ssize_t n;
	long obj;

	if (!rec_begin()) {
		rec_done();
		return __real_pwrite64(fd, buf, len, offset);
	}
	n = __real_pwrite64(fd, buf, len, offset);
	obj = n > 0 ? rec_object_of_fd(fd) : -1;
	if (obj >= 0)
		rec_note_bytes(obj, (size_t)offset, buf, (size_t)n);
	rec_done();
	return n;
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	ssize_t n;
	long obj;

	if (fd <= 2)
		return __real_write(fd, buf, len);
	if (fault_fails("write", CAN_FILL | CAN_IO | CAN_SHORT, fd, ".")) {
		if (!fault_is_short() || len < 2)
			return -1;
		len /= 2;
	}
	if (!rec_begin()) {
		rec_done();
		return __real_write(fd, buf, len);
	}
	n = __real_write(fd, buf, len);
	obj = n > 0 ? rec_object_of_fd(fd) : -1;
	if (obj >= 0)
		rec_note_bytes(obj, (size_t)(lseek(fd, 0, SEEK_CUR) - n), buf,
			       (size_t)n);
	rec_done();
	return n;
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
	size_t part = 0;
	ssize_t n;

	hold_point();
	if (fault_fails("pwrite", CAN_FILL | CAN_IO | CAN_SHORT, fd, ".")) {
		if (!fault_is_short() || len < 2)
			return -1;
		len /= 2;
	}
	if (hold_is_next() && len > 1) {
		part = len / 2;
		n = pwrite_recorded(fd, buf, part, offset);
		if (n < (ssize_t)part)
			return n;
	}
	hold_point();
	n = pwrite_recorded(fd, (const uint8_t *)buf + part, len - part,
			    offset + (off_t)part);
	hold_point();
	return n < 0 && part == 0 ? n : (n < 0 ? 0 : n) + (ssize_t)part;
}

/* As many single writes: a short one ends them, as the kernel may. */
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count,
			 off_t offset)
{
	ssize_t sum = 0;

	for (int i = 0; i < count; i++) {
		ssize_t n = __wrap_pwrite64(fd, iov[i].iov_base, iov[i].iov_len,
					    offset + sum);

		if (n < 0)
			return sum ? sum : n;
		sum += n;
		if ((size_t)n < iov[i].iov_len)
			break;
	}
	return sum;
}

int __wrap_ftruncate64(int fd, off_t len)
{
	int ret;
	long obj;

	hold_point();
	if (fault_fails("ftruncate", CAN_FILL | CAN_IO, fd, "."))
		return -1;
	hold_point();
	if (!rec_begin()) {
		rec_done();
		return __real_ftruncate64(fd, len);
	}
	ret = __real_ftruncate64(fd, len);
	obj = ret == 0 ? rec_object_of_fd(fd) : -1;
	if (obj >= 0)
		rec_note(OP_RESIZE, obj)->len = (size_t)len;
	rec_done();
	hold_point();
	return ret;
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
	struct stat64 st;
	int ret;
	long obj;

	hold_point();
	if (fault_fails("fallocate", CAN_FILL | CAN_IO, fd, "."))
		return -1;
	hold_point();
	if (!rec_begin()) {
		rec_done();
		return __real_fallocate64(fd, mode, offset, len);
	}
	ret = __real_fallocate64(fd, mode, offset, len);
	obj = ret == 0 ? rec_object_of_fd(fd) : -1;
	if (obj >= 0 &&
	    (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))) {
		struct op *op = rec_note(OP_ZERO, obj);

		op->offset = (size_t)offset;
		op->len = (size_t)len;
	} else if (obj >= 0 && !(mode & FALLOC_FL_KEEP_SIZE) &&
		   __real_fstat64(fd, &st) == 0) {
		rec_note(OP_RESIZE, obj)->len = (size_t)st.st_size;
	}
	rec_done();
	hold_point();
	return ret;
}

void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd,
		    off_t offset)
{
	bool writes = (flags & MAP_SHARED) && (prot & PROT_WRITE) && fd >= 0;
	void *mapped;
	long obj;

	if (!writes)
		return __real_mmap64(at, len, prot, flags, fd, offset);
	if (fault_fails("mmap", CAN_IO, fd, "."))
		return MAP_FAILED;
	rec_begin();
	mapped = __real_mmap64(at, len, prot, flags, fd, offset);
	obj = mapped == MAP_FAILED ? -1 : rec_object_of_fd(fd);
	if (obj >= 0)
		rec_note_map(obj, mapped, len, (size_t)offset);
	rec_done();
	return mapped;
}

int __wrap_munmap(void *at, size_t len)
{
	int ret;

	rec_begin(); /* looks at it once more */
	rec_note_unmap(at);
	ret = __real_munmap(at, len);
	rec_done();
	return ret;
}

/* The order is what matters; there is no disk to wait for. */
static int sync_call(const void *place, const char *call, int fd,
		     enum op_kind kind)
{
	size_t began;
	bool fails;
	int saved;

	hold_point();
	began = rec_position();
	fails = fault_fails_at(place, call, CAN_IO | CAN_FILL, fd, ".");
	saved = errno;
	if (fails)
		kind = kind == OP_SYNC ? OP_UNSYNC : OP_KINDS;
	hold_point();
	if (rec_begin() && kind != OP_KINDS) {
		long obj = rec_object_of_fd(fd);

		if (obj >= 0)
			rec_note(kind, obj)->len = began;
	}
	rec_done();
	hold_point();
	errno = saved;
	return fails ? -1 : 0;
}

int __wrap_fsync(int fd)
{
	return sync_call(__builtin_return_address(0), "fsync", fd, OP_SYNC);
}

int __wrap_fdatasync(int fd)
{
	return sync_call(__builtin_return_address(0), "fdatasync", fd, OP_SYNC);
}

int __wrap_syncfs(int fd)
{
	return sync_call(__builtin_return_address(0), "syncfs", fd,
			 OP_SYNC_ALL);
}
