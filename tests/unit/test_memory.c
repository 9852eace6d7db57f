#include "memory_fixture.h"

enum { DAY_S = 86400 };

static const uint8_t id_c[FILE_ID_LEN] = "file id c, sixt";

static void test_file__older_is_not_fine(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	assert_true(is_fine(fx, id_a, 5, 1000));
	assert_false(is_fine(fx, id_a, 5, 999));
	assert_true(is_fine(fx, id_b, 5, 999));
	keep(fx);
	crash(fx);
	assert_false(is_fine(fx, id_a, 5, 999));
	assert_true(is_fine(fx, id_a, 5, 1000));
}

static void test_file__the_first_older_one_is_told(void **state)
{
	const struct fixture *fx = *state;
	const uint64_t sealed_s[] = {10, 11, UINT64_MAX, 10, 9, 12};
	struct memory_file *mf = memory_file_get(fx->vault, id_a, true);

	memory_file_stored(mf, 0, AGES_END, 10);
	assert_int_equal(memory_file_judge(mf, 7, 6, sealed_s), 4);
	assert_int_equal(known(fx, id_a, 8), 10);
	assert_int_equal(memory_file_judge(mf, 7, 4, sealed_s), 4);
	assert_int_equal(known(fx, id_a, 7), 10);
	assert_int_equal(known(fx, id_a, 8), 11);
	assert_int_equal(known(fx, id_a, 9), 10);
	memory_file_put(fx->vault, mf);
}

static void test_file__holes_are_not_judged(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, 9, 1000);
	assert_true(is_fine(fx, id_a, 5, UINT64_MAX));
	assert_int_equal(known(fx, id_a, 5), 1000);
	stored(fx, id_a, 5, 5, 0);
	assert_true(is_fine(fx, id_a, 5, 1));
}

static void test_file__one_that_is_made_is_not_looked_up(void **state)
{
	const struct fixture *fx = *state;
	struct memory_file *mf;

	stored(fx, id_a, 0, AGES_END, 1000);
	keep(fx);
	mf = memory_file_get(fx->vault, id_a, true);
	assert_int_equal(known(fx, id_a, 0), 0);
	memory_file_put(fx->vault, mf);
}

static void test_file__without_a_memory_all_is_fine(void **state)
{
	const struct fixture *fx = *state;
	const uint64_t sealed_s[] = {1, 2};

	memory_close(fx->vault);
	assert_null(memory_file_get(fx->vault, id_a, false));
	memory_file_put(fx->vault, NULL);
	memory_file_stored(NULL, 0, 1, 5);
	assert_int_equal(memory_file_judge(NULL, 0, 2, sealed_s), 2);
	memory_file_accept(fx->vault, id_a);
	memory_file_ignore(fx->vault, id_a);
	memory_file_gone(fx->vault, id_a);
	memory_place_left(fx->vault, &place, NULL);
	memory_place_taken(fx->vault, &place, 5);
	memory_place_accept(fx->vault, &place);
	memory_dir_gone(fx->vault, dir_a);
	assert_false(memory_place_is_old(fx->vault, &place, 1, NULL));
	memory_mark(fx->vault);
	assert_int_equal(memory_keep(fx->vault), 0);
	assert_false(memory_has_news(fx->vault));
	assert_false(memory_is_full(fx->vault));
}

static void test_keep__what_changes_after_the_mark_is_kept_later(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	memory_mark(fx->vault);
	stored(fx, id_a, 0, AGES_END, 2000);
	stored(fx, id_b, 0, AGES_END, 2000);
	assert_int_equal(memory_keep(fx->vault), 0);
	assert_int_equal(fx->vault->memory->noted, 2);
	crash(fx);
	assert_int_equal(known(fx, id_a, 3), 1000);
	assert_int_equal(known(fx, id_b, 3), 0);
	stored(fx, id_a, 0, AGES_END, 2000);
	memory_mark(fx->vault);
	stored(fx, id_b, 0, AGES_END, 2000);
	assert_int_equal(memory_keep(fx->vault), 0);
	keep(fx);
	assert_false(memory_has_news(fx->vault));
	crash(fx);
	assert_int_equal(known(fx, id_a, 3), 2000);
	assert_int_equal(known(fx, id_b, 3), 2000);
}

