/* Regular files: create, open, read, write, and what goes with a handle. */
#include "file_cache.h"
#include "gather.h"
#include "granted.h"
#include "journal.h"
#include "lock.h"
#include "mtime.h"
#include "pace.h"
#include "prefetch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { OPEN_SLOW_US = 8000 };

static struct open_handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct open_handle *)(uintptr_t)fi->fh;
}

static struct open_file *file_of(const struct fuse_file_info *fi)
{
	return handle_of(fi)->file;
}

static bool wants_write(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY;
}

static void fill_handle(struct fs *fs, struct fuse_file_info *fi,
			struct open_handle *h)
{
	bool granted = file_inode(h->file)->grant;

	fi->fh = (uintptr_t)h;
	/* Alone, the kernel's pages stay right; among others a file is looked
	 * at anew when it is opened, and appended to without pages, whose
	 * place nobody can know before the write. What lies in another vault
	 * is read there each time. */
	fi->keep_cache = !fs->opt->shared && !granted;
	fi->direct_io = granted || (fs->opt->shared && (fi->flags & O_APPEND));
}

/* Damage is logged where it is met. */
static void reply_file_err(fuse_req_t req, struct inode *i, int err,
			   uint64_t chunk)
{
	file_log_damage(fs_of(req), i, err, chunk);
	fs_reply_err(req, err);
}

static int open_timed(struct fs *fs, struct inode *i,
		      const struct fuse_file_info *fi, struct open_handle **out)
{
	struct pace pace;
	int64_t took;
	int err;

	pace_begin(&pace);
	err = file_open(fs, i, wants_write(fi), out);
	took = pace_end(&pace);
	/* only a slow one tells: it may have been open */
	if (took > OPEN_SLOW_US)
		prefetch_note(fs->prefetch, took);
	return err;
}

static int open_inode(fuse_req_t req, struct inode *i,
		      struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct open_handle *h;
	int err = fs->prefetch ? open_timed(fs, i, fi, &h)
			       : file_open(fs, i, wants_write(fi), &h);

	if (!err)
		fill_handle(fs, fi, h);
	return err;
}

static void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *i = inode_of(fs->inodes, ino);
	int err = open_inode(req, i, fi);

	if (err)
		reply_file_err(req, i, err, VFILE_NO_CHUNK);
	else if (fuse_reply_open(req, fi) == -ENOENT)
		file_close(fs, handle_of(fi));
}

/* Make a file under the caller's credentials. */
static int make_file_once(fuse_req_t req, const struct fs_name *n, mode_t mode,
			  struct vfile **vf)
{
	int err = creds_assume(req, fuse_req_ctx(req)->umask);

	if (err)
		return err;
	err = vfile_create(fs_of(req)->vault, n->dirfd, n->dirid, &n->backing,
			   mode, vf);
	creds_restore(req);
	return err;
}

/* What others hold is not let go of under them. */
static int make_file(fuse_req_t req, const struct fs_name *n, mode_t mode,
		     struct vfile **vf)
{
	unsigned tries = 0;
	int err;

	do {
		err = make_file_once(req, n, mode, vf);
	} while (err && fs_spare_fd(fs_of(req), err, &tries));
	return err;
}

/*
 * Create, or, where somebody else was faster and O_EXCL is not asked for,
 * open what is there.
 */
static int create_at(fuse_req_t req, const struct fs_name *n, mode_t mode,
		     struct fuse_entry_param *e, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct vfile *vf = NULL;
	struct open_handle *h;
	struct inode *i;
	int err = make_file(req, n, mode, &vf);

	if (err && (err != -EEXIST || (fi->flags & O_EXCL)))
		return err;
	n->dir->told = false;
	err = fs_enter(fs, n->dir, n->dirfd, n->backing.entry, e);
	if (err) {
		vfile_close(vf);
		return err;
	}
	i = inode_of(fs->inodes, e->ino);
	if (vf && fs->vault->exclusive)
		atomic_fetch_or(&i->bare, 1);
	if (!vf) {
		err = open_inode(req, i, fi);
	} else {
		err = file_open_made(fs, i, vf, wants_write(fi), &h);
		if (err)
			vfile_close(vf);
		else
			fill_handle(fs, fi, h);
	}
	if (err)
		inode_forget(fs->inodes, i, 1);
	return err;
}

