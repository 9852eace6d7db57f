/* Names: removed and moved. */
#include "former.h"
#include "granted.h"
#include "log.h"
#include "vlink.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* What lies under a name that is about to lose it, or to move. */
struct object {
	struct inode *inode; /* with a reference of ours; NULL: not known */
	mode_t type;	     /* 0: there is nothing */
	bool last;	     /* this is its only name */
	struct statx stx;    /* if there is something */
};

/*
 * The number of names is asked for now: who remembers it from getattr, which
 * the kernel sends in the middle of link and unlink, remembers it wrong.
 */
static int object_init(struct fs *fs, const struct fs_name *n, struct object *o)
{
	struct inode *i = inode_peek(fs->inodes, n->dir, n->backing.entry);
	struct statx stx;
	int err = fs_statx(fs, n->dirfd, n->backing.entry, &stx);

	*o = (struct object){0};
	if (err) {
		if (i)
			inode_unref(fs->inodes, i);
		return err == -ENOENT ? 0 : err;
	}
	/* others may have put something else there */
	if (i && !inode_is(i, &stx)) {
		inode_unref(fs->inodes, i);
		i = NULL;
	}
	*o = (struct object){.inode = i,
			     .type = stx.stx_mode & S_IFMT,
			     .last = stx.stx_nlink <= 1,
			     .stx = stx};
	return 0;
}

static void object_fini(struct fs *fs, struct object *o)
{
	if (!o->inode)
		return;
	o->inode->told = false;
	inode_unref(fs->inodes, o->inode);
}

/* Must the file outlive this name, its last, as somebody has it open? */
static bool must_survive(const struct object *o)
{
	return o->inode && S_ISREG(o->type) && o->last && o->inode->opens > 0 &&
	       !o->inode->grant;
}

/*
 * Once its name is gone: who opened it meanwhile must keep it, and the orphan
 * of who closed it meanwhile must go.
 */
static void settle_removed(struct fs *fs, struct object *o)
{
	struct inode *i = o->inode;

	if (!i || !S_ISREG(o->type) || !o->last)
		return;
	file_removed(fs, i);
	if (i->opens == 0)
		former_file_gone(fs, i);
	if (i->parked && i->opens == 0)
		inode_unpark(fs->inodes, i);
	else if (!i->parked && i->opens > 0 && file_pin(fs, i))
		log_warning("a file was unlinked while it was being opened");
}

/*
 * Give a file that is open a place in orphans/ by place(), which renames or
 * links it there. Where that cannot be, it is kept open instead. *placed: it
 * got there, though whoever closed it meanwhile may have deleted it again.
 */
static int set_aside(struct fs *fs, const struct fs_name *n, struct inode *i,
		     int (*place)(const struct fs_name *n, int orphans_fd,
				  const char *orphan),
		     bool *placed)
{
	char orphan[64];
	int err;

	xio_temp_name("", orphan, sizeof orphan);
	err = inode_park(fs->inodes, i, orphan);
	if (err)
		return err;
	err = place(n, fs->vault->orphans_fd, orphan);
	*placed = !err;
	if (!err) {
		/* closed before it got there: nobody else would delete it */
		if (!i->parked)
			unlinkat(fs->vault->orphans_fd, orphan, 0);
		return 0;
	}
	inode_unpark(fs->inodes, i);
	return err == -ENOENT ? err : file_pin(fs, i);
}

static int rename_aside(const struct fs_name *n, int orphans_fd,
			const char *orphan)
{
	return renameat(n->dirfd, n->backing.entry, orphans_fd, orphan) < 0
		       ? -errno
		       : 0;
}

static int link_aside(const struct fs_name *n, int orphans_fd,
		      const char *orphan)
{
	return linkat(n->dirfd, n->backing.entry, orphans_fd, orphan, 0) < 0
		       ? -errno
		       : 0;
}

/*
 * Somebody may hold what is being removed by an O_PATH descriptor, without
 * having opened it. False: nobody that is known.
 */
static bool describe(struct fs *fs, const struct fs_name *n,
		     const struct object *o, struct stat *st)
{
	return o->inode && o->last && !S_ISDIR(o->type) && !o->inode->grant &&
	       !fs_stat_entry(fs, o->inode, n->dirfd, n->backing.entry, &o->stx,
			      st);
}

static int remove_entry(struct fs *fs, const struct fs_name *n,
			const struct object *o)
{
	const char *entry = n->backing.entry;
	bool placed = false;
	int err;

	if (must_survive(o)) {
		err = set_aside(fs, n, o->inode, rename_aside, &placed);
		if (err || placed)
			return err;
	}
	return unlinkat(n->dirfd, entry, 0) < 0 ? -errno : 0;
}

