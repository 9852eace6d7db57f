#include "rekey.h"

#include "bytes.h"
#include "log.h"
#include "vfile_slot.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* One re-keying under way. The whole file is the caller's alone. */
struct rekey {
	struct vfile *f;
	struct vfile *redo; /* the contents under the new key */
	struct workspace *ws;
	int journal_fd;
	char name[64]; /* of the redo file; "": there is none */
	struct rekey_record *record;
};

/* Where to put what has another key now. */
struct target {
	int fd;
	const struct fernet_key *key;
};

/* Seal chunks of ws->chunk, save for holes, and write them to their place. */
static int store_resealed(const struct vfile *from, struct workspace *ws,
			  const struct target *to, uint64_t first, size_t count)
{
	const struct fernet_open_job *opened = ws->open;
	size_t begin = 0;

	while (begin < count) {
		size_t end = begin, stored_len;
		bool last = false;
		int err;

		for (; end < count && ws->chunk[end] != workspace_zeros;
		     end++) {
			struct slot s = slot_of(first + end, from->size);

			last = s.last;
			/* and its claim */
			workspace_stage(ws, end - begin,
					chunk_tag(s.index, last, from->holes),
					ws->chunk[end],
					opened++->plaintext_len -
						CHUNK_TAG_LEN);
		}
		if (end > begin) {
			ws->seal_s = vault_now(from->vault);
			err = workspace_seal(ws, to->key, end - begin, last,
					     &stored_len);
			if (!err)
				err = xio_pwrite(
					to->fd, ws->tokens, stored_len,
					(off_t)chunk_offset(first + begin));
			if (err)
				return err;
		}
		begin = end + 1;
	}
	return 0;
}

/* Seal the chunks in front of end under another key. */
static int reseal(struct vfile *from, struct workspace *ws,
		  const struct target *to, uint64_t end,
		  crypto_generichash_state *seen)
{
	uint64_t bad = VFILE_NO_CHUNK;
	enum chunk_holes holes;
	size_t count;
	int err = vfile_load_holes_(from, ws, &holes);

	for (uint64_t i = 0; i < end && !err; i += count) {
		/* Where none may be, a hole is damage. */
		if (holes)
			i = rekey_skip_hole(from->fd, i,
					    chunk_last_index(from->size));
		if (i >= end)
			break;
		count = rekey_batch(i, end);
		err = vfile_open_whole_run_(from, ws, i, count, from->size,
					    &bad);
		if (!err && seen)
			rekey_digest_run(seen, ws, i, count, from->size);
		if (!err)
			err = store_resealed(from, ws, to, i, count);
	}
	return err;
}

/* An empty redo file that nobody takes for a dead one's. */
static int create_redo(struct rekey *k, int *out)
{
	for (;;) {
		CLEANUP_FD int fd = -1;
		struct stat st;
		int err;

		xio_temp_name("", k->name, sizeof k->name - 8);
		strcat(k->name, REKEY_SUFFIX);
		fd = openat(k->journal_fd, k->name,
			    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0) {
			err = -errno;
			k->name[0] = '\0';
			return err;
		}
		err = vtree_own(k->f->vault, fd);
		if (!err)
			err = rekey_lock(fd);
		if (!err && fstat(fd, &st) < 0)
			err = -errno;
		/* In between, another mount may have tidied it away. */
		if (err == -EAGAIN || (!err && st.st_nlink == 0))
			continue;
		if (!err)
			*out = TAKE_FD(fd);
		return err;
	}
}

static int describe(struct rekey *k, const char *path)
{
	struct rekey_record *r = k->record;
	struct vfile *f = k->f;
	struct header h;
	uint64_t size, now = vault_now(f->vault);
	struct stat st;
	int err = 0;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	/* A file that was cut is not to be made whole. */
	if (chunk_plain_len((uint64_t)st.st_size, &size) || size != f->size)
		return -EBADMSG;
	err = header_parse(f->header, &f->vault->keys->file_keys, &h);
	if (err)
		return err;
	randombytes_buf(h.file_key, sizeof h.file_key);
	/* Whoever knows when it was born must not find it older, where the
	 * clock has gone back since. */
	if (h.sealed_s < now)
		h.sealed_s = now;
	err = header_build(&h, &f->vault->keys->file_keys, r->new_header);
	sodium_memzero(&h, sizeof h);
	memcpy(r->file_id, f->id, sizeof r->file_id);
	memcpy(r->old_header, f->header, HEADER_LEN);
	r->size = size;
	r->mtime = st.st_mtim;
	if (strlen(path) <= REKEY_PATH_MAX)
		strcpy(r->path, path);
	return err;
}

/* Everything under the new key, and durable, in the journal. */
static int write_redo(struct rekey *k)
{
	struct rekey_record *r = k->record;
	crypto_generichash_state st;
	CLEANUP_FD int fd = -1;
	struct target to;
	int err = create_redo(k, &fd);

	if (!err)
		err = rekey_view(k->f->vault, fd, r->new_header, r->size,
				 &k->redo);
	if (err)
		return err;
	to = (struct target){.fd = TAKE_FD(fd), .key = k->redo->key};
	err = xio_pwrite(to.fd, r->new_header, HEADER_LEN, 0);
	if (err)
		return err;
	rekey_digest_begin(&st, r->old_header);
	err = reseal(k->f, k->ws, &to, chunk_last_index(r->size) + 1, &st);
	if (err)
		return err;
	crypto_generichash_final(&st, r->old_digest, sizeof r->old_digest);
	/* The record says that all before it is whole, also after a crash. */
	if (fsync(to.fd) < 0)
		return -errno;
	err = rekey_write_record(k->f->vault, to.fd, r);
	if (!err && (fsync(to.fd) < 0 || fsync(k->journal_fd) < 0))
		err = -errno;
	return err;
}

