/* What has a newer time is there to be told from what was before: seconds
 * pass. */
#include "plots.h"

enum { SECOND_MS = 1050, HOUR_S = 3600 };

/* What was done is remembered, and the next is newer. */
static void keep(struct story *s)
{
	story_checkpoint(s);
	story_pause(s, SECOND_MS);
}

/* As editors save; the new one is open. */
static unsigned save_anew(struct story *s, const char *name, size_t len)
{
	unsigned n = story_create(s, 0, "new");

	story_write(s, n, 0, len);
	story_sync(s, n);
	story_rename(s, 0, "new", 0, name, 0);
	return n;
}

static void change(struct story *s, unsigned f)
{
	story_write(s, f, below(s, 50000), 1 + below(s, 9000));
	story_append(s, f + 1, 1 + below(s, 6000));
	if (below(s, 2))
		story_punch(s, f, below(s, 50000), 1 + below(s, 20000));
	story_truncate(s, f + 2, below(s, 120000));
	if (below(s, 2))
		story_sync(s, f + (unsigned)below(s, 3));
	if (below(s, 2))
		story_append(s, f + 2, 1 + below(s, 20000));
}

void plot_remembered(struct story *s)
{
	const size_t lens[] = {60000, 300, 150000, 0, 9000};
	unsigned f = plot_made(s, 0, lens, 5), n;

	story_begin(s);
	for (unsigned i = 0; i < 4; i++) {
		const char name[] = {'f', (char)('0' + i), '\0'};

		story_open(s, f + i, 0, name);
	}
	story_write(s, f + 1, 100, 100);
	for (int i = 0; i < 3; i++) {
		change(s, f);
		keep(s);
		story_write(s, f, below(s, 50000), 1 + below(s, 9000));
		story_truncate(s, f + 3, i % 2 ? 0 : 300000);
	}
	story_rekey(s, f);
	keep(s);
	story_write(s, f, 0, 5000);
	n = save_anew(s, "f4", 20000);
	story_clock_back(s, HOUR_S);
	story_append(s, n, 5000);
	story_shut(s, n);
	n = story_create(s, 0, "late");
	story_append(s, n, CHUNK_SIZE * 2);
	change(s, f);
	story_rekey(s, f);
	story_checkpoint(s);
	story_truncate(s, f + 1, 10);
	story_shut(s, f + 3);
	change(s, f);
	story_append(s, n, 100);
}

/* What is removed, moved, replaced, and what lies there next. */
void plot_left(struct story *s)
{
	const size_t lens[] = {5000, 300, 0, 9000};
	unsigned d = story_mkdir(s, 0, "d"), e = story_mkdir(s, d, "e"), n;
	unsigned f = plot_made(s, 0, lens, 4);

	story_symlink(s, 0, "link", 50);
	story_symlink(s, d, "far", 3500);
	story_begin(s);
	story_unlink(s, 0, "f0");
	story_rename(s, 0, "f1", d, "f1", 0);
	story_unlink(s, 0, "link");
	story_rename(s, d, "e", 0, "e", 0);
	n = save_anew(s, "f3", 7000);
	story_shut(s, n);
	keep(s);
	/* and back, older than what went from there */
	story_rename(s, d, "f1", 0, "f0", 0);
	story_rename(s, 0, "e", d, "e", 0);
	story_rename(s, d, "far", 0, "link", 0);
	story_link(s, f + 2, 0, "f2", 0, "f1");
	story_symlink(s, d, "far", 20);
	keep(s);
	story_rename(s, 0, "f1", d, "far", RENAME_EXCHANGE);
	story_unlink(s, 0, "f1");
	story_sync_dir(s, 0);
	story_rmdir(s, d, "e");
	story_rename(s, 0, "f0", 0, "f3", 0);
	story_checkpoint(s);
	n = story_create(s, 0, "f0");
	story_append(s, n, 6000);
	story_shut(s, n);
	e = story_mkdir(s, d, "e");
	story_rename(s, 0, "link", e, "link", 0);
	story_rename(s, d, "far", e, "link", 0);
	keep(s);
	story_rename(s, e, "link", d, "far", 0);
	story_rename(s, 0, "f0", d, "e2", 0);
	story_unlink(s, 0, "f3");
	story_rmdir(s, d, "e");
}
