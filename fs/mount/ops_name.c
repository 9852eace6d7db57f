/* Names: made and linked. */
#include "former.h"
#include "vlink.h"

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
	struct fs *fs;
	struct inode *inode;
	const struct fs_name *to;
	struct former moves;
	bool known; /* something was, of the new name */
};

/* What is remembered of the name must fit whatever a crash leaves. */
static int look_before_link(struct link_request *r, const struct inode_place *p)
{
	struct fs_name from = {.dir = p->dir, .dirfd = p->dirfd};
	int err;

	if (!p->dir || inode_dirid(r->fs->inodes, p->dir, from.dirid))
		return 0;
	strcpy(from.backing.entry, p->entry);
	former_look(r->fs, &from, r->inode, r->inode->type, &r->moves);
	err = former_check(r->fs, r->inode, &r->moves);
	if (!err)
		r->known = former_expect(r->fs, r->to, &r->moves, &from);
	return err;
}

static int link_from_place(const struct inode_place *p, void *arg)
{
	struct link_request *r = arg;
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
	err = look_before_link(r, p);
	if (!err &&
	    linkat(p->dirfd, p->entry, to->dirfd, to->backing.entry, 0) == 0)
		return vlink_companion_keep(p->dirfd, to->dirfd, companion);
	err = err ? err : -errno;
	/* there may be a third link beside it that needs the companion */
	if (stx.stx_nlink == 1)
		vlink_companion_drop(to->dirfd, companion);
	else
		vlink_companion_settle(to->dirfd, companion);
	return err;
}

static int make_link(struct fs *fs, struct inode *i, const struct fs_name *to)
{
	struct link_request r = {.fs = fs, .inode = i, .to = to};
	int err;

	if (i->parked)
		return -ENOENT;
	err = vdir_long_name_put(to->dirfd, &to->backing);
	if (err)
		return err;
	err = inode_at_place(fs->inodes, i, link_from_place, &r);
	if (err) {
		vdir_long_name_drop(to->dirfd, to->backing.entry);
	} else {
		vdir_long_name_keep(to->dirfd, &to->backing);
		if (r.known)
			former_taken(fs, to, &r.moves, NULL);
	}
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

void ops_fill_name(struct fuse_lowlevel_ops *ops)
{
	ops->mknod = ops_mknod;
	ops->mkdir = ops_mkdir;
	ops->symlink = ops_symlink;
	ops->link = ops_link;
}
