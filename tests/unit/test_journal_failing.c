/* Disks that fail under the journal: who is held up, and what is lost. */
#include "live_fixture.h"

int __real_openat64(int dirfd, const char *name, int flags, mode_t mode);
int __wrap_openat64(int dirfd, const char *name, int flags, mode_t mode);

static pthread_t other;
static int opens_until_back; /* that fail; 0: it stays away */

int __wrap_openat64(int dirfd, const char *name, int flags, mode_t mode)
{
	if (away) {
		away = --opens_until_back != 0;
		errno = EIO;
		return -1;
	}
	return __real_openat64(dirfd, name, flags, mode);
}

/* The file cannot be written: chunks in its middle, and a new end. */
static void write_on_a_bad_disk(void)
{
	struct journal *j = fixture->vault->journal;
	int stuck;

	bad_fd = vfile_fd(file);
	fill(2);
	put(3 * CHUNK_SIZE, 3 * CHUNK_SIZE);
	put(LEN - 3, 100);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(journal_flush(fixture->vault), -EIO);
		assert_int_equal(vfile_sync(file, true), -EIO);
		pthread_mutex_lock(&j->append_lock);
		stuck = j->stuck;
		pthread_mutex_unlock(&j->append_lock);
		assert_int_equal(stuck, 0);
	}
}

static void want_what_was_written(void)
{
	uint8_t new[3 * CHUNK_SIZE], end[100];

	fill(2);
	memcpy(new, bytes + 3 * CHUNK_SIZE, sizeof new);
	memcpy(end, bytes + LEN - 3, sizeof end);
	fill(1);
	memcpy(bytes + 3 * CHUNK_SIZE, new, sizeof new);
	memcpy(bytes + LEN - 3, end, sizeof end);
}

/* One file that cannot be written keeps nothing else from being written, and
 * is not forgotten. */
static void test_failing__a_file_on_a_bad_disk(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	die_after(fx, write_on_a_bad_disk);
	assert_int_equal(mount_again(fx).redone, 1);
	want_what_was_written();
	expect_file(fx, LEN + 97);
	begin(fx);
	assert_int_equal(vf_truncate(file, LEN), 0);
	write_on_a_bad_disk();
	want_what_was_written();
	vf_expect(file, bytes, LEN + 97);
	bad_fd = -1;
	assert_int_equal(journal_flush(fx->vault), 0);
	assert_int_equal(vfile_sync(file, true), 0);
	vfile_close(file);
	expect_file(fx, LEN + 97);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + 97);
}

/* Some chunks as they lie in place: what is there, and what was there and a
 * failed fsync has left there. */
static void peek(uint64_t chunk, size_t count, uint8_t *tokens)
{
	int fd = vf_backing_fd(fixture, "f");

	must(xio_pread(fd, tokens, count * CHUNK_TOKEN_LEN,
		       (off_t)chunk_offset(chunk)) == 0);
	close(fd);
}

static void lose(uint64_t chunk, size_t count, const uint8_t *tokens)
{
	int fd = vf_backing_fd(fixture, "f");

	must(xio_pwrite(fd, tokens, count * CHUNK_TOKEN_LEN,
			(off_t)chunk_offset(chunk)) == 0);
	close(fd);
}

/* Whatever is brought to its place does not stay there. */
static void write_what_is_lost(void)
{
	struct journal *j = fixture->vault->journal;
	uint8_t old[3 * CHUNK_TOKEN_LEN];
	int stuck;

	peek(3, 3, old);
	bad_sync_fd = vfile_fd(file);
	fill(2);
	put(3 * CHUNK_SIZE, 3 * CHUNK_SIZE);
	put(LEN - 3, 100);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(journal_flush(fixture->vault), -EIO);
		pthread_mutex_lock(&j->append_lock);
		stuck = j->stuck;
		pthread_mutex_unlock(&j->append_lock);
		assert_int_equal(stuck, 0);
		lose(3, 3, old);
	}
	assert_int_equal(vfile_sync(file, true), -EIO);
}

/* A file that cannot be made durable holds up nobody else, and all of it stays
 * in the journal, whatever is emptied. */