static int restore_time(const struct rekey *k)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
					  k->record->mtime};

	return futimens(k->f->fd, times) < 0 || fsync(k->f->fd) < 0 ? -errno
								    : 0;
}

static int write_header(const struct rekey *k, const uint8_t *header)
{
	int err = xio_pwrite(k->f->fd, header, HEADER_LEN, 0);

	if (!err && fsync(k->f->fd) < 0)
		err = -errno;
	return err;
}

/*
 * Put the new contents in place of the old: first the header, and durable,
 * since an old header promises old chunks. *begun: how many of these may be
 * new.
 */
static int replace(struct rekey *k, uint64_t *begun)
{
	uint64_t end = chunk_last_index(k->record->size) + 1;
	size_t count;
	int err = write_header(k, k->record->new_header);

	for (uint64_t i = rekey_skip_hole(k->redo->fd, 0, end - 1);
	     i < end && !err;
	     i = rekey_skip_hole(k->redo->fd, i + count, end - 1)) {
		count = rekey_batch(i, end);
		err = rekey_read_run(k->redo->fd, k->ws, i, count,
				     k->record->size);
		if (err)
			return err;
		*begun = i + count;
		err = rekey_write_run(k->f->fd, k->ws, i, count,
				      k->record->size);
	}
	return err ? err : restore_time(k);
}

/* Back to the old key. As long as the header is not old, neither is the file */
static int undo(struct rekey *k, uint64_t begun)
{
	const struct target to = {.fd = k->f->fd, .key = k->f->key};
	int err = 0;

	if (begun > 0) {
		err = reseal(k->redo, k->ws, &to, begun, NULL);
		if (!err && fsync(k->f->fd) < 0)
			err = -errno;
	}
	if (!err)
		err = write_header(k, k->record->old_header);
	return err ? err : restore_time(k);
}

static void drop_redo(struct rekey *k)
{
	if (k->name[0] && (unlinkat(k->journal_fd, k->name, 0) < 0 ||
			   fsync(k->journal_fd) < 0))
		log_warning("journal/%s stays behind: %s", k->name,
			    strerror(errno));
}

/* The file has the redo file's key from now on. */
static void adopt_key(struct rekey *k)
{
	struct fernet_key *key = k->f->key;

	pthread_rwlock_wrlock(&k->f->key_lock);
	k->f->key = k->redo->key;
	k->f->key_number++;
	pthread_rwlock_unlock(&k->f->key_lock);
	k->redo->key = key;
	memcpy(k->f->header, k->record->new_header, HEADER_LEN);
}

static int rekey_locked(struct rekey *k, const char *path)
{
	uint8_t header[HEADER_LEN];
	uint64_t begun = 0, now = vault_now(k->f->vault);
	int err = describe(k, path);

	if (!err)
		err = rekey_open_journal(k->f->vault, true, &k->journal_fd);
	if (!err)
		err = write_redo(k);
	if (err) {
		drop_redo(k);
		return err;
	}
	err = replace(k, &begun);
	if (!err) {
		adopt_key(k);
		memory_file_stored(k->f->memory, 0, AGES_END, now);
		drop_redo(k);
		return 0;
	}
	if (undo(k, begun) == 0) {
		drop_redo(k);
		return err;
	}
	log_error("giving a file a new key failed half-way (%s), and so did "
		  "going back; the next mount goes on from journal/%s",
		  strerror(-err), k->name);
	if (xio_pread(k->f->fd, header, sizeof header, 0) == 0 &&
	    memcmp(header, k->record->new_header, sizeof header) == 0)
		adopt_key(k);
	return err;
}

/* No record of the file may be left that needs the old key. Others that cannot
 * be written do not matter. */
static int clear_journal(struct vfile *f)
{
	const struct journal_file *jf;
	int err = 0;

	if (f->journal)
		err = journal_retire_(f->journal, true, true, NULL);
	jf = f->jf;
	return !err && jf ? jf->failing : err;
}

int vfile_rekey(struct vfile *f, struct workspace *ws, const char *backing_path)
{
	struct rekey k = {.f = f, .ws = ws, .journal_fd = -1};
	struct range r;
	int err;

	if (!f->writable || f->granted)
		return -EBADF;
	k.record = calloc(1, sizeof *k.record);
	if (!k.record)
		return -ENOMEM;
	err = vfile_begin_(f, &r, 0, RANGE_END, true);
	if (!err) {
		err = vfile_settle_locked_(f, ws);
		if (!err)
			err = clear_journal(f);
		if (!err)
			err = rekey_locked(&k, backing_path);
		f->made = false;
		vfile_end_(f, &r);
	}
	vfile_close(k.redo);
	if (k.journal_fd >= 0)
		close(k.journal_fd);
	free(k.record);
	return err;
}
