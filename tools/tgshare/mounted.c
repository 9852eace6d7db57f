#include "mounted.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { POINTS_TEXT_MAX = 1024 };

int mounted_ask(int fd, unsigned long request, void *arg)
{
	int n;

	do
		n = ioctl(fd, request, arg);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Whatever answers CONTROL_VAULT; special files are never opened. */
static int open_for_asking(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return -ENOTTY;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Its directory is asked: a locked file cannot be opened for reading. */
static int ask_about(const char *path, struct control_vault *info)
{
	CLEANUP_FREE char *copy = strdup(path);
	struct stat st;
	const char *where = path;

	if (!copy)
		return -ENOMEM;
	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		where = dirname(copy);
	CLEANUP_FD int fd = open_for_asking(where);

	if (fd < 0)
		return fd;
	int err = mounted_ask(fd, CONTROL_VAULT, info);

	/* so say file systems that know no ioctls */
	if (err == -ENOSYS || err == -EINVAL)
		return -ENOTTY;
	return err || info->identity >= 0 ? err : info->identity;
}

int mounted_of_path(const char *path, struct mounted *m)
{
	struct control_vault info;
	int err = ask_about(path, &info);

	if (err)
		return err;
	if (info.version != CONTROL_VERSION)
		return -EPROTONOSUPPORT;
	CLEANUP_FD int fd =
		open(info.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	m->info = info;
	m->fd = TAKE_FD(fd);
	return 0;
}

void mounted_close(struct mounted *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

static int report_mounted(int err, const char *path)
{
	if (err == -ENOTTY)
		return report_as(CMD_NO_VAULT,
				 "'%s' is not in a mounted vault; mount it "
				 "with 'frondfs mount', or name something in "
				 "one that is",
				 path);
	if (err == -EPROTONOSUPPORT)
		return report_as(CMD_NO_VAULT,
				 "the vault of '%s' was mounted by another "
				 "version of frondfs; mount it anew",
				 path);
	if (err == -ENOTCONN)
		return report_as(CMD_NO_VAULT,
				 "the mount of '%s' died; unmount it with "
				 "'frondfs umount' and mount it anew",
				 path);
	if (err == -EBADMSG)
		return report_as(CMD_FAILED,
				 "the sharing keys of the vault of '%s' are "
				 "damaged (.frondfs/identity in its backing "
				 "directory): put that file back from a "
				 "backup and mount anew; without one, move it "
				 "away, mount anew, and run 'tgshare setup "
				 "--new-keys'",
				 path);
	return report_as(err == -ENOENT ? CMD_NO_VAULT : CMD_FAILED,
			 "cannot open '%s': %s", path, strerror(-err));
}

/* Of one that is to be shared, or the like. */
static int report_file(int err, const char *path)
{
	return err == -ENOENT || err == -ENOTDIR
		       ? report_as(CMD_UNKNOWN, "there is no file '%s'", path)
		       : report_mounted(err, path);
}

/* mountinfo writes blanks and the like as \ooo. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in; out++) {
		unsigned value;

		if (in[0] == '\\' && sscanf(in + 1, "%3o", &value) == 1) {
			*out = (char)value;
			in += 4;
		} else {
			*out = *in++;
		}
	}
	*out = '\0';
}

/* Where vaults are mounted, in words. */
struct points {
	char text[POINTS_TEXT_MAX];
	size_t len, count;
};

/* The mount point in a line of mountinfo if it is a vault's; else NULL. */
static char *vault_of_line(char *line)
{
	const char *type = strstr(line, " - ");
	char *point = line;

	if (!type || strncmp(type + 3, "fuse.frondfs ", 13) != 0)
		return NULL;
	for (int field = 0; field < 4 && point; field++) {
		point = strchr(point, ' ');
		if (point)
			point++;
	}
	if (!point || !strchr(point, ' '))
		return NULL;
	*strchr(point, ' ') = '\0';
	unescape(point);
	return point;
}

/* Whole, or not at all: "'/a', '/b'" */
static void add_point(struct points *p, const char *point)
{
	size_t room = sizeof p->text - p->len;
	int n = snprintf(p->text + p->len, room, "%s'%s'", p->len ? ", " : "",
			 point);

	if (n > 0 && (size_t)n < room)
		p->len += (size_t)n;
	else
		p->text[p->len] = '\0';
}

/* Tries every mounted vault that answers; points->count tells how many do. */
static int find_only(struct mounted *m, struct points *points)
{
	FILE *info = fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	size_t size = 0;

	if (!info)
		return -errno;
	while (getline(&line, &size, info) > 0) {
		const char *point = vault_of_line(line);
		struct mounted found;

		if (!point || mounted_of_path(point, &found))
			continue;
		add_point(points, point);
		if (points->count++)
			mounted_close(&found);
		else
			*m = found;
	}
	fclose(info);
	return points->count ? 0 : -ENOENT;
}

static int use_only(struct mounted *m)
{
	struct points points = {0};

	/* where one works is where one means */
	if (mounted_of_path(".", m) == 0)
		return CMD_OK;
	if (find_only(m, &points))
		return report_as(CMD_NO_VAULT,
				 "no vault is mounted here; mount yours with "
				 "'frondfs mount'");
	if (points.count == 1)
		return CMD_OK;
	mounted_close(m);
	return report_as(CMD_NO_VAULT,
			 "%zu vaults are mounted: %s; say which one with "
			 "--vault MOUNT or TGSHARE_VAULT, or work in it",
			 points.count, points.text);
}

static bool same_vault(const struct mounted *a, const struct mounted *b)
{
	return memcmp(a->info.vault_id, b->info.vault_id, VAULT_ID_LEN) == 0 &&
	       strcmp(a->info.mountpoint, b->info.mountpoint) == 0;
}

/* None is opened: one that nobody uses may be about to unmount itself. */
static size_t count_vaults(void)
{
	FILE *info = fopen("/proc/self/mountinfo", "re");
	CLEANUP_FREE char *line = NULL;
	size_t size = 0, count = 0;

	if (!info)
		return 0;
	while (getline(&line, &size, info) > 0)
		count += vault_of_line(line) != NULL;
	fclose(info);
	return count;
}

bool mounted_is_default(const struct mounted *m)
{
	const char *from_environment = getenv("TGSHARE_VAULT");
	bool named = from_environment && from_environment[0];
	struct mounted found = {.fd = -1};
	bool same;

	if (mounted_of_path(named ? from_environment : ".", &found))
		return !named && count_vaults() == 1;
	same = same_vault(m, &found);
	mounted_close(&found);
	return same;
}

/* m is open; must hold path too. */
static int check_same(struct mounted *m, const char *path, const char *other)
{
	struct mounted also;
	int err = mounted_of_path(path, &also);
	bool same;

	if (err)
		return report_file(err, path);
	same = same_vault(m, &also);
	mounted_close(&also);
	if (same)
		return CMD_OK;
	return report_as(CMD_NO_VAULT,
			 "'%s' and '%s' are in different vaults; name one "
			 "vault at a time",
			 path, other);
}

static int use_path(const char *path, struct mounted *m)
{
	int err = mounted_of_path(path, m);

	return err ? report_mounted(err, path) : CMD_OK;
}

int mounted_find(char *const *paths, int count, const char *option,
		 struct mounted *m)
{
	const char *from_environment = getenv("TGSHARE_VAULT");
	int status, err;

	m->fd = -1;
	if (count > 0) {
		err = mounted_of_path(paths[0], m);
		status = err ? report_file(err, paths[0]) : CMD_OK;
		for (int i = 1; i < count && !status; i++)
			status = check_same(m, paths[i], paths[0]);
		if (!status && option)
			status = check_same(m, option, paths[0]);
		if (status)
			mounted_close(m);
		return status;
	}
	if (option)
		return use_path(option, m);
	if (from_environment && from_environment[0])
		return use_path(from_environment, m);
	return use_only(m);
}

/* realpath(3) of all but the last component. */
static int absolute(const char *path, char **out)
{
	CLEANUP_FREE char *for_dir = strdup(path), *for_base = strdup(path);
	char *whole = NULL;

	if (!for_dir || !for_base)
		return -ENOMEM;
	const char *base = basename(for_base);

	if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0 ||
	    strcmp(base, "/") == 0) {
		*out = realpath(path, NULL);
		return *out ? 0 : -errno;
	}
	CLEANUP_FREE char *dir = realpath(dirname(for_dir), NULL);

	if (!dir)
		return -errno;
	if (asprintf(&whole, "%s/%s", strcmp(dir, "/") ? dir : "", base) < 0)
		return -ENOMEM;
	*out = whole;
	return 0;
}

int mounted_relative(const struct mounted *m, const char *path, char **relative)
{
	CLEANUP_FREE char *whole = NULL;
	size_t len = strlen(m->info.mountpoint);
	int err = absolute(path, &whole);

	if (err)
		return err;
	if (strncmp(whole, m->info.mountpoint, len) != 0 ||
	    (whole[len] != '/' && whole[len] != '\0'))
		return -EXDEV;
	*relative = strdup(whole + len + (whole[len] == '/'));
	return *relative ? 0 : -ENOMEM;
}
