/* Mount points: may one be used, and how is one given back. */
#include "mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define FRONDFS_TYPE "fuse.frondfs"

extern char **environ;

static void cleanup_file_(FILE *const *f)
{
	if (*f)
		fclose(*f);
}

/* What is mounted on a directory. */
struct mount_entry {
	bool found, ours;
	uid_t owner;  /* of ours: who mounted it */
	char dev[24]; /* "major:minor" */
};

/* Resolve mountinfo's \ooo escapes (proc(5)) in place. */
static void unescape_octal(char *text)
{
	char *out = text;

	for (; *text; text++) {
		unsigned a = (unsigned)(text[0] == '\\' ? text[1] - '0' : 8);
		unsigned b = a < 4 ? (unsigned)(text[2] - '0') : 8;
		unsigned c = b < 8 ? (unsigned)(text[3] - '0') : 8;

		if (c < 8) {
			*out++ = (char)(a << 6 | b << 3 | c);
			text += 3;
		} else {
			*out++ = *text;
		}
	}
	*out = '\0';
}

/*
 * One line is "id parent DEV root POINT options [tags] - TYPE source
 * SUPEROPTIONS" (proc(5)). *point is in it; NULL: it is no such line.
 */
static void mountinfo_line(char *line, char **point, struct mount_entry *entry)
{
	char *save, *tail = strstr(line, " - "), *type, *user;
	char *field = strtok_r(line, " ", &save);

	for (int i = 0; field && i < 4; i++) {
		field = strtok_r(NULL, " ", &save);
		if (field && i == 1)
			snprintf(entry->dev, sizeof entry->dev, "%s", field);
	}
	*point = tail ? field : NULL;
	if (!*point)
		return;
	unescape_octal(field);
	type = strtok_r(tail + 3, " ", &save);
	strtok_r(NULL, " ", &save);
	user = save ? strstr(save, "user_id=") : NULL;
	entry->found = true;
	entry->ours = type && strcmp(type, FRONDFS_TYPE) == 0;
	entry->owner = user ? (uid_t)strtoul(user + 8, NULL, 10) : 0;
}

/* point is a canonical path. Of several mounts on it the last is on top. */
static int mountinfo_find(const char *point, struct mount_entry *out)
{
	__attribute__((cleanup(cleanup_file_))) FILE *f =
		fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	struct mount_entry entry, top = {0};
	char *where;
	size_t size = 0;

	if (!f)
		return -errno;
	while (getline(&line, &size, f) > 0) {
		mountinfo_line(line, &where, &entry);
		if (where && strcmp(where, point) == 0)
			top = entry;
	}
	*out = top;
	return 0;
}

/* Some place where the same is mounted; "" where there is none. */
static void find_same(const struct mount_entry *wanted,
		      char point[static PATH_MAX])
{
	__attribute__((cleanup(cleanup_file_))) FILE *f =
		fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	struct mount_entry entry;
	char *where;
	size_t size = 0;

	point[0] = '\0';
	while (f && getline(&line, &size, f) > 0) {
		mountinfo_line(line, &where, &entry);
		if (where && entry.ours && strcmp(entry.dev, wanted->dev) == 0)
			snprintf(point, PATH_MAX, "%s", where);
	}
}

/*
 * realpath(3) that also works where the last component is a mount whose
 * daemon is gone or that lets nobody else in: then only its parent is looked
 * at.
 */
