#include "fs.h"

#include "granted.h"

#include "chunk.h"
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

enum {
	STAT_BLOCK_SIZE = 4096,
	/* descriptors that others take as fast as they are spared end this */
	SPARE_TRIES_MAX = 200,
};

double fs_timeout_s(const struct fs *fs, bool shared_here)
{
	if (shared_here && fs->timeout_s > GRANTED_TIMEOUT_S)
		return GRANTED_TIMEOUT_S;
	return fs->timeout_s;
}

void fs_reply_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, err == -EBADMSG ? EIO : -err);
}

/* Directories last: whoever opens a chain of them has just opened those. */
static bool close_unused(struct fs *fs)
{
	size_t kept = journal_count_fds(fs->vault);
	bool closed = file_cache_evict(fs->files);

	if (closed && journal_count_fds(fs->vault) > kept)
		(void)journal_spare_fds(fs->vault);
	return closed || dir_cache_evict(fs->dirs, true) ||
	       inode_dirfd_evict(fs->inodes) || journal_spare_fds(fs->vault);
}

bool fs_spare_fd(struct fs *fs, int err, unsigned *tries)
{
	const struct timespec moment = {.tv_nsec = 1000000};

	if ((err != -EMFILE && err != -ENFILE) || (*tries)++ >= SPARE_TRIES_MAX)
		return false;
	/* all are in use: by requests, which end */
	if (!close_unused(fs))
		nanosleep(&moment, NULL);
	return true;
}

static struct timespec time_of(const struct statx_timestamp *t)
{
	return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

/* Everything but the size. */
static void fill_stat(struct fs *fs, const struct inode *i,
		      const struct statx *stx, struct stat *st)
{
	nlink_t nlink = stx->stx_nlink;

	if (i->parked && nlink > 0)
		nlink--;
	/* each directory below is a link, and one of the root's is hidden */
	if (inode_id(fs->inodes, i) == FUSE_ROOT_ID && nlink > 2)
		nlink--;
	*st = (struct stat){
		.st_ino = inode_number(fs->inodes, i->dev, i->ino),
		.st_mode = stx->stx_mode,
		.st_nlink = nlink,
		.st_uid = stx->stx_uid,
		.st_gid = stx->stx_gid,
		.st_rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
		.st_size = (off_t)stx->stx_size,
		.st_blksize = STAT_BLOCK_SIZE,
		.st_blocks = (blkcnt_t)stx->stx_blocks,
		.st_atim = time_of(&stx->stx_atime),
		.st_mtim = time_of(&stx->stx_mtime),
		.st_ctim = time_of(&stx->stx_ctime),
	};
}

static int look(int dirfd, const char *entry, struct statx *stx)
{
	return statx(dirfd, entry, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
		     FS_STATX_MASK, stx) < 0
		       ? -errno
		       : 0;
}

int fs_statx(const struct fs *fs, int dirfd, const char *entry,
	     struct statx *stx)
{
	uint64_t since = journal_times_kept(fs->vault);
	int err = look(dirfd, entry, stx);
	ino_t ino = err ? 0 : stx->stx_ino;

