/* Our directories in the vault's tree, and free names in them. */
#include "inbox_internal.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define SHARED_RECORD "shared.dir" /* dirid 16 | plain name */
#define SHARED_STAGE "shared.stage"

enum { CHOICES_MAX = 100000 };

/* Where the extension begins: a dot that is neither first nor last. */
static size_t stem_len(const char *name, bool is_dir)
{
	const char *dot = is_dir ? NULL : strrchr(name, '.');

	if (!dot || dot == name || dot[1] == '\0' || strlen(dot) > 32)
		return strlen(name);
	return (size_t)(dot - name);
}

void inbox_choice_(const char *name, bool is_dir, unsigned n,
		   char out[static NAME_PLAIN_MAX + 1])
{
	size_t stem = stem_len(name, is_dir);
	const char *ext = name + stem;
	char number[16] = "";
	size_t room;

	if (n > 1)
		snprintf(number, sizeof number, " (%u)", n);
	room = NAME_PLAIN_MAX - strlen(number) - strlen(ext);
	if (stem > room)
		/* not within a UTF-8 character */
		for (stem = room;
		     stem > 0 && ((unsigned char)name[stem] & 0xc0) == 0x80;)
			stem--;
	snprintf(out, NAME_PLAIN_MAX + 1, "%.*s%s%s", (int)stem, name, number,
		 ext);
}

static bool same_id(const struct vtree_dir *dir, const uint8_t *id)
{
	return memcmp(dir->id, id, DIRID_LEN) == 0;
}

struct search {
	struct inbox *in;
	const struct vtree_dir *root;
	const uint8_t *id;
	struct vtree_dir found;
	char name[NAME_PLAIN_MAX + 1];
};

static int compare_child(void *arg, const char *name, unsigned char type)
{
	struct search *s = arg;
	struct vtree_dir dir;

	if (type != DT_DIR && type != DT_UNKNOWN)
		return 0;
	if (vtree_open_child(s->in->vault, s->root, name, false, 0, &dir))
		return 0;
	if (!same_id(&dir, s->id)) {
		vtree_close_dir(&dir);
		return 0;
	}
	s->found = dir;
	snprintf(s->name, sizeof s->name, "%s", name);
	return 1;
}

/* The directory that the record knows, whatever it is called now. */
static int find_shared(struct inbox *in, const struct vtree_dir *root,
		       struct vtree_dir *dir, char *name)
{
	CLEANUP_SECRET uint8_t *bytes = NULL;
	struct search s = {.in = in, .root = root};
	size_t len = 0;
	int err = inbox_unseal_(in, SHARED_RECORD, &bytes, &len);

	if (err == -EBADMSG)
		return -ENOENT;
	if (err)
		return err;
	if (len <= DIRID_LEN || len > DIRID_LEN + NAME_PLAIN_MAX)
		return -ENOENT;
	s.id = bytes;
	memcpy(name, bytes + DIRID_LEN, len - DIRID_LEN);
	name[len - DIRID_LEN] = '\0';
	/* where it was, else under any other name */
	if (compare_child(&s, name, DT_DIR) == 0) {
		err = vtree_list(in->vault, root, compare_child, &s);
		if (err < 0)
			return err;
		if (err == 0)
			return -ENOENT;
	}
	*dir = s.found;
	memcpy(name, s.name, sizeof s.name);
	return 0;
}

/*
 * It is made aside, its id recorded, and then put into the root: a directory
 * of ours is never taken for one of the user's, whenever a crash comes.
 */
static int stage_shared(struct inbox *in, const struct vtree_dir *root,
			struct backing_name *stage, struct vtree_dir *dir)
{
	CLEANUP_FD int fd = -1;
	int err;

	snprintf(stage->entry, sizeof stage->entry, SHARED_STAGE);
	err = vdir_make(in->dir_fd, root->id, stage, 0700);
	if (err && err != -EEXIST)
		return err;
	err = vdir_open_path(in->dir_fd, stage->entry, &fd);
	if (!err)
		err = vdir_read_id(fd, dir->id);
	if (!err)
		err = vtree_own(in->vault, fd);
	if (!err)
		dir->fd = TAKE_FD(fd);
	return err;
}

static int record_shared(struct inbox *in, const uint8_t *id, const char *name)
{
	uint8_t bytes[DIRID_LEN + NAME_PLAIN_MAX];

	memcpy(bytes, id, DIRID_LEN);
	memcpy(bytes + DIRID_LEN, name, strlen(name));
	return inbox_seal_(in, SHARED_RECORD, bytes, DIRID_LEN + strlen(name));
}

