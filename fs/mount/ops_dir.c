/* Directories: listing what the backing directory has, under plain names. */
#include "dir_cache.h"
#include "log.h"
#include "xio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/*
 * So many entries of a listing are told with their attributes, whether anybody
 * asks for these or not: who lists a directory mostly looks at, reads or
 * removes what is in it, and a request for each costs more than saying it at
 * once. A kernel that is to find that out for itself (READDIRPLUS_AUTO) stops
 * after the first reply. The bound is for the inodes that nobody may need.
 */
enum { TELL_AHEAD_MAX = 16384 };

/* Lost names that a listing has told; "frondfs check" names all. */
enum { LOST_TOLD_MAX = 100 };

/* A reply being filled. */
struct listing {
	fuse_req_t req;
	struct fs *fs;
	struct inode *dir;
	struct dirhandle *h;
	struct dir_stream *s; /* of h */
	bool plus;	      /* readdirplus */
	uint8_t dirid[DIRID_LEN];
	char *buf;
	size_t size, used;
};

static struct dirhandle *handle_of(const struct fuse_file_info *fi)
{
	return (struct dirhandle *)(uintptr_t)fi->fh;
}

static void ops_opendir(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct inode *dir = inode_of(fs->inodes, ino);
	uint8_t dirid[DIRID_LEN];
	struct dirhandle *h;
	int err = inode_dirid(fs->inodes, dir, dirid);

	/* what is damaged is open to whoever looks at its attributes */
	if (err != -ETIME)
		err = dir_open(fs, dir, &h);
	if (err) {
		fs_reply_err(req, err);
		return;
	}
	fi->fh = (uintptr_t)h;
	/* No cache_readdir: a listing under way while an entry goes can fill
	 * the kernel's cache with what is no longer so (seen on 6.18). */
	if (fuse_reply_open(req, fi) == -ENOENT)
		dir_close(fs, h); /* the caller was interrupted: no release */
}

/* Stand at offset. From the start, the directory is looked at anew. */
static int stand_at(struct dir_stream *s, off_t offset)
{
	if (offset == s->next && offset != 0)
		return 0;
	if (lseek(s->fd, offset, SEEK_SET) < 0)
		return -errno;
	s->next = offset;
	s->at = s->used = 0;
	return 0;
}

/* The entry where we stand, or NULL at the end. */
static int current_entry(struct dir_stream *s, const struct dirent64 **out)
{
	if (s->at == s->used) {
		ssize_t n = getdents64(s->fd, s->batch, sizeof s->batch);

		if (n < 0)
			return -errno;
		s->at = 0;
		s->used = (size_t)n;
	}
	*out = s->used ? (const struct dirent64 *)(s->batch + s->at) : NULL;
	return 0;
}

static void step_over(struct dir_stream *s, const struct dirent64 *d)
{
	s->next = d->d_off;
	s->at += d->d_reclen;
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0;
}

static bool is_dotdot(const char *name)
{
	return strcmp(name, "..") == 0;
}

/* The number and type of an entry, as far as the directory itself tells. */
static void stat_from_dirent(const struct listing *l, const struct dirent64 *d,
			     struct stat *st)
{
	const struct inode *root = inode_of(l->fs->inodes, FUSE_ROOT_ID);
	ino_t ino = d->d_ino;

	if (is_dot(d->d_name) || (is_dotdot(d->d_name) && l->dir == root))
		ino = l->dir->ino;
	memset(st, 0, sizeof *st);
	st->st_ino = inode_number(l->fs->inodes, l->dir->dev, ino);
	st->st_mode = (mode_t)DTTOIF(d->d_type);
}

/* A name that cannot be read is the vault's own, or looks like it. */
static const char *what_is_wrong(const char *entry)
{
	switch (name_classify(entry)) {
	case NAME_KIND_LONG:
		return "its name is lost, as the file beside it that ends in "
		       ".name is missing or damaged; put that back from a "
		       "backup, or \"frondfs check --repair\" gives it another";
	case NAME_KIND_ENTRY:
		return "its name was not made in this directory; if it is the "
		       "vault's, move it back where it was, or \"frondfs check "
		       "--repair\" gives it a name here";
	default:
		return "it does not belong there";
	}
}

