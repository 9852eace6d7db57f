/*
 * What recovery must not destroy: newer chunks, records that nobody could read
 * just then, ends that it has mended before.
 */
#include "recover_fixture.h"

#include <linux/magic.h>
#include <pthread.h>
#include <sys/statfs.h>

int __real_fstatfs64(int fd, struct statfs *fs);
int __wrap_fstatfs64(int fd, struct statfs *fs);

static bool far_away;

int __wrap_fstatfs64(int fd, struct statfs *fs)
{
	int ret = __real_fstatfs64(fd, fs);

	if (far_away)
		fs->f_type = SMB_SUPER_MAGIC;
	return ret;
}

enum { LONG = 1000 };

static ino_t inode_of_path(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

/* The inode of the one name in the journal that ends so. */
static ino_t inode_of_journal(struct fixture *fx, const char *end)
{
	DIR *dir = fdopendir(journal_dir(fx));
	const struct dirent *e;
	ino_t ino = 0;

	assert_non_null(dir);
	while ((e = readdir(dir))) {
		size_t len = strlen(e->d_name);

		if (len > strlen(end) &&
		    strcmp(e->d_name + len - strlen(end), end) == 0)
			ino = e->d_ino;
	}
	closedir(dir);
	assert_true(ino != 0);
	return ino;
}

static void expect_chunk(struct fixture *fx, const char *name, uint64_t chunk,
			 const uint8_t *bytes)
{
	struct vfile *f = vf_open(fx, fx->vault, name);
	uint8_t plain[CHUNK_SIZE];

	assert_int_equal(
		vf_get(f, plain, sizeof plain, chunk * CHUNK_SIZE, NULL),
		sizeof plain);
	assert_memory_equal(plain, bytes + chunk * CHUNK_SIZE, sizeof plain);
	vfile_close(f);
}

/* Before the clock is set back, in its place, and after, with a record. */
static void write_twice(struct fixture *fx)
{
	struct vfile *f;

	ahead_s = LONG;
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, old_bytes, CHUNK_SIZE, 6 * CHUNK_SIZE), 0);
	assert_int_equal(journal_flush(fx->vault), 0);
	ahead_s = 0;
	assert_int_equal(vf_put(f, new_bytes + 6 * CHUNK_SIZE, CHUNK_SIZE,
				6 * CHUNK_SIZE),
			 0);
	assert_int_equal(vfile_sync(f, false), 0);
}

static void test_spared__a_clock_that_is_set_back(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make(fx, "f");
	die_in(fx, write_twice);
	copy_vault(fx);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.left, 0);
	assert_int_equal(r.redone, 1);
	expect_chunk(fx, "f", 6, new_bytes);
}

static struct vfile *file;

/* While another's tokens wait. */
static void *write_meanwhile(void *arg)
{
	const struct vfile_write w = {.data = old_bytes, .len = LEN};
	struct workspace *ws = workspace_get();
	uint64_t bad;

	(void)arg;
	ahead_s += 10;
	if (!ws || vfile_write(file, ws, &w, &bad))
		abort();
	return NULL;
}

static uint64_t sealed_at(struct fixture *fx, uint64_t chunk)
{
	uint8_t token[FERNET_OVERHEAD];

	assert_int_equal(journal_flush(fx->vault), 0);
	assert_int_equal(xio_pread(vfile_fd(file), token, sizeof token,
				   (off_t)chunk_offset(chunk)),
			 0);
	return fernet_timestamp(token);
}

/* What was sealed before it got its turn is not older than what it replaces. */
static void test_spared__tokens_sealed_ahead(void **state)
{
	const struct vfile_write w = {.data = new_bytes, .len = LEN};
	struct fixture *fx = *state;
	struct workspace *ws = vf_ws();
	pthread_t other;
	uint64_t bad, before;

	make(fx, "f");
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
	file = vf_open(fx, fx->vault, "f");
	vfile_seal_ahead(file, ws, &w);
	assert_true(ws->ahead_count > 0);
	assert_int_equal(pthread_create(&other, NULL, write_meanwhile, NULL),
			 0);
	pthread_join(other, NULL);
	before = sealed_at(fx, 9);
	assert_int_equal(vfile_write(file, ws, &w, &bad), 0);
	assert_true(sealed_at(fx, 9) >= before);
	ahead_s = 0;
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect(fx, "f", new_bytes);
}

/* Put by when the clock was right, and used when it was slow. */
static void test_spared__what_was_used_by_a_slow_clock(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];
	struct vfile *f;

	make(fx, "f");
	path_of(fx, "f", path);
	die_after(fx, overwrite, "f");
	bad_ino = inode_of_path(path);
	assert_int_equal(recover(fx, &r), 0);
	bad_ino = 0;
	ahead_s = -LONG;
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
	f = vf_open(fx, fx->vault, "f");
	memset(old_bytes, 55, CHUNK_SIZE);
	assert_int_equal(vf_put(f, old_bytes, CHUNK_SIZE, 0), 0);
	vfile_close(f);
	assert_int_equal(journal_stop(fx->vault), 0);
	shell("touch -d '-%d seconds' '%s'", LONG, path);
	ahead_s = 0;
	retry(fx, &r);
	assert_int_equal(finished, 0);
	expect(fx, "f", old_bytes);
}

