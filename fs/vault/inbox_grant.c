/*
 * Granted files: the key came, the file stays where its owner has it. In this
 * order: <key>.grant with manifest and key is durable; the log says so; the
 * spool is cleaned.
 */
#include "inbox_internal.h"
#include "log.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	SEARCH_EVERY_MS = 60000,
	SEARCH_DEPTH_MAX = 200,
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct parcel *replaced_by(const struct inbox *in,
				  const struct parcel *p)
{
	uint8_t key[PARCEL_KEY_LEN];
	struct parcel *old;

	if (!p->m || p->m->kind != MANIFEST_GRANT ||
	    sodium_is_zero(p->m->replaces, SET_ID_LEN))
		return NULL;
	inbox_key_(p->m->replaces, &p->sender, 0, key);
	old = inbox_find_(in, key);
	return old && old != p && old->granted && old->base ? old : NULL;
}

bool inbox_waits_for_stub_(const struct inbox *in, const struct parcel *p)
{
	return !p->base && replaced_by(in, p);
}

static const struct place *place_of_file(const struct parcel *p,
					 const uint8_t *file_id)
{
	for (size_t i = 0; i < p->place_count; i++)
		if (p->places[i].state == PLACE_STANDS &&
		    memcmp(p->m->entries[i].file_id, file_id, FILE_ID_LEN) == 0)
			return &p->places[i];
	return NULL;
}

/* The new set's entries stand where the old one's stand. */
static int take_stubs(struct inbox *in, struct parcel *p,
		      const struct parcel *old)
{
	char *base = strdup(old->base);
	int err = base ? inbox_make_places_(in, p) : -ENOMEM;

	if (err) {
		free(base);
		return err;
	}
	inbox_write_begin_(in);
	free(p->base);
	p->base = base;
	for (size_t i = 0; i < p->place_count; i++) {
		const struct place *from =
			place_of_file(old, p->m->entries[i].file_id);

		if (!from)
			continue;
		p->places[i] = *from;
		p->places[i].moved_to = NULL;
		memset(p->places[i].digest, 0, sizeof p->places[i].digest);
	}
	inbox_write_end_(in);
	return 0;
}

static bool has_place(const struct parcel *p, const uint8_t *id)
{
	for (size_t i = 0; i < p->place_count; i++)
		if (memcmp(p->places[i].id, id, FILE_ID_LEN) == 0)
			return true;
	return false;
}

/* The old set's record goes; stubs that the new one did not take, too. */
static int forget_replaced(struct inbox *in, struct parcel *p)
{
	struct parcel *old = replaced_by(in, p);

	if (!old)
		return 0;
	for (size_t i = 0; i < old->place_count; i++) {
		int err = has_place(p, old->places[i].id)
				  ? 0
				  : inbox_unplace_(in, old, (uint32_t)i);

		if (err)
			return err;
	}
	inbox_finish_(in, old);
	return inbox_enter_table_(in, p);
}

static void tell_all(struct inbox *in, const struct parcel *p)
{
	for (size_t i = 0; i < p->place_count; i++) {
		CLEANUP_FREE char *path =
			p->places[i].state == PLACE_STANDS
				? inbox_path_of_(p, (uint32_t)i)
				: NULL;

		if (path)
			inbox_changed_(in, path);
	}
}

/* What follows once the record is durable; done again after a crash. */
static int settle_grant(struct inbox *in, struct parcel *p)
{
	int err = inbox_log_of_(in, p, VLOG_OPENED, 0);
	char name[SPOOL_NAME_MAX];

	if (err)
		return err;
	inbox_key_name_(p, RECORD_SET, name);
	unlinkat(in->dir_fd, name, 0);
	while (p->held_count) {
		inbox_spool_remove_(in, p->held[p->held_count - 1].hash,
				    ".env");
		inbox_unhold_(in, p, p->held_count - 1);
	}
	if (!sodium_is_zero(p->manifest_hash, SPOOL_HASH_LEN))
		inbox_spool_remove_(in, p->manifest_hash, ".env");
	inbox_write_begin_(in);
	memset(p->manifest_hash, 0, SPOOL_HASH_LEN);
	inbox_write_end_(in);
	return forget_replaced(in, p);
}

int inbox_grant_(struct inbox *in, struct parcel *p, uint8_t **secret)
{
	struct parcel *old = replaced_by(in, p);
	int err = old && !p->base ? take_stubs(in, p, old) : 0;

	if (err)
		return err;
	inbox_write_begin_(in);
	p->secret = TAKE_PTR(*secret);
	p->granted = true;
	inbox_write_end_(in);
	err = inbox_record_write_(in, p);
	if (err) {
		inbox_write_begin_(in);
		p->granted = false;
		*secret = TAKE_PTR(p->secret);
		inbox_write_end_(in);
		return err;
	}
	err = settle_grant(in, p);
	tell_all(in, p);
	return err;
}