/* Say what is wrong with a backing entry, and where to find it. */
static void log_stranger(struct fs *fs, struct inode *dir, const char *entry,
			 const char *what, int err)
{
	CLEANUP_FREE char *path = inode_plain_path(fs->inodes, dir);
	CLEANUP_FREE char *backing = NULL;
	bool top = dir == inode_of(fs->inodes, FUSE_ROOT_ID);

	if (inode_backing_path(fs->inodes, dir, &backing))
		return;
	log_warning("%s: %s \"%s/%s%s%s\": %s", path ? path : "?", what,
		    fs->vault->path, top ? "" : backing, top ? "" : "/", entry,
		    err == -EBADMSG ? what_is_wrong(entry) : strerror(-err));
}

/* Each of the vault's own is named, once, if there are not very many. */
static bool is_news(const struct listing *l, const char *entry, int err)
{
	enum name_kind kind = name_classify(entry);
	bool said;

	if (err == -EBADMSG &&
	    (kind == NAME_KIND_LONG || kind == NAME_KIND_ENTRY))
		return damage_log_is_new(l->fs, l->dir, entry) &&
		       l->h->lost++ < LOST_TOLD_MAX;
	said = l->h->complained;
	l->h->complained = true;
	return !said;
}

/* Foreign and damaged entries are left out, and named. */
static void complain(const struct listing *l, const char *entry, int err)
{
	if (is_news(l, entry, err))
		log_stranger(l->fs, l->dir, entry, "a listing leaves out", err);
}

/* 0, -ENOENT: not to be shown, or what makes the listing fail. */
static int plain_name(const struct listing *l, const char *entry,
		      char plain[static NAME_PLAIN_MAX + 1])
{
	unsigned tries = 0;
	int err;

	if (is_dot(entry) || is_dotdot(entry)) {
		snprintf(plain, NAME_PLAIN_MAX + 1, "%s", entry);
		return 0;
	}
	do {
		err = vdir_plain_name(l->fs->vault, l->s->fd, l->dirid, entry,
				      plain);
	} while (err && fs_spare_fd(l->fs, err, &tries));
	if (err == 0 || err == -ENOENT)
		return err;
	if (xio_is_shortage(err))
		return err;
	complain(l, entry, err);
	return -ENOENT;
}

/*
 * Does the kernel know all that could be said of this entry? Saying it again
 * would only make it forget the ACLs that it has read.
 */
static bool is_told(const struct listing *l, const char *entry)
{
	struct inode *i = inode_peek(l->fs->inodes, l->dir, entry);
	bool told = i && i->told;

	if (i)
		inode_unref(l->fs->inodes, i);
	return told;
}

/* From the bound on, each look-up says that they are wanted after all. */
static bool is_wanted(struct listing *l)
{
	if (l->h->told_ahead < TELL_AHEAD_MAX)
		return true;
	if (!atomic_exchange_explicit(&l->dir->looked_into, false,
				      memory_order_relaxed))
		return false;
	l->h->told_ahead = 0;
	return true;
}

/*
 * One entry with attributes. What cannot be looked up is listed without
 * them, as readdir would.
 */
static int add_plus(struct listing *l, const struct dirent64 *d,
		    const char *plain)
{
	struct fuse_entry_param e = {0};
	size_t room = l->size - l->used;
	bool bare = is_dot(plain) || is_dotdot(plain) || !is_wanted(l) ||
		    is_told(l, d->d_name);

	if (fuse_add_direntry_plus(l->req, NULL, 0, plain, NULL, 0) > room)
		return -ENOSPC;
	if (!bare) {
		int err = fs_enter(l->fs, l->dir, l->s->fd, d->d_name, &e);

		l->h->told_ahead++;
		if (err == -ENOENT)
			return 0;
		if (err)
			memset(&e, 0, sizeof e);
	}
	if (e.ino == 0)
		stat_from_dirent(l, d, &e.attr);
	l->used += fuse_add_direntry_plus(l->req, l->buf + l->used, room, plain,
					  &e, d->d_off);
	return 0;
}

static int add_plain(struct listing *l, const struct dirent64 *d,
		     const char *plain)
{
	size_t room = l->size - l->used, needed;
	struct stat st;

	stat_from_dirent(l, d, &st);
	needed = fuse_add_direntry(l->req, l->buf + l->used, room, plain, &st,
				   d->d_off);
	if (needed > room)
		return -ENOSPC;
	l->used += needed;
	return 0;
}

