/*
 * Linked in place of the calls that change files: the n-th of them is where
 * the process dies (half of a write done), or where there is no room, or
 * where the device fails for good. Wants LINKER:--wrap for each.
 */
#ifndef FROND_CRASH_FIXTURE_H
#define FROND_CRASH_FIXTURE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum crash_mode {
	CRASH_NOT,
	CRASH_DIE,
	CRASH_NO_ROOM,	    /* the n-th call fails, then there is room */
	CRASH_NO_MORE_ROOM, /* it and all after it */
	CRASH_IO,	    /* the n-th call fails, for another reason */
};
enum { CRASH_STATUS = 42 };

static _Atomic enum crash_mode crash_mode;
static atomic_int crash_left;
static int crash_errno;
/* Nothing is written in place: what has no room leaves what was there, and a
 * cut has made zeros of the rest of its page. */
static bool crash_copies;
/* What a failing disk does not let go of. */
static const char *crash_undying;
/* How often this file was made durable, and what came in which order: its
 * header written, chunks written, it made durable. */
static ino_t crash_watched;
static int crash_fsyncs;
static char crash_course[64];

ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_ftruncate64(int fd, off_t len);
int __wrap_ftruncate64(int fd, off_t len);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __real_unlinkat(int dirfd, const char *name, int flags);
int __wrap_unlinkat(int dirfd, const char *name, int flags);

/* Is this the call? half_len: of a write, what is done of it before. */
static inline bool crash_now(void)
{
	if (crash_mode == CRASH_NOT)
		return false;
	if (atomic_fetch_sub(&crash_left, 1) > 0)
		return false;
	crash_errno = crash_mode == CRASH_IO ? EIO : ENOSPC;
	if (crash_mode == CRASH_NO_ROOM || crash_mode == CRASH_IO)
		crash_mode = CRASH_NOT;
	return true;
}

static inline void crash_die(void)
{
	if (crash_mode == CRASH_DIE)
		_exit(CRASH_STATUS);
	errno = crash_errno;
}

static inline bool crash_watches(int fd)
{
	struct stat st;

	return crash_watched && fstat(fd, &st) == 0 &&
	       st.st_ino == crash_watched;
}

/* The same in a row once. */
static inline void crash_note(char what)
{
	size_t len = strlen(crash_course);

	if ((len == 0 || crash_course[len - 1] != what) &&
	    len + 1 < sizeof crash_course)
		crash_course[len] = what;
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
	if (crash_watches(fd))
		crash_note(offset == 0 ? 'h' : 'c');
	if (!crash_now())
		return __real_pwrite64(fd, buf, len, offset);
	if (!crash_copies)
		(void)!__real_pwrite64(fd, buf, len / 2, offset);
	crash_die();
	return -1;
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	if (fd <= 2 || !crash_now())
		return __real_write(fd, buf, len);
	(void)!__real_write(fd, buf, len / 2);
	crash_die();
	return -1;
}

int __wrap_fsync(int fd)
{
	bool watched = crash_watches(fd);

	crash_fsyncs += watched;
	if (!crash_now()) {
		if (watched)
			crash_note('s');
		return __real_fsync(fd);
	}
	crash_die();
	return -1;
}

static inline void crash_zero_page(int fd, off_t len)
{
	static const char zeros[4096];
	off_t rest = (off_t)sizeof zeros - len % (off_t)sizeof zeros;
	struct stat st;

	if (fstat(fd, &st) == 0 && st.st_size - len < rest)
		rest = st.st_size - len;
	if (rest > 0)
		(void)!__real_pwrite64(fd, zeros, (size_t)rest, len);
}

int __wrap_ftruncate64(int fd, off_t len)
{
	if (!crash_now())
		return __real_ftruncate64(fd, len);
	if (crash_copies)
		crash_zero_page(fd, len);
	crash_die();
	return -1;
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	if (!crash_now())
		return __real_renameat(from_fd, from, to_fd, to);
	crash_die();
	return -1;
}

int __wrap_unlinkat(int dirfd, const char *name, int flags)
{
	if (crash_undying && strcmp(name, crash_undying) == 0) {
		errno = EIO;
		return -1;
	}
	/* Removing always has room. */
	if (crash_mode != CRASH_DIE || !crash_now())
		return __real_unlinkat(dirfd, name, flags);
	crash_die();
	return -1;
}

/*
 * Run work(arg) in a child that dies at call n. True when it got that far,
 * false when it ended before; *status: what it returned then.
 */
static inline bool crash_child(int n, int (*work)(void *arg), void *arg,
			       int *result)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		crash_left = n;
		crash_mode = CRASH_DIE;
		_exit(work(arg) ? 1 : 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		abort();
	*result = WEXITSTATUS(status);
	return *result == CRASH_STATUS;
}

#endif
