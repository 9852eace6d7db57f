#include "memory_internal.h"
#include "vault_fixture.h"

#include <stdlib.h>

static const uint8_t dir_a[DIRID_LEN] = "a directory's i",
		     dir_b[DIRID_LEN] = "another one's i";
static const struct memory_place place = {dir_a, "entry"};

static int setup(void **state)
{
	char home[120];
	struct fixture *fx;

	if (fx_setup(state))
		return -1;
	fx = *state;
	snprintf(home, sizeof home, "%s/state", fx->top);
	if (setenv("XDG_STATE_HOME", home, 1) < 0 || mkdir(home, 0700) < 0)
		return -1;
	return memory_open(fx->vault, false);
}

static void keep(struct fixture *fx)
{
	memory_mark(fx->vault);
	assert_int_equal(memory_keep(fx->vault), 0);
}

/* The process dies, and another one comes. */
static void crash(struct fixture *fx)
{
	memory_free_(fx->vault->memory);
	fx->vault->memory = NULL;
	assert_int_equal(memory_open(fx->vault, false), 0);
}

static void test_replaced__what_was_there_is_old(void **state)
{
	struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	/* nothing was known of it, and the new one is of this second */
	assert_false(memory_place_taken(fx->vault, &place, now + 9));
	memory_place_replaced(fx->vault, &place, now);
	assert_true(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	assert_false(memory_place_is_old(fx->vault, &place, now, NULL));
	keep(fx);
	crash(fx);
	assert_true(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	assert_false(memory_place_is_old(fx->vault, &place, now, NULL));
}

static void test_taken__tells_if_anything_was_known(void **state)
{
	struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	assert_false(memory_place_taken(fx->vault, &place, now - 5));
	memory_place_left(fx->vault, &place, dir_b);
	assert_true(memory_place_taken(fx->vault, &place, now - 5));
	assert_false(memory_place_is_old(fx->vault, &place, 0, dir_b));
	keep(fx);
	assert_false(memory_place_taken(fx->vault, &place, now - 5));
}

/* What was marked speaks against what came meanwhile: it is not kept. */
static void test_keep__of_a_place_that_was_taken_meanwhile(void **state)
{
	struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	memory_place_left(fx->vault, &place, NULL);
	memory_mark(fx->vault);
	assert_true(memory_place_taken(fx->vault, &place, now - 5));
	memory_place_replaced(fx->vault, &place, now - 5);
	assert_int_equal(memory_keep(fx->vault), 0);
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, now - 5, NULL));
}

static void test_taken__lasts_though_the_process_dies(void **state)
{
	struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	memory_place_left(fx->vault, &place, dir_b);
	keep(fx);
	assert_true(memory_place_taken(fx->vault, &place, now - 5));
	memory_place_replaced(fx->vault, &place, now - 5);
	assert_true(memory_place_is_old(fx->vault, &place, now - 6, NULL));
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, now - 5, NULL));
	assert_false(memory_place_is_old(fx->vault, &place, 0, dir_b));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_replaced__what_was_there_is_old),
		CASE(test_taken__tells_if_anything_was_known),
		CASE(test_keep__of_a_place_that_was_taken_meanwhile),
		CASE(test_taken__lasts_though_the_process_dies),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
