/*
 * The journal while it is used: what another thread does in the middle of a
 * write, an fsync, the emptying of a segment. Linked in place of the calls are
 * hooks, in which the others get their turn.
 */
#include <stdlib.h>

#include "vfile_fixture.h"

#include "vfile_internal.h"

#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __real_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int count,
			 off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count,
			 off_t offset);
int __real_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len);
int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
time_t __real_time(time_t *now);
time_t __wrap_time(time_t *now);
int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

enum { TURN_MS = 150 };

/* Called once, before the call, when it is about this descriptor. */
static _Atomic int hook_fd = -1;
static void (*_Atomic before_sync)(void);
static void (*_Atomic before_write)(void);
static void (*_Atomic before_read)(void);
static void (*_Atomic after_read)(void);
static void (*_Atomic before_look)(void);  /* at length and inode */
static void (*_Atomic before_touch)(void); /* after what moves the time */
static atomic_int syncs;		   /* of hook_fd */
static _Atomic bool no_room, die_in_hole, journal_full, all_bad, elsewhere;
static _Atomic int bad_fd = -1;	     /* cannot be written */
static _Atomic int bad_sync_fd = -1; /* cannot be made durable */

static void run_hook(void (*_Atomic *hook)(void), int fd)
{
	void (*fn)(void) = fd == hook_fd ? atomic_exchange(hook, NULL) : NULL;

	if (fn)
		fn();
}

int __wrap_fdatasync(int fd)
{
	run_hook(&before_sync, fd);
	if (fd == hook_fd)
		syncs++;
	if (fd == bad_sync_fd) {
		errno = EIO;
		return -1;
	}
	return __real_fdatasync(fd);
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
	run_hook(&before_write, fd);
	/* heads of files and segments may be */
	if (fd == bad_fd || (all_bad && offset > 0)) {
		errno = EIO;
		return -1;
	}
	return __real_pwrite64(fd, buf, len, offset);
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	ssize_t n;

	run_hook(&before_read, fd);
	n = __real_pread64(fd, buf, len, offset);
	run_hook(&after_read, fd);
	return n;
}

/* The journal alone calls it, for its records. */
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count,
			 off_t offset)
{
	if (journal_full) {
		errno = ENOSPC;
		return -1;
	}
	return __real_pwritev64(fd, iov, count, offset);
}

int __wrap_fstat64(int fd, struct stat *st)
{
	int ret;

	run_hook(&before_look, fd);
	ret = __real_fstat64(fd, st);
	if (elsewhere)
		st->st_dev++;
	return ret;
}

/* Files are an hour old: not made in the session. */
time_t __wrap_time(time_t *now)
{
	time_t then = __real_time(NULL) - 3600;

	if (now)
		*now = then;
	return then;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	/* the journal alone looks at it, when something was written */
	if (clock == CLOCK_REALTIME_COARSE)
		run_hook(&before_touch, hook_fd);
	return __real_clock_gettime(clock, now);
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
	if (no_room) {
		errno = ENOSPC;
		return -1;
	}
	if (die_in_hole && (mode & FALLOC_FL_PUNCH_HOLE)) {
		(void)!__real_fallocate64(fd, mode, offset, len / 2 + 99);
		(void)raise(SIGKILL);
	}
	return __real_fallocate64(fd, mode, offset, len);
}

static void wait_ms(int ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000L};

	nanosleep(&pause, NULL);
}

static void wait_until(const atomic_bool *flag)
{
	while (!*flag)
		wait_ms(1);
}

static atomic_bool entered, leave, other_done;

enum { CHUNKS = 40, LEN = CHUNKS * CHUNK_SIZE, MORE = VFILE_IO_MAX };

static uint8_t bytes[LEN + 4 * MORE];
static struct vfile *file;
static struct fixture *fixture;

static void fill(uint8_t what)
{
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(what + i / CHUNK_SIZE * 3 + i % 7);
}

