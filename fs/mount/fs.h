/* What all handlers of one mount share. */
#ifndef FROND_FS_H
#define FROND_FS_H

#include "counters.h"
#include "inode.h"
#include "mount.h"
#include "vlink.h"

#include <sys/stat.h>

struct damage_log;
struct dir_cache;
struct file_cache;
struct gather;
struct lock_table;
struct prefetch;
struct sharing;
struct unmounter;
struct wire;

struct fs {
	struct vault *vault;
	const struct mount_options *opt;
	struct inode_table *inodes;
	struct file_cache *files;
	struct damage_log *damage;
	struct dir_cache *dirs;
	double timeout_s; /* of entries and attributes in the kernel */
	uid_t uid;	  /* the daemon's */
	_Atomic int64_t last_use_s; /* CLOCK_MONOTONIC, for idle= */
	char *mountpoint;	    /* absolute */
	dev_t dev;		    /* of the mount, as stat(2) shows it */
	bool collects_writes;	    /* the kernel does: writeback */
	bool labels;		    /* see xattr_labels_are_used() */
	struct fuse_session *session;
	unsigned background;   /* requests that the kernel keeps in flight of
				  those that nobody waits for, at most */
	atomic_uint answering; /* threads that have a request */
	struct wire *wire;
	struct unmounter *unmounter;
	struct lock_table *locks; /* NULL unless shared */
	struct sharing *sharing;
	struct prefetch *prefetch; /* NULL: none */
	struct gather *gather;	   /* NULL: none */
	struct counters counters;
};

static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/*
 * The one place where errors change sign: err is a negative errno, and what
 * only we know becomes EIO (-EBADMSG: damage) or ESTALE (-ETIME: put back).
 */
void fs_reply_err(fuse_req_t req, int err);

/*
 * Out of descriptors (err: -EMFILE, -ENFILE) one is closed that nobody uses, or
 * others get a moment to let go of theirs. True: it is worth trying again.
 * *tries: of the caller's, at first 0.
 */
bool fs_spare_fd(struct fs *fs, int err, unsigned *tries);

/* How long the kernel may remember a file; what others share changes. */
double fs_timeout_s(const struct fs *fs, bool shared_here);

/* Backing to plaintext: sizes of regular files and links, link counts. */
enum { FS_STATX_MASK = STATX_BASIC_STATS | STATX_BTIME };
/* Of an entry, or, if that is "", of dirfd itself; not through a symbolic link.
 * What the journal brings to its place does not show in the times. */
MUST_CHECK int fs_statx(const struct fs *fs, int dirfd, const char *entry,
			struct statx *stx);
MUST_CHECK int fs_stat(struct fs *fs, struct inode *i, struct stat *st);
/* The same for an entry of which statx is already at hand. */
MUST_CHECK int fs_stat_entry(struct fs *fs, struct inode *i, int dirfd,
			     const char *entry, const struct statx *stx,
			     struct stat *st);
/* vlink_read_born(), with few descriptors, too. */
MUST_CHECK int fs_read_link(struct fs *fs, int dirfd, const char *entry,
			    char target[static VLINK_TARGET_MAX + 1],
			    size_t *len, uint64_t *born_s);
/*
 * Look entry of parent up, fill *e, and count the kernel's reference. The
 * caller replies with it, or takes it back with inode_forget.
 */
MUST_CHECK int fs_enter(struct fs *fs, struct inode *parent, int dirfd,
			const char *entry, struct fuse_entry_param *e);

/*
 * A directory was found not to be empty. If it looks so, as all that is in
 * there are strangers to the vault, say in the log where they lie.
 */
void fs_explain_not_empty(struct fs *fs, struct inode *dir); /* ops_dir.c */

/* A name that a request is about: where it lies, or would lie. */
struct fs_name {
	struct inode *dir;
	int dirfd;
	uint8_t dirid[DIRID_LEN];
	struct backing_name backing;
};
MUST_CHECK int fs_name_init(struct fs *fs, fuse_ino_t parent, const char *name,
			    struct fs_name *n);
void fs_name_fini(struct fs *fs, struct fs_name *n);

/* The caller's fs credentials and umask for what is being made (creds.c). */
struct creds;
MUST_CHECK int creds_assume(fuse_req_t req, mode_t umask);
void creds_restore(fuse_req_t req);
/* Is the caller of this request in group gid? */
bool creds_in_group(fuse_req_t req, gid_t gid);

