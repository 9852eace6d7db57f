/* Many threads, and many mounts, on one file. */
#include "vfile_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 8, CHUNKS = 64, RECORDS = 250, RECORD_MAX = 6000 };

/* cmocka's assertions belong to the thread that runs the test. */
static atomic_int failures;

#define CHECK(condition)                                                       \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr, "line %d: %s\n", __LINE__,             \
				#condition);                                   \
			failures++;                                            \
		}                                                              \
	} while (0)

struct job {
	struct vfile *f;
	unsigned id;
	uint64_t rng;
	atomic_bool *stop;
};

static void run(struct vfile *f, void *(*const work[])(void *), unsigned count,
		atomic_bool *stop, unsigned stop_after)
{
	struct job jobs[THREADS];
	pthread_t t[THREADS];
	uint64_t seed = vf_seed();

	failures = 0;
	for (unsigned i = 0; i < count; i++) {
		jobs[i] = (struct job){f, i, seed + i, stop};
		assert_int_equal(pthread_create(&t[i], NULL, work[i], &jobs[i]),
				 0);
	}
	/* The first ones end by themselves, and then tell the others. */
	for (unsigned i = 0; i < count; i++) {
		if (i == stop_after && stop)
			*stop = true;
		pthread_join(t[i], NULL);
	}
	assert_int_equal(failures, 0);
}

static uint8_t stripes[CHUNKS * CHUNK_SIZE];

/* Every THREADS-th chunk is this thread's: others' writes must not show. */
static void *write_stripe(void *arg)
{
	struct job *j = arg;
	uint8_t data[CHUNK_SIZE], buf[CHUNK_SIZE];

	for (int n = 0; n < 400; n++) {
		size_t chunk =
			vf_random(&j->rng) % (CHUNKS / THREADS) * THREADS +
			j->id;
		size_t from = n % 2 ? vf_random(&j->rng) % CHUNK_SIZE : 0;
		size_t len = CHUNK_SIZE - from, at = chunk * CHUNK_SIZE + from;

		if (n % 3 == 0)
			len = vf_random(&j->rng) % len + 1;
		vf_random_bytes(&j->rng, data, len);
		CHECK(vf_put(j->f, data, len, at) == 0);
		memcpy(stripes + at, data, len);
		at = chunk * CHUNK_SIZE;
		CHECK(vf_get(j->f, buf, sizeof buf, at, NULL) == sizeof buf);
		CHECK(memcmp(buf, stripes + at, sizeof buf) == 0);
	}
	return NULL;
}

static void test_threads__disjoint_writers(void **state)
{
	void *(*const work[THREADS])(void *) = {
		write_stripe, write_stripe, write_stripe, write_stripe,
		write_stripe, write_stripe, write_stripe, write_stripe,
	};
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "f");

	memset(stripes, 0, sizeof stripes);
	assert_int_equal(vf_truncate(f, sizeof stripes), 0);
	run(f, work, THREADS, NULL, 0);
	vf_expect(f, stripes, sizeof stripes);
	vfile_close(f);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, stripes, sizeof stripes);
	vfile_close(f);
}

static bool uniform(const uint8_t *p, size_t len)
{
	return memcmp(p, p + 1, len - 1) == 0;
}

/* Whole chunks of one letter, over those of the others. */
static void *write_letters(void *arg)
{
	static const size_t max = 6;
	struct job *j = arg;
	uint8_t *data = malloc(max * CHUNK_SIZE);

	CHECK(data != NULL);
	for (int n = 0; n < 400; n++) {
		size_t chunk = vf_random(&j->rng) % (CHUNKS - max);
		size_t count = vf_random(&j->rng) % max + 1;

		memset(data, 'a' + (int)(vf_random(&j->rng) % 26),
		       count * CHUNK_SIZE);
		CHECK(vf_put(j->f, data, count * CHUNK_SIZE,
			     chunk * CHUNK_SIZE) == 0);
	}
	free(data);
	return NULL;
}

