/*
 * Writes that fail half-way: no room, a limit, an error of the device. What
 * was in the file stays, and the file can be written again.
 */
#include "vfile_fixture.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

enum { ROOM = 24 * CHUNK_SIZE };

/* Linked in place of pwrite(2): one call breaks off after so many bytes. */
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset);

static bool failing;
static size_t bytes_left;
static int fail_with;

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
	if (!failing)
		return __real_pwrite64(fd, buf, len, offset);
	if (bytes_left == 0) {
		failing = false;
		errno = fail_with;
		return -1;
	}
	if (len > bytes_left)
		len = bytes_left;
	bytes_left -= len;
	return __real_pwrite64(fd, buf, len, offset);
}

static void fail_after(size_t bytes, int error)
{
	failing = true;
	bytes_left = bytes;
	fail_with = error;
}

/* Data with holes at chunks 2, 3, 5 and 6; chunk 8 is the last, 100 bytes. */
static struct vfile *make_sparse(struct fixture *fx, int dirfd, uint8_t *bytes,
				 size_t *len)
{
	static unsigned serial;
	const size_t data[] = {0, 1, 4, 7, 8};
	char plain[32];
	struct backing_name name;
	struct vfile *f = NULL;
	uint64_t rng = ++serial;

	snprintf(plain, sizeof plain, "sparse %u", serial);
	name = fx_name(fx, fx->root_id, plain);
	assert_int_equal(
		vfile_create(fx->vault, dirfd, fx->root_id, &name, 0644, &f),
		0);
	assert_int_equal(unlinkat(dirfd, name.entry, 0), 0);
	*len = 8 * CHUNK_SIZE + 100;
	memset(bytes, 0, ROOM);
	for (size_t i = 0; i < 5; i++) {
		size_t at = data[i] * CHUNK_SIZE;
		size_t n = data[i] == 8 ? 100 : CHUNK_SIZE;

		vf_random_bytes(&rng, bytes + at, n);
		assert_int_equal(vf_put(f, bytes + at, n, at), 0);
	}
	return f;
}

/* The same backing file, opened anew. */
static struct vfile *again(struct fixture *fx, struct vfile *f)
{
	struct vfile *other = NULL;
	char proc[64];
	int fd;