static int unlink_name(struct fs *fs, const struct fs_name *n)
{
	char companion[VLINK_COMPANION_MAX] = "";
	struct granted_removal removal;
	struct object o;
	struct stat st;
	bool described;
	int err = object_init(fs, n, &o);

	if (err)
		return err;
	described = describe(fs, n, &o, &st);
	granted_before_removal(fs, n->dirfd, n->backing.entry, &removal);
	if (S_ISLNK(o.type))
		err = vlink_companion(n->dirfd, n->backing.entry, companion);
	if (!err) {
		inode_move_begin(fs->inodes);
		err = remove_entry(fs, n, &o);
		if (!err)
			inode_link_gone(fs->inodes, n->dir, n->backing.entry,
					o.last);
		if (!err && described)
			inode_keep_stat(o.inode, &st);
		inode_move_end(fs->inodes);
	}
	if (!err) {
		if (o.last)
			vlink_companion_drop(n->dirfd, companion);
		else
			vlink_companion_settle(n->dirfd, companion);
		vdir_long_name_drop(n->dirfd, n->backing.entry);
		former_left(fs, n, NULL);
		settle_removed(fs, &o);
		granted_removed(fs, &removal);
	}
	object_fini(fs, &o);
	return err;
}

/*
 * Whose working directory it is can still look at a directory that goes: keep
 * it open meanwhile. False: dir is none, or cannot be opened.
 */
static bool hold_dir(struct fs *fs, struct inode *dir)
{
	uint8_t dirid[DIRID_LEN];
	int fd;

	/* the directory's id binds its attributes, and goes first */
	return dir && S_ISDIR(dir->type) &&
	       !inode_dirid(fs->inodes, dir, dirid) &&
	       !inode_dirfd_get(fs->inodes, dir, &fd);
}

static void let_dir_go(struct fs *fs, struct inode *dir, bool removed)
{
	struct stat st;

	if (removed && !fs_stat(fs, dir, &st))
		inode_keep_stat(dir, &st);
	inode_dirfd_put(fs->inodes, dir);
}

static int remove_dir(struct fs *fs, const struct fs_name *n)
{
	struct inode *dir = inode_peek(fs->inodes, n->dir, n->backing.entry);
	bool held = hold_dir(fs, dir);
	struct former was;
	int err;

	former_look(fs, n, dir, S_IFDIR, &was);
	inode_move_begin(fs->inodes);
	err = vdir_remove(n->dirfd, &n->backing);
	if (!err)
		inode_link_gone(fs->inodes, n->dir, n->backing.entry, true);
	inode_move_end(fs->inodes);
	if (!err)
		former_dir_gone(fs, n, &was);
	if (held)
		let_dir_go(fs, dir, !err);
	if (dir && err == -ENOTEMPTY)
		fs_explain_not_empty(fs, dir);
	if (dir)
		inode_unref(fs->inodes, dir);
	return err;
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name,
			int (*remove)(struct fs *fs, const struct fs_name *n))
{
	struct fs *fs = fs_of(req);
	unsigned tries = 0;
	struct fs_name n;
	int err = fs_name_init(fs, parent, name, &n);

	if (!err) {
		do {
			err = remove(fs, &n);
		} while (err && fs_spare_fd(fs, err, &tries));
		n.dir->told = false;
		fs_name_fini(fs, &n);
	}
	fs_reply_err(req, err);
}

static void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, unlink_name);
}

static void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, parent, name, remove_dir);
}

/* A rename with what lies at both ends. */
struct moving {
	struct fs_name from, to;
	struct object moved, target;
	struct former moves, other; /* what is remembered by */
	bool known;		    /* something was, of the new name */
	unsigned flags;
};

static int rename_backing(const struct moving *m)
{
	struct vdir_rename r = {
		.from_fd = m->from.dirfd,
		.to_fd = m->to.dirfd,
		.from = &m->from.backing,
		.to = &m->to.backing,
		.flags = m->flags,
		.moved_is_link = S_ISLNK(m->moved.type),
		.target_is_link = S_ISLNK(m->target.type),
		.target_is_dir = S_ISDIR(m->target.type),
	};

	return vdir_rename(&r);
}

/* Tell the table what the backing directory looks like now. */
static void follow_rename(struct inode_table *t, const struct moving *m)
{
	const struct fs_name *from = &m->from, *to = &m->to;

	if (m->flags == RENAME_EXCHANGE) {
		inode_links_swapped(t, from->dir, from->backing.entry, to->dir,
				    to->backing.entry);
		return;
	}
	inode_link_gone(t, to->dir, to->backing.entry,
			m->target.last || S_ISDIR(m->target.type));
	inode_link_moved(t, from->dir, from->backing.entry, to->dir,
			 to->backing.entry);
}

