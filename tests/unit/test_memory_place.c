#include "memory_fixture.h"

enum { DAY_S = 86400, TOO_LONG_S = 60 };

static void test_place__what_left_it_is_old(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	memory_place_left(fx->vault, &place, NULL);
	for (int i = 0; i < 2; i++) {
		assert_true(
			memory_place_is_old(fx->vault, &place, now - 1, NULL));
		assert_false(
			memory_place_is_old(fx->vault, &place, now + 9, NULL));
		assert_false(memory_place_is_old(fx->vault, &place, 0, dir_b));
		assert_false(memory_place_is_old(fx->vault, &other_place,
						 now - 1, NULL));
		keep(fx);
		crash(fx);
	}
}

static void test_place__a_directory_is_known_by_its_id(void **state)
{
	const struct fixture *fx = *state;

	memory_place_left(fx->vault, &place, dir_b);
	for (int i = 0; i < 2; i++) {
		assert_true(memory_place_is_old(fx->vault, &place, 0, dir_b));
		assert_false(memory_place_is_old(fx->vault, &place, 0, dir_a));
		keep(fx);
		crash(fx);
	}
}

static void test_place__what_is_put_there_on_purpose_is_not(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	memory_place_left(fx->vault, &place, dir_b);
	memory_place_taken(fx->vault, &place, now - 1);
	assert_false(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	memory_place_left(fx->vault, &place, dir_b);
	memory_place_taken(fx->vault, &place, 0);
	assert_false(memory_place_is_old(fx->vault, &place, 0, dir_b));
	keep(fx);
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, 0, dir_b));
}

/* What was kept speaks against it, and what came since is lost. */
static void test_place__taken_and_a_crash_is_not_old(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	memory_place_left(fx->vault, &place, NULL);
	keep(fx);
	memory_place_taken(fx->vault, &place, now - 1);
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	/* or between mark and keep, */
	memory_place_left(fx->vault, &place, NULL);
	keep(fx);
	memory_mark(fx->vault);
	memory_place_taken(fx->vault, &place, now - 1);
	assert_int_equal(memory_keep(fx->vault), 0);
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	/* when it had not been kept yet as well */
	memory_place_left(fx->vault, &place, NULL);
	memory_mark(fx->vault);
	memory_place_taken(fx->vault, &place, now - 1);
	assert_int_equal(memory_keep(fx->vault), 0);
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, now - 1, NULL));
}

/* That was a doubt, and is none any more when all has been kept. */
static void test_place__others_are_known_as_before(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	memory_place_left(fx->vault, &place, NULL);
	memory_place_left(fx->vault, &other_place, NULL);
	keep(fx);
	memory_place_taken(fx->vault, &place, now - 1);
	memory_mark(fx->vault);
	memory_place_taken(fx->vault, &other_place, now - 1);
	memory_place_left(fx->vault, &other_place, NULL);
	assert_int_equal(memory_keep(fx->vault), 0);
	reopen(fx, false);
	assert_true(
		memory_place_is_old(fx->vault, &other_place, now - 1, NULL));
	keep(fx);
	crash(fx);
	assert_true(
		memory_place_is_old(fx->vault, &other_place, now - 1, NULL));
	assert_false(memory_place_is_old(fx->vault, &place, now - 1, NULL));
}

