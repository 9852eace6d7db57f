/* Names of inodes, and what becomes of them. */
#include "inode_internal.h"

#include "log.h"

#include <errno.h>
#include <string.h>

/* Moves that never rest must not keep whoever asks for a lost inode. */
enum { MOTION_TRIES_MAX = 100 };

struct inode *inode_peek(struct inode_table *t, struct inode *parent,
			 const char *entry)
{
	struct inode *i = NULL;
	struct link *l;

	inode_lock_(t);
	l = inode_find_link_(t, parent, entry);
	if (l) {
		i = l->inode;
		i->refs++;
	}
	inode_unlock_(t);
	return i;
}

/*
 * Without memory for its new name an inode loses it; the kernel's next
 * request hears -ESTALE then and looks the name up again.
 */
static void put_name(struct inode_table *t, struct inode *i,
		     struct inode *parent, const char *entry)
{
	if (i && !inode_set_link_(t, i, parent, entry))
		log_error("out of memory while a name was moved");
}

/* Take a name from its inode, which stays in the table meanwhile. */
static struct inode *take_name(struct inode_table *t, struct inode *parent,
			       const char *entry)
{
	struct link *l = inode_find_link_(t, parent, entry);
	struct inode *i = l ? l->inode : NULL;

	if (l)
		inode_cut_link_(t, l);
	return i;
}

bool inode_is_gone(struct inode_table *t, const struct inode *i)
{
	bool gone;

	inode_lock_(t);
	gone = i->gone;
	inode_unlock_(t);
	return gone;
}

void inode_keep_stat(struct inode *i, const struct stat *st)
{
	struct stat *copy = malloc(sizeof *copy), *none = NULL;

	if (!copy)
		return;
	*copy = *st;
	copy->st_nlink = 0;
	if (!atomic_compare_exchange_strong(&i->removed, &none, copy))
		free(copy);
}

void inode_link_gone(struct inode_table *t, struct inode *parent,
		     const char *entry, bool last)
{
	struct inode *i;

	inode_lock_(t);
	i = take_name(t, parent, entry);
	if (i && last)
		i->gone = true;
	inode_unlock_(t);
}

void inode_link_moved(struct inode_table *t, struct inode *from_dir,
		      const char *from, struct inode *to_dir, const char *to)
{
	inode_lock_(t);
	put_name(t, take_name(t, from_dir, from), to_dir, to);
	inode_unlock_(t);
}

void inode_links_swapped(struct inode_table *t, struct inode *a_dir,
			 const char *a, struct inode *b_dir, const char *b)
{
	struct inode *at_a, *at_b;

	inode_lock_(t);
	at_a = take_name(t, a_dir, a);
	at_b = take_name(t, b_dir, b);
	put_name(t, at_a, b_dir, b);
	put_name(t, at_b, a_dir, a);
	inode_unlock_(t);
}

int inode_park(struct inode_table *t, struct inode *i, const char *orphan)
{
	struct link *l;

	inode_lock_(t);
	l = inode_add_link_(t, i, NULL, orphan);
	if (l)
		atomic_store(&i->parked, true);
	inode_unlock_(t);
	return l ? 0 : -ENOMEM;
}

void inode_unpark(struct inode_table *t, struct inode *i)
{
	char entry[NAME_BACKING_MAX + 1] = "";
	struct link *l;

	inode_lock_(t);
	for (l = i->links; l && l->parent; l = l->next)
		;
	if (l) {
		strcpy(entry, l->entry);
		inode_cut_link_(t, l);
	}
	atomic_store(&i->parked, false);
	inode_unlock_(t);
	if (entry[0])
		unlinkat(t->vault->orphans_fd, entry, 0);
}

void inode_move_begin(struct inode_table *t)
{
	inode_lock_(t);
	t->moving++;
	t->moves++;
	inode_unlock_(t);
}

void inode_move_end(struct inode_table *t)
{
	inode_lock_(t);
	t->moving--;
	t->moves++;
	pthread_cond_broadcast(&t->moved);
	inode_unlock_(t);
}

void inode_motion_watch_(struct inode_table *t, struct inode_motion *m)
{
	inode_lock_(t);
	m->moves = t->moves;
	m->moving = t->moving > 0;
	inode_unlock_(t);
}

bool inode_motion_over_(struct inode_table *t, struct inode_motion *m)
{
	uint64_t moves;
	bool again;

	inode_lock_(t);
	again = m->moving || m->moves != t->moves;
	moves = t->moves;
	while (again && t->moving > 0 && moves == t->moves)
		pthread_cond_wait(&t->moved, &t->lock);
	inode_unlock_(t);
	return again && ++m->tries < MOTION_TRIES_MAX;
}
