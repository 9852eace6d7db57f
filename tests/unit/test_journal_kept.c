/*
 * What could not be brought to its place is kept, tried again, and does no harm
 * by then.
 */
#include "recover_fixture.h"

/* Another file by the same name and id: it is not touched, and the records
 * wait for theirs. */
static void test_kept__a_file_put_there_since_stays(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];

	make(fx, "f");
	path_of(fx, "f", path);
	shell("cp -p '%s' '%s/copy'", path, fx->top);
	die_after(fx, overwrite, "f");
	shell("mv '%s' '%s/away' && mv '%s/copy' '%s'", path, fx->top, fx->top,
	      path);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.left, 1);
	assert_int_equal(r.redone + r.mended, 0);
	expect(fx, "f", old_bytes);
	expect_session(fx, false);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
	/* a later session neither minds nor removes it */
	die_after(fx, grow, "");
	assert_int_equal(recover(fx, &r), 0);
	retry(fx, &r);
	assert_int_equal(finished, 0);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
	shell("mv '%s/away' '%s'", fx->top, path);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	expect(fx, "f", redone_bytes);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

/* One file that the disk does not give costs this file. */
static void test_kept__one_unreadable_file_stops_nothing(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];
	struct stat st;

	make(fx, "f");
	make(fx, "g");
	path_of(fx, "g", path);
	assert_int_equal(stat(path, &st), 0);
	die_after(fx, overwrite, "fg");
	bad_ino = st.st_ino;
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	assert_int_equal(r.left, 1);
	retry(fx, &r);
	assert_int_equal(finished, 0);
	bad_ino = 0;
	expect(fx, "f", redone_bytes);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	assert_int_equal(r.redone, 2);
	expect(fx, "f", redone_bytes);
	expect(fx, "g", redone_bytes);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

/* Kept records do not come over what was written meanwhile. */
static void test_kept__what_was_kept_is_not_newer(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;
	char path[512];
	struct stat st;

	make(fx, "f");
	path_of(fx, "f", path);
	assert_int_equal(stat(path, &st), 0);
	die_after(fx, overwrite, "f");
	bad_ino = st.st_ino;
	assert_int_equal(recover(fx, &r), 0);
	bad_ino = 0;
	ahead_s = 10;
	memset(old_bytes, 55, CHUNK_SIZE);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, old_bytes, CHUNK_SIZE, 0), 0);
	vfile_close(f);
	retry(fx, &r);
	assert_int_equal(finished, 0);
	expect(fx, "f", old_bytes);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
	ahead_s = 0;
}

/* Nor into it, wherever that was written, and whatever its time says. */
static void write_elsewhere(struct vfile *f)
{
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, CHUNK_SIZE), 0);
	memcpy(old_bytes + CHUNK_SIZE, new_bytes, CHUNK_SIZE);
}

static void make_a_hole(struct vfile *f)
{
	assert_int_equal(vf_allocate(f,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     3 * CHUNK_SIZE, CHUNK_SIZE),
			 0);
	memset(old_bytes + 3 * CHUNK_SIZE, 0, CHUNK_SIZE);
}

static void test_kept__what_was_used_since_is_left(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 3; i++) {
		struct journal_recovery r = {0};
		struct vfile *f;
		char path[512];
		struct stat st;

		make(fx, "f");
		path_of(fx, "f", path);
		assert_int_equal(stat(path, &st), 0);
		die_after(fx, overwrite, "f");
		bad_ino = st.st_ino;
		assert_int_equal(recover(fx, &r), 0);
		bad_ino = 0;
		ahead_s = 10;
		f = vf_open(fx, fx->vault, "f");
		(i == 1 ? make_a_hole : write_elsewhere)(f);
		vfile_close(f);
		if (i == 2)
			shell("touch -d 2020-01-01 '%s'", path);
		retry(fx, &r);
		ahead_s = 0;
		assert_int_equal(finished, 0);
		expect(fx, "f", old_bytes);
		assert_true(count_names(fx, "journal", ".kept") >= 2);
		shell("rm -r '%s/.frondfs/journal' '%s'", fx->path, path);
	}
}

/* The journal itself is not all to be had. */
static void test_kept__an_unreadable_segment_is_kept(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct journal_reader *reader;
	struct stat st;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
	assert_int_equal(fstat(reader->segment[0].fd, &st), 0);
	journal_reader_close(reader);
	bad_ino = st.st_ino;
	assert_int_equal(recover(fx, &r), 0);
	bad_ino = 0;
	expect(fx, "f", old_bytes);
	expect_session(fx, false);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	expect(fx, "f", redone_bytes);
}

/* As a user: what root alone can enter is not given up. */
static int recover_as_user(void *arg)
{
	struct fixture *fx = arg;
	struct journal_recovery r = {0};

	vault_close(fx->vault);
	FX_EXPECT(!fx_open(fx));
	FX_EXPECT(!vault_lock(fx->vault, false, false));
	FX_EXPECT(!journal_recover(fx->vault, &r));
	FX_EXPECT(r.redone == 1);
	FX_EXPECT(r.left == 1);
	return 0;
}