static void make_file(struct fixture *fx, size_t len)
{
	struct vfile *f = vf_create(fx, "f");

	fixture = fx;
	fill(1);
	for (size_t at = 0; at < len; at += CHUNK_SIZE)
		assert_int_equal(
			vf_put(f, bytes + at,
			       len - at < CHUNK_SIZE ? len - at : CHUNK_SIZE,
			       at),
			0);
	assert_int_equal(vfile_sync(f, false), 0);
	vfile_close(f);
}

/* Without the journal's thread: what it does, the test asks for. */
static void begin_alone(struct fixture *fx)
{
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
	file = vf_open(fx, fx->vault, "f");
	hook_fd = vfile_fd(file);
}

static void begin(struct fixture *fx)
{
	begin_alone(fx);
	assert_int_equal(journal_run(fx->vault), 0);
}

/* In a child: change the file and die without a word. */
static void die_after(struct fixture *fx, void (*change)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		vault_close(fx->vault);
		if (fx_open(fx))
			_exit(1);
		begin(fx);
		change();
		(void)raise(SIGKILL);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static struct journal_recovery mount_again(struct fixture *fx)
{
	struct journal_recovery r = {0};

	vault_close(fx->vault);
	assert_int_equal(fx_open(fx), 0);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_recover(fx->vault, &r), 0);
	assert_int_equal(r.beyond + r.lost + r.emptied, 0);
	/* let go of the lock */
	vault_close(fx->vault);
	assert_int_equal(fx_open(fx), 0);
	return r;
}

static void expect_file(struct fixture *fx, size_t len)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	assert_int_equal(vfile_size(f), len);
	vf_expect(f, bytes, len);
	vfile_close(f);
}

/* cmocka's assertions belong to the thread that runs the test. */
static void must(bool good)
{
	if (!good)
		abort();
}

static void put(size_t at, size_t len)
{
	must(vf_put(file, bytes + at, len, at) == 0);
}

/* The journal's side of the file. */
static struct journal_file *side(void)
{
	struct journal_file *jf = file->jf;

	assert_non_null(jf);
	return jf;
}

static pthread_t other;

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
static void test_live__growing_while_emptied(void **state)
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
static void test_live__first_record_while_the_end_moves(void **state)
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
static void test_live__emptied_before_the_bytes(void **state)
{
	make_file(*state, LEN);
	die_after(*state, grow_between_record_and_bytes);
	assert_int_equal(mount_again(*state).mended, 1);
	expect_file(*state, LEN + 2 * MORE);
}

/* An end that got its mark in its place is durable before the record that
 * speaks of the file is gone. */
static void test_live__marked_ends_are_made_durable(void **state)
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

