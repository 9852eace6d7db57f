/*
 * What was put back into a file is -ETIME wherever it would be read, merged
 * with or sealed anew; and whatever a vfile does itself is not taken for that.
 */
#include "vfile_fixture.h"

#include "memory.h"

enum { CHUNKS = 6, LEN = (CHUNKS - 1) * CHUNK_SIZE + 700, ROOM = 1 << 20 };

ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset);
int __real_ftruncate64(int fd, off_t len);
int __wrap_ftruncate64(int fd, off_t len);

static bool failing, uncut;

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
	if (!failing)
		return __real_pwrite64(fd, buf, len, offset);
	errno = EIO;
	return -1;
}

int __wrap_ftruncate64(int fd, off_t len)
{
	if (!uncut)
		return __real_ftruncate64(fd, len);
	errno = EIO;
	return -1;
}

static int setup(void **state)
{
	struct fixture *fx;

	if (fx_setup(state))
		return -1;
	fx = *state;
	if (setenv("XDG_STATE_HOME", fx->top, 1))
		return -1;
	if (!getenv("FROND_TEST_JOURNAL") &&
	    vault_lock(fx->vault, false, false))
		return -1;
	return memory_open(fx->vault, false);
}

/* What is sealed from now on is newer. */
static void next_second(struct fixture *fx)
{
	vault_pass(fx->vault, vault_now(fx->vault) + 1);
}

/* A backing file as it is. */
struct state {
	uint8_t *bytes;
	size_t len;
};

/* All of it in its place, and nobody remembers where else it was. */
static void settle(struct fixture *fx, struct vfile *f)
{
	vfile_settle(f);
	assert_int_equal(vfile_drain(f), 0);
	if (fx->vault->journal)
		assert_int_equal(journal_flush(fx->vault), 0);
}

static struct state save(struct fixture *fx, struct vfile *f)
{
	struct state s = {.bytes = malloc(ROOM)};
	struct stat st;

	settle(fx, f);
	assert_non_null(s.bytes);
	assert_int_equal(fstat(vfile_fd(f), &st), 0);
	s.len = (size_t)st.st_size;
	assert_true(s.len <= ROOM);
	assert_int_equal(xio_pread(vfile_fd(f), s.bytes, s.len, 0), 0);
	return s;
}

static void put_back(struct fixture *fx, const char *plain,
		     const struct state *s)
{
	int fd = vf_backing_fd(fx, plain);

	assert_int_equal(ftruncate(fd, (off_t)s->len), 0);
	assert_int_equal(xio_pwrite(fd, s->bytes, s->len, 0), 0);
	close(fd);
}

static void put_back_chunks(struct vfile *f, const struct state *s,
			    uint64_t first, uint64_t last)
{
	size_t from = (size_t)chunk_offset(first), to = (size_t)s->len;

	if (chunk_offset(last + 1) < to)
		to = (size_t)chunk_offset(last + 1);
	assert_int_equal(xio_pwrite(vfile_fd(f), s->bytes + from, to - from,
				    (off_t)from),
			 0);
}

static void fill(uint8_t *bytes, size_t len, uint64_t seed)
{
	vf_random_bytes(&seed, bytes, len);
}

/* Chunks first..last cannot be read, all others are as they should be. */
static void expect_old(struct vfile *f, const uint8_t *bytes, size_t len,
		       uint64_t first, uint64_t last)
{
	uint8_t buf[CHUNK_SIZE];
	uint64_t bad;

	assert_int_equal(vfile_size(f), len);
	for (uint64_t i = 0; i <= chunk_last_index(len); i++) {
		ssize_t n = vf_get(f, buf, sizeof buf, i * CHUNK_SIZE, &bad);

		if (i >= first && i <= last) {
			assert_int_equal(n, -ETIME);
			assert_int_equal(bad, i);
		} else {
			assert_true(n > 0);
			assert_memory_equal(buf, bytes + i * CHUNK_SIZE,
					    (size_t)n);
		}
	}
}

/* A file with a newer and an older state: older is what it was. */
struct subject {
	struct fixture *fx;
	struct vfile *f;
	struct state older;
	uint8_t now[LEN];
};

