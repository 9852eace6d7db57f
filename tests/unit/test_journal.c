/*
 * The redo journal: what a process that dies at any call leaves, and what a
 * power failure makes of that, is whole after the next journal_recover().
 */
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

/* Half of it, as far as it is one piece. */
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t offset)
{
	if (!crash_now())
		return __real_pwritev64(fd, iov, n, offset);
	(void)!__real_pwritev64(fd, iov, 1, offset);
	crash_die();
	return -1;
}

enum { CHUNKS = 40, LEN = CHUNKS * CHUNK_SIZE };

static uint8_t old_bytes[LEN], new_bytes[LEN];

static void fill(uint8_t *bytes, uint8_t what)
{
	for (size_t i = 0; i < LEN; i++)
		bytes[i] = (uint8_t)(what + i / CHUNK_SIZE * 3 + i % 7);
}

static void begin(struct fixture *fx)
{
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_start(fx->vault), 0);
}

/* Another process would: the vault anew, and what was left finished. */
static void mount_again(struct fixture *fx, struct journal_recovery *r)
{
	vault_close(fx->vault);
	assert_int_equal(fx_open(fx), 0);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_recover(fx->vault, r), 0);
	/* let go of the lock, for children */
	vault_close(fx->vault);
	assert_int_equal(fx_open(fx), 0);
}

static int journal_dir(struct fixture *fx)
{
	int fd = openat(fx->vault->meta_fd, "journal",
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* Nothing but what mending may have cut off. */
static void expect_no_session(struct fixture *fx)
{
	int fd = journal_dir(fx);

	assert_int_equal(fx_count(fd), fx_exists(fd, JOURNAL_KEPT_DIR));
	close(fd);
}

static void make_old(struct fixture *fx, size_t len)
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
static void die_after(struct fixture *fx, void (*change)(struct vfile *f),
		      bool sync)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct vfile *f;

		vault_close(fx->vault);
		if (fx_open(fx) || vault_lock(fx->vault, false, false) ||
		    journal_recover(fx->vault, NULL) ||
		    journal_start(fx->vault))
			_exit(1);
		f = vf_open(fx, fx->vault, "f");
		change(f);
		if (sync && vfile_sync(f, false))
			_exit(2);
		/* at once: no other thread goes on meanwhile */
		(void)raise(SIGKILL);
		_exit(3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void overwrite_some(struct vfile *f)
{
	for (size_t i = 0; i < CHUNKS; i += 3)
		assert_int_equal(vf_put(f, new_bytes + i * CHUNK_SIZE,
					CHUNK_SIZE, i * CHUNK_SIZE),
				 0);
}

static void test_journal__a_clean_end_leaves_nothing(void **state)
{
	struct fixture *fx = *state;

	begin(fx);
	make_old(fx, LEN - 5);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_no_session(fx);
}

/* What was written and not brought in place is there again. */
static void test_journal__overwriting_is_redone(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;

	make_old(fx, LEN);
	die_after(fx, overwrite_some, true);
	mount_again(fx, &r);
	assert_true(r.crashed);
	assert_int_equal(r.redone, 1);
	assert_int_equal(r.mended + r.emptied + r.lost + r.beyond, 0);
	for (size_t i = 0; i < CHUNKS; i += 3)
		memcpy(old_bytes + i * CHUNK_SIZE, new_bytes + i * CHUNK_SIZE,
		       CHUNK_SIZE);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, LEN);
	vfile_close(f);
	expect_no_session(fx);
}

static void shrink_and_append(struct vfile *f)
{
	assert_int_equal(vf_truncate(f, 5 * CHUNK_SIZE + 77), 0);
	assert_int_equal(vf_put(f, new_bytes, 1000, 5 * CHUNK_SIZE + 77), 0);
	assert_int_equal(vf_put(f, new_bytes, 10, 100), 0);
}

static void test_journal__lengths_are_redone(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;

	make_old(fx, LEN);
	die_after(fx, shrink_and_append, false);
	mount_again(fx, &r);
	f = vf_open(fx, fx->vault, "f");
	memcpy(old_bytes + 5 * CHUNK_SIZE + 77, new_bytes, 1000);
	memcpy(old_bytes + 100, new_bytes, 10);
	vf_expect(f, old_bytes, 5 * CHUNK_SIZE + 1077);
	vfile_close(f);
}

static void punch_some(struct vfile *f)
{
	assert_int_equal(vf_put(f, new_bytes, 3 * CHUNK_SIZE, 9 * CHUNK_SIZE),
			 0);
	assert_int_equal(vf_allocate(f,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     10 * CHUNK_SIZE, 6 * CHUNK_SIZE),
			 0);
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 12 * CHUNK_SIZE), 0);
}

