/* Room that is set aside stays, and what nobody needs gives its back. */
#include "live_fixture.h"

#include <sys/resource.h>

static struct stat look(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st;
}

/* What is still to be cut off does not take along what was set aside since. */
static void allocate_after_cut(struct fixture *fx, int mode)
{
	const size_t len = 2 * LEN;
	struct stat st;

	make_file(fx, LEN);
	begin_alone(fx);
	assert_int_equal(vf_truncate(file, 0), 0);
	assert_true(side()->tail > 0);
	assert_int_equal(vf_allocate(file, mode, 0, len), 0);
	assert_int_equal(journal_flush(fx->vault), 0);
	st = look(vfile_fd(file));
	assert_true((size_t)st.st_blocks * 512 >= len);
	memset(bytes, 0, len);
	vf_expect(file, bytes, mode & FALLOC_FL_KEEP_SIZE ? 0 : len);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
}

static void test_room__set_aside_after_a_cut(void **state)
{
	allocate_after_cut(*state, 0);
}

static void test_room__set_aside_behind_the_end(void **state)
{
	allocate_after_cut(*state, FALLOC_FL_KEEP_SIZE);
}

/* No room for a single record: a file whose end has no mark must not keep the
 * journal from being emptied. */
static void test_room__a_full_disk_and_an_end_without_mark(void **state)
{
	struct fixture *fx = *state;
	struct journal *j;

	make_file(fx, LEN);
	begin_alone(fx);
	j = fx->vault->journal;
	put(LEN, MORE);
	assert_true(vfile_in_flux(file));
	journal_full = true;
	assert_false(vfile_settle_old_(j, INT64_MAX));
	assert_false(vfile_in_flux(file));
	assert_int_equal(journal_retire_(j, true, false, NULL), 0);
	assert_false(journal_has_records_(j));
	journal_full = false;
	put(0, 1);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + MORE);
}

/* Of what failed nothing was written: the mark is where it was, and need not be
 * written again. */
static void test_room__a_mark_that_is_still_there(void **state)
{
	struct fixture *fx = *state;
	struct journal *j;

	make_file(fx, LEN);
	begin_alone(fx);
	j = fx->vault->journal;
	put(0, CHUNK_SIZE);
	journal_full = true;
	bad_fd = j->seg[0].fd;
	assert_int_equal(vf_put(file, bytes, CHUNK_SIZE, 0), -ENOSPC);
	assert_int_equal(j->active, 1);
	journal_full = false;
	bad_fd = -1;
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN);
}

static void close_unmarked(struct fixture *fx)
{
	make_file(fx, LEN);
	begin_alone(fx);
	put(LEN, MORE);
	assert_true(vfile_in_flux(file));
	journal_full = true;
	bad_fd = vfile_fd(file);
}

/* With ever more room for the journal: as long as that is too little, all of
 * the range is what it was. */
static void zero_with_little_room(struct fixture *fx, int mode, size_t at,
				  size_t len)
{
	int failed = 0, err;

	make_file(fx, LEN - 100);
	begin_alone(fx);
	for (off_t room = 4000;; room += 1000) {
		segment_room = room;
		err = vf_allocate(file, mode, at, len);
		segment_room = 0;
		if (!err)
			break;
		assert_int_equal(err, -ENOSPC);
		failed++;
		vf_expect(file, bytes, LEN - 100);
		assert_int_equal(journal_flush(fx->vault), 0);
		vf_expect(file, bytes, LEN - 100);
	}
	assert_true(failed > 0);
	memset(bytes + at, 0, len);
	vf_expect(file, bytes, LEN - 100);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN - 100);
}

enum { PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };

static void test_room__none_for_a_hole(void **state)
{
	zero_with_little_room(*state, PUNCH, 560, 30338);
}

static void test_room__none_for_zeros(void **state)
{
	zero_with_little_room(*state, FALLOC_FL_ZERO_RANGE, 560, 30338);
}

/* ...that nothing in front of it can claim */
static void test_room__none_for_a_hole_in_front(void **state)
{
	zero_with_little_room(*state, PUNCH, 0, 5 * CHUNK_SIZE + 77);
}

static void test_room__none_for_a_hole_up_to_the_end(void **state)
{
	zero_with_little_room(*state, PUNCH, LEN - 6 * CHUNK_SIZE - 1,
			      6 * CHUNK_SIZE - 99);
}

static void test_room__none_for_parts_of_two_chunks(void **state)
{
	zero_with_little_room(*state, PUNCH, CHUNK_SIZE + 2000, CHUNK_SIZE);
}

static void remove_it(struct fixture *fx)
{
	struct backing_name name = fx_name(fx, fx->root_id, "f");

	assert_int_equal(unlinkat(fx->vault->root_fd, name.entry, 0), 0);
}

/* Nobody needs the end of a file that is gone. */
static void test_room__removed_before_it_is_closed(void **state)
{
	struct fixture *fx = *state;
	struct journal *j;

	close_unmarked(fx);
	j = fx->vault->journal;
	remove_it(fx);
	vfile_close(file);
	journal_full = false;
	bad_fd = -1;
	assert_int_equal(journal_flush(fx->vault), 0);
	(void)journal_sweep_(j, true);
	assert_int_equal(j->known, 0);
	assert_int_equal(journal_stop(fx->vault), 0);
}

