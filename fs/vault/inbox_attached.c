/* The files that were granted, in the backing directory of whom they are. */
#include "clock.h"
#include "inbox_internal.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	SEARCH_EVERY_MS = 60000,
	SEARCH_DEPTH_MAX = 200,
};

/* What opening needs, copied, so that no lock is held meanwhile. */
struct target {
	struct manifest_entry entry; /* paths below are its own */
	char *backing_path, *moved_to, *attached;
	uint8_t vault_id[MANIFEST_VAULT_ID_LEN];
	uint8_t digest[32];
	uint8_t *secret;
};

static void target_fini(struct target *t)
{
	free(t->backing_path);
	free(t->moved_to);
	free(t->attached);
	secret_free(t->secret);
}

/* Needs the reader's lock. */
static int copy_target(struct parcel *p, uint32_t entry, struct target *t)
{
	const struct manifest_entry *e = &p->m->entries[entry];
	const struct place *place = &p->places[entry];

	if (!e->backing_path || !p->attached)
		return -ENOMEDIUM;
	t->entry = *e;
	t->secret = secret_alloc(FERNET_KEY_LEN);
	t->backing_path = strdup(e->backing_path);
	t->attached = strdup(p->attached);
	t->moved_to = place->moved_to ? strdup(place->moved_to) : NULL;
	if (!t->secret || !t->backing_path || !t->attached ||
	    (place->moved_to && !t->moved_to))
		return -ENOMEM;
	memcpy(t->secret, p->secret, FERNET_KEY_LEN);
	memcpy(t->vault_id, p->m->vault_id, sizeof t->vault_id);
	memcpy(t->digest, place->digest, sizeof t->digest);
	return 0;
}

/*
 * A vault's backing directory, if it is the one. Whoever keeps vault.ini to
 * themselves, as it lets its readers guess at the passphrase, is taken at their
 * word: a granted file is known by its id and opened with its key.
 */
static int open_attached(const char *path, const uint8_t *vault_id, int *fd)
{
	CLEANUP_FREE struct vault_ini *ini = calloc(1, sizeof *ini);
	CLEANUP_FD int opened = -1;
	struct vault_fault fault = {0};
	struct stat st;
	int err;

	if (!ini)
		return -ENOMEM;
	err = vault_probe(path, ini, &fault);
	if (err != -EACCES &&
	    (err || memcmp(ini->id, vault_id, MANIFEST_VAULT_ID_LEN) != 0))
		return -ENOMEDIUM;
	opened = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* may it be entered, too? */
	if (opened < 0 || fstatat(opened, "./.", &st, 0) < 0)
		return -errno;
	*fd = TAKE_FD(opened);
	return 0;
}

bool inbox_is_attached_(const struct parcel *p)
{
	CLEANUP_FD int fd = -1;

	return p->attached && p->m &&
	       open_attached(p->attached, p->m->vault_id, &fd) == 0;
}

static bool is_file_of(int fd, const uint8_t *file_id)
{
	uint8_t head[24];
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       xio_pread(fd, head, sizeof head, 0) == 0 &&
	       memcmp(head, "FRONDFS1", 8) == 0 &&
	       memcmp(head + 8, file_id, FILE_ID_LEN) == 0;
}

