/*
 * The journal while it is used: what another thread does in the middle of a
 * write, an fsync, the emptying of a segment. Linked in place of the calls are
 * hooks, in which the others get their turn.
 */
#include "live_fixture.h"

static pthread_t other;

static atomic_bool other_done;

static void *flush_main(void *arg)
{
	(void)arg;
	must(journal_flush(fixture->vault) == 0);
	other_done = true;
	return NULL;
}

/* Whoever opens a file that was written and closed can make it durable. */
static void test_live__fsync_after_reopening(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin(fx);
	put(LEN, MORE);
	vfile_settle(file);
	vfile_close(file);
	file = vf_open(fx, fx->vault, "f");
	hook_fd = vfile_fd(file);
	syncs = 0;
	assert_int_equal(vfile_sync(file, true), 0);
	assert_int_equal(syncs, 1);
	/* once */
	assert_int_equal(vfile_sync(file, true), 0);
	assert_int_equal(syncs, 1);
	vfile_close(file);
}

static void *sync_main(void *arg)
{
	(void)arg;
	must(vfile_sync(file, true) == 0);
	other_done = true;
	return NULL;
}

/* Nobody is told that it is durable while somebody else is still at it. */
static void test_live__fsync_waits_for_another(void **state)
{
	void *(*const second[])(void *) = {sync_main, flush_main};
	struct fixture *fx = *state;
	pthread_t first;
	bool early;

	make_file(fx, LEN);
	begin_alone(fx);
	for (int i = 0; i < 2; i++) {
		entered = leave = other_done = false;
		put(0, CHUNK_SIZE);
		put(LEN + (size_t)i * MORE, MORE);
		vfile_settle(file);
		assert_int_equal(vfile_drain(file), 0);
		before_sync = stay;
		assert_int_equal(pthread_create(&first, NULL, sync_main, NULL),
				 0);
		wait_until(&entered);
		assert_int_equal(pthread_create(&other, NULL, second[i], NULL),
				 0);
		wait_ms(TURN_MS);
		early = other_done;
		leave = true;
		pthread_join(first, NULL);
		pthread_join(other, NULL);
		assert_false(early);
	}
	vfile_close(file);
	expect_file(fx, LEN + 2 * MORE);
}

static void *drain_main(void *arg)
{
	(void)arg;
	must(vfile_drain(file) == 0);
	other_done = true;
	return NULL;
}

/* What is being brought in place while the file is made durable is not taken
 * for durable. */
static void test_live__changes_count_when_made(void **state)
{
	struct fixture *fx = *state;
	struct journal_file *jf;
	bool durable;

	make_file(fx, LEN);
	begin(fx);
	entered = leave = other_done = false;
	/* it would be made durable soon */
	pthread_mutex_lock(&fx->vault->journal->retire_lock);
	before_write = stay;
	put(0, CHUNK_SIZE);
	jf = side();
	assert_int_equal(pthread_create(&other, NULL, drain_main, NULL), 0);
	wait_until(&entered);
	assert_int_equal(journal_sync_file_(jf), 0);
	leave = true;
	pthread_join(other, NULL);
	durable = jf->durable == jf->changed;
	pthread_mutex_unlock(&fx->vault->journal->retire_lock);
	assert_false(durable);
	vfile_close(file);
}

enum { MANY = 2500 };

static void *watch_count(void *arg)
{
	struct journal_file *jf = arg;
	size_t last = 0;

	while (!leave) {
		size_t count = jf->count;

		if (count < last)
			other_done = true;
		last = count;
	}
	return NULL;
}

/* A file with pending chunks never looks as if it had none; and when it has
 * none the memory goes. */
