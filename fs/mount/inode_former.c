/* Names under which something lies that was here before (memory.h). */
#include "inode_internal.h"

#include "log.h"
#include "memory.h"

#include <errno.h>
#include <string.h>

/* A name that an inode is known by. */
struct known_name {
	struct inode *dir; /* with a reference of ours */
	uint8_t dirid[DIRID_LEN];
	char entry[NAME_BACKING_MAX + 1];
};

/* The name with that number, the newest being 0; false: there is none. */
static bool get_name(struct inode_table *t, const struct inode *i, size_t n,
		     struct known_name *name)
{
	const struct link *l;

	inode_lock_(t);
	for (l = i->links; l; l = l->next)
		if (l->parent && n-- == 0)
			break;
	if (l) {
		name->dir = l->parent;
		name->dir->refs++;
		strcpy(name->entry, l->entry);
	}
	inode_unlock_(t);
	return l != NULL;
}

/* Where in t->told a name is noted, and as what. */
static uint64_t *told_slot(struct inode_table *t, const uint8_t *dirid,
			   const char *entry, uint64_t *word)
{
	uint8_t digest[crypto_generichash_BYTES_MIN];

	crypto_generichash(digest, sizeof digest, (const uint8_t *)entry,
			   strlen(entry), dirid, DIRID_LEN);
	memcpy(word, digest, sizeof *word);
	return &t->told[*word % INODE_TOLD_SLOTS];
}

/* Say so, once for each name. */
static void tell(struct inode_table *t, struct inode *i,
		 const struct known_name *name)
{
	static const char advice[] =
		"remove it, or, if a backup was restored on purpose, run "
		"\"frondfs accept-old\" on it";
	static const char dir_advice[] =
		"run \"frondfs accept-old\" on it, to keep it if a backup was "
		"restored on purpose, or else to be able to remove it";
	CLEANUP_FREE char *path = NULL;
	uint64_t word, *slot = told_slot(t, name->dirid, name->entry, &word);
	bool is_new;

	inode_lock_(t);
	is_new = *slot != word;
	*slot = word;
	inode_unlock_(t);
	if (!is_new)
		return;
	path = inode_plain_path(t, i);
	log_error("%s: put back, as this machine has seen it removed, moved "
		  "away or replaced: %s, or mount with -o accept-old to accept "
		  "all that is older",
		  path ? path : "(no path)",
		  S_ISDIR(i->type) ? dir_advice : advice);
}

void inode_accept_name(struct inode_table *t,
		       const uint8_t dirid[static DIRID_LEN], const char *entry)
{
	const struct memory_place place = {.parent = dirid, .entry = entry};
	uint64_t word, *slot = told_slot(t, dirid, entry, &word);

	memory_place_accept(t->vault, &place);
	inode_lock_(t);
	if (*slot == word)
		*slot = 0;
	inode_unlock_(t);
}

/* 0, or -ETIME: it was put back under this name, or above it. */
static int check_name(struct inode_table *t, struct known_name *name,
		      uint64_t born_s, const uint8_t *dirid)
{
	const struct memory_place place = {.parent = name->dirid,
					   .entry = name->entry};
	int err = inode_dirid(t, name->dir, name->dirid);

	if (err)
		return err == -ETIME ? err : 0;
	if (!memory_place_is_old(t->vault, &place, born_s, dirid))
		return 0;
	/* a copy that a service made is as old as what it was copied from */
	return inode_is_copy(t, name->dir) ||
			       vdir_is_copy(t->vault, name->dirid, name->entry)
		       ? 0
		       : -ETIME;
}

/* Whoever moves or removes it tells the table first, and then the memory. */
static bool has_name(struct inode_table *t, const struct inode *i,
		     const struct known_name *name)
{
	const struct link *l;
	bool has;

	inode_lock_(t);
	l = inode_find_link_(t, name->dir, name->entry);
	has = l && l->inode == i;
	inode_unlock_(t);
	return has;
}

int inode_check_names(struct inode_table *t, struct inode *i, uint64_t born_s,
		      const uint8_t *dirid)
{
	unsigned named = i->named;
	struct known_name name;
	bool lost;
	int err = 0;

	if (!t->vault->memory || i->placed == named)
		return 0;
	for (size_t n = 0; get_name(t, i, n, &name); n = lost ? 0 : n + 1) {
		err = check_name(t, &name, born_s, dirid);
		lost = err && !has_name(t, i, &name);
		inode_unref(t, name.dir);
		if (!err)
			break;
		if (lost)
			err = 0;
	}
	if (!err)
		i->placed = named;
	else if (get_name(t, i, 0, &name)) {
		if (!inode_dirid(t, name.dir, name.dirid))
			tell(t, i, &name);
		inode_unref(t, name.dir);
	}
	return err;
}