static int open_leaf(int dirfd, const char *entry, const uint8_t *file_id,
		     int *fd)
{
	CLEANUP_FD int opened = -1;
	struct stat st;

	/* somebody else's directory: opening a device may do things */
	if (fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	opened = openat(dirfd, entry,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (opened < 0)
		return -errno;
	if (!is_file_of(opened, file_id))
		return -ENOENT;
	*fd = TAKE_FD(opened);
	return 0;
}

/* Component by component: no link leads out of the attached directory. */
static int open_beneath(int root, const char *path, const uint8_t *file_id,
			int *fd)
{
	CLEANUP_FD int dir = fcntl(root, F_DUPFD_CLOEXEC, 0);
	CLEANUP_FREE char *copy = strdup(path);
	char *at = copy, *slash;

	if (dir < 0 || !copy)
		return dir < 0 ? -errno : -ENOMEM;
	while ((slash = strchr(at, '/'))) {
		int next = -1, err;

		*slash = '\0';
		if (at == slash || strcmp(at, ".") == 0 ||
		    strcmp(at, "..") == 0 || strcmp(at, NAME_VAULT_DIR) == 0)
			return -ENOENT;
		err = vdir_open_path(dir, at, &next);
		if (err)
			return err;
		close(dir);
		dir = next;
		at = slash + 1;
	}
	if (*at == '\0' || strcmp(at, "..") == 0)
		return -ENOENT;
	return open_leaf(dir, at, file_id, fd);
}

struct seek {
	const uint8_t *file_id;
	int fd; /* out */
	char path[PATH_MAX * 2];
};

static bool seek_in(struct seek *s, int dirfd, size_t path_len, unsigned depth)
{
	CLEANUP_FD int fd =
		openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_DIR DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	bool found = false;

	if (!stream)
		return false;
	fd = -1;
	while (!found && (e = readdir(stream))) {
		size_t room = sizeof s->path - path_len;
		CLEANUP_FD int sub = -1;
		int len;

		if (strcmp(e->d_name, ".") == 0 ||
		    strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, NAME_VAULT_DIR) == 0)
			continue;
		len = snprintf(s->path + path_len, room, "%s%s",
			       path_len ? "/" : "", e->d_name);
		if (len < 0 || (size_t)len >= room)
			continue;
		if (e->d_type != DT_DIR &&
		    !open_leaf(dirfd, e->d_name, s->file_id, &s->fd))
			return true;
		if ((e->d_type == DT_DIR || e->d_type == DT_UNKNOWN) &&
		    depth > 0 && !vdir_open_path(dirfd, e->d_name, &sub))
			found = seek_in(s, sub, path_len + (size_t)len,
					depth - 1);
	}
	return found;
}

/* One of those who miss a file of the set may search, and not again soon. */
static bool may_search(struct inbox *in, const struct inbox_entry *e)
{
	uint64_t now = (uint64_t)clock_now_ms(), last;
	struct parcel *p;
	bool may = false;

	pthread_rwlock_rdlock(&in->lock);
	p = inbox_find_(in, e->key);
	if (p) {
		last = __atomic_load_n(&p->search_ms, __ATOMIC_RELAXED);
		may = (last == 0 || now - last >= SEARCH_EVERY_MS) &&
		      __atomic_compare_exchange_n(
			      &p->search_ms, &last, now ? now : 1, false,
			      __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}
	pthread_rwlock_unlock(&in->lock);
	return may;
}

/* Its owner moved it: look everywhere, and remember where it was found. */
static int search(struct inbox *in, const struct inbox_entry *e, int root,
		  const struct target *t, int *fd)
{
	CLEANUP_FREE struct seek *s = calloc(1, sizeof *s);
	struct parcel *p;

	if (!s)
		return -ENOMEM;
	s->file_id = t->entry.file_id;
	s->fd = -1;
	if (!may_search(in, e) || !seek_in(s, root, 0, SEARCH_DEPTH_MAX))
		return -ENOENT;
	inbox_write_begin_(in);
	p = inbox_find_(in, e->key);
	if (p && p->granted && e->entry < p->place_count) {
		free(p->places[e->entry].moved_to);
		p->places[e->entry].moved_to = strdup(s->path);
		/* the next one that moved need not wait */
		__atomic_store_n(&p->search_ms, 0, __ATOMIC_RELAXED);
	}
	inbox_write_end_(in);
	*fd = s->fd;
	return 0;
}

static int open_target(struct inbox *in, const struct inbox_entry *e,
		       const struct target *t, int *fd)
{
	CLEANUP_FD int root = -1;
	int err = open_attached(t->attached, t->vault_id, &root);

	if (err)
		return err;
	err = -ENOENT;
	if (t->moved_to)
		err = open_beneath(root, t->moved_to, t->entry.file_id, fd);
	if (err)
		err = open_beneath(root, t->backing_path, t->entry.file_id, fd);
	if (err == -ENOENT || err == -ENOTDIR || err == -ELOOP)
		err = search(in, e, root, t, fd);
	return err;
}

int inbox_open_granted(struct inbox *in, const struct inbox_entry *e, int *fd,
		       struct vfile_grant *grant)
{
	struct target t = {0};
	struct parcel *p;
	int err = -ENOENT, opened = -1;

	pthread_rwlock_rdlock(&in->lock);
	p = inbox_find_(in, e->key);
	if (p && p->granted && e->entry < p->place_count) {
		err = inbox_error_(p, e->entry);
		if (!err)
			err = copy_target(p, e->entry, &t);
	}
	pthread_rwlock_unlock(&in->lock);
	if (!err)
		err = open_target(in, e, &t, &opened);
	if (!err)
		err = inbox_entry_key_(&t.entry, t.secret, grant->key);
	if (err == -EBADMSG)
		err = -EKEYREJECTED;
	if (!err) {
		memcpy(grant->file_id, t.entry.file_id, FILE_ID_LEN);
		memcpy(grant->header_digest, t.digest, sizeof t.digest);
		*fd = TAKE_FD(opened);
	}
	cleanup_fd_(&opened);
	target_fini(&t);
	return err;
}
