#include "log.h"
#include "vdir.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* How deep ".tmp-" directories may lie in each other and still be ours. */
enum { STRAY_DEPTH_MAX = 4 };

int vdir_grant(int fd, mode_t *old_mode)
{
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IRWXU) != S_IRWXU &&
	    faccessat(fd, ".", R_OK | W_OK | X_OK, AT_EACCESS) < 0) {
		err = vdir_chmod(fd, st.st_mode | S_IRWXU);
		if (err)
			return err == -EPERM ? -EACCES : err;
	}
	*old_mode = st.st_mode & 07777;
	return 0;
}

void vdir_restore(int fd, mode_t old_mode)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && (st.st_mode & 07777) != old_mode &&
	    vdir_chmod(fd, old_mode))
		log_error("the mode of a directory could not be restored");
}

/* The next entry but "." and ".."; NULL at the end or with *err set. */
static const char *next_entry(DIR *dir, int *err)
{
	const struct dirent *e;

	for (;;) {
		errno = 0;
		e = readdir(dir);
		if (!e) {
			*err = -errno;
			return NULL;
		}
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return e->d_name;
	}
}

static bool is_stray(const char *entry)
{
	return strncmp(entry, NAME_TEMP_PREFIX, strlen(NAME_TEMP_PREFIX)) == 0;
}

/*
 * May a remover of the directory delete this entry? A .frondfs is another
 * vault's, not ours, wherever directories are removed.
 */
static bool is_disposable(const char *entry)
{
	return name_classify(entry) == NAME_KIND_INTERNAL &&
	       strcmp(entry, NAME_VAULT_DIR) != 0;
}

static int check_entries(int fd, unsigned depth);

/* A directory among the disposable entries must be a stray, and hold none. */
static int check_disposable(int fd, const char *entry, unsigned depth)
{
	CLEANUP_FD int sub = -1;
	mode_t old_mode = 0;
	int err = vdir_open_path(fd, entry, &sub);

	if (err == -ENOTDIR || err == -ELOOP || err == -ENOENT)
		return 0;
	if (err)
		return err;
	if (!is_stray(entry) || depth == 0)
		return -ENOTEMPTY;
	err = vdir_grant(sub, &old_mode);
	return err ? err : check_entries(sub, depth - 1);
}

static int check_entries(int fd, unsigned depth)
{
	CLEANUP_DIR DIR *dir = NULL;
	const char *entry;
	int err = xio_list(fd, &dir);

	while (!err && (entry = next_entry(dir, &err)))
		err = is_disposable(entry) ? check_disposable(fd, entry, depth)
					   : -ENOTEMPTY;
	return err;
}

int vdir_check_empty(int dirfd)
{
	mode_t old_mode = 0;
	int err = vdir_grant(dirfd, &old_mode);

	if (err)
		return err;
	err = check_entries(dirfd, STRAY_DEPTH_MAX);
	vdir_restore(dirfd, old_mode);
	return err;
}

static int purge(int fd, unsigned depth);

static int purge_entry(int fd, const char *entry, unsigned depth)
{
	CLEANUP_FD int sub = -1;
	int err;

	if (unlinkat(fd, entry, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (!is_stray(entry) || depth == 0)
		return -ENOTEMPTY;
	err = vdir_open_path(fd, entry, &sub);
	if (!err)
		err = purge(sub, depth - 1);
	if (err)
		return err == -ENOENT ? 0 : err;
	if (unlinkat(sub, NAME_DIRID_FILE, 0) < 0 && errno != ENOENT)
		return -errno;
	return unlinkat(fd, entry, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Delete what is ours in the directory, except its .dirid. */
static int purge(int fd, unsigned depth)
{
	CLEANUP_DIR DIR *dir = NULL;
	const char *entry;
	int err = xio_list(fd, &dir);

	while (!err && (entry = next_entry(dir, &err))) {
		if (strcmp(entry, NAME_DIRID_FILE) == 0)
			continue;
		err = is_disposable(entry) ? purge_entry(fd, entry, depth)
					   : -ENOTEMPTY;
	}
	return err;
}

/*
 * Delete the directory that lies aside as temp. Somebody who had it open may
 * still have put something in: then it is whole again, with its .dirid.
 */
static int delete_aside(int parent_fd, const char *temp, int fd)
{
	uint8_t ids[VDIR_IDS_LEN];
	size_t len = 0;
	bool had_id =
		!xio_read_file(fd, NAME_DIRID_FILE, ids, sizeof ids, &len) &&
		len == sizeof ids;
	int err = purge(fd, STRAY_DEPTH_MAX);

	if (err)
		return err;
	if (unlinkat(fd, NAME_DIRID_FILE, 0) < 0 && errno != ENOENT)
		return -errno;
	if (unlinkat(parent_fd, temp, AT_REMOVEDIR) == 0)
		return 0;
	err = errno == EEXIST ? -ENOTEMPTY : -errno;
	if (had_id && vdir_put_beside(fd, NAME_DIRID_FILE, ids, sizeof ids))
		log_error("the .dirid of a directory could not be restored");
	return err;
}

int vdir_hollow(int dirfd)
{
	uint8_t ids[VDIR_IDS_LEN];
	size_t len = 0;
	int err = check_entries(dirfd, STRAY_DEPTH_MAX);

	if (!err)
		err = xio_read_file(dirfd, NAME_DIRID_FILE, ids, sizeof ids,
				    &len);
	if (!err && len != sizeof ids)
		err = -EIO;
	if (!err)
		err = vdir_put_aside(dirfd, ids);
	if (!err)
		err = purge(dirfd, STRAY_DEPTH_MAX);
	if (!err && unlinkat(dirfd, NAME_DIRID_FILE, 0) < 0)
		err = -errno;
	return err;
}

static int empty_out(int parent_fd, const char *temp)
{
	CLEANUP_FD int fd = -1;
	mode_t old_mode = 0;
	int err = vdir_open_path(parent_fd, temp, &fd);

	if (!err)
		err = vdir_grant(fd, &old_mode);
	if (err)
		return err;
	err = check_entries(fd, STRAY_DEPTH_MAX);
	if (!err)
		err = delete_aside(parent_fd, temp, fd);
	if (err)
		vdir_restore(fd, old_mode);
	return err;
}

int vdir_discard(int parent_fd, const char *entry)
{
	CLEANUP_FD int fd = -1;
	char temp[64];
	int err = vdir_open_path(parent_fd, entry, &fd);

	if (!err)
		err = vdir_check_empty(fd);
	if (err)
		return err;
	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	if (renameat(parent_fd, entry, parent_fd, temp) < 0)
		return -errno;
	err = empty_out(parent_fd, temp);
	if (err && vdir_rename_exclusive(parent_fd, temp, parent_fd, entry))
		log_error("a directory stays aside as %s", temp);
	return err;
}

int vdir_remove(int parent_fd, const struct backing_name *name)
{
	int err = vdir_discard(parent_fd, name->entry);

	if (!err)
		vdir_long_name_drop(parent_fd, name->entry);
	return err;
}
