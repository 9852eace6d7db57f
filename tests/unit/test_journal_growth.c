/*
 * Files that grow while the journal has something of them: what another thread
 * does between a record and the bytes that it is about, and what is known of
 * the end then. Linked in place of the calls are hooks.
 */
#include "live_fixture.h"

static pthread_t other;

static atomic_bool other_done;

static void *other_main(void *arg)
{
	(void)arg;
	put(LEN + MORE, MORE);
	must(vfile_sync(file, true) == 0);
	other_done = true;
	return NULL;
}

/* Grow on, and be made durable, as far as that goes. */
static void let_other_grow(void)
{
	must(pthread_create(&other, NULL, other_main, NULL) == 0);
	while (!other_done && (file->size < LEN + 2 * MORE || file->flux))
		wait_ms(1);
}

static void grow_while_emptied(void)
{
	put(LEN, MORE);
	assert_true(vfile_in_flux(file));
	before_sync = let_other_grow;
	assert_int_equal(journal_flush(fixture->vault), 0);
	while (before_sync)
		wait_ms(1);
	pthread_join(other, NULL);
}

/* What a file has grown by while its segment was being emptied, and fsynced,
 * is there. */
static void test_growth__while_emptied(void **state)
{
	make_file(*state, LEN);
	die_after(*state, grow_while_emptied);
	(void)mount_again(*state);
	expect_file(*state, LEN + 2 * MORE);
}

/* A new file, in flux and unknown to the journal, whose thread sleeps. */
static void begin_streaming(struct fixture *fx)
{
	fixture = fx;
	fill(1);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
	file = vf_create(fx, "f");
	hook_fd = vfile_fd(file);
	for (size_t at = 0; at < LEN; at += CHUNK_SIZE)
		put(at, CHUNK_SIZE);
	assert_true(vfile_in_flux(file));
	assert_null(file->jf);
}

static void *end_main(void *arg)
{
	(void)arg;
	put(LEN, 100);
	return NULL;
}

static void let_other_end(void)
{
	must(pthread_create(&other, NULL, end_main, NULL) == 0);
	pthread_join(other, NULL);
}

/* A file becomes known to the journal while another thread moves its end. */
static void test_growth__first_record_while_the_end_moves(void **state)
{
	struct fixture *fx = *state;

	begin_streaming(fx);
	before_look = let_other_end;
	put(0, CHUNK_SIZE);
	assert_true(before_look == NULL);
	assert_int_equal(vfile_size(file), LEN + 100);
	assert_int_equal(side()->size, LEN + 100);
	vf_expect(file, bytes, LEN + 100);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + 100);
}

static void *flush_main(void *arg)
{
	(void)arg;
	must(journal_flush(fixture->vault) == 0);
	other_done = true;
	return NULL;
}

/* In front of the bytes that the record is about. */
static void let_other_flush(void)
{
	must(pthread_create(&other, NULL, flush_main, NULL) == 0);
	wait_ms(TURN_MS);
}

static void wait_for_other(void)
{
	wait_until(&other_done);
}

/* ...and has done it before what was written is known to the file. */
static void flush_and_wait(void)
{
	let_other_flush();
	before_touch = wait_for_other;
}

static void grow_between_record_and_bytes(void)
{
	before_write = flush_and_wait;
	put(LEN, MORE);
	pthread_join(other, NULL);
	put(LEN + MORE, MORE);
	assert_true(vfile_in_flux(file));
}

/* A file that goes on growing is known to the journal, whenever the segment
 * with its record was emptied. */
static void test_growth__emptied_before_the_bytes(void **state)
{
	make_file(*state, LEN);
	die_after(*state, grow_between_record_and_bytes);
	assert_int_equal(mount_again(*state).mended, 1);
	expect_file(*state, LEN + 2 * MORE);
}

/* An end that got its mark in its place is durable before the record that
 * speaks of the file is gone. */
static void test_growth__marked_ends_are_made_durable(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin(fx);
	put(LEN, MORE);
	assert_int_equal(journal_flush(fx->vault), 0);
	syncs = 0;
	put(LEN + MORE, CHUNK_SIZE / 2);
	assert_false(vfile_in_flux(file));
	assert_int_equal(journal_flush(fx->vault), 0);
	assert_true(syncs > 0);
	vfile_close(file);
	expect_file(fx, LEN + MORE + CHUNK_SIZE / 2);
}