/* Fill the reply from offset on. */
static int fill(struct listing *l, off_t offset)
{
	const struct dirent64 *d = NULL;
	char plain[NAME_PLAIN_MAX + 1];
	int err = stand_at(l->s, offset);

	while (!err) {
		err = current_entry(l->s, &d);
		if (err || !d)
			return err;
		err = plain_name(l, d->d_name, plain);
		if (!err)
			err = l->plus ? add_plus(l, d, plain)
				      : add_plain(l, d, plain);
		else if (err == -ENOENT)
			err = 0;
		if (!err)
			step_over(l->s, d);
	}
	return err == -ENOSPC ? 0 : err;
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		 struct fuse_file_info *fi, bool plus)
{
	struct fs *fs = fs_of(req);
	CLEANUP_FREE char *buf = malloc(size);
	struct listing l = {.req = req,
			    .fs = fs,
			    .dir = inode_of(fs->inodes, ino),
			    .h = handle_of(fi),
			    .plus = plus,
			    .buf = buf,
			    .size = size};
	int err = buf ? inode_dirid(fs->inodes, l.dir, l.dirid) : -ENOMEM;

	if (!err)
		err = dir_acquire(fs, l.h, &l.s);
	if (!err) {
		err = fill(&l, offset);
		dir_release(fs, l.h);
	}
	/* what came before an error is good; the next call meets it again */
	if (err && l.used == 0)
		fs_reply_err(req, err);
	else
		fuse_reply_buf(req, buf, l.used);
}

struct stranger {
	char entry[NAME_BACKING_MAX + 1];
	int err; /* why no listing shows it; 0: there is none */
};

/* A .frondfs is another vault's, wherever directories are removed. */
static int why_not_shown(struct fs *fs, int fd,
			 const uint8_t dirid[static DIRID_LEN],
			 const char *entry)
{
	char plain[NAME_PLAIN_MAX + 1];

	if (strcmp(entry, NAME_VAULT_DIR) == 0)
		return -EBADMSG;
	return vdir_plain_name(fs->vault, fd, dirid, entry, plain);
}

/* The first entry that no listing shows, where none is shown. */
static void find_stranger(struct fs *fs, DIR *dir,
			  const uint8_t dirid[static DIRID_LEN],
			  struct stranger *s)
{
	const struct dirent *d;
	int err;

	s->err = 0;
	while ((d = readdir(dir))) {
		if (is_dot(d->d_name) || is_dotdot(d->d_name))
			continue;
		err = why_not_shown(fs, dirfd(dir), dirid, d->d_name);
		if (!err) {
			s->err = 0;
			return;
		}
		if (xio_is_shortage(err)) {
			s->err = 0;
			return;
		}
		if (err != -ENOENT && !s->err) {
			s->err = err;
			snprintf(s->entry, sizeof s->entry, "%s", d->d_name);
		}
	}
}

void fs_explain_not_empty(struct fs *fs, struct inode *dir)
{
	CLEANUP_DIR DIR *stream = NULL;
	uint8_t dirid[DIRID_LEN];
	struct stranger s;
	int path_fd, fd;

	if (inode_dirid(fs->inodes, dir, dirid) ||
	    inode_dirfd_get(fs->inodes, dir, &path_fd))
		return;
	fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	inode_dirfd_put(fs->inodes, dir);
	if (fd < 0)
		return;
	stream = fdopendir(fd);
	if (!stream) {
		close(fd);
		return;
	}
	find_stranger(fs, stream, dirid, &s);
	if (s.err)
		log_stranger(fs, dir, s.entry, "it looks empty but holds",
			     s.err);
}

static void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size,
			off_t offset, struct fuse_file_info *fi)
{
	list(req, ino, size, offset, fi, false);
}

static void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size,
			    off_t offset, struct fuse_file_info *fi)
{
	list(req, ino, size, offset, fi, true);
}

static void ops_releasedir(fuse_req_t req, fuse_ino_t ino,
			   struct fuse_file_info *fi)
{
	(void)ino;
	dir_close(fs_of(req), handle_of(fi));
	fuse_reply_err(req, 0);
}

static int sync_fd(int fd, bool data_only)
{
	return (data_only ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0;
}

static void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only,
			 struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct dirhandle *h = handle_of(fi);
	struct dir_stream *s;
	int err = dir_acquire(fs, h, &s);

	if (!err) {
		err = sync_fd(s->fd, data_only);
		dir_release(fs, h);
	} else if (err == -ESTALE &&
		   inode_is_gone(fs->inodes, inode_of(fs->inodes, ino))) {
		err = 0; /* removed: nothing in it can be lost any more */
	}
	fs_reply_err(req, err);
}

void ops_fill_dir(struct fuse_lowlevel_ops *ops)
{
	ops->opendir = ops_opendir;
	ops->readdir = ops_readdir;
	ops->readdirplus = ops_readdirplus;
	ops->releasedir = ops_releasedir;
	ops->fsyncdir = ops_fsyncdir;
}
