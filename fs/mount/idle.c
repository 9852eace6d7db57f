#include "idle.h"

#include "clock.h"
#include "log.h"
#include "unmounter.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

enum { RETRY_S = 30 }; /* after it was found busy */

struct idle {
	struct fs *fs;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t stop_changed;
	bool stop; /* lock */
};

/* Sleep until then; false: told to stop. */
static bool sleep_until(struct idle *idle, int64_t when_s)
{
	struct timespec t = {.tv_sec = (time_t)when_s};
	bool stop;

	pthread_mutex_lock(&idle->lock);
	while (!idle->stop && clock_now_s() < when_s)
		pthread_cond_timedwait(&idle->stop_changed, &idle->lock, &t);
	stop = idle->stop;
	pthread_mutex_unlock(&idle->lock);
	return !stop;
}

/*
 * Files that are open, and directories that are someone's working directory,
 * make the kernel refuse; it does not tell when they are closed.
 */
static void *watch(void *arg)
{
	struct idle *idle = arg;
	struct fs *fs = idle->fs;
	int64_t limit_s = (int64_t)fs->opt->idle_min * 60;
	int64_t wake_s = fs->last_use_s + limit_s;

	while (sleep_until(idle, wake_s)) {
		int err;

		wake_s = fs->last_use_s + limit_s;
		if (wake_s > clock_now_s())
			continue;
		err = unmounter_ask(fs->unmounter, false);
		if (!err)
			log_notice("%s: unmounted after %u idle minute%s",
				   fs->mountpoint, fs->opt->idle_min,
				   fs->opt->idle_min == 1 ? "" : "s");
		else if (err != -EBUSY)
			log_warning("%s: cannot unmount when idle: %s",
				    fs->mountpoint, strerror(-err));
		if (err != -EBUSY)
			break;
		wake_s = clock_now_s() + RETRY_S;
	}
	return NULL;
}

static void idle_free(struct idle *idle)
{
	pthread_cond_destroy(&idle->stop_changed);
	pthread_mutex_destroy(&idle->lock);
	free(idle);
}

int idle_start(struct fs *fs, struct idle **out)
{
	struct idle *idle = calloc(1, sizeof *idle);
	pthread_condattr_t attr;
	int err;

	if (!idle)
		return -ENOMEM;
	idle->fs = fs;
	fs->last_use_s = clock_now_s();
	pthread_mutex_init(&idle->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&idle->stop_changed, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&idle->thread, NULL, watch, idle);
	if (err) {
		idle_free(idle);
		return -err;
	}
	*out = idle;
	return 0;
}

void idle_stop(struct idle *idle)
{
	if (!idle)
		return;
	pthread_mutex_lock(&idle->lock);
	idle->stop = true;
	pthread_cond_signal(&idle->stop_changed);
	pthread_mutex_unlock(&idle->lock);
	pthread_join(idle->thread, NULL);
	idle_free(idle);
}
