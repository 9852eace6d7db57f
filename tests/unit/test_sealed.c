/* Sealed copies: what goes out, what is taken in, and files of which only the
 * length is known yet. */
#include "vfile_fixture.h"

#include "sealed.h"

enum { BATCH = VFILE_IO_MAX };

/* Bytes in memory, read or written front to back. */
struct tape {
	uint8_t *bytes;
	size_t len, at;
};

static int tape_read(void *arg, void *buf, size_t len)
{
	struct tape *t = arg;

	if (len > t->len - t->at)
		return -ENODATA;
	memcpy(buf, t->bytes + t->at, len);
	t->at += len;
	return 0;
}

static int tape_write(void *arg, const void *buf, size_t len)
{
	struct tape *t = arg;

	if (len > t->len - t->at)
		return -ENOSPC;
	memcpy(t->bytes + t->at, buf, len);
	t->at += len;
	return 0;
}

static const uint8_t id[FILE_ID_LEN] = "a sealed copy's";
static const uint8_t key[FERNET_KEY_LEN] = "a key that is not any vault's..";

/* The sealed copy of len bytes; malloced. */
static struct tape seal(const uint8_t *plain, size_t len)
{
	struct tape in = {(uint8_t *)(uintptr_t)plain, len, 0};
	struct tape out = {.len = chunk_backing_len(len)};
	const struct sealed_source from = {tape_read, &in};
	const struct sealed_sink to = {tape_write, &out};

	out.bytes = malloc(out.len);
	assert_non_null(out.bytes);
	assert_int_equal(sealed_write(id, key, len, &from, &to, NULL), 0);
	assert_int_equal(in.at, len);
	assert_int_equal(out.at, out.len);
	out.at = 0;
	return out;
}

static int import_as(struct fixture *fx, struct tape *sealed, size_t size,
		     const uint8_t *with_id, const uint8_t *with_key,
		     struct vfile **out)
{
	static unsigned serial;
	const struct sealed_source from = {tape_read, sealed};
	char plain[32];
	int err;

	snprintf(plain, sizeof plain, "import %u", serial++);
	*out = vf_create(fx, plain);
	sealed->at = 0;
	err = sealed_import(with_id, with_key, size, &from, *out, NULL);
	if (err) {
		struct backing_name name = fx_name(fx, fx->root_id, plain);

		assert_int_equal(unlinkat(fx->vault->root_fd, name.entry, 0),
				 0);
		vfile_close(*out);
		*out = NULL;
	}
	return err;
}

static void expect_refused(struct fixture *fx, struct tape *sealed, size_t size,
			   int error)
{
	struct vfile *f;

	assert_int_equal(import_as(fx, sealed, size, id, key, &f), error);
}

static void test_sealed__every_size_comes_through(void **state)
{
	struct fixture *fx = *state;
	const size_t sizes[] = {0,
				1,
				7,
				8,
				9,
				CHUNK_SIZE - 1,
				CHUNK_SIZE,
				CHUNK_SIZE + 1,
				3 * CHUNK_SIZE + 15,
				BATCH - 1,
				BATCH,
				BATCH + 1,
				BATCH + CHUNK_SIZE,
				2 * BATCH,
				2 * BATCH + 5 * CHUNK_SIZE + 5};
	uint8_t *plain = malloc(3 * BATCH);
	uint64_t rng = vf_seed();

	assert_non_null(plain);
	vf_random_bytes(&rng, plain, 3 * BATCH);
	memset(plain + CHUNK_SIZE, 0, CHUNK_SIZE); /* zeros are data, too */
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct tape sealed = seal(plain, sizes[i]);
		struct vfile *f, *again;
		char path[64];
		int fd;

		assert_int_equal(import_as(fx, &sealed, sizes[i], id, key, &f),
				 0);
		vf_expect(f, plain, sizes[i]);
		snprintf(path, sizeof path, "/proc/self/fd/%d", vfile_fd(f));
		fd = open(path, O_RDWR | O_CLOEXEC);
		assert_int_equal(vfile_open(fx->vault, fd, true, &again), 0);
		assert_memory_not_equal(vfile_id(again), id, sizeof id);
		vf_expect(again, plain, sizes[i]);
		/* An ordinary file from then on. */
		assert_int_equal(vf_put(again, "tail", 4, sizes[i]), 0);
		assert_int_equal(vfile_size(again), sizes[i] + 4);
		vfile_close(again);
		vfile_close(f);
		free(sealed.bytes);
	}
	free(plain);
}

static void test_sealed__every_changed_byte_is_refused(void **state)
{
	struct fixture *fx = *state;
	enum { LEN = 2 * CHUNK_SIZE + 100 };
	uint8_t plain[LEN];
	struct tape sealed;
	uint64_t rng = vf_seed();

	vf_random_bytes(&rng, plain, LEN);
	sealed = seal(plain, LEN);
	for (size_t i = 0; i < sealed.len;
	     i += i < HEADER_LEN || sealed.len - i < 300 ? 1 : 61) {
		sealed.bytes[i] ^= (uint8_t)(1 << i % 8);
		expect_refused(fx, &sealed, LEN, -EBADMSG);
		sealed.bytes[i] ^= (uint8_t)(1 << i % 8);
	}
	free(sealed.bytes);
}

