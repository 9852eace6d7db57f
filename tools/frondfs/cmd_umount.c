#include "behind.h"
#include "cmd.h"
#include "quote.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum { AT_REST_TIMEOUT_MS = 10000, SHARED_TIMEOUT_MS = 2000 };

const char cmd_umount_help[] =
	"Usage: frondfs umount MOUNTPOINT\n"
	"\n"
	"Unmount the vault on MOUNTPOINT, and return when all its data is in "
	"the backing\n"
	"directory. A mount that is in use stays.\n"
	"  --help            this text\n";

static int report_busy(const char *point)
{
	CLEANUP_FREE char *quoted = quote_word(point);

	report("'%s' is in use; close what uses it and try again (this tells "
	       "what does: fuser -vm %s)",
	       point, quoted ? quoted : point);
	return CMD_MOUNT_POINT;
}

static int report_not_mounted(const char *point)
{
	CLEANUP_FREE char *real = realpath(point, NULL);
	CLEANUP_FREE char *quoted = real ? quote_word(real) : NULL;
	CLEANUP_FREE char *program = quote_program();
	long pid = real ? behind_elsewhere(real) : 0;

	if (pid)
		report("no vault is mounted on '%s' here, but one is for "
		       "process %ld, which has mounts of its own (a "
		       "container's, or a service's); unmount it there, as "
		       "root: nsenter --mount=/proc/%ld/ns/mnt %s umount %s",
		       point, pid, pid, program ? program : "frondfs",
		       quoted ? quoted : real);
	else
		report("no vault is mounted on '%s'; 'findmnt -t fuse.frondfs' "
		       "lists those that are",
		       point);
	return CMD_MOUNT_POINT;
}

static int report_umount(int err, const char *point)
{
	switch (err) {
	case -EBUSY:
		return report_busy(point);
	case -EINVAL:
		return report_not_mounted(point);
	case -ENOTDIR:
		report("there is no '%s'", point);
		return CMD_MOUNT_POINT;
	case -ENOENT:
		if (access(point, F_OK) == 0 || errno != ENOENT) {
			report("cannot unmount '%s': fusermount3 is missing; "
			       "install the package fuse3",
			       point);
			return CMD_NO_FUSE;
		}
		report("there is no '%s'", point);
		return CMD_MOUNT_POINT;
	case -EPERM:
		report("'%s' was mounted by someone else; only they and root "
		       "may unmount it",
		       point);
		return CMD_FAILED;
	default:
		report("cannot unmount '%s': %s", point, strerror(-err));
		return CMD_FAILED;
	}
}

/* Another mount of a shared vault may hold the lock for good. */
static bool held_exclusively(const char *backing)
{
	struct flock probe = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FD int fd = -1;

	if (asprintf(&path, "%s/.frondfs/" VAULT_LOCK_FILE, backing) < 0)
		return true;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || fcntl(fd, F_OFD_GETLK, &probe) < 0 ||
	       probe.l_type != F_UNLCK;
}

/* What the table of mounts calls it: the backing directory, unless fsname=. */
static void source_of(const char *point, char backing[static PATH_MAX])
{
	CLEANUP_FREE char *real = realpath(point, NULL);
	FILE *table = setmntent("/proc/self/mounts", "re");
	const struct mntent *m;

	while (table && real && (m = getmntent(table)))
		if (strcmp(m->mnt_dir, real) == 0 && m->mnt_fsname[0] == '/')
			snprintf(backing, PATH_MAX, "%s", m->mnt_fsname);
	if (table)
		endmntent(table);
}

/* "" when nothing tells. Of somebody else's mount root only sees its name. */
static void find_backing(const char *point, char backing[static PATH_MAX])
{
	ssize_t len =
		getxattr(point, "user.frondfs.backing", backing, PATH_MAX - 1);

	backing[len > 0 ? len : 0] = '\0';
	if (len <= 0)
		source_of(point, backing);
}

/* Then the one lock of the vault is that mount's, and the process that was
 * behind this one has let go of it. */
static bool is_mounted_elsewhere(const char *backing)
{
	char point[PATH_MAX];

	return behind_find(backing, point);
}

static bool is_there(const char *backing, const char *name)
{
	CLEANUP_FREE char *path = NULL;

	if (asprintf(&path, "%s/.frondfs/%s", backing, name) < 0) {
		path = NULL;
		return false;
	}
	return access(path, F_OK) == 0;
}

/* What whoever had it alone has left. */
static int report_left(const char *point, const char *backing)
{
	if (access(backing, F_OK) < 0 && errno == ENOENT) {
		report("'%s' is unmounted, but there is no directory '%s' any "
		       "more: if it was moved, the vault is where it is now, "
		       "with all that was written; else put it back from your "
		       "backup",
		       point, backing);
		return CMD_FAILED;
	}
	if (!is_there(backing, VAULT_INI_FILE) && errno == ENOENT) {
		report("'%s' is unmounted, but '%s/.frondfs/vault.ini' is "
		       "gone: put it back from your backup, for without it "
		       "nothing in that vault can be opened again",
		       point, backing);
		return CMD_FAILED;
	}
	/* in this order: the lock is taken before a session begins */
	if (is_there(backing, "journal/session") &&
	    !held_exclusively(backing)) {
		report("'%s' is unmounted, but not all that was written could "
		       "be brought to its place in '%s'; the log says why, and "
		       "the next mount goes on from the journal, which is kept",
		       point, backing);
		return CMD_FAILED;
	}
	return CMD_OK;
}

/* A disk that has gone says nothing of what it has. What is not there, or is
 * another's, is no sign of that. */
static bool is_out_of_reach(int err)
{
	return err && err != -ENOENT && err != -ENOMEDIUM && err != -EACCES;
}

static int umount_and_wait(const char *point)
{
	char backing[PATH_MAX], still[PATH_MAX];
	bool exclusive;
	int err;

	find_backing(point, backing);
	exclusive = backing[0] && held_exclusively(backing);
	err = mount_umount(point, still);
	if (err)
		return report_umount(err, point);
	if (still[0]) {
		report("'%s' is unmounted, but the same mount is still on '%s' "
		       "and goes on there; unmount that as well",
		       point, still);
		return CMD_FAILED;
	}
	if (!backing[0] || (exclusive && is_mounted_elsewhere(backing)))
		return CMD_OK;
	err = exclusive ? vault_wait_at_rest(backing, AT_REST_TIMEOUT_MS)
			: vault_wait_unlocked(backing, SHARED_TIMEOUT_MS);
	if (err == -EBUSY && exclusive) {
		report("'%s' is unmounted, but its data is still on the way to "
		       "'%s'; leave that connected until the process has "
		       "ended",
		       point, backing);
		return CMD_FAILED;
	}
	if (err != -EBUSY && is_out_of_reach(err)) {
		report("'%s' is unmounted, but '%s' cannot be looked into: %s; "
		       "what was written last may be missing there until it "
		       "can be, and the vault has been mounted again",
		       point, backing, strerror(-err));
		return CMD_FAILED;
	}
	return exclusive ? report_left(point, backing) : CMD_OK;
}

int cmd_umount(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c != 'h')
			return report_bad_option("umount", c, argv);
		return fputs(cmd_umount_help, stdout) < 0 ? CMD_FAILED : CMD_OK;
	}
	if (argc - optind != 1)
		return report_usage("umount", "umount wants one mount point");
	return umount_and_wait(argv[optind]);
}
