#include "vdir.h"

#include "log.h"
#include "random.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

/* What xio_read_file says of a file that is not as we made it. */
static bool is_damage(int err)
{
	return err == -EFBIG || err == -EINVAL || err == -ELOOP ||
	       err == -ENODATA || err == -ENXIO;
}

int vdir_read_aside(int dirfd, uint8_t ids[static VDIR_IDS_LEN])
{
	char path[32];

	snprintf(path, sizeof path, "/proc/self/fd/%d", dirfd);
	if (getxattr(path, VDIR_ID_XATTR, ids, VDIR_IDS_LEN) != VDIR_IDS_LEN)
		return -EIO;
	return 0;
}

int vdir_find_id(int dirfd, uint8_t dirid[static DIRID_LEN], bool *aside)
{
	uint8_t bytes[VDIR_IDS_LEN];
	size_t len = 0;
	bool missing;
	int err = xio_read_file(dirfd, NAME_DIRID_FILE, bytes, sizeof bytes,
				&len);

	missing = err == -ENOENT;
	if (missing) {
		err = vdir_read_aside(dirfd, bytes);
		len = sizeof bytes;
	}
	if (is_damage(err))
		return -EIO;
	if (err)
		return err;
	if (len != sizeof bytes || sodium_is_zero(bytes, DIRID_LEN))
		return -EIO;
	memcpy(dirid, bytes, DIRID_LEN);
	*aside = missing;
	return 0;
}

int vdir_read_id(int dirfd, uint8_t dirid[static DIRID_LEN])
{
	bool aside;

	return vdir_find_id(dirfd, dirid, &aside);
}

int vdir_put_aside(int dirfd, const uint8_t ids[static VDIR_IDS_LEN])
{
	char path[32];

	snprintf(path, sizeof path, "/proc/self/fd/%d", dirfd);
	return setxattr(path, VDIR_ID_XATTR, ids, VDIR_IDS_LEN, 0) < 0 ? -errno
								       : 0;
}

int vdir_mend_id(int dirfd)
{
	uint8_t bytes[VDIR_IDS_LEN];
	int err = vdir_read_aside(dirfd, bytes);

	return err ? err
		   : vdir_put_beside(dirfd, NAME_DIRID_FILE, bytes,
				     sizeof bytes);
}