static void test_sealed__moved_chunks_and_other_ends_are_refused(void **state)
{
	struct fixture *fx = *state;
	enum { CHUNKS = 5, LEN = CHUNKS * CHUNK_SIZE };
	static uint8_t plain[LEN];
	uint8_t token[CHUNK_TOKEN_LEN];
	struct tape sealed, shorter;
	uint8_t *a, *b;
	uint64_t rng = vf_seed();

	vf_random_bytes(&rng, plain, LEN);
	sealed = seal(plain, LEN);
	a = sealed.bytes + chunk_offset(1);
	b = sealed.bytes + chunk_offset(2);
	memcpy(token, a, sizeof token);
	memcpy(a, b, sizeof token); /* doubled */
	expect_refused(fx, &sealed, LEN, -EBADMSG);
	memcpy(b, token, sizeof token); /* swapped */
	expect_refused(fx, &sealed, LEN, -EBADMSG);
	memcpy(b, a, sizeof token);
	memcpy(a, token, sizeof token);
	memset(b, 0, sizeof token); /* a hole */
	expect_refused(fx, &sealed, LEN, -EBADMSG);
	free(sealed.bytes);

	/* Sizes that the copy does not have. */
	sealed = seal(plain, LEN);
	for (size_t size = 0; size <= LEN + CHUNK_SIZE; size += CHUNK_SIZE / 2)
		if (size != LEN)
			expect_refused(fx, &sealed, size,
				       size < LEN ? -EBADMSG : -ENODATA);
	expect_refused(fx, &sealed, LEN - 1, -EBADMSG);
	/* Cut at a chunk's end, the length told accordingly. */
	shorter = (struct tape){sealed.bytes, sealed.len, 0};
	shorter.len = chunk_backing_len(LEN - CHUNK_SIZE);
	memset(sealed.bytes + chunk_offset(CHUNKS - 1), 0,
	       shorter.len - chunk_offset(CHUNKS - 1));
	expect_refused(fx, &shorter, LEN - CHUNK_SIZE, -EBADMSG);
	expect_refused(fx, &shorter, LEN, -ENODATA);
	free(sealed.bytes);
}

static void test_sealed__another_key_or_id_is_refused(void **state)
{
	struct fixture *fx = *state;
	struct tape sealed = seal((const uint8_t *)"fern", 4);
	uint8_t other[FERNET_KEY_LEN] = {1};
	struct vfile *f;

	assert_int_equal(import_as(fx, &sealed, 4, id, other, &f), -EBADMSG);
	assert_int_equal(import_as(fx, &sealed, 4, other, key, &f), -EBADMSG);
	assert_int_equal(import_as(fx, &sealed, 4, id, key, &f), 0);
	vf_expect(f, (const uint8_t *)"fern", 4);
	vfile_close(f);
	/* Only into an empty file. */
	f = vf_create(fx, "full");
	assert_int_equal(vf_put(f, "x", 1, 0), 0);
	sealed.at = 0;
	assert_int_equal(
		sealed_import(id, key, 4,
			      &(struct sealed_source){tape_read, &sealed}, f,
			      NULL),
		-EINVAL);
	vf_expect(f, (const uint8_t *)"x", 1);
	vfile_close(f);
	free(sealed.bytes);
}

struct stopper {
	uint64_t at, seen;
};

static int stop_at(void *arg, uint64_t done)
{
	struct stopper *s = arg;

	assert_true(done >= s->seen);
	s->seen = done;
	return done >= s->at ? -EINTR : 0;
}

static void test_sealed__progress_counts_up_and_can_stop(void **state)
{
	struct fixture *fx = *state;
	enum { LEN = 2 * BATCH + 3 };
	uint8_t *plain = calloc(1, LEN);
	struct tape sealed = seal(plain, LEN), in = {plain, LEN, 0};
	struct tape out = {malloc(sealed.len), sealed.len, 0};
	struct stopper s = {.at = LEN + 1};
	const struct sealed_progress progress = {stop_at, &s};
	struct vfile *f = vf_create(fx, "progress");

	assert_int_equal(sealed_write(id, key, LEN,
				      &(struct sealed_source){tape_read, &in},
				      &(struct sealed_sink){tape_write, &out},
				      &progress),
			 0);
	assert_int_equal(s.seen, LEN);
	s = (struct stopper){.at = BATCH};
	assert_int_equal(
		sealed_import(id, key, LEN,
			      &(struct sealed_source){tape_read, &sealed}, f,
			      &progress),
		-EINTR);
	assert_int_equal(s.seen, BATCH);
	vfile_close(f);
	/* A source and a sink that end early say so. */
	in = (struct tape){plain, LEN - 1, 0};
	out.at = 0;
	assert_int_equal(sealed_write(id, key, LEN,
				      &(struct sealed_source){tape_read, &in},
				      &(struct sealed_sink){tape_write, &out},
				      NULL),
			 -ENODATA);
	in = (struct tape){plain, LEN, 0};
	out = (struct tape){out.bytes, sealed.len - 1, 0};
	assert_int_equal(sealed_write(id, key, LEN,
				      &(struct sealed_source){tape_read, &in},
				      &(struct sealed_sink){tape_write, &out},
				      NULL),
			 -ENOSPC);
	free(out.bytes);
	free(sealed.bytes);
	free(plain);
}

