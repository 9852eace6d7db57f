/*
 * The chunks of an open file that are holes, as far as this process knows:
 * it knows all of them when it saw each come and go, else those it has looked
 * at. Pure bookkeeping; the caller locks.
 */
#ifndef FROND_GAPS_H
#define FROND_GAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GAPS_MAX = 4096 }; /* more than that, and the list is begun anew */

struct gaps {
	bool unknown; /* there may be others than those listed */
	size_t count, room;
	struct gap {
		uint64_t first, last; /* chunk indexes, inclusive */
	} * list;		      /* sorted, disjoint; NULL until needed */
};

void gaps_fini(struct gaps *g);
/* Forget all: there are holes somewhere. */
void gaps_give_up(struct gaps *g);
/* Chunks first..last became holes (or were already). */
void gaps_add(struct gaps *g, uint64_t first, uint64_t last);
/* Chunks first..last hold data now. */
void gaps_fill(struct gaps *g, uint64_t first, uint64_t last);

/* May one of the chunks first..last be one? */
bool gaps_meet(const struct gaps *g, uint64_t first, uint64_t last);

/* Are all of the chunks first..last listed? */
bool gaps_cover(const struct gaps *g, uint64_t first, uint64_t last);
/* The first chunk from this one on that is not listed. */
uint64_t gaps_reach(const struct gaps *g, uint64_t first);
/* Where the listed ones begin that go up to this one; itself: it is none. */
uint64_t gaps_begin(const struct gaps *g, uint64_t chunk);

/* No holes for certain? */
static inline bool gaps_none(const struct gaps *g)
{
	return !g->unknown && g->count == 0;
}

#endif