/* Making it durable has failed. */
static void test_keep__a_mark_alone_keeps_nothing(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	memory_mark(fx->vault);
	assert_true(memory_has_news(fx->vault));
	crash(fx);
	assert_int_equal(known(fx, id_a, 3), 0);
	stored(fx, id_a, 0, AGES_END, 1000);
	memory_mark(fx->vault);
	stored(fx, id_a, 5, 5, 2000);
	memory_mark(fx->vault);
	assert_int_equal(memory_keep(fx->vault), 0);
	assert_false(memory_has_news(fx->vault));
	crash(fx);
	assert_int_equal(known(fx, id_a, 5), 2000);
}

static void test_keep__closing_keeps_what_is_durable(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	syncfs_fails = true;
	reopen(fx, false);
	assert_int_equal(known(fx, id_a, 3), 0);
	stored(fx, id_a, 0, AGES_END, 1000);
	syncfs_fails = false;
	reopen(fx, false);
	assert_int_equal(known(fx, id_a, 3), 1000);
}

static void test_keep__what_is_kept_and_unused_costs_no_memory(void **state)
{
	const struct fixture *fx = *state;
	struct memory_file *mf = memory_file_get(fx->vault, id_a, true);

	memory_file_stored(mf, 0, AGES_END, 1000);
	memory_place_left(fx->vault, &place, NULL);
	keep(fx);
	assert_int_equal(fx->vault->memory->files.count, 1);
	assert_int_equal(fx->vault->memory->places.count, 0);
	memory_file_put(fx->vault, mf);
	assert_int_equal(fx->vault->memory->files.count, 0);
}

static void test_keep__many(void **state)
{
	const struct fixture *fx = *state;
	uint8_t id[FILE_ID_LEN];

	for (unsigned n = 0; n < MEMORY_FULL; n++) {
		assert_false(memory_is_full(fx->vault));
		id_of(n, id);
		stored(fx, id, 0, AGES_END, 1000 + n);
	}
	assert_true(memory_is_full(fx->vault));
	keep(fx);
	assert_false(memory_is_full(fx->vault));
	crash(fx);
	for (unsigned n = 0; n < MEMORY_FULL; n++) {
		id_of(n, id);
		assert_int_equal(known(fx, id, 9), 1000 + n);
	}
}

/* What was kept first goes first. */
static void test_keep__a_big_database_forgets_what_is_oldest(void **state)
{
	const struct fixture *fx = *state;
	unsigned before = 0, after = 0;
	uint8_t id[FILE_ID_LEN];

	for (unsigned n = 0; n < 2000; n++) {
		id_of(n, id);
		stored(fx, id, 0, AGES_END, 1000);
	}
	keep(fx);
	assert_int_equal(sqlite3_exec(fx->vault->memory->db,
				      "UPDATE files SET time = 1", NULL, NULL,
				      NULL),
			 0);
	fx->vault->memory->pages_max = 10;
	for (unsigned n = 2000; n < 4000; n++) {
		id_of(n, id);
		stored(fx, id, 0, AGES_END, 1000);
	}
	keep(fx);
	for (unsigned n = 0; n < 4000; n++) {
		id_of(n, id);
		*(n < 2000 ? &before : &after) += known(fx, id, 0) == 1000;
	}
	assert_int_equal(before, 0);
	assert_int_equal(after, 2000);
}

static void test_learning__what_is_read_in_no_order_is_bounded(void **state)
{
	const struct fixture *fx = *state;
	struct memory_file *mf = memory_file_get(fx->vault, id_a, true);
	uint64_t sealed_s = 1000, all[64];

	srandom(3);
	for (unsigned n = 0; n < 100000; n++)
		assert_int_equal(memory_file_judge(mf,
						   (uint64_t)random() % 1000000,
						   1, &sealed_s),
				 1);
	assert_true(mf->ages.count > AGES_MAX / 4);
	assert_true(mf->ages.count <= AGES_MAX / 2 + 1);
	/* in order, it becomes one again */
	for (unsigned n = 0; n < 64; n++)
		all[n] = 1000;
	for (uint64_t n = 0; n < 1000000; n += 64)
		assert_int_equal(memory_file_judge(mf, n, 64, all), 64);
	assert_int_equal(mf->ages.count, 2);
	memory_file_put(fx->vault, mf);
}

