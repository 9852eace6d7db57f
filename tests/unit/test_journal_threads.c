/*
 * Many threads write one file through the journal, each its own part, while
 * others make it durable and empty the journal: what each of them reads is
 * what it wrote last, at any time, and so it is afterwards.
 */
#include <stdlib.h>

#include "vfile_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	WRITERS = 6,
	AREA_CHUNKS = 160, /* each; more than a table begins with */
	AREA = AREA_CHUNKS * CHUNK_SIZE,
	BODY = WRITERS * AREA,
	TAIL_MAX = 4 << 20,
	RUN_MAX = VFILE_IO_MAX,
	ROUNDS = 300, /* FROND_ROUNDS: others */
};

static uint8_t model[BODY + TAIL_MAX];
static int rounds = ROUNDS;
static struct vfile *file;
static struct fixture *fixture;
static atomic_bool stop;
static atomic_int failures;

/* cmocka's assertions belong to the thread that runs the test. */
#define CHECK(condition)                                                       \
	do {                                                                   \
		if (!(condition) && failures++ < 10)                           \
			fprintf(stderr, "line %d: %s\n", __LINE__,             \
				#condition);                                   \
	} while (0)

struct job {
	unsigned id;
	uint64_t rng;
	uint8_t *buf; /* RUN_MAX */
};

static size_t pick(struct job *j, size_t below)
{
	return (size_t)(vf_random(&j->rng) % below);
}

static void expect(struct job *j, size_t at, size_t len)
{
	CHECK(vf_get(file, j->buf, len, at, NULL) == (ssize_t)len);
	CHECK(memcmp(j->buf, model + at, len) == 0);
}

static void put(struct job *j, size_t at, size_t len)
{
	vf_random_bytes(&j->rng, model + at, len);
	CHECK(vf_put(file, model + at, len, at) == 0);
}

/* Somewhere in its area: whole chunks, or any bytes; now and then a hole. */
static void *write_area(void *arg)
{
	struct job *j = arg;
	size_t base = j->id * AREA;

	for (int n = 0; n < rounds && !failures; n++) {
		size_t at = pick(j, AREA), len = pick(j, RUN_MAX / 4) + 1;

		if (n % 2)
			len = pick(j, CHUNK_SIZE) + 1;
		if (n % 3 == 0)
			at -= at % CHUNK_SIZE;
		if (len > AREA - at)
			len = AREA - at;
		if (n % 40 == 39) {
			memset(model + base + at, 0, len);
			CHECK(vf_allocate(file,
					  FALLOC_FL_PUNCH_HOLE |
						  FALLOC_FL_KEEP_SIZE,
					  base + at, len) == 0);
		} else {
			put(j, base + at, len);
		}
		at = pick(j, AREA - CHUNK_SIZE);
		expect(j, base + at, CHUNK_SIZE);
	}
	return NULL;
}

/* The end is its: it grows in all ways, and is cut. */
static void *move_end(void *arg)
{
	struct job *j = arg;
	size_t size = BODY;

	for (int n = 0; n < rounds && !failures; n++) {
		size_t len = pick(j, RUN_MAX) + 1, gap = 0;

		if (n % 3)
			len = (len + CHUNK_SIZE - 1) / CHUNK_SIZE * CHUNK_SIZE;
		else if (n % 2)
			len = pick(j, 300) + 1;
		if (n % 29 == 28)
			gap = pick(j, 9 * CHUNK_SIZE);
		if (size + gap + len > BODY + TAIL_MAX || n % 50 == 49) {
			size -= pick(j, size - BODY + 1);
			CHECK(vf_truncate(file, size) == 0);
			continue;
		}
		memset(model + size, 0, gap);
		put(j, size + gap, len);
		size += gap + len;
		CHECK(vfile_size(file) == size);
		expect(j, size - len, len);
	}
	return NULL;
}

static void *sync_it(void *arg)
{
	struct job *j = arg;

	while (!stop)
		CHECK(vfile_sync(file, pick(j, 8) > 0) == 0);
	return NULL;
}

static void *empty_it(void *arg)
{
	struct job *j = arg;

	while (!stop) {
		struct timespec pause = {.tv_nsec = (long)pick(j, 20000000)};

		CHECK(journal_flush(fixture->vault) == 0);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void expect_all(const char *name, uint64_t size)
{
	struct vfile *f = vf_open(fixture, fixture->vault, name);

	assert_int_equal(vfile_size(f), size);
	vf_expect(f, model, size);
	vfile_close(f);
}

static void test_threads__one_file(void **state)
{
	void *(*const work[WRITERS + 4])(void *) = {
		write_area, write_area, write_area, write_area, write_area,
		write_area, move_end,	sync_it,    sync_it,	empty_it};
	struct job jobs[WRITERS + 4];
	pthread_t t[WRITERS + 4];
	uint64_t seed = vf_seed(), size;

	fixture = *state;
	if (!fixture->vault->journal) {
		assert_int_equal(vault_lock(fixture->vault, false, false), 0);
		assert_int_equal(journal_start(fixture->vault), 0);
	}
	file = vf_create(fixture, "f");
	assert_int_equal(vf_truncate(file, BODY), 0);
	for (unsigned i = 0; i < WRITERS + 4; i++) {
		jobs[i] = (struct job){i, seed + i, malloc(RUN_MAX)};
		assert_non_null(jobs[i].buf);
		assert_int_equal(pthread_create(&t[i], NULL, work[i], &jobs[i]),
				 0);
	}
	for (unsigned i = 0; i < WRITERS + 4; i++) {
		if (i == WRITERS + 1)
			stop = true;
		pthread_join(t[i], NULL);
		free(jobs[i].buf);
	}
	assert_int_equal(failures, 0);
	size = vfile_size(file);
	vf_expect(file, model, size);
	vfile_close(file);
	expect_all("f", size);
	assert_int_equal(journal_stop(fixture->vault), 0);
	expect_all("f", size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_threads__one_file,
						fx_setup, fx_teardown),
	};
	const char *text = getenv("FROND_ROUNDS");
	int ret = vf_init();

	if (text)
		rounds = atoi(text);
	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
