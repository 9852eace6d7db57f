#include "behind.h"

#include "cleanup.h"
#include "control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Of what is no directory, the one that it lies in: opening anything else may
 * wait, or do something. */
static int open_directory(const char *path)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	CLEANUP_FREE char *copy = strdup(path);
	int fd = open(path, flags | O_NOFOLLOW);

	return fd < 0 && errno == ENOTDIR && copy ? open(dirname(copy), flags)
						  : fd;
}

bool behind_get(const char *path, struct behind *b)
{
	CLEANUP_FD int fd = open_directory(path);
	CLEANUP_FREE char *real = realpath(path, NULL);
	CLEANUP_FREE struct control_vault *v = malloc(sizeof *v);

	if (fd < 0 || !v || ioctl(fd, CONTROL_VAULT, v) < 0)
		return false;
	b->is_mount_point = real && strcmp(v->mountpoint, real) == 0;
	snprintf(b->backing, sizeof b->backing, "%s", v->backing);
	return true;
}

int behind_probe(const char *path, struct behind *b, struct vault_ini *ini,
		 struct vault_fault *fault)
{
	CLEANUP_FREE char *real = realpath(path, NULL);
	int err = vault_probe(path, ini, fault);

	snprintf(b->backing, sizeof b->backing, "%s", path);
	if (err != -ENOMEDIUM || !real || !behind_get(real, b))
		return err;
	return b->is_mount_point ? vault_probe(b->backing, ini, fault) : -EXDEV;
}

static bool is_in(const char *table_path, const char *point)
{
	FILE *table = setmntent(table_path, "re");
	const struct mntent *m;
	bool found = false;

	while (table && !found && (m = getmntent(table)))
		found = strcmp(m->mnt_type, "fuse.frondfs") == 0 &&
			strcmp(m->mnt_dir, point) == 0;
	if (table)
		endmntent(table);
	return found;
}

long behind_elsewhere(const char *point)
{
	CLEANUP_DIR DIR *all = opendir("/proc");
	char path[sizeof "/proc//mounts" + NAME_MAX];
	const struct dirent *e;

	while (all && (e = readdir(all))) {
		if (strspn(e->d_name, "0123456789") != strlen(e->d_name))
			continue;
		snprintf(path, sizeof path, "/proc/%s/mounts", e->d_name);
		if (is_in(path, point))
			return atol(e->d_name);
	}
	return 0;
}

bool behind_find(const char *backing, char point[static PATH_MAX])
{
	FILE *table = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;
	bool found = false;

	/* asked, an idle mount would not be idle, and one that hangs would not
	 * answer */
	while (table && !found && (m = getmntent(table))) {
		found = strcmp(m->mnt_type, "fuse.frondfs") == 0 &&
			strcmp(m->mnt_fsname, backing) == 0;
		if (found)
			snprintf(point, PATH_MAX, "%s", m->mnt_dir);
	}
	if (table)
		endmntent(table);
	return found;
}
