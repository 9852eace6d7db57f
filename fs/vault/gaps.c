#include "gaps.h"

#include <stdlib.h>
#include <string.h>

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

/* Put a gap in at position at; gives up when the list is full. */
static bool insert(struct gaps *g, size_t at, uint64_t first, uint64_t last)
{
	if (!g->list)
		g->list = malloc(GAPS_MAX * sizeof *g->list);
	if (!g->list || g->count == GAPS_MAX) {
		gaps_give_up(g);
		return false;
	}
	memmove(g->list + at + 1, g->list + at,
		(g->count - at) * sizeof *g->list);
	g->list[at] = (struct gap){first, last};
	g->count++;
	return true;
}

static void drop(struct gaps *g, size_t at)
{
	g->count--;
	memmove(g->list + at, g->list + at + 1,
		(g->count - at) * sizeof *g->list);
}

void gaps_fill(struct gaps *g, uint64_t first, uint64_t last)
{
	for (size_t i = 0; i < g->count && g->list[i].first <= last;) {
		struct gap *gap = &g->list[i];
		uint64_t gap_last = gap->last;

		if (gap_last < first) {
			i++;
		} else if (gap->first >= first && gap_last <= last) {
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
	size_t at = 0;

	if (g->unknown)
		return;
	gaps_fill(g, first, last);
	while (at < g->count && g->list[at].first < first)
		at++;
	insert(g, at, first, last);
}

bool gaps_meet(const struct gaps *g, uint64_t first, uint64_t last)
{
	for (size_t i = 0; i < g->count; i++)
		if (g->list[i].first <= last && g->list[i].last >= first)
			return true;
	return g->unknown;
}

bool gaps_cover(const struct gaps *g, uint64_t first, uint64_t last)
{
	for (size_t i = 0; i < g->count; i++) {
		if (g->list[i].first > first)
			return false;
		if (g->list[i].last >= last)
			return true;
		if (g->list[i].last >= first)
			first = g->list[i].last + 1;
	}
	return false;
}
