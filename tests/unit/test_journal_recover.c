/*
 * What recovery does where not all is as a crash leaves it: copies, files put
 * back, what cannot be read, itself killed many times. It destroys nothing,
 * and comes to an end.
 */
#include "recover_fixture.h"

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags);

/* As on a network. */
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags)
{
	(void)from_fd, (void)from, (void)to_fd, (void)to, (void)flags;
	errno = EINVAL;
	return -1;
}

int __real_fstatat64(int dirfd, const char *name, struct stat *st, int flags);
int __wrap_fstatat64(int dirfd, const char *name, struct stat *st, int flags);

/* A file that was last changed so long ago. */
static ino_t aged_ino;
enum { AGE_S = 1000 };

int __wrap_fstatat64(int dirfd, const char *name, struct stat *st, int flags)
{
	int ret = __real_fstatat64(dirfd, name, st, flags);

	if (!ret && aged_ino && st->st_ino == aged_ino)
		st->st_ctim.tv_sec -= AGE_S;
	return ret;
}

/* Nothing but the journal knows that the session has changed it. */
static void test_recover__a_file_that_was_not_touched_yet(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct stat st;
	char path[512];

	make(fx, "f");
	path_of(fx, "f", path);
	die_after(fx, overwrite, "f");
	assert_int_equal(stat(path, &st), 0);
	aged_ino = st.st_ino;
	assert_int_equal(recover(fx, &r), 0);
	aged_ino = 0;
	assert_int_equal(r.redone, 1);
	expect(fx, "f", redone_bytes);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

/* What a process left that died may be in the page cache alone: before that is
 * on the disk nothing is overwritten. */
static void test_recover__a_journal_that_is_not_durable(void **state)
{
	struct fixture *fx = *state;
	char path[512];
	uint64_t sum;

	make(fx, "f");
	path_of(fx, "f", path);
	die_after(fx, overwrite, "f");
	sum = digest(path);
	bad_sync = true;
	assert_int_equal(recover(fx, NULL), -EIO);
	bad_sync = false;
	assert_int_equal(digest(path), sum);
	assert_int_equal(recover(fx, NULL), 0);
	expect(fx, "f", redone_bytes);
}

/* One that ended, but was not durable when the machine stopped. */
static void test_recover__an_end_that_was_not_durable(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make(fx, "f");
	die_after(fx, overwrite, "f");
	shell("cd '%s/.frondfs/journal' && mv session session.ended", fx->path);
	copy_vault(fx);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	expect(fx, "f", redone_bytes);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

static void stream_new(struct fixture *fx)
{
	struct vfile *f = vf_create(fx, "f");

	fill();
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	assert_true(vfile_in_flux(f));
}

/* Who only looks finds what the next mount will. */
static void test_recover__an_end_that_is_looked_at(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.look_only = true};

	die_in(fx, stream_new);
	fill();
	shell("cd '%s/.frondfs/journal' && mv session session.ended", fx->path);
	copy_vault(fx);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(recover(fx, &r), 0);
		assert_true(r.crashed);
		assert_int_equal(r.mended, 1);
		assert_int_equal(count_names(fx, "journal", ".ended"), !i);
		r.look_only = false;
	}
	expect(fx, "f", old_bytes);
}

/* As long as it may come back, it is not known as one that is over: then it
 * would be taken for one that was put back. */
static void test_recover__an_end_that_stays(void **state)
{
	struct fixture *fx = *state;
	struct vault *vault = fx->vault;

	make(fx, "f");
	die_after(fx, overwrite, "");
	shell("cd '%s/.frondfs/journal' && rm *.? && mv session session.ended",
	      fx->path);
	assert_int_equal(setenv("XDG_STATE_HOME", fx->top, 1), 0);
	for (int i = 0; i < 2; i++) {
		crash_undying = i ? NULL : JOURNAL_ENDED_FILE;
		assert_int_equal(vault_lock(vault, false, false), 0);
		vault->remembers = true;
		assert_int_equal(journal_begin(vault), 0);
		crash_undying = NULL;
		assert_int_equal(journal_seen(vault), 0);
		assert_int_equal(journal_stop(vault), 0);
		again(fx);
		vault = fx->vault;
	}
	assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
}

