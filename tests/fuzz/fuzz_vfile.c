/*
 * A backing file: whatever lies there can be opened, read, written and cut,
 * and what was written is read.
 *
 * The first byte: even: the rest is the body behind a good header, or with 2
 * the whole file. Odd: the rest are pieces of two bytes, of which each makes
 * a slot as somebody with the key might make it: the second byte is the length
 * of the plaintext in sixteenths, the first says
 *
 *   bits 0 to 2  last, holes, another bit of the tag
 *   bit 3        the index is one too high
 *   bit 4        a hole instead
 *   bit 5        one bit of the token is flipped
 *   bit 6        one byte is missing, bit 7: one too many
 */
#include "fuzz_vault.h"

#include "bytes.h"
#include "fernet_text.h"
#include "vfile.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS_MAX = 24, ROOM = HEADER_LEN + SLOTS_MAX * (CHUNK_LAST_MAX + 1) };

static uint8_t header[HEADER_LEN];
static struct fernet_key file_key;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct header h = {.file_id = "the fuzzed file", .file_key = {1, 2, 3}};

	struct vault *vault = fuzz_vault();

	(void)argc;
	(void)argv;
	fernet_key_init(&file_key, h.file_key);
	return header_build(&h, &vault->keys->file_keys, header);
}

static size_t make_slot(const uint8_t what[2], uint64_t index, uint8_t *out)
{
	uint8_t plain[CHUNK_TAG_LEN + CHUNK_SIZE] = {0};
	size_t n = what[1] == 255 ? CHUNK_SIZE : what[1] * (size_t)16;
	size_t len = FERNET_TOKEN_LEN(CHUNK_TAG_LEN + n);
	uint64_t tag = index + (what[0] >> 3 & 1);

	memset(out, 0, CHUNK_TOKEN_LEN);
	if (what[0] & 1 << 4)
		return CHUNK_TOKEN_LEN;
	tag |= (uint64_t)(what[0] & 1) << 63 | (uint64_t)(what[0] & 2) << 61 |
	       (uint64_t)(what[0] & 4) << 58;
	be64_store(plain, tag);
	memset(plain + CHUNK_TAG_LEN, what[1], n);
	REQUIRE(fernet_seal_one(&file_key, plain, CHUNK_TAG_LEN + n, out) == 0);
	if (what[0] & 1 << 5)
		out[len / 2] ^= 1;
	if (what[0] & 1)
		len = n + CHUNK_LAST_EXTRA;
	return len - (what[0] >> 6 & 1) + (what[0] >> 7);
}

static size_t make_file(const uint8_t *data, size_t size, uint8_t *out)
{
	size_t len = HEADER_LEN;

	memcpy(out, header, HEADER_LEN);
	for (size_t i = 0; i < SLOTS_MAX && 2 * i + 1 < size; i++)
		len += make_slot(data + 2 * i, i, out + len);
	return len;
}

/* Reads are within the file; what cannot be read names a chunk of it. */
static bool read_all(struct vfile *f, struct workspace *ws)
{
	struct iovec iov[WORKSPACE_CHUNKS];
	uint64_t at = 0, bad = VFILE_NO_CHUNK;
	ssize_t n;
	int count = 0;

	while ((n = vfile_read(f, ws, at, VFILE_IO_MAX, iov, &count, &bad)) > 0)
		at += (uint64_t)n;
	REQUIRE(at <= vfile_size(f));
	REQUIRE(n == 0 || n == -EBADMSG);
	if (n < 0)
		REQUIRE(bad != VFILE_NO_CHUNK &&
			bad <= vfile_size(f) / CHUNK_SIZE);
	else
		REQUIRE(at == vfile_size(f));
	return n == 0;
}

static void write_and_read(struct vfile *f, struct workspace *ws,
			   uint64_t offset, uint8_t byte)
{
	struct iovec iov[WORKSPACE_CHUNKS];
	uint8_t data[5000];
	struct vfile_write w = {data, sizeof data, offset, false};
	uint64_t bad = VFILE_NO_CHUNK;
	size_t seen = 0;
	int count = 0;

	memset(data, byte, sizeof data);
	if (vfile_write(f, ws, &w, &bad))
		return;
	REQUIRE(vfile_size(f) >= offset + sizeof data);
	REQUIRE(vfile_read(f, ws, offset, sizeof data, iov, &count, &bad) ==
		sizeof data);
	for (int i = 0; i < count; i++) {
		REQUIRE(memcmp(iov[i].iov_base, data, iov[i].iov_len) == 0);
		seen += iov[i].iov_len;
	}
	REQUIRE(seen == sizeof data);
}

static void use(struct vfile *f, uint64_t offset, uint8_t how)
{
	struct workspace *ws = workspace_get();
	uint64_t bad = VFILE_NO_CHUNK, found;

	REQUIRE(ws);
	bool whole = read_all(f, ws);

	if (vfile_seek(f, ws, 0, how % 2 ? SEEK_DATA : SEEK_HOLE, &found) == 0)
		REQUIRE(found <= vfile_size(f));
	write_and_read(f, ws, offset, how);
	if (vfile_truncate(f, ws, offset / 2, &bad) == 0) {
		REQUIRE(vfile_size(f) == offset / 2);
		/* damage is never mended by what it has nothing to do with */
		REQUIRE(read_all(f, ws) || !whole);
	}
	(void)!vfile_allocate(f, ws, how % 4 == 1 ? 3 : 0, offset / 3, 9000,
			      &bad);
	(void)read_all(f, ws);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t bytes[ROOM];
	struct vfile *f = NULL;
	size_t len;
	int fd, err;

	if (size < 4)
		return 0;
	if (data[0] & 1) {
		len = make_file(data + 4, size - 4, bytes);
	} else {
		size_t keep = data[0] & 2 ? 0 : HEADER_LEN;

		memcpy(bytes, header, keep);
		len = size - 4 < ROOM - keep ? size - 4 : ROOM - keep;
		memcpy(bytes + keep, data + 4, len);
		len += keep;
	}
	fd = fuzz_file(bytes, len);
	err = vfile_open(fuzz_vault(), fd, true, &f);
	if (err) {
		REQUIRE(err == -EBADMSG || err == -ENOKEY);
		close(fd);
		return 0;
	}
	use(f, (uint64_t)data[1] * 600 + data[2], data[3]);
	vfile_close(f);
	return 0;
}
