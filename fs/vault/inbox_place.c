/*
 * Placeholders and stubs. A file, or a folder with all that is in it, is made
 * in the inbox; then the record says where it will be and which inodes it
 * consists of; then it is renamed there. Whenever a crash comes, it is there
 * and known, or it is not there.
 */
#include "inbox_internal.h"
#include "log.h"
#include "sealed.h"
#include "vxattr.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define STAGE ".stage"
/* where file managers look for comments (freedesktop.org) */
#define NOTE_ATTRIBUTE "user.xdg.comment"

enum { CHOICES_MAX = 100000 };
#define NUMBERED_SIZE_MAX (UINT64_C(1) << 40)

void inbox_changed_(struct inbox *in, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *parent;

	if (!in->events.entry_changed)
		return;
	parent = slash ? strndup(path, (size_t)(slash - path)) : strdup("");
	if (parent)
		in->events.entry_changed(in->events.arg, parent,
					 slash ? slash + 1 : path);
	free(parent);
}

static void stage_name(const struct parcel *p, struct backing_name *name)
{
	char text[SPOOL_NAME_MAX];

	inbox_key_name_(p, STAGE, text);
	memset(name, 0, sizeof *name);
	snprintf(name->entry, sizeof name->entry, "%s", text);
}

static mode_t mode_of(const struct parcel *p, const struct manifest_entry *e)
{
	mode_t mask = p->m->kind == MANIFEST_GRANT ? 0444 : 0666;

	return (e->mode & mask) | 0400;
}

/* Put a placeholder into a directory and take down what it is. */
static int put_file(struct inbox *in, const struct vtree_dir *dir,
		    const struct backing_name *name,
		    const struct manifest_entry *e, mode_t mode,
		    struct place *place)
{
	const struct timespec mtime = {.tv_sec = e->mtime_s,
				       .tv_nsec = e->mtime_ns};
	CLEANUP_FD int fd = -1;
	struct statx stx;
	int err = sealed_place(dir->fd, name, place->id, dir->id, e->size, mode,
			       &mtime);

	if (err)
		return err;
	fd = openat(dir->fd, name->entry, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH,
			    STATX_BASIC_STATS | STATX_BTIME, &stx) < 0)
		return -errno;
	err = vtree_own(in->vault, fd);
	if (err)
		return err;
	inbox_write_begin_(in);
	inbox_note_stat_(place, &stx);
	place->state = PLACE_STANDS;
	inbox_write_end_(in);
	return 0;
}

static int put_entry(struct inbox *in, struct parcel *p,
		     const struct vtree_dir *folder, uint32_t entry)
{
	const struct manifest_entry *e = &p->m->entries[entry];
	struct place *place = &p->places[entry];
	struct vtree_dir dir, made;
	struct backing_name name;
	const char *last;
	int err;

	if (e->type == MANIFEST_FILE && place->state >= PLACE_DONE)
		return 0;
	err = inbox_below_(in, folder, e->path, true, &dir, &last);
	if (err)
		return err;
	if (e->type == MANIFEST_DIR) {
		err = vtree_open_child(in->vault, &dir, last, true, 0700,
				       &made);
		if (!err)
			vtree_close_dir(&made);
	} else {
		err = name_encode(in->vault->names, dir.id, last, strlen(last),
				  &name);
		if (!err)
			err = put_file(in, &dir, &name, e, mode_of(p, e),
				       place);
	}
	vtree_close_dir(&dir);
	return err;
}

/* Best effort: some file systems have no attributes. */
void inbox_keep_note_(const struct inbox *in, const struct parcel *p, int fd,
		      const uint8_t owner[static FILE_ID_LEN])
{
	const char *note = p->m->note;

	if (note[0] && vxattr_set(in->vault, fd, owner, NOTE_ATTRIBUTE, note,
				  strlen(note), 0))
		log_notice("the note of \"%s\" cannot be kept with it",
			   p->m->name);
}

/* Make the folder aside with everything in it. */
static int stage_folder(struct inbox *in, struct parcel *p,
			const struct vtree_dir *parent,
			const struct backing_name *stage)
{
	struct vtree_dir folder = {.fd = -1};
	int err = vdir_make(in->dir_fd, parent->id, stage, 0700);

	if (!err)
		err = vdir_open_path(in->dir_fd, stage->entry, &folder.fd);
	if (!err)
		err = vdir_read_id(folder.fd, folder.id);
	if (!err)
		err = vtree_own(in->vault, folder.fd);
	if (!err)
		inbox_keep_note_(in, p, folder.fd, folder.id);
	for (size_t i = 0; i < p->place_count && !err; i++) {
		err = inbox_stopped_(in)
			      ? -EINTR
			      : put_entry(in, p, &folder, (uint32_t)i);
	}
	vtree_close_dir(&folder);
	return err;
}

