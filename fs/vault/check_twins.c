/*
 * Files that have one id, though they are several: a copy that does not keep
 * hard links makes them of one file with several names. Each looks older to a
 * mount as soon as another has been written, and nobody can tell from one of
 * them alone why.
 *
 * Ids are not kept while the vault is checked, as there may be millions: each
 * leaves some bits in a table of one size. Where all of them were there before,
 * another file may have the id; all headers are read again then, for those few.
 */
#include "bytes.h"
#include "check_content.h"
#include "vdir.h"
#include "xio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
	WORD_BITS = 20, /* of the table's size */
	MARKS = 6,	/* in a word for each id */
	DEPTH_MAX = 200,
	SIGHTINGS_MAX = 2 * ID_SET_MAX,
};

static_assert((int)FILE_ID_LEN == (int)DIRID_LEN, "one set for both");

struct twins {
	_Atomic uint64_t words[1 << WORD_BITS];
	struct id_set ids; /* check->lock, that several files may have */
};

/* One of the files that were looked for. */
struct sighting {
	uint8_t id[FILE_ID_LEN];
	dev_t dev;
	ino_t ino;
	char *path;
};

struct search {
	const struct id_set *ids; /* sorted */
	struct sighting seen[SIGHTINGS_MAX];
	size_t count;
};

int check_twins_begin(struct check *c)
{
	c->twins = calloc(1, sizeof *c->twins);
	return c->twins ? 0 : -ENOMEM;
}

void check_twins_free(struct twins *twins)
{
	if (twins)
		check_ids_free(&twins->ids);
	free(twins);
}

/* Were all marks of these random bits there before? */
static bool mark(struct twins *twins, uint64_t bits)
{
	_Atomic uint64_t *word = &twins->words[bits >> (64 - WORD_BITS)];
	uint64_t marks = 0;

	for (int i = 0; i < MARKS; i++)
		marks |= UINT64_C(1) << (bits >> 6 * i & 63);
	return (atomic_fetch_or(word, marks) & marks) == marks;
}

/* Of a file with several names, the one under which it is met first. */
static bool was_met(struct twins *twins, const struct stat *st)
{
	const uint64_t file[2] = {st->st_dev, st->st_ino};
	uint64_t hash[2];

	if (st->st_nlink < 2)
		return false;
	crypto_generichash((uint8_t *)hash, sizeof hash, (const uint8_t *)file,
			   sizeof file, NULL, 0);
	return mark(twins, hash[0]);
}

void check_twins_meet(struct check *c, const uint8_t id[static FILE_ID_LEN],
		      const struct stat *st)
{
	int err;

	if (was_met(c->twins, st) || !mark(c->twins, be64_load(id)))
		return;
	pthread_mutex_lock(&c->lock);
	err = check_ids_add(&c->twins->ids, id);
	pthread_mutex_unlock(&c->lock);
	if (err)
		check_fail(c, err);
}

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, FILE_ID_LEN);
}

/* The first file that was seen with this id; *again: st's, or another one that
 * has been told of. */
static const struct sighting *find(const struct search *s, const uint8_t *id,
				   const struct stat *st, bool *again)
{
	const struct sighting *first = NULL, *other;

	*again = false;
	for (size_t i = 0; i < s->count && !*again; i++) {
		other = &s->seen[i];
		if (memcmp(other->id, id, FILE_ID_LEN) != 0)
			continue;
		first = first ? first : other;
		*again = other->ino == st->st_ino && other->dev == st->st_dev;
	}
	return first;
}

static void see(struct check *c, struct search *s, struct check_dir *dir,
		const char *entry, const char *plain, const struct content *f)
{
	const struct sighting *first;
	struct trouble t = {.fault = CHECK_TWIN,
			    .dir = dir,
			    .entry = (char *)entry,
			    .plain = (char *)plain};
	struct sighting *new;
	bool again;

	first = find(s, f->id, &f->st, &again);
	if (again || s->count == SIGHTINGS_MAX)
		return;
	new = &s->seen[s->count];
	new->path = check_plain_path(dir, plain);
	if (!new->path) {
		check_fail(c, -ENOMEM);
		return;
	}
	memcpy(new->id, f->id, FILE_ID_LEN);
	new->dev = f->st.st_dev;
	new->ino = f->st.st_ino;
	s->count++;
	if (!first)
		return;
	t.detail = first->path;
	check_found(c, &t, CHECK_NOTE, NULL);
}

static void look(struct check *c, struct search *s, struct check_dir *dir,
		 const char *entry, const char *plain)
{
	uint8_t header[HEADER_LEN];
	struct content f;
	size_t got;
	int err = content_open(c, &f, dir->fd, entry, header, sizeof header,
			       &got);

	if (!err &&
	    bsearch(f.id, s->ids->ids, s->ids->count, FILE_ID_LEN, by_id))
		see(c, s, dir, entry, plain, &f);
	content_fini(c, &f);
}

static bool knows_id(struct check *c, struct check_dir *dir)
{
	bool aside = false;

	return vdir_find_id(dir->fd, dir->id, &aside) == 0 &&
	       vdir_prove_id(c->vault, dir->fd, dir->id, aside) == 0;
}

static void search(struct check *c, struct search *s, struct check_dir *dir,
		   unsigned depth);

static void enter(struct check *c, struct search *s, struct check_dir *parent,
		  const char *entry, const char *plain, unsigned depth)
{
	CLEANUP_FD int fd =
		openat(parent->fd, entry,
		       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct check_dir *dir;

	if (fd < 0)
		return;
	dir = check_dir_new(parent, fd, entry, plain);
	if (!dir) {
		check_fail(c, -ENOMEM);
		return;
	}
	fd = -1;
	search(c, s, dir, depth);
	check_dir_unref(dir);
}

/* Copies that others made are not compared with what was seen. */
static void search(struct check *c, struct search *s, struct check_dir *dir,
		   unsigned depth)
{
	CLEANUP_DIR DIR *stream = NULL;
	char plain[NAME_PLAIN_MAX + 1];
	const struct dirent *e;
	struct stat st;
	bool copy;

	if (!knows_id(c, dir) || xio_list(dir->fd, &stream))
		return;
	while (!check_stopped(c) && (e = readdir(stream))) {
		if (name_classify(e->d_name) == NAME_KIND_INTERNAL ||
		    check_plain_name(c, dir, e->d_name, plain, &copy) || copy ||
		    fstatat(dir->fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISREG(st.st_mode))
			look(c, s, dir, e->d_name, plain);
		else if (S_ISDIR(st.st_mode) && depth > 0)
			enter(c, s, dir, e->d_name, plain, depth - 1);
	}
}

void check_twins_tell(struct check *c)
{
	struct id_set *ids = &c->twins->ids;
	CLEANUP_FD int fd = -1;
	struct check_dir *root;
	struct search *s;

	if (ids->count == 0)
		return;
	qsort(ids->ids, ids->count, FILE_ID_LEN, by_id);
	fd = openat(c->vault->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s = calloc(1, sizeof *s);
	root = s && fd >= 0 ? check_dir_new(NULL, fd, "", "") : NULL;
	if (root) {
		fd = -1;
		s->ids = ids;
		search(c, s, root, DEPTH_MAX);
	} else {
		check_fail(c, fd < 0 ? -errno : -ENOMEM);
	}
	for (size_t i = 0; s && i < s->count; i++)
		free(s->seen[i].path);
	free(s);
	check_dir_unref(root);
}