static void test_place__accepted(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	memory_place_left(fx->vault, &place, NULL);
	memory_place_left(fx->vault, &other_place, NULL);
	keep(fx);
	memory_place_accept(fx->vault, &place);
	assert_false(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	reopen(fx, false);
	assert_false(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	assert_true(
		memory_place_is_old(fx->vault, &other_place, now - 1, NULL));
}

static void test_place__of_a_directory_that_is_gone_is_not_kept(void **state)
{
	const struct fixture *fx = *state;
	const struct memory_place elsewhere = {dir_b, "entry"};

	memory_place_left(fx->vault, &place, NULL);
	memory_place_left(fx->vault, &elsewhere, NULL);
	memory_dir_gone(fx->vault, dir_a);
	keep(fx);
	assert_int_equal(count_rows(fx, "places"), 1);
	assert_false(memory_has_news(fx->vault));
	assert_int_equal(fx->vault->memory->places.count, 0);
}

/* Another process, that has it until it is told to end. */
struct other {
	pid_t pid;
	int says, hears;
};

static void other_start(const struct fixture *fx, struct other *o)
{
	int says[2], hears[2];
	char byte = 0;

	assert_int_equal(pipe(says), 0);
	assert_int_equal(pipe(hears), 0);
	o->pid = fork();
	if (o->pid == 0) {
		int err;

		alarm(TOO_LONG_S);
		err = memory_open(fx->vault, false);

		stored(fx, id_a, 0, AGES_END, 1000);
		memory_place_left(fx->vault, &place, NULL);
		err |= write(says[1], &byte, 1) != 1;
		err |= read(hears[0], &byte, 1) != 1;
		memory_close(fx->vault);
		_exit(err ? 1 : 0);
	}
	o->says = says[0];
	o->hears = hears[1];
	assert_int_equal(read(o->says, &byte, 1), 1);
	close(says[1]);
	close(hears[0]);
}

static void other_end(struct other *o)
{
	int status;

	assert_int_equal(write(o->hears, "", 1), 1);
	assert_int_equal(waitpid(o->pid, &status, 0), o->pid);
	assert_int_equal(status, 0);
	close(o->says);
	close(o->hears);
}

static void test_processes__the_second_one_comes_to_know_later(void **state)
{
	const struct fixture *fx = *state;
	struct other other;

	memory_close(fx->vault);
	other_start(fx, &other);
	assert_int_equal(memory_open(fx->vault, false), -EBUSY);
	assert_non_null(fx->vault->memory);
	stored(fx, id_b, 0, AGES_END, 2000);
	memory_mark(fx->vault);
	assert_int_equal(memory_keep(fx->vault), -EBUSY);
	assert_true(is_fine(fx, id_a, 0, 7));
	assert_false(is_fine(fx, id_b, 0, 7));
	/* of this the other one's rows know nothing */
	memory_file_accept(fx->vault, id_a);
	memory_place_taken(fx->vault, &place, 7);
	other_end(&other);
	assert_true(is_fine(fx, id_a, 0, 7));
	keep(fx);
	assert_false(memory_has_news(fx->vault));
	assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
	crash(fx);
	assert_false(is_fine(fx, id_b, 0, 7));
	assert_true(is_fine(fx, id_a, 0, 7));
	assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
}

static void test_processes__and_then_what_the_first_one_knew(void **state)
{
	const struct fixture *fx = *state;
	struct other other;

	memory_close(fx->vault);
	other_start(fx, &other);
	assert_int_equal(memory_open(fx->vault, false), -EBUSY);
	other_end(&other);
	keep(fx);
	assert_false(is_fine(fx, id_a, 0, 7));
	assert_true(memory_place_is_old(fx->vault, &place, 7, NULL));
}

/* It dies before it has heard what the first one kept. */
static void test_processes__the_second_one_dies_before_that(void **state)
{
	const struct fixture *fx = *state;
	struct other other;

	memory_close(fx->vault);
	other_start(fx, &other);
	assert_int_equal(memory_open(fx->vault, false), -EBUSY);
	memory_place_taken(fx->vault, &place, 7);
	other_end(&other);
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
	assert_false(is_fine(fx, id_a, 0, 7));
	/* once */
	memory_place_left(fx->vault, &place, NULL);
	keep(fx);
	crash(fx);
	assert_true(memory_place_is_old(fx->vault, &place, 7, NULL));
}

/* Or just when it has, and has kept nothing or not all of its own yet. */
static void test_processes__the_second_one_dies_just_then(void **state)
{
	const struct fixture *fx = *state;

	for (int keeps = 0; keeps < 2; keeps++) {
		struct other other;

		memory_close(fx->vault);
		other_start(fx, &other);
		assert_int_equal(memory_open(fx->vault, false), -EBUSY);
		memory_mark(fx->vault);
		memory_place_taken(fx->vault, &place, 7);
		other_end(&other);
		if (keeps)
			assert_int_equal(memory_keep(fx->vault), 0);
		else
			assert_int_equal(memory_db_open_(fx->vault->memory), 0);
		crash(fx);
		assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
	}
}

static void test_processes__nor_does_a_third_one_know(void **state)
{
	const struct fixture *fx = *state;

	for (int dies = 0; dies < 2; dies++) {
		struct other other;

		memory_close(fx->vault);
		other_start(fx, &other);
		assert_int_equal(memory_open(fx->vault, false), -EBUSY);
		memory_place_taken(fx->vault, &place, 7);
		die(fx);
		assert_int_equal(memory_open(fx->vault, false), -EBUSY);
		other_end(&other);
		if (dies) {
			die(fx);
			assert_int_equal(memory_look(fx->vault), 0);
		} else {
			stored(fx, id_b, 0, AGES_END, 1000);
			keep(fx);
		}
		assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
		crash(fx);
		assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
	}
}

static void test_processes__by_a_clock_that_went_back_between(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);
	struct other other;

	memory_close(fx->vault);
	fx->vault->latest_s = now + 1000;
	other_start(fx, &other);
	fx->vault->latest_s = now;
	assert_int_equal(memory_open(fx->vault, false), -EBUSY);
	/* something is made there then */
	other_end(&other);
	keep(fx);
	assert_false(memory_place_is_old(fx->vault, &place, now, NULL));
}

static void test_processes__one_that_remembers_nothing_comes(void **state)
{
	const struct fixture *fx = *state;
	struct other other;

	for (int shared = 0; shared < 2; shared++) {
		memory_close(fx->vault);
		other_start(fx, &other);
		fx->vault->shared = shared;
		if (shared)
			assert_int_equal(memory_open(fx->vault, false), 0);
		else
			assert_int_equal(memory_pass_over(fx->vault), 0);
		fx->vault->shared = false;
		other_end(&other);
		assert_int_equal(memory_open(fx->vault, false), 0);
		assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
		assert_false(is_fine(fx, id_a, 0, 7));
	}
}

static void test_shared__places_are_forgotten(void **state)
{
	const struct fixture *fx = *state;
	char path[300];

	memory_place_left(fx->vault, &place, NULL);
	stored(fx, id_a, 0, AGES_END, 1000);
	memory_close(fx->vault);
	fx->vault->shared = true;
	assert_int_equal(memory_open(fx->vault, false), 0);
	assert_null(fx->vault->memory);
	fx->vault->shared = false;
	assert_int_equal(memory_open(fx->vault, false), 0);
	assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
	assert_false(is_fine(fx, id_a, 0, 7));
	memory_close(fx->vault);
	/* where there is nothing, nothing is made */
	db_path(fx, path, sizeof path);
	assert_int_equal(unlink(path), 0);
	fx->vault->shared = true;
	assert_int_equal(memory_open(fx->vault, false), 0);
	assert_int_equal(access(path, F_OK), -1);
	fx->vault->shared = false;
	assert_int_equal(memory_open(fx->vault, false), 0);
}

/* Nor does it hear of what a process moves that remembers nothing. */
static void test_passed_over__places_are_forgotten(void **state)
{
	const struct fixture *fx = *state;

	memory_place_left(fx->vault, &place, NULL);
	stored(fx, id_a, 0, AGES_END, 1000);
	memory_close(fx->vault);
	assert_int_equal(memory_pass_over(fx->vault), 0);
	assert_null(fx->vault->memory);
	assert_int_equal(memory_open(fx->vault, false), 0);
	assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
	assert_false(is_fine(fx, id_a, 0, 7));
}

static void test_replaced__what_was_there_is_old(void **state)
{
	const struct fixture *fx = *state;
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
	const struct fixture *fx = *state;
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
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	memory_place_left(fx->vault, &place, NULL);
	memory_mark(fx->vault);
	assert_true(memory_place_taken(fx->vault, &place, now - 5));
	memory_place_replaced(fx->vault, &place, now - 5);
	assert_int_equal(memory_keep(fx->vault), 0);
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, now - 5, NULL));
}

