#include "source.h"
#include "report.h"
#include "settings.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum { DEPTH_MAX = 256 };

static uint64_t mtime_ns(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000 +
	       (uint64_t)st->st_mtim.tv_nsec;
}

/* Locked and granted files have it; what they are is not ours to give. */
static bool is_somebodys(int dir, const char *name)
{
	char path[64 + NAME_MAX + 1], value[1];

	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir, name);
	return lgetxattr(path, "user.frondfs.share", value, 0) >= 0;
}

static int report_somebodys(const char *given, const char *path)
{
	return report_as(CMD_FAILED,
			 "'%s'%s%s%s was shared with you and is locked, or its "
			 "owner's: only its owner can share it; ask them, or "
			 "share a copy",
			 given, path ? " has '" : "", path ? path : "",
			 path ? "', which" : "");
}

static int add_entry(struct source *s, const char *path, const struct stat *st)
{
	struct source_entry *list;

	if (s->count == MANIFEST_ENTRIES_MAX)
		return report_as(CMD_FAILED,
				 "'%s' has more than %d files; share parts of "
				 "it",
				 s->given, MANIFEST_ENTRIES_MAX);
	list = reallocarray(s->entries, s->count + 1, sizeof *list);
	if (!list)
		return report_as(CMD_FAILED, "memory is short");
	s->entries = list;
	list[s->count].path = strdup(path);
	list[s->count].st = *st;
	if (!list[s->count].path)
		return report_as(CMD_FAILED, "memory is short");
	s->count++;
	if (S_ISREG(st->st_mode))
		s->total += (uint64_t)st->st_size;
	if (mtime_ns(st) > s->mtime_ns)
		s->mtime_ns = mtime_ns(st);
	return CMD_OK;
}

static int walk(struct source *s, int fd, const char *prefix, int depth);