/* The one placeholder of a set whose sender nobody knows. */
static int stage_numbered(struct inbox *in, struct parcel *p,
			  const struct vtree_dir *parent,
			  const struct backing_name *stage)
{
	const struct vtree_dir here = {.fd = in->dir_fd};
	struct manifest_entry all = {.mtime_s = (int64_t)p->first_seen_s};
	struct vtree_dir dir = here;

	for (size_t i = 0; i < p->m->entry_count; i++) {
		uint64_t size = p->m->entries[i].size;

		all.size = size > NUMBERED_SIZE_MAX - all.size
				   ? NUMBERED_SIZE_MAX
				   : all.size + size;
	}
	memcpy(dir.id, parent->id, sizeof dir.id);
	return put_file(in, &dir, stage, &all, 0400, &p->whole);
}

static int stage_file(struct inbox *in, struct parcel *p,
		      const struct vtree_dir *parent,
		      const struct backing_name *stage)
{
	struct vtree_dir dir = {.fd = in->dir_fd};
	const struct manifest_entry *e = &p->m->entries[0];

	memcpy(dir.id, parent->id, sizeof dir.id);
	return put_file(in, &dir, stage, e, mode_of(p, e), &p->places[0]);
}

static int set_base(struct inbox *in, struct parcel *p, const char *dir_path,
		    const char *name)
{
	char *base;

	if (asprintf(&base, "%s/%s", dir_path, name) < 0)
		return -ENOMEM;
	inbox_write_begin_(in);
	free(p->base);
	p->base = base;
	inbox_write_end_(in);
	return 0;
}

/* Record where it will be, then rename it there: the first name that is free */
static int name_stage(struct inbox *in, struct parcel *p,
		      const struct vtree_dir *dir, const char *dir_path,
		      const struct backing_name *stage, bool *stands)
{
	bool is_dir = p->m->folder && !p->numbered;
	char name[NAME_PLAIN_MAX + 1];

	for (unsigned n = 1; n < CHOICES_MAX; n++) {
		struct backing_name to;
		struct vdir_rename r = {.from_fd = in->dir_fd,
					.to_fd = dir->fd,
					.from = stage,
					.to = &to,
					.flags = RENAME_NOREPLACE};
		struct statx stx;
		int err;

		if (p->numbered) {
			snprintf(name, sizeof name, "%u", n);
		} else {
			inbox_choice_(p->m->name, is_dir, n, name);
		}
		err = vtree_stat(in->vault, dir, name, &to, &stx);
		if (err == 0)
			continue;
		if (err != -ENOENT)
			return err;
		err = name_encode(in->vault->names, dir->id, name, strlen(name),
				  &to);
		if (!err)
			err = set_base(in, p, dir_path, name);
		if (!err)
			err = inbox_record_write_(in, p);
		if (!err)
			err = vdir_rename(&r);
		*stands = !err;
		if (err != -EEXIST)
			return err ? err : xio_sync_dir(dir->fd);
	}
	return -EEXIST;
}

int inbox_fill_table_(struct inbox *in, struct parcel *p)
{
	int err = 0;

	if (p->whole.state == PLACE_STANDS)
		err = inbox_table_put_(in, p, PLACE_WHOLE);
	for (size_t i = 0; i < p->place_count && !err; i++)
		if (p->places[i].state == PLACE_STANDS)
			err = inbox_table_put_(in, p, (uint32_t)i);
	return err;
}

int inbox_enter_table_(struct inbox *in, struct parcel *p)
{
	int err;

	inbox_write_begin_(in);
	err = inbox_fill_table_(in, p);
	inbox_write_end_(in);
	return err;
}

/* Nothing of it stands: forget what was noted of it. */
static void unset(struct inbox *in, struct parcel *p)
{
	inbox_write_begin_(in);
	inbox_table_forget_all_(in, p);
	if (p->whole.state == PLACE_STANDS)
		p->whole.state = PLACE_NONE;
	for (size_t i = 0; i < p->place_count; i++)
		if (p->places[i].state == PLACE_STANDS)
			p->places[i].state = PLACE_NONE;
	free(p->base);
	p->base = NULL;
	p->numbered = false;
	inbox_write_end_(in);
}

