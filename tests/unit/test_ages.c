#include "ages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

#include <cmocka.h>

/* Cells of a plain array: one for each of the first and last chunks, and one,
 * in the middle, for all between. */
enum { CELLS = 49, MIDDLE = CELLS / 2, ROUNDS = 200000 };

static uint64_t cell_first(size_t i)
{
	return i <= MIDDLE ? i : AGES_END - (CELLS - 1 - i);
}

static uint64_t cell_last(size_t i)
{
	return i == MIDDLE ? cell_first(i + 1) - 1 : cell_first(i);
}

static void assert_sane(const struct ages *a)
{
	uint64_t before_s = 0;

	assert_true(a->count <= AGES_MAX && a->count <= a->room);
	for (size_t i = 0; i < a->count; i++) {
		if (i)
			assert_true(a->runs[i].first > a->runs[i - 1].first);
		assert_int_not_equal(a->runs[i].sealed_s, before_s);
		before_s = a->runs[i].sealed_s;
	}
}

static void assert_like(const struct ages *a, const uint64_t *plain)
{
	for (size_t i = 0; i < CELLS; i++) {
		size_t j = i;
		uint64_t last;

		assert_int_equal(ages_at(a, cell_first(i), &last), plain[i]);
		while (j + 1 < CELLS && plain[j + 1] == plain[i])
			j++;
		assert_true(last == cell_last(j));
	}
}

static uint64_t plain_most(const uint64_t *plain, size_t first, size_t last)
{
	uint64_t most = plain[first];

	for (size_t i = first; i <= last; i++)
		most = plain[i] > most ? plain[i] : most;
	return most;
}

static size_t below(size_t limit)
{
	return (size_t)random() % limit;
}

static void test_ages__are_as_those_of_a_plain_array(void **state)
{
	uint64_t plain[CELLS] = {0};
	struct ages a = {0};

	(void)state;
	srandom(1);
	for (unsigned n = 0; n < ROUNDS; n++) {
		size_t first = below(CELLS),
		       last = first + below(CELLS - first);
		uint64_t sealed_s = below(4);
		size_t with = ages_count_with(&a, cell_first(first),
					      cell_last(last), sealed_s);

		assert_true(ages_most(&a, cell_first(first), cell_last(last)) ==
			    plain_most(plain, first, last));
		ages_set(&a, cell_first(first), cell_last(last), sealed_s);
		for (size_t i = first; i <= last; i++)
			plain[i] = sealed_s;
		assert_int_equal(a.count, with);
		assert_sane(&a);
		assert_like(&a, plain);
	}
	ages_fini(&a);
}

static void test_ages__of_nothing(void **state)
{
	struct ages a = {0};
	uint64_t last;

	(void)state;
	assert_int_equal(ages_at(&a, 0, &last), 0);
	assert_true(last == AGES_END);
	assert_int_equal(ages_at(&a, AGES_END, &last), 0);
	assert_int_equal(ages_most(&a, 0, AGES_END), 0);
	ages_set(&a, 3, 9, 0);
	assert_int_equal(a.count, 0);
	ages_fini(&a);
}

static void test_ages__the_last_chunk_is_one(void **state)
{
	struct ages a = {0};
	uint64_t last;

	(void)state;
	ages_set(&a, AGES_END, AGES_END, 7);
	assert_int_equal(ages_at(&a, AGES_END, &last), 7);
	assert_int_equal(ages_at(&a, AGES_END - 1, &last), 0);
	assert_true(last == AGES_END - 1);
	ages_set(&a, 0, AGES_END - 1, 7);
	assert_int_equal(a.count, 1);
	ages_set(&a, 0, AGES_END, 8);
	assert_int_equal(ages_most(&a, 0, AGES_END), 8);
	ages_fini(&a);
}

/* Every second chunk has a time of its own, and some are near each other. */
static void test_ages__too_many_are_known_less_never_more(void **state)
{
	enum { COUNT = 3 * AGES_MAX };
	struct ages a = {0};
	uint64_t last, times[COUNT], known = 0;

	(void)state;
	srandom(2);
	for (size_t i = 0; i < COUNT; i++) {
		times[i] = 1000000 + below(1000000);
		ages_set(&a, 2 * i, 2 * i, times[i]);
		assert_sane(&a);
	}
	assert_true(a.count > AGES_MAX - 4);
	for (size_t i = 0; i < COUNT; i++) {
		uint64_t at = ages_at(&a, 2 * i, &last);

		assert_true(at <= times[i]);
		known += at > 0;
		assert_int_equal(ages_at(&a, 2 * i + 1, &last), 0);
	}
	/* and not nothing */
	assert_true(known > AGES_MAX / 2 - 4);
	ages_fini(&a);
}

static void test_ages__neighbours_that_differ_least_become_one(void **state)
{
	struct ages a = {0};
	uint64_t last;

	(void)state;
	/* far apart, but for two */
	for (size_t i = 0; i < AGES_MAX; i++)
		ages_set(&a, i, AGES_END, 1000 * (i + 1));
	assert_int_equal(a.count, AGES_MAX);
	ages_set(&a, AGES_MAX, AGES_END, 1000 * AGES_MAX + 1);
	assert_true(a.count <= AGES_MAX);
	assert_int_equal(ages_at(&a, AGES_MAX, &last), 1000 * AGES_MAX);
	for (size_t i = 0; i < AGES_MAX; i++)
		assert_int_equal(ages_at(&a, i, &last), 1000 * (i + 1));
	ages_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ages__are_as_those_of_a_plain_array),
		cmocka_unit_test(test_ages__of_nothing),
		cmocka_unit_test(test_ages__the_last_chunk_is_one),
		cmocka_unit_test(test_ages__too_many_are_known_less_never_more),
		cmocka_unit_test(
			test_ages__neighbours_that_differ_least_become_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
