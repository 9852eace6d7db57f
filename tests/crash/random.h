/* SplitMix64: reproducible. */
#ifndef FROND_CRASH_RANDOM_H
#define FROND_CRASH_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Below limit, which is not 0. */
static inline size_t random_below(uint64_t *state, size_t limit)
{
	return (size_t)((random_next(state) >> 16) % limit);
}

#endif
