#include "heap.h"

#include <malloc.h>

enum { MAPPED_MIN = 128 << 10, ARENAS_MAX = 4 };

void heap_bound(void)
{
	/*
	 * Unless it is told, glibc maps no more blocks as large as the largest
	 * one that was freed; each thread's arena keeps twice that for later,
	 * and there are eight for each processor.
	 */
	mallopt(M_MMAP_THRESHOLD, MAPPED_MIN);
	mallopt(M_ARENA_MAX, ARENAS_MAX);
}
