/* Vaults of one file, "f", whose mount dies. Wants LINKER:--wrap for what
 * crash_fixture.h names, and for fdatasync and pwritev64. */
#ifndef FROND_JOURNAL_FIXTURE_H
#define FROND_JOURNAL_FIXTURE_H

#include <stdlib.h>

#include "crash_fixture.h"

#include "vfile_fixture.h"

#include "journal_internal.h"

#include <signal.h>
#include <sys/uio.h>

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset);

static atomic_int fdatasyncs;

/* So many fail, of this descriptor or (-1) of all; what they had to write in
 * the first chunk's place is lost then. */
static atomic_int fail_fd = -1, fail_left;
static uint8_t first_slot[CHUNK_TOKEN_LEN];

int __wrap_fdatasync(int fd)
{
	fdatasyncs++;
	if (fail_left > 0 && (fail_fd < 0 || fail_fd == fd)) {
		if (fail_fd == fd)
			(void)!pwrite(fd, first_slot, sizeof first_slot,
				      (off_t)chunk_offset(0));
		fail_left--;
		errno = EIO;
		return -1;
	}
	/* what it reports is not for want of room */
	if (crash_mode != CRASH_DIE || !crash_now())
		return __real_fdatasync(fd);
	crash_die();
	return -1;
}

/* So many fail before their last piece. */
static atomic_int appends_failing;

/* Half of it, as far as it is one piece. */
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset)
{
	if (appends_failing > 0) {
		appends_failing--;
		(void)!__real_pwritev64(fd, iov, n - 1, offset);
		errno = EIO;
		return -1;
	}
	if (!crash_now())
		return __real_pwritev64(fd, iov, n, offset);
	/* no kill ends one of a few bytes right behind a record without tokens
	 */
	(void)!__real_pwritev64(fd, iov, n > 1 && iov[1].iov_len > 0, offset);
	crash_die();
	return -1;
}

enum { CHUNKS = 40, LEN = CHUNKS * CHUNK_SIZE };

static uint8_t old_bytes[LEN], new_bytes[LEN];

static inline void fill(uint8_t *bytes, uint8_t what)
{
	for (size_t i = 0; i < LEN; i++)
		bytes[i] = (uint8_t)(what + i / CHUNK_SIZE * 3 + i % 7);
}

static inline void begin(struct fixture *fx)
{
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_start(fx->vault), 0);
}

/* Nothing happens but what the test does. */
static inline void begin_alone(struct fixture *fx)
{
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
}

/* Another process would: the vault anew, and what was left finished. */
static inline void mount_again(struct fixture *fx, struct journal_recovery *r)
{
	vault_close(fx->vault);
	assert_int_equal(fx_open(fx), 0);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_recover(fx->vault, r), 0);
	/* let go of the lock, for children */
	vault_close(fx->vault);
	assert_int_equal(fx_open(fx), 0);
}

static inline int journal_dir(struct fixture *fx)
{
	int fd = openat(fx->vault->meta_fd, "journal",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Nothing but what mending may have cut off. */
static inline void expect_no_session(struct fixture *fx)
{
	int fd = journal_dir(fx);

	assert_int_equal(fx_count(fd), fx_exists(fd, JOURNAL_KEPT_DIR));
	close(fd);
}

static inline void make_old(struct fixture *fx, size_t len)
{
	struct vfile *f = vf_create(fx, "f");

	fill(old_bytes, 1);
	fill(new_bytes, 101);
	for (size_t at = 0; at < len; at += CHUNK_SIZE)
		assert_int_equal(
			vf_put(f, old_bytes + at,
			       len - at < CHUNK_SIZE ? len - at : CHUNK_SIZE,
			       at),
			0);
	assert_int_equal(vfile_sync(f, false), 0);
	vfile_close(f);
}

/* In a child: change the file and die without a word. */
static inline void die_after(struct fixture *fx,
			     void (*change)(struct vfile *f), bool sync)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct vfile *f;

		vault_close(fx->vault);
		if (fx_open(fx) || vault_lock(fx->vault, false, false) ||
		    journal_recover(fx->vault, NULL) ||
		    journal_begin(fx->vault))
			_exit(1);
		f = vf_open(fx, fx->vault, "f");
		change(f);
		if (sync && vfile_sync(f, false))
			_exit(2);
		(void)raise(SIGKILL);
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static inline void overwrite_some(struct vfile *f)
{
	for (size_t i = 0; i < CHUNKS; i += 3)
		assert_int_equal(vf_put(f, new_bytes + i * CHUNK_SIZE,
					CHUNK_SIZE, i * CHUNK_SIZE),
				 0);
}

static inline void grow_in_flux(struct vfile *f)
{
	static uint8_t more[VFILE_IO_MAX];

	memset(more, 7, sizeof more);
	assert_int_equal(vf_put(f, more, sizeof more, LEN), 0);
	assert_true(vfile_in_flux(f));
	assert_int_equal(vf_put(f, more, CHUNK_SIZE, LEN + sizeof more), 0);
	assert_true(vfile_in_flux(f));
}

static inline int backing(struct fixture *fx, off_t *len)
{
	int fd = vf_backing_fd(fx, "f");

	*len = lseek(fd, 0, SEEK_END);
	return fd;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

#endif
