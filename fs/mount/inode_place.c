/* Where inodes lie in the backing directory. */
#include "inode_internal.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int inode_place_init(struct inode_table *t, struct inode *i,
		     struct inode_place *p)
{
	const struct link *l;
	int err = 0;

	if (i == t->root) {
		inode_ref(t, i);
		p->dir = i;
		strcpy(p->entry, ".");
		return inode_dirfd_get(t, i, &p->dirfd);
	}
	inode_lock_(t);
	l = i->links;
	if (l) {
		p->dir = l->parent;
		strcpy(p->entry, l->entry);
		if (p->dir)
			p->dir->refs++;
	}
	inode_unlock_(t);
	if (!l)
		return -ESTALE;
	if (!p->dir)
		p->dirfd = t->vault->orphans_fd;
	else
		err = inode_dirfd_get(t, p->dir, &p->dirfd);
	if (err)
		inode_unref(t, p->dir);
	return err;
}

void inode_place_fini(struct inode_table *t, struct inode_place *p)
{
	if (!p->dir)
		return;
	inode_dirfd_put(t, p->dir);
	inode_unref(t, p->dir);
}

/*
 * In a shared vault a name may have gone behind our back: forget it. True if
 * the inode has another one.
 */
static bool drop_lost_name(struct inode_table *t, struct inode *i,
			   const struct inode_place *p)
{
	struct link *l;
	bool another;

	inode_lock_(t);
	l = p->dir ? inode_find_link_(t, p->dir, p->entry) : NULL;
	another = l && l->inode == i && !S_ISDIR(i->type) && i->links->next;
	if (another)
		inode_cut_link_(t, l);
	inode_unlock_(t);
	return another;
}

int inode_at_place(struct inode_table *t, struct inode *i,
		   int (*fn)(const struct inode_place *p, void *arg), void *arg)
{
	struct inode_motion m = {0};
	struct inode_place p;
	bool again;
	int err;

	do {
		again = false;
		inode_motion_watch_(t, &m);
		err = inode_place_init(t, i, &p);
		if (!err) {
			err = fn(&p, arg);
			if ((err == -ENOENT || err == -ESTALE) &&
			    t->vault->shared)
				again = drop_lost_name(t, i, &p);
			inode_place_fini(t, &p);
		}
		if (!again && (err == -ENOENT || err == -ESTALE))
			again = inode_motion_over_(t, &m);
	} while (again);
	return err;
}

struct open_path {
	const struct inode *inode;
	int fd;
};

static int open_path_at(const struct inode_place *p, void *arg)
{
	struct open_path *o = arg;
	CLEANUP_FD int fd =
		openat(p->dirfd, p->entry, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct statx stx;

	if (fd < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME,
		  &stx) < 0)
		return -errno;
	if (!inode_is(o->inode, &stx))
		return -ESTALE;
	o->fd = TAKE_FD(fd);
	return 0;
}

/* Also finds a removed one that is still kept open. */
static int dup_dirfd(struct inode_table *t, struct inode *dir, int *out)
{
	int dirfd, fd, err = inode_dirfd_get(t, dir, &dirfd);

	if (err)
		return err;
	fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	err = fd < 0 ? -errno : 0;
	inode_dirfd_put(t, dir);
	if (!err)
		*out = fd;
	return err;
}

int inode_open_path(struct inode_table *t, struct inode *i, int *fd)
{
	struct open_path o = {.inode = i, .fd = -1};
	unsigned tries = 0;
	int err;

	do {
		if (S_ISDIR(i->type))
			err = dup_dirfd(t, i, &o.fd);
		else
			err = inode_at_place(t, i, open_path_at, &o);
	} while (inode_spare_fd_(t, err, &tries));
	if (!err)
		*fd = o.fd;
	return err;
}

static bool is_known(const struct inode *dir,
		     const uint8_t id[static DIRID_LEN])
{
	return dir->has_dirid && memcmp(dir->dirid, id, DIRID_LEN) == 0;
}

/* Say so, once. */
static void tell_damaged(struct inode_table *t, struct inode *dir)
{
	CLEANUP_FREE char *path = NULL;

	if (atomic_exchange(&dir->dirid_told, true))
		return;
	path = inode_plain_path(t, dir);
	log_error("%s: the directory's id (.dirid) is missing or damaged, so "
		  "that no name in it can be read: unmount, and mend it with "
		  "\"frondfs check --repair\" of %s",
		  path && path[0] ? path : "the top directory", t->vault->path);
}

static int find_dirid(struct inode_table *t, struct inode *dir,
		      uint8_t dirid[static DIRID_LEN])
{
	uint8_t id[DIRID_LEN];
	unsigned tries = 0;
	bool aside = false;
	int dirfd, err;

	/* Among others, a number without a birth time may be another's now. */
	if (dir->has_dirid && (dir->btime_ns || !t->vault->shared)) {
		memcpy(dirid, dir->dirid, DIRID_LEN);
		return 0;
	}
	do {
		err = inode_dirfd_get(t, dir, &dirfd);
		if (err)
			return err;
		err = vdir_find_id(dirfd, id, &aside);
		/* names made with another id would be lost to this one, and
		 * new ones to the right one */
		if (!err && !is_known(dir, id))
			err = vdir_prove_id(t->vault, dirfd, id, aside);
		/* only mounts that may write have orphans */
		if (!err && aside && t->vault->orphans_fd >= 0 &&
		    vdir_mend_id(dirfd))
			log_warning("a directory stays without its .dirid");
		inode_dirfd_put(t, dir);
	} while (inode_spare_fd_(t, err, &tries));
	if (err)
		return err;
	inode_lock_(t);
	if (!dir->has_dirid) {
		memcpy(dir->dirid, id, DIRID_LEN);
		dir->has_dirid = true;
	}
	inode_unlock_(t);
	memcpy(dirid, id, DIRID_LEN);
	return 0;
}

int inode_dirid(struct inode_table *t, struct inode *dir,
		uint8_t dirid[static DIRID_LEN])
{
	int err = find_dirid(t, dir, dirid);

	if (err == -EIO)
		tell_damaged(t, dir);
	return err ? err : inode_check_names(t, dir, 0, dirid);
}
