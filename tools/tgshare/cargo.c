#include "cargo.h"
#include "chunk.h"
#include "fernet_text.h"
#include "progress.h"
#include "report.h"
#include "sealed.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* The sealed copy while it is written: all entries one after the other. */
struct writer {
	int fd;
	uint64_t part_max, in_part;
	crypto_generichash_state hash;
	struct manifest_entry *entry;
	struct progress *progress;
	uint64_t done_before; /* plaintext of the entries in front */
	int source_fd;
};

static int end_part(struct writer *w)
{
	struct manifest_entry *e = w->entry;
	struct manifest_part *parts =
		reallocarray(e->parts, e->part_count + 1, sizeof *parts);

	if (!parts)
		return -ENOMEM;
	e->parts = parts;
	parts[e->part_count].len = w->in_part;
	crypto_generichash_final(&w->hash, parts[e->part_count].hash,
				 MANIFEST_HASH_LEN);
	e->part_count++;
	/* on its way to the disk already when fsync() waits for it; where
	 * that is not possible, fsync() alone does it */
	(void)sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	return 0;
}

static void begin_part(struct writer *w)
{
	w->in_part = 0;
	crypto_generichash_init(&w->hash, NULL, 0, MANIFEST_HASH_LEN);
}

static int take_bytes(void *arg, const void *buf, size_t len)
{
	struct writer *w = arg;
	const uint8_t *p = buf;
	int err = xio_write(w->fd, buf, len);

	while (!err && len > 0) {
		uint64_t room = w->part_max - w->in_part;
		size_t n = len < room ? len : (size_t)room;

		if (n == 0) {
			err = end_part(w);
			begin_part(w);
			continue;
		}
		crypto_generichash_update(&w->hash, p, n);
		w->in_part += n;
		p += n;
		len -= n;
	}
	return err;
}