static void test_learning__nothing_new_is_nothing_noted(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, 9, 1000);
	keep(fx);
	assert_true(is_fine(fx, id_a, 4, 1000));
	stored(fx, id_a, 2, 9, 1000);
	assert_false(memory_has_news(fx->vault));
	assert_true(is_fine(fx, id_a, 4, 1001));
	assert_true(memory_has_news(fx->vault));
}

static void test_learning__ends_where_too_much_is_noted(void **state)
{
	const struct fixture *fx = *state;

	fx->vault->memory->noted += MEMORY_NOTED_MAX;
	assert_true(is_fine(fx, id_a, 4, 1001));
	assert_int_equal(known(fx, id_a, 4), 0);
	memory_place_left(fx->vault, &place, NULL);
	assert_false(memory_place_is_old(fx->vault, &place, 1, NULL));
	fx->vault->memory->noted -= MEMORY_NOTED_MAX;
}

/* A state directory that is full must not fill the process as well. */
static void test_stored__is_known_while_open_at_least(void **state)
{
	const struct fixture *fx = *state;
	struct memory_file *mf = memory_file_get(fx->vault, id_a, true);

	fx->vault->memory->noted += MEMORY_NOTED_MAX;
	memory_file_stored(mf, 4, 4, 1001);
	assert_false(is_fine(fx, id_a, 4, 1000));
	memory_file_put(fx->vault, mf);
	assert_int_equal(fx->vault->memory->files.count, 0);
	/* by a clock that is behind, it must be kept */
	fx->vault->memory->is_behind = true;
	stored(fx, id_a, 4, 4, 1001);
	assert_int_equal(known(fx, id_a, 4), 1001);
	fx->vault->memory->is_behind = false;
	fx->vault->memory->noted -= MEMORY_NOTED_MAX;
}

static void test_accept__one_file(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	stored(fx, id_b, 0, AGES_END, 1000);
	keep(fx);
	memory_file_accept(fx->vault, id_a);
	assert_true(is_fine(fx, id_a, 0, 7));
	assert_false(is_fine(fx, id_a, 0, 6));
	crash(fx);
	assert_true(is_fine(fx, id_a, 0, 6));
	assert_false(is_fine(fx, id_b, 0, 6));
}

static void test_accept__all(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	stored(fx, id_c, 0, AGES_END, 1000);
	memory_place_left(fx->vault, &place, NULL);
	memory_place_left(fx->vault, &other_place, NULL);
	reopen(fx, true);
	assert_true(is_fine(fx, id_a, 0, 7));
	/* as long as it lasts */
	stored(fx, id_b, 0, AGES_END, 1000);
	assert_true(is_fine(fx, id_b, 0, 7));
	assert_int_equal(known(fx, id_b, 0), 7);
	assert_false(memory_place_is_old(fx->vault, &place, 7, NULL));
	/* and then that is what was seen */
	reopen(fx, false);
	assert_false(is_fine(fx, id_a, 0, 6));
	assert_true(is_fine(fx, id_a, 0, 7));
	assert_false(is_fine(fx, id_b, 0, 6));
	/* of what nobody looked at, too */
	assert_true(is_fine(fx, id_c, 0, 6));
	assert_false(memory_place_is_old(fx->vault, &other_place, 7, NULL));
}

/* What lies there since speaks against what was marked or kept before. */
static void test_accept__lasts_though_the_process_dies(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	memory_mark(fx->vault);
	memory_file_accept(fx->vault, id_a);
	assert_int_equal(memory_keep(fx->vault), 0);
	crash(fx);
	assert_true(is_fine(fx, id_a, 0, 7));
	reopen(fx, true);
	stored(fx, id_a, 0, AGES_END, 1000);
	keep(fx);
	stored(fx, id_b, 0, AGES_END, 1000);
	memory_mark(fx->vault);
	assert_true(is_fine(fx, id_a, 0, 7));
	assert_true(is_fine(fx, id_b, 0, 7));
	assert_int_equal(memory_keep(fx->vault), 0);
	crash(fx);
	assert_true(is_fine(fx, id_a, 0, 7));
	assert_true(is_fine(fx, id_b, 0, 7));
}

