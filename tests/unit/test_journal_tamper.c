/*
 * Recovery mends what a crash has torn, and nothing else: damage stays damage,
 * and no journal that is over comes back.
 */
#include "recover_fixture.h"

#include "vfile_internal.h"

/* A file without a header that has something: nothing of that is destroyed. */
static void test_tamper__a_lost_header(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	char path[512];
	uint64_t sum;

	make(fx, "f");
	make(fx, "g");
	path_of(fx, "f", path);
	die_after(fx, overwrite, "g");
	shell("dd if=/dev/zero of='%s' bs=512 count=1 conv=notrunc status=none",
	      path);
	sum = digest(path);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.emptied, 1);
	assert_int_equal(count_names(fx, "journal/kept", ""), 1);
	shell("mv '%s'/.frondfs/journal/kept/* '%s/kept'", fx->path, fx->top);
	snprintf(path, sizeof path, "%s/kept", fx->top);
	assert_int_equal(digest(path), sum);
}

/* A copy may be of a file of any age: that is what it says. */
static void test_tamper__a_lost_header_in_a_copy(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];
	uint64_t sum;

	make(fx, "f");
	make(fx, "g");
	die_after(fx, overwrite, "g");
	copy_vault(fx);
	path_of(fx, "f", path);
	shell("dd if=/dev/zero of='%s' bs=512 count=1 conv=notrunc status=none "
	      "&& touch -d 2020-01-01 '%s'",
	      path, path);
	sum = digest(path);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.emptied, 0);
	assert_int_equal(r.redone, 1);
	assert_int_equal(digest(path), sum);
}

/* So long before the session that nothing was made in it. */
enum { LONG = 1000 };

/* What is cut in the backing directory is no empty file. */
static void test_tamper__a_file_that_was_cut_is_damage(void **state)
{
	struct fixture *fx = *state;
	char path[512];
	struct stat st;

	for (int i = 0; i < 6; i++) {
		struct journal_recovery r = {.wholly = i > 1};
		off_t len = i % 2 ? HEADER_LEN / 2 : 0;

		ahead_s = 0;
		make(fx, "f");
		make(fx, "g");
		/* of a process that died, of one long after, of a copy */
		ahead_s = i == 2 || i == 3 ? LONG : 0;
		die_after(fx, overwrite, "g");
		if (i > 3)
			copy_vault(fx);
		path_of(fx, "f", path);
		assert_int_equal(truncate(path, len), 0);
		assert_int_equal(recover(fx, &r), 0);
		assert_int_equal(r.emptied, 0);
		assert_int_equal(r.redone, 1);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, len);
		assert_int_equal(unlink(path), 0);
		path_of(fx, "g", path);
		assert_int_equal(unlink(path), 0);
	}
	ahead_s = 0;
}

static void damage(struct fixture *fx, const char *name, uint64_t chunk)
{
	int fd = vf_backing_fd(fx, name);

	assert_int_equal(
		pwrite(fd, "damage", 6, (off_t)chunk_offset(chunk) + 99), 6);
	close(fd);
}

/* A file damaged anywhere stays as it is, whatever the session's times. */
static void expect_damage(struct fixture *fx, struct journal_recovery *r)
{
	char path[512];
	uint64_t sum;

	damage(fx, "f", 9);
	path_of(fx, "f", path);
	sum = digest(path);
	assert_int_equal(recover(fx, r), 0);
	assert_int_equal(r->mended, 0);
	assert_int_equal(digest(path), sum);
	assert_int_equal(count_names(fx, "journal/kept", ""), 0);
}

static void test_tamper__times_of_files_are_not_believed(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 2; i++) {
		struct journal_recovery r = {.wholly = true};

		ahead_s = 0;
		make(fx, "f");
		make(fx, "g");
		ahead_s = LONG;
		die_after(fx, overwrite, "g");
		ahead_s = 0;
		/* as files are, they were made after that, or born */
		if (i)
			copy_vault(fx);
		expect_damage(fx, &r);
		assert_int_equal(r.beyond, 1);
		assert_int_equal(r.redone, 1);
		shell("rm '%s'/*", fx->path);
	}
}

static void test_tamper__a_session_that_is_guessed_made_nothing(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make(fx, "f");
	make(fx, "g");
	die_after(fx, overwrite, "g");
	shell("cd '%s/.frondfs/journal' && echo x > session && "
	      "touch -d 1970-01-02 session",
	      fx->path);
	expect_damage(fx, &r);
	assert_int_equal(r.beyond, 1);
	assert_int_equal(r.redone, 1);
	expect(fx, "g", redone_bytes);
}

