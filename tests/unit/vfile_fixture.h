/* Regular files of a fresh vault, for the tests of fs/vault/vfile*.c. */
#ifndef FROND_VFILE_FIXTURE_H
#define FROND_VFILE_FIXTURE_H

#include "vault_fixture.h"

#include "bytes.h"
#include "vfile.h"
#include "xio.h"

#include <time.h>

/*
 * Call first in main(): the backend is FRONDFS_CRYPTO's, where that is set.
 * 0, 77 where this machine lacks it, 1 on failure.
 */
static inline int vf_init(void)
{
	int err = sodium_init() < 0 ? -EIO
				    : fernet_init(getenv("FRONDFS_CRYPTO"));

	return err == -ENOENT || err == -ENOTSUP ? 77 : err ? 1 : 0;
}

static inline uint64_t vf_seed(void)
{
	const char *text = getenv("FROND_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 10) : 0;

	if (!text)
		randombytes_buf(&seed, sizeof seed);
	print_message("FROND_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

/* SplitMix64: reproducible, one state per thread. */
static inline uint64_t vf_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline void vf_random_bytes(uint64_t *state, uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(vf_random(state) >> 32 | 1); /* never zero */
}

static inline struct workspace *vf_ws(void)
{
	struct workspace *ws = workspace_get();

	assert_non_null(ws);
	return ws;
}

static inline struct vfile *vf_create(struct fixture *fx, const char *plain)
{
	struct backing_name name = fx_name(fx, fx->root_id, plain);
	struct vfile *f = NULL;

	assert_int_equal(vfile_create(fx->vault, fx->vault->root_fd,
				      fx->root_id, &name, 0644, &f),
			 0);
	return f;
}

static inline int vf_backing_fd(struct fixture *fx, const char *plain)
{
	struct backing_name name = fx_name(fx, fx->root_id, plain);
	int fd = openat(fx->vault->root_fd, name.entry, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static inline struct vfile *vf_open(struct fixture *fx, struct vault *vault,
				    const char *plain)
{
	struct vfile *f = NULL;

	assert_int_equal(vfile_open(vault, vf_backing_fd(fx, plain), true, &f),
			 0);
	return f;
}

static inline int vf_put(struct vfile *f, const void *data, size_t len,
			 uint64_t offset)
{
	const struct vfile_write w = {
		.data = data, .len = len, .offset = offset};
	uint64_t bad = 0;
	int err = vfile_write(f, vf_ws(), &w, &bad);

	if (err != -EBADMSG && err != -ETIME)
		assert_true(bad == VFILE_NO_CHUNK);
	return err;
}

/* Read into buf; the answer of vfile_read(). bad may be NULL. */
static inline ssize_t vf_get(struct vfile *f, uint8_t *buf, size_t len,
			     uint64_t offset, uint64_t *bad)
{
	static _Thread_local struct iovec iov[WORKSPACE_CHUNKS];
	uint64_t chunk = 0;
	size_t got = 0;
	int count = -1;
	ssize_t n = vfile_read(f, vf_ws(), offset, len, iov, &count, &chunk);

	if (bad)
		*bad = chunk;
	if (n < 0)
		return n;
	assert_true(count >= 0 && count <= WORKSPACE_CHUNKS);
	for (int i = 0; i < count; i++) {
		memcpy(buf + got, iov[i].iov_base, iov[i].iov_len);
		got += iov[i].iov_len;
	}
	assert_int_equal(got, n);
	return n;
}

static inline int vf_truncate(struct vfile *f, uint64_t size)
{
	uint64_t bad = 0;
	int err = vfile_truncate(f, vf_ws(), size, &bad);

	if (err != -EBADMSG && err != -ETIME)
		assert_true(bad == VFILE_NO_CHUNK);
	return err;
}

static inline int vf_allocate(struct vfile *f, int mode, uint64_t offset,
			      uint64_t len)
{
	uint64_t bad = 0;

	return vfile_allocate(f, vf_ws(), mode, offset, len, &bad);
}

/* The file must hold exactly these bytes. */
static inline void vf_expect(struct vfile *f, const uint8_t *bytes, size_t len)
{
	uint8_t *buf = malloc(VFILE_IO_MAX);
	size_t at = 0;

	assert_non_null(buf);
	assert_int_equal(vfile_size(f), len);
	while (at < len) {
		ssize_t n = vf_get(f, buf, VFILE_IO_MAX, at, NULL);

		assert_true(n > 0 && (size_t)n <= len - at);
		assert_memory_equal(buf, bytes + at, (size_t)n);
		at += (size_t)n;
	}
	assert_int_equal(vf_get(f, buf, 1, len, NULL), 0);
	free(buf);
}

/* The holes marks as they lie on disk, found without vfile's help. */
static inline enum chunk_holes vf_mark_on_disk(struct fixture *fx, int fd)
{
	uint8_t head[HEADER_LEN], stored[CHUNK_LAST_MAX];
	_Alignas(64) uint8_t plain[FERNET_OPEN_ROOM(CHUNK_TOKEN_LEN)];
	struct header h;
	struct fernet_key key;
	struct fernet_open_job job = {.token = stored, .plaintext = plain};
	struct stat st;
	uint64_t size = 0, last;
	enum chunk_holes holes = CHUNK_HOLES_NONE;

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(chunk_plain_len((uint64_t)st.st_size, &size), 0);
	last = chunk_last_index(size);
	assert_int_equal(xio_pread(fd, head, sizeof head, 0), 0);
	assert_int_equal(header_parse(head, &fx->vault->keys->file_keys, &h),
			 0);
	fernet_key_init(&key, h.file_key);
	assert_int_equal(xio_pread(fd, stored,
				   chunk_last_len(size) + CHUNK_LAST_EXTRA,
				   (off_t)chunk_offset(last)),
			 0);
	job.token_len = FERNET_TOKEN_LEN(CHUNK_TAG_LEN + chunk_last_len(size));
	assert_int_equal(fernet_open(vf_ws()->fernet, &key, &job, 1), 0);
	assert_int_equal(job.plaintext_len,
			 CHUNK_TAG_LEN + chunk_last_len(size));
	assert_int_equal(chunk_tag_check(be64_load(plain), last, true, &holes),
			 0);
	return holes;
}

#endif