static void subject_init(struct subject *s, void **state, const char *plain)
{
	uint8_t before[LEN];

	s->fx = *state;
	fill(before, LEN, 1);
	fill(s->now, LEN, 2);
	s->f = vf_create(s->fx, plain);
	assert_int_equal(vf_put(s->f, before, LEN, 0), 0);
	s->older = save(s->fx, s->f);
	next_second(s->fx);
	assert_int_equal(vf_put(s->f, s->now, LEN, 0), 0);
	settle(s->fx, s->f);
	vf_expect(s->f, s->now, LEN);
}

static void subject_fini(struct subject *s)
{
	free(s->older.bytes);
	vfile_close(s->f);
}

static void a_chunk_put_back_is_noticed(void **state)
{
	static uint8_t buf[LEN];
	struct subject s;
	uint64_t bad;

	subject_init(&s, state, "chunk");
	put_back_chunks(s.f, &s.older, 2, 2);
	expect_old(s.f, s.now, LEN, 2, 2);
	assert_int_equal(vf_get(s.f, buf, LEN, 0, &bad), -ETIME);
	assert_int_equal(bad, 2);
	put_back_chunks(s.f, &s.older, 2, CHUNKS - 1);
	expect_old(s.f, s.now, LEN, 2, CHUNKS - 1);
	vfile_close(s.f);
	s.f = vf_open(s.fx, s.fx->vault, "chunk");
	expect_old(s.f, s.now, LEN, 2, CHUNKS - 1);
	subject_fini(&s);
}

static void nothing_merges_with_it(void **state)
{
	struct subject s;

	subject_init(&s, state, "merge");
	put_back_chunks(s.f, &s.older, 2, 2);
	assert_int_equal(vf_put(s.f, "part", 4, 2 * CHUNK_SIZE + 5), -ETIME);
	assert_int_equal(vf_truncate(s.f, 2 * CHUNK_SIZE + 5), -ETIME);
	expect_old(s.f, s.now, LEN, 2, 2);
	assert_int_equal(
		vf_put(s.f, s.now + 2 * CHUNK_SIZE, CHUNK_SIZE, 2 * CHUNK_SIZE),
		0);
	vf_expect(s.f, s.now, LEN);
	put_back_chunks(s.f, &s.older, CHUNKS - 1, CHUNKS - 1);
	assert_int_equal(vf_put(s.f, "more", 4, LEN), -ETIME);
	assert_int_equal(vf_put(s.f, "far away", 8, 40 * CHUNK_SIZE), -ETIME);
	assert_int_equal(vf_truncate(s.f, LEN + 1), -ETIME);
	expect_old(s.f, s.now, LEN, CHUNKS - 1, CHUNKS - 1);
	assert_int_equal(vf_truncate(s.f, 2 * CHUNK_SIZE), 0);
	vf_expect(s.f, s.now, 2 * CHUNK_SIZE);
	subject_fini(&s);
}

static void a_whole_file_put_back_is_noticed(void **state)
{
	struct subject s;
	struct state newer;

	subject_init(&s, state, "whole");
	newer = save(s.fx, s.f);
	next_second(s.fx);
	assert_int_equal(vf_truncate(s.f, CHUNK_SIZE + 10), 0);
	settle(s.fx, s.f);
	vfile_close(s.f);
	put_back(s.fx, "whole", &newer);
	s.f = vf_open(s.fx, s.fx->vault, "whole");
	/* what was cut off is older than the cut */
	expect_old(s.f, s.now, LEN, 1, CHUNKS - 1);
	vfile_close(s.f);
	put_back(s.fx, "whole", &s.older);
	s.f = vf_open(s.fx, s.fx->vault, "whole");
	expect_old(s.f, s.now, LEN, 0, CHUNKS - 1);
	free(newer.bytes);
	subject_fini(&s);
}

