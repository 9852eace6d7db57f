#include "rangelock.h"

#include <stddef.h>

void rangelock_init(struct rangelock *rl)
{
	pthread_mutex_init(&rl->lock, NULL);
	pthread_cond_init(&rl->changed, NULL);
	rl->head = rl->tail = NULL;
	rl->waiters = 0;
}

void rangelock_fini(struct rangelock *rl)
{
	pthread_cond_destroy(&rl->changed);
	pthread_mutex_destroy(&rl->lock);
}

static bool conflict(const struct range *a, const struct range *b)
{
	return (a->exclusive || b->exclusive) && a->first <= b->last &&
	       b->first <= a->last;
}

/* Does somebody who came before r exclude it? */
static bool must_wait(const struct range *r)
{
	for (const struct range *q = r->prev; q; q = q->prev)
		if (conflict(q, r))
			return true;
	return false;
}

/* Put r in line. Needs the lock. */
static void enqueue(struct rangelock *rl, struct range *r, uint64_t first,
		    uint64_t last, bool exclusive)
{
	*r = (struct range){.first = first,
			    .last = last,
			    .exclusive = exclusive,
			    .prev = rl->tail};
	if (rl->tail)
		rl->tail->next = r;
	else
		rl->head = r;
	rl->tail = r;
}

static void dequeue(struct rangelock *rl, struct range *r)
{
	if (r->prev)
		r->prev->next = r->next;
	else
		rl->head = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		rl->tail = r->prev;
}

void rangelock_acquire(struct rangelock *rl, struct range *r, uint64_t first,
		       uint64_t last, bool exclusive)
{
	pthread_mutex_lock(&rl->lock);
	enqueue(rl, r, first, last, exclusive);
	while (must_wait(r)) {
		rl->waiters++;
		pthread_cond_wait(&rl->changed, &rl->lock);
		rl->waiters--;
	}
	pthread_mutex_unlock(&rl->lock);
}

bool rangelock_try(struct rangelock *rl, struct range *r, uint64_t first,
		   uint64_t last, bool exclusive)
{
	bool got;

	pthread_mutex_lock(&rl->lock);
	enqueue(rl, r, first, last, exclusive);
	got = !must_wait(r);
	if (!got)
		dequeue(rl, r);
	pthread_mutex_unlock(&rl->lock);
	return got;
}

void rangelock_release(struct rangelock *rl, struct range *r)
{
	pthread_mutex_lock(&rl->lock);
	dequeue(rl, r);
	if (rl->waiters)
		pthread_cond_broadcast(&rl->changed);
	pthread_mutex_unlock(&rl->lock);
}
