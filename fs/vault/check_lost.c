/* Where what has lost its place goes: lost+found, in the root. */
#include "check_internal.h"
#include "memory.h"
#include "vlink.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define LOST_FOUND "lost+found"

enum { TRIES_MAX = 100000 };

static void name_entry(const char *entry, struct backing_name *name)
{
	memset(name, 0, sizeof *name);
	memcpy(name->entry, entry, strlen(entry) + 1);
}

/* Move an entry to a name that must be free. */
static int move(struct check *c, struct check_dir *dir, const char *entry,
		int to_fd, const uint8_t to_id[static DIRID_LEN],
		const char *plain)
{
	struct backing_name from, to;
	struct vdir_rename r = {.from_fd = dir->fd,
				.to_fd = to_fd,
				.from = &from,
				.to = &to,
				.flags = RENAME_NOREPLACE};
	struct memory_place place;
	struct stat st;
	int err =
		name_encode(c->vault->names, to_id, plain, strlen(plain), &to);

	if (err)
		return err;
	name_entry(entry, &from);
	if (fstatat(to_fd, to.entry, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	if (fstatat(dir->fd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	r.moved_is_link = S_ISLNK(st.st_mode);
	/* before: whoever dies in between leaves nothing that looks put back */
	place = (struct memory_place){.parent = to_id, .entry = to.entry};
	memory_place_taken(c->vault, &place, 0);
	err = vdir_rename(&r);
	if (!err)
		err = xio_sync_dir(to_fd);
	return err ? err : xio_sync_dir(dir->fd);
}

int check_rename(struct check *c, struct check_dir *dir, const char *entry,
		 const char *name)
{
	return move(c, dir, entry, dir->fd, dir->id, name);
}

/* lost+found as a directory of the check, below the root that from is in. */
static int enter_lost(struct check *c, struct check_dir *from,
		      const struct vtree_dir *lost, struct check_dir **dir)
{
	CLEANUP_FD int fd =
		openat(lost->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct backing_name entry;
	int err;

	while (from->parent)
		from = from->parent;
	if (fd < 0)
		return -errno;
	err = name_encode(c->vault->names, from->id, LOST_FOUND,
			  strlen(LOST_FOUND), &entry);
	if (err)
		return err;
	*dir = check_dir_new(from, fd, entry.entry, LOST_FOUND);
	if (!*dir)
		return -ENOMEM;
	fd = -1;
	memcpy((*dir)->id, lost->id, DIRID_LEN);
	(*dir)->known = (*dir)->own = true;
	return 0;
}

/* What is in it comes to light only now. */
static int look_into(struct check *c, struct check_dir *from,
		     const struct vtree_dir *lost, const char *name)
{
	struct check_dir *dir = NULL;
	struct backing_name moved;
	int err = name_encode(c->vault->names, lost->id, name, strlen(name),
			      &moved);

	if (!err)
		err = enter_lost(c, from, lost, &dir);
	if (!err)
		check_entry(c, dir, moved.entry, DT_UNKNOWN);
	check_dir_unref(dir);
	return err;
}

int check_lost(struct check *c, struct check_dir *dir, const char *entry,
	       const char *name, bool looked_at, char **moved_to)
{
	struct vtree_dir lost;
	char numbered[NAME_PLAIN_MAX + 1];
	int err = vtree_open_dir(c->vault, LOST_FOUND, true, 0700, &lost);

	if (err)
		return err;
	snprintf(numbered, sizeof numbered, "%s", name);
	for (unsigned n = 2; n < TRIES_MAX; n++) {
		err = move(c, dir, entry, lost.fd, lost.id, numbered);
		if (err != -EEXIST)
			break;
		snprintf(numbered, sizeof numbered, "%.240s.%u", name, n);
	}
	if (!err && !looked_at)
		err = look_into(c, dir, &lost, numbered);
	vtree_close_dir(&lost);
	if (!err && asprintf(moved_to, LOST_FOUND "/%s", numbered) < 0)
		err = -ENOMEM;
	return err;
}

static bool is_our_file(struct check *c, int fd)
{
	uint8_t header[HEADER_LEN], id[FILE_ID_LEN];
	struct header h;
	bool locked;
	int err;

	if (xio_pread(fd, header, sizeof header, 0) != 0)
		return false;
	err = header_parse(header, &c->vault->keys->file_keys, &h);
	sodium_memzero(&h, sizeof h);
	return err == 0 ||
	       (err == -ENOKEY && header_probe(header, id, &locked) == 0);
}

bool check_is_ours(struct check *c, struct check_dir *dir, const char *entry)
{
	CLEANUP_FD int fd = -1;
	char target[VLINK_TARGET_MAX + 1];
	uint8_t id[DIRID_LEN];
	struct stat st;
	size_t len;

	if (fstatat(dir->fd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	if (S_ISLNK(st.st_mode))
		return vlink_read(c->vault, dir->fd, entry, target, &len) == 0;
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return false;
	fd = openat(dir->fd, entry,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return false;
	return S_ISDIR(st.st_mode) ? vdir_read_id(fd, id) == 0
				   : is_our_file(c, fd);
}
