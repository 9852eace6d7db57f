/*
 * Recovery among what others have left: re-keyings, other sessions' segments,
 * names and sizes that no mount makes.
 */
#include "recover_fixture.h"

#include "rekey.h"

#include <sys/resource.h>

/* On their way to another key, with the journal: killed at some call. */
static int rekey_and_die(void *arg)
{
	struct fixture *fx = arg;
	enum crash_mode mode = crash_mode;
	struct vfile *f;
	int err;

	crash_mode = CRASH_NOT;
	vault_close(fx->vault);
	if (fx_open(fx) || vault_lock(fx->vault, false, false) ||
	    journal_start(fx->vault))
		return -1;
	f = vf_open(fx, fx->vault, "f");
	crash_mode = mode;
	err = vfile_rekey(f, vf_ws(), "moved");
	crash_mode = CRASH_NOT;
	vfile_close(f);
	return err ? err : journal_stop(fx->vault);
}

/* Of the only redo file; 0: there is none. */
static ino_t redo_ino(struct fixture *fx)
{
	int dirfd = journal_dir(fx);
	DIR *dir = fdopendir(dirfd);
	const struct dirent *e;
	ino_t found = 0;

	while ((e = readdir(dir)))
		if (rekey_is_redo(e->d_name))
			found = e->d_ino;
	closedir(dir);
	return found;
}

/* What is under two keys is not mended, whether or not that is known. */
static void test_mend__a_file_that_is_being_rekeyed(void **state)
{
	struct fixture *fx = *state;
	int pending = 0, result = 0;
	bool died = true;

	for (int i = 0; died; i++) {
		struct journal_recovery r = {.wholly = true};

		make(fx, "f");
		died = crash_child(i / 2, rekey_and_die, fx, &result);
		copy_vault(fx);
		pending += redo_ino(fx) != 0;
		/* its file, or itself, could not be read this time */
		bad_ino = i % 2 ? redo_ino(fx) : 0;
		assert_int_equal(recover(fx, &r), 0);
		bad_ino = 0;
		assert_int_equal(r.mended + r.emptied, 0);
		assert_int_equal(vault_rekey_finish(fx->vault), 0);
		expect(fx, "f", old_bytes);
		retry(fx, &r);
		expect(fx, "f", old_bytes);
		assert_int_equal(redo_ino(fx), 0);
		assert_int_equal(count_names(fx, "journal", ".kept"), 0);
		shell("rm -r '%s/.frondfs/journal' '%s'/*", fx->path, fx->path);
	}
	assert_int_equal(result, 0);
	assert_true(pending > 8);
}

/* What tells of another session was put over it. */
static void test_mend__two_sessions_with_one_file(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct journal_session s;
	int dir;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	dir = journal_dir(fx);
	assert_int_equal(journal_session_init_(dir, &s), 0);
	assert_int_equal(journal_session_write_(fx->vault, dir, &s), 0);
	close(dir);
	assert_int_equal(recover(fx, &r), 0);
	assert_true(r.crashed);
	assert_int_equal(r.redone, 1);
	assert_int_equal(count_names(fx, "journal", ""), 0);
	die_after(fx, overwrite, "");
	expect(fx, "f", redone_bytes);
}

static void overwrite_at_last(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	for (int i = 0; i < 3; i++) {
		assert_int_equal(vf_put(f, old_bytes, CHUNK_SIZE, 0), 0);
		assert_int_equal(journal_flush(fx->vault), 0);
	}
	overwrite(f);
	assert_int_equal(vfile_sync(f, false), 0);
}

static void overwrite_at_first(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	overwrite(f);
	assert_int_equal(vfile_sync(f, false), 0);
}

/* No crash takes the head of a segment that has been in use. */
static void test_mend__a_segment_that_lost_its_head(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 3; i++) {
		/* killed; the power failed, and later */
		struct journal_recovery r = {.wholly = i > 0};

		make(fx, "f");
		die_in(fx, i == 2 ? overwrite_at_last : overwrite_at_first);
		shell("cd '%s/.frondfs/journal' && f=$(ls -S *.[01] | head -1) "
		      "&& cp $f '%s/whole' && "
		      "dd if=$f bs=1 skip=60 count=1 status=none | "
		      "tr '\\000-\\377' '\\001-\\377\\000' | "
		      "dd of=$f bs=1 seek=60 conv=notrunc status=none",
		      fx->path, fx->top);
		assert_int_equal(recover(fx, &r), 0);
		assert_int_equal(r.redone, 0);
		expect_session(fx, false);
		if (i == 1) {
			assert_int_equal(count_names(fx, "journal", ""), 0);
		} else {
			shell("cd '%s/.frondfs/journal' && "
			      "cp '%s/whole' $(ls -S *.[01].kept | head -1)",
			      fx->path, fx->top);
			retry(fx, &r);
			assert_int_equal(finished, 1);
			expect(fx, "f", redone_bytes);
		}
		shell("rm '%s'/*", fx->path);
	}
}

