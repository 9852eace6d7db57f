/* The time since some point of the past, that nobody sets: CLOCK_MONOTONIC. */
#ifndef FROND_CLOCK_H
#define FROND_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t clock_now_us(void)
{
	return clock_now_ns() / 1000;
}

static inline int64_t clock_now_ms(void)
{
	return clock_now_ns() / 1000000;
}

static inline int64_t clock_now_s(void)
{
	return clock_now_ns() / 1000000000;
}

#endif