static void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		       mode_t mode, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e = {0};
	struct fs_name n;
	int err = fs_name_init(fs, parent, name, &n);

	if (err) {
		fs_reply_err(req, err);
		return;
	}
	err = create_at(req, &n, mode, &e, fi);
	fs_name_fini(fs, &n);
	if (err) {
		fs_reply_err(req, err);
	} else if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		file_close(fs, handle_of(fi));
		inode_forget(fs->inodes, inode_of(fs->inodes, e.ino), 1);
	}
}

static void set_mtime_back(struct fs *fs, struct open_file *of)
{
	struct inode *i = file_inode(of);
	struct vfile *vf;

	if (!mtime_is_moved(i) || file_acquire(fs, of, false, &vf))
		return;
	journal_times_lock(fs->vault, i->ino);
	mtime_set_back(i, vfile_fd(vf));
	journal_times_unlock(fs->vault, i->ino);
	file_release(of);
}

static void ops_release(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);

	if (fs->opt->shared)
		lock_release(fs, inode_of(fs->inodes, ino), fi->fh);
	set_mtime_back(fs, file_of(fi));
	file_close(fs, handle_of(fi));
	fuse_reply_err(req, 0);
}

/* Sent only in a shared vault: elsewhere nothing waits for a close. */
static void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);

	lock_flush(fs, inode_of(fs->inodes, ino), fi->lock_owner);
	fuse_reply_err(req, 0);
}

/* What one READ gets: opened ahead, or now. */
struct reading {
	struct prefetched ahead;
	bool is_ahead;
	struct iovec iov[WORKSPACE_CHUNKS];
	int iov_count;
	uint64_t bad_chunk;
};

static ssize_t read_now(struct prefetch *prefetch, struct vfile *vf,
			struct reading *r)
{
	bool timed = prefetch_wants(prefetch, r->ahead.size);
	struct workspace *ws = workspace_get();
	struct pace pace;
	ssize_t n;

	if (!ws)
		return -ENOMEM;
	if (timed)
		pace_begin(&pace);
	n = vfile_read(vf, ws, r->ahead.offset, r->ahead.size, r->iov,
		       &r->iov_count, &r->bad_chunk);
	if (timed)
		prefetch_note(prefetch, pace_end(&pace));
	return n;
}

static ssize_t read_open_file(struct fs *fs, struct open_handle *h,
			      struct prefetch *prefetch, struct reading *r)
{
	struct vfile *vf;
	ssize_t n = file_acquire(fs, h->file, false, &vf);

	if (n)
		return n;
	r->is_ahead = prefetch_take(prefetch, h, vf, &r->ahead);
	n = r->is_ahead ? (ssize_t)r->ahead.len : read_now(prefetch, vf, r);
	file_release(h->file);
	return n;
}

static void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *i = file_inode(file_of(fi));
	struct prefetch *prefetch = i->grant ? NULL : fs->prefetch;
	struct reading r;
	ssize_t n = 0;

	(void)ino;
	r.is_ahead = false;
	r.iov_count = 0;
	r.bad_chunk = VFILE_NO_CHUNK;
	r.ahead.offset = (uint64_t)offset;
	r.ahead.size = size;
	if (i->grant)
		n = granted_check(fs, i);
	if (!n)
		n = read_open_file(fs, handle_of(fi), prefetch, &r);
	if (n < 0 && i->grant)
		granted_failed(fs, i, (int)n);
	/* before the reply: its reader may look */
	if (n > 0)
		counters_add(&fs->counters.read_bytes, (uint64_t)n);
	if (r.is_ahead)
		counters_add(&fs->counters.ready_reads, 1);
	if (n < 0)
		reply_file_err(req, i, (int)n, r.bad_chunk);
	else if (r.is_ahead)
		fuse_reply_iov(req, r.ahead.iov, r.ahead.iov_count);
	else
		fuse_reply_iov(req, r.iov, r.iov_count);
	if (r.is_ahead)
		prefetch_give_back(prefetch, &r.ahead);
}