static void an_empty_file_put_back_does_not_open(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "empty");
	struct state empty = save(fx, f);
	int fd;

	next_second(fx);
	assert_int_equal(vf_put(f, "not empty", 9, 0), 0);
	settle(fx, f);
	vfile_close(f);
	put_back(fx, "empty", &empty);
	fd = vf_backing_fd(fx, "empty");
	assert_int_equal(vfile_open(fx->vault, fd, true, &f), -ETIME);
	assert_int_equal(vfile_open_unjudged(fx->vault, fd, true, &f), 0);
	vf_expect(f, NULL, 0);
	vfile_close(f);
	memory_file_accept(fx->vault, empty.bytes + 8);
	f = vf_open(fx, fx->vault, "empty");
	vfile_close(f);
	free(empty.bytes);
}

static void a_copy_may_be_of_any_age(void **state)
{
	struct subject s;
	struct vfile *copy = NULL;
	uint8_t part[CHUNK_SIZE];

	subject_init(&s, state, "copied");
	vfile_close(s.f);
	put_back(s.fx, "copied", &s.older);
	assert_int_equal(vfile_open_unjudged(s.fx->vault,
					     vf_backing_fd(s.fx, "copied"),
					     true, &copy),
			 0);
	assert_int_equal(vf_get(copy, part, sizeof part, 0, NULL), CHUNK_SIZE);
	/* and what becomes of it says nothing about the other */
	next_second(s.fx);
	assert_int_equal(vf_put(copy, part, sizeof part, CHUNK_SIZE), 0);
	settle(s.fx, copy);
	vfile_close(copy);
	put_back(s.fx, "copied", &s.older);
	s.f = vf_open(s.fx, s.fx->vault, "copied");
	memory_file_accept(s.fx->vault, vfile_id(s.f));
	fill(s.now, LEN, 1);
	vf_expect(s.f, s.now, LEN);
	subject_fini(&s);
}

static void a_new_key_does_not_make_it_new(void **state)
{
	struct subject s;

	/* nothing is read after the new key, and so learnt */
	subject_init(&s, state, "rekeyed");
	put_back_chunks(s.f, &s.older, 3, 3);
	assert_int_equal(vfile_rekey(s.f, vf_ws(), ""), -ETIME);
	expect_old(s.f, s.now, LEN, 3, 3);
	assert_int_equal(
		vf_put(s.f, s.now + 3 * CHUNK_SIZE, CHUNK_SIZE, 3 * CHUNK_SIZE),
		0);
	free(s.older.bytes);
	s.older = save(s.fx, s.f);
	next_second(s.fx);
	assert_int_equal(vfile_rekey(s.f, vf_ws(), ""), 0);
	vfile_close(s.f);
	put_back(s.fx, "rekeyed", &s.older);
	s.f = vf_open(s.fx, s.fx->vault, "rekeyed");
	expect_old(s.f, s.now, LEN, 0, CHUNKS - 1);
	subject_fini(&s);
}

/* The end of a file says whether a zeroed chunk is a hole. */
static void an_older_end_is_not_believed(void **state)
{
	static uint8_t island[CHUNK_SIZE];
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "mark");
	struct state older, newer;
	uint8_t buf[CHUNK_SIZE];
	uint64_t bad;

	fill(island, sizeof island, 5);
	assert_int_equal(vf_put(f, island, CHUNK_SIZE, 4 * CHUNK_SIZE), 0);
	older = save(fx, f);
	next_second(fx);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(vf_put(f, island, CHUNK_SIZE, i * CHUNK_SIZE),
				 0);
	/* nothing claims holes any more */
	vfile_close(f);
	f = vf_open(fx, fx->vault, "mark");
	newer = save(fx, f);
	vfile_close(f);
	memcpy(newer.bytes + chunk_offset(4), older.bytes + chunk_offset(4),
	       older.len - (size_t)chunk_offset(4));
	memset(newer.bytes + chunk_offset(1), 0, CHUNK_TOKEN_LEN);
	put_back(fx, "mark", &newer);
	f = vf_open(fx, fx->vault, "mark");
	for (int n = 0; n < 2; n++) {
		assert_int_equal(vf_get(f, buf, sizeof buf, CHUNK_SIZE, &bad),
				 -ETIME);
		assert_int_equal(bad, 4);
	}
	assert_int_equal(vf_get(f, buf, CHUNK_SIZE, 2 * CHUNK_SIZE, NULL),
			 CHUNK_SIZE);
	vfile_close(f);
	free(older.bytes);
	free(newer.bytes);
}