static void test_failing__a_file_that_is_never_durable(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	die_after(fx, write_what_is_lost);
	assert_int_equal(mount_again(fx).redone, 1);
	want_what_was_written();
	expect_file(fx, LEN + 97);
	begin(fx);
	assert_int_equal(vf_truncate(file, LEN), 0);
	write_what_is_lost();
	want_what_was_written();
	bad_sync_fd = -1;
	assert_int_equal(journal_flush(fx->vault), 0);
	assert_int_equal(vfile_sync(file, true), 0);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + 97);
}

/* Its last token is as long as one of another chunk. */
enum { LONG_END = LEN - CHUNK_LAST_EXTRA + (CHUNK_TOKEN_LEN - CHUNK_SIZE) };

static void lose_an_end(void)
{
	uint8_t old[2 * CHUNK_TOKEN_LEN];

	peek(CHUNKS - 2, 2, old);
	fill(2);
	put(LONG_END - CHUNK_SIZE, CHUNK_SIZE);
	must(vfile_drain(file) == 0);
	bad_sync_fd = vfile_fd(file);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(journal_flush(fixture->vault), -EIO);
		lose(CHUNKS - 2, 2, old);
	}
	put(0, LONG_END - CHUNK_SIZE);
	assert_int_equal(vfile_sync(file, true), -EIO);
}

/* ...and what was written behind it. */
static void test_failing__an_end_that_is_never_durable(void **state)
{
	make_file(*state, LONG_END);
	die_after(*state, lose_an_end);
	assert_int_equal(mount_again(*state).redone, 1);
	fill(2);
	expect_file(*state, LONG_END);
}

static void lose_holes(void)
{
	uint8_t old[6 * CHUNK_TOKEN_LEN];

	peek(10, 6, old);
	bad_sync_fd = vfile_fd(file);
	must(punch() == 0);
	fill(2);
	put(12 * CHUNK_SIZE, CHUNK_SIZE);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(journal_flush(fixture->vault), -EIO);
		lose(10, 6, old);
	}
}

/* ...holes among it, and what was written there since. */
static void test_failing__holes_that_are_never_durable(void **state)
{
	uint8_t new[CHUNK_SIZE];

	make_file(*state, LEN);
	die_after(*state, lose_holes);
	(void)mount_again(*state);
	fill(2);
	memcpy(new, bytes + 12 * CHUNK_SIZE, sizeof new);
	fill(1);
	memset(bytes + 10 * CHUNK_SIZE, 0, 6 * CHUNK_SIZE);
	memcpy(bytes + 12 * CHUNK_SIZE, new, sizeof new);
	expect_file(*state, LEN);
}

enum { CLOSED = 20, SOME_MS = 990 };

/* Many files that cannot be written are not carried to and fro all the time. */
static void test_failing__many_bad_files_wait(void **state)
{
	struct fixture *fx = *state;
	struct journal_counters before, after;
	char name[16];

	make_file(fx, LEN);
	for (int i = 0; i < CLOSED; i++) {
		snprintf(name, sizeof name, "g%d", i);
		file = vf_create(fx, name);
		put(0, 2 * CHUNK_SIZE);
		vfile_close(file);
	}
	begin(fx);
	vfile_close(file);
	all_bad = true;
	for (int i = 0; i < CLOSED; i++) {
		snprintf(name, sizeof name, "g%d", i);
		file = vf_open(fx, fx->vault, name);
		put(0, CHUNK_SIZE);
		vfile_close(file);
	}
	assert_int_equal(journal_flush(fx->vault), -EIO);
	journal_counters(fx->vault, &before);
	wait_ms(SOME_MS);
	journal_counters(fx->vault, &after);
	all_bad = false;
	assert_true(after.records <= before.records + CLOSED);
	assert_int_equal(journal_stop(fx->vault), 0);
}

/* No failure: it is written all the same. */
static void test_failing__a_signal(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	fill(2);
	interrupted = true;
	put(0, LEN);
	assert_false(interrupted);
	assert_int_equal(vfile_sync(file, true), 0);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN);
}

/* More than what such files may keep in the journal. */
enum { TOO_MANY = JOURNAL_FAILING_MAX + VFILE_IO_MAX / CHUNK_SIZE };