static void ops_write(fuse_req_t req, fuse_ino_t ino, const char *data,
		      size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct open_file *of = file_of(fi);
	struct workspace *ws = workspace_get();
	struct vfile_write w = {
		.data = (const uint8_t *)data,
		.len = size,
		.offset = (uint64_t)offset,
		/* The kernel's idea of the end may be old among others. */
		.append = fs->opt->shared && (fi->flags & O_APPEND)};
	uint64_t bad_chunk = VFILE_NO_CHUNK;
	struct vfile *vf;
	int err = ws ? file_acquire(fs, of, true, &vf) : -ENOMEM;

	(void)ino;
	if (!err) {
		if (fs->collects_writes)
			mtime_before_write(fs->vault, file_inode(of),
					   vfile_fd(vf));
		err = file_kill_privs(fs, file_inode(of), vf);
		if (!err)
			err = gather_write(fs->gather, vf, ws, &w, &bad_chunk);
		if (fs->collects_writes)
			mtime_after_write(file_inode(of));
		file_release(of);
	}
	file_inode(of)->told = false;
	if (!err) {
		counters_add(&fs->counters.written_bytes, size);
		fuse_reply_write(req, size);
		return;
	}
	if (fi->writepage)
		file_log_unstored(fs, file_inode(of), err);
	reply_file_err(req, file_inode(of), err, bad_chunk);
}

static void ops_fsync(fuse_req_t req, fuse_ino_t ino, int data_only,
		      struct fuse_file_info *fi)
{
	struct open_file *of = file_of(fi);
	struct inode *i = file_inode(of);
	unsigned changed = i->attrs_changed, tries = 0;
	struct vfile *vf;
	int err = file_acquire(fs_of(req), of, false, &vf);

	(void)ino;
	if (!err) {
		/* What was only written needs no more than its data. */
		if (i->attrs_durable == changed)
			data_only = 1;
		do {
			err = vfile_sync_for(vf, data_only,
					     &handle_of(fi)->told);
		} while (fs_spare_fd(fs_of(req), err, &tries));
		if (!err && !data_only)
			i->attrs_durable = changed;
		file_release(of);
	}
	fs_reply_err(req, err);
}

static void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode,
			  off_t offset, off_t len, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct open_file *of = file_of(fi);
	struct workspace *ws = workspace_get();
	uint64_t bad_chunk = VFILE_NO_CHUNK;
	struct vfile *vf;
	int err = ws ? file_acquire(fs, of, true, &vf) : -ENOMEM;

	(void)ino;
	if (!err) {
		if (fs->collects_writes)
			mtime_before_write(fs->vault, file_inode(of),
					   vfile_fd(vf));
		err = file_kill_privs(fs, file_inode(of), vf);
		if (!err)
			err = vfile_allocate(vf, ws, mode, (uint64_t)offset,
					     (uint64_t)len, &bad_chunk);
		if (fs->collects_writes)
			mtime_after_write(file_inode(of));
		file_release(of);
	}
	file_inode(of)->told = false;
	reply_file_err(req, file_inode(of), err, bad_chunk);
}

void ops_fill_file(struct fuse_lowlevel_ops *ops, bool shared)
{
	ops->open = ops_open;
	ops->create = ops_create;
	ops->release = ops_release;
	ops->read = ops_read;
	ops->write = ops_write;
	ops->fsync = ops_fsync;
	ops->fallocate = ops_fallocate;
	if (shared)
		ops->flush = ops_flush;
}
