/* Random operations on a file of the vault and on a plain array alike. */
#include "vfile_fixture.h"

enum {
	MODEL_MAX = 2200000,
	MODEL_CHUNKS = MODEL_MAX / CHUNK_SIZE + 2,
	STEPS = 1000,
	STEPS_FEW = 300,
};

struct model {
	struct fixture *fx;
	struct vfile *f;
	uint64_t rng;
	size_t size;
	bool all_seen; /* this opening has seen every hole come */
	uint8_t bytes[MODEL_MAX], data[VFILE_IO_MAX];
	bool hole[MODEL_CHUNKS];
};

static size_t pick(struct model *m, size_t below)
{
	return below ? vf_random(&m->rng) % below : 0;
}

static size_t last_chunk(const struct model *m)
{
	return chunk_last_index(m->size);
}

static bool any_hole(const struct model *m)
{
	for (size_t i = 0; i < MODEL_CHUNKS; i++)
		if (m->hole[i])
			return true;
	return false;
}

/* A place worth trying: chunk boundaries, the end, anywhere. */
static size_t pick_offset(struct model *m, size_t limit)
{
	size_t at;

	switch (pick(m, 5)) {
	case 0:
		at = pick(m, limit / CHUNK_SIZE + 1) * CHUNK_SIZE + pick(m, 3);
		at -= at > 0 && pick(m, 2);
		break;
	case 1:
		at = m->size + pick(m, 3);
		at -= at > 0 && pick(m, 2);
		break;
	case 2:
		at = m->size + pick(m, 5 * CHUNK_SIZE);
		break;
	default:
		at = pick(m, pick(m, 2) ? limit : m->size + 1);
	}
	return at < limit ? at : limit;
}

static size_t pick_len(struct model *m, size_t max)
{
	const size_t limits[] = {3, 100, CHUNK_SIZE, 3 * CHUNK_SIZE,
				 VFILE_IO_MAX};
	size_t limit = limits[pick(m, 5)], len;

	if (pick(m, 4) == 0)
		len = (pick(m, limit / CHUNK_SIZE + 1) + 1) * CHUNK_SIZE;
	else
		len = pick(m, limit) + 1;
	if (max > VFILE_IO_MAX)
		max = VFILE_IO_MAX;
	return len < max ? len : max;
}

static void model_resize(struct model *m, size_t size)
{
	size_t was = last_chunk(m), is = chunk_last_index(size);

	if (size > m->size) {
		memset(m->bytes + m->size, 0, size - m->size);
		for (size_t i = was + 1; i < is; i++)
			m->hole[i] = true;
	} else {
		memset(m->hole + is, 0, MODEL_CHUNKS - is);
	}
	m->size = size;
	if (size <= CHUNK_SIZE)
		m->all_seen = true;
}

static void do_write(struct model *m, bool append)
{
	size_t at = append ? m->size : pick_offset(m, MODEL_MAX - 1);
	size_t len = pick_len(m, MODEL_MAX - at);
	struct vfile_write w = {.data = m->data,
				.len = len,
				.offset = append ? 12345 : at,
				.append = append};
	uint64_t bad = 0;

	if (len == 0)
		return;
	vf_random_bytes(&m->rng, m->data, len);
	assert_int_equal(vfile_write(m->f, vf_ws(), &w, &bad), 0);
	assert_true(bad == VFILE_NO_CHUNK);
	if (at + len > m->size)
		model_resize(m, at + len);
	memcpy(m->bytes + at, m->data, len);
	memset(m->hole + at / CHUNK_SIZE, 0,
	       (at + len - 1) / CHUNK_SIZE - at / CHUNK_SIZE + 1);
}

static void model_zero(struct model *m, size_t from, size_t to)
{
	size_t first = (from + CHUNK_SIZE - 1) / CHUNK_SIZE;
	size_t end = to / CHUNK_SIZE;

	memset(m->bytes + from, 0, to - from);
	if (end > last_chunk(m))
		end = last_chunk(m);
	for (size_t i = from / CHUNK_SIZE; i <= (to - 1) / CHUNK_SIZE; i++)
		m->hole[i] = i >= first && i < end;
}

static void do_allocate(struct model *m)
{
	const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     FALLOC_FL_ZERO_RANGE,
			     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	int mode = modes[pick(m, 5)];
	size_t at = pick_offset(m, MODEL_MAX - 1);
	size_t len = pick_len(m, MODEL_MAX - at);
	size_t end = at + len;

	assert_int_equal(vf_allocate(m->f, mode, at, len), 0);
	if ((mode & ~FALLOC_FL_KEEP_SIZE) && at < m->size)
		model_zero(m, at, end < m->size ? end : m->size);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > m->size)
		model_resize(m, end);
}

