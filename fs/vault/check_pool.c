/* The threads of a check, and what they still have to do. */
#include "check_internal.h"

#include <errno.h>
#include <time.h>

enum { TELL_EVERY_MS = 200 };

int check_push(struct check *c, void (*run)(struct check *c, void *arg),
	       void *arg)
{
	struct check_task *t = malloc(sizeof *t);

	if (!t)
		return -ENOMEM;
	t->run = run;
	t->arg = arg;
	pthread_mutex_lock(&c->lock);
	/* Last in, first out: deep before wide keeps few directories open. */
	t->next = c->tasks;
	c->tasks = t;
	pthread_cond_signal(&c->work);
	pthread_mutex_unlock(&c->lock);
	return 0;
}

void check_fail(struct check *c, int err)
{
	int none = 0;

	atomic_compare_exchange_strong(&c->err, &none, err);
}

/* The next task; NULL: there will be none. Holds the lock. */
static struct check_task *next_task(struct check *c)
{
	struct check_task *t;

	while (!c->tasks && c->running > 0)
		pthread_cond_wait(&c->work, &c->lock);
	t = c->tasks;
	if (t) {
		c->tasks = t->next;
		c->running++;
	}
	return t;
}

static void *work(void *arg)
{
	struct check *c = arg;
	struct check_task *t;

	pthread_mutex_lock(&c->lock);
	while ((t = next_task(c))) {
		pthread_mutex_unlock(&c->lock);
		t->run(c, t->arg);
		free(t);
		pthread_mutex_lock(&c->lock);
		c->running--;
	}
	c->ended = true;
	pthread_cond_broadcast(&c->work);
	pthread_cond_signal(&c->idle);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void tell(struct check *c)
{
	struct check_progress p = {
		.bytes = c->bytes, .files = c->files, .counted = c->counted};

	p.bytes_found = c->bytes_found;
	c->opt->progress(c->opt->arg, &p);
}

static void wait_and_tell(struct check *c)
{
	struct timespec until;

	pthread_mutex_lock(&c->lock);
	while (!c->ended) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += TELL_EVERY_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&c->idle, &c->lock, &until);
		if (!c->opt->progress)
			continue;
		pthread_mutex_unlock(&c->lock);
		tell(c);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
}

int check_run_all(struct check *c)
{
	pthread_t threads[CHECK_JOBS_MAX];
	unsigned n = 0;

	c->ended = false;
	while (n < c->jobs && pthread_create(&threads[n], NULL, work, c) == 0)
		n++;
	if (n > 0)
		wait_and_tell(c);
	else
		work(c);
	while (n > 0)
		pthread_join(threads[--n], NULL);
	if (c->err)
		return c->err;
	return check_stopped(c) ? -EINTR : 0;
}