static void test_sealed__can_be_gone_on_with_at_any_chunk(void **state)
{
	struct fixture *fx = *state;
	enum { LEN = BATCH + 5 * CHUNK_SIZE + 5 };
	const uint64_t last = chunk_last_index(LEN);
	const uint64_t places[] = {0, 1, 5, BATCH / CHUNK_SIZE, last - 1, last};
	uint8_t *plain = malloc(LEN);
	uint64_t rng = vf_seed();

	assert_non_null(plain);
	vf_random_bytes(&rng, plain, LEN);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct tape sealed = seal(plain, LEN);
		struct tape in = {plain, LEN, places[i] * CHUNK_SIZE};
		struct vfile *f;

		sealed.at = places[i] ? chunk_offset(places[i]) : 0;
		memset(sealed.bytes + sealed.at, 0, sealed.len - sealed.at);
		assert_int_equal(
			sealed_write_from(
				id, key, LEN, places[i],
				&(struct sealed_source){tape_read, &in},
				&(struct sealed_sink){tape_write, &sealed},
				NULL),
			0);
		assert_int_equal(sealed.at, sealed.len);
		assert_int_equal(import_as(fx, &sealed, LEN, id, key, &f), 0);
		vf_expect(f, plain, LEN);
		vfile_close(f);
		assert_int_equal(
			sealed_write_from(
				id, key, LEN, last + 1,
				&(struct sealed_source){tape_read, &in},
				&(struct sealed_sink){tape_write, &sealed},
				NULL),
			-EINVAL);
		free(sealed.bytes);
	}
	free(plain);
}

static void test_sealed__a_place_shows_size_and_time_but_no_key(void **state)
{
	struct fixture *fx = *state;
	const uint64_t sizes[] = {0, 1, CHUNK_SIZE, CHUNK_SIZE + 1,
				  UINT64_C(3) << 40};
	const struct timespec when = {1234567890, 123456789};
	char plain[NAME_PLAIN_MAX + 1];

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct backing_name name;
		uint8_t seen[FILE_ID_LEN];
		uint64_t shown;
		struct vfile *f;
		struct stat st;
		int fd;

		fx_fill(plain, (char)('a' + i), i % 2 ? NAME_PLAIN_MAX : 5);
		name = fx_name(fx, fx->root_id, plain);
		assert_int_equal(sealed_place(fx->vault->root_fd, &name, id,
					      fx->root_id, sizes[i], 0640,
					      &when),
				 0);
		assert_int_equal(sealed_place(fx->vault->root_fd, &name, id,
					      fx->root_id, 0, 0640, &when),
				 -EEXIST);
		fd = vf_backing_fd(fx, plain);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(chunk_plain_len((uint64_t)st.st_size, &shown),
				 0);
		assert_true(shown == sizes[i]);
		assert_int_equal(st.st_mode & 07777, 0640);
		assert_int_equal(st.st_mtim.tv_sec, when.tv_sec);
		assert_int_equal(st.st_mtim.tv_nsec, when.tv_nsec);
		assert_true(st.st_blocks < 64);
		assert_int_equal(sealed_probe(fd, seen), 0);
		assert_memory_equal(seen, id, sizeof seen);
		assert_int_equal(vfile_open(fx->vault, fd, true, &f), -ENOKEY);
		assert_int_equal(vfile_open(fx->vault, fd, false, &f), -ENOKEY);
		close(fd);
	}
	assert_int_equal(fx_count_temps(fx->vault->root_fd), 0);
}

static void test_sealed__what_has_a_key_is_no_place(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "mine");
	uint8_t seen[FILE_ID_LEN];
	int fd = vf_backing_fd(fx, "mine");

	assert_int_equal(sealed_probe(fd, seen), -EBADMSG);
	/* Nor is one whose rest is not in order. */
	assert_int_equal(ftruncate(fd, HEADER_LEN - 1), 0);
	assert_int_equal(sealed_probe(fd, seen), -EBADMSG);
	close(fd);
	vfile_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sealed__every_size_comes_through),
		cmocka_unit_test(test_sealed__every_changed_byte_is_refused),
		cmocka_unit_test(
			test_sealed__moved_chunks_and_other_ends_are_refused),
		cmocka_unit_test(test_sealed__another_key_or_id_is_refused),
		cmocka_unit_test(test_sealed__progress_counts_up_and_can_stop),
		cmocka_unit_test(test_sealed__can_be_gone_on_with_at_any_chunk),
		cmocka_unit_test(
			test_sealed__a_place_shows_size_and_time_but_no_key),
		cmocka_unit_test(test_sealed__what_has_a_key_is_no_place),
	};
	int skip = vf_init();

	return skip ? skip
		    : cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