static void do_read(struct model *m)
{
	static uint8_t buf[VFILE_IO_MAX];
	size_t at = pick_offset(m, MODEL_MAX - 1);
	size_t len = pick_len(m, VFILE_IO_MAX);
	ssize_t n = vf_get(m->f, buf, len, at, NULL);

	if (at >= m->size) {
		assert_int_equal(n, 0);
		return;
	}
	assert_int_equal(n, len < m->size - at ? len : m->size - at);
	assert_memory_equal(buf, m->bytes + at, (size_t)n);
}

static void do_seek(struct model *m)
{
	size_t at = pick_offset(m, MODEL_MAX - 1), want;
	uint64_t found = 0;

	for (int hole = 0; hole < 2; hole++) {
		int err = vfile_seek(m->f, vf_ws(), at,
				     hole ? SEEK_HOLE : SEEK_DATA, &found);

		if (at >= m->size) {
			assert_int_equal(err, -ENXIO);
			continue;
		}
		assert_int_equal(err, 0);
		for (want = at; want < m->size; want++)
			if (m->hole[want / CHUNK_SIZE] == hole)
				break;
		assert_int_equal(found, want);
	}
}

static void reopen(struct model *m)
{
	vfile_close(m->f);
	m->f = vf_open(m->fx, m->fx->vault, "model");
	assert_int_equal(vfile_drain(m->f), 0);
	m->all_seen = !vf_mark_on_disk(m->fx, vfile_fd(m->f));
}

static void check(struct model *m)
{
	struct vfile *other;
	struct stat st;
	uint64_t len = 0;
	bool mark;

	vf_expect(m->f, m->bytes, m->size);
	assert_int_equal(vfile_drain(m->f), 0);
	assert_int_equal(fstat(vfile_fd(m->f), &st), 0);
	assert_int_equal(chunk_plain_len((uint64_t)st.st_size, &len), 0);
	assert_int_equal(len, m->size);
	other = vf_open(m->fx, m->fx->vault, "model");
	vf_expect(other, m->bytes, m->size);
	mark = vf_mark_on_disk(m->fx, vfile_fd(other));
	vfile_close(other);
	if (any_hole(m))
		assert_true(mark);
	else if (m->all_seen && !m->fx->vault->shared)
		assert_false(mark);
}

static void step(struct model *m)
{
	size_t what = pick(m, 16);

	if (what < 6)
		do_write(m, false);
	else if (what < 8)
		do_write(m, true);
	else if (what < 10)
		do_allocate(m);
	else if (what < 12)
		do_read(m);
	else if (what < 14)
		do_seek(m);
	else if (what == 14 && pick(m, 2))
		reopen(m);
	else {
		size_t size = pick(m, 8) ? pick_offset(m, MODEL_MAX) : 0;

		assert_int_equal(vf_truncate(m->f, size), 0);
		model_resize(m, size);
	}
	check(m);
}

/* Each run has another seed. What another backend seals, and what sanitizers
 * look for, shows sooner. */
static int all_steps(void)
{
#ifdef FROND_SANITIZED
	return STEPS_FEW;
#else
	return getenv("FRONDFS_CRYPTO") ? STEPS_FEW : STEPS;
#endif
}

static void run_model(struct fixture *fx, int steps)
{
	struct model *m = calloc(1, sizeof *m);

	assert_non_null(m);
	m->fx = fx;
	m->rng = vf_seed();
	m->all_seen = true;
	m->f = vf_create(fx, "model");
	for (int i = 0; i < steps; i++)
		step(m);
	vfile_close(m->f);
	free(m);
}

static void test_vfile__random_against_an_array(void **state)
{
	run_model(*state, all_steps());
}

/* In a shared vault nothing is remembered; the bytes must be the same. */
static void test_vfile__random_when_shared(void **state)
{
	struct fixture *fx = *state;

	fx->vault->shared = true;
	run_model(fx, all_steps() / 4);
}

