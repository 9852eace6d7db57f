/*
 * One open in ten finds no descriptor left, for as long as the file $SCARCITY
 * is there: preloaded into the daemon by cases/model_random.py.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ONE_IN = 10 };

/* What is built with _FORTIFY_SOURCE calls it. */
int __openat64_2(int dirfd, const char *path, int flags);

/* In no order that repeats with what the daemon does. */
static bool is_scarce(void)
{
	static atomic_uint_fast64_t calls;
	const char *file = getenv("SCARCITY");
	uint64_t n;

	if (!file || access(file, F_OK) != 0)
		return false;
	n = ++calls * UINT64_C(0x9e3779b97f4a7c15);
	n = (n ^ n >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	if ((n >> 32) % ONE_IN != 0)
		return false;
	errno = EMFILE;
	return true;
}

static int really_open(int dirfd, const char *path, int flags, mode_t mode)
{
	int (*real)(int, const char *, int, ...);
	void *symbol = dlsym(RTLD_NEXT, "openat64");

	memcpy(&real, &symbol, sizeof real);
	return real(dirfd, path, flags, mode);
}

static mode_t mode_of(int flags, va_list args)
{
	return flags & O_CREAT ? va_arg(args, mode_t) : 0;
}

int openat64(int dirfd, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return is_scarce() ? -1 : really_open(dirfd, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return is_scarce() ? -1 : really_open(AT_FDCWD, path, flags, mode);
}

int __openat64_2(int dirfd, const char *path, int flags)
{
	return is_scarce() ? -1 : really_open(dirfd, path, flags, 0);
}

DIR *opendir(const char *path)
{
	DIR *(*real)(const char *);
	void *symbol = dlsym(RTLD_NEXT, "opendir");

	memcpy(&real, &symbol, sizeof real);
	return is_scarce() ? NULL : real(path);
}
