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
