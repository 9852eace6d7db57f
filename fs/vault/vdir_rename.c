#include "log.h"
#include "vdir.h"
#include "vlink.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Companions of the symbolic links at both ends; "" where there is none. */
struct end_links {
	bool across;	  /* the two directories differ */
	bool target_last; /* the target has no other name */
	char moved[VLINK_COMPANION_MAX];
	char target[VLINK_COMPANION_MAX];
};

static int is_same_directory(int a, int b, bool *same)
{
	struct stat sa, sb;

	if (fstat(a, &sa) < 0 || fstat(b, &sb) < 0)
		return -errno;
	*same = sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
	return 0;
}

static int plain_rename(const struct vdir_rename *r, unsigned flags)
{
	return renameat2(r->from_fd, r->from->entry, r->to_fd, r->to->entry,
			 flags) < 0
		       ? -errno
		       : 0;
}

static bool is_last_link(int dirfd, const char *entry)
{
	struct stat st;

	return fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_nlink == 1;
}

/* Another hard link in the same directory may still need the companion. */
static void drop_companion(int dirfd, const char *companion, bool last)
{
	if (last)
		vlink_companion_drop(dirfd, companion);
	else
		vlink_companion_settle(dirfd, companion);
}

/* The link that lies elsewhere, as entry, is not (or no more) in dirfd. */
static void drop_unless_shared(int link_fd, const char *entry, int dirfd,
			       const char *companion)
{
	if (companion[0])
		drop_companion(dirfd, companion, is_last_link(link_fd, entry));
}

static void undo_links(const struct vdir_rename *r, const struct end_links *l)
{
	if (!l->across)
		return;
	drop_unless_shared(r->from_fd, r->from->entry, r->to_fd, l->moved);
	if (r->flags & RENAME_EXCHANGE)
		drop_unless_shared(r->to_fd, r->to->entry, r->from_fd,
				   l->target);
}

/* Put companions where the links are about to be. */
static int prepare_links(const struct vdir_rename *r, struct end_links *l)
{
	bool exchange = r->flags & RENAME_EXCHANGE;
	int err = 0;

	if (r->moved_is_link && l->across)
		err = vlink_companion(r->from_fd, r->from->entry, l->moved);
	if (!err && r->target_is_link && (l->across || !exchange)) {
		err = vlink_companion(r->to_fd, r->to->entry, l->target);
		if (err == -ENOENT && !exchange)
			err = 0;
	}
	if (!err && l->moved[0])
		err = vlink_companion_copy(r->from_fd, r->to_fd, l->moved);
	if (!err && l->target[0] && exchange)
		err = vlink_companion_copy(r->to_fd, r->from_fd, l->target);
	if (l->target[0])
		l->target_last = is_last_link(r->to_fd, r->to->entry);
	if (err)
		undo_links(r, l);
	return err;
}

static void keep_companion(int from_fd, int to_fd, const char *companion)
{
	if (vlink_companion_keep(from_fd, to_fd, companion))
		log_error("the target of a symbolic link is lost: %s",
			  companion);
}

/* Drop the companions of links that have left. */
static void finish_links(const struct vdir_rename *r, const struct end_links *l)
{
	if (strcmp(l->moved, l->target) == 0)
		return;
	keep_companion(r->from_fd, r->to_fd, l->moved);
	if (r->flags & RENAME_EXCHANGE)
		keep_companion(r->to_fd, r->from_fd, l->target);
	drop_unless_shared(r->to_fd, r->to->entry, r->from_fd, l->moved);
	if (r->flags & RENAME_EXCHANGE)
		drop_unless_shared(r->from_fd, r->from->entry, r->to_fd,
				   l->target);
	else
		drop_companion(r->to_fd, l->target, l->target_last);
}

/* For file systems that cannot exchange: the target is absent for a moment. */
static int replace_dir_aside(const struct vdir_rename *r)
{
	char temp[64];
	int err;

	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	if (renameat(r->to_fd, r->to->entry, r->to_fd, temp) < 0)
		return -errno;
	err = plain_rename(r, 0);
	if (!err) {
		err = vdir_discard(r->to_fd, temp);
		if (!err)
			return 0;
		if (renameat(r->to_fd, r->to->entry, r->from_fd,
			     r->from->entry) < 0)
			log_error("a directory stays aside as %s", temp);
	}
	if (renameat(r->to_fd, temp, r->to_fd, r->to->entry) < 0)
		log_error("a directory stays aside as %s", temp);
	return err;
}

