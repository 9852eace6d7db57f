/*
 * Vaults whose mount was killed, and what becomes of them. Wants LINKER:--wrap
 * for what crash_fixture.h names, and for fdatasync, pread64, time,
 * clock_gettime and nanosleep.
 */
#ifndef FROND_RECOVER_FIXTURE_H
#define FROND_RECOVER_FIXTURE_H

#include <stdlib.h>

#include "crash_fixture.h"

#include "vfile_fixture.h"

#include "journal_internal.h"
#include "seen.h"

#include <signal.h>

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
ssize_t __real_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset);
time_t __real_time(time_t *now);
time_t __wrap_time(time_t *now);
int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

/* So much later it is for who asks; files have their times from the kernel. */
static _Atomic int64_t ahead_s;

time_t __wrap_time(time_t *now)
{
	(void)now;
	return __real_time(NULL) + ahead_s;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int ret = __real_clock_gettime(clock, now);

	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
		now->tv_sec += ahead_s;
	return ret;
}

int __real_nanosleep(const struct timespec *for_, struct timespec *left);
int __wrap_nanosleep(const struct timespec *for_, struct timespec *left);

/* Who waits for the clock does not. */
static bool in_a_hurry;

int __wrap_nanosleep(const struct timespec *for_, struct timespec *left)
{
	return in_a_hurry ? 0 : __real_nanosleep(for_, left);
}

/* A disk that does not give this file's first chunk. */
static ino_t bad_ino;

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	struct stat st;

	if (bad_ino && fstat(fd, &st) == 0 && st.st_ino == bad_ino) {
		errno = EIO;
		return -1;
	}
	return __real_pread64(fd, buf, len, offset);
}

/* A disk on which nothing more becomes durable. */
static bool bad_sync;

int __wrap_fdatasync(int fd)
{
	if (bad_sync) {
		errno = EIO;
		return -1;
	}
	if (crash_mode != CRASH_DIE || !crash_now())
		return __real_fdatasync(fd);
	crash_die();
	return -1;
}

enum { CHUNKS = 40, LEN = CHUNKS * CHUNK_SIZE, NAMES = 6 };

static uint8_t old_bytes[LEN], new_bytes[LEN], redone_bytes[LEN];

/* What a file holds before, what is written, and what that makes together. */
static inline void fill(void)
{
	for (size_t i = 0; i < LEN; i++) {
		old_bytes[i] = (uint8_t)(1 + i / CHUNK_SIZE * 3 + i % 7);
		new_bytes[i] = (uint8_t)(101 + i / CHUNK_SIZE * 3 + i % 7);
		redone_bytes[i] =
			i / CHUNK_SIZE % 3 == 0 ? new_bytes[i] : old_bytes[i];
	}
}

static inline void make(struct fixture *fx, const char *name)
{
	struct vfile *f = vf_create(fx, name);

	fill();
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	assert_int_equal(vfile_sync(f, false), 0);
	vfile_close(f);
}

static inline void overwrite(struct vfile *f)
{
	for (size_t i = 0; i < CHUNKS; i += 3)
		assert_int_equal(vf_put(f, new_bytes + i * CHUNK_SIZE,
					CHUNK_SIZE, i * CHUNK_SIZE),
				 0);
}

static inline void grow(struct vfile *f)
{
	static uint8_t more[VFILE_IO_MAX];

	memset(more, 7, sizeof more);
	assert_int_equal(vf_put(f, more, sizeof more, LEN), 0);
}

static inline void expect(struct fixture *fx, const char *name,
			  const uint8_t *bytes)
{
	struct vfile *f = vf_open(fx, fx->vault, name);

	vf_expect(f, bytes, LEN);
	vfile_close(f);
}

/* Let go of the lock, for children, and of what is known. */
static inline void again(struct fixture *fx)
{
	bool remembers = fx->vault->remembers;

	vault_close(fx->vault);
	assert_int_equal(fx_open(fx), 0);
	fx->vault->remembers = remembers;
}

