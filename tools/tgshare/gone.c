#include "gone.h"
#include "source.h"
#include "when.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* More of a folder is not looked at: each may lie far away. */
enum { LOOKS_MAX = 1000, DEPTH_MAX = 100 };

static void note(struct gone *gone, size_t *count, const char *path)
{
	(*count)++;
	if (!gone->path[0])
		snprintf(gone->path, sizeof gone->path, "%s", path);
}

/* By another set, as the one that is meant may have been moved away. */
static bool is_granted_too(const struct outbox *o, const struct item *item,
			   const uint8_t *id)
{
	uint64_t now = when_now_s();

	for (size_t i = 0; i < o->count; i++) {
		const struct item *other = o->items[i];

		if (other == item || other->kind != ITEM_GRANT ||
		    !item_live(other, now) ||
		    !people_same_keys(&other->parties[0].pub,
				      &item->parties[0].pub))
			continue;
		if (item_files_have(other->files, other->file_count, id))
			return true;
	}
	return false;
}

void gone_given(const struct session *s, const struct outbox *o,
		const struct item *item, struct gone *gone)
{
	memset(gone, 0, sizeof *gone);
	for (size_t i = 0; i < item->file_count; i++) {
		const struct item_file *f = &item->files[i];
		char whole[CONTROL_PATH_MAX + 64];
		uint8_t id[FILE_ID_LEN];
		int err;

		snprintf(whole, sizeof whole, "/proc/self/fd/%d/%s", s->m.fd,
			 f->path);
		err = source_path_id(whole, id);
		if (err == -ENOENT || err == -ENOTDIR)
			note(gone, &gone->missing, f->path);
		else if (!err && memcmp(id, f->id, sizeof id) != 0)
			note(gone,
			     is_granted_too(o, item, id) ? &gone->missing
							 : &gone->replaced,
			     f->path);
	}
}

/* A folder that was granted, being walked through. */
struct walk {
	int root_fd;
	struct gone *gone;
	unsigned looks;
	char path[CONTROL_PATH_MAX];
};

static void look_at(struct walk *w, size_t len, unsigned depth);

static void look_into(struct walk *w, size_t len, unsigned depth)
{
	int fd = openat(w->root_fd, w->path,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && w->looks < LOOKS_MAX && (e = readdir(dir))) {
		size_t room = sizeof w->path - len;
		int n = snprintf(w->path + len, room, "/%s", e->d_name);

		if (strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0 && n > 0 && (size_t)n < room)
			look_at(w, len + (size_t)n, depth - 1);
		w->path[len] = '\0';
	}
}

/* The mount finds the owner's file when ours is opened. */
static void look_at(struct walk *w, size_t len, unsigned depth)
{
	struct stat st;
	int fd;

	w->looks++;
	if (fstatat(w->root_fd, w->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (S_ISDIR(st.st_mode) && depth > 0)
		look_into(w, len, depth);
	if (!S_ISREG(st.st_mode))
		return;
	fd = openat(w->root_fd, w->path,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	else if (errno == ENOENT)
		note(w->gone, &w->gone->missing, w->path);
}

static void look_where(const struct session *s, const char *path,
		       struct gone *gone)
{
	struct walk w = {.root_fd = s->m.fd, .gone = gone};

	memset(gone, 0, sizeof *gone);
	snprintf(w.path, sizeof w.path, "%s", path);
	look_at(&w, strlen(w.path), DEPTH_MAX);
}

/* The log tells where it was put; elsewhere its owner has moved it here. */
struct gone *gone_came(const struct session *s, const struct inbox_set *sets,
		       size_t count)
{
	struct gone *gone = calloc(count + 1, sizeof *gone);
	struct vlog_record r = {0};
	bool any = false;

	for (size_t i = 0; i < count; i++)
		any |= sets[i].state == INBOX_GRANTED;
	for (uint64_t seq = 0; gone && any; seq++) {
		int err;

		r.seq = seq;
		err = mounted_ask(s->m.fd, CONTROL_LOG_READ, &r);
		if (err && err != -EBADMSG)
			return gone;
		for (size_t i = 0; i < count && !err; i++)
			if (r.event == VLOG_OPENED && strchr(r.text, '/') &&
			    sets[i].state == INBOX_GRANTED &&
			    memcmp(sets[i].set_id, r.set_id, SET_ID_LEN) == 0)
				look_where(s, r.text, &gone[i]);
	}
	return gone;
}