static void *append_main(void *arg)
{
	(void)arg;
	put(LEN, MORE);
	other_done = true;
	return NULL;
}

/* An end that is to come to its place again, when growing behind it has begun,
 * does so first: later it would cut what has grown. */
static void test_growth__an_end_that_is_there_again(void **state)
{
	struct fixture *fx = *state;
	struct journal_file *jf;

	make_file(fx, LEN);
	begin_alone(fx);
	put(LEN - 1, 1);
	jf = side();
	assert_int_equal(vfile_drain(file), 0);
	assert_true(jf->tail == 0);
	other_done = false;
	pthread_mutex_lock(&jf->applying);
	assert_int_equal(pthread_create(&other, NULL, append_main, NULL), 0);
	wait_ms(TURN_MS);
	jf->tail = jf->position;
	pthread_mutex_unlock(&jf->applying);
	pthread_join(other, NULL);
	assert_true(other_done && vfile_in_flux(file));
	assert_true(jf->tail == 0);
	assert_int_equal(journal_flush(fx->vault), 0);
	vfile_close(file);
	expect_file(fx, LEN + MORE);
}

/* What the newest record of the file's floor says. */
static uint64_t noted_floor(struct fixture *fx)
{
	struct journal_reader *r;
	struct journal_found found;
	uint64_t floor = 0;
	int got;

	assert_int_equal(journal_reader_open(fx->vault, &r), 0);
	while ((got = journal_reader_next_(r, &found)) == 1)
		if (found.head.count == 0)
			floor = found.head.floor;
	assert_int_equal(got, 0);
	journal_reader_close(r);
	return floor;
}

/* All that a file has grown by in place counts as durable when it is, though
 * no record tells of it. */
static void test_growth__without_a_record_is_noted(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	put(LEN, MORE);
	for (int i = 2; i < 4; i++) {
		put(LEN + (size_t)(i - 1) * MORE, MORE);
		assert_true(vfile_in_flux(file));
		assert_int_equal(side()->size, LEN + i * MORE);
		assert_int_equal(
			journal_retire_(fx->vault->journal, true, true, NULL),
			0);
		assert_int_equal(noted_floor(fx), LEN + i * MORE);
	}
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + 3 * MORE);
}

/* A file that somebody reads at any instant, which keeps the thread out. */
static void test_growth__read_all_the_time(void **state)
{
	struct fixture *fx = *state;
	uint8_t buf[CHUNK_SIZE];
	struct range r;

	make_file(fx, LEN);
	begin_alone(fx);
	put(LEN, MORE);
	rangelock_acquire(&file->ranges, &r, 0, 0, false);
	assert_true(vfile_settle_old_(fx->vault->journal, INT64_MAX));
	rangelock_release(&file->ranges, &r);
	assert_int_equal(vf_get(file, buf, sizeof buf, 0, NULL), sizeof buf);
	assert_true(vfile_in_flux(file));
	file->grown_ms -= 60000;
	assert_int_equal(vf_get(file, buf, sizeof buf, 0, NULL), sizeof buf);
	assert_false(vfile_in_flux(file));
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + MORE);
}

/* Is there a record of the file that a power failure leaves, when bytes go to
 * its place? */
static int known;

static void look_for_record(void)
{
	known = file->journal->committed >= side()->since;
}

/* Grow in place from here on; so many times the journal is made durable for
 * that. */
static uint64_t grow_at(size_t at)
{
	uint64_t commits = file->journal->commits;

	known = -1;
	before_write = look_for_record;
	put(at, MORE);
	assert_true(vfile_in_flux(file) || at % CHUNK_SIZE);
	assert_true(before_write == NULL);
	return file->journal->commits - commits;
}

/* A long end that is durable has zeros in the place of the next chunk. Those
 * are not overwritten before the file is known to change: neither its length
 * nor its times may get to the disk with them. */
static void test_growth__over_the_zeros_of_an_end(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	assert_int_equal(grow_at(LEN), 1);
	assert_int_equal(known, 1);
	/* one record of it is enough, as long as its segment is in use */
	assert_int_equal(vfile_sync(file, true), 0);
	assert_int_equal(vfile_drain(file), 0);
	assert_int_equal(grow_at(LEN + MORE), 0);
	assert_int_equal(known, 1);
	assert_int_equal(vfile_sync(file, true), 0);
	assert_int_equal(journal_retire_(fx->vault->journal, true, true, NULL),
			 0);
	assert_int_equal(grow_at(LEN + 2 * MORE), 1);
	assert_int_equal(known, 1);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + 3 * MORE);
}

