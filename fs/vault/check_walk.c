/* From the root to every entry. */
#include "bytes.h"
#include "check_internal.h"
#include "conflict.h"
#include "vlink.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { BATCH_BYTES = 8192 };

/* Entries of one directory that one thread looks at. */
struct batch {
	struct check_dir *dir;
	size_t used;
	char text[BATCH_BYTES]; /* type u8 | name | NUL, one after the other */
};

int check_plain_name(struct check *c, struct check_dir *dir, const char *entry,
		     char plain[static NAME_PLAIN_MAX + 1], bool *copy)
{
	enum name_kind kind = name_classify(entry);
	int err;

	*copy = false;
	if (kind == NAME_KIND_INTERNAL || kind == NAME_KIND_LONG)
		return vdir_plain_name(c->vault, dir->fd, dir->id, entry,
				       plain);
	if (kind == NAME_KIND_ENTRY) {
		err = name_decode(c->vault->names, dir->id, entry,
				  strlen(entry), plain, NULL);
		if (err != -EBADMSG)
			return err;
	}
	*copy = true;
	return vdir_copy_name(c->vault, dir->fd, dir->id, entry, plain);
}

static void batch_free(struct batch *b)
{
	check_dir_unref(b->dir);
	free(b);
}

static void run_batch(struct check *c, void *arg)
{
	struct batch *b = arg;

	for (size_t at = 0; at < b->used && !check_stopped(c);
	     at += strlen(b->text + at + 1) + 2)
		check_entry(c, b->dir, b->text + at + 1,
			    (unsigned char)b->text[at]);
	batch_free(b);
}

/* Hand over what is in *b; a fresh one is begun when it is needed. */
static int flush(struct check *c, struct batch **b)
{
	int err = *b ? check_push(c, run_batch, *b) : 0;

	if (!err)
		*b = NULL;
	return err;
}

static int add(struct check *c, struct batch **b, struct check_dir *dir,
	       const struct dirent *e)
{
	size_t len = strlen(e->d_name) + 2;
	int err = 0;

	if (*b && (*b)->used + len > BATCH_BYTES)
		err = flush(c, b);
	if (!err && !*b) {
		*b = malloc(sizeof **b);
		if (!*b)
			return -ENOMEM;
		(*b)->dir = check_dir_ref(dir);
		(*b)->used = 0;
	}
	if (err)
		return err;
	(*b)->text[(*b)->used] = (char)e->d_type;
	memcpy((*b)->text + (*b)->used + 1, e->d_name, len - 1);
	(*b)->used += len;
	return 0;
}

static int list(struct check *c, struct check_dir *dir, struct batch **b)
{
	CLEANUP_DIR DIR *stream = NULL;
	const struct dirent *e;
	int err = xio_list(dir->fd, &stream);

	while (!err && !check_stopped(c)) {
		errno = 0;
		e = readdir(stream);
		if (!e)
			return -errno;
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			err = add(c, b, dir, e);
	}
	return err;
}

/* Only the directory's attribute has its id: a mount would do the same. */
static void put_id_back(struct check *c, struct check_dir *dir)
{
	const struct trouble t = {.fault = CHECK_ASIDE,
				  .dir = dir,
				  .entry = (char *)NAME_DIRID_FILE,
				  .error = vdir_mend_id(dir->fd)};

	check_found(c, &t, t.error ? CHECK_FAILED : CHECK_REPAIRED, NULL);
}