static void test_journal__holes_are_redone(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;

	make_old(fx, LEN);
	die_after(fx, punch_some, false);
	mount_again(fx, NULL);
	memcpy(old_bytes + 9 * CHUNK_SIZE, new_bytes, CHUNK_SIZE);
	memset(old_bytes + 10 * CHUNK_SIZE, 0, 6 * CHUNK_SIZE);
	memcpy(old_bytes + 12 * CHUNK_SIZE, new_bytes, CHUNK_SIZE);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, LEN);
	vfile_close(f);
}

static void grow_in_flux(struct vfile *f)
{
	static uint8_t more[VFILE_IO_MAX];

	memset(more, 7, sizeof more);
	assert_int_equal(vf_put(f, more, sizeof more, LEN), 0);
	assert_true(vfile_in_flux(f));
	assert_int_equal(vf_put(f, more, CHUNK_SIZE, LEN + sizeof more), 0);
	assert_true(vfile_in_flux(f));
}

/* A file whose end has no mark yet keeps all that was written. */
static void test_journal__growth_is_mended(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	uint8_t buf[CHUNK_SIZE];
	struct vfile *f;

	make_old(fx, LEN);
	die_after(fx, grow_in_flux, false);
	mount_again(fx, &r);
	assert_int_equal(r.mended, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), LEN + VFILE_IO_MAX + CHUNK_SIZE);
	assert_int_equal(vf_get(f, buf, sizeof buf, LEN + VFILE_IO_MAX, NULL),
			 sizeof buf);
	assert_int_equal(buf[0], 7);
	assert_int_equal(vf_get(f, buf, sizeof buf, 3 * CHUNK_SIZE, NULL),
			 sizeof buf);
	assert_memory_equal(buf, old_bytes + 3 * CHUNK_SIZE, sizeof buf);
	vfile_close(f);
}

static int backing(struct fixture *fx, off_t *len)
{
	int fd = vf_backing_fd(fx, "f");

	*len = lseek(fd, 0, SEEK_END);
	return fd;
}

/* The power fails: of what was behind the durable end, part was lost. */
static void lose_growth(struct fixture *fx, uint64_t from, uint64_t sectors)
{
	static const uint8_t zeros[512];
	off_t len;
	int fd = backing(fx, &len);
	off_t at = ((off_t)chunk_offset(from) / 512 + 1) * 512;

	for (uint64_t i = 0; i < sectors; i++, at += 512)
		assert_int_equal(pwrite(fd, zeros, sizeof zeros, at), 512);
	close(fd);
}