static void test_ignore__lasts_though_the_process_dies(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	memory_mark(fx->vault);
	memory_file_ignore(fx->vault, id_a);
	assert_int_equal(memory_keep(fx->vault), 0);
	crash(fx);
	stored(fx, id_a, 0, AGES_END, 1000);
	assert_true(is_fine(fx, id_a, 0, 7));
}

/* Of two that write, the first may have waited for the other. */
static void test_stored__sealed_earlier_and_a_crash_is_not_old(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	keep(fx);
	stored(fx, id_a, 7, AGES_END, 999);
	assert_false(is_fine(fx, id_a, 6, 999));
	crash(fx);
	assert_true(is_fine(fx, id_a, 7, 999));
	/* or in front of what is older anyway, meanwhile */
	stored(fx, id_b, 0, AGES_END, 900);
	stored(fx, id_b, 5, 9, 1000);
	memory_mark(fx->vault);
	stored(fx, id_b, 4, 7, 999);
	assert_int_equal(memory_keep(fx->vault), 0);
	crash(fx);
	assert_true(is_fine(fx, id_b, 5, 999));
	/* which is known with the next */
	stored(fx, id_b, 4, 7, 999);
	keep(fx);
	crash(fx);
	assert_false(is_fine(fx, id_b, 5, 998));
}

static void test_ignore__is_for_ever(void **state)
{
	const struct fixture *fx = *state;
	struct memory_file *mf = memory_file_get(fx->vault, id_a, true);

	memory_file_stored(mf, 0, AGES_END, 1000);
	keep(fx);
	memory_file_ignore(fx->vault, id_a);
	memory_file_stored(mf, 0, AGES_END, 1000);
	memory_file_put(fx->vault, mf);
	assert_int_equal(known(fx, id_a, 0), 0);
	assert_true(is_fine(fx, id_a, 0, 7));
	crash(fx);
	assert_true(is_fine(fx, id_a, 0, 7));
	stored(fx, id_a, 0, AGES_END, 1000);
	memory_file_accept(fx->vault, id_a);
	reopen(fx, false);
	stored(fx, id_a, 0, AGES_END, 1000);
	assert_true(is_fine(fx, id_a, 0, 7));
}

static void test_gone__leaves_no_row(void **state)
{
	const struct fixture *fx = *state;
	int64_t before = count_rows(fx, "files");

	stored(fx, id_a, 0, AGES_END, 1000);
	memory_file_ignore(fx->vault, id_b);
	keep(fx);
	assert_int_equal(count_rows(fx, "files"), before + 2);
	memory_file_gone(fx->vault, id_a);
	memory_file_gone(fx->vault, id_b);
	/* it may not be gone for good yet */
	crash(fx);
	assert_int_equal(known(fx, id_a, 0), 1000);
	memory_file_gone(fx->vault, id_a);
	memory_file_gone(fx->vault, id_b);
	keep(fx);
	assert_int_equal(count_rows(fx, "files"), before);
}

static void test_time__does_not_go_back(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	vault_pass(fx->vault, now + 1000);
	stored(fx, id_a, 0, 0, now + 1000);
	keep(fx);
	fx->vault->latest_s = 0;
	crash(fx);
	assert_true(vault_now(fx->vault) >= now + 1000);
	/* a clock that was wrong */
	vault_pass(fx->vault, now + 2 * DAY_S);
	stored(fx, id_a, 0, 0, now + 2 * DAY_S);
	keep(fx);
	fx->vault->latest_s = 0;
	crash(fx);
	assert_true(vault_now(fx->vault) < now + DAY_S);
}

