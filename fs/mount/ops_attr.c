/* Attributes of inodes: modes, owners, times, lengths. */
#include "fs.h"
#include "journal.h"
#include "mtime.h"
#include "vxattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

static void reply_attr(fuse_req_t req, struct inode *i)
{
	struct fs *fs = fs_of(req);
	struct stat st;
	int err = fs_stat(fs, i, &st);

	if (err) {
		fs_reply_err(req, err);
		return;
	}
	i->told = fs->vault->exclusive && !i->grant;
	fuse_reply_attr(req, &st, fs_timeout_s(fs, i->grant));
}

static void ops_getattr(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi)
{
	(void)fi;
	reply_attr(req, inode_of(fs_of(req)->inodes, ino));
}

/*
 * What attributes are set on: a descriptor of the inode, O_PATH or, of an
 * open file, its own. /proc/self/fd serves both, also when no name is left.
 */
struct subject {
	fuse_req_t req;
	struct inode *inode;
	struct vfile *vfile; /* to be put back, or NULL */
	int fd;
	char proc[32];
};

static int subject_init(fuse_req_t req, struct inode *i, struct subject *s)
{
	struct fs *fs = fs_of(req);
	struct vfile *f = NULL;
	uint64_t size;
	int fd = -1, err = 0;

	if (!S_ISREG(i->type) || !file_size_if_open(fs, i, &size) ||
	    file_get(fs, i, false, &f))
		err = inode_open_path(fs->inodes, i, &fd);
	if (err == -ESTALE && i->opens > 0)
		err = file_get(fs, i, false, &f);
	if (err)
		return err;
	if (f)
		fd = vfile_fd(f);
	*s = (struct subject){.req = req, .inode = i, .vfile = f, .fd = fd};
	snprintf(s->proc, sizeof s->proc, "/proc/self/fd/%d", fd);
	return 0;
}

static void subject_fini(struct subject *s)
{
	if (s->vfile)
		file_put(fs_of(s->req), s->inode);
	else
		close(s->fd);
}

/*
 * Linux drops a file's set-id bits when its owner changes, whoever changes
 * it; its capabilities are kept under a name that only we know.
 */
static int set_owner(const struct subject *s, const struct stat *attr,
		     int to_set)
{
	uid_t uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1;
	gid_t gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1;
	int err;

	if (fchownat(s->fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		return -errno;
	if (!S_ISREG(s->inode->type))
		return 0;
	err = vxattr_remove(fs_of(s->req)->vault, s->fd, "security.capability");
	return err == -ENODATA || err == -EOPNOTSUPP ? 0 : err;
}

/* Members of other groups may not lend a file's group out (chmod(2)). */
static int set_mode(const struct subject *s, mode_t mode)
{
	struct stat st;

	s->inode->privs_clean = false;
	if ((mode & S_ISGID) && fuse_req_ctx(s->req)->uid != 0) {
		if (fstat(s->fd, &st) < 0)
			return -errno;
		if (!creds_in_group(s->req, st.st_gid))
			mode &= ~(mode_t)S_ISGID;
	}
	return chmod(s->proc, mode & 07777) < 0 ? -errno : 0;
}

static int set_size(fuse_req_t req, struct inode *i, off_t size)
{
	struct fs *fs = fs_of(req);
	struct workspace *ws = workspace_get();
	uint64_t bad_chunk = VFILE_NO_CHUNK;
	struct vfile *f;
	int err;

	if (!ws)
		return -ENOMEM;
	if (!S_ISREG(i->type))
		return -EINVAL;
	err = file_get(fs, i, true, &f);
	if (!err) {
		err = file_kill_privs(fs, i, f);
		if (!err)
			err = vfile_truncate(f, ws, (uint64_t)size, &bad_chunk);
		file_put(fs, i);
	}
	file_log_damage(fs, i, err, bad_chunk);
	return err;
}

enum {
	SET_OWNER = FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID,
	SET_MTIME = FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW,
	SET_ATIME = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW,
	SET_TIMES = SET_ATIME | SET_MTIME,
	ONLY_TIMES = SET_TIMES | FUSE_SET_ATTR_CTIME,
};

static struct timespec time_to_set(int to_set, int flag, int now_flag,
				   struct timespec given)
{
	if (to_set & now_flag)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	if (to_set & flag)
		return given;
	return (struct timespec){.tv_nsec = UTIME_OMIT};
}

static int set_times(const struct subject *s, const struct stat *attr,
		     int to_set)
{
	struct timespec times[2] = {
		time_to_set(to_set, FUSE_SET_ATTR_ATIME,
			    FUSE_SET_ATTR_ATIME_NOW, attr->st_atim),
		time_to_set(to_set, FUSE_SET_ATTR_MTIME,
			    FUSE_SET_ATTR_MTIME_NOW, attr->st_mtim),
	};
	int err;

	if (to_set & SET_MTIME)
		mtime_told(s->inode, &times[1]);
	journal_times_lock(fs_of(s->req)->vault, s->inode->ino);
	/* /proc leads to a symbolic link itself, not through it */
	err = utimensat(AT_FDCWD, s->proc, times, 0) < 0 ? -errno : 0;
	journal_times_unlock(fs_of(s->req)->vault, s->inode->ino);
	return err;
}

/* Times come last: everything else moves them. */
static int apply(const struct subject *s, const struct stat *attr, int to_set)
{
	int err = 0;

	if (to_set & SET_OWNER)
		err = set_owner(s, attr, to_set);
	if (!err && (to_set & FUSE_SET_ATTR_MODE))
		err = set_mode(s, attr->st_mode);
	if (!err && (to_set & FUSE_SET_ATTR_SIZE)) {
		err = set_size(s->req, s->inode, attr->st_size);
		/* also when the length is what it was */
		if (!(to_set & SET_MTIME))
			to_set |= FUSE_SET_ATTR_MTIME_NOW;
	}
	if (!err && (to_set & SET_TIMES))
		err = set_times(s, attr, to_set);
	/* The modification time alone follows what was written. */
	if (to_set & (SET_OWNER | FUSE_SET_ATTR_MODE | SET_ATIME))
		s->inode->attrs_changed++;
	return err;
}

/*
 * What lies in another vault is that one's. A kernel that collects writes
 * wants to have the times that it was told noted after a rename; if that
 * failed, the next read would hear of it.
 */
static void reply_granted(fuse_req_t req, struct inode *i, int to_set)
{
	if (to_set & ~(FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME))
		fs_reply_err(req, -EROFS);
	else
		reply_attr(req, i);
}

static void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
			int to_set, struct fuse_file_info *fi)
{
	struct inode *i = inode_of(fs_of(req)->inodes, ino);
	struct subject s;
	int err;

	(void)fi;
	if (i->grant) {
		reply_granted(req, i, to_set);
		return;
	}
	err = subject_init(req, i, &s);
	if (!err) {
		err = apply(&s, attr, to_set);
		subject_fini(&s);
	} else if (err == -ESTALE && i->removed && !(to_set & ~ONLY_TIMES)) {
		/* The kernel hands over times that it kept: of what nobody can
		 * reach any more. Else the next syncfs would hear of it. */
		err = 0;
	}
	if (err)
		fs_reply_err(req, err);
	else
		reply_attr(req, i);
}

void ops_fill_attr(struct fuse_lowlevel_ops *ops)
{
	ops->getattr = ops_getattr;
	ops->setattr = ops_setattr;
}
