/*
 * Writes that make a file longer come from many threads, in any order: where
 * what is missing is on its way, nobody leaves a hole for it.
 */
#include "vfile_fixture.h"

#include "gather.h"
#include "journal.h"

#include <pthread.h>
#include <stdatomic.h>

void __real_vfile_seal_ahead(struct vfile *f, struct workspace *ws,
			     const struct vfile_write *w);
void __wrap_vfile_seal_ahead(struct vfile *f, struct workspace *ws,
			     const struct vfile_write *w);
int __real_vfile_write(struct vfile *f, struct workspace *ws,
		       const struct vfile_write *w, uint64_t *bad_chunk);
int __wrap_vfile_write(struct vfile *f, struct workspace *ws,
		       const struct vfile_write *w, uint64_t *bad_chunk);
int __real_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock,
				  const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock,
				  const struct timespec *until);

enum { PIECE = 1 << 18, PIECES = 8, HOLES = 20 };

static uint8_t bytes[PIECES * PIECE];
static struct counters counters;
static struct gather *gather;
static struct vfile *file;
/* Who writes, or seals, what begins here stays there until it may leave. */
static uint64_t write_stays, seal_stays;
static atomic_bool writes, seals, write_may, seal_may;
static atomic_int patient; /* how often somebody was */
static bool in_vain;	   /* for no time at all */

static void wait_until(const atomic_bool *flag)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	while (!*flag)
		nanosleep(&pause, NULL);
}

static void stay(atomic_bool *here, const atomic_bool *may)
{
	*here = true;
	wait_until(may);
}

void __wrap_vfile_seal_ahead(struct vfile *f, struct workspace *ws,
			     const struct vfile_write *w)
{
	if (w->offset == seal_stays)
		stay(&seals, &seal_may);
	__real_vfile_seal_ahead(f, ws, w);
}

int __wrap_vfile_write(struct vfile *f, struct workspace *ws,
		       const struct vfile_write *w, uint64_t *bad_chunk)
{
	if (w->offset == write_stays)
		stay(&writes, &write_may);
	return __real_vfile_write(f, ws, w, bad_chunk);
}

/* However busy the machine is. */
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock,
				  const struct timespec *until)
{
	struct timespec later = *until;

	patient++;
	later.tv_sec += in_vain ? -1 : 60;
	return __real_pthread_cond_timedwait(cond, lock, &later);
}

static void *put_piece(void *arg)
{
	const struct vfile_write w = {
		.data = arg,
		.len = PIECE,
		.offset = (uint64_t)((uint8_t *)arg - bytes)};
	uint64_t bad;

	/* cmocka's assertions belong to the thread that runs the test */
	if (gather_write(gather, file, workspace_get(), &w, &bad) != 0)
		abort();
	return NULL;
}

static uint8_t *piece(size_t n)
{
	return bytes + n * PIECE;
}

static pthread_t start(size_t n)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, put_piece, piece(n)), 0);
	return thread;
}

static void join(pthread_t thread)
{
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void begin(struct fixture *fx)
{
	uint64_t seed = vf_seed();

	vf_random_bytes(&seed, bytes, sizeof bytes);
	write_stays = seal_stays = UINT64_MAX;
	writes = seals = write_may = seal_may = false;
	patient = 0;
	in_vain = false;
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	/* its thread would mark the end now and then */
	assert_int_equal(journal_begin(fx->vault), 0);
	file = vf_create(fx, "f");
	gather = gather_new(&counters);
	assert_non_null(gather);
}

static void finish(struct fixture *fx, size_t pieces)
{
	vf_expect(file, bytes, pieces * PIECE);
	gather_free(gather);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
}

static void expect_no_record(struct fixture *fx)
{
	struct journal_counters c;

	journal_counters(fx->vault, &c);
	assert_int_equal(c.records, 0);
}

static void test_gather__who_seals_longer_comes_first(void **state)
{
	struct fixture *fx = *state;
	const struct timespec pause = {.tv_nsec = 50000000};
	pthread_t first, second, third;

	begin(fx);
	put_piece(piece(0));
	write_stays = PIECE;
	seal_stays = 2 * PIECE;
	first = start(1);
	wait_until(&writes);
	second = start(2);
	wait_until(&seals);
	third = start(3);
	nanosleep(&pause, NULL); /* it is waiting, or will be */
	write_may = true;
	join(first);
	nanosleep(&pause, NULL); /* its turn, were it not for the second */
	seal_may = true;
	join(second);
	join(third);
	expect_no_record(fx);
	finish(fx, 4);
}

static void test_gather__who_is_not_there_yet_comes_first(void **state)
{
	struct fixture *fx = *state;
	pthread_t early;

	begin(fx);
	put_piece(piece(0));
	early = start(2);
	while (patient == 0 && vfile_size(file) == PIECE)
		sched_yield();
	put_piece(piece(1));
	join(early);
	expect_no_record(fx);
	finish(fx, 3);
}

/* It is enough to have been wrong once or twice. */
static void test_gather__nobody_waits_for_holes(void **state)
{
	struct fixture *fx = *state;
	static const uint8_t data[CHUNK_SIZE] = {1};
	struct vfile_write w = {.data = data, .len = sizeof data};
	uint64_t bad;

	begin(fx);
	in_vain = true;
	for (size_t n = 0; n < HOLES; n++) {
		for (int k = 0; k < 2; k++, w.offset += sizeof data)
			assert_int_equal(
				gather_write(gather, file, vf_ws(), &w, &bad),
				0);
		w.offset += 3 * sizeof data;
	}
	assert_in_range(patient, 1, 2);
	assert_int_equal(vfile_size(file), w.offset - 3 * sizeof data);
	gather_free(gather);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_gather__who_seals_longer_comes_first),
		TEST(test_gather__who_is_not_there_yet_comes_first),
		TEST(test_gather__nobody_waits_for_holes),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