/* Once another has taken it over, it is one that was put back. */
static void test_recover__an_end_that_is_taken_over(void **state)
{
	struct fixture *fx = *state;

	make(fx, "f");
	die_after(fx, overwrite, "");
	shell("cd '%s/.frondfs/journal' && rm *.? && "
	      "cp -p session '%s/ended' && mv session session.ended",
	      fx->path, fx->top);
	assert_int_equal(setenv("XDG_STATE_HOME", fx->top, 1), 0);
	fx->vault->remembers = true;
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
	assert_int_equal(count_names(fx, "journal", ".ended"), 0);
	assert_int_equal(journal_stop(fx->vault), 0);
	again(fx);
	assert_int_equal(journal_seen(fx->vault), 0);
	shell("mv '%s/ended' '%s/.frondfs/journal/session.ended'", fx->top,
	      fx->path);
	assert_int_equal(journal_seen(fx->vault), -ESTALE);
	assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
}

/* Its path is longer than any that a system call takes. */
static int far_fd = -1;
static char far_entry[NAME_BACKING_MAX + 1];

static struct vfile *open_far(struct vault *vault)
{
	int fd = openat(far_fd, far_entry, O_RDWR | O_CLOEXEC);
	struct vfile *f = NULL;

	assert_true(fd >= 0);
	assert_int_equal(vfile_open(vault, fd, true, &f), 0);
	return f;
}

static void make_far(struct fixture *fx)
{
	uint8_t id[DIRID_LEN];
	struct backing_name b;
	struct vfile *f;
	int fd = dup(fx->vault->root_fd);

	memcpy(id, fx->root_id, sizeof id);
	for (int i = 0; i < 150; i++) {
		uint8_t child[DIRID_LEN];
		int next = -1;

		fx_mkdir(fx, fd, id, "far away", &b, child, &next);
		memcpy(id, child, sizeof id);
		close(fd);
		fd = next;
	}
	fill();
	b = fx_name(fx, id, "f");
	assert_int_equal(vfile_create(fx->vault, fd, id, &b, 0644, &f), 0);
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	vfile_close(f);
	snprintf(far_entry, sizeof far_entry, "%s", b.entry);
	far_fd = fd;
}

static void overwrite_far(struct fixture *fx)
{
	struct vfile *f = open_far(fx->vault);

	overwrite(f);
	assert_int_equal(vfile_sync(f, false), 0);
}

static void test_recover__a_file_far_below(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;

	make_far(fx);
	die_in(fx, overwrite_far);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	assert_int_equal(r.left + r.lost, 0);
	f = open_far(fx->vault);
	vf_expect(f, redone_bytes, LEN);
	vfile_close(f);
	close(far_fd);
	shell("rm -r '%s'/*", fx->path);
}

/* Others who share the vault see that there is something to be finished. */
static int look_as_user(void *arg)
{
	struct fixture *fx = arg;

	vault_close(fx->vault);
	FX_EXPECT(!fx_open(fx));
	FX_EXPECT(journal_is_pending(fx->vault));
	FX_EXPECT(!journal_seen(fx->vault));
	FX_EXPECT(!vault_rekey_finish(fx->vault));
	return 0;
}

static void test_recover__others_see_the_journal(void **state)
{
	struct fixture *fx = *state;

	make(fx, "f");
	shell("chmod 755 '%s' && chmod -R a+rwX '%s/.frondfs'", fx->path,
	      fx->path);
	die_after(fx, overwrite, "f");
	assert_int_equal(fx_as_user(look_as_user, fx), 0);
	/* nor is there nothing where nobody may look */
	shell("chmod 700 '%s/.frondfs/journal'", fx->path);
	if (geteuid() == 0)
		assert_int_equal(fx_as_user(look_as_user, fx), 1);
	assert_int_equal(recover(fx, NULL), 0);
}

/* Somebody has removed the session: its segments are known without it... */
static void test_recover__a_session_that_is_gone(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make(fx, "f");
	die_after(fx, overwrite, "f");
	shell("rm '%s/.frondfs/journal/session'", fx->path);
	assert_true(journal_is_pending(fx->vault));
	assert_int_equal(recover(fx, &r), 0);
	assert_true(r.crashed);
	assert_int_equal(r.redone, 1);
	expect(fx, "f", redone_bytes);
	assert_int_equal(count_names(fx, "journal", ""), 0);
	assert_false(journal_is_pending(fx->vault));
}

static void test_recover__two_sessions_that_are_gone(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make(fx, "f");
	die_after(fx, overwrite, "f");
	shell("cp '%s'/.frondfs/journal/*.0 '%s'", fx->path, fx->top);
	assert_int_equal(recover(fx, NULL), 0);
	die_after(fx, overwrite, "f");
	shell("mv '%s'/*.0 '%s/.frondfs/journal/' && "
	      "rm '%s/.frondfs/journal/session'",
	      fx->top, fx->path, fx->path);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(recover(fx, &r), 0);
		assert_int_equal(r.redone, 0);
		assert_int_equal(count_names(fx, "journal", ".0"), 2);
		assert_int_equal(count_names(fx, "journal", ".damaged"), 1);
	}
}