enum { HUGE_BITS = 50, LARGE_BITS = 43 };

/* So long that nobody could read it, and nothing is there. */
static void make_huge(struct fixture *fx, const char *name)
{
	char path[512];

	path_of(fx, name, path);
	if (truncate(path, (off_t)1 << HUGE_BITS) < 0)
		assert_int_equal(truncate(path, (off_t)1 << LARGE_BITS), 0);
}

static void stream_new(struct fixture *fx)
{
	struct vfile *f = vf_create(fx, "f");

	fill();
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	assert_true(vfile_in_flux(f));
}

static void test_mend__a_file_longer_than_anybody_can_read(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 3; i++) {
		struct journal_recovery r = {.wholly = i > 0};
		char path[512];
		struct vfile *f;

		die_in(fx, stream_new);
		fill();
		path_of(fx, "f", path);
		/* nothing but a header, or what was written */
		if (i < 2)
			assert_int_equal(truncate(path, HEADER_LEN), 0);
		make_huge(fx, "f");
		assert_int_equal(recover(fx, &r), 0);
		assert_int_equal(r.mended, 1);
		f = vf_open(fx, fx->vault, "f");
		vf_expect(f, old_bytes, i < 2 ? 0 : LEN);
		vfile_close(f);
		assert_int_equal(unlink(path), 0);
	}
}

/* Nor is it looked for chunks that are newer. */
static void test_mend__a_kept_one_longer_than_anybody_can_read(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];
	struct stat st;

	make(fx, "f");
	path_of(fx, "f", path);
	assert_int_equal(stat(path, &st), 0);
	die_after(fx, overwrite, "f");
	bad_ino = st.st_ino;
	assert_int_equal(recover(fx, &r), 0);
	bad_ino = 0;
	make_huge(fx, "f");
	shell("touch -d 2020-01-01 '%s'", path);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	expect(fx, "f", redone_bytes);
}

enum { DEEP = 3000, DESCRIPTORS = 1024 };

static void test_mend__directories_without_an_end(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct rlimit limit, before;
	struct backing_name b = fx_name(fx, fx->root_id, "deep");
	int fd = dup(fx->vault->root_fd);

	make(fx, "f");
	for (int i = 0; i < DEEP; i++) {
		int next;

		assert_int_equal(mkdirat(fd, b.entry, 0700), 0);
		next = openat(fd, b.entry, O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		close(fd);
		fd = next;
	}
	close(fd);
	die_after(fx, overwrite, "f");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = DESCRIPTORS;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(r.redone, 1);
	expect(fx, "f", redone_bytes);
	expect_session(fx, false);
	shell("rm -r '%s/%s'", fx->path, b.entry);
}

/* What is no segment, whatever its name, does not keep a session from
 * beginning. */
static void test_mend__directories_called_like_segments(void **state)
{
	struct fixture *fx = *state;

	shell("cd '%s/.frondfs' && mkdir -p journal && cd journal && "
	      "mkdir 0123456789abcdef0123456789abcdef.0 .tmp-x",
	      fx->path);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_recover(fx->vault, NULL), 0);
	assert_int_equal(journal_start(fx->vault), 0);
	assert_int_equal(journal_stop(fx->vault), 0);
}

/* Whether a session was put back cannot be told now: it is not taken up. */
static void test_mend__nobody_can_look(void **state)
{
	struct fixture *fx = *state;
	struct rlimit limit, before;
	int fd;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	fd = dup(0);
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = (rlim_t)fd + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(journal_seen(fx->vault), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(journal_seen(fx->vault), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_mend__a_file_that_is_being_rekeyed),
		TEST(test_mend__two_sessions_with_one_file),
		TEST(test_mend__a_segment_that_lost_its_head),
		TEST(test_mend__a_file_longer_than_anybody_can_read),
		TEST(test_mend__a_kept_one_longer_than_anybody_can_read),
		TEST(test_mend__directories_without_an_end),
		TEST(test_mend__directories_called_like_segments),
		TEST(test_mend__nobody_can_look),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