static void test_tamper__a_session_put_back_made_nothing(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true, .doubtful = true};

	make(fx, "f");
	make(fx, "g");
	die_after(fx, overwrite, "g");
	expect_damage(fx, &r);
	assert_int_equal(r.beyond, 1);
}

/* Its end is in place, and durable, but has no mark yet. */
static void grow_for_good(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	grow(f);
	assert_true(vfile_in_flux(f));
	assert_int_equal(journal_flush(f->vault), 0);
	assert_true(vfile_in_flux(f));
}

/* No crash takes what was durable, though the file was growing. */
static void test_tamper__an_end_that_was_durable(void **state)
{
	struct fixture *fx = *state;

	make(fx, "f");
	die_in(fx, grow_for_good);
	damage(fx, "f", chunk_last_index(LEN + VFILE_IO_MAX));
	expect_left_alone(fx);
}

/* A former end, though it is in the last chunk and has its mark. */
static void test_tamper__a_former_end_in_the_last_chunk(void **state)
{
	const off_t at =
		(off_t)chunk_offset(chunk_last_index(LEN + VFILE_IO_MAX));
	struct fixture *fx = *state;
	uint8_t end[CHUNK_TOKEN_LEN];
	struct vfile *f;
	ssize_t len;
	int fd;

	make(fx, "f");
	f = vf_open(fx, fx->vault, "f");
	grow(f);
	assert_int_equal(vf_truncate(f, LEN + VFILE_IO_MAX - 2000), 0);
	assert_int_equal(vfile_sync(f, false), 0);
	fd = vf_backing_fd(fx, "f");
	len = pread(fd, end, sizeof end, at);
	assert_true(len > 0);
	assert_int_equal(vf_truncate(f, LEN), 0);
	vfile_close(f);
	die_in(fx, grow_for_good);
	assert_int_equal(pwrite(fd, end, (size_t)len, at), len);
	close(fd);
	expect_left_alone(fx);
}

static char aside[200];

static void set_aside(struct fixture *fx)
{
	shell("cp '%s'/.frondfs/journal/*.0 '%s'", fx->path, aside);
}

static void overwrite_with(struct vfile *f, const uint8_t *bytes, bool in_place)
{
	assert_int_equal(vf_put(f, bytes, LEN, 0), 0);
	assert_int_equal(vfile_sync(f, false), 0);
	if (in_place)
		assert_int_equal(journal_flush(f->vault), 0);
}

/* It is emptied, and used no more, or goes on. */
static void write_thrice(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	overwrite_with(f, new_bytes, false);
	set_aside(fx);
	overwrite_with(f, new_bytes, true);
	overwrite_with(f, old_bytes, true);
}

static void write_twice(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	overwrite_with(f, new_bytes, false);
	set_aside(fx);
	overwrite_with(f, old_bytes, false);
}

/* A segment from before does not come after, or at all. */
static void test_tamper__a_segment_put_back(void **state)
{
	struct fixture *fx = *state;

	snprintf(aside, sizeof aside, "%s/aside", fx->top);
	make(fx, "f");
	/* under its other name, and those of what mending writes */
	for (unsigned n = 2; n < JOURNAL_RESERVE; n += 2) {
		die_in(fx, write_thrice);
		shell("cd '%s/.frondfs/journal' && f=$(ls *.0) && "
		      "cp '%s' ${f%%0}%u",
		      fx->path, aside, n);
		assert_int_equal(recover(fx, NULL), 0);
		expect(fx, "f", old_bytes);
		assert_int_equal(count_names(fx, "journal", ""), 0);
	}
	for (int i = 0; i < 2; i++) {
		die_in(fx, write_twice);
		if (i == 0)
			shell("cd '%s/.frondfs/journal' && f=$(ls *.0) && "
			      "mv $f ${f%%0}2 && cp '%s' $f",
			      fx->path, aside);
		else
			shell("cd '%s/.frondfs/journal' && f=$(ls *.0) && "
			      "cp '%s' ${f%%0}2",
			      fx->path, aside);
		assert_int_equal(recover(fx, NULL), 0);
		expect(fx, "f", old_bytes);
		assert_int_equal(count_names(fx, "journal", ""), 0);
	}
}