/* Writeback fills files out of order; no hole, no mark. */
static void test_vfile__out_of_order_fill_leaves_no_mark(void **state)
{
	enum { CHUNKS = 40 };
	struct fixture *fx = *state;
	uint64_t rng = vf_seed();
	static uint8_t bytes[CHUNKS * CHUNK_SIZE - 777];

	for (int round = 0; round < 20; round++) {
		struct vfile *f = vf_create(fx, "fill");
		size_t order[CHUNKS];

		vf_random_bytes(&rng, bytes, sizeof bytes);
		for (size_t i = 0; i < CHUNKS; i++) {
			size_t j = vf_random(&rng) % (i + 1);

			order[i] = order[j];
			order[j] = i;
		}
		for (size_t i = 0; i < CHUNKS; i++) {
			size_t at = order[i] * CHUNK_SIZE;
			size_t len = sizeof bytes - at < CHUNK_SIZE
					     ? sizeof bytes - at
					     : CHUNK_SIZE;

			assert_int_equal(vf_put(f, bytes + at, len, at), 0);
		}
		vf_expect(f, bytes, sizeof bytes);
		assert_int_equal(vfile_drain(f), 0);
		assert_false(vf_mark_on_disk(fx, vfile_fd(f)));
		vfile_close(f);
		assert_int_equal(
			unlinkat(fx->vault->root_fd,
				 fx_name(fx, fx->root_id, "fill").entry, 0),
			0);
	}
}

/* One hole more than the list takes: the mark must stay while any is left. */
static void test_vfile__many_gaps_keep_the_mark(void **state)
{
	enum { GAPS = 140 };
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "gaps");
	static uint8_t bytes[(2 * GAPS + 1) * CHUNK_SIZE];

	for (size_t i = 0; i <= GAPS; i++) {
		size_t at = 2 * i * CHUNK_SIZE;

		memset(bytes + at, 'x', CHUNK_SIZE);
		assert_int_equal(vf_put(f, bytes + at, CHUNK_SIZE, at), 0);
	}
	assert_int_equal(vfile_drain(f), 0);
	assert_true(vf_mark_on_disk(fx, vfile_fd(f)));
	for (size_t i = 0; i + 1 < GAPS; i++) {
		size_t at = (2 * i + 1) * CHUNK_SIZE;

		memset(bytes + at, 'y', CHUNK_SIZE);
		assert_int_equal(vf_put(f, bytes + at, CHUNK_SIZE, at), 0);
	}
	assert_int_equal(vfile_drain(f), 0);
	assert_true(vf_mark_on_disk(fx, vfile_fd(f)));
	vf_expect(f, bytes, sizeof bytes);
	/* A file of one chunk is known to have none. */
	assert_int_equal(vf_truncate(f, 5), 0);
	assert_int_equal(vfile_drain(f), 0);
	assert_false(vf_mark_on_disk(fx, vfile_fd(f)));
	vfile_close(f);
}

static void test_vfile__many_tebibytes(void **state)
{
	const uint64_t far = UINT64_C(12) << 40;
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "huge");
	uint8_t buf[2 * CHUNK_SIZE];
	uint64_t found = 0;

	assert_int_equal(vf_put(f, "near", 4, 0), 0);
	assert_int_equal(vf_put(f, "far", 3, far - 1), 0);
	assert_int_equal(vfile_size(f), far + 2);
	vfile_close(f);
	f = vf_open(fx, fx->vault, "huge");
	assert_int_equal(vfile_size(f), far + 2);
	assert_int_equal(vf_get(f, buf, sizeof buf, far - 2, NULL), 4);
	assert_memory_equal(buf, "\0far", 4);
	assert_int_equal(vf_get(f, buf, sizeof buf, far / 2, NULL), sizeof buf);
	assert_true(bytes_all_zero(buf, sizeof buf));
	assert_int_equal(vfile_seek(f, vf_ws(), 9000, SEEK_DATA, &found), 0);
	assert_int_equal(found, far - CHUNK_SIZE);
	assert_int_equal(vfile_seek(f, vf_ws(), 0, SEEK_HOLE, &found), 0);
	assert_int_equal(found, CHUNK_SIZE);
	assert_int_equal(vf_truncate(f, far / 2 + 7), 0);
	assert_int_equal(vf_truncate(f, 2), 0);
	vf_expect(f, (const uint8_t *)"ne", 2);
	vfile_close(f);
}

