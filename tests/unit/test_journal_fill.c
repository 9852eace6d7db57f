/*
 * Holes of growing files are filled in place: what a crash, a failure, another
 * thread finds of that.
 */
#include "live_fixture.h"

static pthread_t other;

enum {
	GAP = LEN + 2 * CHUNK_SIZE, /* in it, what is filled */
	FILL = 6 * CHUNK_SIZE,
	AHEAD = LEN + 20 * CHUNK_SIZE,
	END = AHEAD + 4 * CHUNK_SIZE,
};

static void go_ahead(void)
{
	put(AHEAD, END - AHEAD);
}

static void fill_gap(void)
{
	put(GAP, FILL);
}

static void filled_up_to(size_t end)
{
	memset(bytes + LEN, 0, GAP - LEN);
	memset(bytes + end, 0, AHEAD - end);
}

static bool went_in_place(void)
{
	size_t before = side()->count;

	fill_gap();
	return side()->count == before;
}

static void test_fill__no_tokens_in_the_journal(void **state)
{
	struct fixture *fx = *state;
	struct journal_counters before, after;

	make_file(fx, LEN);
	begin_alone(fx);
	go_ahead();
	journal_counters(fx->vault, &before);
	assert_true(went_in_place());
	journal_counters(fx->vault, &after);
	assert_int_equal(after.bytes - before.bytes, JOURNAL_RECORD_HEAD_LEN);
	filled_up_to(GAP + FILL);
	vf_expect(file, bytes, END);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, END);
}

static ssize_t tear;

static void die_filling(void)
{
	go_ahead();
	tearing_kills = true;
	torn_from = (off_t)chunk_offset(GAP / CHUNK_SIZE);
	torn_at = tear;
	fill_gap();
}

/* Each chunk is there or a hole. */
static void test_fill__killed_within(void **state)
{
	static const ssize_t tears[] = {0,
					1,
					100,
					CHUNK_TOKEN_LEN - 1,
					CHUNK_TOKEN_LEN,
					CHUNK_TOKEN_LEN + 1,
					3 * CHUNK_TOKEN_LEN + 2000,
					6 * CHUNK_TOKEN_LEN - 1,
					6 * CHUNK_TOKEN_LEN};
	struct fixture *fx = *state;

	for (size_t i = 0; i < sizeof tears / sizeof *tears; i++) {
		struct backing_name name = fx_name(fx, fx->root_id, "f");

		make_file(fx, LEN);
		tear = tears[i];
		die_after(fx, die_filling);
		(void)mount_again(fx);
		filled_up_to(GAP +
			     (size_t)(tear / CHUNK_TOKEN_LEN) * CHUNK_SIZE);
		expect_file(fx, END);
		assert_int_equal(unlinkat(fx->vault->root_fd, name.entry, 0),
				 0);
	}
}

/* What it leaves of a chunk is taken away. */
static void test_fill__fails_within(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	go_ahead();
	torn_from = (off_t)chunk_offset(GAP / CHUNK_SIZE);
	torn_at = 2 * CHUNK_TOKEN_LEN + 77;
	assert_int_equal(vf_put(file, bytes + GAP, FILL, GAP), -EIO);
	filled_up_to(GAP + 2 * CHUNK_SIZE);
	vf_expect(file, bytes, END);
	/* it is no longer known what lies there */
	fill(1);
	assert_false(went_in_place());
	filled_up_to(GAP + FILL);
	vf_expect(file, bytes, END);
	vfile_close(file);
}

/* What lies behind is not to be lost with a chunk that is torn. */
static void test_fill__not_before_what_is_durable(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	go_ahead();
	assert_int_equal(vfile_sync(file, true), 0);
	assert_false(went_in_place());
	assert_int_equal(vf_truncate(file, LEN), 0);
	go_ahead();
	assert_int_equal(journal_flush(fx->vault), 0);
	assert_false(went_in_place());
	/* once that is cut off, all is as before */
	assert_int_equal(vf_truncate(file, LEN), 0);
	go_ahead();
	assert_true(went_in_place());
	filled_up_to(GAP + FILL);
	vf_expect(file, bytes, END);
	vfile_close(file);
}

