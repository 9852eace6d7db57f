/* The calls that the recorder stands in for; CMakeLists.txt wraps each. */
#ifndef FROND_CRASH_RECORDER_CALLS_H
#define FROND_CRASH_RECORDER_CALLS_H

#include <dirent.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#define CALL(type, name, ...)                                                  \
	type __real_##name(__VA_ARGS__);                                       \
	type __wrap_##name(__VA_ARGS__)

CALL(int, fstat64, int fd, struct stat64 *st);
CALL(int, fstatat64, int fd, const char *path, struct stat64 *st, int flags);
CALL(int, statx, int fd, const char *path, int flags, unsigned mask,
     struct statx *stx);
CALL(struct dirent64 *, readdir64, DIR *dir);
CALL(ssize_t, pread64, int fd, void *buf, size_t len, off_t offset);
CALL(ssize_t, pwrite64, int fd, const void *buf, size_t len, off_t offset);
CALL(ssize_t, pwritev64, int fd, const struct iovec *iov, int count,
     off_t offset);
CALL(ssize_t, write, int fd, const void *buf, size_t len);
CALL(int, ftruncate64, int fd, off_t len);
CALL(int, fallocate64, int fd, int mode, off_t offset, off_t len);
CALL(void *, mmap64, void *at, size_t len, int prot, int flags, int fd,
     off_t offset);
CALL(int, munmap, void *at, size_t len);
CALL(int, fsync, int fd);
CALL(int, fdatasync, int fd);
CALL(int, syncfs, int fd);
CALL(int, openat64, int fd, const char *path, int flags, ...);
CALL(int, open64, const char *path, int flags, ...);
CALL(int, fstatvfs64, int fd, struct statvfs64 *st);
CALL(int, mkdirat, int fd, const char *path, mode_t mode);
CALL(int, mknodat, int fd, const char *path, mode_t mode, dev_t dev);
CALL(int, symlinkat, const char *text, int fd, const char *path);
CALL(int, linkat, int from_fd, const char *from, int to_fd, const char *to,
     int flags);
CALL(int, unlinkat, int fd, const char *path, int flags);
CALL(int, renameat, int from_fd, const char *from, int to_fd, const char *to);
CALL(int, renameat2, int from_fd, const char *from, int to_fd, const char *to,
     unsigned flags);
CALL(int, fchmod, int fd, mode_t mode);
CALL(int, chmod, const char *path, mode_t mode);
CALL(int, fchownat, int fd, const char *path, uid_t uid, gid_t gid, int flags);
CALL(int, utimensat, int fd, const char *path, const struct timespec times[2],
     int flags);
CALL(int, futimens, int fd, const struct timespec times[2]);
CALL(int, setxattr, const char *path, const char *name, const void *value,
     size_t len, int flags);
CALL(int, removexattr, const char *path, const char *name);
CALL(time_t, time, time_t *t);
CALL(void *, malloc, size_t size);
CALL(void *, calloc, size_t count, size_t size);
CALL(void *, realloc, void *old, size_t size);
CALL(void *, reallocarray, void *old, size_t count, size_t size);
CALL(char *, strdup, const char *text);
CALL(char *, strndup, const char *text, size_t len);
CALL(void *, aligned_alloc, size_t alignment, size_t size);
CALL(int, posix_memalign, void **out, size_t alignment, size_t size);
CALL(void *, secret_alloc, size_t len_bytes);
CALL(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr,
     void *(*run)(void *), void *arg);

#undef CALL

#endif
