/*
 * The sealed copy: all files one after the other, cut into parts. Parts end
 * with chunks, so that a copy can be gone on with behind any of them.
 */
#include "cargo.h"
#include "chunk.h"
#include "fernet_text.h"
#include "progress.h"
#include "report.h"
#include "scribe.h"
#include "sealed.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { READ_LEN = 1 << 20 };

/* A copy while it is written. */
struct writer {
	const struct source *from;
	const struct cargo_watch *watch;
	struct cargo *cargo;
	const struct source_entry *source; /* the file at work */
	struct manifest_entry *entry;	   /* of it */
	struct scribe *scribe;		   /* writes it */
	int fd, source_fd;
	uint64_t part_max, part_len, in_part;
	uint64_t done_before; /* plaintext of the files in front */
	crypto_generichash_state hash;
	/* what was read of the file, and its change time before that */
	uint8_t read_key[crypto_onetimeauth_KEYBYTES];
	crypto_onetimeauth_state read_sum;
	struct timespec ctime;
};

static int add_part(struct manifest_entry *e, uint64_t len,
		    const uint8_t hash[static MANIFEST_HASH_LEN])
{
	struct manifest_part *parts =
		reallocarray(e->parts, e->part_count + 1, sizeof *parts);

	if (!parts)
		return -ENOMEM;
	e->parts = parts;
	parts[e->part_count].len = len;
	memcpy(parts[e->part_count].hash, hash, MANIFEST_HASH_LEN);
	e->part_count++;
	return 0;
}