static void test_vfile__lengths_no_file_can_have(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "f");
	const struct vfile_write w = {.data = (const uint8_t *)"x",
				      .len = 1,
				      .offset = UINT64_MAX,
				      .append = true};
	uint64_t bad;

	assert_int_equal(vf_put(f, "x", 1, UINT64_MAX), -EFBIG);
	assert_int_equal(vf_put(f, "x", 1, CHUNK_MAX_PLAIN_LEN), -EFBIG);
	assert_int_equal(vf_truncate(f, CHUNK_MAX_PLAIN_LEN + 1), -EFBIG);
	assert_int_equal(vf_truncate(f, UINT64_MAX), -EFBIG);
	assert_int_equal(vf_allocate(f, 0, UINT64_MAX, 1), -EFBIG);
	assert_int_equal(vf_allocate(f, 0, 1, UINT64_MAX), -EFBIG);
	assert_int_equal(vf_allocate(f, 0, 1, 0), -EINVAL);
	assert_int_equal(vf_allocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, 4096),
			 -EOPNOTSUPP);
	vf_expect(f, NULL, 0);
	/* An appender's offset means nothing. */
	assert_int_equal(vfile_write(f, vf_ws(), &w, &bad), 0);
	vf_expect(f, (const uint8_t *)"x", 1);
	vfile_close(f);
}

static void test_vfile__taken_names_stay(void **state)
{
	struct fixture *fx = *state;
	struct backing_name name = fx_name(fx, fx->root_id, "f");
	struct vfile *f = vf_create(fx, "f"), *again = NULL;

	assert_int_equal(vf_put(f, "old", 3, 0), 0);
	assert_int_equal(vfile_create(fx->vault, fx->vault->root_fd,
				      fx->root_id, &name, 0644, &again),
			 -EEXIST);
	assert_int_equal(fx_count_temps(fx->vault->root_fd), 0);
	vf_expect(f, (const uint8_t *)"old", 3);
	vfile_close(f);
}

static struct timespec mtime_of(struct vfile *f)
{
	struct stat st;

	assert_int_equal(fstat(vfile_fd(f), &st), 0);
	return st.st_mtim;
}

/* Reading and closing leave the time alone; truncate(2) always moves it. */
static void test_vfile__modification_time(void **state)
{
	const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "f");
	uint8_t buf[16];
	uint64_t found;

	assert_int_equal(vf_put(f, "a", 1, 50000), 0);
	assert_int_equal(futimens(vfile_fd(f), old), 0);
	assert_int_equal(vf_get(f, buf, sizeof buf, 0, NULL), sizeof buf);
	assert_int_equal(vfile_seek(f, vf_ws(), 0, SEEK_HOLE, &found), 0);
	assert_int_equal(vfile_sync(f, false), 0);
	vfile_close(f);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(mtime_of(f).tv_sec, 1000);
	assert_int_equal(vf_truncate(f, 50001), 0);
	assert_true(mtime_of(f).tv_sec > 1000);
	vfile_close(f);
}

static void test_vfile__becomes_writable(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "f");
	int fd = vf_backing_fd(fx, "f"), number;
	char proc[64];

	assert_int_equal(vf_put(f, "abc", 3, 0), 0);
	vfile_close(f);
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	assert_int_equal(vfile_open(fx->vault, open(proc, O_RDONLY), false, &f),
			 0);
	assert_false(vfile_writable(f));
	assert_int_equal(vf_put(f, "x", 1, 3), -EBADF);
	vf_expect(f, (const uint8_t *)"abc", 3);
	number = vfile_fd(f);
	vfile_make_writable(f, fd);
	assert_true(vfile_writable(f));
	assert_int_equal(vfile_fd(f), number);
	assert_int_equal(vf_put(f, "def", 3, 3), 0);
	vf_expect(f, (const uint8_t *)"abcdef", 6);
	vfile_close(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

/* Also when the clock has been set back. */
static void test_vfile__is_as_old_as_the_vault_says(void **state)
{
	struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault) + 1000;
	struct vfile *f;

	vault_pass(fx->vault, now);
	f = vf_create(fx, "f");
	assert_int_equal(vfile_born_s(f), now);
	vfile_close(f);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_born_s(f), now);
	vfile_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_vfile__random_against_an_array),
		TEST(test_vfile__random_when_shared),
		TEST(test_vfile__out_of_order_fill_leaves_no_mark),
		TEST(test_vfile__many_gaps_keep_the_mark),
		TEST(test_vfile__many_tebibytes),
		TEST(test_vfile__lengths_no_file_can_have),
		TEST(test_vfile__taken_names_stay),
		TEST(test_vfile__modification_time),
		TEST(test_vfile__becomes_writable),
		TEST(test_vfile__is_as_old_as_the_vault_says),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