/* The id, and what .dirid says of the parent's. */
static void read_id(struct check *c, struct check_dir *dir)
{
	uint8_t ids[2 * DIRID_LEN];
	size_t len = 0;
	bool aside = false;
	int err = vdir_find_id(dir->fd, dir->id, &aside);

	if (!err)
		err = vdir_prove_id(c->vault, dir->fd, dir->id, aside);
	dir->known = !err;
	if (dir->known && dir->own)
		(void)check_seen(c, dir->parent, dir->entry, dir->plain, 0,
				 dir->id);
	if (!err && aside && c->opt->repair)
		put_id_back(c, dir);
	else if (!err && aside)
		check_entry_trouble(c, CHECK_ASIDE, dir, NAME_DIRID_FILE, NULL,
				    0);
	if (err == -EIO)
		check_entry_trouble(c, CHECK_DIRID, dir, NAME_DIRID_FILE, NULL,
				    0);
	else if (err)
		check_entry_trouble(c, CHECK_UNREADABLE, dir, NAME_DIRID_FILE,
				    NULL, err);
	else if (dir->parent && !xio_read_file(dir->fd, NAME_DIRID_FILE, ids,
					       sizeof ids, &len))
		check_hint(c, dir->parent, ids + DIRID_LEN);
}

static void run_dir(struct check *c, void *arg)
{
	struct check_dir *dir = arg;
	struct batch *b = NULL;
	int err;

	c->directories++;
	read_id(c, dir);
	check_xattrs(c, dir, ".", NULL, dir->fd, dir->known ? dir->id : NULL);
	err = list(c, dir, &b);
	/* the last of it needs no other thread */
	if (b && !err)
		run_batch(c, b);
	else if (b)
		batch_free(b);
	if (err == -ENOMEM)
		check_fail(c, err);
	else if (err && err != -ENOENT) /* it was removed meanwhile */
		check_entry_trouble(c, CHECK_UNREADABLE, dir, "", NULL, err);
	check_dir_unref(dir);
}