/* They do not fill the journal, which others need. */
static void test_failing__a_bad_file_takes_no_more_than_its_share(void **state)
{
	struct fixture *fx = *state;
	size_t at = 0, max = (size_t)TOO_MANY * CHUNK_SIZE;
	struct vfile *f;
	int err = 0;

	make_file(fx, LEN);
	f = vf_create(fx, "g");
	for (; at < 2 * max; at += VFILE_IO_MAX)
		assert_int_equal(vf_put(f, bytes, VFILE_IO_MAX, at), 0);
	vfile_close(f);
	begin_alone(fx);
	f = vf_open(fx, fx->vault, "g");
	bad_fd = vfile_fd(f);
	for (at = 0; at < 2 * max && !err; at += VFILE_IO_MAX) {
		err = vf_put(f, bytes, VFILE_IO_MAX, at);
		(void)!vfile_drain(f);
	}
	assert_int_equal(err, -EIO);
	assert_true(at <= max + VFILE_IO_MAX);
	/* others go on, and so does this one */
	fill(2);
	put(0, CHUNK_SIZE);
	assert_int_equal(vfile_sync(file, true), 0);
	bad_fd = -1;
	assert_int_equal(vfile_drain(f), 0);
	assert_int_equal(vf_put(f, bytes, VFILE_IO_MAX, at), 0);
	vfile_close(f);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
}

/* The disk has lost this chunk's token. */
static void spoil(uint64_t chunk)
{
	const struct journal *j = fixture->vault->journal;
	struct journal_file *jf = side();
	const struct journal_entry *e;

	pthread_rwlock_rdlock(&jf->lock);
	e = journal_entry_(jf, chunk);
	must(e && __real_pwrite64(j->seg[e->segment].fd, "lost", 4,
				  (off_t)(e->offset + e->len / 2)) == 4);
	pthread_rwlock_unlock(&jf->lock);
}

/* A token that cannot be read from its segment any more concerns its chunk and
 * nothing else, when it is to go to its place, to the other segment, or to the
 * segment's next file. */
static void test_failing__tokens_that_are_lost(void **state)
{
	struct fixture *fx = *state;
	uint8_t buf[CHUNK_SIZE];

	make_file(fx, LEN);
	begin_alone(fx);
	for (int i = 0; i < 3; i++) {
		fill((uint8_t)(2 + i));
		put(0, LEN);
		spoil(7);
		if (i == 1)
			bad_fd = vfile_fd(file);
		if (i == 2)
			bad_sync_fd =
				side()->journal->seg[side()->journal->active]
					.fd;
		assert_int_equal(vfile_sync(file, true), i == 2 ? -EIO : 0);
		bad_sync_fd = -1;
		assert_int_equal(journal_flush(fx->vault), i == 1 ? -EIO : 0);
		bad_fd = -1;
		assert_int_equal(
			vf_get(file, buf, CHUNK_SIZE, 7 * CHUNK_SIZE, NULL),
			-EIO);
		assert_int_equal(journal_flush(fx->vault), 0);
		/* who asks is told, once */
		assert_int_equal(vfile_sync(file, true), i == 2 ? 0 : -EIO);
		assert_int_equal(vfile_sync(file, true), 0);
		assert_int_equal(
			vf_get(file, buf, CHUNK_SIZE, 8 * CHUNK_SIZE, NULL),
			CHUNK_SIZE);
		assert_memory_equal(buf, bytes + 8 * CHUNK_SIZE, CHUNK_SIZE);
		put(7 * CHUNK_SIZE, CHUNK_SIZE);
		vf_expect(file, bytes, LEN);
	}
	/* also of one that waits to be tried again */
	bad_fd = vfile_fd(file);
	assert_int_equal(journal_flush(fx->vault), -EIO);
	put(5 * CHUNK_SIZE, CHUNK_SIZE);
	spoil(5);
	assert_int_equal(journal_retire_(fx->vault->journal, true, false, NULL),
			 0);
	bad_fd = -1;
	assert_int_equal(journal_flush(fx->vault), 0);
	assert_int_equal(vf_get(file, buf, CHUNK_SIZE, 5 * CHUNK_SIZE, NULL),
			 -EIO);
	put(5 * CHUNK_SIZE, CHUNK_SIZE);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN);
}