static void test_journal__lost_growth_is_cut(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;

	for (int lost = 0; lost < 12; lost++) {
		struct journal_recovery r = {.wholly = true};
		uint64_t size;

		make_old(fx, LEN);
		die_after(fx, grow_in_flux, false);
		lose_growth(fx, CHUNKS + (uint64_t)lost, 1 + (uint64_t)lost);
		mount_again(fx, &r);
		assert_int_equal(r.mended, 1);
		assert_int_equal(r.beyond, 0);
		f = vf_open(fx, fx->vault, "f");
		size = vfile_size(f);
		assert_true(size >= LEN);
		assert_int_equal(size, LEN + (uint64_t)lost * CHUNK_SIZE);
		memset(new_bytes, 7, sizeof new_bytes);
		{
			uint8_t *all = malloc(size);

			assert_non_null(all);
			memcpy(all, old_bytes, LEN);
			memset(all + LEN, 7, size - LEN);
			vf_expect(f, all, size);
			free(all);
		}
		vfile_close(f);
		expect_no_session(fx);
		assert_int_equal(unlinkat(fx->vault->root_fd,
					  fx_name(fx, fx->root_id, "f").entry,
					  0),
				 0);
	}
}

static void nothing(struct vfile *f)
{
	(void)f;
}

/* Growth begins in the zeros behind a full last chunk, and may end there. */
static void test_journal__what_follows_the_end_is_zeros_again(void **state)
{
	struct fixture *fx = *state;

	for (int wholly = 0; wholly < 2; wholly++) {
		struct journal_recovery r = {.wholly = wholly};
		struct vfile *f;
		off_t len;
		int fd;

		make_old(fx, LEN);
		die_after(fx, nothing, false);
		fd = backing(fx, &len);
		assert_int_equal(len, chunk_backing_len(LEN));
		assert_int_equal(pwrite(fd, "gAAAAABr", 8, len - 8), 8);
		close(fd);
		mount_again(fx, &r);
		assert_int_equal(r.mended, 1);
		assert_int_equal(r.beyond, 0);
		f = vf_open(fx, fx->vault, "f");
		vf_expect(f, old_bytes, LEN);
		vfile_close(f);
		expect_no_session(fx);
		assert_int_equal(unlinkat(fx->vault->root_fd,
					  fx_name(fx, fx->root_id, "f").entry,
					  0),
				 0);
	}
}

/* The second time all is durable. */
static void overwrite_again(struct vfile *f)
{
	overwrite_some(f);
	assert_int_equal(vfile_sync(f, false), 0);
	overwrite_some(f);
}

/* Damage below what was durable is no crash's: it is left and reported. */
static void test_journal__damage_is_not_mended(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	struct vfile *f;
	uint8_t buf[CHUNK_SIZE];
	off_t len;
	int fd;

	make_old(fx, LEN);
	sleep(1);
	die_after(fx, overwrite_again, true);
	fd = backing(fx, &len);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)chunk_offset(1) + 99), 1);
	assert_int_equal(ftruncate(fd, len), 0);
	close(fd);
	mount_again(fx, &r);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), LEN);
	assert_int_equal(vf_get(f, buf, sizeof buf, CHUNK_SIZE, NULL),
			 -EBADMSG);
	vfile_close(f);
}

/* Cut and flipped segments: never anything but whole records, in order. */
static void test_journal__torn_segments(void **state)
{
	struct fixture *fx = *state;
	char name[JOURNAL_NAME_LEN + 1];
	struct journal_reader *reader;
	struct journal_record rec;
	int got, whole = 0, dir, fd;
	off_t len;

	make_old(fx, LEN);
	die_after(fx, overwrite_some, true);
	assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
	while ((got = journal_reader_next(reader, &rec)) == 1)
		whole++;
	assert_int_equal(got, 0);
	assert_int_equal(whole, (CHUNKS + 2) / 3);
	journal_segment_name_(reader->session->id, 0, name);
	journal_reader_close(reader);
	dir = journal_dir(fx);
	fd = openat(dir, name, O_RDWR);
	assert_true(fd >= 0);
	len = lseek(fd, 0, SEEK_END);
	for (off_t at = 0; at < len; at += at < 300 ? 1 : 487) {
		uint8_t was, is;
		int n = 0;

		assert_int_equal(pread(fd, &was, 1, at), 1);
		is = was ^ 4;
		assert_int_equal(pwrite(fd, &is, 1, at), 1);
		assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
		while (journal_reader_next(reader, &rec) == 1)
			n++;
		journal_reader_close(reader);
		/* bytes in the middle of tokens are found by their own MACs */
		assert_true(n <= whole);
		if (at < JOURNAL_HEAD_LEN)
			assert_int_equal(n, 0);
		else if (at < JOURNAL_HEAD_LEN + JOURNAL_RECORD_HEAD_LEN)
			assert_int_equal(n, 0);
		assert_int_equal(pwrite(fd, &was, 1, at), 1);
	}
	for (int cut = whole - 1; cut >= 0; cut--) {
		int n = 0;

		len -= JOURNAL_RECORD_HEAD_LEN + CHUNK_TOKEN_LEN;
		assert_int_equal(ftruncate(fd, len + 100), 0);
		assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
		while (journal_reader_next(reader, &rec) == 1)
			n++;
		journal_reader_close(reader);
		assert_int_equal(n, cut > 0 && len > 0 ? cut : 0);
	}
	close(fd);
	close(dir);
}