/* ...but those of one that never began are nothing. */
static void test_recover__a_session_that_did_not_begin(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make(fx, "f");
	die_after(fx, overwrite, "");
	shell("rm '%s/.frondfs/journal/session'", fx->path);
	assert_false(journal_is_pending(fx->vault));
	assert_int_equal(recover(fx, &r), 0);
	assert_false(r.crashed);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_start(fx->vault), 0);
	assert_int_equal(journal_stop(fx->vault), 0);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

/* What services and backups put beside a file is not the file. */
static void test_recover__copies_stay_as_they_are(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512], copy[2][600];
	uint64_t sum;

	make(fx, "f");
	path_of(fx, "f", path);
	shell("mkdir '%s/.stversions'", fx->path);
	for (int i = 0; i < 2; i++) {
		snprintf(copy[i], sizeof copy[i], i ? "%s~" : "%s (2)", path);
		shell("cp -p '%s' '%s'", path, copy[i]);
	}
	shell("cp -p '%s' '%s/.stversions/'", path, fx->path);
	sum = digest(path);
	die_after(fx, overwrite, "f");
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	assert_int_equal(r.left + r.mended + r.lost, 0);
	expect(fx, "f", redone_bytes);
	assert_int_equal(digest(copy[0]), sum);
	assert_int_equal(digest(copy[1]), sum);
	snprintf(copy[0], sizeof copy[0], "%s/.stversions/%s", fx->path,
		 strrchr(path, '/') + 1);
	assert_int_equal(digest(copy[0]), sum);
	expect_session(fx, false);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

/* What is as it should be is looked at, and no more. */
static void test_recover__sound_files_are_not_touched(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	struct stat before, after;
	char path[512];

	make(fx, "f");
	make(fx, "g");
	path_of(fx, "f", path);
	assert_int_equal(stat(path, &before), 0);
	die_after(fx, overwrite, "g");
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	assert_int_equal(stat(path, &after), 0);
	assert_memory_equal(&before.st_ctim, &after.st_ctim,
			    sizeof before.st_ctim);
}

/* What a segment lacks may be in place: older records do not come over it. */
static void overwrite_twice(struct vfile *f)
{
	assert_int_equal(vf_put(f, old_bytes + CHUNK_SIZE, CHUNK_SIZE, 0), 0);
	overwrite(f);
}

static void test_recover__a_damaged_record(void **state)
{
	/* in the token of the second one */
	const off_t at = JOURNAL_HEAD_LEN + 2 * JOURNAL_RECORD_HEAD_LEN +
			 CHUNK_TOKEN_LEN + 500;
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct journal_reader *reader;
	char name[JOURNAL_NAME_LEN + 1];
	struct vfile *f;
	uint8_t byte;
	int dir, fd;

	make(fx, "f");
	die_after(fx, overwrite_twice, "f");
	/* as it would be in its place by now */
	ahead_s = 10;
	f = vf_open(fx, fx->vault, "f");
	overwrite(f);
	vfile_close(f);
	assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
	journal_segment_name_(reader->session->id, reader->segment[0].n, name);
	journal_reader_close(reader);
	dir = journal_dir(fx);
	fd = openat(dir, name, O_RDWR);
	close(dir);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.left, 1);
	expect(fx, "f", redone_bytes);
	ahead_s = 0;
}

/* Elsewhere, with other inode numbers, it is the same vault... */
static void test_recover__a_copy_of_a_crash_is_one(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make(fx, "f");
	make(fx, "g");
	die_after(fx, overwrite, "fg");
	copy_vault(fx);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 2);
	assert_int_equal(r.left, 0);
	expect(fx, "f", redone_bytes);
	expect(fx, "g", redone_bytes);
}

/* The same disk under another number: its files have the numbers they had. */
static void test_recover__an_older_file_put_there(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct journal_session s;
	char path[512];
	int dir;

	make(fx, "f");
	make(fx, "g");
	path_of(fx, "f", path);
	shell("cp -p '%s' '%s/old'", path, fx->top);
	die_after(fx, overwrite, "fg");
	shell("mv '%s/old' '%s'", fx->top, path);
	dir = journal_dir(fx);
	assert_int_equal(
		journal_session_read_(fx->vault, dir, JOURNAL_SESSION_FILE, &s),
		0);
	s.dev++;
	assert_int_equal(journal_session_write_(fx->vault, dir, &s), 0);
	close(dir);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	assert_int_equal(r.left, 1);
	expect(fx, "f", old_bytes);
	expect(fx, "g", redone_bytes);
}

