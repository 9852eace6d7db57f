/* Workloads that meet the journal being emptied, and what it had forgotten. */
#include "plots.h"

#include <stdio.h>

enum {
	SIZE = 100000,
	/* what grows by more goes to its place, past the journal */
	MANY = 20,
	POINTS = 48, /* more than it takes to empty the journal */
};

static void open_all(struct story *s, unsigned first, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char name[16];

		snprintf(name, sizeof name, "f%u", i);
		story_open(s, first + i, 0, name);
	}
}

static size_t whole(struct story *s, size_t chunks)
{
	return CHUNK_SIZE * (1 + below(s, chunks));
}

/* Files that grow on, unmarked, while what was said of them is forgotten. */
void plot_growing(struct story *s)
{
	const size_t lens[] = {5000, 8192, SIZE};
	unsigned f = plot_made(s, 0, lens, 3);

	story_begin(s);
	open_all(s, f, 3);
	for (int i = 0; i < 5; i++) {
		unsigned n = f + (unsigned)below(s, 2);

		/* there is something to be forgotten */
		story_write(s, f + 2, below(s, SIZE - 5000), 1000);
		if (below(s, 2))
			story_append(s, n, CHUNK_SIZE * MANY);
		if (below(s, 2)) {
			story_flush_begin(s, below(s, POINTS));
			story_append(s, n, whole(s, 3));
			if (below(s, 3) == 0)
				story_truncate(s, n, 20000 + below(s, 50000));
			if (below(s, 2))
				story_sync(s, n);
			story_append(s, n, whole(s, 2));
			story_flush_end(s);
		} else {
			story_flush_within(s, below(s, POINTS / 3));
			story_append(s, n, CHUNK_SIZE * MANY);
			story_append(s, n, whole(s, 3));
			story_append(s, n, whole(s, 3));
		}
		if (below(s, 4) == 0)
			story_sync(s, n);
	}
	story_append(s, f + 1, whole(s, 3));
	story_append(s, f, whole(s, 3));
}

/* Holes over what is on its way to its place. */
void plot_punching(struct story *s)
{
	const size_t lens[] = {SIZE};
	unsigned f = plot_made(s, 0, lens, 1);

	story_begin(s);
	open_all(s, f, 1);
	for (int i = 0; i < 7; i++) {
		size_t at = below(s, SIZE - 40000);

		if (below(s, 3))
			story_write(s, f, at, 1 + below(s, 20000));
		if (below(s, 3) == 0) {
			story_flush_begin(s, below(s, POINTS));
			story_punch(s, f, at, 30000);
			story_flush_end(s);
		} else {
			story_flush_within(s, below(s, POINTS / 3));
			story_punch(s, f, at + below(s, 9000),
				    CHUNK_SIZE * 2 + below(s, 20000));
		}
		if (below(s, 4) == 0)
			story_sync_data(s, f);
	}
}

/* Everything, with the journal being emptied at any instant of it. */
void plot_racing(struct story *s)
{
	const size_t lens[] = {SIZE, 3000};
	unsigned f = plot_made(s, 0, lens, 2);

	story_begin(s);
	open_all(s, f, 2);
	for (int i = 0; i < 9; i++) {
		size_t at = below(s, 60000);
		unsigned n = f + (unsigned)below(s, 2);

		if (below(s, 2))
			story_write(s, f, below(s, 60000), 1 + below(s, 9000));
		story_flush_within(s, below(s, POINTS / 3));
		switch (below(s, 6)) {
		case 0:
			story_write(s, n, at, 1 + below(s, 20000));
			break;
		case 1:
			story_append(s, n, 1 + below(s, 20000));
			break;
		case 2:
			story_truncate(s, n, below(s, 120000));
			break;
		case 3:
			story_sync(s, n);
			break;
		case 4:
			story_rekey(s, n);
			break;
		default:
			story_sync_data(s, n);
		}
	}
}