static inline int recover(struct fixture *fx, struct journal_recovery *r)
{
	int err;

	again(fx);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	err = journal_recover(fx->vault, r);
	again(fx);
	return err;
}

static size_t finished;

static inline void on_kept(void *arg, const char *name, bool done)
{
	(void)arg, (void)name;
	finished += done;
}

static inline void retry(struct fixture *fx, struct journal_recovery *r)
{
	finished = 0;
	again(fx);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_retry(fx->vault, r, on_kept), 0);
	again(fx);
}

/* In a child, with a journal: do that, and die without a word. No thread brings
 * anything to its place meanwhile, however long it takes. */
static inline void die_in(struct fixture *fx, void (*act)(struct fixture *fx))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		vault_close(fx->vault);
		if (fx_open(fx) || vault_lock(fx->vault, false, false) ||
		    journal_recover(fx->vault, NULL) ||
		    journal_begin(fx->vault))
			_exit(1);
		act(fx);
		/* at once: no other thread goes on meanwhile */
		(void)raise(SIGKILL);
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void (*die_change)(struct vfile *f);
static const char *die_names;

static inline void change_files(struct fixture *fx)
{
	for (; *die_names; die_names++) {
		const char name[] = {*die_names, '\0'};
		struct vfile *f = vf_open(fx, fx->vault, name);

		die_change(f);
		if (vfile_sync(f, false))
			_exit(2);
	}
}

/* Change the files, fsync, and die. */
static inline void die_after(struct fixture *fx,
			     void (*change)(struct vfile *f), const char *names)
{
	die_change = change;
	die_names = names;
	die_in(fx, change_files);
}

static inline int journal_dir(struct fixture *fx)
{
	int fd = openat(fx->vault->meta_fd, "journal",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* How many names in there end so? */
static inline int count_names(struct fixture *fx, const char *dir,
			      const char *end)
{
	int fd = openat(fx->vault->meta_fd, dir, O_RDONLY | O_DIRECTORY);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d)))
		n += strlen(e->d_name) >= strlen(end) && e->d_name[0] != '.' &&
		     strcmp(e->d_name + strlen(e->d_name) - strlen(end), end) ==
			     0;
	if (d)
		closedir(d);
	return n;
}

static inline void expect_session(struct fixture *fx, bool there)
{
	int fd = journal_dir(fx);

	assert_int_equal(fx_exists(fd, JOURNAL_SESSION_FILE), there);
	close(fd);
}

static inline void path_of(struct fixture *fx, const char *name, char path[512])
{
	struct backing_name b = fx_name(fx, fx->root_id, name);

	snprintf(path, 512, "%s/%s", fx->path, b.entry);
}

static inline void shell(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

static inline void shell(const char *format, ...)
{
	char command[2048];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof command, format, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

static inline uint64_t digest(const char *path)
{
	uint64_t sum = 0;
	uint8_t buf[4096];
	size_t n;
	FILE *f = fopen(path, "re");

	assert_non_null(f);
	while ((n = fread(buf, 1, sizeof buf, f)) > 0)
		for (size_t i = 0; i < n; i++)
			sum = sum * 31 + buf[i];
	fclose(f);
	return sum;
}

/* Its damage is no crash's doing: the file f stays as it is. */
static inline void expect_left_alone(struct fixture *fx)
{
	struct journal_recovery r = {.wholly = true};
	char path[512];
	uint64_t sum;

	path_of(fx, "f", path);
	sum = digest(path);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.mended, 0);
	assert_int_equal(r.beyond, 1);
	assert_int_equal(digest(path), sum);
}

/* Elsewhere, with other inode numbers. */
static inline void copy_vault(struct fixture *fx)
{
	shell("cp -a '%s' '%s/new' && rm -r '%s' && mv '%s/new' '%s'", fx->path,
	      fx->top, fx->path, fx->top, fx->path);
	again(fx);
}

/* Killed at the same place, again and again. */
static inline int recover_and_die(void *arg)
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

#endif
