/*
 * Repairs. One thread at a time, with the vault locked. Nothing that can
 * still be read is overwritten or deleted: ids and long names are put back
 * where they are missing, entries are renamed.
 */
#include "bytes.h"
#include "check_internal.h"
#include "rekey.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static bool is_name(const char *entry)
{
	enum name_kind kind = name_classify(entry);

	return kind == NAME_KIND_ENTRY || kind == NAME_KIND_LONG;
}

/* Tell how a repair went; frees moved_to. */
static void tell(struct check *c, struct trouble *t, int err, char *moved_to)
{
	t->error = err;
	check_found(c, t, err ? CHECK_FAILED : CHECK_REPAIRED, moved_to);
	free(moved_to);
}

/* ---- directory ids */

static bool has_names(int dirfd)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;

	if (xio_list(dirfd, &dir))
		return true;
	while ((e = readdir(dir)))
		if (is_name(e->d_name))
			return true;
	return false;
}

/* The candidate that most names open with. False: none opens any. */
static bool choose_id(struct check *c, int dirfd, const struct id_set *set,
		      uint8_t id[static DIRID_LEN])
{
	size_t best = 0, score;

	for (size_t i = 0; i < set->count; i++) {
		if (check_ids_score(c, dirfd, set->ids[i], &score) ||
		    score <= best)
			continue;
		best = score;
		memcpy(id, set->ids[i], DIRID_LEN);
	}
	return best > 0;
}

static int find_id(struct check *c, int dirfd, uint8_t id[static DIRID_LEN])
{
	struct id_set own = {0};
	int err = check_ids_of_dir(c, dirfd, &own);

	if (!err && !choose_id(c, dirfd, &own, id) &&
	    !choose_id(c, dirfd, &c->hints, id)) {
		/* Nothing was made with it but, perhaps, attributes. */
		if (!has_names(dirfd) && own.count > 0)
			memcpy(id, own.ids[0], DIRID_LEN);
		else
			randombytes_buf(id, DIRID_LEN);
	}
	check_ids_free(&own);
	return err;
}

