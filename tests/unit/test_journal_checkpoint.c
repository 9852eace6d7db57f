/*
 * What a checkpoint makes durable is no part of a crash any more: neither lost
 * nor mended. What is on its way meanwhile is.
 */
#include "recover_fixture.h"

#include "ages.h"
#include "memory.h"
#include "vfile_internal.h"

#include <pthread.h>

int __real_syncfs(int fd);
int __wrap_syncfs(int fd);

enum { LONG = 1000 };

static atomic_int syncs;
static atomic_bool disk_is_busy;

/* The first one takes as long as others keep the disk. */
int __wrap_syncfs(int fd)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	if (syncs++ == 0)
		while (disk_is_busy)
			nanosleep(&pause, NULL);
	return __real_syncfs(fd);
}

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
	int fd;

	die_in(fx, make_and_rest);
	fd = vf_backing_fd(fx, "f");
	assert_int_equal(pwrite(fd, "damage", 6, (off_t)chunk_offset(9) + 99),
			 6);
	close(fd);
	expect_left_alone(fx);
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

/* As it begins: nothing is known yet, and no thread comes in between. */
static struct journal *know_nothing(struct fixture *fx)
{
	struct journal *j = fx->vault->journal;

	journal_keeper_stop_(j);
	journal_keeper_join_(j);
	j->keeps = j->over = false;
	j->durable_s = INT64_MIN;
	return j;
}

static void overwrite_early(struct fixture *fx)
{
	struct vfile *f;

	(void)know_nothing(fx);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 3 * CHUNK_SIZE), 0);
}

/* Who wrote it before, without a journal, may not have made it durable. */
static void test_checkpoint__what_nobody_made_durable(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	struct vfile *f;
	int fd;

	make(fx, "f");
	ahead_s = LONG;
	die_in(fx, overwrite_early);
	fd = vf_backing_fd(fx, "f");
	assert_int_equal(ftruncate(fd, (off_t)chunk_offset(30) + 99), 0);
	close(fd);
	assert_int_equal(recover(fx, &r), 0);
	ahead_s = 0;
	assert_int_equal(r.beyond, 0);
	assert_int_equal(r.mended, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), 30 * CHUNK_SIZE);
	memcpy(old_bytes + 3 * CHUNK_SIZE, new_bytes, CHUNK_SIZE);
	vf_expect(f, old_bytes, 30 * CHUNK_SIZE);
	vfile_close(f);
}

static void overwrite_when_durable(struct fixture *fx)
{
	struct journal *j = know_nothing(fx);
	struct vfile *f = vf_open(fx, fx->vault, "f");

	assert_int_equal(journal_checkpoint_(j), 0);
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 3 * CHUNK_SIZE), 0);
}

/* Once that is so, it is not cut where it is damaged, though it was opened
 * before. */
static void test_checkpoint__what_was_made_durable_meanwhile(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	int fd;

	make(fx, "f");
	ahead_s = LONG;
	die_in(fx, overwrite_when_durable);
	fd = vf_backing_fd(fx, "f");
	assert_int_equal(ftruncate(fd, (off_t)chunk_offset(30) + 99), 0);
	close(fd);
	assert_int_equal(recover(fx, &r), 0);
	ahead_s = 0;
	assert_int_equal(r.mended, 0);
	assert_int_equal(r.beyond, 1);
}

static void grow_with_side(struct fixture *fx)
{
	struct vfile *f = vf_create(fx, "f");
	struct journal_file *jf;

	assert_int_equal(vf_put(f, old_bytes, LEN / 2, 0), 0);
	/* its first record has not found room */
	assert_int_equal(vfile_get_jf_(f, false, &jf), 0);
	begin_again(fx);
	assert_int_equal(vf_put(f, old_bytes + LEN / 2, LEN / 2, LEN / 2), 0);
	assert_true(vfile_in_flux(f));
}

/* Known to the journal, and without a record all the same. */
static void test_checkpoint__a_file_whose_record_failed(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	fill();
	die_in(fx, grow_with_side);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.beyond, 0);
	assert_int_equal(r.mended, 1);
	expect(fx, "f", old_bytes);
}

static void grow_back_then(struct fixture *fx)
{
	struct vfile *f;

	ahead_s = 0;
	f = vf_create(fx, "f");
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	assert_true(vfile_in_flux(f));
}

/* The clock is set back, and nothing is committed that would notice it. */
static void test_checkpoint__a_clock_that_is_set_back(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	fill();
	ahead_s = LONG;
	die_in(fx, grow_back_then);
	ahead_s = 0;
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.beyond, 0);
	assert_int_equal(r.mended, 1);
	expect(fx, "f", old_bytes);
}

static uint64_t far_s;

static void grow_far_ahead(struct fixture *fx)
{
	vault_pass(fx->vault, far_s);
	grow_back_then(fx);
}

/* What has been seen of the file was sealed when the clock was far ahead. */
static void remember_far_ahead(struct fixture *fx)
{
	uint8_t header[HEADER_LEN], id[FILE_ID_LEN];
	struct memory_file *mf;
	bool locked;
	int fd = vf_backing_fd(fx, "f");

	assert_int_equal(xio_pread(fd, header, sizeof header, 0), 0);
	assert_int_equal(header_probe(header, id, &locked), 0);
	close(fd);
	mf = memory_file_get(fx->vault, id, false);
	assert_non_null(mf);
	memory_file_stored(mf, 0, AGES_END, far_s);
	memory_file_put(fx->vault, mf);
}

/* The end that is made when it is right again is not taken for an older one. */
static void test_checkpoint__a_clock_that_was_far_ahead(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	assert_int_equal(setenv("XDG_STATE_HOME", fx->top, 1), 0);
	far_s = (uint64_t)time(NULL) + 2 * 86400;
	fill();
	die_in(fx, grow_far_ahead);
	again(fx);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(memory_open(fx->vault, false), 0);
	remember_far_ahead(fx);
	assert_int_equal(journal_recover(fx->vault, &r), 0);
	assert_int_equal(r.mended, 1);
	expect(fx, "f", old_bytes);
}

static void *stop_main(void *arg)
{
	if (journal_stop(arg))
		abort();
	return NULL;
}

/* Whoever ends the session does not wait for a disk first. */
static void test_checkpoint__while_the_session_ends(void **state)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct fixture *fx = *state;
	pthread_t other;
	bool ended;
	int n = 0;

	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	syncs = 0;
	disk_is_busy = true;
	assert_int_equal(journal_start(fx->vault), 0);
	for (; n < 30000 && syncs == 0; n++)
		nanosleep(&pause, NULL);
	assert_int_equal(pthread_create(&other, NULL, stop_main, fx->vault), 0);
	for (; n < 30000 && syncs < 2; n++)
		nanosleep(&pause, NULL);
	ended = syncs == 2;
	disk_is_busy = false;
	pthread_join(other, NULL);
	assert_true(ended);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_checkpoint__a_file_that_goes_on_growing),
		TEST(test_checkpoint__what_was_before_is_not_new),
		TEST(test_checkpoint__records_stay),
		TEST(test_checkpoint__what_nobody_made_durable),
		TEST(test_checkpoint__what_was_made_durable_meanwhile),
		TEST(test_checkpoint__a_file_whose_record_failed),
		TEST(test_checkpoint__a_clock_that_is_set_back),
		TEST(test_checkpoint__a_clock_that_was_far_ahead),
		TEST(test_checkpoint__while_the_session_ends),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
