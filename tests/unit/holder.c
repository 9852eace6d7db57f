/*
 * A journal that nothing can be appended to for as long as the file $HOLDER is
 * there: preloaded into the daemon by cases/requests.py.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off_t offset);

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off_t offset)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	const char *held = getenv("HOLDER");
	ssize_t (*real)(int, const struct iovec *, int, off_t);
	void *symbol = dlsym(RTLD_NEXT, "pwritev64");
	struct stat st;

	memcpy(&real, &symbol, sizeof real);
	while (held && stat(held, &st) == 0)
		nanosleep(&pause, NULL);
	return real(fd, iov, count, offset);
}
