#include "vault_fixture.h"

#include "rangelock.h"

#include <stdatomic.h>
#include <time.h>

enum { CELLS = 32, THREADS = 6, ROUNDS = 4000 };

static struct rangelock rl;
static long cell[CELLS]; /* plain: a race detector sees a missing lock */
static atomic_int readers[CELLS], writers[CELLS], clashes;

static void work(unsigned first, unsigned last, bool exclusive)
{
	for (unsigned i = first; i <= last; i++) {
		if (exclusive) {
			if (writers[i]++ || readers[i])
				clashes++;
			cell[i]++;
		} else {
			readers[i]++;
			if (writers[i] || cell[i] < 0)
				clashes++;
		}
	}
	for (unsigned i = first; i <= last; i++) {
		if (exclusive)
			writers[i]--;
		else
			readers[i]--;
	}
}

static void *worker(void *arg)
{
	long *sum = arg;

	for (int n = 0; n < ROUNDS; n++) {
		unsigned first = randombytes_uniform(CELLS);
		unsigned last = first + randombytes_uniform(CELLS - first);
		bool exclusive = randombytes_uniform(2);
		struct range r;

		rangelock_acquire(&rl, &r, first, n % 16 ? last : UINT64_MAX,
				  exclusive);
		work(first, last, exclusive);
		rangelock_release(&rl, &r);
		if (exclusive)
			*sum += last - first + 1;
	}
	return NULL;
}

static void test_rangelock__writers_exclude(void **state)
{
	pthread_t t[THREADS];
	long sums[THREADS] = {0}, expected = 0, found = 0;

	(void)state;
	rangelock_init(&rl);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, worker, &sums[i]),
				 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		expected += sums[i];
	}
	for (int i = 0; i < CELLS; i++)
		found += cell[i];
	assert_int_equal(clashes, 0);
	assert_int_equal(found, expected);
	assert_null(rl.head);
	assert_null(rl.tail);
	rangelock_fini(&rl);
}

/* Granted from one thread, these can only be granted at once. */
static void test_rangelock__strangers_do_not_meet(void **state)
{
	struct range a, b, c, d;

	(void)state;
	rangelock_init(&rl);
	rangelock_acquire(&rl, &a, 0, 9, true);
	rangelock_acquire(&rl, &b, 10, 19, true);
	rangelock_acquire(&rl, &c, 20, UINT64_MAX, false);
	rangelock_acquire(&rl, &d, 25, UINT64_MAX, false);
	rangelock_release(&rl, &b);
	rangelock_release(&rl, &a);
	rangelock_release(&rl, &d);
	rangelock_release(&rl, &c);
	rangelock_fini(&rl);
}

static atomic_int order;

struct queued {
	uint64_t first, last;
	bool exclusive;
	int came;
};

static void *queue_up(void *arg)
{
	struct queued *q = arg;
	struct range r;

	rangelock_acquire(&rl, &r, q->first, q->last, q->exclusive);
	q->came = ++order;
	rangelock_release(&rl, &r);
	return NULL;
}

static bool queued(uint64_t first, uint64_t last)
{
	bool found = false;

	pthread_mutex_lock(&rl.lock);
	for (struct range *r = rl.head; r; r = r->next)
		found = found || (r->first == first && r->last == last);
	pthread_mutex_unlock(&rl.lock);
	return found;
}

/* A reader that comes after a waiting writer does not overtake it. */
static void test_rangelock__a_writer_is_not_starved(void **state)
{
	const struct timespec ms = {.tv_nsec = 1000000};
	struct queued writer = {1, 6, true, 0}, reader = {2, 3, false, 0};
	struct range held;
	pthread_t w, r;

	(void)state;
	rangelock_init(&rl);
	rangelock_acquire(&rl, &held, 0, 5, false);
	assert_int_equal(pthread_create(&w, NULL, queue_up, &writer), 0);
	while (!queued(1, 6))
		nanosleep(&ms, NULL);
	assert_int_equal(pthread_create(&r, NULL, queue_up, &reader), 0);
	while (!queued(2, 3))
		nanosleep(&ms, NULL);
	for (int i = 0; i < 20; i++)
		nanosleep(&ms, NULL);
	assert_int_equal(order, 0);
	rangelock_release(&rl, &held);
	pthread_join(w, NULL);
	pthread_join(r, NULL);
	assert_int_equal(writer.came, 1);
	assert_int_equal(reader.came, 2);
	rangelock_fini(&rl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rangelock__writers_exclude),
		cmocka_unit_test(test_rangelock__strangers_do_not_meet),
		cmocka_unit_test(test_rangelock__a_writer_is_not_starved),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