/* What was punched may come back: it is not filled in place. */
static void test_fill__not_what_was_punched(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	go_ahead();
	assert_int_equal(punch(), 0);
	assert_false(went_in_place());
	vfile_close(file);
}

static atomic_bool other_done;

static void *fill_main(void *arg)
{
	(void)arg;
	fill_gap();
	other_done = true;
	return NULL;
}

static void *sync_main(void *arg)
{
	(void)arg;
	must(vfile_sync(file, true) == 0);
	other_done = true;
	return NULL;
}

static void expect_to_wait(pthread_mutex_t *lock, void *(*what)(void *arg))
{
	bool done;

	other_done = false;
	pthread_mutex_lock(lock);
	assert_int_equal(pthread_create(&other, NULL, what, NULL), 0);
	wait_ms(TURN_MS);
	done = other_done;
	pthread_mutex_unlock(lock);
	pthread_join(other, NULL);
	assert_false(done);
}

/* Who empties the journal, or makes the file durable, finds all of it or
 * nothing. */
static void test_fill__one_at_a_time(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	go_ahead();
	expect_to_wait(&side()->applying, fill_main);
	expect_to_wait(&file->fill_lock, sync_main);
	vfile_close(file);
}

/* It may be made durable up to the last moment. */
static void test_fill__made_durable_meanwhile(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	go_ahead();
	pthread_mutex_lock(&side()->applying);
	assert_int_equal(pthread_create(&other, NULL, fill_main, NULL), 0);
	wait_ms(TURN_MS);
	side()->solid = END;
	pthread_mutex_unlock(&side()->applying);
	pthread_join(other, NULL);
	assert_int_not_equal(side()->count, 0);
	vfile_close(file);
}

static atomic_bool known;

static void look_whether_known(void)
{
	known = file->journal->committed >= side()->position;
}

/* Of a file that is not new some record has to be durable. */
static void test_fill__known_before(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	for (int i = 0; i < 2; i++) {
		go_ahead();
		known = false;
		before_write = look_whether_known;
		assert_true(went_in_place());
		assert_true(known);
		assert_int_equal(vf_truncate(file, LEN), 0);
		/* in another segment, the same again */
		assert_int_equal(journal_flush(fx->vault), 0);
	}
	vfile_close(file);
}

/* Nothing is read from a record that holds nothing. */
static void test_fill__after_a_failed_fsync(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	go_ahead();
	assert_true(went_in_place());
	bad_sync_fd = hook_fd;
	assert_int_equal(vfile_sync(file, true), -EIO);
	assert_int_not_equal(journal_flush(fx->vault), 0);
	bad_sync_fd = -1;
	assert_int_equal(journal_flush(fx->vault), 0);
	assert_int_equal(side()->count, 0);
	filled_up_to(GAP + FILL);
	vf_expect(file, bytes, END);
	vfile_close(file);
}

static void cut_and_grow(void)
{
	go_ahead();
	fill_gap();
	must(vf_truncate(file, 10 * CHUNK_SIZE) == 0);
	put(10 * CHUNK_SIZE, GAP + 2 * CHUNK_SIZE + 100 - 10 * CHUNK_SIZE);
}

/* A later end stands where something was filled. */
static void test_fill__cut_off_later(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	die_after(fx, cut_and_grow);
	(void)mount_again(fx);
	expect_file(fx, GAP + 2 * CHUNK_SIZE + 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fill__no_tokens_in_the_journal),
		TEST(test_fill__killed_within),
		TEST(test_fill__fails_within),
		TEST(test_fill__not_before_what_is_durable),
		TEST(test_fill__not_what_was_punched),
		TEST(test_fill__one_at_a_time),
		TEST(test_fill__made_durable_meanwhile),
		TEST(test_fill__known_before),
		TEST(test_fill__after_a_failed_fsync),
		TEST(test_fill__cut_off_later),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