static void what_was_punched_does_not_come_back(void **state)
{
	static uint8_t zeros[2 * CHUNK_SIZE];
	struct subject s;
	struct state newer;

	subject_init(&s, state, "punched");
	newer = save(s.fx, s.f);
	next_second(s.fx);
	assert_int_equal(vf_allocate(s.f,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     CHUNK_SIZE, sizeof zeros),
			 0);
	settle(s.fx, s.f);
	memcpy(s.now + CHUNK_SIZE, zeros, sizeof zeros);
	vf_expect(s.f, s.now, LEN);
	put_back_chunks(s.f, &newer, 1, 2);
	expect_old(s.f, s.now, LEN, 1, 2);
	assert_int_equal(
		vf_put(s.f, s.now + CHUNK_SIZE, sizeof zeros, CHUNK_SIZE), 0);
	vf_expect(s.f, s.now, LEN);
	free(newer.bytes);
	subject_fini(&s);
}

/* Nor is what an older chunk claims, which is no damage either. */
static void holes_are_put_back_with_who_claims_them(void **state)
{
	static uint8_t bytes[CHUNK_SIZE], buf[CHUNKS * CHUNK_SIZE];
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "holes");
	struct state older;

	fill(bytes, sizeof bytes, 6);
	assert_int_equal(vf_put(f, bytes, sizeof bytes, 0), 0);
	assert_int_equal(vf_put(f, bytes, sizeof bytes, 5 * CHUNK_SIZE), 0);
	older = save(fx, f);
	next_second(fx);
	assert_int_equal(vf_put(f, bytes, sizeof bytes, 0), 0);
	settle(fx, f);
	vfile_close(f);
	f = vf_open(fx, fx->vault, "holes");
	put_back_chunks(f, &older, 0, 0);
	assert_int_equal(vf_get(f, buf, sizeof buf, 0, NULL), -ETIME);
	memory_file_accept(fx->vault, vfile_id(f));
	assert_int_equal(vf_get(f, buf, sizeof buf, 0, NULL), sizeof buf);
	vfile_close(f);
	free(older.bytes);
}

/* Sealed, and stored when others have been since. */
static void what_was_sealed_ahead_is_not_older(void **state)
{
	enum { MORE = 40 * CHUNK_SIZE };
	static uint8_t bytes[CHUNK_SIZE + MORE];
	const struct vfile_write w = {
		.data = bytes + CHUNK_SIZE, .len = MORE, .offset = CHUNK_SIZE};
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "ahead");
	struct workspace *ws;
	uint64_t bad;

	fill(bytes, sizeof bytes, 9);
	assert_int_equal(vf_put(f, bytes, CHUNK_SIZE, 0), 0);
	ws = vf_ws();
	vfile_seal_ahead(f, ws, &w);
	assert_true(ws->ahead_count > 0);
	next_second(fx);
	assert_int_equal(vfile_write(f, ws, &w, &bad), 0);
	vf_expect(f, bytes, sizeof bytes);
	settle(fx, f);
	vfile_close(f);
	f = vf_open(fx, fx->vault, "ahead");
	vf_expect(f, bytes, sizeof bytes);
	vfile_close(f);
}

/* Another machine's clock is ahead, and its files come here. */
static void what_replaces_the_future_is_not_older(void **state)
{
	static uint8_t bytes[3 * CHUNK_SIZE];
	struct fixture *fx = *state;
	uint64_t now = (uint64_t)time(NULL), ahead = now + 3600;
	struct vfile *f = vf_create(fx, "future");
	uint8_t buf[CHUNK_SIZE];

	vault_pass(fx->vault, ahead);
	assert_int_equal(vf_put(f, bytes, sizeof bytes, 0), 0);
	settle(fx, f);
	vfile_close(f);
	fx->vault->latest_s = now;
	f = vf_open(fx, fx->vault, "future");
	assert_int_equal(vf_get(f, buf, sizeof buf, 0, NULL), CHUNK_SIZE);
	assert_true(vault_now(fx->vault) >= ahead);
	fx->vault->latest_s = now;
	/* one chunk alone, to merge with it */
	assert_int_equal(vf_put(f, "part", 4, CHUNK_SIZE + 3), 0);
	assert_true(vault_now(fx->vault) >= ahead);
	/* but not to the end of time */
	vault_pass(fx->vault, now + 3 * 86400);
	assert_int_equal(vf_put(f, bytes, sizeof bytes, 0), 0);
	fx->vault->latest_s = now;
	assert_int_equal(vf_get(f, buf, sizeof buf, 0, NULL), CHUNK_SIZE);
	assert_true(vault_now(fx->vault) < now + 86400);
	vfile_close(f);
}

