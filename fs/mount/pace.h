/*
 * How far away the backing directory is: how long a thread sleeps there. What
 * takes long only because others have the processors tells nothing.
 */
#ifndef FROND_PACE_H
#define FROND_PACE_H

#include <stdint.h>

struct pace {
	int64_t begin_us;
	long sleeps;
};

void pace_begin(struct pace *p);
/* The time since then, on the same thread; 0 if it has not slept meanwhile. */
int64_t pace_end(const struct pace *p);

#endif