static int sync_dir(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

/* It is the directory's owner's, whoever repairs. */
static int give_to_owner(const struct check_dir *dir, const char *name)
{
	struct stat st;

	if (geteuid() != 0)
		return 0;
	if (fstat(dir->fd, &st) < 0 ||
	    fchownat(dir->fd, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) <
		    0)
		return -errno;
	return 0;
}

static int put_beside(struct check_dir *dir, const char *name, const void *buf,
		      size_t len)
{
	struct stat st;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	int err = fstat(dir->fd, &st) < 0 ? -errno : 0;

	if (!err)
		err = vdir_put_beside(dir->fd, name, buf, len);
	if (!err)
		err = give_to_owner(dir, name);
	if (err)
		return err;
	times[1] = st.st_mtim;
	(void)!futimens(dir->fd, times);
	return sync_dir(dir->fd);
}

static int put_id(struct check *c, struct check_dir *dir)
{
	uint8_t ids[2 * DIRID_LEN] = {0};
	int err = find_id(c, dir->fd, ids);

	if (err)
		return err;
	if (dir->parent && dir->parent->known)
		memcpy(ids + DIRID_LEN, dir->parent->id, DIRID_LEN);
	err = put_beside(dir, NAME_DIRID_FILE, ids, sizeof ids);
	if (err)
		return err;
	(void)!vdir_put_aside(dir->fd, ids);
	memcpy(dir->id, ids, DIRID_LEN);
	dir->known = true;
	return 0;
}

/* ---- names */

/* Try ids until the name opens with one. */
static bool decode_with(struct check *c, const struct id_set *set,
			const char *full, size_t len,
			char plain[static NAME_PLAIN_MAX + 1])
{
	for (size_t i = 0; i < set->count; i++)
		if (name_decode(c->vault->names, set->ids[i], full, len, plain,
				NULL) == 0)
			return true;
	return false;
}

/* The name that the entry had where it was made. */
static bool guess_name(struct check *c, struct check_dir *dir,
		       const char *entry, const char *full, size_t len,
		       char plain[static NAME_PLAIN_MAX + 1])
{
	struct id_set own = {0};
	bool found = !check_ids_of_entry(dir->fd, entry, &own) &&
		     !check_ids_of_dir(c, dir->fd, &own) &&
		     decode_with(c, &own, full, len, plain);

	check_ids_free(&own);
	return found || decode_with(c, &c->hints, full, len, plain);
}

static void to_lost_found(struct check *c, struct trouble *t, const char *name)
{
	char *moved_to = NULL;
	int err = check_lost(c, t->dir, t->entry, name,
			     t->fault != CHECK_LEFTOVER, &moved_to);

	tell(c, t, err, moved_to);
}

static void put_back_here(struct check *c, struct trouble *t, const char *name)
{
	int err = check_rename(c, t->dir, t->entry, name);

	if (err == -EEXIST)
		to_lost_found(c, t, name);
	else
		tell(c, t, err, err ? NULL : check_plain_path(t->dir, name));
}

static void repair_name(struct check *c, struct trouble *t)
{
	char full[NAME_FULL_MAX + 1], plain[NAME_PLAIN_MAX + 1];
	char file[NAME_LONG_LEN + sizeof NAME_LONG_SUFFIX];
	size_t len = 0;
	bool have = check_full_name(t->dir->fd, t->entry, full, &len) == 0;

	if (have && name_decode(c->vault->names, t->dir->id, full, len, plain,
				NULL) == 0) {
		/* the long name was lost, and a copy of it found */
		snprintf(file, sizeof file, "%.*s" NAME_LONG_SUFFIX,
			 NAME_LONG_LEN, t->entry);
		tell(c, t, put_beside(t->dir, file, full, len),
		     check_plain_path(t->dir, plain));
	} else if (have && guess_name(c, t->dir, t->entry, full, len, plain)) {
		put_back_here(c, t, plain);
	} else if (check_is_ours(c, t->dir, t->entry)) {
		to_lost_found(c, t, t->entry);
	} else {
		check_found(c, t, CHECK_DAMAGED, NULL);
	}
}

/* Of an entry in a directory whose id has just become known. */
static void look_at_known(struct check *c, struct check_dir *dir,
			  const char *entry)
{
	char plain[NAME_PLAIN_MAX + 1];
	bool copy;

	if (name_classify(entry) == NAME_KIND_FOREIGN)
		/* a copy perhaps: without the id nobody could tell */
		check_entry(c, dir, entry, DT_UNKNOWN);
	else if (is_name(entry) &&
		 check_plain_name(c, dir, entry, plain, &copy) == -EBADMSG)
		check_entry_trouble(
			c, entry[0] == '@' ? CHECK_LONG_NAME : CHECK_NAME, dir,
			entry, NULL, 0);
}

/* What could not be judged without the id. */
static int look_in_known(struct check *c, struct check_dir *dir)
{
	CLEANUP_DIR DIR *stream = NULL;
	const struct dirent *e;
	int err = xio_list(dir->fd, &stream);

	if (err)
		return err;
	check_xattrs(c, dir, ".", NULL, dir->fd, dir->id);
	while ((e = readdir(stream)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			look_at_known(c, dir, e->d_name);
	return 0;
}

static void repair_id(struct check *c, struct trouble *t)
{
	int err = put_id(c, t->dir);

	tell(c, t, err, NULL);
	if (!err)
		err = look_in_known(c, t->dir);
	if (err == -ENOMEM)
		check_fail(c, err);
}

/* ---- what was being made or removed */

static bool is_text(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
			    "yz0123456789-_=",
			    bytes[i], 65))
			return false;
	return true;
}

/* Does the file hold nothing that anybody could miss? */
static bool is_void(struct check *c, int fd, const struct stat *st)
{
	/* the longest target of a link, sealed, is shorter */
	uint8_t bytes[6000];
	size_t len = (size_t)st->st_size;
	struct header h;
	int err;

	if (st->st_size > (off_t)sizeof bytes || xio_pread(fd, bytes, len, 0))
		return false;
	if (len < HEADER_LEN || is_text(bytes, len))
		return true;
	err = header_parse(bytes, &c->vault->keys->file_keys, &h);
	sodium_memzero(&h, sizeof h);
	return (!err && len == chunk_backing_len(0)) || err == -ENOKEY;
}

static void repair_left_file(struct check *c, struct trouble *t)
{
	CLEANUP_FD int fd =
		openat(t->dir->fd, t->entry,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char name[NAME_BACKING_MAX + 16];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		tell(c, t, -errno, NULL);
	} else if (is_void(c, fd, &st)) {
		tell(c, t, unlinkat(t->dir->fd, t->entry, 0) < 0 ? -errno : 0,
		     NULL);
	} else if (check_is_ours(c, t->dir, t->entry)) {
		snprintf(name, sizeof name, "unfinished-%.200s",
			 t->entry + strlen(NAME_TEMP_PREFIX));
		to_lost_found(c, t, name);
	} else {
		check_found(c, t, CHECK_NOTE, NULL);
	}
}

static void repair_left_dir(struct check *c, struct trouble *t)
{
	CLEANUP_FD int fd = -1;
	char name[NAME_BACKING_MAX + 16];
	int err = vdir_open_path(t->dir->fd, t->entry, &fd);

	if (!err)
		err = vdir_check_empty(fd);
	if (!err) {
		tell(c, t, vdir_discard(t->dir->fd, t->entry), NULL);
	} else if (err == -ENOTEMPTY && check_is_ours(c, t->dir, t->entry)) {
		snprintf(name, sizeof name, "unfinished-%.200s",
			 t->entry + strlen(NAME_TEMP_PREFIX));
		to_lost_found(c, t, name);
	} else {
		check_found(c, t, CHECK_NOTE, NULL);
	}
}

static void repair_leftover(struct check *c, struct trouble *t)
{
	struct stat st;

	/* not a name that we give */
	if (!xio_is_temp_name(NAME_TEMP_PREFIX, t->entry)) {
		check_found(c, t, CHECK_NOTE, NULL);
		return;
	}
	if (fstatat(t->dir->fd, t->entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (S_ISDIR(st.st_mode))
		repair_left_dir(c, t);
	else if (S_ISREG(st.st_mode))
		repair_left_file(c, t);
	else
		check_found(c, t, CHECK_NOTE, NULL);
}

/* Copies that others made are theirs. */
static void repair_aborted(struct check *c, struct trouble *t)
{
	struct stat st;

	vault_clear_aborted(c->vault);
	if (fstatat(c->vault->root_fd, t->entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		tell(c, t, 0, NULL);
	else
		check_found(c, t, CHECK_NOTE, NULL);
}

static void repair(struct check *c, struct trouble *t)
{
	switch (t->fault) {
	case CHECK_DIRID:
		repair_id(c, t);
		break;
	case CHECK_NAME:
	case CHECK_LONG_NAME:
		repair_name(c, t);
		break;
	case CHECK_LEFTOVER:
		repair_leftover(c, t);
		break;
	case CHECK_INI_COPY:
		repair_aborted(c, t);
		break;
	default:
		check_found(c, t, check_state_of(t), NULL);
		break;
	}
}

enum { RANKS = 4 };

/* The root's id before all others: lost+found needs it. Then ids, since they
 * tell which names are damaged; these last, when all is known that mentions
 * other ids. */
static int rank(const struct trouble *t)
{
	if (t->fault == CHECK_NAME || t->fault == CHECK_LONG_NAME)
		return 3;
	if (t->fault != CHECK_DIRID)
		return 2;
	return t->dir->parent ? 1 : 0;
}

static void repair_list(struct check *c, struct trouble *list)
{
	struct trouble *t, *later;

	for (int turn = 0; turn < RANKS; turn++) {
		later = NULL;
		while ((t = list)) {
			list = t->next;
			if (rank(t) == turn && !check_stopped(c)) {
				repair(c, t);
				check_trouble_free(t);
			} else {
				t->next = later;
				later = t;
			}
		}
		list = later;
		/* what came to light meanwhile */
		if (check_run_all(c))
			break;
	}
	while ((t = list)) {
		list = t->next;
		check_trouble_free(t);
	}
}

int check_repair_all(struct check *c)
{
	struct trouble *list;

	while ((list = check_take_troubles(c)))
		repair_list(c, list);
	if (c->err)
		return c->err;
	return check_stopped(c) ? -EINTR : 0;
}

/* ---- before anything is looked at: what was interrupted */

struct names {
	char **list;
	size_t count;
};

static void names_fini(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->list[i]);
	free(n->list);
}

/* What lies in a directory of .frondfs, as paths. */
static int list_meta(struct check *c, const char *in, struct names *n)
{
	CLEANUP_FD int fd =
		openat(c->vault->meta_fd, in,
		       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;

	if (fd < 0 || xio_list(fd, &dir))
		return 0;
	while ((e = readdir(dir))) {
		char **grown;

		if (e->d_name[0] == '.')
			continue;
		grown = reallocarray(n->list, n->count + 1, sizeof *grown);
		if (!grown)
			return -ENOMEM;
		n->list = grown;
		if (asprintf(&grown[n->count], NAME_VAULT_DIR "/%s/%s", in,
			     e->d_name) < 0)
			return -ENOMEM;
		n->count++;
	}
	return 0;
}

/* Those that are gone now have been dealt with. */
static void tell_gone(struct check *c, const struct names *n,
		      enum check_fault fault)
{
	struct stat st;

	for (size_t i = 0; i < n->count; i++) {
		struct trouble t = {.fault = fault, .entry = n->list[i]};

		if (fstatat(c->vault->root_fd, n->list[i], &st,
			    AT_SYMLINK_NOFOLLOW) < 0)
			tell(c, &t, 0, NULL);
	}
}

int check_repair_before(struct check *c)
{
	struct names redo = {0}, orphans = {0};
	int err = list_meta(c, REKEY_JOURNAL_DIR, &redo);

	if (!err)
		err = list_meta(c, VAULT_ORPHANS_DIR, &orphans);
	/* what cannot be finished is still there, and is told of later */
	if (!err && redo.count > 0)
		(void)!vault_rekey_finish(c->vault);
	if (!err && orphans.count > 0)
		(void)!vault_orphans_open(c->vault);
	if (!err) {
		tell_gone(c, &redo, CHECK_REKEY);
		tell_gone(c, &orphans, CHECK_ORPHAN);
	}
	names_fini(&redo);
	names_fini(&orphans);
	return err;
}
