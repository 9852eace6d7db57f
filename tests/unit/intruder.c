/*
 * Somebody who runs code of theirs inside the daemon, preloaded there by
 * cases/privileges.py. Waits in a thread for orders: a file "order" in the
 * directory $INTRUDER names what to try, "answer" will hold the errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char dir[PATH_MAX];

static int try(const char *what)
{
	char path[] = "/bin/true", *argv[] = {path, NULL};

	errno = 0;
	if (strcmp(what, "socket") == 0)
		(void)!socket(AF_INET, SOCK_STREAM, 0);
	else if (strcmp(what, "unix") == 0)
		(void)!socket(AF_UNIX, SOCK_DGRAM, 0);
	else if (strcmp(what, "dumpable") == 0)
		(void)!prctl(PR_SET_DUMPABLE, 1);
	else if (strcmp(what, "ptrace") == 0)
		(void)!ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
	else if (strcmp(what, "memory") == 0)
		(void)!open("/dev/mem", O_RDONLY);
	else if (strcmp(what, "exec") == 0)
		execv(path, argv);
	return errno;
}

static void path_of(const char *name, char *out, size_t size)
{
	if (snprintf(out, size, "%s/%s", dir, name) >= (int)size)
		_exit(1);
}

/* The order, if there is a new one. */
static int take_order(char *order, size_t size)
{
	char path[PATH_MAX];
	ssize_t n;
	int fd;

	path_of("order", path, sizeof path);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	n = read(fd, order, size - 1);
	close(fd);
	order[n > 0 ? n : 0] = '\0';
	return n > 0 && unlink(path) == 0;
}

static void answer(int err)
{
	char path[PATH_MAX], text[16];
	int fd, len = snprintf(text, sizeof text, "%d\n", err);

	path_of("answer", path, sizeof path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		_exit(1);
	close(fd);
}

static void *lurk(void *arg)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	char order[32];

	for (;;) {
		if (take_order(order, sizeof order))
			answer(try(order));
		nanosleep(&pause, NULL);
	}
	return arg;
}

__attribute__((constructor)) static void move_in(void)
{
	const char *where = getenv("INTRUDER");
	pthread_t thread;

	if (!where || strlen(where) >= sizeof dir)
		return;
	strcpy(dir, where);
	/* what this one starts is left alone */
	unsetenv("INTRUDER");
	if (pthread_create(&thread, NULL, lurk, NULL) == 0)
		pthread_detach(thread);
}
