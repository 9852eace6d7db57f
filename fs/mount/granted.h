/*
 * Files under Shared/ as the handlers meet them. A locked one is an ordinary
 * backing file but for its key: opening says why there is none. A granted one
 * is a stub in this vault; size, times and content are those of the sender's
 * backing file, read-only, and nothing about it stays in the kernel for longer
 * than a second.
 */
#ifndef FROND_GRANTED_H
#define FROND_GRANTED_H

#include "fs.h"
#include "inbox.h"

enum { GRANTED_TIMEOUT_S = 1 };

/* -ENOENT: what statx saw is nothing that the inbox knows. */
MUST_CHECK int granted_entry(struct fs *fs, const struct statx *stx,
			     struct inbox_entry *e);

/* What statx saw, and what is to be shown instead. */
struct granted_look {
	bool known;		  /* to the inbox: do not remember it long */
	bool granted;		  /* the rest holds */
	struct inode_grant grant; /* what inode_enter_granted wants */
	struct statx content; /* of the sender's file; stx_mask 0: not there */
};
void granted_look(struct fs *fs, const struct statx *stx,
		  struct granted_look *look);
/* Let *st, made from the stub, show the content; it may be missing. */
void granted_show(const struct statx *content, struct stat *st);
/* The content of a granted inode as it is now; stx_mask 0: not there. */
void granted_content(struct fs *fs, struct inode *i, struct statx *content);

/* The content of a granted inode, to be read. Errors of inbox_entry. */
MUST_CHECK int granted_open(struct fs *fs, struct inode *i, struct vfile **out);
/* May it still be read? -EKEYREVOKED, -EKEYEXPIRED. */
MUST_CHECK int granted_check(struct fs *fs, struct inode *i);
/* Reading it failed with err. */
void granted_failed(struct fs *fs, struct inode *i, int err);

/*
 * Why the backing file behind fd, of which vfile_open() said -ENOKEY, cannot
 * be opened. -ESTALE: it is granted by now; look it up again.
 */
MUST_CHECK int granted_why_locked(struct fs *fs, int fd);

/* The value of user.frondfs.share, malloced. */
MUST_CHECK int granted_describe(struct fs *fs, const struct inbox_entry *e,
				char **text);

/*
 * A name is going: look before, and say so after it has gone. Whoever removes
 * what others sent does not want it.
 */
struct granted_removal {
	bool known;
	struct statx stx;
};
void granted_before_removal(struct fs *fs, int dirfd, const char *entry,
			    struct granted_removal *r);
void granted_removed(struct fs *fs, const struct granted_removal *r);

#endif