static int name_shared(struct inbox *in, const struct vtree_dir *root,
		       const struct backing_name *stage, const uint8_t *id,
		       char *name)
{
	for (unsigned n = 1; n < CHOICES_MAX; n++) {
		struct backing_name to;
		struct vdir_rename r = {.from_fd = in->dir_fd,
					.to_fd = root->fd,
					.from = stage,
					.to = &to,
					.flags = RENAME_NOREPLACE};
		struct statx stx;
		int err;

		inbox_choice_(INBOX_SHARED_DIR, true, n, name);
		err = vtree_stat(in->vault, root, name, &to, &stx);
		if (err == 0)
			continue;
		if (err != -ENOENT)
			return err;
		err = name_encode(in->vault->names, root->id, name,
				  strlen(name), &to);
		if (!err)
			err = record_shared(in, id, name);
		if (!err)
			err = vdir_rename(&r);
		if (err != -EEXIST)
			return err ? err : xio_sync_dir(root->fd);
	}
	return -EEXIST;
}

static int make_shared(struct inbox *in, const struct vtree_dir *root,
		       struct vtree_dir *dir, char *name)
{
	struct backing_name stage = {.is_long = false};
	struct vtree_dir made = {.fd = -1};
	int err = stage_shared(in, root, &stage, &made);

	if (!err)
		err = name_shared(in, root, &stage, made.id, name);
	if (err) {
		vtree_close_dir(&made);
		return err;
	}
	inbox_changed_(in, name);
	*dir = made;
	return 0;
}

static int shared_dir(struct inbox *in, struct vtree_dir *dir, char *name)
{
	struct vtree_dir root;
	int err = vtree_open_dir(in->vault, "", false, 0, &root);

	if (err)
		return err;
	err = find_shared(in, &root, dir, name);
	if (err == -ENOENT)
		err = make_shared(in, &root, dir, name);
	vtree_close_dir(&root);
	return err;
}

/* What the directory of somebody without a card is called. */
static void stranger_name(const struct identity_public *who,
			  char name[static NAME_PLAIN_MAX + 1])
{
	char fingerprint[IDENTITY_FINGERPRINT_LEN + 1];

	identity_fingerprint(who, fingerprint);
	for (char *c = fingerprint; *c; c++)
		if (*c == ' ')
			*c = '-';
	snprintf(name, NAME_PLAIN_MAX + 1, "unverified-%s", fingerprint);
}

/* Who is known now needs none, once nothing is left in it. */
static int drop_stranger_dir(struct inbox *in, const struct vtree_dir *shared,
			     const char *shared_name,
			     const struct identity_public *who)
{
	CLEANUP_FREE char *path = NULL;
	char name[NAME_PLAIN_MAX + 1];
	struct backing_name backing;
	struct statx stx;
	int err;

	stranger_name(who, name);
	err = vtree_stat(in->vault, shared, name, &backing, &stx);
	if (!err)
		err = vdir_remove(shared->fd, &backing);
	if (err)
		return err == -ENOENT || err == -ENOTEMPTY || err == -ENOTDIR
			       ? 0
			       : err;
	if (asprintf(&path, "%s/%s", shared_name, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	inbox_changed_(in, path);
	return 0;
}

static int open_sender_dir(struct inbox *in, const struct vtree_dir *shared,
			   const char *wanted, struct vtree_dir *dir,
			   char *name, bool *made)
{
	for (unsigned n = 1; n < CHOICES_MAX; n++) {
		int err;

		inbox_choice_(wanted, true, n, name);
		err = vtree_open_child(in->vault, shared, name, false, 0, dir);
		/* what is damaged says so again */
		if (err == -EIO)
			err = vtree_open_child(in->vault, shared, name, false,
					       0, dir);
		*made = err == -ENOENT;
		if (*made)
			return vtree_open_child(in->vault, shared, name, true,
						0700, dir);
		/* a file of the user's, or a directory that is damaged */
		if (err != -ENOTDIR && err != -EIO)
			return err;
	}
	return -EEXIST;
}

int inbox_sender_dir_(struct inbox *in, const struct parcel *p,
		      struct vtree_dir *dir, char **path)
{
	char wanted[NAME_PLAIN_MAX + 1], name[NAME_PLAIN_MAX + 1];
	char shared_name[NAME_PLAIN_MAX + 1];
	struct vtree_dir shared, found;
	bool made = false;
	char *text;
	int err = shared_dir(in, &shared, shared_name);

	if (err)
		return err;
	if (inbox_known_(p)) {
		snprintf(wanted, sizeof wanted, "%s", p->sender_name);
		err = drop_stranger_dir(in, &shared, shared_name, &p->sender);
	} else {
		stranger_name(&p->sender, wanted);
	}
	if (!err)
		err = open_sender_dir(in, &shared, wanted, &found, name, &made);
	vtree_close_dir(&shared);
	if (err)
		return err;
	if (asprintf(&text, "%s/%s", shared_name, name) < 0) {
		vtree_close_dir(&found);
		return -ENOMEM;
	}
	if (made)
		inbox_changed_(in, text);
	*dir = found;
	*path = text;
	return 0;
}
