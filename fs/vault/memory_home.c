/* Where the database lies: beside what seen.h keeps. */
#include "memory_internal.h"

#include "log.h"
#include "seen.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* As SQLite calls what it keeps beside; it is looked for when it is opened. */
static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};
enum { SUFFIXES = sizeof suffixes / sizeof *suffixes };
#define WITHOUT "-without" /* empty: a process went without it */
#define NAME_ROOM (2 * VAULT_ID_LEN + sizeof MEMORY_SUFFIX WITHOUT)

static void file_name(const struct memory *m, const char *suffix,
		      char name[static NAME_ROOM])
{
	sodium_bin2hex(name, 2 * VAULT_ID_LEN + 1, m->vault->id, VAULT_ID_LEN);
	strcat(name, MEMORY_SUFFIX);
	strcat(name, suffix);
}

/* Nobody else's, and nobody else may read it. */
static int create_file(int dir_fd, const char *name)
{
	CLEANUP_FD int fd = openat(
		dir_fd, name,
		O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : 0;
}

/* SQLite follows links, and waits for whoever writes to a pipe. */
static int check_files(const struct memory *m, int dir_fd, const char *dir)
{
	char name[NAME_ROOM];
	struct stat st;

	for (int i = 0; i < SUFFIXES; i++) {
		file_name(m, suffixes[i], name);
		if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno == ENOENT)
				continue;
			return -errno;
		}
		if (S_ISREG(st.st_mode))
			continue;
		log_warning("%s/%s is no file: remove it, for until then this "
			    "machine cannot tell what is older in %s than what "
			    "it has seen",
			    dir, name, m->vault->path);
		return -ENOTSUP;
	}
	return 0;
}

int memory_home_ready_(const struct memory *m, bool make,
		       char path[static PATH_MAX])
{
	CLEANUP_FD int dir_fd = -1;
	char name[NAME_ROOM];
	int err = seen_state_open(&dir_fd);
	size_t len;

	if (err)
		return err;
	if (!seen_state_path(path))
		return -ENOENT;
	err = check_files(m, dir_fd, path);
	if (err)
		return err;
	file_name(m, "", name);
	if (make)
		err = create_file(dir_fd, name);
	else if (faccessat(dir_fd, name, F_OK, 0) < 0)
		err = -errno;
	if (err)
		return err;
	len = strlen(path);
	if (len + 1 + NAME_ROOM > PATH_MAX)
		return -ENAMETOOLONG;
	path[len] = '/';
	strcpy(path + len + 1, name);
	return 0;
}

static bool exists(const struct memory *m, const char *suffix)
{
	CLEANUP_FD int dir_fd = -1;
	char name[NAME_ROOM];

	file_name(m, suffix, name);
	return seen_state_open(&dir_fd) == 0 &&
	       faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

bool memory_home_has_(const struct memory *m)
{
	return exists(m, "");
}

bool memory_home_was_left_out_(const struct memory *m)
{
	return exists(m, WITHOUT);
}

int memory_home_leave_out_(const struct memory *m)
{
	CLEANUP_FD int dir_fd = -1;
	char name[NAME_ROOM];
	int err = seen_state_open(&dir_fd);

	if (err)
		return err;
	file_name(m, WITHOUT, name);
	return xio_replace_file(dir_fd, name, "", 0, 0600);
}

void memory_home_caught_up_(const struct memory *m)
{
	CLEANUP_FD int dir_fd = -1;
	char name[NAME_ROOM];

	file_name(m, WITHOUT, name);
	if (seen_state_open(&dir_fd) == 0)
		unlinkat(dir_fd, name, 0);
}

int memory_home_clear_(const struct memory *m)
{
	CLEANUP_FD int dir_fd = -1;
	char name[NAME_ROOM];
	int err = seen_state_open(&dir_fd);

	if (err)
		return err;
	for (int i = 0; i < SUFFIXES; i++) {
		file_name(m, suffixes[i], name);
		if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}