static int stage_and_name(struct inbox *in, struct parcel *p,
			  const struct vtree_dir *dir, const char *dir_path)
{
	struct backing_name stage;
	bool stands = false;
	int err;

	stage_name(p, &stage);
	inbox_drop_stage_(in, stage.entry);
	if (p->numbered)
		err = stage_numbered(in, p, dir, &stage);
	else if (p->m->folder)
		err = stage_folder(in, p, dir, &stage);
	else
		err = stage_file(in, p, dir, &stage);
	/* known before it can be seen */
	if (!err)
		err = inbox_enter_table_(in, p);
	if (!err)
		err = name_stage(in, p, dir, dir_path, &stage, &stands);
	if (err && !stands) {
		inbox_drop_stage_(in, stage.entry);
		unset(in, p);
	}
	return err;
}

int inbox_place_(struct inbox *in, struct parcel *p)
{
	CLEANUP_FREE char *dir_path = NULL;
	struct vtree_dir dir;
	int err = inbox_make_places_(in, p);

	if (!err)
		err = inbox_sender_dir_(in, p, &dir, &dir_path);
	if (err)
		return err;
	inbox_write_begin_(in);
	p->numbered = !inbox_known_(p);
	inbox_write_end_(in);
	err = stage_and_name(in, p, &dir, dir_path);
	vtree_close_dir(&dir);
	if (p->base)
		inbox_changed_(in, p->base);
	return err;
}

/* The directory that was the folder, or another of its name. */
static int open_folder(struct inbox *in, struct parcel *p,
		       struct vtree_dir *folder)
{
	int err = vtree_open_dir(in->vault, p->base, true, 0700, folder);

	/* something else is in its way */
	return err == -ENOTDIR ? -EEXIST : err;
}

int inbox_place_again_(struct inbox *in, struct parcel *p, uint32_t entry)
{
	const struct manifest_entry *e = &p->m->entries[entry];
	char name[NAME_PLAIN_MAX + 1];
	struct vtree_dir folder, dir;
	const char *last;
	int err;

	if (!p->base || !p->m->folder) {
		unset(in, p);
		return inbox_place_(in, p);
	}
	err = open_folder(in, p, &folder);
	if (err)
		return err;
	err = inbox_below_(in, &folder, e->path, true, &dir, &last);
	vtree_close_dir(&folder);
	if (err)
		return err;
	for (unsigned n = 1; n < CHOICES_MAX; n++) {
		struct backing_name backing;

		inbox_choice_(last, false, n, name);
		err = name_encode(in->vault->names, dir.id, name, strlen(name),
				  &backing);
		if (!err)
			err = put_file(in, &dir, &backing, e, mode_of(p, e),
				       &p->places[entry]);
		if (err != -EEXIST)
			break;
	}
	vtree_close_dir(&dir);
	if (err)
		return err;
	inbox_write_begin_(in);
	err = inbox_table_put_(in, p, entry);
	p->dirty = true;
	inbox_write_end_(in);
	return err;
}

int inbox_unplace_(struct inbox *in, struct parcel *p, uint32_t entry)
{
	struct place *place = inbox_place_of_(p, entry);
	struct spot s;
	int err;

	if (place->state != PLACE_STANDS)
		return 0;
	err = inbox_locate_(in, p, entry, &s);
	if (err && err != -ENOENT)
		return err;
	if (!err && !s.is_file) {
		if (unlinkat(s.dir.fd, s.name.entry, 0) < 0 && errno != ENOENT)
			err = -errno;
		else
			vdir_long_name_drop(s.dir.fd, s.name.entry);
		if (!err)
			inbox_changed_(in, s.path);
	}
	if (err != -ENOENT)
		inbox_spot_fini_(&s);
	if (err && err != -ENOENT)
		return err;
	inbox_write_begin_(in);
	inbox_table_forget_(in, p, entry);
	place->state = PLACE_NONE;
	inbox_write_end_(in);
	return 0;
}

int inbox_unnumber_(struct inbox *in, struct parcel *p)
{
	int err = inbox_unplace_(in, p, PLACE_WHOLE);

	if (!err)
		unset(in, p);
	return err;
}