static void stay(void)
{
	entered = true;
	wait_until(&leave);
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
	begin(fx);
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
	begin(fx);
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

static int punch(void)
{
	return vf_allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   10 * CHUNK_SIZE, 6 * CHUNK_SIZE);
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
	begin(fx);
	j = fx->vault->journal;
	entered = other_done = false;
	pthread_mutex_lock(&j->retire_lock);
	hook_fd = j->seg[0].fd;
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

static void remove_files(void)
{
	const struct journal *j = fixture->vault->journal;
	char name[JOURNAL_NAME_LEN + 1];

	put(0, CHUNK_SIZE);
	assert_int_equal(vfile_sync(file, true), 0);
	for (unsigned n = 0; n < 10; n++) {
		journal_segment_name_(j->session, n, name);
		(void)!unlinkat(j->dir_fd, name, 0);
	}
	assert_int_equal(unlinkat(j->dir_fd, JOURNAL_SESSION_FILE, 0), 0);
}

static void write_new(void)
{
	fill(2);
	put(3 * CHUNK_SIZE, 3 * CHUNK_SIZE);
	assert_int_equal(vfile_sync(file, true), 0);
}

static void remove_journal(void)
{
	remove_files();
	write_new();
}

static void remove_journal_directory(void)
{
	remove_files();
	assert_int_equal(
		unlinkat(fixture->vault->meta_fd, "journal", AT_REMOVEDIR), 0);
	write_new();
}

/* Somebody deletes the journal under a mount: what is fsynced then is there
 * after a crash all the same. */
static void test_live__journal_removed(void **state)
{
	void (*const ways[])(void) = {remove_journal, remove_journal_directory};
	uint8_t new[3 * CHUNK_SIZE];

	make_file(*state, LEN);
	for (size_t i = 0; i < 2; i++) {
		die_after(*state, ways[i]);
		assert_true(mount_again(*state).crashed);
		fill(2);
		memcpy(new, bytes + 3 * CHUNK_SIZE, sizeof new);
		fill(1);
		memcpy(bytes + 3 * CHUNK_SIZE, new, sizeof new);
		expect_file(*state, LEN);
		fill(1);
		assert_int_equal(
			unlinkat(fixture->vault->root_fd,
				 fx_name(fixture, fixture->root_id, "f").entry,
				 0),
			0);
		make_file(*state, LEN);
	}
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
static void test_live__a_file_on_a_bad_disk(void **state)
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
static void test_live__a_file_that_is_never_durable(void **state)
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
	bad_sync_fd = -1;
	assert_int_equal(journal_flush(fx->vault), 0);
	assert_int_equal(vfile_sync(file, true), 0);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN + 97);
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
static void test_live__holes_that_are_never_durable(void **state)
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

enum { CLOSED = 20, SOME_MS = 1000 };

/* Many files that cannot be written are not carried to and fro all the time. */
static void test_live__many_bad_files_wait(void **state)
{
	struct fixture *fx = *state;
	struct journal_counters before, after;
	char name[8];

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
static void test_live__tokens_that_are_lost(void **state)
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
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_file(fx, LEN);
}

/* What fsync has lost is brought there again, though the next one says that all
 * is well, and nobody has the file open any more. */
static void test_live__lost_and_closed(void **state)
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
static void test_live__known_while_fsync_fails(void **state)
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

static void *append_main(void *arg)
{
	(void)arg;
	put(LEN, MORE);
	other_done = true;
	return NULL;
}

/* An end that is to come to its place again, when growing behind it has begun,
 * does so first: later it would cut what has grown. */
static void test_live__an_end_that_is_there_again(void **state)
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

/* An end that is closed without its mark, against all attempts, is left to the
 * next mount. */
static void test_live__ends_that_stay_unmarked(void **state)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_live__growing_while_emptied),
		TEST(test_live__first_record_while_the_end_moves),
		TEST(test_live__emptied_before_the_bytes),
		TEST(test_live__marked_ends_are_made_durable),
		TEST(test_live__fsync_after_reopening),
		TEST(test_live__fsync_waits_for_another),
		TEST(test_live__changes_count_when_made),
		TEST(test_live__count_while_the_table_grows),
		TEST(test_live__holes_have_a_record),
		TEST(test_live__holes_keep_their_record),
		TEST(test_live__holes_that_fail),
		TEST(test_live__room_before_the_record),
		TEST(test_live__numbers_follow_each_other),
		TEST(test_live__journal_removed),
		TEST(test_live__a_file_on_a_bad_disk),
		TEST(test_live__a_file_that_is_never_durable),
		TEST(test_live__holes_that_are_never_durable),
		TEST(test_live__many_bad_files_wait),
		TEST(test_live__tokens_that_are_lost),
		TEST(test_live__lost_and_closed),
		TEST(test_live__known_while_fsync_fails),
		TEST(test_live__a_slow_read),
		TEST(test_live__a_read_during_a_drain),
		TEST(test_live__who_needs_it),
		TEST(test_live__room_behind_an_older_end),
		TEST(test_live__an_end_that_is_there_again),
		TEST(test_live__ends_that_stay_unmarked),
		TEST(test_live__hurry_has_an_end),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