static int note_revocation(struct inbox *in, struct parcel *p)
{
	int err;

	inbox_write_begin_(in);
	p->revoked = true;
	inbox_write_end_(in);
	err = inbox_record_write_(in, p);
	if (!err)
		err = inbox_log_of_(in, p, VLOG_KEY_REVOKED, 0);
	if (!err)
		tell_all(in, p);
	return err;
}

/* Stubs that are gone without having been removed here come back. */
static int restore_stubs(struct inbox *in, struct parcel *p)
{
	if (!p->base)
		return inbox_place_(in, p);
	for (size_t i = 0; i < p->place_count; i++) {
		int err;

		if (p->m->entries[i].type != MANIFEST_FILE ||
		    p->places[i].state != PLACE_NONE)
			continue;
		err = inbox_place_again_(in, p, (uint32_t)i);
		if (err)
			return err;
	}
	return 0;
}

static bool is_wanted(const struct parcel *p)
{
	for (size_t i = 0; i < p->place_count; i++)
		if (p->m->entries[i].type == MANIFEST_FILE &&
		    p->places[i].state != PLACE_DECLINED)
			return true;
	return false;
}

int inbox_advance_grant_(struct inbox *in, struct parcel *p, bool *dropped)
{
	bool taken_back = p->revoked;
	int err;

	if (!is_wanted(p)) {
		err = inbox_log_of_(in, p, VLOG_DECLINED, 0);
		if (err)
			return err;
		inbox_finish_(in, p);
		*dropped = true;
		return 0;
	}
	for (size_t i = 0; i < p->held_count; i++)
		taken_back |= p->held[i].kind == STATEMENT_REVOKE;
	if (taken_back && !inbox_is_logged_(in, p, VLOG_KEY_REVOKED)) {
		err = note_revocation(in, p);
		if (err)
			return err;
	}
	if (inbox_expired_(p) && !inbox_is_logged_(in, p, VLOG_EXPIRED)) {
		err = inbox_log_of_(in, p, VLOG_EXPIRED, 0);
		if (err)
			return err;
		tell_all(in, p);
	}
	err = restore_stubs(in, p);
	if (!err)
		err = settle_grant(in, p);
	if (!err && p->dirty)
		err = inbox_record_write_(in, p);
	return err;
}

/* What opening needs, copied, so that no lock is held meanwhile. */
struct target {
	struct manifest_entry entry; /* paths below are its own */
	char *backing_path, *moved_to, *attached;
	uint8_t vault_id[MANIFEST_VAULT_ID_LEN];
	uint8_t digest[32];
	uint8_t *secret;
	bool may_search;
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
	uint64_t last = __atomic_load_n(&p->search_ms, __ATOMIC_RELAXED);
	uint64_t now = now_ms();

	if (!e->backing_path || !p->attached)
		return -ENOENT;
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
	/* one of them may */
	t->may_search = (last == 0 || now - last >= SEARCH_EVERY_MS) &&
			__atomic_compare_exchange_n(
				&p->search_ms, &last, now ? now : 1, false,
				__ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return 0;
}

/* A vault's backing directory, if it is the one. */
static int open_attached(const char *path, const uint8_t *vault_id, int *fd)
{
	CLEANUP_FREE struct vault_ini *ini = calloc(1, sizeof *ini);
	struct vault_fault fault = {0};
	int opened;

	if (!ini)
		return -ENOMEM;
	if (vault_probe(path, ini, &fault) ||
	    memcmp(ini->id, vault_id, MANIFEST_VAULT_ID_LEN) != 0)
		return -ENOENT;
	opened = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (opened < 0)
		return -errno;
	*fd = opened;
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
	CLEANUP_FD int opened = openat(
		dirfd, entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

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
	if (!t->may_search || !seek_in(s, root, 0, SEARCH_DEPTH_MAX))
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

void inbox_note_header(struct inbox *in, const struct inbox_entry *e,
		       const uint8_t digest[static 32])
{
	struct parcel *p;

	inbox_write_begin_(in);
	p = inbox_find_(in, e->key);
	if (p && p->granted && e->entry < p->place_count &&
	    memcmp(p->places[e->entry].digest, digest, 32) != 0) {
		memcpy(p->places[e->entry].digest, digest, 32);
		p->dirty = true;
	}
	inbox_write_end_(in);
}

void inbox_note_revoked(struct inbox *in, const struct inbox_entry *e)
{
	struct parcel *p;

	inbox_write_begin_(in);
	p = inbox_find_(in, e->key);
	if (p && p->granted && !p->revoked) {
		p->revoked = true;
		p->dirty = true;
	}
	inbox_write_end_(in);
}