/* What cannot be read for a while, as nothing can, is not lost. */
static void test_failing__a_backing_directory_that_is_away(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	fill(2);
	put(0, LEN);
	assert_int_equal(vfile_sync(file, true), 0);
	away = true;
	assert_int_equal(vfile_drain(file), -EIO);
	assert_int_equal(journal_flush(fx->vault), -EIO);
	assert_int_equal(vfile_sync(file, true), -EIO);
	away = false;
	vf_expect(file, bytes, LEN);
	assert_int_equal(vfile_sync(file, true), 0);
	assert_int_equal(journal_flush(fx->vault), 0);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN);
}

/* ...nor when all is back while that is looked at. */
static void test_failing__a_backing_directory_that_comes_back(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	for (int opens = 1; opens < 6; opens++) {
		fill((unsigned char)opens);
		put(0, LEN);
		assert_int_equal(vfile_sync(file, true), 0);
		opens_until_back = opens;
		away = true;
		(void)!vfile_drain(file);
		away = false;
		opens_until_back = 0;
		vf_expect(file, bytes, LEN);
		assert_int_equal(vfile_drain(file), 0);
		assert_int_equal(vfile_sync(file, true), 0);
	}
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN);
}

/* ...nor is what was lost in its place, and is to be had from there. */
static void test_failing__away_when_it_is_needed(void **state)
{
	struct fixture *fx = *state;
	uint8_t old[CHUNK_TOKEN_LEN];

	make_file(fx, LEN);
	peek(0, 1, old);
	begin_alone(fx);
	fill(2);
	put(0, LEN);
	assert_int_equal(vfile_drain(file), 0);
	bad_sync_fd = vfile_fd(file);
	assert_int_equal(vfile_sync(file, true), -EIO);
	bad_sync_fd = -1;
	lose(0, 1, old);
	away = true;
	assert_int_equal(journal_flush(fx->vault), -EIO);
	away = false;
	assert_int_equal(journal_flush(fx->vault), 0);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN);
}

/* Whoever asks again is told what is so now. */
static void test_failing__an_error_that_has_passed(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	fill(2);
	put(0, LEN);
	bad_fd = vfile_fd(file);
	assert_int_equal(vfile_drain(file), -EIO);
	assert_int_equal(vfile_sync(file, true), -EIO);
	assert_int_equal(vfile_sync(file, true), -EIO);
	bad_fd = -1;
	assert_int_equal(vfile_sync(file, true), 0);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN);
}

/* What fsync has lost is brought there again, though the next one says that all
 * is well, and nobody has the file open any more. */
static void test_failing__lost_and_closed(void **state)
{
	struct fixture *fx = *state;
	struct journal *j;
	uint8_t old[CHUNK_TOKEN_LEN];
	struct journal_file *jf;

	make_file(fx, LEN);
	peek(0, 1, old);
	begin_alone(fx);
	j = fx->vault->journal;
	fill(2);
	put(0, CHUNK_SIZE);
	jf = side();
	assert_int_equal(vfile_drain(file), 0);
	bad_sync_fd = vfile_fd(file);
	assert_int_equal(vfile_sync(file, true), -EIO);
	bad_sync_fd = -1;
	lose(0, 1, old);
	assert_int_equal(journal_sync_file_(jf), -EIO);
	vfile_close(file);
	(void)journal_sweep_(j, true);
	assert_int_equal(journal_flush(fx->vault), 0);
	/* then it is not needed any more */
	(void)journal_sweep_(j, true);
	assert_int_equal(j->known, 0);
	fill(1);
	for (size_t i = 0; i < CHUNK_SIZE; i++)
		bytes[i] = (uint8_t)(2 + i % 7);
	expect_file(fx, LEN);
}

static void *write_main(void *arg)
{
	(void)arg;
	put(0, CHUNK_SIZE);
	must(vfile_drain(file) == 0);
	must(journal_sync_file_(side()) == 0);
	return NULL;
}

/* All of it, before the call that is to meet the error. */
static void let_other_write(void)
{
	must(pthread_create(&other, NULL, write_main, NULL) == 0);
	pthread_join(other, NULL);
	bad_sync_fd = vfile_fd(file);
}

/* An fsync that began before the journal knew the file has failed: what has
 * been brought in place meanwhile may be lost. */