static void *read_letters(void *arg)
{
	struct job *j = arg;
	uint8_t buf[4 * CHUNK_SIZE];

	while (!*j->stop) {
		size_t chunk = vf_random(&j->rng) % (CHUNKS - 4);
		ssize_t n =
			vf_get(j->f, buf, sizeof buf, chunk * CHUNK_SIZE, NULL);

		CHECK(n == sizeof buf);
		for (size_t i = 0; n > 0 && i < 4; i++)
			CHECK(uniform(buf + i * CHUNK_SIZE, CHUNK_SIZE));
	}
	return NULL;
}

static void test_threads__overlapping_writes_never_tear(void **state)
{
	void *(*const work[])(void *) = {
		write_letters, write_letters, write_letters,
		write_letters, read_letters,  read_letters,
	};
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "f");
	atomic_bool stop = false;
	uint8_t buf[CHUNK_SIZE];

	assert_int_equal(vf_truncate(f, CHUNKS * CHUNK_SIZE), 0);
	run(f, work, 6, &stop, 4);
	for (uint64_t i = 0; i < CHUNKS; i++) {
		assert_int_equal(
			vf_get(f, buf, sizeof buf, i * CHUNK_SIZE, NULL),
			sizeof buf);
		assert_true(uniform(buf, sizeof buf));
	}
	vfile_close(f);
}

/* A record: length u32, writer u32, number u32, then bytes of one kind. */
struct record {
	uint32_t len, writer, number;
};

static void append_records(struct vfile *f, uint32_t writer, uint64_t rng,
			   uint32_t count)
{
	uint8_t buf[RECORD_MAX];

	for (uint32_t n = 0; n < count; n++) {
		struct record r = {0, writer, n};
		struct vfile_write w = {.data = buf, .append = true};
		uint64_t bad;

		r.len = (uint32_t)(sizeof r +
				   vf_random(&rng) %
					   (n % 4 ? 200 : sizeof buf - 12));
		memset(buf, (int)(writer * 31 + n) & 0xff, r.len);
		memcpy(buf, &r, sizeof r);
		w.len = r.len;
		CHECK(vfile_write(f, vf_ws(), &w, &bad) == 0);
	}
}

/*
 * Read records to the end, of writers numbered below THREADS: each one's come
 * in order, none is missing. Returns how many there are, or -1.
 */
static long count_records(struct vfile *f)
{
	uint32_t next[THREADS] = {0};
	uint8_t buf[RECORD_MAX];
	uint64_t at = 0;
	long count = 0;

	for (;; count++) {
		struct record r;
		ssize_t n = vf_get(f, buf, sizeof buf, at, NULL);

		if (n == 0)
			return count;
		if (n < (ssize_t)sizeof r)
			return -1;
		memcpy(&r, buf, sizeof r);
		if (r.len < sizeof r || (ssize_t)r.len > n ||
		    r.writer >= THREADS || r.number != next[r.writer]++)
			return -1;
		for (size_t i = sizeof r; i < r.len; i++)
			if (buf[i] != ((r.writer * 31 + r.number) & 0xff))
				return -1;
		at += r.len;
	}
}

static void *appender(void *arg)
{
	struct job *j = arg;

	append_records(j->f, j->id, j->rng, RECORDS);
	return NULL;
}

static void test_threads__appenders_lose_nothing(void **state)
{
	void *(*const work[THREADS])(void *) = {
		appender, appender, appender, appender,
		appender, appender, appender, appender,
	};
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "log");

	run(f, work, THREADS, NULL, 0);
	assert_int_equal(count_records(f), THREADS * RECORDS);
	vfile_close(f);
	f = vf_open(fx, fx->vault, "log");
	assert_int_equal(count_records(f), THREADS * RECORDS);
	vfile_close(f);
}

/* What stands at an offset is this or, where nothing was written, zero. */
static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)((offset * 2654435761U >> 13) | 1);
}

static void *write_pattern(void *arg)
{
	struct job *j = arg;
	uint8_t data[3 * CHUNK_SIZE];

	for (int n = 0; n < 500; n++) {
		uint64_t size = vfile_size(j->f), at;
		size_t len = vf_random(&j->rng) % sizeof data + 1;

		at = vf_random(&j->rng) % (n % 2 ? size + 1 : 400000);
		if (n % 4 == 1)
			at = size;
		for (size_t i = 0; i < len; i++)
			data[i] = pattern(at + i);
		CHECK(vf_put(j->f, data, len, at) == 0);
	}
	return NULL;
}