static int walk_into(struct source *s, int parent, const char *name,
		     const char *path, int depth)
{
	int fd = openat(parent, name,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return report_as(CMD_FAILED,
				 "cannot read the folder '%s/%s': %s", s->given,
				 path, strerror(errno));
	return walk(s, fd, path, depth + 1);
}

static int walk_entry(struct source *s, int dir, const char *prefix,
		      const char *name, int depth)
{
	CLEANUP_FREE char *path = NULL;
	struct stat st;
	int status;

	if (asprintf(&path, "%s%s%s", prefix, prefix[0] ? "/" : "", name) < 0)
		return report_as(CMD_FAILED, "memory is short");
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return report_as(CMD_FAILED, "cannot look at '%s/%s': %s",
				 s->given, path, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		report("'%s/%s' is left out: only files and folders can be "
		       "shared",
		       s->given, path);
		return CMD_OK;
	}
	if (S_ISREG(st.st_mode) && is_somebodys(dir, name))
		return report_somebodys(s->given, path);
	status = add_entry(s, path, &st);
	if (status || !S_ISDIR(st.st_mode))
		return status;
	return walk_into(s, dir, name, path, depth);
}

/* Takes fd. */
static int walk(struct source *s, int fd, const char *prefix, int depth)
{
	CLEANUP_DIR DIR *dir = fdopendir(fd);
	const struct dirent *entry;
	int status = CMD_OK;

	if (!dir) {
		close(fd);
		return report_as(CMD_FAILED, "memory is short");
	}
	if (depth > DEPTH_MAX)
		return report_as(CMD_FAILED,
				 "'%s' is nested more than %d folders deep",
				 s->given, DEPTH_MAX);
	while (!status && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			status = walk_entry(s, dirfd(dir), prefix,
					    entry->d_name, depth);
	return status;
}

static int look_at_folder(struct source *s)
{
	int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return report_as(CMD_FAILED, "cannot read the folder '%s': %s",
				 s->given, strerror(errno));
	s->folder = true;
	int status = walk(s, fd, "", 0);

	if (!status && s->count == 0)
		return report_as(CMD_FAILED, "the folder '%s' is empty",
				 s->given);
	return status;
}

static int look_at_file(struct source *s, const struct stat *st)
{
	char path[64], value[1];

	snprintf(path, sizeof path, "/proc/self/fd/%d", s->fd);
	if (getxattr(path, "user.frondfs.share", value, 0) >= 0)
		return report_somebodys(s->given, NULL);
	return add_entry(s, s->name, st);
}

/* tgshare's own, and the whole vault with it, are not for sharing. */
static int check_place(const struct source *s)
{
	size_t own = strlen(SETTINGS_DIR);

	if (!s->relative[0])
		return report_as(CMD_FAILED,
				 "'%s' is the whole vault; name files or "
				 "folders in it",
				 s->given);
	if (strncmp(s->relative, SETTINGS_DIR, own) == 0 &&
	    (s->relative[own] == '/' || !s->relative[own]))
		return report_as(CMD_FAILED,
				 "'%s' is where tgshare keeps its own; it "
				 "cannot be shared",
				 s->given);
	return CMD_OK;
}

static int open_source(const struct mounted *m, const char *path,
		       struct source *s, struct stat *st)
{
	/* the file that a link named by the user leads to */
	CLEANUP_FREE char *real = realpath(path, NULL);
	int err = real ? mounted_relative(m, real, &s->relative) : -errno;

	if (err == -EXDEV)
		return report_as(CMD_NO_VAULT,
				 "'%s' leads out of the vault on '%s'", path,
				 m->info.mountpoint);
	if (!err) {
		CLEANUP_FREE char *copy = strdup(real);

		s->name = copy ? strdup(basename(copy)) : NULL;
		s->fd = open(real, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		err = !s->name				  ? -ENOMEM
		      : s->fd < 0 || fstat(s->fd, st) < 0 ? -errno
							  : 0;
	}
	if (err == -ENOENT || err == -ENOTDIR)
		return report_as(CMD_UNKNOWN, "there is no file '%s'", path);
	if (err)
		return report_as(CMD_FAILED, "cannot open '%s': %s", path,
				 strerror(-err));
	return check_place(s);
}

int source_look(const struct mounted *m, const char *path, struct source *s)
{
	struct stat st;
	int status;

	memset(s, 0, sizeof *s);
	s->given = path;
	s->fd = -1;
	status = open_source(m, path, s, &st);
	if (!status && S_ISDIR(st.st_mode))
		status = look_at_folder(s);
	else if (!status && S_ISREG(st.st_mode))
		status = look_at_file(s, &st);
	else if (!status)
		status = report_as(CMD_FAILED,
				   "'%s' is neither a file nor a folder; only "
				   "these can be shared",
				   path);
	if (status)
		source_free(s);
	return status;
}

void source_free(struct source *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->entries[i].path);
	free(s->entries);
	free(s->relative);
	free(s->name);
	if (s->fd >= 0)
		close(s->fd);
	memset(s, 0, sizeof *s);
	s->fd = -1;
}

/* What the change time says is looked at where it is read. */
bool source_same(const struct source_entry *entry, int fd)
{
	const struct stat *was = &entry->st;
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_ino == was->st_ino &&
	       st.st_dev == was->st_dev && st.st_size == was->st_size &&
	       mtime_ns(&st) == mtime_ns(was);
}

int source_open(const struct source *s, const struct source_entry *entry,
		int flags, int *fd)
{
	char path[64];
	CLEANUP_FD int opened = -1;

	if (s->folder) {
		opened = openat(s->fd, entry->path,
				flags | O_CLOEXEC | O_NOFOLLOW);
	} else {
		snprintf(path, sizeof path, "/proc/self/fd/%d", s->fd);
		opened = open(path, flags | O_CLOEXEC);
	}
	if (opened < 0)
		return -errno;
	if (!source_same(entry, opened))
		return -EAGAIN;
	*fd = TAKE_FD(opened);
	return 0;
}

static const char id_name[] = "user.frondfs.id";

enum { ID_TEXT_LEN = 2 * FILE_ID_LEN };

/* n: what the system call returned. */
static int read_id(const char *text, ssize_t n, uint8_t id[static FILE_ID_LEN])
{
	if (n < 0)
		return -errno;
	return hex_decode(text, (size_t)n, id, FILE_ID_LEN) ? -ENODATA : 0;
}

int source_file_id(int fd, uint8_t id[static FILE_ID_LEN])
{
	char text[ID_TEXT_LEN + 1];

	return read_id(text, fgetxattr(fd, id_name, text, sizeof text), id);
}

int source_path_id(const char *path, uint8_t id[static FILE_ID_LEN])
{
	char text[ID_TEXT_LEN + 1];

	return read_id(text, lgetxattr(path, id_name, text, sizeof text), id);
}
