/*
 * What a process that dies at any call leaves of the journal and of what it is
 * about; disks that are full, or fail; files in it that are none of it.
 */
#include "journal_fixture.h"

#include "vfile_internal.h"

/* Everything in one: each step's outcome is old or new. */
static int work(void *arg)
{
	struct fixture *fx = arg;
	struct vfile *f;
	enum crash_mode mode = crash_mode;

	crash_mode = CRASH_NOT;
	vault_close(fx->vault);
	if (fx_open(fx) || vault_lock(fx->vault, false, false) ||
	    journal_recover(fx->vault, NULL))
		return -1;
	crash_mode = mode;
	if (journal_begin(fx->vault))
		return -1;
	f = vf_open(fx, fx->vault, "f");
	overwrite_some(f);
	grow_in_flux(f);
	if (vfile_sync(f, true))
		return -1;
	assert_int_equal(vf_truncate(f, LEN - 5), 0);
	assert_int_equal(vf_put(f, new_bytes, 99, LEN - 5), 0);
	vfile_close(f);
	return journal_stop(fx->vault);
}

static void expect_old_or_new(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");
	uint64_t size = vfile_size(f);
	uint8_t buf[CHUNK_SIZE];

	assert_true(size >= LEN - 5);
	for (size_t i = 0; i < CHUNKS; i++) {
		size_t want = i + 1 < CHUNKS ? CHUNK_SIZE : CHUNK_SIZE - 5;
		ssize_t n = vf_get(f, buf, want, i * CHUNK_SIZE, NULL);

		assert_int_equal(n, want);
		assert_true(memcmp(buf, old_bytes + i * CHUNK_SIZE, want) ==
				    0 ||
			    memcmp(buf, new_bytes + i * CHUNK_SIZE, want) == 0);
	}
	for (uint64_t at = LEN; at < size; at += CHUNK_SIZE)
		assert_true(vf_get(f, buf, sizeof buf, at, NULL) > 0);
	vfile_close(f);
}

static void test_dying__dying_at_every_call(void **state)
{
	struct fixture *fx = *state;
	int result = 0, died = 0;

	make_old(fx, LEN);
	for (int n = 0; crash_child(n, work, fx, &result); n++) {
		struct journal_recovery r = {.wholly = n % 2};

		died++;
		mount_again(fx, &r);
		assert_int_equal(r.beyond, 0);
		expect_old_or_new(fx);
		assert_int_equal(unlinkat(fx->vault->root_fd,
					  fx_name(fx, fx->root_id, "f").entry,
					  0),
				 0);
		make_old(fx, LEN);
	}
	assert_int_equal(result, 0);
	assert_true(died > 20);
	mount_again(fx, NULL);
	begin_alone(fx);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_no_session(fx);
}

/* Recovery itself may die at every call, and be run again. */
static int recover_again(void *arg)
{
	struct fixture *fx = arg;
	enum crash_mode mode = crash_mode;

	crash_mode = CRASH_NOT;
	vault_close(fx->vault);
	if (fx_open(fx) || vault_lock(fx->vault, false, false))
		return -1;
	crash_mode = mode;
	return journal_recover(fx->vault, NULL);
}

static void overwrite_and_grow(struct vfile *f)
{
	overwrite_some(f);
	grow_in_flux(f);
}

static void test_dying__recovery_dies_at_every_call(void **state)
{
	struct fixture *fx = *state;
	int result = 0;

	make_old(fx, LEN);
	die_after(fx, overwrite_and_grow, true);
	for (int n = 0; crash_child(n, recover_again, fx, &result); n++)
		assert_true(n < 200);
	assert_int_equal(result, 0);
	mount_again(fx, NULL);
	expect_old_or_new(fx);
	begin_alone(fx);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_no_session(fx);
}

/* Full: told to who writes, and nothing that was there is harmed. */
static void test_dying__no_room(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;
	int failed = 0;

	make_old(fx, LEN);
	begin_alone(fx);
	f = vf_open(fx, fx->vault, "f");
	for (int n = 0; n < 12; n++) {
		int err;

		crash_left = n % 4;
		crash_mode = CRASH_NO_MORE_ROOM;
		err = vf_put(f, new_bytes + n * CHUNK_SIZE, CHUNK_SIZE,
			     (uint64_t)n * CHUNK_SIZE);
		crash_mode = CRASH_NOT;
		failed += err == -ENOSPC;
		if (!err)
			memcpy(old_bytes + n * CHUNK_SIZE,
			       new_bytes + n * CHUNK_SIZE, CHUNK_SIZE);
		else
			assert_true(err == -ENOSPC);
		vf_expect(f, old_bytes, LEN);
	}
	assert_true(failed > 0);
	vfile_close(f);
}

