/*
 * What this machine remembers of names (memory.h), noted as they are removed,
 * moved and replaced. Where the vault has no memory nothing is done, nor for
 * names that a synchronising service gave to copies: these come and go.
 */
#ifndef FROND_FORMER_H
#define FROND_FORMER_H

#include "fs.h"

/* What tells whether something was there before. */
struct former {
	uint64_t born_s; /* of a file or link; 0: it has none that is known */
	bool has_dirid;	 /* a directory's */
	bool has_id;	 /* a file's */
	uint8_t dirid[DIRID_LEN];
	uint8_t id[FILE_ID_LEN];
};

/* Learn it of what lies under a name; i: its inode if that is known. */
void former_look(struct fs *fs, const struct fs_name *n, struct inode *i,
		 mode_t type, struct former *f);

/* -ETIME: i is put back under all its names (the log has said so), and must
 * not be taken for right under another one. f: what was learnt of it. */
MUST_CHECK int former_check(struct fs *fs, struct inode *i,
			    const struct former *f);

/*
 * -EXDEV: a directory that a synchronising service copied has the ids of the
 * other, as has what is in it, and what is true of one is not of both: it is
 * copied instead, which gives it its own.
 */
MUST_CHECK int former_may_move(struct fs *fs, const struct fs_name *from,
			       const struct fs_name *to, mode_t type);

/*
 * f is about to get the name on purpose, which must not look old there, after
 * a crash either. from: where it lies now. Was anything known of the name?
 */
bool former_expect(struct fs *fs, const struct fs_name *n,
		   const struct former *f, const struct fs_name *from);
/* It has got it, from what had it before; NULL: nothing had. */
void former_taken(struct fs *fs, const struct fs_name *n,
		  const struct former *f, const struct former *before);
/* f has lost the name; NULL: it was no directory. */
void former_left(struct fs *fs, const struct fs_name *n,
		 const struct former *f);
/* A directory has lost it, and is no more. */
void former_dir_gone(struct fs *fs, const struct fs_name *n,
		     const struct former *f);

/* Its last name has gone, and nobody has it open. */
void former_file_gone(struct fs *fs, struct inode *i);

/* Whatever lies under the name now is right. -EOPNOTSUPP: nothing is known. */
MUST_CHECK int former_accept(struct fs *fs, const struct fs_name *n);

#endif
