/* From names to inodes and back to nothing; links; the file system itself. */
#include "fs.h"

#include <errno.h>
#include <sys/statvfs.h>

static void reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	struct inode_table *t = fs_of(req)->inodes;

	if (fuse_reply_entry(req, e) < 0 && e->ino)
		inode_forget(t, inode_of(t, e->ino), 1);
}

static void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e = {.entry_timeout = fs->timeout_s};
	struct fs_name n;
	int err = fs_name_init(fs, parent, name, &n);

	if (!err) {
		atomic_store_explicit(&n.dir->looked_into, true,
				      memory_order_relaxed);
		err = fs_enter(fs, n.dir, n.dirfd, n.backing.entry, &e);
		fs_name_fini(fs, &n);
	}
	/* without others, what is not there stays so: the kernel may know */
	if (err == -ENOENT && !fs->opt->shared)
		err = 0;
	if (err)
		fs_reply_err(req, err);
	else
		reply_entry(req, &e);
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	struct inode_table *t = fs_of(req)->inodes;

	inode_forget(t, inode_of(t, ino), nlookup);
	fuse_reply_none(req);
}

static void ops_forget_multi(fuse_req_t req, size_t count,
			     struct fuse_forget_data *forgets)
{
	struct inode_table *t = fs_of(req)->inodes;

	for (size_t k = 0; k < count; k++)
		inode_forget(t, inode_of(t, forgets[k].ino),
			     forgets[k].nlookup);
	fuse_reply_none(req);
}

struct readlink_request {
	struct fs *fs;
	char target[VLINK_TARGET_MAX + 1];
};

static int readlink_at_place(const struct inode_place *p, void *arg)
{
	struct readlink_request *r = arg;
	size_t len;
	int err = fs_read_link(r->fs, p->dirfd, p->entry, r->target, &len);

	return err == -ENOENT ? -ESTALE : err;
}

static void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct readlink_request r = {.fs = fs};
	int err = inode_at_place(fs->inodes, inode_of(fs->inodes, ino),
				 readlink_at_place, &r);

	if (err)
		fs_reply_err(req, err);
	else
		fuse_reply_readlink(req, r.target);
}

/* Below the backing directory other file systems may be mounted. */
static int statfs_inode(struct fs *fs, struct inode *i, struct statvfs *st)
{
	CLEANUP_FD int fd = -1;
	int err = inode_open_path(fs->inodes, i, &fd);

	if (err)
		return err;
	return fstatvfs(fd, st) < 0 ? -errno : 0;
}

static void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct inode *i = inode_of(fs->inodes, ino ? ino : FUSE_ROOT_ID);
	struct statvfs st;
	int err = statfs_inode(fs, i, &st);

	if (err == -ESTALE)
		err = fstatvfs(fs->vault->root_fd, &st) < 0 ? -errno : 0;
	if (err) {
		fs_reply_err(req, err);
		return;
	}
	st.f_namemax = NAME_PLAIN_MAX;
	fuse_reply_statfs(req, &st);
}

void ops_fill_lookup(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = ops_lookup;
	ops->forget = ops_forget;
	ops->forget_multi = ops_forget_multi;
	ops->readlink = ops_readlink;
	ops->statfs = ops_statfs;
}
