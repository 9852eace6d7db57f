#include "stage_served.h"

#include "mount.h"
#include "story.h"
#include "vault_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_MS = 10, TRIES = 500 };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	pthread_t thread;
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

/* What is answered is in the vault: what a crash may leave is known then. */
static void *serve(void *arg)
{
	struct mount_options opt;
	enum mount_fault fault;

	(void)arg;
	mount_options_init(&opt);
	opt.writeback = opt.remember = opt.confine = false;
	opt.journal = !story_unprotected;
	served.err = mount_serve(served.vault, served.point, &opt, on_ready,
				 &served.ready, &fault);
	mount_options_fini(&opt);
	say(&served.ended);
	return NULL;
}

int served_begin(struct vault *vault, const char *point)
{
	int err = vault_lock(vault, false, false);
	bool ready;

	if (err)
		return err;
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
	pthread_join(served.thread, NULL);
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
	pthread_join(served.thread, NULL);
	return served.err;
}