static void test_room__removed_after_it_was_closed(void **state)
{
	struct fixture *fx = *state;
	struct journal *j;

	close_unmarked(fx);
	j = fx->vault->journal;
	vfile_close(file);
	journal_full = false;
	bad_fd = -1;
	remove_it(fx);
	assert_int_equal(journal_run(fx->vault), 0);
	journal_wake_(j, true);
	/* its thread lets it linger for two seconds */
	for (int n = 0; n < 60000 && j->known > 0; n++)
		wait_ms(1);
	assert_int_equal(j->known, 0);
	assert_int_equal(journal_stop(fx->vault), 0);
}

static void test_room__removed_at_the_end(void **state)
{
	struct fixture *fx = *state;

	close_unmarked(fx);
	vfile_close(file);
	journal_full = false;
	bad_fd = -1;
	remove_it(fx);
	assert_int_equal(journal_stop(fx->vault), 0);
}

static void limit_files(rlim_t bytes_max)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Where there is no room to say that the clock was set back, that is said
 * later. */
static void test_room__a_clock_set_back(void **state)
{
	struct fixture *fx = *state;
	struct journal_session s;
	struct journal *j;
	uint64_t ahead;

	make_file(fx, LEN);
	begin_alone(fx);
	j = fx->vault->journal;
	ahead = (uint64_t)j->start_s + 100000;
	assert_int_equal(journal_move_session_(j, (int64_t)ahead), 0);
	put(0, CHUNK_SIZE);
	signal(SIGXFSZ, SIG_IGN);
	limit_files(0);
	assert_int_equal(journal_commit_(j, j->appended, NULL), -EFBIG);
	limit_files(RLIM_INFINITY);
	assert_int_equal(journal_commit_(j, j->appended, NULL), 0);
	assert_int_equal(journal_session_read_(fx->vault, j->dir_fd,
					       JOURNAL_SESSION_FILE, &s),
			 0);
	assert_true(s.start_s < ahead);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
}

/* Holes that are made again leave alone what was written there since, which
 * somebody may be reading. */
static void test_room__holes_made_again(void **state)
{
	struct fixture *fx = *state;
	uint8_t token[CHUNK_TOKEN_LEN], again[CHUNK_TOKEN_LEN];
	static const uint8_t none[CHUNK_TOKEN_LEN];
	const off_t at = (off_t)chunk_offset(12);

	make_file(fx, LEN);
	begin_alone(fx);
	assert_int_equal(punch(), 0);
	fill(2);
	put(12 * CHUNK_SIZE, CHUNK_SIZE);
	assert_int_equal(vfile_drain(file), 0);
	assert_int_equal(xio_pread(vfile_fd(file), token, sizeof token, at), 0);
	side()->lost = true;
	assert_int_equal(journal_again_(side()), 0);
	assert_int_equal(xio_pread(vfile_fd(file), again, sizeof again, at), 0);
	assert_memory_equal(again, token, sizeof again);
	assert_int_equal(xio_pread(vfile_fd(file), again, sizeof again,
				   (off_t)chunk_offset(13)),
			 0);
	assert_memory_equal(again, none, sizeof again);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
}

static struct journal_put late;
static atomic_bool did_append;

static void *append_late(void *arg)
{
	must(journal_append_(arg, &late) == 0);
	did_append = true;
	return NULL;
}

/* While a record waits for room, its file may become shorter. */
static void test_room__a_floor_that_has_to_wait(void **state)
{
	struct fixture *fx = *state;
	struct journal_head head = {.kind = JOURNAL_KIND_TOKENS,
				    .size = JOURNAL_SIZE_KEPT,
				    .floor = LEN};
	struct journal_file *jf;
	struct journal *j;
	uint64_t end;
	pthread_t other;
	bool waits;

	make_file(fx, LEN);
	begin_alone(fx);
	j = fx->vault->journal;
	put(0, CHUNK_SIZE);
	jf = side();
	memcpy(head.file_id, jf->id, sizeof head.file_id);
	head.ino = jf->ino;
	late = (struct journal_put){.head = &head, .quiet = true};
	end = j->seg[0].end;
	j->seg[0].end = j->seg[1].end = JOURNAL_SEGMENT_MAX;
	assert_int_equal(pthread_create(&other, NULL, append_late, jf), 0);
	pthread_mutex_lock(&j->wake_lock);
	while (!j->at_once && !did_append) {
		pthread_mutex_unlock(&j->wake_lock);
		wait_ms(1);
		pthread_mutex_lock(&j->wake_lock);
	}
	waits = j->at_once;
	pthread_mutex_unlock(&j->wake_lock);
	/* it lets go of this as it begins to wait */
	pthread_mutex_lock(&j->append_lock);
	jf->size = CHUNK_SIZE;
	j->seg[0].end = end;
	j->seg[1].end = JOURNAL_HEAD_LEN;
	pthread_cond_broadcast(&j->room);
	pthread_mutex_unlock(&j->append_lock);
	pthread_join(other, NULL);
	assert_true(waits);
	assert_int_equal(jf->floor, CHUNK_SIZE);
	jf->size = LEN;
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_room__set_aside_after_a_cut),
		TEST(test_room__set_aside_behind_the_end),
		TEST(test_room__none_for_a_hole),
		TEST(test_room__none_for_zeros),
		TEST(test_room__none_for_a_hole_in_front),
		TEST(test_room__none_for_a_hole_up_to_the_end),
		TEST(test_room__none_for_parts_of_two_chunks),
		TEST(test_room__a_full_disk_and_an_end_without_mark),
		TEST(test_room__a_mark_that_is_still_there),
		TEST(test_room__removed_before_it_is_closed),
		TEST(test_room__removed_after_it_was_closed),
		TEST(test_room__removed_at_the_end),
		TEST(test_room__a_clock_set_back),
		TEST(test_room__holes_made_again),
		TEST(test_room__a_floor_that_has_to_wait),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
