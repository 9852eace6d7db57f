/*
 * Sealed copies become files of this vault. For every file, in this order:
 *   1. its id and the placeholder's place are in the set's record, durably;
 *   2. its content is verified and sealed into <key>.<n>.new in the inbox;
 *   3. that is durable, with its mode and times;
 *   4. it is renamed over the placeholder, and the directory synced.
 * A crash before 4 leaves the placeholder and all parts, after 4 the file,
 * which is known by its id. Then the log says that the set was opened, and
 * then only the spool is cleaned (inbox_finish_).
 */
#include "inbox_internal.h"
#include "memory.h"
#include "sealed.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

enum { RECORD_EVERY = 64 }; /* files, while many are imported */

/* The parts of an entry, one after the other. */
struct part_reader {
	struct inbox *in;
	const struct manifest_entry *e;
	size_t next;   /* part to be opened */
	int fd;	       /* the present one; -1: none */
	uint64_t left; /* bytes of it */
	crypto_generichash_state hash;
};

static int open_part(struct part_reader *r)
{
	char name[SPOOL_NAME_MAX];

	if (r->next == r->e->part_count)
		return -ENODATA;
	inbox_spool_name_(r->e->parts[r->next].hash, ".part", name);
	r->fd = openat(r->in->dir_fd, name,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (r->fd < 0)
		return -errno;
	posix_fadvise(r->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	r->left = r->e->parts[r->next].len;
	crypto_generichash_init(&r->hash, NULL, 0, MANIFEST_HASH_LEN);
	r->next++;
	return 0;
}

static int end_part(struct part_reader *r)
{
	uint8_t hash[MANIFEST_HASH_LEN];

	crypto_generichash_final(&r->hash, hash, sizeof hash);
	close(TAKE_FD(r->fd));
	return memcmp(hash, r->e->parts[r->next - 1].hash, sizeof hash)
		       ? -EBADMSG
		       : 0;
}

static int read_parts(void *arg, void *buf, size_t len)
{
	struct part_reader *r = arg;
	uint8_t *to = buf;

	while (len > 0) {
		int err = r->fd < 0 ? open_part(r) : 0;
		size_t want;
		ssize_t n;

		if (err)
			return err;
		want = len < r->left ? len : (size_t)r->left;
		n = read(r->fd, to, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EBADMSG;
		crypto_generichash_update(&r->hash, to, (size_t)n);
		to += n;
		len -= (size_t)n;
		r->left -= (uint64_t)n;
		err = r->left ? 0 : end_part(r);
		if (err)
			return err;
	}
	return 0;
}

static int look_at_stop(void *arg, uint64_t done)
{
	(void)done;
	return inbox_stopped_(arg) ? -EINTR : 0;
}

static void new_name(const struct parcel *p, uint32_t entry,
		     struct backing_name *name)
{
	char suffix[24], text[SPOOL_NAME_MAX];

	snprintf(suffix, sizeof suffix, ".%u.new", entry);
	inbox_key_name_(p, suffix, text);
	memset(name, 0, sizeof *name);
	snprintf(name->entry, sizeof name->entry, "%s", text);
}

static int finish_file(struct inbox *in, struct vfile *f,
		       const struct manifest_entry *e)
{
	const struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = e->mtime_s, .tv_nsec = e->mtime_ns}};
	int err = vtree_own(in->vault, vfile_fd(f));

	if (err)
		return err;
	if (fchmod(vfile_fd(f), (e->mode & 0666) | 0400) < 0 ||
	    futimens(vfile_fd(f), times) < 0)
		return -errno;
	return vfile_sync(f, false);
}

/* What cannot fit must not fill the disk in vain, at every try anew. */
static int check_room(const struct inbox *in, const struct manifest_entry *e)
{
	struct statvfs st;

	if (fstatvfs(in->dir_fd, &st) < 0)
		return -errno;
	/* a file system that does not know is asked by writing */
	if (st.f_blocks == 0 || st.f_frsize == 0)
		return 0;
	return chunk_backing_len(e->size) / st.f_frsize > st.f_bfree ? -ENOSPC
								     : 0;
}

/* Steps 2 and 3. */
static int make_new(struct inbox *in, struct parcel *p, uint32_t entry,
		    const uint8_t *key, const struct spot *s,
		    const struct backing_name *name, struct part_reader *r)
{
	const struct sealed_source from = {read_parts, r};
	const struct sealed_progress progress = {look_at_stop, in};
	const struct manifest_entry *e = &p->m->entries[entry];
	struct vfile *f = NULL;
	int err;

	unlinkat(in->dir_fd, name->entry, 0);
	err = check_room(in, e);
	if (err)
		return err;
	err = vfile_create_as(in->vault, in->dir_fd, s->dir.id, name, 0600,
			      p->places[entry].id, &f);
	if (err)
		return err;
	err = sealed_import(e->file_id, key, e->size, &from, f, &progress);
	if (!err && !p->m->folder)
		inbox_keep_note_(in, p, vfile_fd(f), p->places[entry].id);
	if (!err)
		err = finish_file(in, f, e);
	vfile_close(f);
	return err;
}

static bool is_declined(struct inbox *in, const struct parcel *p,
			uint32_t entry)
{
	bool found = false;

	pthread_rwlock_rdlock(&in->lock);
	for (size_t i = 0; i < in->decline_count; i++)
		found |=
			in->declines[i].entry == entry &&
			memcmp(in->declines[i].key, p->key, sizeof p->key) == 0;
	pthread_rwlock_unlock(&in->lock);
	return found;
}

/* Step 4. -EAGAIN: the placeholder is no longer where it was. */
static int put_in_place(struct inbox *in, struct parcel *p, uint32_t entry,
			const struct spot *s, const struct backing_name *name)
{
	const struct memory_place there = {.parent = s->dir.id,
					   .entry = s->name.entry};
	struct place *place = &p->places[entry];
	struct statx stx;

	if (is_declined(in, p, entry))
		return -ECANCELED;
	if (statx(s->dir.fd, s->name.entry, AT_SYMLINK_NOFOLLOW,
		  STATX_BASIC_STATS, &stx) < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	if (stx.stx_ino != s->stx.stx_ino)
		return -EAGAIN;
	/* it was made a while ago: something may have gone from there since */
	(void)memory_place_taken(in->vault, &there, 0);
	if (renameat(in->dir_fd, name->entry, s->dir.fd, s->name.entry) < 0)
		return -errno;
	inbox_write_begin_(in);
	inbox_table_forget_(in, p, entry);
	place->state = PLACE_DONE;
	place->damaged = false;
	p->dirty = true;
	inbox_write_end_(in);
	inbox_changed_(in, s->path);
	return xio_sync_dir(s->dir.fd);
}

/* Bad parts go, so that they can be sent again. */
static int drop_altered(struct inbox *in, struct parcel *p,
			const struct manifest_entry *e, size_t *count)
{
	for (size_t i = 0; i < e->part_count; i++) {
		struct part *part = inbox_part_(in, e->parts[i].hash);
		struct part_look look;
		int err = part ? inbox_check_part_(in, part, &look) : -ENOENT;

		if (err == -ENOENT || (!err && look.same))
			continue;
		if (!err)
			err = inbox_refuse_of_(
				in, p, 0,
				"%s: a part is not what its name says",
				e->path);
		if (err)
			return err;
		inbox_part_remove_altered_(in, part, &look);
		(*count)++;
	}
	return 0;
}

/* What the sender sealed is not what the sender announced. */
static int refuse_content(struct inbox *in, struct parcel *p, uint32_t entry)
{
	const struct manifest_entry *e = &p->m->entries[entry];
	int err = inbox_refuse_of_(
		in, p, 0, "%s: the content is not what was announced", e->path);

	if (err)
		return err;
	inbox_write_begin_(in);
	p->places[entry].damaged = true;
	p->dirty = true;
	inbox_write_end_(in);
	for (size_t i = 0; i < e->part_count; i++) {
		struct part *part = inbox_part_(in, e->parts[i].hash);

		if (part)
			inbox_part_remove_(in, part);
	}
	return 0;
}

/* A bad chunk may have come before the end of a bad part was reached. */
static int judge_content(struct inbox *in, struct parcel *p, uint32_t entry)
{
	size_t altered = 0;
	int err = drop_altered(in, p, &p->m->entries[entry], &altered);

	return err || altered ? err : refuse_content(in, p, entry);
}

static int find_or_make(struct inbox *in, struct parcel *p, uint32_t entry,
			struct spot *s)
{
	int err = inbox_locate_(in, p, entry, s);

	if (err != -ENOENT)
		return err;
	if (is_declined(in, p, entry))
		return -ECANCELED;
	err = inbox_place_again_(in, p, entry);
	return err ? err : inbox_locate_(in, p, entry, s);
}

static int import_at(struct inbox *in, struct parcel *p, uint32_t entry,
		     const uint8_t *key, const struct spot *s)
{
	struct part_reader r = {.in = in, .e = &p->m->entries[entry], .fd = -1};
	struct backing_name name;
	int err;

	if (s->is_file) { /* finished just before a crash */
		inbox_write_begin_(in);
		inbox_table_forget_(in, p, entry);
		p->places[entry].state = PLACE_DONE;
		p->dirty = true;
		inbox_write_end_(in);
		return 0;
	}
	new_name(p, entry, &name);
	err = make_new(in, p, entry, key, s, &name, &r);
	cleanup_fd_(&r.fd);
	if (!err)
		err = put_in_place(in, p, entry, s, &name);
	if (err)
		unlinkat(in->dir_fd, name.entry, 0);
	/* a part that vanished comes again, or does not */
	if (err == -ENOENT)
		return 0;
	return err == -EBADMSG ? judge_content(in, p, entry) : err;
}

static int import_entry(struct inbox *in, struct parcel *p, uint32_t entry,
			const uint8_t *secret)
{
	CLEANUP_SECRET uint8_t *key = secret_alloc(FERNET_KEY_LEN);
	int err = -ENOMEM;

	if (key)
		err = inbox_entry_key_(&p->m->entries[entry], secret, key);
	if (err == -EBADMSG)
		return refuse_content(in, p, entry);
	for (unsigned tries = 0; !err && tries < 3; tries++) {
		struct spot s;

		err = find_or_make(in, p, entry, &s);
		if (err)
			break;
		err = import_at(in, p, entry, key, &s);
		inbox_spot_fini_(&s);
		if (err != -EAGAIN)
			break;
		err = 0;
	}
	return err == -ECANCELED ? 0 : err;
}

static bool is_ready(const struct inbox *in, const struct parcel *p, size_t i)
{
	return p->m->entries[i].type == MANIFEST_FILE &&
	       p->places[i].state < PLACE_DONE &&
	       inbox_entry_is_here_(in, &p->m->entries[i]);
}

bool inbox_import_is_due_(const struct inbox *in, const struct parcel *p)
{
	size_t done, open;

	inbox_count_(p, &done, &open);
	for (size_t i = 0; i < p->place_count; i++)
		if (is_ready(in, p, i))
			return true;
	return open == 0;
}

int inbox_import_(struct inbox *in, struct parcel *p,
		  const uint8_t secret[static FERNET_KEY_LEN])
{
	unsigned since = 0;
	int err = 0, write_err = 0;

	for (size_t i = 0; i < p->place_count && !err; i++) {
		if (!is_ready(in, p, i))
			continue;
		err = inbox_stopped_(in)
			      ? -EINTR
			      : import_entry(in, p, (uint32_t)i, secret);
		if (!err && ++since % RECORD_EVERY == 0)
			err = inbox_record_write_(in, p);
	}
	if (p->dirty)
		write_err = inbox_record_write_(in, p);
	return err ? err : write_err;
}