/* A short end has none there, and a new file is known as it is: they grow
 * without waiting for the disk. */
static void test_growth__without_waiting(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN - 100);
	begin_alone(fx);
	assert_int_equal(grow_at(LEN - 100), 0);
	assert_int_equal(known, 0);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN - 100 + MORE);
}

static void test_growth__of_a_new_file(void **state)
{
	struct fixture *fx = *state;

	begin_streaming(fx);
	assert_int_equal(vfile_sync(file, true), 0);
	assert_int_equal(journal_retire_(fx->vault->journal, true, true, NULL),
			 0);
	assert_int_equal(grow_at(LEN), 0);
	assert_int_equal(known, 0);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + MORE);
}

static void fill_journal(void)
{
	journal_full = true;
}

/* Grow behind the end: the record is there, but the bytes do not get to their
 * place, nor does the record that takes the first one back. */
static void fail_to_grow(size_t at)
{
	bad_fd = vfile_fd(file);
	before_write = fill_journal;
	must(vf_put(file, bytes + at, MORE, at) == -EIO);
	must(before_write == NULL && journal_full);
	journal_full = false;
}

/* The end is what it was, though the file cannot be written, and so all that
 * the journal holds of it is read again. */
static void grow_in_vain(struct fixture *fx, size_t len)
{
	make_file(fx, len);
	begin_alone(fx);
	bad_fd = vfile_fd(file);
	put(0, CHUNK_SIZE);
	assert_int_equal(journal_flush(fx->vault), -EIO);
	fail_to_grow(len);
	assert_int_equal(journal_retire_(fx->vault->journal, true, false, NULL),
			 0);
	vf_expect(file, bytes, len);
	bad_fd = -1;
	assert_int_equal(journal_flush(fx->vault), 0);
	vf_expect(file, bytes, len);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, len);
}

static void test_growth__that_cannot_be_taken_back(void **state)
{
	grow_in_vain(*state, LEN - 100);
}

static void test_growth__behind_a_full_chunk_in_vain(void **state)
{
	grow_in_vain(*state, LEN);
}

/* Whose last token is as long as one of another chunk. */
static void test_growth__behind_a_long_end_in_vain(void **state)
{
	grow_in_vain(*state,
		     LEN - CHUNK_LAST_EXTRA + (CHUNK_TOKEN_LEN - CHUNK_SIZE));
}

/* Nor does it come back once fsync has said that the file is durable. */
static void fail_and_sync(void)
{
	fail_to_grow(LEN - 100);
	bad_fd = -1;
	must(vfile_sync(file, true) == 0);
}

static void test_growth__that_failed_before_fsync(void **state)
{
	make_file(*state, LEN - 100);
	die_after(*state, fail_and_sync);
	(void)mount_again(*state);
	expect_file(*state, LEN - 100);
}

/* Without room in its place nothing is said of it in the journal. */
static void test_growth__without_room(void **state)
{
	struct fixture *fx = *state;
	uint64_t records;

	make_file(fx, LEN - 100);
	begin_alone(fx);
	records = fx->vault->journal->records;
	no_room = true;
	assert_int_equal(vf_put(file, bytes + LEN - 100, MORE, LEN - 100),
			 -ENOSPC);
	assert_int_equal(fx->vault->journal->records, records);
	no_room = false;
	vf_expect(file, bytes, LEN - 100);
	put(LEN - 100, MORE);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN - 100 + MORE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_growth__while_emptied),
		TEST(test_growth__first_record_while_the_end_moves),
		TEST(test_growth__emptied_before_the_bytes),
		TEST(test_growth__marked_ends_are_made_durable),
		TEST(test_growth__an_end_that_is_there_again),
		TEST(test_growth__without_a_record_is_noted),
		TEST(test_growth__read_all_the_time),
		TEST(test_growth__over_the_zeros_of_an_end),
		TEST(test_growth__without_waiting),
		TEST(test_growth__of_a_new_file),
		TEST(test_growth__that_cannot_be_taken_back),
		TEST(test_growth__behind_a_full_chunk_in_vain),
		TEST(test_growth__behind_a_long_end_in_vain),
		TEST(test_growth__that_failed_before_fsync),
		TEST(test_growth__without_room),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
