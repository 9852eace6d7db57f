#include "vault_fixture.h"

#include "gaps.h"

enum { CHUNKS = 400 };

/* What the list says against a plain row of flags. */
static void check(const struct gaps *g, const bool *hole)
{
	bool listed[CHUNKS] = {false};
	uint64_t behind = 0;

	for (size_t i = 0; i < g->count; i++) {
		assert_true(g->list[i].first <= g->list[i].last);
		assert_true(i == 0 || g->list[i].first > behind);
		behind = g->list[i].last;
		for (uint64_t c = g->list[i].first; c <= behind; c++)
			listed[c] = true;
	}
	assert_memory_equal(listed, hole, sizeof listed);
	for (int i = 0; i < 8; i++) {
		uint32_t a = randombytes_uniform(CHUNKS), b = a;
		bool all = hole[a], any = hole[a];

		while (b + 1 < CHUNKS && randombytes_uniform(4)) {
			b++;
			all = all && hole[b];
			any = any || hole[b];
		}
		assert_int_equal(gaps_cover(g, a, b), all);
		assert_int_equal(gaps_meet(g, a, b), any);
	}
}

static void test_gaps__random_against_flags(void **state)
{
	(void)state;
	for (int round = 0; round < 300; round++) {
		struct gaps g = {0};
		bool hole[CHUNKS] = {false};

		for (int step = 0; step < 200 && !g.unknown; step++) {
			uint32_t a = randombytes_uniform(CHUNKS);
			uint32_t b = a + randombytes_uniform(
						 round % 2 ? 4 : CHUNKS - a);
			bool add = randombytes_uniform(2);

			if (b >= CHUNKS)
				b = CHUNKS - 1;
			if (add)
				gaps_add(&g, a, b);
			else
				gaps_fill(&g, a, b);
			for (uint32_t i = a; i <= b; i++)
				hole[i] = add;
			if (!g.unknown)
				check(&g, hole);
		}
		gaps_fini(&g);
	}
}

static void test_gaps__cut_off_at_the_end(void **state)
{
	struct gaps g = {0};

	(void)state;
	gaps_add(&g, 5, UINT64_MAX - 1);
	gaps_fill(&g, 10, UINT64_MAX);
	assert_int_equal(g.count, 1);
	assert_int_equal(g.list[0].last, 9);
	gaps_fill(&g, 0, UINT64_MAX);
	assert_true(gaps_none(&g));
	gaps_fini(&g);
}

/* A list given up must never again say that there are no holes. */
static void test_gaps__too_many_stay_unknown(void **state)
{
	struct gaps g = {0};

	(void)state;
	for (uint64_t i = 0; i < GAPS_MAX; i++)
		gaps_add(&g, 2 * i, 2 * i);
	assert_false(g.unknown);
	assert_int_equal(g.count, GAPS_MAX);
	gaps_add(&g, 2 * GAPS_MAX, 2 * GAPS_MAX);
	assert_true(g.unknown);
	gaps_fill(&g, 0, UINT64_MAX);
	assert_false(gaps_none(&g));
	gaps_add(&g, 1, 2);
	gaps_fill(&g, 0, UINT64_MAX);
	assert_false(gaps_none(&g));
	gaps_fini(&g);
	assert_true(gaps_none(&g));
}

/* Splitting a gap of a full list gives it up, too. */
static void test_gaps__split_of_a_full_list(void **state)
{
	struct gaps g = {0};

	(void)state;
	for (uint64_t i = 0; i < GAPS_MAX; i++)
		gaps_add(&g, 10 * i, 10 * i + 5);
	gaps_fill(&g, 12, 13);
	assert_true(g.unknown);
	assert_false(gaps_none(&g));
	gaps_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gaps__random_against_flags),
		cmocka_unit_test(test_gaps__cut_off_at_the_end),
		cmocka_unit_test(test_gaps__too_many_stay_unknown),
		cmocka_unit_test(test_gaps__split_of_a_full_list),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