/* Nor is what replaces it without having read it, here or where nothing is
 * remembered. */
static void what_replaces_an_unread_future_is_not_older(void **state)
{
	static uint8_t bytes[3 * CHUNK_SIZE];
	struct fixture *fx = *state;
	uint64_t now = (uint64_t)time(NULL), ahead = now + 3600;
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
					  {.tv_sec = (time_t)ahead}};
	struct memory *memory = fx->vault->memory;
	struct vfile *f = vf_create(fx, "unread");

	assert_int_equal(vf_put(f, bytes, sizeof bytes, 0), 0);
	vault_pass(fx->vault, ahead);
	/* not the last one */
	assert_int_equal(vf_put(f, bytes, CHUNK_SIZE, CHUNK_SIZE), 0);
	settle(fx, f);
	assert_int_equal(futimens(vfile_fd(f), times), 0);
	vfile_close(f);
	for (int n = 0; n < 2; n++) {
		fx->vault->latest_s = now;
		fx->vault->memory = n ? NULL : memory;
		f = vf_open(fx, fx->vault, "unread");
		assert_true(vault_now(fx->vault) >= ahead);
		vfile_close(f);
	}
	fx->vault->memory = memory;
	fx->vault->latest_s = now;
}

/* What may not be there is not missed. */
static void what_failed_is_not_told(void **state)
{
	struct subject s;

	subject_init(&s, state, "failing");
	next_second(s.fx);
	failing = true;
	assert_int_equal(vf_put(s.f, s.now, LEN, 0), -EIO);
	assert_int_equal(vf_put(s.f, s.now, LEN, LEN), -EIO);
	assert_int_equal(vf_truncate(s.f, CHUNK_SIZE), -EIO);
	failing = false;
	vf_expect(s.f, s.now, LEN);
	subject_fini(&s);
}

/* Only the cut fails: the chunk that was to be the last is sealed anew. */
static void a_cut_that_failed_is_not_told(void **state)
{
	struct subject s;

	subject_init(&s, state, "uncut");
	next_second(s.fx);
	uncut = true;
	assert_int_equal(vf_truncate(s.f, CHUNK_SIZE + 5), -EIO);
	uncut = false;
	vf_expect(s.f, s.now, LEN);
	subject_fini(&s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_chunk_put_back_is_noticed),
		TEST(nothing_merges_with_it),
		TEST(a_whole_file_put_back_is_noticed),
		TEST(an_empty_file_put_back_does_not_open),
		TEST(a_copy_may_be_of_any_age),
		TEST(a_new_key_does_not_make_it_new),
		TEST(an_older_end_is_not_believed),
		TEST(what_was_punched_does_not_come_back),
		TEST(holes_are_put_back_with_who_claims_them),
		TEST(what_was_sealed_ahead_is_not_older),
		TEST(what_replaces_the_future_is_not_older),
		TEST(what_replaces_an_unread_future_is_not_older),
	};
	/* with a journal, none of this fails at once */
	const struct CMUnitTest in_place[] = {
		TEST(what_failed_is_not_told),
		TEST(a_cut_that_failed_is_not_told),
	};
	int status = vf_init();

	if (!status)
		status = cmocka_run_group_tests(tests, NULL, NULL);
	if (!status && !getenv("FROND_TEST_JOURNAL"))
		status = cmocka_run_group_tests(in_place, NULL, NULL);
	return status;
}