static int resolve_point(const char *path, char out[static PATH_MAX])
{
	CLEANUP_FREE char *copy = NULL;
	CLEANUP_FREE char *parent = NULL;
	char *base;
	int len;

	if (realpath(path, out))
		return 0;
	if (errno == ENOENT || errno == ENOTDIR)
		return -errno;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = '\0';
	base = strrchr(copy, '/');
	if (base)
		*base++ = '\0';
	parent = realpath(base ? (*copy ? copy : "/") : ".", NULL);
	if (!parent)
		return -errno;
	len = snprintf(out, PATH_MAX, "%s/%s",
		       strcmp(parent, "/") == 0 ? "" : parent,
		       base ? base : copy);
	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static bool same_dir(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is path the directory ancestor or somewhere below it? */
static bool lies_within(const char *path, const struct stat *ancestor)
{
	CLEANUP_FD int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st, above;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	while (!same_dir(&st, ancestor)) {
		int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		close(fd);
		fd = up;
		if (up < 0 || fstat(up, &above) < 0 || same_dir(&st, &above))
			return false;
		st = above;
	}
	return true;
}

static bool overlap(const char *backing, const char *mountpoint,
		    const struct stat *point)
{
	struct stat st;

	return stat(backing, &st) == 0 &&
	       (lies_within(mountpoint, &st) || lies_within(backing, point));
}

/* The same of one that does not exist: making it would be for nothing. */
static bool would_overlap(const char *backing, const char *mountpoint)
{
	CLEANUP_FREE char *copy = strdup(mountpoint);
	const char *dir = copy ? dirname(copy) : "/";
	struct stat st;

	while (copy && access(dir, F_OK) < 0 && strchr(dir, '/'))
		dir = dirname(copy);
	return stat(backing, &st) == 0 && lies_within(dir, &st);
}

/* Made in either, it would be hidden, or be what is no vault's. */
static bool log_overlaps(const char *log, const char *backing,
			 const struct stat *point)
{
	CLEANUP_FREE char *real = realpath(log, NULL);
	CLEANUP_FREE char *copy = strdup(real ? real : log);
	const char *dir = copy ? dirname(copy) : "/";
	struct stat st;

	return lies_within(dir, point) ||
	       (stat(backing, &st) == 0 && lies_within(dir, &st));
}

static bool has_entries(const char *path)
{
	CLEANUP_DIR DIR *dir = opendir(path);
	const struct dirent *d;

	while (dir && (d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			return true;
	return false;
}

/* Is name in one of PATH's directories, where libfuse will look for it? */
static bool in_search_path(const char *name)
{
	const char *path = getenv("PATH");
	CLEANUP_FREE char *copy = strdup(path ? path : "/usr/bin:/bin");
	char *save, file[PATH_MAX];

	if (!copy)
		return false;
	for (char *dir = strtok_r(copy, ":", &save); dir;
	     dir = strtok_r(NULL, ":", &save)) {
		int len = snprintf(file, sizeof file, "%s/%s", dir, name);

		if (len < PATH_MAX && access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static bool fuse_available(void)
{
	CLEANUP_FD int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	return fd >= 0 && (geteuid() == 0 || in_search_path("fusermount3"));
}

static bool has_died(const char *point)
{
	struct stat st;

	return stat(point, &st) < 0 && errno == ENOTCONN;
}

enum mount_fault mount_check_point(const char *backing, const char *mountpoint,
				   const struct mount_options *opt)
{
	struct mount_entry entry;
	char real[PATH_MAX];
	struct stat st;
	int err = resolve_point(mountpoint, real);

	if (err == -ENOENT || err == -ENOTDIR)
		return would_overlap(backing, mountpoint) ? MOUNT_OVERLAP
							  : MOUNT_NO_POINT;
	if (err || mountinfo_find(real, &entry))
		return MOUNT_DENIED;
	if (entry.found)
		return entry.ours && has_died(real) ? MOUNT_DEAD : MOUNT_BUSY;
	if (stat(real, &st) < 0)
		return errno == ENOENT ? MOUNT_NO_POINT : MOUNT_DENIED;
	if (!S_ISDIR(st.st_mode))
		return MOUNT_NOT_DIR;
	if (overlap(backing, real, &st))
		return MOUNT_OVERLAP;
	if (opt->log && log_overlaps(opt->log, backing, &st))
		return MOUNT_LOG;
	if (!opt->nonempty && has_entries(real))
		return MOUNT_NOT_EMPTY;
	return fuse_available() ? MOUNT_OK : MOUNT_NO_FUSE;
}

/* fusermount3's own words go nowhere: the caller has better ones. */
static int run_fusermount(char *point, bool lazily)
{
	char *argv[] = {(char[]){"fusermount3"},
			lazily ? (char[]){"-uz"} : (char[]){"-u"},
			(char[]){"--"}, point, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int err, status;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	err = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO,
					       "/dev/null", O_WRONLY, 0);
	if (!err)
		err = posix_spawnp(&pid, argv[0], &actions, NULL, argv,
				   environ);
	posix_spawn_file_actions_destroy(&actions);
	if (err)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status == 0 ? 0 : -EBUSY;
}

static int give_back(const char *mountpoint, bool lazily,
		     struct mount_entry *entry)
{
	char real[PATH_MAX];
	int err = resolve_point(mountpoint, real);

	if (!err)
		err = mountinfo_find(real, entry);
	if (err)
		return err;
	if (!entry->ours)
		return -EINVAL;
	if (geteuid() == 0)
		return umount2(real,
			       UMOUNT_NOFOLLOW | (lazily ? MNT_DETACH : 0)) < 0
			       ? -errno
			       : 0;
	if (entry->owner != getuid())
		return -EPERM;
	return run_fusermount(real, lazily);
}

int mount_umount(const char *mountpoint, char still[static PATH_MAX])
{
	struct mount_entry entry;
	int err = give_back(mountpoint, false, &entry);

	if (!err)
		find_same(&entry, still);
	return err;
}

int mount_detach(const char *mountpoint)
{
	struct mount_entry entry;

	return give_back(mountpoint, true, &entry);
}