static void test_live__count_while_the_table_grows(void **state)
{
	struct fixture *fx = *state;
	struct journal_file *jf;

	make_file(fx, LEN);
	begin_alone(fx);
	put(0, CHUNK_SIZE);
	jf = side();
	assert_int_equal(vf_truncate(file, (uint64_t)MANY * CHUNK_SIZE), 0);
	assert_int_equal(journal_flush(fx->vault), 0);
	leave = other_done = false;
	/* nothing goes to its place meanwhile */
	pthread_mutex_lock(&jf->applying);
	assert_int_equal(pthread_create(&other, NULL, watch_count, jf), 0);
	for (size_t i = CHUNKS; i + 1 < MANY; i++)
		assert_int_equal(
			vf_put(file, bytes, CHUNK_SIZE, i * CHUNK_SIZE), 0);
	leave = true;
	pthread_join(other, NULL);
	pthread_mutex_unlock(&jf->applying);
	assert_false(other_done);
	assert_true(jf->count >= MANY - 1 - CHUNKS);
	assert_int_equal(journal_flush(fx->vault), 0);
	assert_int_equal(jf->count, 0);
	assert_int_equal(jf->room, 0);
	vfile_close(file);
}

static void die_while_punching(void)
{
	die_in_hole = true;
	(void)!punch();
}

/* A process killed within a hole being made has left the record of it. */
static void test_live__holes_have_a_record(void **state)
{
	make_file(*state, LEN);
	die_after(*state, die_while_punching);
	(void)mount_again(*state);
	memset(bytes + 10 * CHUNK_SIZE, 0, 6 * CHUNK_SIZE);
	expect_file(*state, LEN);
}

static void look_who_applies(void)
{
	struct journal_file *jf = side();

	entered = true;
	before_sync = look_who_applies;
	if (pthread_mutex_trylock(&jf->applying) == 0) {
		other_done = true;
		pthread_mutex_unlock(&jf->applying);
	}
}

/* ...which nobody takes away before the hole is made. */
static void test_live__holes_keep_their_record(void **state)
{
	struct fixture *fx = *state;
	struct journal *j;
	int err;

	make_file(fx, LEN);
	begin_alone(fx);
	j = fx->vault->journal;
	entered = other_done = false;
	/* so that what is made durable is the hole's record */
	assert_int_equal(journal_flush(fx->vault), 0);
	pthread_mutex_lock(&j->retire_lock);
	hook_fd = j->seg[j->active].fd;
	before_sync = look_who_applies;
	err = punch();
	before_sync = NULL;
	pthread_mutex_unlock(&j->retire_lock);
	assert_int_equal(err, 0);
	assert_true(entered);
	assert_false(other_done);
	vfile_close(file);
}

static void punch_without_room(void)
{
	fill(2);
	put(9 * CHUNK_SIZE, 3 * CHUNK_SIZE);
	no_room = true;
	assert_int_equal(punch(), -ENOSPC);
	no_room = false;
}

static void want_new(void)
{
	uint8_t new[3 * CHUNK_SIZE];

	fill(2);
	memcpy(new, bytes + 9 * CHUNK_SIZE, sizeof new);
	fill(1);
	memcpy(bytes + 9 * CHUNK_SIZE, new, sizeof new);
}

/* A hole that could not be made leaves what was written last. */
static void test_live__holes_that_fail(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	die_after(fx, punch_without_room);
	(void)mount_again(fx);
	want_new();
	expect_file(fx, LEN);
	begin(fx);
	punch_without_room();
	want_new();
	vf_expect(file, bytes, LEN);
	vfile_close(file);
}

/* Without room for them no hole is said to be filled, and no small growth to
 * have happened; and all goes on. */
static void test_live__room_before_the_record(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin(fx);
	assert_int_equal(vf_truncate(file, 2 * LEN), 0);
	assert_int_equal(vfile_sync(file, true), 0);
	memset(bytes + LEN, 0, LEN);
	no_room = true;
	assert_int_equal(vf_put(file, bytes, CHUNK_SIZE, LEN + 5 * CHUNK_SIZE),
			 -ENOSPC);
	assert_int_equal(vf_put(file, bytes, 100, 2 * LEN), -ENOSPC);
	/* what is there has room */
	put(CHUNK_SIZE, CHUNK_SIZE);
	assert_int_equal(vfile_sync(file, true), 0);
	no_room = false;
	vf_expect(file, bytes, 2 * LEN);
	assert_int_equal(vf_put(file, bytes, CHUNK_SIZE, LEN + 5 * CHUNK_SIZE),
			 0);
	memcpy(bytes + LEN + 5 * CHUNK_SIZE, bytes, CHUNK_SIZE);
	assert_int_equal(journal_flush(fx->vault), 0);
	vf_expect(file, bytes, 2 * LEN);
	vfile_close(file);
}

