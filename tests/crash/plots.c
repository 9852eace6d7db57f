/* The workloads. */
#include "plots.h"

#include <stdio.h>
#include <string.h>

enum { LARGE = 150000 };

unsigned plot_made(struct story *s, unsigned dir, const size_t *len,
		   unsigned count)
{
	unsigned first = 0;

	for (unsigned i = 0; i < count; i++) {
		char name[16];
		unsigned n;

		snprintf(name, sizeof name, "f%u", i);
		n = story_create(s, dir, name);
		if (len[i])
			story_write(s, n, 0, len[i]);
		story_shut(s, n);
		first = i ? first : n;
	}
	return first;
}

static void create(struct story *s)
{
	static const size_t lens[] = {0, 1, 4095, 4096, 4097, 20000, LARGE};

	story_begin(s);
	for (unsigned i = 0; i < sizeof lens / sizeof *lens; i++) {
		char name[16];
		unsigned n;

		snprintf(name, sizeof name, "f%u", i);
		n = story_create(s, 0, name);
		if (lens[i])
			story_write(s, n, 0, lens[i]);
		if (below(s, 2))
			story_sync(s, n);
		if (below(s, 2))
			story_sync_dir(s, 0);
		story_shut(s, n);
	}
}

static void overwrite(struct story *s)
{
	const size_t lens[] = {LARGE, 300};
	unsigned f = plot_made(s, 0, lens, 2);

	story_begin(s);
	story_open(s, f, 0, "f0");
	story_open(s, f + 1, 0, "f1");
	for (int i = 0; i < 14; i++) {
		size_t at = below(s, LARGE - 9000), len = 1 + below(s, 9000);

		/* whole chunks too, and several at a time */
		if (i % 3 == 0) {
			at -= at % CHUNK_SIZE;
			len = CHUNK_SIZE * (1 + below(s, 3));
		}
		if (i % 5 == 4)
			story_write(s, f + 1, below(s, 200), 100);
		story_write(s, f, at, len);
		if (below(s, 3) == 0)
			story_sync(s, f);
	}
	story_sync(s, f + 1);
	story_write(s, f, LARGE - 50, 50);
	story_write(s, f, 0, LARGE);
}

static void append(struct story *s)
{
	const size_t lens[] = {5000, 0, 8192};
	unsigned f = plot_made(s, 0, lens, 3);

	story_begin(s);
	for (unsigned i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof name, "f%u", i);
		story_open(s, f + i, 0, name);
	}
	for (int i = 0; i < 8; i++) {
		story_append(s, f, 1 + below(s, 300));
		story_append(s, f + 1,
			     i % 2 ? 100 : CHUNK_SIZE * (1 + below(s, 8)));
		story_append(s, f + 2, CHUNK_SIZE * (1 + below(s, 3)));
		if (below(s, 3) == 0)
			story_sync(s, f + (unsigned)below(s, 3));
	}
	story_shut(s, f + 2);
	story_append(s, f, 60000);
}

static void truncate_both_ways(struct story *s)
{
	const size_t lens[] = {60000};
	unsigned f = plot_made(s, 0, lens, 1);

	story_begin(s);
	story_open(s, f, 0, "f0");
	for (int i = 0; i < 14; i++) {
		story_truncate(s, f,
			       i % 4 == 3 ? CHUNK_SIZE * below(s, 12)
					  : below(s, 70000));
		if (below(s, 3) == 0)
			story_write(s, f, below(s, 30000), 1 + below(s, 9000));
		if (below(s, 3) == 0)
			story_sync(s, f);
	}
	story_truncate(s, f, 0);
	story_append(s, f, 10);
}

static void punch(struct story *s)
{
	const size_t lens[] = {100000};
	unsigned f = plot_made(s, 0, lens, 1);

	story_begin(s);
	story_open(s, f, 0, "f0");
	for (int i = 0; i < 8; i++) {
		story_punch(s, f, below(s, 90000), 1 + below(s, 30000));
		if (below(s, 2))
			story_write(s, f, below(s, 90000), 1 + below(s, 9000));
		if (below(s, 3) == 0)
			story_sync(s, f);
	}
	story_write(s, f, 300000, 100); /* far behind the end */
	story_write(s, f, 200000, 5000);
	story_sync(s, f);
}

