/*
 * Which directory id were names made with? Headers, the .dirid of children,
 * attributes and copies of .dirid mention ids; that a name opens with one
 * proves it.
 */
#include "bytes.h"
#include "check_internal.h"
#include "fernet_text.h"
#include "vdir.h"
#include "xio.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum {
	DIRID_FILE_LEN = 2 * DIRID_LEN,
	XATTR_LIST_MAX_BYTES = 65536,
	XATTR_TOKEN_MAX = 65536,
};

int check_ids_add(struct id_set *set, const uint8_t id[static DIRID_LEN])
{
	uint8_t(*grown)[DIRID_LEN];

	if (bytes_all_zero(id, DIRID_LEN))
		return 0;
	for (size_t i = set->count; i-- > 0;)
		if (memcmp(set->ids[i], id, DIRID_LEN) == 0)
			return 0;
	if (set->count == ID_SET_MAX)
		return 0;
	if (set->count == set->room) {
		grown = reallocarray(set->ids, 2 * set->room + 8, DIRID_LEN);
		if (!grown)
			return -ENOMEM;
		set->ids = grown;
		set->room = 2 * set->room + 8;
	}
	memcpy(set->ids[set->count++], id, DIRID_LEN);
	return 0;
}

void check_ids_free(struct id_set *set)
{
	free(set->ids);
	*set = (struct id_set){0};
}

int check_ids_of_entry(int dirfd, const char *entry, struct id_set *set)
{
	uint8_t id[DIRID_LEN];

	return vdir_hint(dirfd, entry, id) ? 0 : check_ids_add(set, id);
}

/* What is left of a .dirid, or a copy of one under another name. */
static int add_copy(int dirfd, const char *entry, struct id_set *set)
{
	uint8_t ids[4 * DIRID_FILE_LEN];
	size_t len = 0;

	if (xio_read_file(dirfd, entry, ids, sizeof ids, &len) ||
	    len < DIRID_LEN ||
	    (len != DIRID_FILE_LEN && strcmp(entry, NAME_DIRID_FILE) != 0))
		return 0;
	return check_ids_add(set, ids);
}

/* A directory's own attributes carry its id. */
static int add_owner(struct check *c, const char *path, const char *stored,
		     struct id_set *set)
{
	CLEANUP_FREE uint8_t *token = malloc(XATTR_TOKEN_MAX);
	CLEANUP_FREE uint8_t *plain = malloc(XATTR_TOKEN_MAX);
	size_t len = 0;
	ssize_t n;

	if (!token || !plain)
		return -ENOMEM;
	n = getxattr(path, stored, token, XATTR_TOKEN_MAX);
	if (n < 0 ||
	    fernet_open_one(&c->vault->keys->xattrs, token, (size_t)n, plain,
			    &len) ||
	    len < DIRID_LEN)
		return 0;
	return check_ids_add(set, plain);
}

static int add_owners(struct check *c, int dirfd, struct id_set *set)
{
	CLEANUP_FREE char *list = malloc(XATTR_LIST_MAX_BYTES);
	char path[32];
	ssize_t n;
	int err = 0;

	if (!list)
		return -ENOMEM;
	snprintf(path, sizeof path, "/proc/self/fd/%d", dirfd);
	n = listxattr(path, list, XATTR_LIST_MAX_BYTES);
	for (const char *p = list; p < list + n && !err; p += strlen(p) + 1)
		if (strncmp(p, NAME_XATTR_PREFIX, strlen(NAME_XATTR_PREFIX)) ==
		    0)
			err = add_owner(c, path, p, set);
	return err;
}

static bool is_name(const char *entry)
{
	enum name_kind kind = name_classify(entry);

	return kind == NAME_KIND_ENTRY || kind == NAME_KIND_LONG;
}

int check_ids_of_dir(struct check *c, int dirfd, struct id_set *set)
{
	CLEANUP_DIR DIR *dir = NULL;
	uint8_t aside[VDIR_IDS_LEN];
	const struct dirent *e;
	int err = add_owners(c, dirfd, set);

	if (!err && vdir_read_aside(dirfd, aside) == 0)
		err = check_ids_add(set, aside);
	if (!err)
		err = xio_list(dirfd, &dir);
	while (!err && (e = readdir(dir)))
		err = is_name(e->d_name)
			      ? check_ids_of_entry(dirfd, e->d_name, set)
			      : add_copy(dirfd, e->d_name, set);
	return err;
}

/* The content of a file that may be a long name's. */
static bool read_full(int dirfd, const char *file, const char *entry,
		      char full[static NAME_FULL_MAX + 1], size_t *len)
{
	char expected[NAME_LONG_LEN + 1];

	if (xio_read_file(dirfd, file, full, NAME_FULL_MAX, len) ||
	    *len <= NAME_BACKING_MAX)
		return false;
	full[*len] = '\0';
	name_long_entry(full, *len, expected);
	return strcmp(entry, expected) == 0;
}

/* Any file beside it may be a copy of what is lost: its hash tells. */
static int search_full(int dirfd, const char *entry,
		       char full[static NAME_FULL_MAX + 1], size_t *len)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	int err = xio_list(dirfd, &dir);

	if (err)
		return err;
	while ((e = readdir(dir)))
		if (!is_name(e->d_name) && strcmp(e->d_name, ".") != 0 &&
		    strcmp(e->d_name, "..") != 0 &&
		    read_full(dirfd, e->d_name, entry, full, len))
			return 0;
	return -ENOENT;
}

int check_full_name(int dirfd, const char *entry,
		    char full[static NAME_FULL_MAX + 1], size_t *len)
{
	char file[NAME_LONG_LEN + sizeof NAME_LONG_SUFFIX];

	if (entry[0] != '@') {
		*len = strlen(entry);
		memcpy(full, entry, *len + 1);
		return 0;
	}
	snprintf(file, sizeof file, "%.*s" NAME_LONG_SUFFIX, NAME_LONG_LEN,
		 entry);
	if (read_full(dirfd, file, entry, full, len))
		return 0;
	return search_full(dirfd, entry, full, len);
}

int check_ids_score(struct check *c, int dirfd,
		    const uint8_t id[static DIRID_LEN], size_t *score)
{
	CLEANUP_DIR DIR *dir = NULL;
	char full[NAME_FULL_MAX + 1], plain[NAME_PLAIN_MAX + 1];
	const struct dirent *e;
	size_t len = 0, good = 0;
	int err = xio_list(dirfd, &dir);

	if (err)
		return err;
	while ((e = readdir(dir)))
		if (is_name(e->d_name) &&
		    check_full_name(dirfd, e->d_name, full, &len) == 0 &&
		    name_decode(c->vault->names, id, full, len, plain, NULL) ==
			    0)
			good++;
	*score = good;
	return 0;
}
