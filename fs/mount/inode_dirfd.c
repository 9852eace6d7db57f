/* Descriptors of directories: opened along their names, kept for a while. */
#include "inode_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

void inode_lru_remove_(struct inode_table *t, struct inode *dir)
{
	if (dir->lru_prev)
		dir->lru_prev->lru_next = dir->lru_next;
	else
		t->lru_first = dir->lru_next;
	if (dir->lru_next)
		dir->lru_next->lru_prev = dir->lru_prev;
	else
		t->lru_last = dir->lru_prev;
	dir->lru_prev = dir->lru_next = NULL;
}

static void lru_append(struct inode_table *t, struct inode *dir)
{
	dir->lru_next = NULL;
	dir->lru_prev = t->lru_last;
	if (t->lru_last)
		t->lru_last->lru_next = dir;
	else
		t->lru_first = dir;
	t->lru_last = dir;
}

/* One more user of an open descriptor. Under the lock. */
static bool pin(struct inode_table *t, struct inode *dir)
{
	if (dir->fd < 0)
		return false;
	if (dir->fd_users++ == 0)
		inode_lru_remove_(t, dir);
	dir->refs++;
	return true;
}

/* A descriptor that is not in use, now to be closed, or -1. Under the lock. */
static int take_oldest(struct inode_table *t)
{
	struct inode *oldest = t->lru_first;

	if (!oldest)
		return -1;
	inode_lru_remove_(t, oldest);
	t->fds_open--;
	return TAKE_FD(oldest->fd);
}

/*
 * One user less. Returns a descriptor to be closed without the lock, as there
 * are too many, or -1.
 */
static int unpin(struct inode_table *t, struct inode *dir)
{
	int fd = -1;

	if (--dir->fd_users == 0)
		lru_append(t, dir);
	if (t->fds_open > t->fds_max)
		fd = take_oldest(t);
	inode_drop_ref_(t, dir);
	return fd;
}

void inode_dirfd_put(struct inode_table *t, struct inode *dir)
{
	CLEANUP_FD int excess = -1;

	inode_lock_(t);
	excess = unpin(t, dir);
	inode_unlock_(t);
}

bool inode_dirfd_evict(struct inode_table *t)
{
	CLEANUP_FD int fd = -1;

	inode_lock_(t);
	fd = take_oldest(t);
	inode_unlock_(t);
	return fd >= 0;
}

void inode_table_set_spare(struct inode_table *t,
			   bool (*spare)(void *arg, int err, unsigned *tries),
			   void *arg)
{
	t->spare = spare;
	t->spare_arg = arg;
}

bool inode_spare_fd_(struct inode_table *t, int err, unsigned *tries)
{
	return err && t->spare && t->spare(t->spare_arg, err, tries);
}

/* The directories to open one after the other, the topmost last. */
struct chain {
	struct inode **dirs; /* each with a reference of ours */
	size_t count;
};

/*
 * How many directories from dir upwards have to be opened; 0 when no name
 * leads to it. What others do to a shared backing directory can make names
 * that are remembered go round in circles. Under the lock.
 */
static size_t chain_length(const struct inode_table *t, const struct inode *dir)
{
	size_t n = 0;

	for (; dir->fd < 0; dir = dir->links->parent)
		if (!dir->links || !dir->links->parent || ++n > t->inode_count)
			return 0;
	return n;
}

/* Collect them, and pin the open one above. Under the lock. */
static int chain_init(struct inode_table *t, struct inode *dir, struct chain *c,
		      struct inode **top)
{
	size_t n = chain_length(t, dir);
	struct inode **dirs;

	if (n == 0)
		return -ESTALE;
	dirs = calloc(n, sizeof(struct inode *));
	if (!dirs)
		return -ENOMEM;
	for (size_t k = 0; k < n; k++, dir = dir->links->parent) {
		dir->refs++;
		dirs[k] = dir;
	}
	pin(t, dir);
	*top = dir;
	*c = (struct chain){.dirs = dirs, .count = n};
	return 0;
}

static void chain_fini(struct inode_table *t, struct chain *c)
{
	inode_lock_(t);
	for (size_t k = 0; k < c->count; k++)
		inode_drop_ref_(t, c->dirs[k]);
	inode_unlock_(t);
	free(c->dirs);
}

static int open_checked(const struct inode *dir, int parent_fd,
			const char *entry, int *out)
{
	CLEANUP_FD int fd = -1;
	struct statx stx;
	int err = vdir_open_path(parent_fd, entry, &fd);

	if (err == -ENOENT || err == -ENOTDIR || err == -ELOOP)
		return -ESTALE;
	if (err)
		return err;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME,
		  &stx) < 0)
		return -errno;
	if (!inode_is(dir, &stx))
		return -ESTALE;
	*out = TAKE_FD(fd);
	return 0;
}

/* Open and pin dir, whose parent is pinned. */
static int open_below(struct inode_table *t, struct inode *parent,
		      struct inode *dir)
{
	char entry[NAME_BACKING_MAX + 1];
	CLEANUP_FD int fd = -1;
	bool open, known;
	int err;

	inode_lock_(t);
	open = pin(t, dir);
	known = dir->links && dir->links->parent == parent;
	if (!open && known)
		strcpy(entry, dir->links->entry);
	inode_unlock_(t);
	if (open)
		return 0;
	err = known ? open_checked(dir, parent->fd, entry, &fd) : -ESTALE;
	if (err)
		return err;
	inode_lock_(t);
	if (dir->fd < 0) {
		dir->fd = TAKE_FD(fd);
		dir->fd_users = 1;
		dir->refs++;
		t->fds_open++;
	} else {
		pin(t, dir); /* somebody else was faster */
	}
	inode_unlock_(t);
	return 0;
}

static int pin_or_open(struct inode_table *t, struct inode *dir)
{
	struct inode *above = NULL;
	struct chain c = {0};
	bool open;
	int err = 0;

	inode_lock_(t);
	open = pin(t, dir);
	if (!open)
		err = chain_init(t, dir, &c, &above);
	inode_unlock_(t);
	if (open || err)
		return err;
	for (size_t k = c.count; k-- > 0 && !err; above = c.dirs[k]) {
		err = open_below(t, above, c.dirs[k]);
		inode_dirfd_put(t, above);
	}
	chain_fini(t, &c);
	return err;
}

int inode_dirfd_get(struct inode_table *t, struct inode *dir, int *fd)
{
	struct inode_motion m = {0};
	unsigned tries = 0;
	int err;

	do {
		inode_motion_watch_(t, &m);
		err = pin_or_open(t, dir);
	} while ((err == -ESTALE && inode_motion_over_(t, &m)) ||
		 inode_spare_fd_(t, err, &tries));
	if (!err)
		*fd = dir->fd;
	return err;
}