/* Every user who may enter the directory must be able to read it. */
static int write_readable(int dirfd, const char *name, const void *buf,
			  size_t len)
{
	CLEANUP_FD int fd = openat(
		dirfd, name,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	int err;

	if (fd < 0)
		return -errno;
	err = xio_write(fd, buf, len);
	if (err)
		return err;
	if (fchmod(fd, 0644) < 0 || fsync(fd) < 0)
		return -errno;
	return close(TAKE_FD(fd)) < 0 ? -errno : 0;
}

int vdir_write_id(int dirfd, const uint8_t dirid[static DIRID_LEN],
		  const uint8_t parent_id[static DIRID_LEN])
{
	uint8_t bytes[VDIR_IDS_LEN];
	int err;

	memcpy(bytes, dirid, DIRID_LEN);
	memcpy(bytes + DIRID_LEN, parent_id, DIRID_LEN);
	err = write_readable(dirfd, NAME_DIRID_FILE, bytes, sizeof bytes);
	if (err && err != -EEXIST)
		unlinkat(dirfd, NAME_DIRID_FILE, 0);
	return err;
}

int vdir_put_beside(int dirfd, const char *name, const void *buf, size_t len)
{
	char temp[64];
	int err;

	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	err = write_readable(dirfd, temp, buf, len);
	if (!err && renameat(dirfd, temp, dirfd, name) < 0)
		err = -errno;
	if (err)
		unlinkat(dirfd, temp, 0);
	return err;
}

enum { COMPANION_NAME_MAX = NAME_LONG_LEN + sizeof NAME_LONG_SUFFIX };

static void long_name_file(const char *entry, char out[COMPANION_NAME_MAX])
{
	snprintf(out, COMPANION_NAME_MAX, "%.*s" NAME_LONG_SUFFIX,
		 NAME_LONG_LEN, entry);
}

int vdir_long_name_put(int dirfd, const struct backing_name *name)
{
	char file[COMPANION_NAME_MAX], present[NAME_FULL_MAX];
	size_t len = strlen(name->full), present_len = 0;

	if (!name->is_long)
		return 0;
	long_name_file(name->entry, file);
	if (!xio_read_file(dirfd, file, present, sizeof present,
			   &present_len) &&
	    present_len == len && memcmp(present, name->full, len) == 0)
		return 0;
	return vdir_put_beside(dirfd, file, name->full, len);
}

static bool is_absent(int dirfd, const char *entry)
{
	struct stat st;

	return fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
	       errno == ENOENT;
}

void vdir_long_name_keep(int dirfd, const struct backing_name *name)
{
	char file[COMPANION_NAME_MAX];

	if (!name->is_long)
		return;
	long_name_file(name->entry, file);
	if (is_absent(dirfd, file) && vdir_long_name_put(dirfd, name))
		log_error("a long name is lost: %s", file);
}

void vdir_long_name_drop(int dirfd, const char *entry)
{
	char file[COMPANION_NAME_MAX];

	char full[NAME_FULL_MAX];
	size_t len = 0;
	int err;

	if (name_classify(entry) != NAME_KIND_LONG || !is_absent(dirfd, entry))
		return;
	long_name_file(entry, file);
	err = xio_read_file(dirfd, file, full, sizeof full, &len);
	unlinkat(dirfd, file, 0);
	/*
	 * Another mount may have made the entry before the file went. One that
	 * makes it from now on finds the file missing afterwards.
	 */
	if (!err && !is_absent(dirfd, entry) &&
	    vdir_put_beside(dirfd, file, full, len))
		log_error("a long name is lost: %s", file);
}

static int long_plain_name(const struct vault *vault, int dirfd,
			   const uint8_t dirid[static DIRID_LEN],
			   const char *entry,
			   char plain[static NAME_PLAIN_MAX + 1])
{
	char file[COMPANION_NAME_MAX], full[NAME_FULL_MAX];
	char expected[NAME_LONG_LEN + 1];
	size_t len = 0;
	int err;

	long_name_file(entry, file);
	err = xio_read_file(dirfd, file, full, sizeof full, &len);
	if (err == -ENOENT)
		return is_absent(dirfd, entry) ? -ENOENT : -EBADMSG;
	if (is_damage(err))
		return -EBADMSG;
	if (err)
		return err;
	name_long_entry(full, len, expected);
	/* A short name stands for itself: this would be its second spelling. */
	if (len <= NAME_BACKING_MAX || strcmp(entry, expected) != 0)
		return -EBADMSG;
	return name_decode(vault->names, dirid, full, len, plain, NULL);
}

int vdir_plain_name(const struct vault *vault, int dirfd,
		    const uint8_t dirid[static DIRID_LEN], const char *entry,
		    char plain[static NAME_PLAIN_MAX + 1])
{
	int err;

	switch (name_classify(entry)) {
	case NAME_KIND_INTERNAL:
		return -ENOENT;
	case NAME_KIND_LONG:
		return long_plain_name(vault, dirfd, dirid, entry, plain);
	case NAME_KIND_ENTRY:
		err = name_decode(vault->names, dirid, entry, strlen(entry),
				  plain, NULL);
		if (err != -EBADMSG)
			return err;
		break;
	case NAME_KIND_FOREIGN:
		break;
	}
	return vdir_copy_name(vault, dirfd, dirid, entry, plain);
}

int vdir_chmod(int fd, mode_t mode)
{
	char path[32];

	/* fchmod() refuses O_PATH descriptors */
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return chmod(path, mode & 07777) < 0 ? -errno : 0;
}

int vdir_open_path(int dirfd, const char *entry, int *fd)
{
	int opened = openat(dirfd, entry,
			    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (opened < 0)
		return -errno;
	*fd = opened;
	return 0;
}

/* Rename without replacing, where the file system cannot do it at once. */
static int rename_exclusive_emulated(int from_fd, const char *from, int to_fd,
				     const char *to)
{
	struct stat st;

	if (fstatat(from_fd, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) && linkat(from_fd, from, to_fd, to, 0) == 0) {
		if (unlinkat(from_fd, from, 0) == 0)
			return 0;
		int err = -errno;

		unlinkat(to_fd, to, 0);
		return err;
	}
	if (!is_absent(to_fd, to))
		return -EEXIST;
	/* a directory of ours holds its .dirid: it is never replaced */
	return renameat(from_fd, from, to_fd, to) < 0 ? -errno : 0;
}

int vdir_rename_exclusive(int from_fd, const char *from, int to_fd,
			  const char *to)
{
	if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return -errno;
	return rename_exclusive_emulated(from_fd, from, to_fd, to);
}

/*
 * Fill the new directory behind path_fd and leave it with the mode that
 * mkdir(mode) would have given, whatever that allows its owner.
 */
static int furnish(int path_fd, const uint8_t parent_id[static DIRID_LEN],
		   mode_t mode)
{
	CLEANUP_FD int fd = -1;
	uint8_t ids[VDIR_IDS_LEN];
	struct stat st;
	mode_t given, work;
	int err;

	if (fstat(path_fd, &st) < 0)
		return -errno;
	given = st.st_mode & 07777;
	work = given | S_IRWXU;
	err = work != given ? vdir_chmod(path_fd, work) : 0;
	if (err)
		return err;
	fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	random_bytes(ids, DIRID_LEN);
	memcpy(ids + DIRID_LEN, parent_id, DIRID_LEN);
	err = vdir_write_id(fd, ids, parent_id);
	if (err)
		return err;
	/*
	 * btrfs (Linux 6.18) may show a directory after a power failure under
	 * the name that it was given last and without the file that was made
	 * durable in it before; attributes stay.
	 */
	(void)!vdir_put_aside(fd, ids);
	/* umask, ACL mask and setgid have had their say in given */
	given &= ~(S_IRWXU & ~mode);
	if (given != work && fchmod(fd, given) < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int vdir_make(int parent_fd, const uint8_t parent_id[static DIRID_LEN],
	      const struct backing_name *name, mode_t mode)
{
	CLEANUP_FD int fd = -1;
	struct stat st;
	char temp[64];
	int err;

	if (fstatat(parent_fd, name->entry, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	if (mkdirat(parent_fd, temp, mode | S_IRWXU) < 0)
		return -errno;
	err = vdir_open_path(parent_fd, temp, &fd);
	if (!err)
		err = furnish(fd, parent_id, mode);
	if (!err)
		err = vdir_long_name_put(parent_fd, name);
	if (!err)
		err = vdir_rename_exclusive(parent_fd, temp, parent_fd,
					    name->entry);
	if (!err) {
		vdir_long_name_keep(parent_fd, name);
		return 0;
	}
	if (fd >= 0 && vdir_chmod(fd, S_IRWXU) == 0)
		unlinkat(fd, NAME_DIRID_FILE, 0);
	unlinkat(parent_fd, temp, AT_REMOVEDIR);
	vdir_long_name_drop(parent_fd, name->entry);
	return err == -ENOTEMPTY ? -EEXIST : err;
}