/* Who watches hears of no part of a file that has changed by then. */
static int end_part(struct writer *w)
{
	uint8_t hash[MANIFEST_HASH_LEN];
	int err = scribe_wait(w->scribe);

	crypto_generichash_final(&w->hash, hash, sizeof hash);
	if (!err)
		err = add_part(w->entry, w->in_part, hash);
	/* on its way to the disk already when fsync() waits for it; where
	 * that is not possible, fsync() alone does it */
	(void)sync_file_range(w->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	if (!err && !source_same(w->source, w->source_fd))
		err = -EAGAIN;
	if (!err && w->watch->part)
		err = w->watch->part(w->watch->arg, w->in_part, hash);
	return err;
}

/* at: where in the file's own sealed bytes it begins */
static void begin_part(struct writer *w, uint64_t at)
{
	uint64_t extra = at ? 0 : HEADER_LEN;

	w->in_part = 0;
	w->part_len = w->part_max;
	if (w->part_max >= extra + CHUNK_TOKEN_LEN)
		w->part_len -= (w->part_max - extra) % CHUNK_TOKEN_LEN;
	crypto_generichash_init(&w->hash, NULL, 0, MANIFEST_HASH_LEN);
}

/* Written and hashed at the same time, which take about as long. */
static int take_bytes(void *arg, const void *buf, size_t len)
{
	struct writer *w = arg;
	const uint8_t *p = buf;
	int err = 0, write_err;

	scribe_begin(w->scribe, buf, len);
	while (!err && len > 0) {
		uint64_t room = w->part_len - w->in_part;
		size_t n = len < room ? len : (size_t)room;

		if (n == 0) {
			err = end_part(w);
			begin_part(w, 1);
			continue;
		}
		crypto_generichash_update(&w->hash, p, n);
		w->in_part += n;
		p += n;
		len -= n;
	}
	write_err = scribe_wait(w->scribe);
	return err ? err : write_err;
}

static int give_bytes(void *arg, void *buf, size_t len)
{
	struct writer *w = arg;
	size_t left = len;
	uint8_t *p = buf;

	while (left > 0) {
		ssize_t n = read(w->source_fd, p, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		p += n;
		left -= (size_t)n;
	}
	crypto_onetimeauth_update(&w->read_sum, buf, len);
	return 0;
}

/* What is read of the file from now on, from at on, is kept account of. */
static int begin_reading(struct writer *w, uint64_t at)
{
	struct stat st;

	if (fstat(w->source_fd, &st) < 0 ||
	    lseek(w->source_fd, (off_t)at, SEEK_SET) < 0)
		return -errno;
	w->ctime = st.st_ctim;
	randombytes_buf(w->read_key, sizeof w->read_key);
	crypto_onetimeauth_init(&w->read_sum, w->read_key);
	return 0;
}

static int read_again(struct writer *w, uint64_t at,
		      uint8_t sum[static crypto_onetimeauth_BYTES])
{
	CLEANUP_FREE uint8_t *buf = malloc(READ_LEN);
	int err = buf ? 0 : -ENOMEM;

	crypto_onetimeauth_init(&w->read_sum, w->read_key);
	for (; !err && at < w->entry->size; at += READ_LEN) {
		uint64_t left = w->entry->size - at;
		size_t n = left < READ_LEN ? (size_t)left : READ_LEN;

		err = xio_pread(w->source_fd, buf, n, (off_t)at);
		if (!err)
			crypto_onetimeauth_update(&w->read_sum, buf, n);
	}
	crypto_onetimeauth_final(&w->read_sum, sum);
	if (buf)
		sodium_memzero(buf, READ_LEN);
	return err;
}

/*
 * The change time moves where a mount brings chunks to their place in the
 * backing directory, a while after they were written, but also where somebody
 * sets the modification time back: whether what was read, from at on, is what
 * the file holds its bytes tell.
 */
static int end_reading(struct writer *w, uint64_t at)
{
	uint8_t was[crypto_onetimeauth_BYTES], is[crypto_onetimeauth_BYTES];
	struct stat st;
	int err;

	crypto_onetimeauth_final(&w->read_sum, was);
	if (fstat(w->source_fd, &st) < 0)
		return -errno;
	if (st.st_ctim.tv_sec == w->ctime.tv_sec &&
	    st.st_ctim.tv_nsec == w->ctime.tv_nsec)
		return 0;
	err = read_again(w, at, is);
	return !err && memcmp(was, is, sizeof was) != 0 ? -EAGAIN : err;
}

static int tell_step(void *arg, uint64_t done)
{
	struct writer *w = arg;

	return w->watch->step
		       ? w->watch->step(w->watch->arg, w->done_before + done)
		       : 0;
}

static uint64_t sealed_already(const struct manifest_entry *e)
{
	uint64_t len = 0;

	for (size_t i = 0; i < e->part_count; i++)
		len += e->parts[i].len;
	return len;
}

/* at: bytes of its sealed copy that are there, whole chunks of it */
static int seal_file(struct writer *w, uint64_t at,
		     const uint8_t key[static FERNET_KEY_LEN])
{
	const struct sealed_source source = {give_bytes, w};
	const struct sealed_sink sink = {take_bytes, w};
	const struct sealed_progress progress = {tell_step, w};
	uint64_t chunk = at ? (at - HEADER_LEN) / CHUNK_TOKEN_LEN : 0;
	CLEANUP_FD int fd = -1;
	int err = source_open(w->from, w->source, O_RDONLY, &fd);

	if (err)
		return err;
	w->source_fd = fd;
	err = begin_reading(w, chunk * CHUNK_SIZE);
	if (err)
		return err;
	begin_part(w, at);
	err = sealed_write_from(w->entry->file_id, key, w->entry->size, chunk,
				&source, &sink, &progress);
	if (!err)
		err = end_reading(w, chunk * CHUNK_SIZE);
	if (!err)
		err = end_part(w);
	return err == -ENODATA ? -EAGAIN : err;
}

/* key: room for one in locked memory. */
static int seal_entry(struct writer *w, size_t i, uint8_t *key)
{
	struct cargo *c = w->cargo;
	struct manifest_entry *e = &c->manifest.entries[i];
	uint64_t at = sealed_already(e);
	int err;

	if (e->type != MANIFEST_FILE)
		return 0;
	w->entry = e;
	w->source = &w->from->entries[i];
	cargo_file_key(c, i, e->file_id, key);
	err = w->from->folder ? cargo_wrap_key(c, e, key) : 0;
	if (!err && at < chunk_backing_len(e->size))
		err = seal_file(w, at, key);
	w->done_before += e->size;
	return err;
}

static int open_copy(struct session *s, const struct cargo *c, int *fd)
{
	int err = session_open_copy(s, c->copy, O_RDWR | O_CREAT, fd);

	return !err && lseek(*fd, 0, SEEK_END) < 0 ? -errno : err;
}

int cargo_write(struct session *s, const struct source *from, uint64_t part_max,
		const struct cargo_watch *watch, struct cargo *c, size_t *at)
{
	CLEANUP_SECRET uint8_t *key = secret_alloc(FERNET_KEY_LEN);
	CLEANUP_FD int fd = -1;
	struct writer w = {
		.from = from, .watch = watch, .cargo = c, .part_max = part_max};
	int err = key ? open_copy(s, c, &fd) : -ENOMEM;

	w.fd = fd;
	if (!err)
		err = scribe_new(fd, &w.scribe);
	for (*at = 0; !err && *at < from->count; *at += !err)
		err = seal_entry(&w, *at, key);
	scribe_free(w.scribe);
	if (!err && (fsync(fd) < 0 || fsync(s->copies_fd) < 0))
		err = -errno;
	return err;
}

int cargo_report(const struct source *from, size_t at, int err)
{
	bool below = from->folder && at < from->count;
	const char *path = below ? from->entries[at].path : "";
	const char *slash = below ? "/" : "";

	if (err == -EAGAIN)
		return report_as(CMD_FAILED,
				 "'%s%s%s' changed while it was read; it was "
				 "not shared, try again when it is at rest",
				 from->given, slash, path);
	if (err == -ENOSPC || err == -EDQUOT)
		return report_as(
			CMD_FAILED,
			"there is no room for a sealed copy of '%s' in "
			"the backing directory: %s",
			from->given, strerror(-err));
	return report_as(CMD_FAILED, "cannot share '%s%s%s': %s", from->given,
			 slash, path, strerror(-err));
}

static int show_progress(void *arg, uint64_t done)
{
	progress_step(arg, done);
	return 0;
}

int cargo_seal(struct session *s, const struct source *from, uint64_t part_max,
	       struct cargo *c)
{
	struct progress progress;
	const struct cargo_watch watch = {.step = show_progress,
					  .arg = &progress};
	size_t at = 0;
	int err = cargo_begin(s, from, c);

	progress_begin(&progress, "sealing", from->total);
	if (!err)
		err = cargo_write(s, from, part_max, &watch, c, &at);
	progress_end(&progress);
	if (!err)
		return CMD_OK;
	if (c->copy[0])
		unlinkat(s->copies_fd, c->copy, 0);
	return cargo_report(from, at, err);
}

/* The file that a draft's parts have come to is given the next one. */
static int adopt_part(struct cargo *c, size_t *at, const struct item_message *m)
{
	struct manifest *manifest = &c->manifest;
	uint8_t hash[MANIFEST_HASH_LEN];

	while (*at < manifest->entry_count) {
		struct manifest_entry *e = &manifest->entries[*at];
		uint64_t have = sealed_already(e);
		uint64_t len = chunk_backing_len(e->size);

		if (e->type != MANIFEST_FILE || have == len) {
			++*at;
			continue;
		}
		have += m->len;
		if (have > len ||
		    (have < len &&
		     (have < HEADER_LEN ||
		      (have - HEADER_LEN) % CHUNK_TOKEN_LEN ||
		      have > chunk_offset(chunk_last_index(e->size)))) ||
		    hex_decode(m->name, 2 * sizeof hash, hash, sizeof hash))
			return -EBADMSG;
		return add_part(e, m->len, hash);
	}
	return -EBADMSG;
}

/* Does the copy have this part as it was when it was told of? */
static int check_part(int fd, const struct item_message *m, uint8_t *buf)
{
	uint8_t hash[MANIFEST_HASH_LEN], told[MANIFEST_HASH_LEN];
	crypto_generichash_state state;
	int err = 0;

	crypto_generichash_init(&state, NULL, 0, sizeof hash);
	for (uint64_t at = 0; !err && at < m->len; at += READ_LEN) {
		size_t n = m->len - at < READ_LEN ? (size_t)(m->len - at)
						  : READ_LEN;

		err = xio_pread(fd, buf, n, (off_t)(m->offset + at));
		if (!err)
			crypto_generichash_update(&state, buf, n);
	}
	if (err)
		return err == -ENODATA ? -EBADMSG : err;
	crypto_generichash_final(&state, hash, sizeof hash);
	if (hex_decode(m->name, 2 * sizeof told, told, sizeof told) ||
	    memcmp(hash, told, sizeof hash) != 0)
		return -EBADMSG;
	return 0;
}

int cargo_adopt(struct session *s, const struct source *from,
		const struct item *draft, struct cargo *c)
{
	CLEANUP_FREE uint8_t *buf = malloc(READ_LEN);
	CLEANUP_FD int fd = -1;
	uint64_t len = 0;
	size_t at = 0;
	int err = cargo_begin_as(s, from, draft, c);

	if (!err && !buf)
		err = -ENOMEM;
	if (!err)
		err = session_open_copy(s, c->copy, O_RDWR | O_CREAT, &fd);
	for (size_t i = 0; !err && i < draft->message_count; i++) {
		const struct item_message *m = &draft->messages[i];

		err = check_part(fd, m, buf);
		if (!err)
			err = adopt_part(c, &at, m);
		len += m->len;
	}
	/* what is behind the parts is sealed again */
	return !err && ftruncate(fd, (off_t)len) < 0 ? -errno : err;
}