static void overwrite_without_room(struct vfile *f)
{
	overwrite_some(f);
	assert_int_equal(vfile_sync(f, false), 0);
	crash_copies = true;
	crash_left = 0;
	crash_mode = CRASH_NO_MORE_ROOM;
	for (int n = 0; n < 3; n++)
		assert_int_equal(vf_put(f, new_bytes,
					(size_t)(3 - n) * CHUNK_SIZE,
					CHUNK_SIZE),
				 -ENOSPC);
	crash_mode = CRASH_NOT;
}

/* A full disk where what is written goes elsewhere: neither can a record that
 * failed be taken back. It is not taken for damage, either. */
static void test_dying__no_room_to_take_back(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make_old(fx, LEN);
	die_after(fx, overwrite_without_room, false);
	mount_again(fx, &r);
	assert_int_equal(r.redone, 1);
	expect_old_or_new(fx);
	begin_alone(fx);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_no_session(fx);
}

/* Calls for which there is room when the segment is to be emptied. */
static int calls_with_room;

static void put_new(struct vfile *f, size_t first, size_t count, int want)
{
	assert_int_equal(vf_put(f, new_bytes + first * CHUNK_SIZE,
				count * CHUNK_SIZE, first * CHUNK_SIZE),
			 want);
}

/* What is left of one that failed lies where the mark was. */
static void spoil_the_end(struct vfile *f)
{
	crash_copies = true;
	crash_left = 0;
	crash_mode = CRASH_NO_MORE_ROOM;
	put_new(f, 1, 1, -ENOSPC);
	crash_mode = CRASH_NOT;
}

static void leave_a_spoiled_end(struct vfile *f)
{
	const struct journal *j = f->journal;

	overwrite_some(f);
	spoil_the_end(f);
	crash_left = calls_with_room;
	crash_mode = CRASH_NO_MORE_ROOM;
	(void)!journal_flush(f->vault);
	crash_mode = CRASH_NOT;
	put_new(f, 2, 1, 0);
	assert_false(j->seg[j->active].unmarked);
}

static void expect_nothing_kept(struct fixture *fx)
{
	struct journal_recovery r = {0};

	mount_again(fx, &r);
	assert_int_equal(r.redone, 1);
	expect_old_or_new(fx);
	expect_no_session(fx);
}

/* No segment is left for the other one without a mark behind its records, and
 * there is one again as soon as there is room for it. */
static void test_dying__no_mark_to_leave_a_segment_by(void **state)
{
	struct fixture *fx = *state;

	make_old(fx, LEN);
	for (calls_with_room = 0; calls_with_room < 8; calls_with_room++) {
		die_after(fx, leave_a_spoiled_end, false);
		expect_nothing_kept(fx);
	}
}

static void fill_a_segment(struct vfile *f)
{
	const struct journal *j = f->journal;
	const size_t room = (CHUNKS + 1) * CHUNK_LAST_MAX;

	while (j->seg[0].end + room <= JOURNAL_SEGMENT_MAX)
		put_new(f, 0, CHUNKS, 0);
	spoil_the_end(f);
	while (j->active == 0)
		put_new(f, 0, CHUNKS, 0);
	assert_false(journal_is_empty_(&j->seg[0]));
	assert_false(journal_is_empty_(&j->seg[1]));
}

static void test_dying__no_mark_behind_a_full_segment(void **state)
{
	struct fixture *fx = *state;

	make_old(fx, LEN);
	die_after(fx, fill_a_segment, false);
	expect_nothing_kept(fx);
}

