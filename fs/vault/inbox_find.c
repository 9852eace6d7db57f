/* Where placeholders are now: users may move them. */
#include "inbox_internal.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "sealed.h"

enum {
	WALK_DEPTH_MAX = 200,
	VAIN_HUNTS_MAX = 32, /* in one scan */
};

void inbox_spot_fini_(struct spot *s)
{
	vtree_close_dir(&s->dir);
	free(s->path);
	s->path = NULL;
}

void inbox_note_stat_(struct place *place, const struct statx *stx)
{
	place->dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	place->ino = stx->stx_ino;
	place->btime_s = stx->stx_btime.tv_sec;
	place->btime_ns = stx->stx_btime.tv_nsec;
}

char *inbox_path_of_(const struct parcel *p, uint32_t entry)
{
	char *path = NULL;

	if (!p->base)
		return NULL;
	if (entry == PLACE_WHOLE || !p->m || !p->m->folder)
		return strdup(p->base);
	if (asprintf(&path, "%s/%s", p->base, p->m->entries[entry].path) < 0)
		return NULL;
	return path;
}

int inbox_below_(struct inbox *in, const struct vtree_dir *base,
		 const char *path, bool make, struct vtree_dir *dir,
		 const char **last)
{
	struct vtree_dir here = {.fd = fcntl(base->fd, F_DUPFD_CLOEXEC, 0)};
	const char *slash;
	int err = 0;

	if (here.fd < 0)
		return -errno;
	memcpy(here.id, base->id, sizeof here.id);
	while (!err && (slash = strchr(path, '/'))) {
		char name[NAME_PLAIN_MAX + 1];
		struct vtree_dir child;

		snprintf(name, sizeof name, "%.*s", (int)(slash - path), path);
		err = vtree_open_child(in->vault, &here, name, make, 0700,
				       &child);
		vtree_close_dir(&here);
		if (!err)
			here = child;
		path = slash + 1;
	}
	if (err) {
		vtree_close_dir(&here);
		return err;
	}
	*dir = here;
	*last = path;
	return 0;
}

