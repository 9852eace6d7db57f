#include "gaps.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 16 };

void gaps_fini(struct gaps *g)
{
	free(g->list);
	*g = (struct gaps){0};
}

void gaps_give_up(struct gaps *g)
{
	gaps_fini(g);
	g->unknown = true;
}

/* The first gap that does not end in front of this chunk. */
static size_t find(const struct gaps *g, uint64_t chunk)
{
	size_t from = 0, to = g->count;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (g->list[middle].last < chunk)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static bool make_room(struct gaps *g)
{
	size_t room = g->room ? 2 * g->room : ROOM_MIN;
	struct gap *list;

	if (g->count < g->room)
		return true;
	list = g->count < GAPS_MAX
		       ? reallocarray(g->list, room, sizeof *g->list)
		       : NULL;
	if (!list) {
		gaps_give_up(g);
		return false;
	}
	g->list = list;
	g->room = room;
	return true;
}

/* Put a gap in at position at; gives up when the list is full. */
static void insert(struct gaps *g, size_t at, uint64_t first, uint64_t last)
{
	if (!make_room(g))
		return;
	memmove(g->list + at + 1, g->list + at,
		(g->count - at) * sizeof *g->list);
	g->list[at] = (struct gap){first, last};
	g->count++;
}

static void drop(struct gaps *g, size_t at)
{
	g->count--;
	memmove(g->list + at, g->list + at + 1,
		(g->count - at) * sizeof *g->list);
}

void gaps_fill(struct gaps *g, uint64_t first, uint64_t last)
{
	for (size_t i = find(g, first);
	     i < g->count && g->list[i].first <= last;) {
		struct gap *gap = &g->list[i];
		uint64_t gap_last = gap->last;

		if (gap->first >= first && gap_last <= last) {
			drop(g, i);
		} else if (gap->first >= first) {
			gap->first = last + 1;
			return;
		} else {
			gap->last = first - 1;
			i++;
			if (gap_last > last) {
				insert(g, i, last + 1, gap_last);
				return;
			}
		}
	}
}

void gaps_add(struct gaps *g, uint64_t first, uint64_t last)
{
	gaps_fill(g, first, last);
	insert(g, find(g, first), first, last);
}

bool gaps_meet(const struct gaps *g, uint64_t first, uint64_t last)
{
	size_t i = find(g, first);

	return g->unknown || (i < g->count && g->list[i].first <= last);
}

bool gaps_cover(const struct gaps *g, uint64_t first, uint64_t last)
{
	return gaps_reach(g, first) > last;
}

uint64_t gaps_reach(const struct gaps *g, uint64_t first)
{
	for (size_t i = find(g, first);
	     i < g->count && g->list[i].first <= first; i++)
		first = g->list[i].last + 1;
	return first;
}

uint64_t gaps_begin(const struct gaps *g, uint64_t chunk)
{
	for (size_t i = find(g, chunk); i < g->count; i--) {
		if (g->list[i].first > chunk || g->list[i].last + 1 < chunk)
			break;
		chunk = g->list[i].first;
	}
	return chunk;
}
