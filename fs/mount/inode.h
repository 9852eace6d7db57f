/*
 * The inodes that the kernel knows, and how to reach their backing files.
 *
 * An inode holds no descriptor of its own. It knows its links (parent inode
 * and backing name); descriptors of directories are opened along them when
 * needed and kept in a bounded cache, so that any number of inodes gets along
 * with few descriptors. The kernel's node id is the inode's address.
 *
 * An inode is the same as long as device, number and birth time are: file
 * systems give the number of a deleted file to the next one.
 */
#ifndef FROND_INODE_H
#define FROND_INODE_H

#include "vfile.h"

#include <fuse_lowlevel.h>
#include <stdatomic.h>

/* One name of an inode, as the backing directory has it. */
struct link;

/*
 * A file that shows what lies in another vault (granted.h). The kernel
 * believes no new size of an inode that it knows when it collects writes, so
 * another version of the content is another inode.
 */
struct inode_grant {
	uint64_t version;  /* not 0 */
	struct statx stub; /* the backing file that stands for it here */
};

struct inode {
	/* the table's lock */
	struct inode *hash_next;
	struct link *links;
	uint64_t nlookup; /* the kernel's references */
	unsigned refs;	  /* ours: links of children, requests, open handles */
	bool gone;	  /* its last name is: no look-up finds it any more */

	/* set once */
	dev_t dev;
	ino_t ino;
	uint64_t btime_ns;
	mode_t type;		   /* S_IFMT bits */
	struct inode_grant *grant; /* NULL: the inode's content is its own */

	/*
	 * The lowest bit: no attributes but system.* are stored with it. The
	 * others count changes, so that nobody notes what was so before one.
	 */
	_Atomic unsigned bare;

	/*
	 * The kernel has its attributes as they are, as far as we know: it
	 * was told, and nothing has changed them since.
	 */
	_Atomic bool told;

	_Atomic(struct stat *) removed; /* set once: as it was when it went */

	/* How often it has got a name; so many of them were looked at, and
	 * one at least is its own (inode_check_names()). */
	_Atomic unsigned named, placed;

	/* directories */
	_Atomic bool looked_into; /* for an entry, since that was last asked */
	_Atomic bool has_dirid;
	_Atomic bool dirid_told;  /* the log has said that it is damaged */
	uint8_t dirid[DIRID_LEN]; /* set once, before has_dirid */
	int fd;			  /* the table's lock; O_PATH, or -1 */
	unsigned fd_users;	  /* the table's lock */
	struct inode *lru_prev, *lru_next; /* while fd has no users */

	/* regular files: ops_file.c's cache of open files */
	struct open_file *file; /* the file cache's lock */
	/* The file cache's lock: of one that was open lately, vfile_id() and
	 * vfile_born_s(); else born_s is 0. */
	uint8_t file_id[FILE_ID_LEN];
	uint64_t born_s;
	_Atomic unsigned opens;	  /* open handles of the kernel's */
	_Atomic unsigned writers; /* those of them that may write */
	_Atomic bool parked;	  /* its only link left is in orphans/ */
	_Atomic bool privs_clean; /* no set-id bits, no capabilities: known */
	/* Changes of attributes, counted when they have been made; so many of
	 * them are durable, but for the modification time. */
	_Atomic unsigned attrs_changed, attrs_durable;
	/* mtime.h: what the kernel knows, 0 if that is not known; and whether
	 * its writes have moved it since */
	_Atomic int64_t known_mtime_ns;
	_Atomic bool mtime_moved;
};

struct inode_table;

/* dir_fds: how many directory descriptors may be kept. */
MUST_CHECK int inode_table_new(struct vault *vault, size_t dir_fds,
			       struct inode_table **out);
void inode_table_free(struct inode_table *t);
/*
 * Whom to ask for a descriptor when opening fails with err; true: try again.
 * To be set before the first request; without, such failures are final.
 */
void inode_table_set_spare(struct inode_table *t,
			   bool (*spare)(void *arg, int err, unsigned *tries),
			   void *arg);

/* The root for FUSE_ROOT_ID, else the id's inode. */
struct inode *inode_of(struct inode_table *t, fuse_ino_t id);
fuse_ino_t inode_id(const struct inode_table *t, const struct inode *i);
/* The number that users see: the backing one, unless on another device. */
ino_t inode_number(const struct inode_table *t, dev_t dev, ino_t ino);
/* Is what statx (FS_STATX_MASK) saw this inode? */
bool inode_is(const struct inode *i, const struct statx *stx);

/*
 * The inode of what statx said about entry in parent, with one more kernel
 * reference (nlookup) and the link remembered. NULL when memory is short.
 */
struct inode *inode_enter(struct inode_table *t, struct inode *parent,
			  const char *entry, const struct statx *stx);
/* The same for a file whose content lies elsewhere; *grant is copied. */
__attribute__((nonnull)) struct inode *
inode_enter_granted(struct inode_table *t, struct inode *parent,
		    const char *entry, const struct inode_grant *grant);