	if (err || !S_ISREG(stx->stx_mode) ||
	    !journal_times_moved(fs->vault, ino, since))
		return err;
	journal_times_lock(fs->vault, ino);
	err = look(dirfd, entry, stx);
	journal_times_unlock(fs->vault, ino);
	return err;
}

/* What the journal held may have got there since st was filled. */
static void look_again(struct fs *fs, const struct inode *i, int dirfd,
		       const char *entry, struct stat *st)
{
	struct stat now;

	if (entry && !journal_is_quiet(fs->vault) &&
	    fstatat(dirfd, entry, &now, AT_SYMLINK_NOFOLLOW) == 0 &&
	    now.st_ino == i->ino && now.st_dev == i->dev)
		st->st_size = now.st_size;
}

/* A length that no file has is shown as it is: open will say EIO. */
static void set_file_size(struct fs *fs, struct inode *i, int dirfd,
			  const char *entry, struct stat *st)
{
	uint64_t size;

	if (file_size_if_open(fs, i, &size) ||
	    journal_size(fs->vault, i->dev, i->ino, &size)) {
		st->st_size = (off_t)size;
		return;
	}
	look_again(fs, i, dirfd, entry, st);
	if (!chunk_shown_len((uint64_t)st->st_size, &size))
		st->st_size = (off_t)size;
}

int fs_read_link(struct fs *fs, int dirfd, const char *entry,
		 char target[static VLINK_TARGET_MAX + 1], size_t *len)
{
	unsigned tries = 0;
	int err;

	do {
		err = vlink_read(fs->vault, dirfd, entry, target, len);
	} while (err && fs_spare_fd(fs, err, &tries));
	return err;
}

int fs_stat_entry(struct fs *fs, struct inode *i, int dirfd, const char *entry,
		  const struct statx *stx, struct stat *st)
{
	char target[VLINK_TARGET_MAX + 1];
	size_t len;

	fill_stat(fs, i, stx, st);
	if (S_ISREG(i->type))
		set_file_size(fs, i, dirfd, entry, st);
	else if (S_ISLNK(i->type) &&
		 !fs_read_link(fs, dirfd, entry, target, &len))
		st->st_size = (off_t)len;
	return 0;
}

struct stat_request {
	struct fs *fs;
	struct inode *inode;
	struct stat *st;
};

static int stat_at_place(const struct inode_place *p, void *arg)
{
	const struct stat_request *r = arg;
	struct statx stx;
	int err = fs_statx(r->fs, p->dirfd, p->entry, &stx);

	if (err)
		return err == -ENOENT ? -ESTALE : err;
	if (!inode_is(r->inode, &stx))
		return -ESTALE;
	return fs_stat_entry(r->fs, r->inode, p->dirfd, p->entry, &stx, r->st);
}

static int stat_fd(struct fs *fs, struct inode *i, int fd, struct stat *st)
{
	struct statx stx;
	int err = fs_statx(fs, fd, "", &stx);

	return err ? err : fs_stat_entry(fs, i, -1, NULL, &stx, st);
}

static int stat_dir(struct fs *fs, struct inode *dir, struct stat *st)
{
	int fd, err = inode_dirfd_get(fs->inodes, dir, &fd);

	if (err)
		return err;
	err = stat_fd(fs, dir, fd, st);
	inode_dirfd_put(fs->inodes, dir);
	return err;
}

/* An open file answers even when no name leads to it. */
static int stat_open_file(struct fs *fs, struct inode *i, struct stat *st)
{
	struct vfile *f;
	int err = file_get(fs, i, false, &f);

	if (err)
		return err;
	err = stat_fd(fs, i, vfile_fd(f), st);
	file_put(fs, i);
	return err;
}

/* Where names have moved on to a newer version, the stub is as it was. */
static int stat_granted(struct fs *fs, struct inode *i, struct stat *st)
{
	struct stat_request r = {.fs = fs, .inode = i, .st = st};
	struct statx content;
	int err = inode_at_place(fs->inodes, i, stat_at_place, &r);

	if (err)
		err = fs_stat_entry(fs, i, -1, NULL, &i->grant->stub, st);
	if (err)
		return err;
	granted_content(fs, i, &content);
	granted_show(&content, st);
	return 0;
}

static int stat_existing(struct fs *fs, struct inode *i, struct stat *st)
{
	struct stat_request r = {.fs = fs, .inode = i, .st = st};
	uint64_t size;
	int err;

	if (S_ISDIR(i->type))
		return stat_dir(fs, i, st);
	if (S_ISREG(i->type) && file_size_if_open(fs, i, &size) &&
	    !stat_open_file(fs, i, st))
		return 0;
	err = inode_at_place(fs->inodes, i, stat_at_place, &r);
	/* among others the cache does not say what is open, but it is */
	if (err == -ESTALE && i->opens > 0 && !stat_open_file(fs, i, st))
		err = 0;
	return err;
}

int fs_stat(struct fs *fs, struct inode *i, struct stat *st)
{
	const struct stat *removed;
	int err;

	if (i->grant)
		return stat_granted(fs, i, st);
	err = stat_existing(fs, i, st);
	removed = i->removed;
	if (err != -ESTALE || !removed)
		return err;
	*st = *removed;
	return 0;
}

int fs_enter(struct fs *fs, struct inode *parent, int dirfd, const char *entry,
	     struct fuse_entry_param *e)
{
	struct fuse_entry_param found = {0};
	struct granted_look look;
	struct statx stx;
	struct inode *i;
	int err = fs_statx(fs, dirfd, entry, &stx);

	if (err)
		return err;
	granted_look(fs, &stx, &look);
	i = look.granted ? inode_enter_granted(fs->inodes, parent, entry,
					       &look.grant)
			 : inode_enter(fs->inodes, parent, entry, &stx);
	if (!i)
		return -ENOMEM;
	err = fs_stat_entry(fs, i, dirfd, entry, &stx, &found.attr);
	if (err) {
		inode_forget(fs->inodes, i, 1);
		return err;
	}
	if (look.granted)
		granted_show(&look.content, &found.attr);
	found.attr_timeout = found.entry_timeout = fs_timeout_s(fs, look.known);
	found.ino = inode_id(fs->inodes, i);
	found.generation = i->btime_ns;
	i->told = fs->vault->exclusive && !look.known;
	*e = found;
	return 0;
}

int fs_name_init(struct fs *fs, fuse_ino_t parent, const char *name,
		 struct fs_name *n)
{
	unsigned tries = 0;
	int err;

	n->dir = inode_of(fs->inodes, parent);
	err = inode_dirid(fs->inodes, n->dir, n->dirid);
	if (!err)
		err = inode_dirfd_get(fs->inodes, n->dir, &n->dirfd);
	if (err)
		return err;
	do {
		err = vdir_backing_name(fs->vault, n->dirfd, n->dirid, name,
					&n->backing);
	} while (err && fs_spare_fd(fs, err, &tries));
	if (err)
		inode_dirfd_put(fs->inodes, n->dir);
	return err;
}

void fs_name_fini(struct fs *fs, struct fs_name *n)
{
	inode_dirfd_put(fs->inodes, n->dir);
}
