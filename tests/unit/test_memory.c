#include "memory_internal.h"
#include "vault_fixture.h"

#include <stdlib.h>

static const uint8_t id_a[FILE_ID_LEN] = "file id a, sixt",
		     id_b[FILE_ID_LEN] = "file id b, sixt";
static const uint8_t dir_a[DIRID_LEN] = "a directory's i",
		     dir_b[DIRID_LEN] = "another one's i";

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

static void stored(struct fixture *fx, const uint8_t *id, uint64_t first,
		   uint64_t last, uint64_t sealed_s)
{
	struct memory_file *mf = memory_file_get(fx->vault, id, false);

	assert_non_null(mf);
	memory_file_stored(mf, first, last, sealed_s);
	memory_file_put(fx->vault, mf);
}

static bool is_fine(struct fixture *fx, const uint8_t *id, uint64_t index,
		    uint64_t sealed_s)
{
	struct memory_file *mf = memory_file_get(fx->vault, id, false);
	size_t good;

	assert_non_null(mf);
	good = memory_file_judge(mf, index, 1, &sealed_s);
	memory_file_put(fx->vault, mf);
	return good == 1;
}

static void test_file__older_is_not_fine(void **state)
{
	struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	assert_true(is_fine(fx, id_a, 5, 1000));
	assert_false(is_fine(fx, id_a, 5, 999));
	assert_true(is_fine(fx, id_b, 5, 999));
	keep(fx);
	assert_int_equal(fx->vault->memory->noted, 0);
	crash(fx);
	assert_false(is_fine(fx, id_a, 5, 999));
	assert_true(is_fine(fx, id_a, 5, 1000));
}

static void test_place__what_left_is_old(void **state)
{
	struct fixture *fx = *state;
	const struct memory_place place = {dir_a, "entry"};
	uint64_t now = vault_now(fx->vault);

	memory_place_left(fx->vault, &place, dir_b);
	assert_true(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	assert_false(memory_place_is_old(fx->vault, &place, now + 9, NULL));
	assert_true(memory_place_is_old(fx->vault, &place, 0, dir_b));
	assert_false(memory_place_is_old(fx->vault, &place, 0, dir_a));
	keep(fx);
	crash(fx);
	assert_true(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	memory_place_taken(fx->vault, &place, now - 1);
	assert_false(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, now - 1, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_file__older_is_not_fine,
						setup, fx_teardown),
		cmocka_unit_test_setup_teardown(test_place__what_left_is_old,
						setup, fx_teardown),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