static void enter_dir(struct check *c, struct check_dir *parent,
		      const char *entry, const char *plain, bool own)
{
	CLEANUP_FD int fd =
		openat(parent->fd, entry,
		       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct check_dir *dir;

	if (fd < 0) {
		if (errno != ENOENT)
			check_entry_trouble(c, CHECK_UNREADABLE, parent, entry,
					    plain, -errno);
		return;
	}
	dir = check_dir_new(parent, fd, entry, plain);
	if (!dir) {
		check_fail(c, -ENOMEM);
		return;
	}
	fd = -1;
	dir->own = own;
	if (check_push(c, run_dir, dir)) {
		check_fail(c, -ENOMEM);
		check_dir_unref(dir);
	}
}

void check_start_at_root(struct check *c)
{
	CLEANUP_FD int fd = openat(c->vault->root_fd, ".",
				   O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct check_dir *dir = fd < 0 ? NULL : check_dir_new(NULL, fd, "", "");

	if (!dir) {
		check_fail(c, fd < 0 ? -errno : -ENOMEM);
		return;
	}
	fd = -1;
	if (check_push(c, run_dir, dir)) {
		check_fail(c, -ENOMEM);
		check_dir_unref(dir);
	}
}

static void check_link(struct check *c, struct check_dir *dir,
		       const char *entry, const char *plain, bool own)
{
	char target[VLINK_TARGET_MAX + 1];
	uint64_t born_s;
	size_t len;
	int err = vlink_read_born(c->vault, dir->fd, entry, target, &len,
				  &born_s);

	c->links++;
	if (!err && own)
		(void)check_seen(c, dir, entry, plain, born_s, NULL);
	if (err == -EIO)
		check_entry_trouble(c, CHECK_LINK, dir, entry, plain, 0);
	else if (err && err != -ENOENT)
		check_entry_trouble(c, CHECK_UNREADABLE, dir, entry, plain,
				    err);
}

/* What is neither a file nor a directory. */
static void check_other(struct check *c, struct check_dir *dir,
			const char *entry, const char *plain, bool is_link,
			bool own)
{
	static const uint8_t nobody[FILE_ID_LEN];
	CLEANUP_FD int fd =
		openat(dir->fd, entry, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (is_link)
		check_link(c, dir, entry, plain, own);
	else
		c->others++;
	if (fd >= 0)
		check_xattrs(c, dir, entry, plain, fd, nobody);
}

static void check_object(struct check *c, struct check_dir *dir,
			 const char *entry, const char *plain,
			 unsigned char type, bool own)
{
	struct stat st;

	if (type == DT_UNKNOWN) {
		if (fstatat(dir->fd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno != ENOENT)
				check_entry_trouble(c, CHECK_UNREADABLE, dir,
						    entry, plain, -errno);
			return;
		}
		type = (unsigned char)IFTODT(st.st_mode);
	}
	if (type == DT_REG)
		check_file(c, dir, entry, plain, own);
	else if (type == DT_DIR)
		enter_dir(c, dir, entry, plain, own);
	else
		check_other(c, dir, entry, plain, type == DT_LNK, own);
}

/* A file or directory of ours that has no plain name. */
static void check_internal(struct check *c, struct check_dir *dir,
			   const char *entry)
{
	char owner[NAME_LONG_LEN + 1];
	struct stat st;

	if (strncmp(entry, NAME_TEMP_PREFIX, strlen(NAME_TEMP_PREFIX)) == 0) {
		check_entry_trouble(c, CHECK_LEFTOVER, dir, entry, NULL, 0);
	} else if (strcmp(entry, NAME_VAULT_DIR) == 0 && dir->parent) {
		check_entry_trouble(c, CHECK_FOREIGN, dir, entry, NULL, 0);
	} else if (entry[0] == '@' &&
		   strcmp(entry + NAME_LONG_LEN, NAME_LONG_SUFFIX) == 0) {
		memcpy(owner, entry, NAME_LONG_LEN);
		owner[NAME_LONG_LEN] = '\0';
		if (fstatat(dir->fd, owner, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno == ENOENT)
			check_entry_trouble(c, CHECK_NO_ENTRY, dir, entry, NULL,
					    0);
	}
}

/* A copy of something, also of what lies beside entries? */
static bool is_copy(const char *entry)
{
	static const char *const endings[] = {
		NAME_LONG_SUFFIX, NAME_LINK_SUFFIX, NAME_DIRID_FILE};
	char stem[NAME_BACKING_MAX + 2] = "x";
	size_t len = strlen(entry);

	for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
		size_t ending = strlen(endings[i]);

		if (len > ending &&
		    strcmp(entry + len - ending, endings[i]) == 0) {
			len -= ending;
			break;
		}
	}
	memcpy(stem + 1, entry, len);
	stem[len + 1] = '\0';
	return conflict_cut(stem, 1) > 0;
}

/* A name that decodes to nothing here. */
static void check_stranger(struct check *c, struct check_dir *dir,
			   const char *entry, unsigned char type)
{
	switch (name_classify(entry)) {
	case NAME_KIND_ENTRY:
		check_entry_trouble(c, CHECK_NAME, dir, entry, NULL, 0);
		break;
	case NAME_KIND_LONG:
		check_entry_trouble(c, CHECK_LONG_NAME, dir, entry, NULL, 0);
		break;
	default:
		check_entry_trouble(
			c, is_copy(entry) ? CHECK_HIDDEN : CHECK_FOREIGN, dir,
			entry, NULL, 0);
		return;
	}
	check_object(c, dir, entry, NULL, type, false);
}

void check_entry(struct check *c, struct check_dir *dir, const char *entry,
		 unsigned char type)
{
	enum name_kind kind = name_classify(entry);
	char plain[NAME_PLAIN_MAX + 1];
	bool copy;
	int err;

	if (kind == NAME_KIND_INTERNAL) {
		check_internal(c, dir, entry);
		return;
	}
	if (!dir->known) {
		if (kind != NAME_KIND_FOREIGN)
			check_object(c, dir, entry, NULL, type, false);
		return;
	}
	err = check_plain_name(c, dir, entry, plain, &copy);
	if (err == -ENOENT)
		return;
	if (err == -EBADMSG) {
		check_stranger(c, dir, entry, type);
		return;
	}
	if (err) {
		check_entry_trouble(c, CHECK_UNREADABLE, dir, entry, NULL, err);
		return;
	}
	if (copy)
		check_entry_trouble(c, CHECK_COPY, dir, entry, plain, 0);
	check_object(c, dir, entry, plain, type, !copy);
}