/* ...but for files that are newer, or that there are two of. */
static void test_recover__a_copy_with_newer_files(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;
	char path[512];
	uint64_t sum;

	make(fx, "f");
	make(fx, "g");
	make(fx, "h");
	die_after(fx, overwrite, "fgh");
	copy_vault(fx);
	ahead_s = 10;
	f = vf_open(fx, fx->vault, "g");
	assert_int_equal(vf_put(f, old_bytes, 100, 6 * CHUNK_SIZE), 0);
	vfile_close(f);
	path_of(fx, "g", path);
	sum = digest(path);
	path_of(fx, "h", path);
	shell("cp '%s' '%s (1)'", path, path);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	assert_int_equal(r.left, 2);
	expect(fx, "f", redone_bytes);
	expect(fx, "h", old_bytes);
	path_of(fx, "g", path);
	assert_int_equal(digest(path), sum);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
	ahead_s = 0;
}

/* Numbers that are free again, where the vault was before, are given to others:
 * that a copy of a file has the one of its original says nothing. */
static void test_recover__a_number_that_another_has_now(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	char path[512], copy[600];
	uint64_t sum;

	make(fx, "f");
	path_of(fx, "f", path);
	snprintf(copy, sizeof copy, "%s (1)", path);
	shell("ln '%s' '%s/original'", path, fx->top);
	die_after(fx, overwrite, "f");
	copy_vault(fx);
	shell("mv '%s/original' '%s'", fx->top, copy);
	sum = digest(copy);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 0);
	assert_int_equal(r.left, 1);
	expect(fx, "f", old_bytes);
	assert_int_equal(digest(copy), sum);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
}

static void grow_all(struct vfile *f)
{
	overwrite(f);
	grow(f);
}

static void grow_and_die(struct fixture *fx)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		struct vault_fault fault;

		vault_close(fx->vault);
		if (vault_open(fx->path, FX_PASS, strlen(FX_PASS), 2 * NAMES,
			       &fx->vault, &fault) ||
		    vault_lock(fx->vault, false, false) ||
		    journal_start(fx->vault))
			_exit(1);
		for (char name[] = "a"; name[0] < 'a' + NAMES; name[0]++)
			grow_all(vf_open(fx, fx->vault, name));
		(void)raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void test_recover__killed_at_every_end_it_mends(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	int result = 0, times = 0;

	for (char name[] = "a"; name[0] < 'a' + NAMES; name[0]++)
		make(fx, name);
	grow_and_die(fx);
	/* each time it comes a little further, and goes on with its segment */
	for (int n = 0; crash_child(n, recover_and_die, fx, &result); n++) {
		assert_true(times++ < 400);
		/* without it nobody would know what the rest is */
		if (count_names(fx, "journal", ".0") +
			    count_names(fx, "journal", ".4") >
		    0)
			expect_session(fx, true);
	}
	assert_int_equal(result, 0);
	assert_true(times > 12);
	assert_int_equal(recover(fx, &r), 0);
	for (char name[] = "a"; name[0] < 'a' + NAMES; name[0]++) {
		struct vfile *f = vf_open(fx, fx->vault, name);
		uint8_t buf[CHUNK_SIZE];

		assert_int_equal(vfile_size(f), LEN + VFILE_IO_MAX);
		for (size_t i = 0; i < CHUNKS; i++) {
			assert_int_equal(vf_get(f, buf, sizeof buf,
						i * CHUNK_SIZE, NULL),
					 sizeof buf);
			assert_memory_equal(buf, redone_bytes + i * CHUNK_SIZE,
					    sizeof buf);
		}
		vfile_close(f);
	}
	/* what a killed one left is gone with the next session */
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_start(fx->vault), 0);
	assert_int_equal(journal_stop(fx->vault), 0);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