/*
 * What the kernel says and libfuse 3.14 does not pass on (wire.c): does the
 * request being handled by this thread ask for set-id bits and capabilities
 * to be dropped (FUSE_WRITE_KILL_SUIDGID, FATTR_KILL_SUIDGID,
 * FUSE_OPEN_KILL_SUIDGID)?
 */
bool wire_kill_privs(void);
extern const struct fuse_custom_io wire_io;

/* Does this kernel use SELinux's labels? (ops_xattr.c) */
bool xattr_labels_are_used(void);

/* The device number of what is mounted there (ops_seek.c); 0: unknown. */
dev_t seek_device(const char *mountpoint);

/* Handlers, one file for each kind of object: ops_*.c */
void ops_init(void *userdata, struct fuse_conn_info *conn); /* session.c */
void ops_fill_lookup(struct fuse_lowlevel_ops *ops);	    /* ops_lookup.c */
void ops_fill_attr(struct fuse_lowlevel_ops *ops);	    /* ops_attr.c */
void ops_fill_name(struct fuse_lowlevel_ops *ops);	    /* ops_name.c */
void ops_fill_move(struct fuse_lowlevel_ops *ops);	    /* ops_move.c */
void ops_fill_dir(struct fuse_lowlevel_ops *ops);	    /* ops_dir.c */
void ops_fill_file(struct fuse_lowlevel_ops *ops, bool shared); /* ops_file.c */
void ops_fill_seek(struct fuse_lowlevel_ops *ops);		/* ops_seek.c */
void ops_fill_xattr(struct fuse_lowlevel_ops *ops); /* ops_xattr.c */
void ops_fill_lock(struct fuse_lowlevel_ops *ops);  /* ops_lock.c */
void ops_fill_ioctl(struct fuse_lowlevel_ops *ops); /* ops_ioctl.c */

/*
 * Open files (file_cache.c): at most so many are open at once, those unused
 * longest are closed and opened again when needed.
 */
MUST_CHECK int file_cache_new(struct fs *fs, size_t max,
			      struct file_cache **out);
void file_cache_free(struct file_cache *c);
/* Close a file that is not in use; false: all are. */
bool file_cache_evict(struct file_cache *c);
/*
 * Open directories (dir_cache.c), bounded alike. evict closes the one unused
 * longest, if there are too many or at any rate; false: it did not.
 */
MUST_CHECK int dir_cache_new(size_t max, struct dir_cache **out);
void dir_cache_free(struct dir_cache *c);
bool dir_cache_evict(struct dir_cache *c, bool at_any_rate);
/* The inode's vfile, kept open until it is put back. */
MUST_CHECK int file_get(struct fs *fs, struct inode *i, bool for_writing,
			struct vfile **out);
void file_put(struct fs *fs, struct inode *i);
/* Its last name has gone, which it may have been kept open for. */
void file_removed(struct fs *fs, struct inode *i);
/* The size if the file is open here (its requests may be in flight). */
bool file_size_if_open(struct fs *fs, struct inode *i, uint64_t *size);
/* Its id and vfile_born_s(), if it was open lately. */
bool file_birth_if_known(struct fs *fs, struct inode *i,
			 uint8_t id[static FILE_ID_LEN], uint64_t *born_s);
/* Never close this one while the kernel has it open: no name leads to it. */
MUST_CHECK int file_pin(struct fs *fs, struct inode *i);
/*
 * What is wrong with files is said once each (file_damage.c): with -EBADMSG
 * that this chunk is damaged, with -ETIME that the file was put back, with the
 * file's plaintext path; nothing with other errors.
 */
MUST_CHECK int damage_log_new(struct damage_log **out);
void damage_log_free(struct damage_log *log);
void file_log_damage(struct fs *fs, struct inode *i, int err, uint64_t chunk);
/* And that a write of the kernel's own failed, of what a program had been told
 * that it was written. */
void file_log_unstored(struct fs *fs, struct inode *i, int err);
/* Has this entry of the directory, whose name is lost, not been named yet? */
bool damage_log_is_new(struct fs *fs, const struct inode *dir,
		       const char *entry);
/* Drop set-id bits and security.capability if the request asks for it. */
MUST_CHECK int file_kill_privs(struct fs *fs, struct inode *i, struct vfile *f);

#endif
