/*
 * What a checkpoint makes durable is no part of a crash any more: neither lost
 * nor mended. What is on its way meanwhile is.
 */
#include "recover_fixture.h"

enum { LONG = 1000 };

static void begin_again(struct fixture *fx)
{
	ahead_s += LONG;
	assert_int_equal(journal_checkpoint_(fx->vault->journal), 0);
}

/* Of a new file nothing tells but that it was made in the session. */
static void grow_across(struct fixture *fx)
{
	struct vfile *f = vf_create(fx, "f");

	fill();
	assert_int_equal(vf_put(f, old_bytes, LEN / 2, 0), 0);
	assert_true(vfile_in_flux(f));
	begin_again(fx);
	assert_true(vfile_in_flux(f));
	assert_int_equal(vf_put(f, old_bytes + LEN / 2, LEN / 2, LEN / 2), 0);
	assert_true(vfile_in_flux(f));
}

static void test_checkpoint__a_file_that_goes_on_growing(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 2; i++) {
		struct journal_recovery r = {.wholly = i};
		char path[512];

		fill();
		die_in(fx, grow_across);
		assert_int_equal(recover(fx, &r), 0);
		assert_int_equal(r.mended, 1);
		assert_int_equal(r.beyond, 0);
		expect(fx, "f", old_bytes);
		path_of(fx, "f", path);
		assert_int_equal(unlink(path), 0);
	}
}

static void make_and_rest(struct fixture *fx)
{
	make(fx, "f");
	assert_int_equal(journal_flush(fx->vault), 0);
	begin_again(fx);
}

/* One that was made before is not cut where it is damaged. */
static void test_checkpoint__what_was_before_is_not_new(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	char path[512];
	uint64_t sum;
	int fd;

	die_in(fx, make_and_rest);
	fd = vf_backing_fd(fx, "f");
	assert_int_equal(pwrite(fd, "damage", 6, (off_t)chunk_offset(9) + 99),
			 6);
	close(fd);
	path_of(fx, "f", path);
	sum = digest(path);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.mended, 0);
	assert_int_equal(r.beyond, 1);
	assert_int_equal(digest(path), sum);
}

static void overwrite_across(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	overwrite(f);
	begin_again(fx);
}

/* Records are what they were. */
static void test_checkpoint__records_stay(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};

	make(fx, "f");
	die_in(fx, overwrite_across);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	expect(fx, "f", redone_bytes);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_checkpoint__a_file_that_goes_on_growing),
		TEST(test_checkpoint__what_was_before_is_not_new),
		TEST(test_checkpoint__records_stay),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