/* Nor when it was left again: who knows how much of that the disk has kept? */
static void test_keep__of_a_place_that_was_left_again_meanwhile(void **state)
{
	const struct fixture *fx = *state;

	memory_place_left(fx->vault, &place, dir_b);
	memory_mark(fx->vault);
	assert_true(memory_place_taken(fx->vault, &place, 0));
	memory_place_left(fx->vault, &place, dir_b);
	assert_int_equal(memory_keep(fx->vault), 0);
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, 0, dir_b));
	/* which is kept with the next */
	memory_place_left(fx->vault, &place, dir_b);
	memory_mark(fx->vault);
	memory_place_left(fx->vault, &place, dir_b);
	assert_int_equal(memory_keep(fx->vault), 0);
	keep(fx);
	crash(fx);
	assert_true(memory_place_is_old(fx->vault, &place, 0, dir_b));
}

static void test_time__far_behind_what_is_made_is_not_old(void **state)
{
	const struct fixture *fx = *state;

	vault_pass(fx->vault, vault_now(fx->vault) + 2 * DAY_S);
	memory_place_left(fx->vault, &place, NULL);
	keep(fx);
	fx->vault->latest_s = 0;
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place,
					 vault_now(fx->vault), NULL));
}

/* Nor is what takes the place of a file that was made then. */
static void test_time__of_a_clock_that_was_ahead_is_not_minded(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	memory_place_replaced(fx->vault, &place, now + 2 * DAY_S);
	assert_true(memory_place_is_old(fx->vault, &place, now - 1, NULL));
	keep(fx);
	now = vault_now(fx->vault);
	memory_place_taken(fx->vault, &place, now);
	assert_false(memory_place_is_old(fx->vault, &place, now, NULL));
	crash(fx);
	assert_false(memory_place_is_old(fx->vault, &place, now, NULL));
}

