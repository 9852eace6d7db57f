/*
 * A lock on ranges of chunks of one file: readers share, writers exclude,
 * and disjoint ranges do not meet. Granted in order of arrival among those
 * that conflict, so nobody starves.
 */
#ifndef FROND_RANGELOCK_H
#define FROND_RANGELOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* One holder or waiter; lives on its thread's stack. */
struct range {
	uint64_t first, last; /* inclusive */
	bool exclusive;
	struct range *prev, *next; /* the rangelock's lock */
};

struct rangelock {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct range *head, *tail; /* lock; in order of arrival */
	unsigned waiters;	   /* lock */
};

void rangelock_init(struct rangelock *rl);
void rangelock_fini(struct rangelock *rl);

/* Fills *r and waits until no conflicting range came earlier. */
void rangelock_acquire(struct rangelock *rl, struct range *r, uint64_t first,
		       uint64_t last, bool exclusive);
/* The same if it need not wait; else false. */
bool rangelock_try(struct rangelock *rl, struct range *r, uint64_t first,
		   uint64_t last, bool exclusive);
void rangelock_release(struct rangelock *rl, struct range *r);

#endif