static void *cut_and_punch(void *arg)
{
	struct job *j = arg;

	while (!*j->stop) {
		uint64_t at = vf_random(&j->rng) % 400000;

		switch (vf_random(&j->rng) % 4) {
		case 0:
			CHECK(vf_truncate(j->f, at) == 0);
			break;
		case 1:
			CHECK(vf_truncate(j->f, vfile_size(j->f) * 3 / 4) == 0);
			break;
		default:
			CHECK(vf_allocate(j->f,
					  FALLOC_FL_PUNCH_HOLE |
						  FALLOC_FL_KEEP_SIZE,
					  at, 20000) == 0);
		}
	}
	return NULL;
}

static void *read_pattern(void *arg)
{
	struct job *j = arg;
	uint8_t buf[5 * CHUNK_SIZE];

	while (!*j->stop) {
		uint64_t at = vf_random(&j->rng) % (vfile_size(j->f) + 1);
		ssize_t n = vf_get(j->f, buf, sizeof buf, at, NULL);
		size_t wrong = 0;

		CHECK(n >= 0);
		for (ssize_t i = 0; i < n; i++)
			wrong += buf[i] != 0 &&
				 buf[i] != pattern(at + (uint64_t)i);
		CHECK(wrong == 0);
	}
	return NULL;
}

static void *seek_and_sync(void *arg)
{
	struct job *j = arg;
	uint64_t found = 0;

	while (!*j->stop) {
		uint64_t at = vf_random(&j->rng) % 300000;
		int err = vfile_seek(
			j->f, vf_ws(), at,
			vf_random(&j->rng) % 2 ? SEEK_DATA : SEEK_HOLE, &found);

		CHECK(err == -ENXIO || (err == 0 && found >= at));
		CHECK(vfile_sync(j->f, true) == 0);
	}
	return NULL;
}

static void test_threads__the_end_moves_under_readers(void **state)
{
	void *(*const work[])(void *) = {
		write_pattern, write_pattern, write_pattern, cut_and_punch,
		read_pattern,  read_pattern,  seek_and_sync,
	};
	struct fixture *fx = *state;

	vfile_close(vf_create(fx, "f"));
	/* Anew each time: nobody knows at first whether there are holes. */
	for (int round = 0; round < 4; round++) {
		struct vfile *f = vf_open(fx, fx->vault, "f");
		atomic_bool stop = false;
		uint8_t *bytes;
		uint64_t size;

		run(f, work, 7, &stop, 3);
		size = vfile_size(f);
		bytes = calloc(1, size + VFILE_IO_MAX);
		assert_non_null(bytes);
		for (uint64_t at = 0; at < size; at += VFILE_IO_MAX)
			assert_true(vf_get(f, bytes + at, VFILE_IO_MAX, at,
					   NULL) > 0);
		vfile_close(f);
		f = vf_open(fx, fx->vault, "f");
		vf_expect(f, bytes, size);
		vfile_close(f);
		free(bytes);
	}
}

static void *append_pattern(void *arg)
{
	struct job *j = arg;
	uint8_t data[1000] = {1};

	for (int n = 0; n < 40; n++) {
		struct vfile_write w = {
			.data = data, .len = sizeof data, .append = true};
		uint64_t bad;

		CHECK(vfile_write(j->f, vf_ws(), &w, &bad) == 0);
	}
	return NULL;
}

static void *write_into_holes(void *arg)
{
	struct job *j = arg;

	for (uint64_t n = 0; n < 40; n++)
		CHECK(vf_put(j->f, "x", 1,
			     (n * 2 + j->id + 1) * CHUNK_SIZE + 5) == 0);
	return NULL;
}

/* Whether a hole may be there is read from an end that is being moved. */
static void test_threads__holes_of_an_unknown_file(void **state)
{
	void *(*const work[])(void *) = {append_pattern, write_into_holes,
					 write_into_holes};
	struct fixture *fx = *state;

	for (int round = 0; round < 30; round++) {
		char name[16];
		struct vfile *f;

		snprintf(name, sizeof name, "f%d", round);
		f = vf_create(fx, name);
		assert_int_equal(vf_put(f, "end", 3, 100 * CHUNK_SIZE), 0);
		vfile_close(f);
		f = vf_open(fx, fx->vault, name);
		run(f, work, 3, NULL, 0);
		assert_int_equal(vfile_size(f),
				 100 * CHUNK_SIZE + 3 + 40 * 1000);
		vfile_close(f);
	}
}