/* The id in the header of a backing file, and whether it has its own key. */
static int identify(int dirfd, const char *entry, uint8_t id[FILE_ID_LEN],
		    bool *is_file)
{
	CLEANUP_FD int fd = openat(
		dirfd, entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint8_t head[HEADER_LEN];
	struct stat st;
	int err;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	err = sealed_probe(fd, id);
	*is_file = err == -EBADMSG;
	if (err != -EBADMSG)
		return err;
	err = xio_pread(fd, head, sizeof head, 0);
	if (err)
		return err == -ENODATA ? -EBADMSG : err;
	memcpy(id, head + 8, FILE_ID_LEN);
	return memcmp(head, "FRONDFS1", 8) == 0 ? 0 : -EBADMSG;
}

/* The very placeholder that we put there, by what the record says of it. */
static bool is_same_inode(const struct place *place, const struct statx *stx)
{
	return place->state == PLACE_STANDS && place->ino == stx->stx_ino &&
	       (stx->stx_mask & STATX_BTIME) &&
	       place->btime_s == stx->stx_btime.tv_sec &&
	       place->btime_ns == stx->stx_btime.tv_nsec;
}

static int locate_at(struct inbox *in, const struct place *place,
		     const char *path, struct spot *s)
{
	struct vtree_dir root, dir = {.fd = -1};
	uint8_t id[FILE_ID_LEN];
	const char *last = path;
	int err = vtree_open_dir(in->vault, "", false, 0, &root);

	if (err)
		return err;
	err = inbox_below_(in, &root, path, false, &dir, &last);
	vtree_close_dir(&root);
	if (err)
		return err;
	err = vtree_stat(in->vault, &dir, last, &s->name, &s->stx);
	s->is_file = false;
	/* its user may have made it unreadable */
	if (!err && !is_same_inode(place, &s->stx)) {
		err = identify(dir.fd, s->name.entry, id, &s->is_file);
		if (!err && memcmp(id, place->id, sizeof id) != 0)
			err = -ENOENT;
	}
	if (!err) {
		s->path = strdup(path);
		err = s->path ? 0 : -ENOMEM;
	}
	if (err) {
		vtree_close_dir(&dir);
		return err;
	}
	s->dir = dir;
	return 0;
}

/* A walk over the whole tree for one file. */
struct hunt {
	struct inbox *in;
	const struct place *place;
	struct spot *spot;
	char path[PATH_MAX * 2];
};

static int hunt_in(struct hunt *h, const struct vtree_dir *dir, size_t path_len,
		   unsigned depth);

static bool push_name(struct hunt *h, size_t path_len, const char *name)
{
	int len = snprintf(h->path + path_len, sizeof h->path - path_len,
			   "%s%s", path_len ? "/" : "", name);

	return len >= 0 && (size_t)len < sizeof h->path - path_len;
}

/* 1: found. Whatever cannot be looked at is not it. */
static int hunt_entry(struct hunt *h, const struct vtree_dir *dir,
		      size_t path_len, const struct dirent *e, unsigned depth)
{
	char plain[NAME_PLAIN_MAX + 1];
	struct vtree_dir sub = {.fd = -1};
	uint8_t id[FILE_ID_LEN];
	bool is_file;
	int err;

	if (name_classify(e->d_name) == NAME_KIND_INTERNAL ||
	    name_classify(e->d_name) == NAME_KIND_FOREIGN)
		return 0;
	if (e->d_type != DT_DIR &&
	    !identify(dir->fd, e->d_name, id, &is_file)) {
		if (memcmp(id, h->place->id, sizeof id) != 0 ||
		    vdir_plain_name(h->in->vault, dir->fd, dir->id, e->d_name,
				    plain) ||
		    !push_name(h, path_len, plain))
			return 0;
		return locate_at(h->in, h->place, h->path, h->spot) ? 0 : 1;
	}
	if (e->d_type == DT_REG || e->d_type == DT_LNK || depth == 0 ||
	    vdir_open_path(dir->fd, e->d_name, &sub.fd))
		return 0;
	err = vdir_read_id(sub.fd, sub.id);
	if (!err)
		err = vdir_plain_name(h->in->vault, dir->fd, dir->id, e->d_name,
				      plain);
	if (!err && push_name(h, path_len, plain))
		err = hunt_in(h, &sub, strlen(h->path), depth - 1);
	vtree_close_dir(&sub);
	return err > 0 ? 1 : xio_is_shortage(err) ? err : 0;
}

static int hunt_in(struct hunt *h, const struct vtree_dir *dir, size_t path_len,
		   unsigned depth)
{
	CLEANUP_FD int fd =
		openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_DIR DIR *stream = NULL;
	const struct dirent *e;
	int found = 0;

	if (fd < 0)
		return -errno;
	stream = fdopendir(fd);
	if (!stream)
		return -errno;
	fd = -1;
	while (!found && (e = readdir(stream))) {
		if (inbox_stopped_(h->in))
			return -EINTR;
		h->path[path_len] = '\0';
		found = hunt_entry(h, dir, path_len, e, depth);
	}
	return found;
}

static int hunt(struct inbox *in, const struct place *place, struct spot *s)
{
	CLEANUP_FREE struct hunt *h = calloc(1, sizeof *h);
	struct vtree_dir root;
	int found;

	if (!h)
		return -ENOMEM;
	h->in = in;
	h->place = place;
	h->spot = s;
	found = vtree_open_dir(in->vault, "", false, 0, &root);
	if (found)
		return found;
	found = hunt_in(h, &root, 0, WALK_DEPTH_MAX);
	vtree_close_dir(&root);
	return found < 0 ? found : found ? 0 : -ENOENT;
}

/* The whole folder moved with it, most likely: look there from now on. */
static void follow(struct inbox *in, struct parcel *p, uint32_t entry,
		   const char *path)
{
	size_t len = strlen(path), tail = 0;
	char *base;

	if (entry != PLACE_WHOLE && p->m && p->m->folder)
		tail = strlen(p->m->entries[entry].path) + 1;
	if (tail >= len || (tail && (path[len - tail] != '/' ||
				     strcmp(path + len - tail + 1,
					    p->m->entries[entry].path) != 0)))
		return;
	base = strndup(path, len - tail);
	if (!base)
		return;
	inbox_write_begin_(in);
	free(p->base);
	p->base = base;
	p->dirty = true;
	inbox_write_end_(in);
}

int inbox_locate_(struct inbox *in, struct parcel *p, uint32_t entry,
		  struct spot *s)
{
	CLEANUP_FREE char *path = inbox_path_of_(p, entry);
	const struct place *place = inbox_place_of_(p, entry);
	int err;

	s->path = NULL;
	s->dir.fd = -1;
	if (!path)
		return p->base ? -ENOMEM : -ENOENT;
	err = locate_at(in, place, path, s);
	if (!err || err == -ENOMEM)
		return err;
	if (in->vain_hunts >= VAIN_HUNTS_MAX)
		return -ENOENT;
	err = hunt(in, place, s);
	if (err)
		in->vain_hunts++;
	else if (s->path)
		follow(in, p, entry, s->path);
	return err;
}

/* Is the recorded entry where it was? Else it is looked for. */
static int look_at(struct inbox *in, struct parcel *p, uint32_t entry)
{
	struct place *place = inbox_place_of_(p, entry);
	struct spot s = {.is_file = false};
	int err;

	if (place->state != PLACE_STANDS)
		return 0;
	err = inbox_locate_(in, p, entry, &s);
	if (err && err != -ENOENT)
		return err;
	inbox_write_begin_(in);
	inbox_table_forget_(in, p, entry);
	if (err == -ENOENT) {
		place->state = PLACE_NONE;
	} else if (s.is_file) {
		place->state = PLACE_DONE;
	} else {
		inbox_note_stat_(place, &s.stx);
		err = inbox_table_put_(in, p, entry);
	}
	inbox_write_end_(in);
	if (err != -ENOENT)
		inbox_spot_fini_(&s);
	return err == -ENOENT ? 0 : err;
}

/* Nothing of it is in the tree: it was not put there, or is gone as a whole. */
static void look_for_base(struct inbox *in, struct parcel *p)
{
	bool any = p->whole.state == PLACE_STANDS;

	for (size_t i = 0; i < p->place_count; i++)
		any |= p->places[i].state == PLACE_STANDS ||
		       (p->m->entries[i].type == MANIFEST_FILE &&
			p->places[i].state == PLACE_DONE);
	if (any)
		return;
	inbox_write_begin_(in);
	free(p->base);
	p->base = NULL;
	p->numbered = false;
	inbox_write_end_(in);
}

static bool has_folder(struct inbox *in, const char *path)
{
	struct vtree_dir dir;

	if (vtree_open_dir(in->vault, path, false, 0, &dir))
		return false;
	vtree_close_dir(&dir);
	return true;
}

/* 0: it is there; -ENOENT: it is not. */
static int find_entry(struct inbox *in, const struct parcel *p,
		      const struct place *place)
{
	struct spot s = {.dir.fd = -1};
	int err;

	if (place->state != PLACE_STANDS)
		return -ENOENT;
	err = locate_at(in, place, p->base, &s);
	if (err && !xio_is_shortage(err))
		err = hunt(in, place, &s);
	if (!err)
		inbox_spot_fini_(&s);
	return err;
}

/*
 * What was withdrawn is listed until its user removes it, and that may have
 * been done where no mount saw it.
 */
static int look_at_withdrawn(struct inbox *in, struct parcel *p)
{
	int err = -ENOENT;

	if (p->base && p->place_count > 1 && has_folder(in, p->base))
		return 0;
	if (p->base)
		err = find_entry(in, p, &p->whole);
	for (size_t i = 0; p->base && i < p->place_count && err == -ENOENT; i++)
		err = find_entry(in, p, &p->places[i]);
	if (err != -ENOENT)
		return err;
	err = inbox_log_declined_(in, p);
	if (!err)
		inbox_finish_(in, p);
	return err;
}

int inbox_look_(struct inbox *in)
{
	struct parcel *p, *next;

	for (p = in->parcels; p; p = next) {
		int err;

		next = p->next;
		/* without the manifest nobody knows its entries' paths */
		if (!p->m && p->recorded && p->revoked) {
			err = look_at_withdrawn(in, p);
			if (err)
				return err;
			continue;
		}
		if (!p->base || !p->m)
			continue;
		err = look_at(in, p, PLACE_WHOLE);
		for (size_t i = 0; i < p->place_count && !err; i++)
			err = look_at(in, p, (uint32_t)i);
		if (err)
			return err;
		look_for_base(in, p);
	}
	return 0;
}