static void test_taken__lasts_though_the_process_dies(void **state)
{
	const struct fixture *fx = *state;
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
	const struct CMUnitTest tests[] = {
		TEST(test_replaced__what_was_there_is_old),
		TEST(test_taken__tells_if_anything_was_known),
		TEST(test_keep__of_a_place_that_was_taken_meanwhile),
		TEST(test_keep__of_a_place_that_was_left_again_meanwhile),
		TEST(test_time__far_behind_what_is_made_is_not_old),
		TEST(test_time__of_a_clock_that_was_ahead_is_not_minded),
		TEST(test_taken__lasts_though_the_process_dies),
		TEST(test_place__what_left_it_is_old),
		TEST(test_place__a_directory_is_known_by_its_id),
		TEST(test_place__what_is_put_there_on_purpose_is_not),
		TEST(test_place__taken_and_a_crash_is_not_old),
		TEST(test_place__others_are_known_as_before),
		TEST(test_place__accepted),
		TEST(test_place__of_a_directory_that_is_gone_is_not_kept),
		TEST(test_processes__the_second_one_comes_to_know_later),
		TEST(test_processes__and_then_what_the_first_one_knew),
		TEST(test_processes__the_second_one_dies_before_that),
		TEST(test_processes__the_second_one_dies_just_then),
		TEST(test_processes__nor_does_a_third_one_know),
		TEST(test_processes__by_a_clock_that_went_back_between),
		TEST(test_processes__one_that_remembers_nothing_comes),
		TEST(test_shared__places_are_forgotten),
		TEST(test_passed_over__places_are_forgotten),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