enum { MOUNTS = 3, PER_MOUNT = 2 };

/* As another mount: a vault, a file and threads of its own. */
static int another_mount(struct fixture *fx, unsigned mount)
{
	pthread_t t[PER_MOUNT];
	struct job jobs[PER_MOUNT];
	struct vfile *f;

	if (fx_open(fx))
		return 2;
	fx->vault->shared = true;
	f = vf_open(fx, fx->vault, "log");
	failures = 0;
	for (unsigned i = 0; i < PER_MOUNT; i++) {
		jobs[i] = (struct job){f, mount * PER_MOUNT + i, mount, NULL};
		if (pthread_create(&t[i], NULL, appender, &jobs[i]))
			return 3;
	}
	for (unsigned i = 0; i < PER_MOUNT; i++)
		pthread_join(t[i], NULL);
	vfile_close(f);
	vault_close(fx->vault);
	return failures ? 1 : 0;
}

/* Opened again and again while others append: whole records at any time. */
static void watch(struct fixture *fx, pid_t *pid)
{
	unsigned running = MOUNTS;

	while (running) {
		struct vfile *f = vf_open(fx, fx->vault, "log");
		int status;

		assert_true(count_records(f) >= 0);
		vfile_close(f);
		for (unsigned i = 0; i < MOUNTS; i++) {
			if (!pid[i] || waitpid(pid[i], &status, WNOHANG) <= 0)
				continue;
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), 0);
			pid[i] = 0;
			running--;
		}
	}
}

static void test_shared__appenders_of_many_mounts(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "log");
	pid_t pid[MOUNTS];

	vfile_close(f);
	/* shared vaults have no journal */
	if (getenv("FROND_TEST_JOURNAL"))
		skip();
	fx->vault->shared = true;
	for (unsigned i = 0; i < MOUNTS; i++) {
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0)
			_exit(another_mount(fx, i));
	}
	watch(fx, pid);
	f = vf_open(fx, fx->vault, "log");
	assert_int_equal(count_records(f), MOUNTS * PER_MOUNT * RECORDS);
	vfile_close(f);
}

/* Two vaults in one process: what one changes the other sees at once. */
static void test_shared__changes_are_seen(void **state)
{
	struct fixture *fx = *state;
	struct vault *first = fx->vault;
	struct vfile *a, *b;
	uint8_t buf[16];

	vfile_close(vf_create(fx, "f"));
	assert_int_equal(fx_open(fx), 0);
	first->shared = fx->vault->shared = true;
	a = vf_open(fx, first, "f");
	b = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(a, "one", 3, 0), 0);
	assert_int_equal(vf_get(b, buf, sizeof buf, 0, NULL), 3);
	assert_int_equal(vf_put(b, "two", 3, 50000), 0);
	assert_int_equal(vf_get(a, buf, sizeof buf, 50000, NULL), 3);
	assert_memory_equal(buf, "two", 3);
	/* Part of a hole that the other has made. */
	assert_int_equal(vf_put(a, "x", 1, 20000), 0);
	assert_int_equal(vf_get(b, buf, 3, 19999, NULL), 3);
	assert_memory_equal(buf, "\0x\0", 3);
	assert_int_equal(vf_truncate(b, 2), 0);
	assert_int_equal(vf_get(a, buf, sizeof buf, 0, NULL), 2);
	assert_int_equal(vf_put(a, "y", 1, 2), 0);
	vf_get(b, buf, 1, 0, NULL);
	vf_expect(b, (const uint8_t *)"ony", 3);
	vfile_close(a);
	vfile_close(b);
	if (first->journal)
		assert_int_equal(journal_stop(first), 0);
	vault_close(first);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_threads__disjoint_writers),
		TEST(test_threads__overlapping_writes_never_tear),
		TEST(test_threads__appenders_lose_nothing),
		TEST(test_threads__the_end_moves_under_readers),
		TEST(test_threads__holes_of_an_unknown_file),
		TEST(test_shared__changes_are_seen),
		TEST(test_shared__appenders_of_many_mounts),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