/* One handle writes, another makes it durable. */
void plot_reopened(struct story *s)
{
	const size_t lens[] = {5000, 8192, 0};
	unsigned f = plot_made(s, 0, lens, 3), n;

	story_begin(s);
	open_all(s, f, 3);
	for (unsigned i = 0; i < 6; i++) {
		char name[16];

		n = f + (unsigned)below(s, 3);
		snprintf(name, sizeof name, "f%u", n - f);
		story_append(s, n, CHUNK_SIZE * MANY + below(s, 2) * 100);
		if (below(s, 3) == 0)
			story_append(s, n, 1 + below(s, 5000));
		if (below(s, 3) == 0)
			story_flush_within(s, below(s, POINTS / 3));
		story_shut(s, n);
		if (below(s, 2))
			story_flush_within(s, below(s, 4));
		story_open(s, n, 0, name);
		if (below(s, 2))
			story_append(s, n, 1 + below(s, 5000));
		if (below(s, 3) == 0)
			story_flush_within(s, below(s, POINTS / 3));
		story_sync_data(s, n);
	}
	n = story_create(s, 0, "new");
	story_sync_dir(s, 0);
	story_append(s, n, CHUNK_SIZE * MANY);
	story_shut(s, n);
	story_open(s, n, 0, "new");
	story_sync_data(s, n);
}

/* As many chunks at a time as make their list grow, and grow again. */
void plot_rewriting(struct story *s)
{
	const size_t lens[] = {CHUNK_SIZE * 150};
	unsigned f = plot_made(s, 0, lens, 1);

	story_open(s, f, 0, "f0");
	story_append(s, f, CHUNK_SIZE * 150 + 7);
	story_shut(s, f);
	story_begin(s);
	open_all(s, f, 1);
	story_rewrite(s, f);
	story_sync_data(s, f);
	story_flush_begin(s, below(s, POINTS));
	story_rewrite(s, f);
	story_flush_end(s);
	story_sync_data(s, f);
}

/*
 * Files whose chunks come in no order: far ahead, then what lies between, all
 * of it or not, some of it twice.
 */
static void scatter(struct story *s, unsigned n, size_t from, size_t chunks,
		    bool race)
{
	size_t at[8];

	for (size_t i = 0; i < 8; i++) {
		size_t k = below(s, i + 1);

		at[i] = at[k];
		at[k] = from + i * chunks;
	}
	for (size_t i = 0; i < 8 - below(s, 3); i++) {
		size_t first = at[i] + below(s, 4) / 3;

		if (race && below(s, 5) == 0)
			story_flush_within(s, below(s, POINTS / 3));
		story_write(s, n, first * CHUNK_SIZE,
			    (at[i] + chunks - first) * CHUNK_SIZE -
				    (below(s, 5) == 0 ? 100 : 0));
		if (below(s, 8) == 0)
			story_sync_data(s, n);
		if (below(s, 12) == 0)
			story_truncate(s, n,
				       (from + below(s, 8 * chunks)) *
					       CHUNK_SIZE);
		if (below(s, 12) == 0)
			story_punch(s, n, at[i] * CHUNK_SIZE, 3 * CHUNK_SIZE);
	}
}

void plot_scattered(struct story *s)
{
	const size_t lens[] = {5000, 8192, SIZE};
	unsigned f = plot_made(s, 0, lens, 3);

	story_begin(s);
	open_all(s, f, 3);
	for (int i = 0; i < 3; i++) {
		char name[16];
		unsigned n;

		snprintf(name, sizeof name, "new%d", i);
		n = story_create(s, 0, name);
		scatter(s, n, 0, 2 + below(s, 9), true);
		/* there is something to be forgotten */
		story_write(s, f + 2, below(s, SIZE - 5000), 1000);
		if (below(s, 2))
			scatter(s, n, 40, 3, true);
		if (below(s, 2))
			story_sync(s, n);
		scatter(s, f + (unsigned)i % 2, 2 + (unsigned)i * 20, 3, true);
		if (below(s, 2))
			story_flush_begin(s, below(s, POINTS));
		scatter(s, f + 1, 80 + (unsigned)i * 30, 3, false);
		story_flush_end(s);
	}
}

/* The same with little else: whatever stops it, it stops within this. */
void plot_filling(struct story *s)
{
	const size_t lens[] = {5000, 8192};
	unsigned f = plot_made(s, 0, lens, 2);

	story_begin(s);
	open_all(s, f, 2);
	for (unsigned i = 0; i < 4; i++) {
		unsigned n =
			i < 2 ? f + i : story_create(s, 0, i < 3 ? "a" : "b");
		size_t at = 40 + below(s, 20);

		for (; at > 3; at = below(s, at)) {
			story_write(s, n, at * CHUNK_SIZE,
				    CHUNK_SIZE * (1 + below(s, 6)));
			if (below(s, 8) == 0)
				story_sync_data(s, n);
		}
	}
}
