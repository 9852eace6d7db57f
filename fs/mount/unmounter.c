#include "unmounter.h"

#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

extern char **environ;

enum order { ORDER_POLITE = 'p', ORDER_LAZY = 'l' };

struct unmounter {
	pthread_mutex_t lock; /* one order and its answer at a time */
	int fd;		      /* messages keep their bounds */
	pid_t pid;
};

static ssize_t receive(int fd, void *buf, size_t len)
{
	ssize_t n;

	do
		n = recv(fd, buf, len, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

/*
 * Started anew, so that it has none of this one's memory. No signal reaches
 * it: it ends when this process does, not when both are told to.
 */
static int spawn(int fd, pid_t *pid)
{
	char *argv[] = {(char[]){UNMOUNTER_NAME}, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t all;
	int err;

	if (posix_spawn_file_actions_init(&files) != 0)
		return -ENOMEM;
	if (posix_spawnattr_init(&attr) != 0) {
		posix_spawn_file_actions_destroy(&files);
		return -ENOMEM;
	}
	sigfillset(&all);
	err = posix_spawnattr_setsigmask(&attr, &all);
	if (!err)
		err = posix_spawnattr_setflags(
			&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&files, fd,
						       STDIN_FILENO);
	for (int out = STDOUT_FILENO; !err && out <= STDERR_FILENO; out++)
		err = posix_spawn_file_actions_addopen(&files, out, "/dev/null",
						       O_WRONLY, 0);
	if (!err)
		err = posix_spawn(pid, "/proc/self/exe", &files, &attr, argv,
				  environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -err;
}

int unmounter_start(const char *mountpoint, struct unmounter **out)
{
	CLEANUP_FREE struct unmounter *u = calloc(1, sizeof *u);
	CLEANUP_FD int ours = -1;
	CLEANUP_FD int theirs = -1;
	int fds[2], err;

	if (!u)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	ours = fds[0];
	theirs = fds[1];
	if (send(ours, mountpoint, strlen(mountpoint), MSG_NOSIGNAL) < 0)
		return -errno;
	err = spawn(theirs, &u->pid);
	if (err)
		return err;
	pthread_mutex_init(&u->lock, NULL);
	u->fd = TAKE_FD(ours);
	*out = TAKE_PTR(u);
	return 0;
}

int unmounter_ask(struct unmounter *u, bool lazily)
{
	const char order = lazily ? ORDER_LAZY : ORDER_POLITE;
	int err = -EPIPE;

	pthread_mutex_lock(&u->lock);
	if (send(u->fd, &order, sizeof order, MSG_NOSIGNAL) < 0)
		err = -errno;
	else if (receive(u->fd, &err, sizeof err) != sizeof err)
		err = -EPIPE;
	pthread_mutex_unlock(&u->lock);
	return err;
}

void unmounter_free(struct unmounter *u)
{
	if (!u)
		return;
	close(u->fd);
	/* it ends now; so does this process, as a rule, and need not wait */
	(void)waitpid(u->pid, NULL, WNOHANG);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

int unmounter_main(void)
{
	char point[PATH_MAX] = {0}, still[PATH_MAX];
	char order;
	int err = 0;

	prctl(PR_SET_NAME, UNMOUNTER_NAME);
	/* wherever it was started, it keeps nothing busy */
	if (chdir("/") < 0 ||
	    receive(STDIN_FILENO, point, sizeof point - 1) <= 0)
		return EXIT_FAILURE;
	while (receive(STDIN_FILENO, &order, sizeof order) == sizeof order) {
		err = order == ORDER_LAZY ? mount_detach(point)
					  : mount_umount(point, still);
		if (send(STDIN_FILENO, &err, sizeof err, MSG_NOSIGNAL) < 0)
			break;
	}
	return EXIT_SUCCESS;
}