/* What is remembered of both names must fit whatever a crash leaves. */
static int expect_rename(struct fs *fs, struct moving *m)
{
	bool exchange = m->flags == RENAME_EXCHANGE;
	int err;

	former_look(fs, &m->from, m->moved.inode, m->moved.type, &m->moves);
	if (exchange || S_ISDIR(m->target.type))
		former_look(fs, &m->to, m->target.inode, m->target.type,
			    &m->other);
	err = former_check(fs, m->moved.inode, &m->moves);
	if (!err && exchange)
		err = former_check(fs, m->target.inode, &m->other);
	if (err)
		return err;
	m->known = former_expect(fs, &m->to, &m->moves, &m->from);
	if (exchange)
		(void)former_expect(fs, &m->from, &m->other, &m->to);
	return 0;
}

static void remember_rename(struct fs *fs, const struct moving *m)
{
	if (m->flags == RENAME_EXCHANGE)
		former_taken(fs, &m->from, &m->other, &m->moves);
	else
		former_left(fs, &m->from, &m->moves);
	if (m->flags == 0 && S_ISDIR(m->target.type))
		former_dir_gone(fs, &m->to, &m->other);
	else if (m->target.type || m->known)
		former_taken(fs, &m->to, &m->moves,
			     m->target.type ? &m->other : NULL);
}

static int move(struct fs *fs, struct moving *m)
{
	struct granted_removal removal = {0};
	bool survives = m->flags == 0 && must_survive(&m->target);
	bool held = m->flags == 0 && hold_dir(fs, m->target.inode);
	struct stat st;
	bool described = m->flags == 0 && describe(fs, &m->to, &m->target, &st);
	bool placed = false;
	int err;

	if (m->flags == 0)
		granted_before_removal(fs, m->to.dirfd, m->to.backing.entry,
				       &removal);
	err = expect_rename(fs, m);
	inode_move_begin(fs->inodes);
	if (!err && survives)
		err = set_aside(fs, &m->to, m->target.inode, link_aside,
				&placed);
	if (!err) {
		err = rename_backing(m);
		if (!err)
			follow_rename(fs->inodes, m);
		if (!err && described)
			inode_keep_stat(m->target.inode, &st);
		if (err && survives)
			inode_unpark(fs->inodes, m->target.inode);
	}
	inode_move_end(fs->inodes);
	if (!err)
		remember_rename(fs, m);
	if (held)
		let_dir_go(fs, m->target.inode, !err);
	if (!err && m->flags == 0) {
		settle_removed(fs, &m->target);
		granted_removed(fs, &removal);
	}
	if (err == -ENOTEMPTY && m->target.inode)
		fs_explain_not_empty(fs, m->target.inode);
	return err;
}

static int check_and_move(struct fs *fs, struct moving *m)
{
	int err = former_may_move(fs, &m->from, &m->to, m->moved.type);

	if (!err && m->flags == RENAME_EXCHANGE)
		err = former_may_move(fs, &m->to, &m->from, m->target.type);
	return err ? err : move(fs, m);
}

static int rename_names(struct fs *fs, struct moving *m)
{
	int err = object_init(fs, &m->from, &m->moved);

	if (err)
		return err;
	err = object_init(fs, &m->to, &m->target);
	if (err) {
		object_fini(fs, &m->moved);
		return err;
	}
	if (!m->moved.type)
		err = -ENOENT;
	else if (m->moved.inode && m->moved.inode == m->target.inode)
		/* two names of one file both stay (rename(2)) */
		err = m->flags == RENAME_NOREPLACE ? -EEXIST : 0;
	else
		err = check_and_move(fs, m);
	object_fini(fs, &m->target);
	object_fini(fs, &m->moved);
	return err;
}

static int rename_request(struct fs *fs, fuse_ino_t parent, const char *name,
			  fuse_ino_t new_parent, const char *new_name,
			  unsigned flags)
{
	struct moving m = {.flags = flags};
	unsigned tries = 0;
	int err;

	if (flags != 0 && flags != RENAME_NOREPLACE && flags != RENAME_EXCHANGE)
		return -EINVAL;
	err = fs_name_init(fs, parent, name, &m.from);
	if (err)
		return err;
	err = fs_name_init(fs, new_parent, new_name, &m.to);
	if (!err) {
		do {
			err = rename_names(fs, &m);
		} while (err && fs_spare_fd(fs, err, &tries));
		m.from.dir->told = m.to.dir->told = false;
		fs_name_fini(fs, &m.to);
	}
	fs_name_fini(fs, &m.from);
	return err;
}

static void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		       fuse_ino_t new_parent, const char *new_name,
		       unsigned flags)
{
	fs_reply_err(req, rename_request(fs_of(req), parent, name, new_parent,
					 new_name, flags));
}

void ops_fill_move(struct fuse_lowlevel_ops *ops)
{
	ops->unlink = ops_unlink;
	ops->rmdir = ops_rmdir;
	ops->rename = ops_rename;
}
