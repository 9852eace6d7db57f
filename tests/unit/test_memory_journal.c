/* What was seen is kept when the journal has made everything durable. */
#include "memory_fixture.h"

#include "journal_internal.h"
#include "vfile_internal.h"

#include <pthread.h>

static void begin(const struct fixture *fx)
{
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
}

static void test_checkpoint__keeps_what_was_seen(void **state)
{
	const struct fixture *fx = *state;

	begin(fx);
	stored(fx, id_a, 0, AGES_END, 1000);
	assert_int_equal(journal_checkpoint_(fx->vault->journal), 0);
	assert_false(memory_has_news(fx->vault));
	crash(fx);
	assert_int_equal(known(fx, id_a, 0), 1000);
}

static void test_checkpoint__that_failed_keeps_nothing(void **state)
{
	const struct fixture *fx = *state;

	begin(fx);
	stored(fx, id_a, 0, AGES_END, 1000);
	syncfs_fails = true;
	assert_int_equal(journal_checkpoint_(fx->vault->journal), -EIO);
	syncfs_fails = false;
	assert_true(memory_has_news(fx->vault));
	crash(fx);
	assert_int_equal(known(fx, id_a, 0), 0);
}

static const struct fixture *syncing;

/* While everything is being made durable. */
static void store_more(void)
{
	stored(syncing, id_b, 0, AGES_END, 1000);
	syncs = NULL;
}

static void test_checkpoint__keeps_nothing_that_came_later(void **state)
{
	const struct fixture *fx = *state;

	begin(fx);
	stored(fx, id_a, 0, AGES_END, 1000);
	syncing = fx;
	syncs = store_more;
	assert_int_equal(journal_checkpoint_(fx->vault->journal), 0);
	assert_null(syncs);
	crash(fx);
	assert_int_equal(known(fx, id_a, 0), 1000);
	assert_int_equal(known(fx, id_b, 0), 0);
}

static bool has_ended(const struct fixture *fx)
{
	return !fx_exists(fx->vault->meta_fd, "journal/session.ended") &&
	       !fx_exists(fx->vault->meta_fd, "journal/session");
}

/* Whoever waits for the data to be at rest waits for that, too. */
static void look_for_rest(void)
{
	assert_false(has_ended(syncing));
	assert_true(memory_has_news(syncing->vault));
}

static void test_end__keeps_what_was_seen(void **state)
{
	const struct fixture *fx = *state;

	begin(fx);
	stored(fx, id_a, 0, AGES_END, 1000);
	syncing = fx;
	syncs = look_for_rest;
	assert_int_equal(journal_stop(fx->vault), 0);
	syncs = NULL;
	assert_true(has_ended(fx));
	assert_false(memory_has_news(fx->vault));
	crash(fx);
	assert_int_equal(known(fx, id_a, 0), 1000);
}

enum { THREADS = 4, FILES = 40, ROUNDS = 20000 };

static void *come_and_go(void *arg)
{
	const struct fixture *fx = syncing;
	unsigned seed = (unsigned)(uintptr_t)arg;
	uint8_t id[FILE_ID_LEN];

	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned which = (unsigned)rand_r(&seed) % FILES;
		uint64_t at = (uint64_t)(uintptr_t)arg * 1000;
		const uint64_t now = 1000 + n;
		struct memory_file *mf;

		id_of(which, id);
		mf = memory_file_get(fx->vault, id, false);
		/* each has chunks of its own */
		memory_file_stored(mf, at, at + 9, now);
		if (memory_file_judge(mf, at + 3, 1, &now) != 1)
			abort();
		memory_file_put(fx->vault, mf);
		memory_place_left(fx->vault, &place, NULL);
		(void)memory_place_is_old(fx->vault, &place, 7, NULL);
		memory_place_taken(fx->vault, &other_place, 7);
	}
	return NULL;
}

static void test_threads__all_that_they_saw_is_kept(void **state)
{
	const struct fixture *fx = *state;
	pthread_t threads[THREADS];
	uint8_t id[FILE_ID_LEN];

	syncing = fx;
	for (uintptr_t t = 0; t < THREADS; t++)
		assert_int_equal(pthread_create(&threads[t], NULL, come_and_go,
						(void *)(t + 1)),
				 0);
	for (unsigned n = 0; n < 30; n++)
		keep(fx);
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	keep(fx);
	assert_false(memory_has_news(fx->vault));
	assert_int_equal(fx->vault->memory->files.count, 0);
	crash(fx);
	for (unsigned which = 0; which < FILES; which++)
		for (unsigned t = 1; t <= THREADS; t++) {
			id_of(which, id);
			assert_true(known(fx, id, t * 1000) >= 1000);
			assert_int_equal(known(fx, id, t * 1000),
					 known(fx, id, t * 1000 + 9));
			assert_int_equal(known(fx, id, t * 1000 + 10), 0);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_checkpoint__keeps_what_was_seen),
		TEST(test_checkpoint__that_failed_keeps_nothing),
		TEST(test_checkpoint__keeps_nothing_that_came_later),
		TEST(test_end__keeps_what_was_seen),
		TEST(test_threads__all_that_they_saw_is_kept),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