	snprintf(proc, sizeof proc, "/proc/self/fd/%d", vfile_fd(f));
	fd = open(proc, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(vfile_open(fx->vault, fd, true, &other), 0);
	return other;
}

/*
 * After a failed write of these bytes: every chunk is wholly the old or
 * wholly the new one. Takes what is there for the old from now on.
 */
static void expect_old_or_new(struct vfile *f, uint8_t *old, size_t old_len,
			      const uint8_t *data, size_t len, size_t offset)
{
	uint8_t fresh[CHUNK_SIZE], buf[CHUNK_SIZE];

	assert_int_equal(vfile_size(f), old_len);
	for (size_t at = 0; at < old_len; at += CHUNK_SIZE) {
		size_t n =
			old_len - at < CHUNK_SIZE ? old_len - at : CHUNK_SIZE;

		assert_int_equal(vf_get(f, buf, n, at, NULL), n);
		memcpy(fresh, old + at, n);
		for (size_t i = 0; i < n; i++)
			if (at + i >= offset && at + i < offset + len)
				fresh[i] = data[at + i - offset];
		assert_true(memcmp(buf, old + at, n) == 0 ||
			    memcmp(buf, fresh, n) == 0);
		memcpy(old + at, buf, n);
	}
}

static void expect_both(struct fixture *fx, struct vfile *f,
			const uint8_t *bytes, size_t len)
{
	struct vfile *other = again(fx, f);

	vf_expect(f, bytes, len);
	vf_expect(other, bytes, len);
	vfile_close(other);
}

/* Where writes are tried, and whether any of the old is in their way. */
static const struct attempt {
	size_t offset, len;
} attempts[] = {
	{8 * CHUNK_SIZE + 100, 50},		       /* within the last */
	{8 * CHUNK_SIZE + 100, 3 * CHUNK_SIZE},	       /* beyond it */
	{9 * CHUNK_SIZE, 2 * CHUNK_SIZE},	       /* touching it */
	{12 * CHUNK_SIZE + 7, CHUNK_SIZE},	       /* a gap between */
	{20 * CHUNK_SIZE, 9},			       /* the same, small */
	{2 * CHUNK_SIZE, 2 * CHUNK_SIZE},	       /* into holes */
	{5 * CHUNK_SIZE + 9, CHUNK_SIZE},	       /* parts of them */
	{5 * CHUNK_SIZE, 3 * CHUNK_SIZE + 100 + 5000}, /* and past the end */
};

static void test_full__a_write_breaks_off_anywhere(void **state)
{
	struct fixture *fx = *state;
	static uint8_t bytes[ROOM], data[ROOM];
	uint64_t rng = vf_seed();

	for (size_t a = 0; a < sizeof attempts / sizeof *attempts; a++) {
		const struct attempt *t = &attempts[a];
		size_t len;
		struct vfile *f;

		for (size_t cut = 0;; cut += cut < 20 ? 1 : 371) {
			int error = cut % 2 ? ENOSPC : EIO, err;

			f = make_sparse(fx, fx->vault->root_fd, bytes, &len);
			vf_random_bytes(&rng, data, t->len);
			fail_after(cut, error);
			err = vf_put(f, data, t->len, t->offset);
			if (!err)
				break;
			assert_false(failing);
			assert_int_equal(err, -error);
			if (t->offset >= len) {
				expect_both(fx, f, bytes, len);
			} else if (t->offset + t->len <= 4 * CHUNK_SIZE) {
				expect_old_or_new(f, bytes, len, data, t->len,
						  t->offset);
				expect_both(fx, f, bytes, len);
			}
			/* A chunk with data that tears is lost, not others. */
			assert_int_equal(vf_put(f, data, t->len, t->offset), 0);
			if (t->offset > len)
				memset(bytes + len, 0, t->offset - len);
			memcpy(bytes + t->offset, data, t->len);
			if (len < t->offset + t->len)
				len = t->offset + t->len;
			expect_both(fx, f, bytes, len);
			vfile_close(f);
		}
		failing = false;
		vfile_close(f);
	}
}

static void test_full__a_cut_breaks_off_anywhere(void **state)
{
	const size_t sizes[] = {8 * CHUNK_SIZE + 50,
				7 * CHUNK_SIZE,
				7 * CHUNK_SIZE + 1,
				6 * CHUNK_SIZE + 2000,
				6 * CHUNK_SIZE,
				CHUNK_SIZE,
				77};
	struct fixture *fx = *state;
	static uint8_t bytes[ROOM];
	size_t len;

	for (size_t a = 0; a < sizeof sizes / sizeof *sizes; a++) {
		struct vfile *f =
			make_sparse(fx, fx->vault->root_fd, bytes, &len);

		for (size_t cut = 0;; cut += 97) {
			int err;

			fail_after(cut, ENOSPC);
			err = vf_truncate(f, sizes[a]);
			if (!err)
				break;
			assert_int_equal(err, -ENOSPC);
			expect_both(fx, f, bytes, len);
		}
		failing = false;
		expect_both(fx, f, bytes, sizes[a]);
		assert_int_equal(vf_truncate(f, 12 * CHUNK_SIZE), 0);
		memset(bytes + sizes[a], 0, ROOM - sizes[a]);
		expect_both(fx, f, bytes, 12 * CHUNK_SIZE);
		vfile_close(f);
	}
}

/* A limit on the length breaks writes off at any byte, for good. */
static void test_full__length_limit(void **state)
{
	struct fixture *fx = *state;
	static uint8_t bytes[ROOM], data[4 * CHUNK_SIZE];
	struct rlimit was, limit;
	size_t len;
	struct vfile *f = make_sparse(fx, fx->vault->root_fd, bytes, &len);
	size_t from = chunk_backing_len(len);

	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	memset(data, 'd', sizeof data);
	for (size_t n = 0; n < 3 * CHUNK_SIZE; n += 173) {
		limit = (struct rlimit){from + n, was.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		assert_int_equal(vf_put(f, data, sizeof data, len), -EFBIG);
		expect_both(fx, f, bytes, len);
		assert_int_equal(vf_put(f, data, CHUNK_SIZE, 15 * CHUNK_SIZE),
				 -EFBIG);
		assert_int_equal(vf_truncate(f, 20 * CHUNK_SIZE), -EFBIG);
		expect_both(fx, f, bytes, len);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(vf_put(f, data, sizeof data, len), 0);
	memcpy(bytes + len, data, sizeof data);
	expect_both(fx, f, bytes, len + sizeof data);
	vfile_close(f);
}

/* Fill what is left of a file system but so many pages. */
static int leave_pages(int dirfd, size_t pages)
{
	const uint8_t page[4096] = {1};
	int fd = openat(dirfd, "ballast", O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct stat st;

	assert_true(fd >= 0);
	while (write(fd, page, sizeof page) == sizeof page)
		;
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true((size_t)st.st_size >= pages * sizeof page);
	assert_int_equal(
		ftruncate(fd, st.st_size - (off_t)(pages * sizeof page)), 0);
	return fd;
}

/* One attempt with so many pages left: false once it fits. */
static bool try_full(struct fixture *fx, int dirfd, const struct attempt *t,
		     size_t pages)
{
	static uint8_t bytes[ROOM], data[ROOM];
	size_t len;
	struct vfile *f = make_sparse(fx, dirfd, bytes, &len);
	int ballast = leave_pages(dirfd, pages), err;

	memset(data, 'd', t->len);
	err = vf_put(f, data, t->len, t->offset);
	if (err) {
		assert_int_equal(err, -ENOSPC);
		expect_old_or_new(f, bytes, len, data, t->len, t->offset);
		expect_both(fx, f, bytes, len);
	}
	assert_int_equal(ftruncate(ballast, 0), 0);
	close(ballast);
	assert_int_equal(vf_put(f, data, t->len, t->offset), 0);
	memcpy(bytes + t->offset, data, t->len);
	if (len < t->offset + t->len)
		len = t->offset + t->len;
	expect_both(fx, f, bytes, len);
	vfile_close(f);
	return err != 0;
}

static void test_full__no_room(void **state)
{
	struct fixture *fx = *state;
	char path[sizeof fx->top + 8];
	int dirfd;

	snprintf(path, sizeof path, "%s/small", fx->top);
	assert_int_equal(mkdir(path, 0700), 0);
	if (mount("tmpfs", path, "tmpfs", 0, "size=512k") < 0) {
		assert_int_equal(errno, EPERM);
		skip();
	}
	dirfd = open(path, O_RDONLY | O_DIRECTORY);
	/* It vanishes with the descriptor, however this test ends. */
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	assert_true(dirfd >= 0);
	for (size_t a = 0; a < sizeof attempts / sizeof *attempts; a++) {
		size_t pages = 0;

		while (try_full(fx, dirfd, &attempts[a], pages))
			pages++;
		assert_true(pages > 0 || attempts[a].len < CHUNK_SIZE);
	}
	close(dirfd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_full__a_write_breaks_off_anywhere),
		TEST(test_full__a_cut_breaks_off_anywhere),
		TEST(test_full__length_limit),
		TEST(test_full__no_room),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