/* Pure overwriting: fsync makes the journal durable, and nothing else. */
static void test_journal__fsync_is_one_call(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;
	int before;

	make_old(fx, LEN);
	begin(fx);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 0), 0);
	assert_int_equal(vfile_sync(f, true), 0);
	before = fdatasyncs;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE,
					(uint64_t)i * CHUNK_SIZE),
				 0);
		assert_int_equal(vfile_sync(f, true), 0);
	}
	/* the thread may have made some durable in between, no more */
	assert_in_range(fdatasyncs - before, 10, 13);
	vfile_close(f);
}

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
	if (journal_start(fx->vault))
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

static void test_journal__dying_at_every_call(void **state)
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
	begin(fx);
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

static void test_journal__recovery_dies_at_every_call(void **state)
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
	begin(fx);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_no_session(fx);
}

/* Full: told to who writes, and nothing that was there is harmed. */
static void test_journal__no_room(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;
	int failed = 0;

	make_old(fx, LEN);
	begin(fx);
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

/* A session that nobody can read is kept, and harms nothing. */
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

static void test_journal__segments_that_cannot_be_written(void **state)
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
static void test_journal__a_file_that_cannot_be_written(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;

	make_old(fx, LEN);
	begin(fx);
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

static void test_journal__what_was_cut_stays_away(void **state)
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

static void test_journal__damaged_session(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;
	int dir, fd;

	make_old(fx, LEN);
	die_after(fx, overwrite_some, true);
	dir = journal_dir(fx);
	fd = openat(dir, JOURNAL_SESSION_FILE, O_RDWR);
	assert_true(fd >= 0 && pwrite(fd, "x", 1, 30) == 1);
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
static void test_journal__foreign_segments(void **state)
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
	begin(fx);
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
static void test_journal__nothing_but_a_name(void **state)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_journal__a_clean_end_leaves_nothing),
		TEST(test_journal__overwriting_is_redone),
		TEST(test_journal__lengths_are_redone),
		TEST(test_journal__holes_are_redone),
		TEST(test_journal__growth_is_mended),
		TEST(test_journal__lost_growth_is_cut),
		TEST(test_journal__what_follows_the_end_is_zeros_again),
		TEST(test_journal__damage_is_not_mended),
		TEST(test_journal__torn_segments),
		TEST(test_journal__fsync_is_one_call),
		TEST(test_journal__dying_at_every_call),
		TEST(test_journal__recovery_dies_at_every_call),
		TEST(test_journal__no_room),
		TEST(test_journal__segments_that_cannot_be_written),
		TEST(test_journal__a_file_that_cannot_be_written),
		TEST(test_journal__what_was_cut_stays_away),
		TEST(test_journal__damaged_session),
		TEST(test_journal__foreign_segments),
		TEST(test_journal__nothing_but_a_name),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
