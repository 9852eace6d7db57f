#include "stage_served.h"

#include "memory.h"
#include "mount.h"
#include "story.h"
#include "vault_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_MS = 10, TRIES = 500 };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	pthread_t thread;
	pid_t guard;
	struct vault *vault;
	const char *point;
	bool ready, ended;
	int err;
} served = {.lock = PTHREAD_MUTEX_INITIALIZER,
	    .moved = PTHREAD_COND_INITIALIZER};

bool served_possible(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0 && geteuid() == 0;
}

static void pause_a_little(void)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};

	nanosleep(&pause, NULL);
}

static void say(bool *what)
{
	pthread_mutex_lock(&served.lock);
	*what = true;
	pthread_cond_broadcast(&served.moved);
	pthread_mutex_unlock(&served.lock);
}

static void on_ready(void *arg)
{
	say(arg);
}

/*
 * A process that dies while one of its threads waits for the answer of another
 * is never over. The one that is made here outlives the thread that makes it,
 * and ends the mount by force then.
 */
static pid_t guard(const char *point)
{
	pid_t pid = fork();
	sigset_t set;
	int sig;

	if (pid != 0)
		return pid;
	(void)!close_range(0, ~0U, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	(void)!sigwait(&set, &sig);
	umount2(point, MNT_FORCE);
	umount2(point, MNT_DETACH);
	_exit(0);
}

/* What is answered is in the vault: what a crash may leave is known then. */
static void *serve(void *arg)
{
	struct mount_options opt;
	enum mount_fault fault;

	(void)arg;
	served.guard = guard(served.point);
	/* while its memory is written down, no thread ends */
	prctl(PR_SET_DUMPABLE, 0);
	mount_options_init(&opt);
	opt.writeback = opt.remember = opt.confine = false;
	opt.journal = !story_unprotected;
	served.err = mount_serve(served.vault, served.point, &opt, on_ready,
				 &served.ready, &fault);
	mount_options_fini(&opt);
	say(&served.ended);
	return NULL;
}

static void join(void)
{
	pthread_join(served.thread, NULL);
	prctl(PR_SET_DUMPABLE, 1);
	if (served.guard > 0) {
		kill(served.guard, SIGUSR1);
		waitpid(served.guard, NULL, 0);
	}
}

int served_begin(struct vault *vault, const char *point)
{
	int err = vault_lock(vault, false, false);
	bool ready;

	if (err)
		return err;
	(void)!memory_open(vault, false);
	served.vault = vault;
	served.point = point;
	served.ready = served.ended = false;
	if (pthread_create(&served.thread, NULL, serve, NULL) != 0)
		return -EAGAIN;
	pthread_mutex_lock(&served.lock);
	while (!served.ready && !served.ended)
		pthread_cond_wait(&served.moved, &served.lock);
	ready = served.ready;
	pthread_mutex_unlock(&served.lock);
	if (ready)
		return 0;
	join();
	return served.err ? served.err : -EIO;
}

void served_settle(const char *path)
{
	(void)!vault_wait_unlocked(path, TRIES * PAUSE_MS);
}

int served_end(void)
{
	int tries = TRIES;

	while (umount2(served.point, 0) < 0 && errno == EBUSY && tries-- > 0)
		pause_a_little();
	if (tries <= 0)
		return -EBUSY;
	join();
	memory_close(served.vault);
	return served.err;
}
