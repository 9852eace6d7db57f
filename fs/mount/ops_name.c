/* Names: made, linked, removed and moved. */
#include "fs.h"
#include "granted.h"
#include "log.h"
#include "vlink.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Tell the kernel about what has just got this name; ends the request. */
static void reply_made(fuse_req_t req, struct fs_name *n, int err)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e = {0};

	n->dir->told = false;
	if (!err)
		err = fs_enter(fs, n->dir, n->dirfd, n->backing.entry, &e);
	fs_name_fini(fs, n);
	if (err)
		fs_reply_err(req, err);
	else if (fuse_reply_entry(req, &e) < 0)
		inode_forget(fs->inodes, inode_of(fs->inodes, e.ino), 1);
}

/* What is to be made: exactly one of these. */
struct making {
	mode_t mode; /* with the type */
	dev_t rdev;
	const char *target; /* of a symbolic link */
};

/* A special file or a symbolic link, with a long name's companion. */
static int make_plain_node(struct fs *fs, const struct fs_name *n,
			   const struct making *m)
{
	const char *entry = n->backing.entry;
	int err = vdir_long_name_put(n->dirfd, &n->backing);

	if (err)
		return err;
	if (m->target)
		err = vlink_make(fs->vault, n->dirfd, entry, m->target);
	else if (mknodat(n->dirfd, entry, m->mode, m->rdev) < 0)
		err = -errno;
	if (err)
		vdir_long_name_drop(n->dirfd, entry);
	else
		vdir_long_name_keep(n->dirfd, &n->backing);
	return err;
}

static int make_node(struct fs *fs, const struct fs_name *n,
		     const struct making *m)
{
	struct vfile *f = NULL;
	int err;

	if (S_ISDIR(m->mode))
		return vdir_make(n->dirfd, n->dirid, &n->backing,
				 m->mode & 07777);
	if (!S_ISREG(m->mode))
		return make_plain_node(fs, n, m);
	err = vfile_create(fs->vault, n->dirfd, n->dirid, &n->backing,
			   m->mode & 07777, &f);
	if (!err)
		vfile_close(f);
	return err;
}

static void make(fuse_req_t req, fuse_ino_t parent, const char *name,
		 const struct making *m)
{
	struct fs *fs = fs_of(req);
	unsigned tries = 0;
	struct fs_name n;
	int err = fs_name_init(fs, parent, name, &n);

	if (err) {
		fs_reply_err(req, err);
		return;
	}
	do {
		err = creds_assume(req, fuse_req_ctx(req)->umask);
		if (!err) {
			err = make_node(fs, &n, m);
			creds_restore(req);
		}
		/* what others hold is not let go of under them */
	} while (err && fs_spare_fd(fs, err, &tries));
	reply_made(req, &n, err);
}

static void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode, dev_t rdev)
{
	make(req, parent, name, &(struct making){.mode = mode, .rdev = rdev});
}

static void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode)
{
	make(req, parent, name,
	     &(struct making){.mode = (mode & 07777) | S_IFDIR});
}

static void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
			const char *name)
{
	make(req, parent, name,
	     &(struct making){.mode = S_IFLNK, .target = target});
}

struct link_request {
	const struct inode *inode;
	const struct fs_name *to;
};

static int link_from_place(const struct inode_place *p, void *arg)
{
	const struct link_request *r = arg;
	const struct fs_name *to = r->to;
	char companion[VLINK_COMPANION_MAX] = "";
	bool across = p->dir != to->dir;
	struct statx stx;
	int err = 0;

	if (statx(p->dirfd, p->entry, AT_SYMLINK_NOFOLLOW, FS_STATX_MASK,
		  &stx) < 0)
		return -errno;
	if (!inode_is(r->inode, &stx))
		return -ESTALE;
	if (across && S_ISLNK(r->inode->type)) {
		err = vlink_companion(p->dirfd, p->entry, companion);
		if (!err)
			err = vlink_companion_copy(p->dirfd, to->dirfd,
						   companion);
		if (err)
			return err;
	}
	if (linkat(p->dirfd, p->entry, to->dirfd, to->backing.entry, 0) == 0)
		return vlink_companion_keep(p->dirfd, to->dirfd, companion);
	err = -errno;
	/* there may be a third link beside it that needs the companion */
	if (stx.stx_nlink == 1)
		vlink_companion_drop(to->dirfd, companion);
	else
		vlink_companion_settle(to->dirfd, companion);
	return err;
}

static int make_link(struct fs *fs, struct inode *i, const struct fs_name *to)
{
	struct link_request r = {.inode = i, .to = to};
	int err;

	if (i->parked)
		return -ENOENT;
	err = vdir_long_name_put(to->dirfd, &to->backing);
	if (err)
		return err;
	err = inode_at_place(fs->inodes, i, link_from_place, &r);
	if (err)
		vdir_long_name_drop(to->dirfd, to->backing.entry);
	else
		vdir_long_name_keep(to->dirfd, &to->backing);
	return err;
}

static void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		     const char *name)
{
	struct fs *fs = fs_of(req);
	unsigned tries = 0;
	struct fs_name to;
	int err = fs_name_init(fs, parent, name, &to);

	if (err) {
		fs_reply_err(req, err);
		return;
	}
	do {
		err = make_link(fs, inode_of(fs->inodes, ino), &to);
	} while (err && fs_spare_fd(fs, err, &tries));
	reply_made(req, &to, err);
}

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
	int err;

	inode_move_begin(fs->inodes);
	err = vdir_remove(n->dirfd, &n->backing);
	if (!err)
		inode_link_gone(fs->inodes, n->dir, n->backing.entry, true);
	inode_move_end(fs->inodes);
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

static int move(struct fs *fs, struct moving *m)
{
	struct granted_removal removal = {0};
	bool survives = m->flags == 0 && must_survive(&m->target);
	bool held = m->flags == 0 && hold_dir(fs, m->target.inode);
	struct stat st;
	bool described = m->flags == 0 && describe(fs, &m->to, &m->target, &st);
	bool placed = false;
	int err = 0;

	if (m->flags == 0)
		granted_before_removal(fs, m->to.dirfd, m->to.backing.entry,
				       &removal);
	inode_move_begin(fs->inodes);
	if (survives)
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
		err = move(fs, m);
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

void ops_fill_name(struct fuse_lowlevel_ops *ops)
{
	ops->mknod = ops_mknod;
	ops->mkdir = ops_mkdir;
	ops->symlink = ops_symlink;
	ops->link = ops_link;
	ops->unlink = ops_unlink;
	ops->rmdir = ops_rmdir;
	ops->rename = ops_rename;
}