/* Of two that may be meant, none is, and both stay. */
static void test_recover__what_a_damaged_session_left_stays(void **state)
{
	struct fixture *fx = *state;
	int fd, dir;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	shell("cp -a '%s/.frondfs/journal' '%s/old'", fx->path, fx->top);
	assert_int_equal(recover(fx, NULL), 0);
	die_after(fx, overwrite, "f");
	shell("cp -a '%s'/old/*.0 '%s/.frondfs/journal/'", fx->top, fx->path);
	dir = journal_dir(fx);
	fd = openat(dir, JOURNAL_SESSION_FILE, O_RDWR);
	assert_true(fd >= 0);
	fx_spoil(fd, 30);
	close(fd);
	close(dir);
	assert_int_equal(recover(fx, NULL), 0);
	assert_int_equal(count_names(fx, "journal", ".damaged"), 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vault_lock(fx->vault, false, false), 0);
		assert_int_equal(journal_start(fx->vault), 0);
		assert_int_equal(journal_stop(fx->vault), 0);
		again(fx);
	}
	die_after(fx, overwrite, "f");
	assert_int_equal(recover(fx, NULL), 0);
	assert_int_equal(count_names(fx, "journal", ".damaged"), 1);
	assert_int_equal(count_names(fx, "journal", ".0"), 2);
}

static void make_unreadable(struct fixture *fx, const char *name)
{
	struct stat st;
	int dir = journal_dir(fx);

	assert_int_equal(fstatat(dir, name, &st, 0), 0);
	close(dir);
	bad_ino = st.st_ino;
}

/* It alone tells that the file was made in it: whoever can read it mends. */
static void test_recover__an_unreadable_session(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	die_in(fx, stream_new);
	fill();
	make_unreadable(fx, JOURNAL_SESSION_FILE);
	assert_int_equal(recover(fx, NULL), -EIO);
	fx->vault->remembers = true;
	assert_int_equal(journal_seen(fx->vault), -EIO);
	fx->vault->remembers = false;
	bad_ino = 0;
	expect_session(fx, true);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.mended, 1);
	assert_int_equal(r.beyond, 0);
	expect(fx, "f", old_bytes);
	expect_session(fx, false);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

/* ...and of one that ended, whether all of it is durable. */
static void test_recover__an_unreadable_end(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	die_in(fx, stream_new);
	fill();
	shell("cd '%s/.frondfs/journal' && mv session session.ended", fx->path);
	copy_vault(fx);
	make_unreadable(fx, JOURNAL_ENDED_FILE);
	assert_int_equal(recover(fx, NULL), -EIO);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), -EIO);
	bad_ino = 0;
	assert_int_equal(count_names(fx, "journal", ".ended"), 1);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.mended, 1);
	expect(fx, "f", old_bytes);
}

/* In the same place it is the same, and nothing else is like it. */
static void test_recover__a_place_is_known_again(void **state)
{
	struct fixture *fx = *state;
	struct journal_session a, b;
	int dir = open(fx->path, O_RDONLY | O_DIRECTORY),
	    other = open("/proc", O_RDONLY | O_DIRECTORY);

	assert_int_equal(journal_session_init_(dir, &a), 0);
	assert_int_equal(journal_session_init_(dir, &b), 0);
	assert_true(memcmp(a.id, b.id, sizeof a.id) != 0);
	if (a.mount_id == b.mount_id) /* not on older systems */
		assert_true(journal_session_same_place_(&a, &b));
	assert_int_equal(journal_session_init_(other, &b), 0);
	assert_false(journal_session_same_place_(&a, &b));
	close(dir);
	close(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_recover__a_file_that_was_not_touched_yet),
		TEST(test_recover__a_journal_that_is_not_durable),
		TEST(test_recover__an_end_that_was_not_durable),
		TEST(test_recover__an_end_that_is_looked_at),
		TEST(test_recover__an_end_that_stays),
		TEST(test_recover__an_end_that_is_taken_over),
		TEST(test_recover__a_file_far_below),
		TEST(test_recover__others_see_the_journal),
		TEST(test_recover__a_session_that_is_gone),
		TEST(test_recover__two_sessions_that_are_gone),
		TEST(test_recover__a_session_that_did_not_begin),
		TEST(test_recover__copies_stay_as_they_are),
		TEST(test_recover__sound_files_are_not_touched),
		TEST(test_recover__a_damaged_record),
		TEST(test_recover__a_copy_of_a_crash_is_one),
		TEST(test_recover__a_copy_with_newer_files),
		TEST(test_recover__a_number_that_another_has_now),
		TEST(test_recover__an_older_file_put_there),
		TEST(test_recover__killed_at_every_end_it_mends),
		TEST(test_recover__what_a_damaged_session_left_stays),
		TEST(test_recover__an_unreadable_session),
		TEST(test_recover__an_unreadable_end),
		TEST(test_recover__a_place_is_known_again),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