static int give_bytes(void *arg, void *buf, size_t len)
{
	struct writer *w = arg;
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = read(w->source_fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int show_progress(void *arg, uint64_t done)
{
	struct writer *w = arg;

	progress_step(w->progress, w->done_before + done);
	return 0;
}

static int seal_file(struct writer *w, const struct source *from,
		     const struct source_entry *entry,
		     const uint8_t key[static FERNET_KEY_LEN])
{
	const struct sealed_source source = {give_bytes, w};
	const struct sealed_sink sink = {take_bytes, w};
	const struct sealed_progress progress = {show_progress, w};
	CLEANUP_FD int fd = -1;
	int err = source_open(from, entry, O_RDONLY, &fd);

	if (err)
		return err;
	w->source_fd = fd;
	begin_part(w);
	err = sealed_write(w->entry->file_id, key, w->entry->size, &source,
			   &sink, &progress);
	if (!err)
		err = end_part(w);
	if (!err && !source_same(entry, fd))
		err = -EAGAIN;
	w->done_before += w->entry->size;
	return err == -ENODATA ? -EAGAIN : err;
}

static int report_unreadable(const struct source *from,
			     const struct source_entry *entry, int err)
{
	const char *below = from->folder ? entry->path : "";
	const char *slash = from->folder ? "/" : "";

	if (err == -EAGAIN)
		return report_as(CMD_FAILED,
				 "'%s%s%s' changed while it was read; nothing "
				 "was sent of it, try again when it is at rest",
				 from->given, slash, below);
	if (err == -ENOSPC || err == -EDQUOT)
		return report_as(
			CMD_FAILED,
			"there is no room for a sealed copy of '%s' in "
			"the backing directory: %s",
			from->given, strerror(-err));
	return report_as(CMD_FAILED, "cannot share '%s%s%s': %s", from->given,
			 slash, below, strerror(-err));
}

/* The key of one file: the set's own, or a fresh one that it wraps. */
static int wrap_key(const struct cargo *c, struct manifest_entry *e,
		    const uint8_t key[static FERNET_KEY_LEN])
{
	uint8_t plain[FILE_ID_LEN + FERNET_KEY_LEN];
	struct fernet_key *set_key = secret_alloc(sizeof *set_key);
	int err;

	if (!set_key)
		return -ENOMEM;
	fernet_key_init(set_key, c->secret);
	memcpy(plain, e->file_id, FILE_ID_LEN);
	memcpy(plain + FILE_ID_LEN, key, FERNET_KEY_LEN);
	err = fernet_seal_one(set_key, plain, sizeof plain, e->key_token);
	sodium_memzero(plain, sizeof plain);
	secret_free(set_key);
	e->has_key_token = !err;
	return err;
}

static int fill_entry(const struct source_entry *from, struct manifest_entry *e)
{
	e->type = S_ISDIR(from->st.st_mode) ? MANIFEST_DIR : MANIFEST_FILE;
	e->path = strdup(from->path);
	if (!e->path)
		return -ENOMEM;
	e->mtime_s = from->st.st_mtim.tv_sec;
	e->mtime_ns = (uint32_t)from->st.st_mtim.tv_nsec;
	e->mode = from->st.st_mode & (e->type == MANIFEST_DIR ? 0777 : 0666);
	if (e->type == MANIFEST_FILE)
		e->size = (uint64_t)from->st.st_size;
	return 0;
}

static int begin_cargo(struct session *s, const struct source *from,
		       uint8_t kind, struct cargo *c)
{
	struct manifest *m = &c->manifest;

	if (strlen(from->name) >= sizeof m->name)
		return -ENAMETOOLONG;
	m->kind = kind;
	strcpy(m->name, from->name);
	m->folder = from->folder;
	memcpy(m->vault_id, s->m.info.vault_id, MANIFEST_VAULT_ID_LEN);
	if (kind == MANIFEST_SEND)
		memset(m->vault_id, 0, MANIFEST_VAULT_ID_LEN);
	m->entries = calloc(from->count, sizeof *m->entries);
	c->secret = secret_alloc(SLIP39_SECRET_LEN);
	if (!m->entries || !c->secret)
		return -ENOMEM;
	randombytes_buf(c->secret, SLIP39_SECRET_LEN);
	m->entry_count = from->count;
	for (size_t i = 0; i < from->count; i++) {
		int err = fill_entry(&from->entries[i], &m->entries[i]);

		if (err)
			return err;
	}
	return 0;
}

/* key: room for one in locked memory. */
static int seal_entry(struct writer *w, const struct source *from, size_t i,
		      struct cargo *c, uint8_t *key)
{
	struct manifest_entry *e = &c->manifest.entries[i];
	int err = 0;

	if (e->type != MANIFEST_FILE)
		return 0;
	w->entry = e;
	randombytes_buf(e->file_id, FILE_ID_LEN);
	if (from->folder) {
		randombytes_buf(key, FERNET_KEY_LEN);
		err = wrap_key(c, e, key);
	} else {
		memcpy(key, c->secret, FERNET_KEY_LEN);
	}
	return err ? err : seal_file(w, from, &from->entries[i], key);
}

static int seal_entries(struct writer *w, const struct source *from,
			struct cargo *c)
{
	CLEANUP_SECRET uint8_t *key = secret_alloc(FERNET_KEY_LEN);
	struct progress progress;
	int status = CMD_OK;

	if (!key)
		return report_as(CMD_FAILED, "memory is short");
	progress_begin(&progress, "sealing", from->total);
	w->progress = &progress;
	for (size_t i = 0; i < from->count && !status; i++) {
		int err = seal_entry(w, from, i, c, key);

		progress_end(&progress);
		if (err)
			status =
				report_unreadable(from, &from->entries[i], err);
	}
	progress_end(&progress);
	return status;
}

int cargo_seal(struct session *s, const struct source *from, uint64_t part_max,
	       struct cargo *c)
{
	struct writer w = {.part_max = part_max, .fd = -1};
	uint8_t id[ITEM_COPY_LEN / 2];
	int err, status;

	memset(c, 0, sizeof *c);
	err = begin_cargo(s, from, MANIFEST_SEND, c);
	if (err)
		return report_as(CMD_FAILED, "cannot share '%s': %s",
				 from->given, strerror(-err));
	randombytes_buf(id, sizeof id);
	hex_encode(id, sizeof id, c->copy);
	CLEANUP_FD int fd = openat(s->copies_fd, c->copy,
				   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return report_unreadable(from, from->entries, -errno);
	w.fd = fd;
	status = seal_entries(&w, from, c);
	if (!status && (fsync(fd) < 0 || fsync(s->copies_fd) < 0))
		status = report_unreadable(from, from->entries, -errno);
	if (status)
		unlinkat(s->copies_fd, c->copy, 0);
	return status;
}

static int add_file(struct cargo *c, const struct source *from,
		    const struct manifest_entry *e)
{
	struct item_file *f = &c->files[c->file_count];
	int n = from->folder
			? asprintf(&f->path, "%s/%s", from->relative, e->path)
			: asprintf(&f->path, "%s", from->relative);

	if (n < 0)
		return -ENOMEM;
	memcpy(f->id, e->file_id, FILE_ID_LEN);
	c->file_count++;
	return 0;
}

static int grant_entry(const struct source *from, size_t i, struct cargo *c,
		       struct control_file_key *got)
{
	struct manifest_entry *e = &c->manifest.entries[i];
	CLEANUP_FD int fd = -1;
	int err;

	if (e->type != MANIFEST_FILE)
		return 0;
	err = source_open(from, &from->entries[i], O_RDWR, &fd);
	if (!err)
		err = mounted_ask(fd, CONTROL_FILE_KEY, got);
	if (err)
		return err;
	memcpy(e->file_id, got->file_id, FILE_ID_LEN);
	e->size = got->size;
	e->backing_path = strdup(got->backing);
	if (!e->backing_path)
		return -ENOMEM;
	if (from->folder)
		err = wrap_key(c, e, got->key);
	else
		memcpy(c->secret, got->key, FERNET_KEY_LEN);
	return err ? err : add_file(c, from, e);
}

static int report_no_key(const struct source *from,
			 const struct source_entry *entry, int err)
{
	const char *below = from->folder ? entry->path : "";

	if (err == -EACCES || err == -EPERM || err == -EROFS)
		return report_as(CMD_FAILED,
				 "cannot grant '%s%s%s': only who may write a "
				 "file can give its key away; look at its "
				 "permissions, and at how the vault is mounted",
				 from->given, from->folder ? "/" : "", below);
	return report_unreadable(from, entry, err);
}

int cargo_grant(struct session *s, const struct source *from, struct cargo *c)
{
	struct control_file_key *got = secret_alloc(sizeof *got);
	size_t i = 0;
	int err;

	memset(c, 0, sizeof *c);
	err = got ? begin_cargo(s, from, MANIFEST_GRANT, c) : -ENOMEM;
	if (!err)
		c->files = calloc(from->count, sizeof *c->files);
	if (!err && !c->files)
		err = -ENOMEM;
	while (!err && i < from->count) {
		err = grant_entry(from, i, c, got);
		i += !err;
	}
	secret_free(got);
	if (err && i < from->count)
		return report_no_key(from, &from->entries[i], err);
	return err ? report_as(CMD_FAILED, "cannot grant '%s': %s", from->given,
			       strerror(-err))
		   : CMD_OK;
}

void cargo_free(struct cargo *c)
{
	struct manifest *m = &c->manifest;

	for (size_t i = 0; i < m->entry_count; i++) {
		free(m->entries[i].path);
		free(m->entries[i].parts);
		free(m->entries[i].backing_path);
	}
	free(m->entries);
	for (size_t i = 0; i < c->file_count; i++)
		free(c->files[i].path);
	free(c->files);
	secret_free(c->secret);
	memset(c, 0, sizeof *c);
}
