/*
 * Segments of the redo journal, and a file that they are about. The first byte:
 * even: the rest is what follows a segment's head; odd: pieces of 60 bytes and
 * tokens, of which each makes a record with a MAC that is right, as only who
 * has the key could. What is read is within bounds; a recovery ends, leaves no
 * session, and a file that can be read to its end or says that it is damaged.
 */
#include "fuzz_vault.h"

#include "bytes.h"
#include "journal_internal.h"
#include "rekey.h"
#include "vdir.h"
#include "vfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SEGMENT_MAX = 60000,
	RECORDS_MAX = 12,
	CHUNKS_MAX = 40, /* what records speak of */
	FILE_CHUNKS = 3,
	PIECE_LEN = 60,
};

static uint8_t *key;
static int journal_fd;
static uint8_t file[HEADER_LEN + FILE_CHUNKS * CHUNK_LAST_MAX];
static size_t file_len;
static struct header header;
static struct fernet_key file_key;
static char entry[NAME_BACKING_MAX + 1];
static ino_t file_ino;

static size_t seal_chunk(uint64_t index, bool last, size_t len, uint8_t *out)
{
	uint8_t plain[CHUNK_TAG_LEN + CHUNK_SIZE] = {0};

	be64_store(plain, chunk_tag(index, last, false));
	memset(out, 0, CHUNK_LAST_MAX);
	REQUIRE(fernet_seal_one(&file_key, plain, CHUNK_TAG_LEN + len, out) ==
		0);
	return last ? len + CHUNK_LAST_EXTRA : CHUNK_TOKEN_LEN;
}

/* Two chunks and a half. */
static void make_file(void)
{
	struct vault *vault = fuzz_vault();
	struct backing_name name;
	uint8_t dirid[DIRID_LEN];

	REQUIRE(vdir_read_id(vault->root_fd, dirid) == 0);
	REQUIRE(name_encode(vault->names, dirid, "f", 1, &name) == 0);
	memcpy(entry, name.entry, sizeof entry);
	header = (struct header){.file_id = "the fuzzed file",
				 .file_key = {1, 2, 3}};
	memcpy(header.dirid, dirid, sizeof dirid);
	fernet_key_init(&file_key, header.file_key);
	REQUIRE(header_build(&header, &vault->keys->file_keys, file) == 0);
	file_len = HEADER_LEN;
	for (uint64_t i = 0; i < FILE_CHUNKS; i++)
		file_len += seal_chunk(i, i + 1 == FILE_CHUNKS,
				       i + 1 == FILE_CHUNKS ? 2000 : CHUNK_SIZE,
				       file + file_len);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	key = journal_key_(fuzz_vault());
	REQUIRE(key);
	make_file();
	return rekey_open_journal(fuzz_vault(), true, &journal_fd);
}

static uint64_t small(const uint8_t *p)
{
	return be16_load(p) * (uint64_t)64 % (CHUNKS_MAX * CHUNK_SIZE);
}

/* Tokens as the file's owner would seal them. */
static size_t good_tokens(const struct journal_head *h, uint8_t *out)
{
	uint64_t last = chunk_last_index(h->size);
	size_t len = 0;

	for (uint64_t i = h->first; i < h->first + h->count; i++)
		len += seal_chunk(i, i == last,
				  i == last ? chunk_last_len(h->size)
					    : CHUNK_SIZE,
				  out + len);
	return len;
}

static size_t make_records(const struct journal_ids *ids, const uint8_t *data,
			   size_t size, uint8_t *out)
{
	size_t len = JOURNAL_HEAD_LEN;

	for (int i = 0; i < RECORDS_MAX && size >= PIECE_LEN; i++) {
		const uint8_t *piece = data;
		struct journal_head h = {
			.kind = piece[0] & 1 ? 2 + piece[1] % 3 : 1,
			.marked = piece[0] & 2,
			.holes = piece[0] / 4 % 3,
			.ino = piece[0] & 64 ? piece[1] : file_ino,
			.size = small(piece + 2),
			.before = small(piece + 4),
			.floor = small(piece + 6),
			.first = piece[8] % CHUNKS_MAX,
			.count = piece[9] % 4};
		uint8_t *tokens = out + len + JOURNAL_RECORD_HEAD_LEN;
		size_t n = be16_load(piece + 10);

		if (piece[0] & 8)
			h.size = JOURNAL_SIZE_KEPT;
		memcpy(h.file_id, piece[0] & 16 ? piece + 12 : header.file_id,
		       FILE_ID_LEN);
		data += PIECE_LEN;
		size -= PIECE_LEN;
		if (len + JOURNAL_RECORD_HEAD_LEN + 4 * CHUNK_LAST_MAX >
		    SEGMENT_MAX)
			break;
		if (piece[0] & 32 || size == 0) {
			n = h.kind == JOURNAL_KIND_TOKENS
				    ? good_tokens(&h, tokens)
				    : 0;
		} else {
			n = n < size ? n : size;
			n = n < 4 * CHUNK_LAST_MAX ? n : 4 * CHUNK_LAST_MAX;
			memcpy(tokens, data, n);
			data += n;
			size -= n;
		}
		h.len = (uint32_t)n;
		journal_record_build(ids, &h, len, tokens, out + len);
		len += JOURNAL_RECORD_HEAD_LEN + n;
	}
	return len;
}