/* As editors save: beside, fsync, over the old one. */
static void replace(struct story *s)
{
	const size_t lens[] = {9000};
	unsigned f = plot_made(s, 0, lens, 1);

	story_begin(s);
	for (int i = 0; i < 4; i++) {
		unsigned n = story_create(s, 0, "new");

		story_write(s, n, 0, 1 + below(s, 20000));
		story_sync(s, n);
		story_rename(s, 0, "new", 0, "f0", 0);
		if (i % 2)
			story_sync_dir(s, 0);
		story_shut(s, n);
	}
	(void)f;
	f = story_create(s, 0, "gone");
	story_write(s, f, 0, 5000);
	story_unlink(s, 0, "gone"); /* while it is open */
	story_write(s, f, 5000, 5000);
	story_shut(s, f);
}

static void rename_names(struct story *s)
{
	const size_t lens[] = {100, 5000, 0};
	unsigned a = story_mkdir(s, 0, "a"), b = story_mkdir(s, 0, "b"), d;

	plot_made(s, 0, lens, 3);
	plot_made(s, a, lens, 2);
	story_mkdir(s, b, "empty");
	story_mkdir(s, b, "there");
	d = story_mkdir(s, a, "full");
	plot_made(s, d, lens, 1);
	story_begin(s);
	story_rename(s, 0, "f0", 0, "f1", 0);
	story_rename(s, 0, "f1", a, "f0", 0);
	story_sync_dir(s, a);
	story_rename(s, a, "f1", 0, "f2", RENAME_EXCHANGE);
	story_rename(s, a, "full", b, "empty", 0);
	story_sync_dir(s, b);
	story_rename(s, b, "there", b, "where", RENAME_NOREPLACE);
	story_rename(s, b, "empty", b, "where", 0);
	story_rename(s, b, "where", a, "f0", RENAME_EXCHANGE);
	story_rename(s, a, "f0", 0, "last", 0);
	story_sync_dir(s, 0);
	story_rename(s, 0, "last", 0, "b", RENAME_EXCHANGE);
	story_unlink(s, d, "f0");
	story_rmdir(s, 0, "b");
}

static void directories(struct story *s)
{
	const size_t lens[] = {10};
	unsigned deep = 0, d;

	plot_made(s, 0, lens, 1);
	story_begin(s);
	for (int i = 0; i < 4; i++) {
		char name[16];

		snprintf(name, sizeof name, "d%d", i);
		d = story_mkdir(s, 0, name);
		if (i % 2) {
			story_rename(s, 0, "f0", d, "f0", 0);
			story_sync_dir(s, d);
			story_rename(s, d, "f0", 0, "f0", 0);
		}
		if (i == 2)
			deep = story_mkdir(s, d, "below");
	}
	story_sync_dir(s, 0);
	story_rename(s, 0, "f0", deep, "f0", 0);
	story_rmdir(s, 0, "d0");
	story_rename(s, 0, "d2", 0, "d1", 0);
	story_rmdir(s, 0, "d3");
	d = story_mkdir(s, 0, "d0");
	story_rename(s, 0, "d0", 0, "d4", 0);
	story_rename(s, 0, "d1", d, "d1", 0);
}

static void long_names(struct story *s)
{
	const size_t lens[] = {10, 20, 30};
	char n[6][251];
	unsigned a;

	for (int i = 0; i < 6; i++) {
		memset(n[i], 'a' + i, 250);
		n[i][250] = '\0';
	}
	a = story_mkdir(s, 0, "a");
	plot_made(s, 0, lens, 3);
	story_rename(s, 0, "f2", 0, n[5], 0);
	story_begin(s);
	story_rename(s, 0, "f0", 0, n[0], 0);
	story_rename(s, 0, n[0], a, n[0], 0);
	story_rename(s, 0, "f1", 0, n[1], 0);
	story_rename(s, 0, n[1], a, n[0], RENAME_EXCHANGE);
	story_sync_dir(s, 0);
	story_mkdir(s, a, n[2]);
	story_mkdir(s, 0, n[2]);
	story_rename(s, 0, n[2], a, n[2], 0);
	story_symlink(s, 0, n[3], 100);
	story_symlink(s, a, n[3], 3500);
	story_rename(s, a, n[3], 0, n[3], 0);
	story_rename(s, 0, n[3], a, n[4], 0);
	story_rename(s, 0, n[5], 0, n[1], 0);
	story_unlink(s, 0, n[1]);
	story_rmdir(s, a, n[2]);
	story_rename(s, a, n[0], 0, "short", 0);
	story_unlink(s, a, n[4]);
}

