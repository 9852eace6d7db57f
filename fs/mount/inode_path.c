/* Paths of inodes, for people. */
#include "inode_internal.h"

#include "conflict.h"

#include <errno.h>
#include <string.h>

#define ORPHANS_PATH NAME_VAULT_DIR "/" VAULT_ORPHANS_DIR

/* One step of a path: an entry of a directory, which has a reference. */
struct step {
	struct inode *dir; /* NULL: in orphans/ */
	char *entry;
};

struct steps {
	struct step *v; /* from the inode up to below the root */
	size_t count;
};

static void steps_fini(struct inode_table *t, struct steps *s)
{
	for (size_t k = 0; k < s->count; k++) {
		if (s->v[k].dir)
			inode_unref(t, s->v[k].dir);
		free(s->v[k].entry);
	}
	free(s->v);
}

/* Under the lock. */
static int count_steps(const struct inode_table *t, const struct inode *i,
		       size_t *count)
{
	size_t n = 0;

	for (; i && i != t->root; i = i->links->parent)
		if (!i->links || n++ > t->inode_count)
			return -ESTALE;
	*count = n;
	return 0;
}

static int collect_steps(struct inode_table *t, struct inode *i,
			 struct steps *s)
{
	size_t n = 0;
	int err;

	inode_lock_(t);
	err = count_steps(t, i, &n);
	s->v = calloc(n + 1, sizeof *s->v);
	if (!err && !s->v)
		err = -ENOMEM;
	for (; !err && i && s->count < n; i = i->links->parent) {
		struct step *step = &s->v[s->count++];

		step->dir = i->links->parent;
		if (step->dir)
			step->dir->refs++;
		step->entry = strdup(i->links->entry);
		if (!step->entry)
			err = -ENOMEM;
	}
	inode_unlock_(t);
	return err;
}

/* The entries, top down, with slashes between them; "." for the root. */
static char *join(const struct steps *s, const char *prefix)
{
	size_t size = strlen(prefix) + 2;
	char *path, *end;

	for (size_t k = 0; k < s->count; k++)
		size += strlen(s->v[k].entry) + 1;
	path = malloc(size);
	if (!path)
		return NULL;
	end = stpcpy(path, prefix);
	for (size_t k = s->count; k-- > 0;) {
		if (end > path)
			*end++ = '/';
		end = stpcpy(end, s->v[k].entry);
	}
	if (end == path)
		strcpy(path, ".");
	return path;
}

static bool is_orphan(const struct steps *s)
{
	return s->count > 0 && !s->v[s->count - 1].dir;
}

int inode_backing_path(struct inode_table *t, struct inode *i, char **path)
{
	struct steps s = {0};
	char *joined = NULL;
	int err = collect_steps(t, i, &s);

	if (!err) {
		joined = join(&s, is_orphan(&s) ? ORPHANS_PATH : "");
		if (!joined)
			err = -ENOMEM;
	}
	steps_fini(t, &s);
	if (!err)
		*path = joined;
	return err;
}

/* Under the lock. Nearly all names tell by themselves that they are none. */
static bool may_be_copy(const struct inode_table *t, const struct inode *i)
{
	size_t n = 0;

	for (; i != t->root; i = i->links->parent)
		if (!i || !i->links || n++ > t->inode_count ||
		    conflict_cut(i->links->entry, 1) > 0)
			return true;
	return false;
}

bool inode_is_copy(struct inode_table *t, struct inode *i)
{
	struct steps s = {0};
	bool copy;

	inode_lock_(t);
	copy = may_be_copy(t, i);
	inode_unlock_(t);
	if (!copy || collect_steps(t, i, &s))
		return false;
	copy = is_orphan(&s);
	for (size_t k = 0; k < s.count && !copy; k++) {
		uint8_t dirid[DIRID_LEN];

		copy = !inode_dirid(t, s.v[k].dir, dirid) &&
		       vdir_is_copy(t->vault, dirid, s.v[k].entry);
	}
	steps_fini(t, &s);
	return copy;
}

/* Replace a step's entry by its plaintext, if that can be had. */
static void decode_step(struct inode_table *t, struct step *step)
{
	char plain[NAME_PLAIN_MAX + 1];
	uint8_t dirid[DIRID_LEN];
	char *copy;
	int dirfd, err;

	if (!step->dir || inode_dirid(t, step->dir, dirid) ||
	    inode_dirfd_get(t, step->dir, &dirfd))
		return;
	err = vdir_plain_name(t->vault, dirfd, dirid, step->entry, plain);
	inode_dirfd_put(t, step->dir);
	copy = err ? NULL : strdup(plain);
	if (copy) {
		free(step->entry);
		step->entry = copy;
	}
}

char *inode_plain_path(struct inode_table *t, struct inode *i)
{
	struct steps s = {0};
	char *path = NULL;

	if (!collect_steps(t, i, &s)) {
		for (size_t k = 0; k < s.count; k++)
			decode_step(t, &s.v[k]);
		path = join(&s, is_orphan(&s) ? "(deleted)" : "");
	}
	steps_fini(t, &s);
	return path;
}