/* A disk that does not take the mark where it belongs. */
static void mark_on_a_failing_disk(struct vfile *f)
{
	struct journal *j = f->journal;

	overwrite_some(f);
	spoil_the_end(f);
	crash_left = 0;
	crash_mode = CRASH_IO;
	assert_int_equal(journal_flush(f->vault), -EIO);
	assert_int_equal(j->active, 0);
	assert_int_equal(j->seg[0].name[JOURNAL_NAME_LEN - 1], '2');
	assert_false(j->seg[0].unmarked);
	assert_int_equal(journal_flush(f->vault), 0);
	put_new(f, 2, 1, 0);
	assert_int_equal(j->active, 1);
}

static void test_dying__a_mark_that_cannot_be_written(void **state)
{
	struct fixture *fx = *state;

	make_old(fx, LEN);
	die_after(fx, mark_on_a_failing_disk, false);
	expect_nothing_kept(fx);
}

/* As long as that is so, a removed file gives its room back nevertheless. */
static void test_dying__removed_while_there_is_no_mark(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f, *g;
	struct journal *j;

	make_old(fx, LEN);
	g = vf_create(fx, "g");
	assert_int_equal(vf_put(g, old_bytes, LEN, 0), 0);
	vfile_close(g);
	begin_alone(fx);
	j = fx->vault->journal;
	f = vf_open(fx, fx->vault, "f");
	overwrite_some(f);
	assert_int_equal(vfile_drain(f), 0);
	vfile_close(f);
	assert_int_equal(unlinkat(fx->vault->root_fd,
				  fx_name(fx, fx->root_id, "f").entry, 0),
			 0);
	g = vf_open(fx, fx->vault, "g");
	put_new(g, 0, 1, 0);
	assert_int_equal(j->known, 2);
	spoil_the_end(g);
	assert_true(j->seg[j->active].unmarked);
	assert_int_equal(j->known, 1);
	vfile_close(g);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_no_session(fx);
}

/* The disk fails, more than once, and goes on. */
static void overwrite_on_a_failing_disk(struct vfile *f)
{
	overwrite_some(f);
	fail_left = 1;
	assert_int_equal(vfile_sync(f, true), -EIO);
	assert_int_equal(vfile_sync(f, true), 0);
	/* neither does another file help now */
	assert_int_equal(
		vf_put(f, new_bytes + CHUNK_SIZE, CHUNK_SIZE, CHUNK_SIZE), 0);
	fail_left = 1000000;
	for (int i = 0; i < 3; i++)
		assert_int_equal(vfile_sync(f, true), -EIO);
	assert_int_equal(vf_put(f, new_bytes + 2 * CHUNK_SIZE, CHUNK_SIZE,
				2 * CHUNK_SIZE),
			 0);
	fail_left = 0;
	assert_int_equal(vfile_sync(f, true), 0);
}

static void test_dying__segments_that_cannot_be_written(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;

	make_old(fx, LEN);
	die_after(fx, overwrite_on_a_failing_disk, false);
	mount_again(fx, &r);
	assert_int_equal(r.redone, 1);
	for (size_t i = 0; i < CHUNKS; i++)
		if (i % 3 == 0 || i < 3)
			memcpy(old_bytes + i * CHUNK_SIZE,
			       new_bytes + i * CHUNK_SIZE, CHUNK_SIZE);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, LEN);
	vfile_close(f);
}

/* What was in its place, and lost there, is brought there again. */
static void test_dying__a_file_that_cannot_be_written(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;

	make_old(fx, LEN);
	begin_alone(fx);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(xio_pread(vfile_fd(f), first_slot, sizeof first_slot,
				   (off_t)chunk_offset(0)),
			 0);
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 0), 0);
	assert_int_equal(vfile_sync(f, true), 0);
	fail_fd = vfile_fd(f);
	fail_left = 1;
	while (fail_left > 0)
		(void)!journal_flush(fx->vault);
	/* whoever met it, this file is told, once */
	assert_int_equal(vfile_sync(f, true), -EIO);
	fail_fd = -1;
	while (journal_flush(fx->vault))
		;
	assert_int_equal(vfile_sync(f, true), 0);
	vfile_close(f);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_no_session(fx);
	memcpy(old_bytes, new_bytes, CHUNK_SIZE);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, LEN);
	vfile_close(f);
}