/* A head that nobody has sealed pushes no others aside. */
static void test_tamper__a_forged_segment(void **state)
{
	struct fixture *fx = *state;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	/* the highest of all numbers, in an empty one of another name */
	shell("cd '%s/.frondfs/journal' && f=$(ls *.0) && "
	      "head -c %d $f > ${f%%0}2 && printf '\\177' | "
	      "dd of=${f%%0}2 bs=1 seek=40 conv=notrunc status=none",
	      fx->path, JOURNAL_HEAD_LEN);
	assert_int_equal(recover(fx, NULL), 0);
	expect(fx, "f", redone_bytes);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

static void make_and_grow(struct fixture *fx)
{
	struct vfile *f = vf_create(fx, "f");

	fill();
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	assert_true(vfile_in_flux(f));
}

/* Zeros in a file that never had holes are not marked as some. */
static void test_tamper__zeros_are_no_holes(void **state)
{
	static const uint8_t zeros[CHUNK_TOKEN_LEN];
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;
	int fd;

	die_in(fx, make_and_grow);
	fd = vf_backing_fd(fx, "f");
	assert_int_equal(pwrite(fd, zeros, sizeof zeros,
				(off_t)chunk_offset(CHUNKS - 9)),
			 sizeof zeros);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.mended, 1);
	assert_false(vf_mark_on_disk(fx, fd));
	close(fd);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, (size_t)(CHUNKS - 9) * CHUNK_SIZE);
	vfile_close(f);
	assert_int_equal(count_names(fx, "journal/kept", ""), 1);
}

static void test_tamper__what_is_cut_off_is_kept(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	uint8_t was[CHUNK_TOKEN_LEN], is[CHUNK_TOKEN_LEN];
	struct vfile *f;
	char path[512];
	int fd;

	make(fx, "f");
	die_after(fx, overwrite, "");
	path_of(fx, "f", path);
	/* as if it had been made in the session, and lost a sector */
	fd = vf_backing_fd(fx, "f");
	assert_int_equal(pwrite(fd, "damage", 6, (off_t)chunk_offset(9) + 99),
			 6);
	assert_int_equal(pread(fd, was, sizeof was, (off_t)chunk_offset(20)),
			 sizeof was);
	close(fd);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.mended, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), 9 * CHUNK_SIZE);
	vfile_close(f);
	assert_int_equal(count_names(fx, "journal/kept", ""), 1);
	shell("mv '%s'/.frondfs/journal/kept/* '%s/kept'", fx->path, fx->top);
	snprintf(path, sizeof path, "%s/kept", fx->top);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, is, sizeof is, (off_t)chunk_offset(20)),
			 sizeof is);
	assert_memory_equal(is, was, sizeof is);
	close(fd);
}

/* What nobody can keep is not cut off. */
static void test_tamper__no_room_to_keep(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	char path[512];
	uint64_t sum;
	int fd;

	make(fx, "f");
	die_after(fx, overwrite, "");
	path_of(fx, "f", path);
	fd = vf_backing_fd(fx, "f");
	assert_int_equal(pwrite(fd, "damage", 6, (off_t)chunk_offset(9) + 99),
			 6);
	close(fd);
	sum = digest(path);
	again(fx);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	crash_left = 3; /* behind what makes the journal durable */
	crash_mode = CRASH_NO_ROOM;
	assert_int_equal(journal_recover(fx->vault, &r), 0);
	crash_mode = CRASH_NOT;
	assert_int_equal(r.mended, 0);
	assert_int_equal(r.beyond, 1);
	assert_int_equal(digest(path), sum);
	/* and waits for some */
	expect_session(fx, false);
	assert_int_equal(count_names(fx, "journal", ".kept"), 1);
	assert_int_equal(journal_retry(fx->vault, &r, on_kept), 0);
	again(fx);
	assert_int_equal(r.mended, 1);
	assert_int_equal(count_names(fx, "journal", ".kept"), 0);
}

/* A session that ended is over, whoever puts it back. */
static void test_tamper__an_old_session_put_back(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;
	char path[512];
	uint64_t sum;

	snprintf(path, sizeof path, "%s/state", fx->top);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(setenv("XDG_STATE_HOME", path, 1), 0);
	fx->vault->remembers = true;
	make(fx, "f");
	die_after(fx, overwrite, "f");
	shell("cp -a '%s/.frondfs/journal' '%s/old'", fx->path, fx->top);
	assert_int_equal(journal_seen(fx->vault), 0);
	assert_int_equal(recover(fx, &r), 0);
	expect(fx, "f", redone_bytes);
	ahead_s = 10;
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	vfile_close(f);
	path_of(fx, "f", path);
	sum = digest(path);
	shell("cp -a '%s/old/.' '%s/.frondfs/journal/'", fx->top, fx->path);
	assert_int_equal(journal_seen(fx->vault), -ESTALE);
	assert_int_equal(recover(fx, &r), -ESTALE);
	assert_int_equal(digest(path), sum);
	/* under its other name, too */
	shell("cd '%s/.frondfs/journal' && mv session session.ended", fx->path);
	assert_int_equal(journal_seen(fx->vault), -ESTALE);
	assert_int_equal(recover(fx, &r), -ESTALE);
	shell("cd '%s/.frondfs/journal' && mv session.ended session", fx->path);
	/* and whoever insists gets nothing old over what is new */
	r.doubtful = true;
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.left, 1);
	assert_int_equal(digest(path), sum);
	assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
	ahead_s = 0;
}