static void read_all(void)
{
	struct journal_reader *r = NULL;
	struct journal_record rec;
	struct stat st;
	int got;

	REQUIRE(journal_reader_open(fuzz_vault(), &r) == 0);
	while ((got = journal_reader_next(r, &rec)) == 1) {
		REQUIRE(fstat(rec.fd, &st) == 0);
		REQUIRE((uint64_t)rec.offset + rec.len <= (uint64_t)st.st_size);
		REQUIRE(rec.len <= JOURNAL_TOKENS_MAX);
	}
	REQUIRE(got == 0);
	journal_reader_close(r);
}

static void read_file(void)
{
	static struct iovec iov[WORKSPACE_CHUNKS];
	struct vfile *f = NULL;
	uint64_t bad = VFILE_NO_CHUNK;
	int count, fd = openat(fuzz_vault()->root_fd, entry, O_RDONLY);
	ssize_t n = 1;

	REQUIRE(fd >= 0);
	if (vfile_open(fuzz_vault(), fd, false, &f) != 0) {
		close(fd);
		return;
	}
	for (uint64_t at = 0; n > 0; at += (uint64_t)n)
		n = vfile_read(f, workspace_get(), at, VFILE_IO_MAX, iov,
			       &count, &bad);
	REQUIRE(n == 0 || n == -EBADMSG);
	vfile_close(f);
}

/* What has no place to go to would be tried for ever. */
static void forget(void *arg, const char *name, bool finished)
{
	char segment[64];

	(void)arg;
	REQUIRE(finished == (unlinkat(journal_fd, name, 0) < 0));
	for (int n = 0; n < JOURNAL_SEGMENT_NAMES; n++) {
		snprintf(segment, sizeof segment, "%.32s.%d%s", name, n,
			 JOURNAL_KEPT_SUFFIX);
		(void)!unlinkat(journal_fd, segment, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t made[SEGMENT_MAX];
	struct journal_recovery r = {.wholly = true,
				     .doubtful = size > 0 && data[0] & 2};
	struct journal_session s;
	struct journal_ids ids = {.number = 1, .key = key};
	char name[JOURNAL_NAME_LEN + 1];
	struct stat st;

	if (size == 0)
		return 0;
	fuzz_put(fuzz_vault()->root_fd, entry, file, file_len);
	REQUIRE(fstatat(fuzz_vault()->root_fd, entry, &st, 0) == 0);
	file_ino = st.st_ino;
	REQUIRE(journal_session_init_(journal_fd, &s) == 0);
	REQUIRE(journal_session_write_(fuzz_vault(), journal_fd, &s) == 0);
	memcpy(ids.vault_id, fuzz_vault()->id, VAULT_ID_LEN);
	memcpy(ids.session, s.id, JOURNAL_ID_LEN);
	journal_segment_name_(s.id, 0, name);
	journal_head_build(&ids, made);
	if (data[0] & 1) {
		size = make_records(&ids, data + 1, size - 1, made);
		fuzz_put(journal_fd, name, made, size);
	} else {
		size_t rest = size - 1;

		if (rest > SEGMENT_MAX - JOURNAL_HEAD_LEN)
			rest = SEGMENT_MAX - JOURNAL_HEAD_LEN;
		memcpy(made + JOURNAL_HEAD_LEN, data + 1, rest);
		fuzz_put(journal_fd, name, made, JOURNAL_HEAD_LEN + rest);
	}
	read_all();
	fuzz_vault()->exclusive = true;
	REQUIRE(journal_recover(fuzz_vault(), &r) == 0);
	REQUIRE(r.crashed);
	REQUIRE(fstatat(journal_fd, JOURNAL_SESSION_FILE, &st, 0) < 0);
	read_file();
	/* what is kept is read once more */
	REQUIRE(journal_retry(fuzz_vault(), &r, forget) == 0);
	read_file();
	return 0;
}
