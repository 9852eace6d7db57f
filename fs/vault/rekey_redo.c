#include "rekey.h"

#include "bytes.h"
#include "fernet_text.h"
#include "vfile_slot.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum {
	RECORD_KIND = 1,
	RECORD_HEAD_LEN = 1 + FILE_ID_LEN + 8 + 2 * HEADER_LEN +
			  REKEY_DIGEST_LEN + 8 + 8 + 2,
	RECORD_MAX = RECORD_HEAD_LEN + REKEY_PATH_MAX,
	TOKEN_MAX = FERNET_TOKEN_LEN(RECORD_MAX),
	TRAILER_LEN = 4,
};

/* For all who may write the vault: they must see what others have left. */
static int open_up(struct vault *vault, int fd)
{
	struct stat st;

	if (fstat(vault->meta_fd, &st) < 0 ||
	    fchmod(fd, st.st_mode & 07777) < 0)
		return -errno;
	return vtree_own(vault, fd);
}

int rekey_open_journal(struct vault *vault, bool make, int *out)
{
	CLEANUP_FD int fd = -1;
	bool made =
		make && mkdirat(vault->meta_fd, REKEY_JOURNAL_DIR, 0700) == 0;
	int err;

	if (make && !made && errno != EEXIST)
		return -errno;
	fd = openat(vault->meta_fd, REKEY_JOURNAL_DIR,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = made ? open_up(vault, fd) : 0;
	/* Its own name must be durable before a record in it counts, and who
	 * made it may have crashed before that. */
	if (!err && make)
		err = xio_sync_dir(vault->meta_fd);
	if (err)
		return err;
	*out = TAKE_FD(fd);
	return 0;
}

int rekey_lock(int fd)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static void record_key(struct vault *vault, struct fernet_key *key)
{
	uint8_t raw[FERNET_KEY_LEN];

	kdf_subkey(vault->keys->master, KDF_JOURNAL, raw, sizeof raw);
	fernet_key_init(key, raw);
	sodium_memzero(raw, sizeof raw);
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t len)
{
	memcpy(p, bytes, len);
	return p + len;
}

static const uint8_t *get(const uint8_t *p, void *bytes, size_t len)
{
	memcpy(bytes, p, len);
	return p + len;
}

static size_t encode(const struct rekey_record *r, uint8_t *plain)
{
	size_t path_len = strlen(r->path);
	uint8_t *p = plain;

	*p++ = RECORD_KIND;
	p = put(p, r->file_id, FILE_ID_LEN);
	be64_store(p, r->size);
	p = put(p + 8, r->old_header, HEADER_LEN);
	p = put(p, r->new_header, HEADER_LEN);
	p = put(p, r->old_digest, REKEY_DIGEST_LEN);
	be64_store(p, (uint64_t)r->mtime.tv_sec);
	be64_store(p + 8, (uint64_t)r->mtime.tv_nsec);
	be16_store(p + 16, (uint16_t)path_len);
	p = put(p + 18, r->path, path_len);
	return (size_t)(p - plain);
}

static int decode(const uint8_t *plain, size_t len, struct rekey_record *r)
{
	const uint8_t *p = plain;
	size_t path_len;

	if (len < RECORD_HEAD_LEN || *p++ != RECORD_KIND)
		return -EBADMSG;
	p = get(p, r->file_id, FILE_ID_LEN);
	r->size = be64_load(p);
	p = get(p + 8, r->old_header, HEADER_LEN);
	p = get(p, r->new_header, HEADER_LEN);
	p = get(p, r->old_digest, REKEY_DIGEST_LEN);
	r->mtime.tv_sec = (time_t)be64_load(p);
	r->mtime.tv_nsec = (long)be64_load(p + 8);
	path_len = be16_load(p + 16);
	if (path_len > REKEY_PATH_MAX || len != RECORD_HEAD_LEN + path_len ||
	    r->size > CHUNK_MAX_PLAIN_LEN)
		return -EBADMSG;
	get(p + 18, r->path, path_len);
	r->path[path_len] = '\0';
	return 0;
}

int rekey_write_record(struct vault *vault, int fd,
		       const struct rekey_record *r)
{
	CLEANUP_SECRET struct fernet_key *key = secret_alloc(sizeof *key);
	uint8_t plain[RECORD_MAX], token[TOKEN_MAX + TRAILER_LEN];
	size_t len = encode(r, plain), token_len = FERNET_TOKEN_LEN(len);
	int err;

	if (!key)
		return -ENOMEM;
	record_key(vault, key);
	err = fernet_seal_one(key, plain, len, token);
	if (err)
		return err;
	be16_store(token + token_len, 0);
	be16_store(token + token_len + 2, (uint16_t)token_len);
	return xio_pwrite(fd, token, token_len + TRAILER_LEN,
			  (off_t)chunk_backing_len(r->size));
}

/* The token in front of the trailer. */
static int read_token(int fd, off_t file_len, uint8_t token[static TOKEN_MAX],
		      size_t *len)
{
	uint8_t trailer[TRAILER_LEN];
	int err;

	if (file_len < TRAILER_LEN)
		return -EBADMSG;
	err = xio_pread(fd, trailer, sizeof trailer, file_len - TRAILER_LEN);
	if (err)
		return err;
	*len = be16_load(trailer + 2);
	if (be16_load(trailer) != 0 || *len > TOKEN_MAX ||
	    (off_t)*len > file_len - TRAILER_LEN)
		return -EBADMSG;
	return xio_pread(fd, token, *len, file_len - TRAILER_LEN - (off_t)*len);
}

int rekey_read_record(struct vault *vault, int fd, struct rekey_record *r)
{
	CLEANUP_SECRET struct fernet_key *key = secret_alloc(sizeof *key);
	uint8_t token[TOKEN_MAX], plain[FERNET_OPEN_ROOM(TOKEN_MAX)];
	struct stat st;
	size_t len, plain_len;
	int err;

	if (!key)
		return -ENOMEM;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	record_key(vault, key);
	err = read_token(fd, st.st_size, token, &len);
	if (!err)
		err = fernet_open_one(key, token, len, plain, &plain_len);
	if (!err)
		err = decode(plain, plain_len, r);
	if (!err && (uint64_t)st.st_size !=
			    chunk_backing_len(r->size) + len + TRAILER_LEN)
		err = -EBADMSG;
	return err == -ENODATA ? -EBADMSG : err;
}

void rekey_digest_begin(crypto_generichash_state *st,
			const uint8_t header[static HEADER_LEN])
{
	crypto_generichash_init(st, NULL, 0, REKEY_DIGEST_LEN);
	crypto_generichash_update(st, header, HEADER_LEN);
}

static bool is_hole(const struct slot *s, const uint8_t *stored)
{
	return !s->last && stored[0] == 0 &&
	       bytes_all_zero(stored, s->stored_len);
}

void rekey_digest_run(crypto_generichash_state *st, const struct workspace *ws,
		      uint64_t first, size_t count, uint64_t size)
{
	for (size_t i = 0; i < count; i++) {
		const uint8_t *stored = ws->tokens + i * CHUNK_TOKEN_LEN;
		struct slot s = slot_of(first + i, size);
		uint8_t index[8];

		if (is_hole(&s, stored))
			continue;
		be64_store(index, s.index);
		crypto_generichash_update(st, index, sizeof index);
		crypto_generichash_update(st, stored, s.stored_len);
	}
}

uint64_t rekey_skip_hole(int fd, uint64_t index, uint64_t last)
{
	off_t data = lseek(fd, (off_t)chunk_offset(index), SEEK_DATA);

	/* Not being able to tell is no reason to fail. */
	if (index > last || data <= (off_t)chunk_offset(index))
		return index;
	index = ((uint64_t)data - CHUNK_AREA_OFFSET) / CHUNK_TOKEN_LEN;
	return index < last ? index : last;
}

int rekey_read_run(int fd, struct workspace *ws, uint64_t first, size_t count,
		   uint64_t size)
{
	struct slot end = slot_of(first + count - 1, size);
	int err = xio_pread(fd, ws->tokens,
			    (count - 1) * CHUNK_TOKEN_LEN + end.stored_len,
			    (off_t)chunk_offset(first));

	return err == -ENODATA ? -EBADMSG : err;
}

int rekey_write_run(int fd, struct workspace *ws, uint64_t first, size_t count,
		    uint64_t size)
{
	size_t begin = 0;

	while (begin < count) {
		size_t end = begin, len = 0;

		for (; end < count; end++) {
			struct slot s = slot_of(first + end, size);

			if (is_hole(&s, ws->tokens + end * CHUNK_TOKEN_LEN))
				break;
			len += s.stored_len;
		}
		if (len > 0) {
			int err = xio_pwrite(
				fd, ws->tokens + begin * CHUNK_TOKEN_LEN, len,
				(off_t)chunk_offset(first + begin));

			if (err)
				return err;
		}
		begin = end + 1;
	}
	return 0;
}

int rekey_digest_file(int fd, struct workspace *ws, uint64_t size,
		      uint8_t digest[static REKEY_DIGEST_LEN])
{
	uint64_t end = chunk_last_index(size) + 1;
	uint8_t header[HEADER_LEN];
	crypto_generichash_state st;
	size_t count;
	int err = xio_pread(fd, header, sizeof header, 0);

	if (err)
		return err;
	rekey_digest_begin(&st, header);
	for (uint64_t i = rekey_skip_hole(fd, 0, end - 1); i < end && !err;
	     i = rekey_skip_hole(fd, i + count, end - 1)) {
		count = rekey_batch(i, end);
		err = rekey_read_run(fd, ws, i, count, size);
		if (!err)
			rekey_digest_run(&st, ws, i, count, size);
	}
	if (!err)
		crypto_generichash_final(&st, digest, REKEY_DIGEST_LEN);
	return err;
}

int rekey_view(struct vault *vault, int fd,
	       const uint8_t header[static HEADER_LEN], uint64_t size,
	       struct vfile **out)
{
	struct vfile *f;
	struct header h;
	int err = vfile_new_(vault, &f);

	if (err)
		return err;
	err = header_parse(header, &vault->keys->file_keys, &h);
	if (err) {
		vfile_close(f);
		return err;
	}
	memcpy(f->header, header, HEADER_LEN);
	memcpy(f->id, h.file_id, FILE_ID_LEN);
	fernet_key_init(f->key, h.file_key);
	sodium_memzero(&h, sizeof h);
	f->size = size;
	f->fd = fd;
	*out = f;
	return 0;
}
