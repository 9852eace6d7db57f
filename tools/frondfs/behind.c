#include "behind.h"

#include "cleanup.h"
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <mntent.h>
#include <stdio.h>
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

bool behind_find(const char *backing, char point[static PATH_MAX])
{
	CLEANUP_FREE struct behind *b = malloc(sizeof *b);
	FILE *table = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;
	bool found = false;

	while (b && table && !found && (m = getmntent(table))) {
		found = strcmp(m->mnt_type, "fuse.frondfs") == 0 &&
			behind_get(m->mnt_dir, b) && b->is_mount_point &&
			strcmp(b->backing, backing) == 0;
		if (found)
			snprintf(point, PATH_MAX, "%s", m->mnt_dir);
	}
	if (table)
		endmntent(table);
	return found;
}
