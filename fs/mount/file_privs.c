/* What a file loses when somebody writes it. */
#include "fs.h"
#include "vxattr.h"

#include <errno.h>
#include <fuse_lowlevel.h>

/*
 * The kernel has left it to us, and goes on with the mode that it knows, which
 * a program is executed by. Attributes alone: that waits for nobody, and has to
 * be so before the request is answered.
 */
static void tell_kernel(struct fs *fs, const struct inode *i)
{
	(void)!fuse_lowlevel_notify_inval_inode(fs->session,
						inode_id(fs->inodes, i), -1, 0);
}

int file_kill_privs(struct fs *fs, struct inode *i, struct vfile *f)
{
	struct stat st;
	mode_t drop = 0;
	int err;

	if (!wire_kill_privs() || i->privs_clean)
		return 0;
	if (fstat(vfile_fd(f), &st) < 0)
		return -errno;
	if (st.st_mode & S_ISUID)
		drop |= S_ISUID;
	if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		drop |= S_ISGID;
	if (drop && fchmod(vfile_fd(f), st.st_mode & 07777 & ~drop) < 0)
		return -errno;
	err = vxattr_remove(fs->vault, vfile_fd(f), "security.capability");
	if (drop || !err)
		i->attrs_changed++;
	if (drop)
		tell_kernel(fs, i);
	/* -EACCES: its owner's daemon may not write a file of this mode by
	 * name; an ordinary user's mount honours no capabilities anyway. */
	if (err && err != -ENODATA && err != -EOPNOTSUPP && err != -EPERM &&
	    err != -EACCES)
		return err;
	i->privs_clean = !fs->vault->shared && !(st.st_mode & S_ISGID & ~drop);
	return 0;
}