static void test_failing__known_while_fsync_fails(void **state)
{
	struct fixture *fx = *state;
	uint8_t old[CHUNK_TOKEN_LEN];

	make_file(fx, LEN);
	peek(0, 1, old);
	begin_alone(fx);
	fill(2);
	before_sync = let_other_write;
	assert_int_equal(vfile_sync(file, true), -EIO);
	bad_sync_fd = -1;
	lose(0, 1, old);
	assert_int_equal(journal_flush(fx->vault), 0);
	vfile_close(file);
	fill(1);
	for (size_t i = 0; i < CHUNK_SIZE; i++)
		bytes[i] = (uint8_t)(2 + i % 7);
	expect_file(fx, LEN);
}

/* An end that is closed without its mark, against all attempts, is left to the
 * next mount. */
static void test_failing__ends_that_stay_unmarked(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	put(LEN, MORE);
	assert_true(vfile_in_flux(file));
	journal_full = true;
	bad_fd = vfile_fd(file);
	vfile_close(file);
	journal_full = false;
	bad_fd = -1;
	/* what it has is durable, and nobody uses it; but for that it is over
	 */
	assert_int_equal(journal_flush(fx->vault), 0);
	(void)journal_sweep_(fx->vault->journal, true);
	assert_int_equal(journal_stop(fx->vault), -EIO);
	assert_int_equal(mount_again(fx).mended, 1);
	expect_file(fx, LEN + MORE);
}

/* Each who has the file open is told, and told once. */
static void test_failing__each_is_told(void **state)
{
	struct fixture *fx = *state;
	_Atomic uint64_t one = 0, two = 0, late;

	make_file(fx, LEN);
	begin_alone(fx);
	for (int i = 0; i < 2; i++) {
		bad_sync_fd = vfile_fd(file);
		put(i ? LEN : 0, i ? MORE : CHUNK_SIZE);
		/* by the journal's thread, or by one of them */
		if (i == 0)
			assert_int_equal(journal_flush(fx->vault), -EIO);
		assert_int_equal(vfile_sync_for(file, true, &one), -EIO);
		bad_sync_fd = -1;
		late = vfile_told(file);
		assert_int_equal(vfile_sync_for(file, true, &late), 0);
		assert_int_equal(vfile_sync_for(file, true, &two), -EIO);
		assert_int_equal(vfile_sync_for(file, true, &one), 0);
		assert_int_equal(vfile_sync_for(file, true, &two), 0);
		assert_int_equal(journal_flush(fx->vault), 0);
	}
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + MORE);
}

/* Whoever opens it when nobody has been told yet is one of them. */
static void test_failing__who_comes_first_is_told(void **state)
{
	struct fixture *fx = *state;
	_Atomic uint64_t one = 0, late;

	make_file(fx, LEN);
	begin_alone(fx);
	bad_sync_fd = vfile_fd(file);
	put(0, CHUNK_SIZE);
	assert_int_equal(journal_flush(fx->vault), -EIO);
	bad_sync_fd = -1;
	late = vfile_told(file);
	assert_int_equal(vfile_sync_for(file, true, &one), -EIO);
	assert_int_equal(vfile_sync_for(file, true, &late), -EIO);
	assert_int_equal(vfile_sync_for(file, true, &late), 0);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_failing__a_file_on_a_bad_disk),
		TEST(test_failing__a_file_that_is_never_durable),
		TEST(test_failing__an_end_that_is_never_durable),
		TEST(test_failing__holes_that_are_never_durable),
		TEST(test_failing__many_bad_files_wait),
		TEST(test_failing__a_signal),
		TEST(test_failing__a_bad_file_takes_no_more_than_its_share),
		TEST(test_failing__tokens_that_are_lost),
		TEST(test_failing__a_backing_directory_that_is_away),
		TEST(test_failing__a_backing_directory_that_comes_back),
		TEST(test_failing__away_when_it_is_needed),
		TEST(test_failing__an_error_that_has_passed),
		TEST(test_failing__lost_and_closed),
		TEST(test_failing__known_while_fsync_fails),
		TEST(test_failing__ends_that_stay_unmarked),
		TEST(test_failing__each_is_told),
		TEST(test_failing__who_comes_first_is_told),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