/* The kernel forgets n references. Frees what nobody refers to. */
void inode_forget(struct inode_table *t, struct inode *i, uint64_t n);
/* Our own references. */
void inode_ref(struct inode_table *t, struct inode *i);
void inode_unref(struct inode_table *t, struct inode *i);

/*
 * All inodes of which wanted(), called under the table's lock, says so: each
 * with a reference of ours, in an array to be freed.
 */
MUST_CHECK int inode_collect(struct inode_table *t,
			     bool (*wanted)(const struct inode *i),
			     struct inode ***out, size_t *count);

/* Its last name was removed here, so nothing leads to it any more. */
bool inode_is_gone(struct inode_table *t, const struct inode *i);

/* The known inode behind a name, with a reference of ours, or NULL. */
struct inode *inode_peek(struct inode_table *t, struct inode *parent,
			 const char *entry);
/*
 * Whoever moves or removes known names does so between these two, the calls
 * below included. Others who find a name missing then wait and try again.
 */
void inode_move_begin(struct inode_table *t);
void inode_move_end(struct inode_table *t);
/*
 * What happened to names in the backing directory. last: the inode has no
 * name left but the one in orphans/, if it was parked.
 */
void inode_link_gone(struct inode_table *t, struct inode *parent,
		     const char *entry, bool last);
void inode_link_moved(struct inode_table *t, struct inode *from_dir,
		      const char *from, struct inode *to_dir, const char *to);
void inode_links_swapped(struct inode_table *t, struct inode *a_dir,
			 const char *a, struct inode *b_dir, const char *b);
/*
 * A file's last name goes while it is open: from now on it is reached by this
 * name in orphans/. Called before the file gets there, as it may fail.
 */
MUST_CHECK int inode_park(struct inode_table *t, struct inode *i,
			  const char *orphan);
/* Delete it from orphans/, if it was parked: nobody has it open any more. */
void inode_unpark(struct inode_table *t, struct inode *i);

/*
 * What was removed and the kernel still refers to is not reached any more,
 * a directory once its descriptor is closed: this is what is told of it then.
 */
void inode_keep_stat(struct inode *i, const struct stat *st);

/*
 * An O_PATH descriptor of a directory inode, kept open until it is put back.
 * -ESTALE: no name of it is known any more, or what lies there is another.
 */
MUST_CHECK int inode_dirfd_get(struct inode_table *t, struct inode *dir,
			       int *fd);
void inode_dirfd_put(struct inode_table *t, struct inode *dir);
/* Close a directory's descriptor that is not in use; false: all are. */
bool inode_dirfd_evict(struct inode_table *t);
/* The directory's id, read on first use. -ETIME: see inode_check_names(). */
MUST_CHECK int inode_dirid(struct inode_table *t, struct inode *dir,
			   uint8_t dirid[static DIRID_LEN]);

/*
 * -ETIME: what is known by no other name than those was removed, moved away or
 * replaced before, and put back (memory.h); the log has said so. born_s and
 * dirid as memory_place_is_old() takes them.
 */
MUST_CHECK int inode_check_names(struct inode_table *t, struct inode *i,
				 uint64_t born_s, const uint8_t *dirid);
/* Whatever lies there is right, and worth another word when that changes. */
void inode_accept_name(struct inode_table *t,
		       const uint8_t dirid[static DIRID_LEN],
		       const char *entry);

/*
 * Where an inode lies now: a descriptor of the directory (put back with
 * inode_place_fini) and the entry's name in it. For the root: itself and ".".
 */
struct inode_place {
	struct inode *dir; /* NULL: orphans/ */
	int dirfd;
	char entry[NAME_BACKING_MAX + 1];
};
MUST_CHECK int inode_place_init(struct inode_table *t, struct inode *i,
				struct inode_place *p);
void inode_place_fini(struct inode_table *t, struct inode_place *p);
/*
 * Call fn where the inode lies. While it says -ENOENT or -ESTALE because the
 * inode was being moved, it is called again at the new place.
 */
MUST_CHECK int inode_at_place(struct inode_table *t, struct inode *i,
			      int (*fn)(const struct inode_place *p, void *arg),
			      void *arg);

/* A new O_PATH descriptor of the inode itself, checked to be it; caller's. */
MUST_CHECK int inode_open_path(struct inode_table *t, struct inode *i, int *fd);

/* Its backing path relative to the backing directory; malloced. */
MUST_CHECK int inode_backing_path(struct inode_table *t, struct inode *i,
				  char **path);
/*
 * Does it lie under a name that a synchronising service made for a copy, or in
 * a directory that does, or in orphans/?
 */
bool inode_is_copy(struct inode_table *t, struct inode *i);
/* Its plaintext path within the mount, for the log; malloced, best effort. */
char *inode_plain_path(struct inode_table *t, struct inode *i);

#endif
