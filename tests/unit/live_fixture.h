/*
 * For tests of the journal while it is used: hooks in place of the calls, in
 * which other threads get their turn, and disks that fail.
 */
#ifndef FROND_LIVE_FIXTURE_H
#define FROND_LIVE_FIXTURE_H

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
/* The journal's segments cannot be longer; 0: as long as they like. */
static _Atomic off_t segment_room;
/* No server answers. What needs none goes on: fdatasync has nothing to send. */
static _Atomic bool away;
static _Atomic int bad_fd = -1;	     /* cannot be written */
static _Atomic int bad_sync_fd = -1; /* cannot be made durable */
/* So much of the next write to hook_fd is done, and no more. Not of those that
 * begin in front of torn_from: the journal may bring something home there. */
static _Atomic ssize_t torn_at = -1;
static _Atomic off_t torn_from;
static _Atomic bool tearing_kills;

static inline void run_hook(void (*_Atomic *hook)(void), int fd)
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
	if (fd == bad_fd || away || (all_bad && offset > 0)) {
		errno = EIO;
		return -1;
	}
	if (fd == hook_fd && offset >= torn_from && torn_at >= 0) {
		size_t part = (size_t)atomic_exchange(&torn_at, -1);

		(void)!__real_pwrite64(fd, buf, part < len ? part : len,
				       offset);
		if (tearing_kills)
			(void)raise(SIGKILL);
		errno = EIO;
		return -1;
	}
	return __real_pwrite64(fd, buf, len, offset);
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	ssize_t n;

	run_hook(&before_read, fd);
	if (away) {
		errno = EIO;
		return -1;
	}
	n = __real_pread64(fd, buf, len, offset);
	run_hook(&after_read, fd);
	return n;
}

/* A signal comes before anything is written. */
static atomic_bool interrupted;

/* The journal alone calls it, for its records. */
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count,
			 off_t offset)
{
	off_t end = offset;

	if (atomic_exchange(&interrupted, false)) {
		errno = EINTR;
		return -1;
	}
	for (int i = 0; i < count; i++)
		end += (off_t)iov[i].iov_len;
	if (journal_full || away || (segment_room > 0 && end > segment_room)) {
		errno = away ? EIO : ENOSPC;
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

static inline void wait_ms(int ms)
{
	const struct timespec pause = {.tv_nsec = ms * 1000000L};

	nanosleep(&pause, NULL);
}

static inline void wait_until(const atomic_bool *flag)
{
	while (!*flag)
		wait_ms(1);
}

static atomic_bool entered, leave;

enum { CHUNKS = 40, LEN = CHUNKS * CHUNK_SIZE, MORE = VFILE_IO_MAX };

static uint8_t bytes[LEN + 4 * MORE];
static struct vfile *file;
static struct fixture *fixture;

static inline void fill(uint8_t what)
{
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(what + i / CHUNK_SIZE * 3 + i % 7);
}

static inline void make_file(struct fixture *fx, size_t len)
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
static inline void begin_alone(struct fixture *fx)
{
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
	file = vf_open(fx, fx->vault, "f");
	hook_fd = vfile_fd(file);
}

static inline void begin(struct fixture *fx)
{
	begin_alone(fx);
	assert_int_equal(journal_run(fx->vault), 0);
}

/* In a child: change the file and die without a word. The journal's threads
 * would come between. */
static inline void die_after(struct fixture *fx, void (*change)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		vault_close(fx->vault);
		if (fx_open(fx))
			_exit(1);
		begin_alone(fx);
		change();
		(void)raise(SIGKILL);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static inline struct journal_recovery mount_again(struct fixture *fx)
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

static inline void expect_file(struct fixture *fx, size_t len)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	assert_int_equal(vfile_size(f), len);
	vf_expect(f, bytes, len);
	vfile_close(f);
}

/* cmocka's assertions belong to the thread that runs the test. */
static inline void must(bool good)
{
	if (!good)
		abort();
}

static inline void put(size_t at, size_t len)
{
	must(vf_put(file, bytes + at, len, at) == 0);
}

/* The journal's side of the file. */
static inline struct journal_file *side(void)
{
	struct journal_file *jf = file->jf;

	assert_non_null(jf);
	return jf;
}

static inline void stay(void)
{
	entered = true;
	wait_until(&leave);
}

static inline int punch(void)
{
	return vf_allocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   10 * CHUNK_SIZE, 6 * CHUNK_SIZE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

#endif