/*
 * For file systems without extended attributes. The target is there at any
 * instant: exchange, then remove the old one, which a crash in between would
 * leave under the name that was to go.
 */
static int exchange_and_discard(const struct vdir_rename *r)
{
	int err = plain_rename(r, RENAME_EXCHANGE);

	if (err == -EINVAL || err == -ENOSYS || err == -EOPNOTSUPP)
		return replace_dir_aside(r);
	if (err)
		return err;
	err = vdir_discard(r->from_fd, r->from->entry);
	if (err && plain_rename(r, RENAME_EXCHANGE))
		log_error("a rename over a directory could not be undone");
	return err;
}

/* Does it lie in the file system? All else is an error as any other, and not
 * worth a rename that a crash could leave half done. */
static bool cannot_hollow(int err)
{
	return err == -EOPNOTSUPP || err == -ENOSYS || err == -EPERM ||
	       err == -EACCES || err == -E2BIG || err == -EINVAL;
}

/*
 * rename(2) replaces what is really empty at once: so nothing may be in the
 * target, behind fd, not even its .dirid.
 */
static int replace_hollow(const struct vdir_rename *r, int fd)
{
	int err = vdir_hollow(fd);

	if (err)
		return cannot_hollow(err) ? exchange_and_discard(r) : err;
	err = plain_rename(r, 0);
	if (err && vdir_mend_id(fd))
		log_error("the .dirid of a directory could not be restored");
	return err == -EEXIST ? -ENOTEMPTY : err;
}

static int replace_dir(const struct vdir_rename *r)
{
	CLEANUP_FD int fd = -1;
	mode_t old_mode = 0;
	struct stat st;
	int err = vdir_open_path(r->to_fd, r->to->entry, &fd);

	if (err == -ENOENT || err == -ENOTDIR || err == -ELOOP)
		return plain_rename(r, 0);
	if (err)
		return err;
	if (fstatat(r->from_fd, r->from->entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -EISDIR;
	err = vdir_grant(fd, &old_mode);
	if (err)
		return err;
	err = vdir_check_empty(fd);
	if (!err)
		err = replace_hollow(r, fd);
	if (err)
		vdir_restore(fd, old_mode);
	return err;
}

static int move_entry(const struct vdir_rename *r)
{
	int err;

	if (r->flags & RENAME_NOREPLACE)
		return vdir_rename_exclusive(r->from_fd, r->from->entry,
					     r->to_fd, r->to->entry);
	if (r->target_is_dir)
		return replace_dir(r);
	err = plain_rename(r, 0);
	/* another mount may have put a directory there meanwhile */
	return err == -ENOTEMPTY || err == -EEXIST ? replace_dir(r) : err;
}

static int rename_apart(const struct vdir_rename *r, bool across)
{
	struct end_links links = {.across = across};
	int err = vdir_long_name_put(r->to_fd, r->to);

	if (err)
		return err;
	err = prepare_links(r, &links);
	if (!err) {
		err = r->flags & RENAME_EXCHANGE
			      ? plain_rename(r, RENAME_EXCHANGE)
			      : move_entry(r);
		if (err)
			undo_links(r, &links);
		else
			finish_links(r, &links);
		if (!err)
			vdir_long_name_keep(r->to_fd, r->to);
		if (!err && (r->flags & RENAME_EXCHANGE))
			vdir_long_name_keep(r->from_fd, r->from);
	}
	vdir_long_name_drop(r->to_fd, r->to->entry);
	vdir_long_name_drop(r->from_fd, r->from->entry);
	return err;
}

int vdir_rename(const struct vdir_rename *r)
{
	struct stat st;
	bool same = false;
	int err;

	if (r->flags != 0 && r->flags != RENAME_NOREPLACE &&
	    r->flags != RENAME_EXCHANGE)
		return -EINVAL;
	err = is_same_directory(r->from_fd, r->to_fd, &same);
	if (err)
		return err;
	if (!same || strcmp(r->from->entry, r->to->entry) != 0)
		return rename_apart(r, !same);
	if (fstatat(r->from_fd, r->from->entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return r->flags & RENAME_NOREPLACE ? -EEXIST : 0;
}
