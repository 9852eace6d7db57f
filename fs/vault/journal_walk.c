/* Every file of the tree that the session may have changed. */
#include "journal_recover.h"

#include "log.h"
#include "name.h"
#include "rekey.h"
#include "vdir.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { PATH_ROOM = 4096 };

/* Where the walk is. */
struct walk {
	struct recovery *rec;
	char path[PATH_ROOM];
	size_t len;
};

static int open_file(const struct walk *w, int dirfd, const char *entry,
		     int *out)
{
	if (!w->rec->out->look_only)
		return rekey_open_both(dirfd, entry, out);
	*out = openat(dirfd, entry,
		      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return *out < 0 ? -errno : 0;
}

static int visit_file(struct walk *w, int dirfd, const char *entry,
		      const struct stat *st)
{
	CLEANUP_FD int fd = -1;
	int err;

	if (!journal_wants_(w->rec, st))
		return 0;
	err = open_file(w, dirfd, entry, &fd);
	/* somebody else's, that this mount cannot have written */
	if (err == -EACCES || err == -EPERM || err == -ENOENT)
		return 0;
	return err ? err : journal_treat_(w->rec, dirfd, entry, w->path, fd);
}

/* A directory whatever its mode, if it is ours. */
static int open_dir(int dirfd, const char *entry, DIR **out)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	CLEANUP_FD int path_fd = -1;
	mode_t old_mode;
	int fd = openat(dirfd, entry, flags), err;

	if (fd < 0 && errno == EACCES) {
		err = vdir_open_path(dirfd, entry, &path_fd);
		if (!err)
			err = vdir_grant(path_fd, &old_mode);
		if (err)
			return err;
		fd = openat(path_fd, ".", flags);
		vdir_restore(path_fd, old_mode);
	}
	if (fd < 0)
		return -errno;
	*out = fdopendir(fd);
	if (!*out) {
		err = -errno;
		close(fd);
		return err;
	}
	return 0;
}

static int visit_dir(struct walk *w, int parent, const char *entry);

static int visit(struct walk *w, int dirfd, const char *entry)
{
	struct stat st;

	if (fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(st.st_mode))
		return visit_dir(w, dirfd, entry);
	return S_ISREG(st.st_mode) ? visit_file(w, dirfd, entry, &st) : 0;
}

/* What is ours and no file: ids, long names, what was being made. */
static bool is_entry(const char *name)
{
	enum name_kind kind = name_classify(name);

	return kind != NAME_KIND_INTERNAL && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

static int visit_dir(struct walk *w, int parent, const char *entry)
{
	CLEANUP_DIR DIR *dir = NULL;
	size_t len = w->len;
	const struct dirent *e;
	int err = open_dir(parent, entry, &dir);

	if (err == -EACCES || err == -EPERM || err == -ENOENT)
		return 0;
	while (!err) {
		int n;

		errno = 0;
		e = readdir(dir);
		if (!e)
			return -errno;
		if (!is_entry(e->d_name))
			continue;
		n = snprintf(w->path + len, sizeof w->path - len, "%s%s",
			     len ? "/" : "", e->d_name);
		if (n < 0 || (size_t)n >= sizeof w->path - len) {
			log_warning("%s: too deep to be looked at", w->path);
			continue;
		}
		w->len = len + (size_t)n;
		err = visit(w, dirfd(dir), e->d_name);
		w->len = len;
	}
	return err;
}

int journal_walk_(struct recovery *rec)
{
	struct walk *w = calloc(1, sizeof *w);
	int err;

	if (!w)
		return -ENOMEM;
	w->rec = rec;
	err = visit_dir(w, rec->vault->root_fd, ".");
	free(w);
	return err;
}
