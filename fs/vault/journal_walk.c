/*
 * Every file of the tree that the session may have changed. What cannot be
 * looked at is said, and stays as it is.
 */
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
#include <sys/resource.h>
#include <time.h>

/* Where the walk is. */
struct walk {
	struct recovery *rec;
	char *path;
	size_t len, room;
	unsigned depth, depth_max;
	size_t files; /* looked at */
	time_t told_s;
};

enum {
	DEPTH_MAX = 500, /* a descriptor and some of the stack for each */
	DEPTH_SHARE = 2, /* of the descriptors */
	TELL_S = 10,
};

/* A directory on the way. */
struct place {
	DIR *dir;
	bool known, asked; /* its id */
	uint8_t id[DIRID_LEN];
};

/* 0: go on with the next one. */
static int pass_over(struct walk *w, int err, bool wanted)
{
	struct recovery *rec = w->rec;

	if (journal_is_fatal_(rec, err))
		return err;
	if (rec->scouting)
		return 0;
	rec->skipped++;
	rec->failed += wanted;
	if (!rec->out->look_only)
		log_warning("%s/%s: cannot be looked at, and stays as it is: "
			    "%s",
			    rec->vault->path, w->path, strerror(-err));
	return 0;
}

static int open_file(const struct walk *w, int dirfd, const char *entry,
		     int *out)
{
	if (!w->rec->out->look_only)
		return rekey_open_both(dirfd, entry, out);
	*out = openat(dirfd, entry,
		      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return *out < 0 ? -errno : 0;
}

static int scout(struct walk *w, int fd, const struct stat *st)
{
	uint8_t bytes[HEADER_LEN], id[FILE_ID_LEN];
	bool locked;
	int err = xio_pread(fd, bytes, sizeof bytes, 0);

	if (!err)
		err = header_probe(bytes, id, &locked);
	if (!err)
		journal_scout_(w->rec, id, st);
	return err == -EBADMSG || err == -ENODATA ? 0 : err;
}

/* Whoever waits for the mount wants to know what it is about. */
static void tell_progress(struct walk *w)
{
	struct timespec now;

	w->files++;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (w->rec->out->look_only || now.tv_sec < w->told_s + TELL_S)
		return;
	w->told_s = now.tv_sec;
	log_notice("%s: finishing what a mount that ended unexpectedly has "
		   "left: file %zu, %s",
		   w->rec->vault->path, w->files, w->path);
}

static int try_file(struct walk *w, int dirfd, const char *entry,
		    const struct stat *st)
{
	CLEANUP_FD int fd = -1;
	int err = open_file(w, dirfd, entry, &fd);

	if (err)
		return err == -ENOENT ? 0 : err;
	return w->rec->scouting
		       ? scout(w, fd, st)
		       : journal_treat_(w->rec, dirfd, entry, w->path, fd);
}

static int visit_file(struct walk *w, int dirfd, const char *entry,
		      const struct stat *st)
{
	int err;

	if (!journal_wants_(w->rec, st))
		return 0;
	tell_progress(w);
	err = try_file(w, dirfd, entry, st);
	/* disks and networks may mean it once */
	if (err && !journal_is_fatal_(w->rec, err))
		err = try_file(w, dirfd, entry, st);
	return err ? pass_over(w, err, true) : 0;
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
		err = fd < 0 ? -errno : 0;
		vdir_restore(path_fd, old_mode);
		if (err)
			return err;
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
		return errno == ENOENT ? 0 : pass_over(w, -errno, true);
	if (S_ISREG(st.st_mode))
		return visit_file(w, dirfd, entry, &st);
	if (!S_ISDIR(st.st_mode))
		return 0;
	/* Snapshots in there have the same inode numbers. */
	if (st.st_dev != w->rec->root_dev)
		return pass_over(w, -EXDEV, false);
	/* no program gets there but step by step, but somebody may have made
	 * that so deep that it is too much for any */
	if (w->depth >= w->depth_max)
		return pass_over(w, -ELOOP, true);
	return visit_dir(w, dirfd, entry);
}

/* One that cannot be read now may be of names that are shown. */
static void ask_id(const struct walk *w, struct place *place)
{
	int err = vdir_read_id(dirfd(place->dir), place->id);

	place->known = err == 0;
	place->asked = true;
	if (err && err != -ENOENT && !w->rec->scouting)
		w->rec->skipped++;
}

/*
 * Does a mount show this? What it does not show it has not written: ids and
 * long names, what was being made, others' directories of old versions.
 */
static bool is_entry(const struct walk *w, struct place *place,
		     const char *entry)
{
	char plain[NAME_PLAIN_MAX + 1];

	if (strcmp(entry, ".") == 0 || strcmp(entry, "..") == 0)
		return false;
	switch (name_classify(entry)) {
	case NAME_KIND_INTERNAL:
		return false;
	case NAME_KIND_ENTRY:
	case NAME_KIND_LONG:
		return true;
	case NAME_KIND_FOREIGN:
		break;
	}
	if (!place->asked)
		ask_id(w, place);
	return place->known && vdir_plain_name(w->rec->vault, dirfd(place->dir),
					       place->id, entry, plain) == 0;
}

/* However deep: it is for messages, and opened step by step. */
static int add_to_path(struct walk *w, const char *entry)
{
	size_t wanted = w->len + strlen(entry) + 2;
	char *more;

	if (wanted > w->room) {
		more = realloc(w->path, 2 * wanted);
		if (!more)
			return -ENOMEM;
		w->path = more;
		w->room = 2 * wanted;
	}
	w->len += (size_t)snprintf(w->path + w->len, w->room - w->len, "%s%s",
				   w->len ? "/" : "", entry);
	return 0;
}

static int visit_entry(struct walk *w, struct place *place, const char *entry)
{
	size_t len = w->len;
	int err = add_to_path(w, entry);

	if (err)
		return err;
	w->depth++;
	err = visit(w, dirfd(place->dir), entry);
	w->depth--;
	w->len = len;
	w->path[len] = '\0';
	return err;
}

static int visit_dir(struct walk *w, int parent, const char *entry)
{
	CLEANUP_DIR DIR *dir = NULL;
	struct place place = {0};
	int err = open_dir(parent, entry, &dir);

	if (err && w->len == 0)
		return err;
	if (err)
		return err == -ENOENT ? 0 : pass_over(w, err, true);
	place.dir = dir;
	while (!err) {
		const struct dirent *e;

		errno = 0;
		e = readdir(dir);
		if (!e)
			return errno ? pass_over(w, -errno, true) : 0;
		if (is_entry(w, &place, e->d_name))
			err = visit_entry(w, &place, e->d_name);
	}
	return err;
}

static unsigned limit_depth(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
	    limit.rlim_cur / DEPTH_SHARE >= DEPTH_MAX)
		return DEPTH_MAX;
	return (unsigned)(limit.rlim_cur / DEPTH_SHARE);
}

int journal_walk_(struct recovery *rec)
{
	struct walk w = {
		.rec = rec, .path = strdup(""), .depth_max = limit_depth()};
	struct timespec now;
	struct stat st;
	int err;

	if (!w.path)
		return -ENOMEM;
	clock_gettime(CLOCK_MONOTONIC, &now);
	w.told_s = now.tv_sec;
	err = fstat(rec->vault->root_fd, &st) < 0 ? -errno : 0;
	rec->root_dev = st.st_dev;
	if (!err)
		err = visit_dir(&w, rec->vault->root_fd, ".");
	free(w.path);
	return err;
}