/* The number that the segment's file says, looked up by its name. */
static uint64_t number_of(const struct journal *j, unsigned n)
{
	struct journal_ids ids = journal_ids_of_(j, 0);
	uint8_t head[JOURNAL_HEAD_LEN];
	int fd = openat(j->dir_fd, j->seg[n].name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(xio_pread(fd, head, sizeof head, 0), 0);
	assert_int_equal(journal_head_parse(head, &ids), 0);
	close(fd);
	return ids.number;
}

/* Which segments are in use their numbers tell, and nothing else has to: what
 * was there before and is put back is known by that. */
static void test_live__numbers_follow_each_other(void **state)
{
	struct fixture *fx = *state;
	struct journal *j;

	make_file(fx, LEN);
	begin_alone(fx);
	j = fx->vault->journal;
	for (uint64_t i = 0; i < 8; i++) {
		uint64_t a = number_of(j, 0), b = number_of(j, 1);

		assert_true(a + 1 == b || b + 1 == a);
		assert_int_equal(a > b ? a : b, i + 2);
		put(0, CHUNK_SIZE);
		if (i % 2)
			assert_int_equal(vfile_sync(file, true), 0);
		for (unsigned n = 0; n < JOURNAL_SEGMENTS && i > 3; n++)
			(void)!unlinkat(j->dir_fd, j->seg[n].name, 0);
		/* without the next record nobody looks for the empty one */
		put(CHUNK_SIZE, CHUNK_SIZE);
		assert_int_equal(journal_flush(fx->vault), 0);
	}
	vfile_close(file);
	expect_file(fx, LEN);
}

static void *end_again_main(void *arg)
{
	(void)arg;
	put(LEN / 2, 100);
	return NULL;
}

/* An end that comes to its place cuts no room away that a newer one has. */
static void test_live__room_behind_an_older_end(void **state)
{
	struct fixture *fx = *state;
	struct journal_file *jf;
	pthread_t first;

	make_file(fx, LEN);
	begin_alone(fx);
	assert_int_equal(vf_truncate(file, LEN / 2), 0);
	jf = side();
	entered = leave = other_done = false;
	before_write = stay;
	assert_int_equal(pthread_create(&first, NULL, drain_main, NULL), 0);
	wait_until(&entered);
	/* its record is there before it waits for the drain */
	assert_int_equal(pthread_create(&other, NULL, end_again_main, NULL), 0);
	while (jf->size != LEN / 2 + 100)
		wait_ms(1);
	leave = true;
	pthread_join(first, NULL);
	pthread_join(other, NULL);
	assert_int_equal(jf->cut, 0);
	vf_expect(file, bytes, LEN / 2 + 100);
	assert_int_equal(journal_flush(fx->vault), 0);
	assert_true(jf->cut > 0);
	vfile_close(file);
	expect_file(fx, LEN / 2 + 100);
}

/* A file has no use for the journal that recovery would not find. A new one is
 * known to be one for so long. */
static void test_live__who_needs_it(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	assert_non_null(file->journal);
	vfile_close(file);
	elsewhere = true;
	file = vf_open(fx, fx->vault, "f");
	assert_null(file->journal);
	vfile_close(file);
	file = vf_create(fx, "g");
	assert_null(file->journal);
	vfile_close(file);
	elsewhere = false;
	file = vf_create(fx, "h");
	put(0, CHUNK_SIZE);
	assert_null(file->jf);
	vfile_close(file);
	file = vf_create(fx, "i");
	file->made_ms -= 60000;
	put(0, CHUNK_SIZE);
	assert_non_null(file->jf);
	vf_expect(file, bytes, CHUNK_SIZE);
	vfile_close(file);
}

static void *read_main(void *arg)
{
	uint8_t buf[CHUNK_SIZE];

	(void)arg;
	must(vf_get(file, buf, sizeof buf, 0, NULL) == CHUNK_SIZE);
	must(memcmp(buf, bytes, sizeof buf) == 0);
	return NULL;
}

static void *write_behind_main(void *arg)
{
	(void)arg;
	put(9 * CHUNK_SIZE, CHUNK_SIZE);
	other_done = true;
	return NULL;
}

/* Who waits for a slow disk holds nobody up, */
static void test_live__a_slow_read(void **state)
{
	struct fixture *fx = *state;
	pthread_t reader;
	bool done;

	make_file(fx, LEN);
	begin_alone(fx);
	put(5 * CHUNK_SIZE, CHUNK_SIZE);
	entered = leave = other_done = false;
	before_read = stay;
	assert_int_equal(pthread_create(&reader, NULL, read_main, NULL), 0);
	wait_until(&entered);
	assert_int_equal(pthread_create(&other, NULL, write_behind_main, NULL),
			 0);
	for (int i = 0; i < 5000 && !other_done; i++)
		wait_ms(1);
	done = other_done;
	leave = true;
	pthread_join(reader, NULL);
	pthread_join(other, NULL);
	assert_true(done);
	vfile_close(file);
	expect_file(fx, LEN);
}

static void drain_now(void)
{
	must(pthread_create(&other, NULL, drain_main, NULL) == 0);
	pthread_join(other, NULL);
}

/* ...and does not miss what gets to its place meanwhile. */
static void test_live__a_read_during_a_drain(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	fill(2);
	put(0, CHUNK_SIZE);
	after_read = drain_now;
	read_main(NULL);
	assert_true(after_read == NULL);
	vfile_close(file);
}

/* Who must not wait for room has a bound, too. */
static void test_live__hurry_has_an_end(void **state)
{
	struct fixture *fx = *state;
	struct journal *j;
	uint64_t end;
	int err;

	make_file(fx, LEN);
	begin(fx);
	put(0, CHUNK_SIZE);
	j = fx->vault->journal;
	pthread_mutex_lock(&j->retire_lock);
	pthread_mutex_lock(&j->append_lock);
	end = j->seg[j->active].end;
	j->seg[j->active].end = JOURNAL_HURRY_MAX;
	j->seg[1 - j->active].end = JOURNAL_HEAD_LEN + 1;
	pthread_mutex_unlock(&j->append_lock);
	err = vfile_put_record_(file, bytes, 0, 1, CHUNK_TOKEN_LEN, file->size,
				RECORD_HURRY | RECORD_KEEP);
	pthread_mutex_lock(&j->append_lock);
	j->seg[j->active].end = end;
	j->seg[1 - j->active].end = JOURNAL_HEAD_LEN;
	pthread_mutex_unlock(&j->append_lock);
	pthread_mutex_unlock(&j->retire_lock);
	assert_int_equal(err, -ENOSPC);
	vfile_close(file);
	expect_file(fx, LEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_live__fsync_after_reopening),
		TEST(test_live__fsync_waits_for_another),
		TEST(test_live__changes_count_when_made),
		TEST(test_live__count_while_the_table_grows),
		TEST(test_live__holes_have_a_record),
		TEST(test_live__holes_keep_their_record),
		TEST(test_live__holes_that_fail),
		TEST(test_live__room_before_the_record),
		TEST(test_live__numbers_follow_each_other),
		TEST(test_live__a_slow_read),
		TEST(test_live__a_read_during_a_drain),
		TEST(test_live__who_needs_it),
		TEST(test_live__room_behind_an_older_end),
		TEST(test_live__hurry_has_an_end),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