/* By a program that knows nothing of journals, say. */
static void test_spared__what_was_written_without_a_journal(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];
	struct vfile *f;
	uint64_t sum;

	make(fx, "f");
	make(fx, "g");
	die_after(fx, overwrite, "fg");
	ahead_s = LONG;
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, old_bytes, 100, 6 * CHUNK_SIZE), 0);
	vfile_close(f);
	path_of(fx, "g", path);
	shell("touch -d '%d seconds' '%s'", LONG, path);
	path_of(fx, "f", path);
	shell("touch -d '%d seconds' '%s'", LONG, path);
	sum = digest(path);
	assert_int_equal(recover(fx, &r), 0);
	ahead_s = 0;
	assert_int_equal(r.left, 1);
	assert_int_equal(digest(path), sum);
	/* its time alone says nothing */
	assert_int_equal(r.redone, 1);
	expect(fx, "g", redone_bytes);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
}

/* Nothing says whose they are, nor, just now, what is in them. */
static void test_spared__segments_that_cannot_be_read(void **state)
{
	struct fixture *fx = *state;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	shell("rm '%s/.frondfs/journal/session'", fx->path);
	bad_ino = inode_of_journal(fx, ".0");
	assert_int_equal(recover(fx, NULL), 0);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_start(fx->vault), 0);
	assert_int_equal(journal_stop(fx->vault), 0);
	bad_ino = 0;
	assert_int_equal(count_names(fx, "journal", ".0"), 1);
	assert_int_equal(count_names(fx, "journal", ".damaged"), 1);
}

/* In a copy no number tells that records are this file's. */
static void test_spared__a_lost_header_in_a_copy(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];

	make(fx, "f");
	die_after(fx, overwrite, "f");
	copy_vault(fx);
	path_of(fx, "f", path);
	shell("cp -p '%s' '%s/whole' && dd if=/dev/zero of='%s' bs=%d count=1 "
	      "conv=notrunc status=none",
	      path, fx->top, path, HEADER_LEN);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.left, 1);
	assert_int_equal(r.lost, 0);
	shell("dd if='%s/whole' of='%s' bs=%d count=1 conv=notrunc status=none "
	      "&& touch -r '%s/whole' '%s'",
	      fx->top, path, HEADER_LEN, fx->top, path);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	expect(fx, "f", redone_bytes);
}

static void overwrite_copy(struct fixture *fx)
{
	char path[512], copy[600];
	struct vfile *f = NULL;

	path_of(fx, "f", path);
	snprintf(copy, sizeof copy, "%s (conflicted copy)", path);
	if (vfile_open(fx->vault, open(copy, O_RDWR | O_CLOEXEC), true, &f))
		_exit(4);
	overwrite(f);
	if (vfile_sync(f, false))
		_exit(2);
}

/* What a mount shows beside a file has records, too. */
static void test_spared__a_directory_that_is_not_known(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];

	make(fx, "f");
	path_of(fx, "f", path);
	shell("mv '%s' '%s (conflicted copy)'", path, path);
	die_in(fx, overwrite_copy);
	snprintf(path, sizeof path, "%s/" NAME_DIRID_FILE, fx->path);
	shell("mv '%s' '%s/id' && mkdir '%s'", path, fx->top, path);
	assert_int_equal(recover(fx, &r), 0);
	shell("rmdir '%s' && mv '%s/id' '%s'", path, fx->top, path);
	assert_int_equal(r.lost, 0);
	assert_int_equal(r.left, 1);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	assert_int_equal(r.redone, 1);
}

static void make_and_grow(struct fixture *fx)
{
	struct vfile *f = vf_create(fx, "f");

	fill();
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	assert_true(vfile_in_flux(f));
}

/* What a former recovery was about to put over an end is needed. */
static void test_spared__an_end_mended_before(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	int result = 0;

	die_in(fx, make_and_grow);
	for (int n = 0; count_names(fx, "journal", ".4") == 0; n++)
		assert_true(crash_child(n, recover_and_die, fx, &result));
	bad_ino = inode_of_journal(fx, ".4");
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.mended, 0);
	assert_int_equal(inode_of_journal(fx, ".4.kept"), bad_ino);
	bad_ino = 0;
	retry(fx, &r);
	assert_int_equal(finished, 1);
	expect(fx, "f", old_bytes);
}

/* Where syncfs(2) does not reach: before the records go. */
static void test_spared__what_a_server_has_not_written(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];

	make(fx, "f");
	make(fx, "g");
	die_after(fx, overwrite, "f");
	path_of(fx, "g", path);
	for (int i = 0; i < 2; i++) {
		far_away = true;
		crash_fsyncs = 0;
		crash_watched = inode_of_path(path);
		assert_int_equal(recover(fx, &r), 0);
		far_away = false;
		assert_int_equal(r.redone, 1);
		/* not what was only looked at */
		assert_int_equal(crash_fsyncs, i);
		crash_watched = 0;
		expect(fx, "f", redone_bytes);
		die_after(fx, overwrite, "f");
		path_of(fx, "f", path);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_spared__a_clock_that_is_set_back),
		TEST(test_spared__tokens_sealed_ahead),
		TEST(test_spared__what_was_used_by_a_slow_clock),
		TEST(test_spared__what_was_written_without_a_journal),
		TEST(test_spared__segments_that_cannot_be_read),
		TEST(test_spared__a_lost_header_in_a_copy),
		TEST(test_spared__a_directory_that_is_not_known),
		TEST(test_spared__an_end_mended_before),
		TEST(test_spared__what_a_server_has_not_written),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