static void links(struct story *s)
{
	const size_t lens[] = {5000};
	unsigned a = story_mkdir(s, 0, "a"), f = plot_made(s, 0, lens, 1);

	story_symlink(s, 0, "old", 3700);
	story_begin(s);
	story_symlink(s, 0, "short", 20);
	story_symlink(s, 0, "long", 4000);
	story_sync_dir(s, 0);
	story_rename(s, 0, "long", a, "long", 0);
	story_rename(s, 0, "old", a, "long", 0);
	story_rename(s, 0, "short", a, "long", RENAME_EXCHANGE);
	story_unlink(s, a, "long");
	story_link(s, f, 0, "f0", a, "again");
	story_unlink(s, 0, "f0");
	story_link(s, f, a, "again", 0, "back");
	story_rename(s, 0, "back", 0, "short", 0);
	story_symlink(s, 0, "one more", 3000);
	story_unlink(s, 0, "one more");
}

static void rekey(struct story *s)
{
	const size_t lens[] = {30000, 0};
	unsigned f = plot_made(s, 0, lens, 2);

	story_open(s, f + 1, 0, "f1");
	story_write(s, f + 1, 500000, 5000); /* with a long hole */
	story_shut(s, f + 1);
	story_begin(s);
	story_open(s, f, 0, "f0");
	story_open(s, f + 1, 0, "f1");
	story_rekey(s, f);
	story_rekey(s, f + 1);
	story_rekey(s, f);
}

static void rekey_changed(struct story *s)
{
	const size_t lens[] = {30000};
	unsigned f = plot_made(s, 0, lens, 1);

	story_begin(s);
	story_open(s, f, 0, "f0");
	for (int i = 0; i < 3; i++) {
		story_write(s, f, below(s, 30000), 5000);
		story_append(s, f, 3000);
		story_rekey(s, f);
		story_write(s, f, below(s, 30000), 100);
	}
	story_sync(s, f);
}

static void log_records(struct story *s)
{
	story_begin(s);
	for (uint8_t i = 1; i <= 6; i++)
		story_record(s, i);
}

static void log_goes_on(struct story *s)
{
	for (uint8_t i = 1; i <= 3; i++)
		story_record(s, i);
	story_begin(s);
	for (uint8_t i = 4; i <= 7; i++)
		story_record(s, i);
}

static void passphrase(struct story *s)
{
	story_begin(s);
	story_change_passphrase(s);
}

static void xattrs(struct story *s)
{
	const size_t lens[] = {100, 200};
	unsigned f = plot_made(s, 0, lens, 2);

	story_begin(s);
	story_open(s, f, 0, "f0");
	story_open(s, f + 1, 0, "f1");
	for (int i = 0; i < 5; i++) {
		story_mark(s, f + (unsigned)i % 2, 1 + below(s, 1000));
		if (i % 2)
			story_sync(s, f);
	}
}

/* Long enough for what is put in its place later. */
static void leisure(struct story *s)
{
	const size_t lens[] = {40000, 3000};
	unsigned f = plot_made(s, 0, lens, 2), n;

	story_begin(s);
	story_open(s, f, 0, "f0");
	story_open(s, f + 1, 0, "f1");
	story_write(s, f, 5000, 10000);
	story_append(s, f + 1, 3000);
	story_pause(s, 700);
	story_write(s, f, 5000, 4000);
	story_sync(s, f);
	n = story_create(s, 0, "new");
	story_append(s, n, CHUNK_SIZE * 3);
	story_truncate(s, f + 1, 1000);
	story_pause(s, 1300);
	story_append(s, n, CHUNK_SIZE * 2);
	story_punch(s, f, 0, 20000);
	story_pause(s, 2700);
	story_write(s, f, 0, 100);
}

const struct story_plot story_plots[] = {
	{"rename", rename_names, false, false},
	{"directories", directories, false, false},
	{"long_names", long_names, false, false},
	{"links", links, false, false},
	{"rekey", rekey, true, false},
	{"log", log_records, false, false},
	{"log_goes_on", log_goes_on, false, false},
	{"passphrase", passphrase, false, false},
	{"xattrs", xattrs, false, false},
	{"create", create, true, false},
	{"overwrite", overwrite, true, false},
	{"append", append, true, false},
	{"truncate", truncate_both_ways, true, false},
	{"punch", punch, true, false},
	{"replace", replace, true, false},
	{"rekey_changed", rekey_changed, true, false},
	{"leisure", leisure, true, false},
	{"growing", plot_growing, true, false},
	{"punching", plot_punching, true, false},
	{"racing", plot_racing, true, false},
	{"reopened", plot_reopened, true, false},
	{"rewriting", plot_rewriting, true, false},
	{"scattered", plot_scattered, true, false},
	{"filling", plot_filling, true, false},
	{"remembered", plot_remembered, true, false},
	{"visits", plot_visits, true, true},
	{"left", plot_left, true, true},
	{0},
};

const struct story_plot *story_plot_find(const char *name)
{
	for (const struct story_plot *p = story_plots; p->name; p++)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}