/* One that was kept, and finished since, is over as well. */
static void test_tamper__a_kept_one_put_back(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512];
	struct stat st;

	snprintf(path, sizeof path, "%s/state", fx->top);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(setenv("XDG_STATE_HOME", path, 1), 0);
	fx->vault->remembers = true;
	make(fx, "f");
	path_of(fx, "f", path);
	assert_int_equal(stat(path, &st), 0);
	die_after(fx, overwrite, "f");
	bad_ino = st.st_ino;
	assert_int_equal(recover(fx, &r), 0);
	bad_ino = 0;
	shell("cp -a '%s/.frondfs/journal' '%s/old'", fx->path, fx->top);
	retry(fx, &r);
	assert_int_equal(finished, 1);
	assert_int_equal(r.redone, 1);
	shell("cp -a '%s/old/.' '%s/.frondfs/journal/'", fx->top, fx->path);
	/* nobody who only looks removes it */
	r.look_only = true;
	retry(fx, &r);
	assert_int_equal(finished, 0);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
	r.look_only = false;
	retry(fx, &r);
	assert_int_equal(finished, 1);
	assert_int_equal(r.redone, 1);
	assert_int_equal(count_names(fx, "journal", ".kept"), 0);
	assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
}

static int is_seen(struct fixture *fx, unsigned i, uint64_t start_s)
{
	uint8_t id[SEEN_SESSION_LEN] = {(uint8_t)i, (uint8_t)(i >> 8)};

	return seen_session(fx->vault, id, start_s);
}

static int see(struct fixture *fx, unsigned i, uint64_t start_s)
{
	uint8_t id[SEEN_SESSION_LEN] = {(uint8_t)i, (uint8_t)(i >> 8)};

	return seen_session_end(fx->vault, id, start_s);
}

/* Those before the last 256 are known by their age, but to a clock that was
 * wrong; what was damaged begins anew. */
static void test_tamper__sessions_are_remembered(void **state)
{
	const uint64_t long_ago = 1000000, never = UINT64_C(1) << 40;
	struct fixture *fx = *state;
	char path[512];

	snprintf(path, sizeof path, "%s/state", fx->top);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(setenv("XDG_STATE_HOME", path, 1), 0);
	for (unsigned i = 0; i < 300; i++) {
		uint64_t start_s = i == 5 ? never : long_ago + 10 * i;

		assert_int_equal(is_seen(fx, i, start_s), 0);
		assert_int_equal(see(fx, i, start_s), 0);
		assert_int_equal(is_seen(fx, i, start_s), -ESTALE);
	}
	for (unsigned i = 0; i < 300; i++)
		if (i != 5)
			assert_int_equal(is_seen(fx, i, long_ago + 10 * i),
					 -ESTALE);
	assert_int_equal(is_seen(fx, 400, long_ago + 10 * 43), -ESTALE);
	assert_int_equal(is_seen(fx, 400, long_ago + 10 * 44), 0);
	assert_int_equal(is_seen(fx, 3, UINT64_MAX), 0);
	assert_int_equal(is_seen(fx, 299, UINT64_MAX), -ESTALE);
	shell("cd '%s/frondfs' && printf x | dd of=\"$(ls | grep sessions)\" "
	      "bs=1 seek=20 conv=notrunc status=none",
	      path);
	assert_int_equal(is_seen(fx, 299, UINT64_MAX), -EBADMSG);
	assert_int_equal(see(fx, 299, long_ago), 0);
	assert_int_equal(is_seen(fx, 299, UINT64_MAX), -ESTALE);
	assert_int_equal(is_seen(fx, 298, long_ago), 0);
	assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tamper__a_lost_header),
		TEST(test_tamper__a_lost_header_in_a_copy),
		TEST(test_tamper__a_file_that_was_cut_is_damage),
		TEST(test_tamper__times_of_files_are_not_believed),
		TEST(test_tamper__a_session_that_is_guessed_made_nothing),
		TEST(test_tamper__a_session_put_back_made_nothing),
		TEST(test_tamper__an_end_that_was_durable),
		TEST(test_tamper__a_former_end_in_the_last_chunk),
		TEST(test_tamper__a_segment_put_back),
		TEST(test_tamper__a_forged_segment),
		TEST(test_tamper__zeros_are_no_holes),
		TEST(test_tamper__what_is_cut_off_is_kept),
		TEST(test_tamper__no_room_to_keep),
		TEST(test_tamper__an_old_session_put_back),
		TEST(test_tamper__a_kept_one_put_back),
		TEST(test_tamper__sessions_are_remembered),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
