/* Threads that meet on purpose. */
#include "recorder_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* How long one waits for the other: longer, and it waits for what is held. */
enum { MOMENT_MS = 60 };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	_Atomic(enum hold_who) who;
	size_t left;	/* points until then */
	bool met, goes; /* it waits, or will not; it may go on */
} hold = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

static _Thread_local enum hold_who self;

void hold_thread_is(enum hold_who who)
{
	self = who;
}

void hold_arm(enum hold_who who, size_t n)
{
	pthread_mutex_lock(&hold.lock);
	hold.left = n;
	hold.met = hold.goes = false;
	hold.who = who;
	pthread_mutex_unlock(&hold.lock);
}

/* Needs the lock. */
static void wait_for(const bool *what)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += MOMENT_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	while (!*what && pthread_cond_timedwait(&hold.moved, &hold.lock,
						&until) != ETIMEDOUT)
		;
}

static void say(bool *what)
{
	pthread_mutex_lock(&hold.lock);
	*what = true;
	pthread_cond_broadcast(&hold.moved);
	pthread_mutex_unlock(&hold.lock);
}

void hold_await(void)
{
	pthread_mutex_lock(&hold.lock);
	wait_for(&hold.met);
	pthread_mutex_unlock(&hold.lock);
}

void hold_not_met(void)
{
	say(&hold.met);
}

void hold_let_go(void)
{
	say(&hold.goes);
}

bool hold_is_next(void)
{
	bool next;

	if (self == HOLD_NOBODY || hold.who != self)
		return false;
	pthread_mutex_lock(&hold.lock);
	next = hold.who == self && hold.left == 0;
	pthread_mutex_unlock(&hold.lock);
	return next;
}

void hold_point(void)
{
	int saved = errno;

	if (self == HOLD_NOBODY || hold.who != self)
		return;
	pthread_mutex_lock(&hold.lock);
	if (hold.who == self && hold.left-- == 0) {
		hold.met = true;
		pthread_cond_broadcast(&hold.moved);
		wait_for(&hold.goes);
		hold.who = HOLD_NOBODY;
	}
	pthread_mutex_unlock(&hold.lock);
	errno = saved;
}
