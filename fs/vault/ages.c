#include "ages.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_FIRST = 4 };

void ages_fini(struct ages *a)
{
	free(a->runs);
	*a = (struct ages){0};
}

/* The first run that begins at index or later. */
static size_t lower_bound(const struct ages *a, uint64_t index)
{
	size_t low = 0, high = a->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (a->runs[middle].first < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The first run that begins behind index. */
static size_t run_behind(const struct ages *a, uint64_t index)
{
	return index == AGES_END ? a->count : lower_bound(a, index + 1);
}

static uint64_t sealed_before(const struct ages *a, size_t run)
{
	return run ? a->runs[run - 1].sealed_s : 0;
}

uint64_t ages_at(const struct ages *a, uint64_t index, uint64_t *last)
{
	size_t behind = run_behind(a, index);

	*last = behind < a->count ? a->runs[behind].first - 1 : AGES_END;
	return sealed_before(a, behind);
}

uint64_t ages_most(const struct ages *a, uint64_t first, uint64_t last)
{
	size_t run = run_behind(a, first);
	uint64_t most = sealed_before(a, run);

	for (; run < a->count && a->runs[run].first <= last; run++)
		if (a->runs[run].sealed_s > most)
			most = a->runs[run].sealed_s;
	return most;
}

/* What ages_set() puts in the place of runs from..to-1. */
struct splice {
	size_t from, to, count;
	struct age put[2];
};

static struct splice splice_for(const struct ages *a, uint64_t first,
				uint64_t last, uint64_t sealed_s)
{
	struct splice s = {.from = lower_bound(a, first), .to = a->count};
	uint64_t after;

	if (sealed_before(a, s.from) != sealed_s)
		s.put[s.count++] = (struct age){first, sealed_s};
	if (last == AGES_END)
		return s;
	s.to = run_behind(a, last + 1);
	after = sealed_before(a, s.to);
	if (after != sealed_s)
		s.put[s.count++] = (struct age){last + 1, after};
	return s;
}

size_t ages_count_with(const struct ages *a, uint64_t first, uint64_t last,
		       uint64_t sealed_s)
{
	struct splice s = splice_for(a, first, last, sealed_s);

	return a->count - (s.to - s.from) + s.count;
}

static int make_room(struct ages *a, size_t count)
{
	size_t room = a->room ? a->room : ROOM_FIRST;
	struct age *runs;

	if (count <= a->room)
		return 0;
	while (room < count)
		room *= 2;
	runs = realloc(a->runs, room * sizeof *runs);
	if (!runs)
		return -ENOMEM;
	a->runs = runs;
	a->room = room;
	return 0;
}

static uint64_t apart(const struct age *a, const struct age *b)
{
	return a->sealed_s < b->sealed_s ? b->sealed_s - a->sealed_s
					 : a->sealed_s - b->sealed_s;
}

static uint64_t least_apart(const struct ages *a)
{
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i + 1 < a->count; i++)
		if (apart(&a->runs[i], &a->runs[i + 1]) < least)
			least = apart(&a->runs[i], &a->runs[i + 1]);
	return least;
}

/* Those neighbours that differ least become as old as the older one, in pairs.
 */
static void merge_pairs(struct ages *a)
{
	uint64_t least = least_apart(a);
	size_t count = 0;

	for (size_t i = 0; i < a->count; i++) {
		struct age run = a->runs[i];

		if (i + 1 < a->count && apart(&run, &a->runs[i + 1]) == least) {
			i++;
			if (a->runs[i].sealed_s < run.sealed_s)
				run.sealed_s = a->runs[i].sealed_s;
		}
		if (run.sealed_s != sealed_before(a, count))
			a->runs[count++] = run;
	}
	a->count = count;
}

void ages_set(struct ages *a, uint64_t first, uint64_t last, uint64_t sealed_s)
{
	struct splice s = splice_for(a, first, last, sealed_s);
	size_t count = a->count - (s.to - s.from) + s.count;

	if (s.count == 0 && s.from == s.to)
		return;
	if (make_room(a, count)) {
		a->count = 0;
		return;
	}
	memmove(&a->runs[s.from + s.count], &a->runs[s.to],
		(a->count - s.to) * sizeof *a->runs);
	memcpy(&a->runs[s.from], s.put, s.count * sizeof *a->runs);
	a->count = count;
	while (a->count > AGES_MAX)
		merge_pairs(a);
}