/* What is read tells, too. */
static void test_time__is_no_earlier_than_what_was_seen(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	assert_true(is_fine(fx, id_a, 0, now + 1000));
	assert_int_equal(known(fx, id_a, 0), now + 1000);
	assert_true(vault_now(fx->vault) >= now + 1000);
	/* but for a clock that was wrong, of which nothing is remembered */
	assert_true(is_fine(fx, id_a, 0, now + 2 * DAY_S));
	assert_int_equal(known(fx, id_a, 0), now + 1000);
	assert_true(vault_now(fx->vault) < now + DAY_S);
}

/* What is stored then is older than what is kept. */
static void test_time__far_behind_a_crash_is_no_alarm(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault);

	vault_pass(fx->vault, now + 2 * DAY_S);
	stored(fx, id_a, 0, AGES_END, now + 2 * DAY_S);
	stored(fx, id_b, 0, AGES_END, now + 2 * DAY_S);
	keep(fx);
	for (int i = 0; i < 2; i++) {
		fx->vault->latest_s = 0;
		reopen(fx, false);
		stored(fx, id_a, 0, AGES_END, now);
		assert_false(is_fine(fx, id_b, 0, now));
	}
	keep(fx);
	stored(fx, id_b, 0, AGES_END, now);
	crash(fx);
	assert_true(is_fine(fx, id_b, 0, now));
	/* and from now on all is as ever */
	stored(fx, id_a, 0, AGES_END, now);
	keep(fx);
	crash(fx);
	assert_int_equal(known(fx, id_a, 0), now);
}

/* Its key is part of all keys. */
static void test_vaults__each_has_its_own(void **state)
{
	const struct fixture *fx = *state;
	uint8_t id = fx->vault->id[0];
	char path[300], copy[300], command[700];

	stored(fx, id_a, 0, AGES_END, 1000);
	keep(fx);
	db_path(fx, path, sizeof path);
	memory_close(fx->vault);
	fx->vault->id[0] ^= 1;
	assert_int_equal(memory_open(fx->vault, false), 0);
	assert_true(is_fine(fx, id_a, 0, 7));
	memory_close(fx->vault);
	/* nor is one of any use in another one's place */
	db_path(fx, copy, sizeof copy);
	snprintf(command, sizeof command, "cp '%s' '%s'", path, copy);
	assert_int_equal(system(command), 0);
	fx->vault->keys->master[0] ^= 1;
	assert_int_equal(memory_open(fx->vault, false), 0);
	assert_true(is_fine(fx, id_a, 0, 7));
	memory_close(fx->vault);
	fx->vault->keys->master[0] ^= 1;
	fx->vault->id[0] = id;
	assert_int_equal(memory_open(fx->vault, false), 0);
	assert_false(is_fine(fx, id_a, 0, 7));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file__older_is_not_fine),
		TEST(test_file__the_first_older_one_is_told),
		TEST(test_file__holes_are_not_judged),
		TEST(test_file__one_that_is_made_is_not_looked_up),
		TEST(test_file__without_a_memory_all_is_fine),
		TEST(test_keep__what_changes_after_the_mark_is_kept_later),
		TEST(test_keep__a_mark_alone_keeps_nothing),
		TEST(test_keep__closing_keeps_what_is_durable),
		TEST(test_keep__what_is_kept_and_unused_costs_no_memory),
		TEST(test_keep__many),
		TEST(test_keep__a_big_database_forgets_what_is_oldest),
		TEST(test_learning__what_is_read_in_no_order_is_bounded),
		TEST(test_learning__nothing_new_is_nothing_noted),
		TEST(test_learning__ends_where_too_much_is_noted),
		TEST(test_stored__is_known_while_open_at_least),
		TEST(test_accept__one_file),
		TEST(test_accept__all),
		TEST(test_accept__lasts_though_the_process_dies),
		TEST(test_ignore__lasts_though_the_process_dies),
		TEST(test_stored__sealed_earlier_and_a_crash_is_not_old),
		TEST(test_ignore__is_for_ever),
		TEST(test_gone__leaves_no_row),
		TEST(test_time__does_not_go_back),
		TEST(test_time__is_no_earlier_than_what_was_seen),
		TEST(test_time__far_behind_a_crash_is_no_alarm),
		TEST(test_vaults__each_has_its_own),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