static struct fixture *deep_fx;
static uint8_t deep_id[DIRID_LEN];

static struct vfile *open_deep(struct fixture *fx, struct vault *vault)
{
	struct backing_name d = fx_name(fx, fx->root_id, "d"),
			    g = fx_name(fx, deep_id, "g");
	char path[640];
	struct vfile *f = NULL;
	int fd;

	snprintf(path, sizeof path, "%s/%s/%s", fx->path, d.entry, g.entry);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(vfile_open(vault, fd, true, &f), 0);
	return f;
}

static void overwrite_both(struct vfile *f)
{
	struct vfile *g = open_deep(deep_fx, deep_fx->vault);

	overwrite(f);
	overwrite(g);
	assert_int_equal(vfile_sync(g, false), 0);
}

static void make_deep(struct fixture *fx)
{
	struct backing_name d, g;
	struct vfile *f = NULL;
	int fd = -1;

	fx_mkdir(fx, fx->vault->root_fd, fx->root_id, "d", &d, deep_id, &fd);
	g = fx_name(fx, deep_id, "g");
	assert_int_equal(vfile_create(fx->vault, fd, deep_id, &g, 0644, &f), 0);
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	vfile_close(f);
	close(fd);
	deep_fx = fx;
}

static void test_kept__what_only_root_may_enter_waits_for_root(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct backing_name d;
	struct vfile *g;

	if (geteuid() != 0)
		skip();
	make(fx, "f");
	make_deep(fx);
	die_after(fx, overwrite_both, "f");
	d = fx_name(fx, fx->root_id, "d");
	shell("chown -R %d:%d '%s' && chown -R 0:0 '%s/%s' && chmod 700 "
	      "'%s/%s'",
	      FX_NOBODY, FX_NOBODY, fx->path, fx->path, d.entry, fx->path,
	      d.entry);
	vault_close(fx->vault);
	assert_int_equal(fx_open(fx), 0);
	assert_int_equal(fx_as_user(recover_as_user, fx), 0);
	expect(fx, "f", redone_bytes);
	g = open_deep(fx, fx->vault);
	vf_expect(g, old_bytes, LEN);
	vfile_close(g);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	g = open_deep(fx, fx->vault);
	vf_expect(g, redone_bytes, LEN);
	vfile_close(g);
}

/* While records are put by, too: none gets lost. */
static void test_kept__killed_while_it_keeps(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];
	int result = 0;

	make(fx, "f");
	make(fx, "g");
	path_of(fx, "g", path);
	shell("cp -p '%s' '%s/copy'", path, fx->top);
	die_after(fx, overwrite, "fg");
	shell("mv '%s' '%s/away' && cp '%s/copy' '%s'", path, fx->top, fx->top,
	      path);
	in_a_hurry = true;
	for (int n = 0; crash_child(n, recover_and_die, fx, &result); n++)
		assert_true(n < 200);
	in_a_hurry = false;
	assert_int_equal(result, 0);
	expect(fx, "f", redone_bytes);
	expect(fx, "g", old_bytes);
	shell("mv '%s/away' '%s'", fx->top, path);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	expect(fx, "g", redone_bytes);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

/* Whatever is wrong with one. */
static void test_kept__a_segment_that_is_none(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make(fx, "f");
	die_after(fx, overwrite, "f");
	shell("cd '%s/.frondfs/journal' && f=$(ls *.1) && rm $f && mkfifo $f",
	      fx->path);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	expect(fx, "f", redone_bytes);
	expect_session(fx, false);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
}

/* Its records are not another file's, and wait for what is missing. */
static void test_kept__a_file_without_a_header(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];

	make(fx, "f");
	die_after(fx, overwrite, "f");
	path_of(fx, "f", path);
	shell("cp -p '%s' '%s/whole' && dd if=/dev/zero of='%s' bs=%d count=1 "
	      "conv=notrunc status=none",
	      path, fx->top, path, HEADER_LEN);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.left, 1);
	assert_int_equal(r.lost + r.emptied, 0);
	expect_session(fx, false);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
	shell("dd if='%s/whole' of='%s' bs=%d count=1 conv=notrunc status=none "
	      "&& touch -r '%s/whole' '%s'",
	      fx->top, path, HEADER_LEN, fx->top, path);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	expect(fx, "f", redone_bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_kept__a_file_put_there_since_stays),
		TEST(test_kept__one_unreadable_file_stops_nothing),
		TEST(test_kept__what_was_kept_is_not_newer),
		TEST(test_kept__what_was_used_since_is_left),
		TEST(test_kept__an_unreadable_segment_is_kept),
		TEST(test_kept__a_segment_that_is_none),
		TEST(test_kept__a_file_without_a_header),
		TEST(test_kept__what_only_root_may_enter_waits_for_root),
		TEST(test_kept__killed_while_it_keeps),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