/* Cut, and grown again in place: nothing older comes over that. */
static void cut_and_grow(struct vfile *f)
{
	const size_t short_len = 2 * CHUNK_SIZE + 100;

	overwrite_some(f);
	assert_int_equal(vf_truncate(f, short_len), 0);
	assert_int_equal(vf_put(f, new_bytes + 10 * CHUNK_SIZE,
				20 * CHUNK_SIZE + 5, 10 * CHUNK_SIZE),
			 0);
}

static void test_dying__what_was_cut_stays_away(void **state)
{
	struct fixture *fx = *state;
	const size_t len = 30 * CHUNK_SIZE + 5;
	static uint8_t want[LEN];

	make_old(fx, LEN);
	memcpy(want, old_bytes, 2 * CHUNK_SIZE + 100);
	memcpy(want, new_bytes, CHUNK_SIZE);
	memcpy(want + 10 * CHUNK_SIZE, new_bytes + 10 * CHUNK_SIZE,
	       20 * CHUNK_SIZE + 5);
	for (int sync = 0; sync < 2; sync++) {
		struct vfile *f;

		die_after(fx, cut_and_grow, sync);
		mount_again(fx, NULL);
		f = vf_open(fx, fx->vault, "f");
		assert_int_equal(vfile_size(f), len);
		vf_expect(f, want, len);
		vfile_close(f);
	}
}

/* A session that nobody can read is kept, and harms nothing. */
static void test_dying__damaged_session(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;
	int dir, fd;

	make_old(fx, LEN);
	die_after(fx, overwrite_some, true);
	dir = journal_dir(fx);
	fd = openat(dir, JOURNAL_SESSION_FILE, O_RDWR);
	assert_true(fd >= 0);
	fx_spoil(fd, 30);
	close(fd);
	close(dir);
	/* the segments speak for themselves */
	mount_again(fx, &r);
	assert_int_equal(r.redone, 1);
	expect_no_session(fx);
	for (size_t i = 0; i < CHUNKS; i += 3)
		memcpy(old_bytes + i * CHUNK_SIZE, new_bytes + i * CHUNK_SIZE,
		       CHUNK_SIZE);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, LEN);
	vfile_close(f);
}

/* Segments of an older session are not replayed. */
static void test_dying__foreign_segments(void **state)
{
	struct fixture *fx = *state;
	struct journal_reader *reader;
	char name[JOURNAL_NAME_LEN + 1], other[JOURNAL_NAME_LEN + 1];
	struct journal_recovery r = {0};
	struct vfile *f;
	int dir;

	make_old(fx, LEN);
	die_after(fx, overwrite_some, true);
	assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
	journal_segment_name_(reader->session->id, 0, name);
	journal_reader_close(reader);
	dir = journal_dir(fx);
	assert_int_equal(renameat(dir, name, dir, "kept"), 0);
	mount_again(fx, &r);
	assert_int_equal(r.redone, 0);
	begin_alone(fx);
	journal_segment_name_(fx->vault->journal->session, 1, other);
	assert_int_equal(renameat(dir, "kept", dir, other), 0);
	assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
	assert_int_equal(reader->count, 1);
	journal_reader_close(reader);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, LEN);
	vfile_close(f);
	close(dir);
}

/* What a new file of which the power failure left a name looks like. */
static void test_dying__nothing_but_a_name(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	struct vfile *f;
	off_t len;
	int fd;

	make_old(fx, LEN);
	die_after(fx, overwrite_some, false);
	fd = backing(fx, &len);
	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	mount_again(fx, &r);
	assert_int_equal(r.emptied, 1);
	assert_int_equal(r.lost, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), 0);
	vfile_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_dying__dying_at_every_call),
		TEST(test_dying__recovery_dies_at_every_call),
		TEST(test_dying__no_room),
		TEST(test_dying__no_room_to_take_back),
		TEST(test_dying__no_mark_to_leave_a_segment_by),
		TEST(test_dying__no_mark_behind_a_full_segment),
		TEST(test_dying__a_mark_that_cannot_be_written),
		TEST(test_dying__removed_while_there_is_no_mark),
		TEST(test_dying__segments_that_cannot_be_written),
		TEST(test_dying__a_file_that_cannot_be_written),
		TEST(test_dying__what_was_cut_stays_away),
		TEST(test_dying__damaged_session),
		TEST(test_dying__foreign_segments),
		TEST(test_dying__nothing_but_a_name),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
