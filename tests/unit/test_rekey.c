/*
 * Giving a file a new key: whatever happens meanwhile, it is wholly the old
 * or, after the next start, wholly the new one, and never less.
 */
#include "vfile_fixture.h"

#include "crash_fixture.h"
#include "rekey.h"

#include <pthread.h>
#include <sys/mount.h>

enum { CHUNKS = 600, LEN = CHUNKS * CHUNK_SIZE + 123, SMALL = 5 };

/* A file with some holes, known by two names. */
struct subject {
	struct fixture *fx;
	struct vfile *f;
	char plain[32], second[40];
	uint8_t *bytes;
	size_t len;
	uint8_t key[FERNET_KEY_LEN], header[HEADER_LEN];
	struct timespec mtime;
};

static void read_header(struct fixture *fx, const char *plain,
			uint8_t header[HEADER_LEN])
{
	int fd = vf_backing_fd(fx, plain);

	assert_int_equal(xio_pread(fd, header, HEADER_LEN, 0), 0);
	close(fd);
}

static void subject_init(struct fixture *fx, struct subject *s, size_t chunks)
{
	static unsigned serial;
	const struct timespec times[2] = {{1000000000, 5}, {1234567890, 77}};
	struct backing_name from, to;
	uint64_t rng = ++serial;
	/* Holes between: every third chunk, or a few. */
	size_t run = (chunks > SMALL ? 200 : 1) * CHUNK_SIZE;

	*s = (struct subject){.fx = fx, .len = chunks * CHUNK_SIZE + 123};
	s->bytes = calloc(1, s->len);
	assert_non_null(s->bytes);
	snprintf(s->plain, sizeof s->plain, "rekey %u", serial);
	snprintf(s->second, sizeof s->second, "%s again", s->plain);
	s->f = vf_create(fx, s->plain);
	for (size_t at = 0; at < s->len; at += run + 2 * CHUNK_SIZE) {
		size_t n = s->len - at < run ? s->len - at : run;

		vf_random_bytes(&rng, s->bytes + at, n);
		assert_int_equal(vf_put(s->f, s->bytes + at, n, at), 0);
	}
	vf_random_bytes(&rng, s->bytes + s->len - 9, 9);
	assert_int_equal(vf_put(s->f, s->bytes + s->len - 9, 9, s->len - 9), 0);
	from = fx_name(fx, fx->root_id, s->plain);
	to = fx_name(fx, fx->root_id, s->second);
	assert_int_equal(linkat(fx->vault->root_fd, from.entry,
				fx->vault->root_fd, to.entry, 0),
			 0);
	assert_int_equal(vfile_key(s->f, s->key), 0);
	read_header(fx, s->plain, s->header);
	s->mtime = times[1];
	assert_int_equal(futimens(vfile_fd(s->f), times), 0);
}

static void subject_fini(struct subject *s)
{
	struct backing_name name = fx_name(s->fx, s->fx->root_id, s->plain);

	unlinkat(s->fx->vault->root_fd, name.entry, 0);
	name = fx_name(s->fx, s->fx->root_id, s->second);
	unlinkat(s->fx->vault->root_fd, name.entry, 0);
	vfile_close(s->f);
	free(s->bytes);
}

static int rekey(void *arg)
{
	struct subject *s = arg;
	struct backing_name name = fx_name(s->fx, s->fx->root_id, s->plain);

	return vfile_rekey(s->f, vf_ws(), name.entry);
}

static int rekey_orphan(void *arg)
{
	struct subject *s = arg;

	return vfile_rekey(s->f, vf_ws(), ".frondfs/orphans/gone");
}

/* As another mount does it: locks go with the descriptor, and so it dies. */
static int rekey_afresh(void *arg)
{
	struct subject *s = arg;
	struct vfile *f = vf_open(s->fx, s->fx->vault, s->plain);
	int err = vfile_rekey(f, vf_ws(), "");

	vfile_close(f);
	return err;
}

static int finish(void *arg)
{
	return vault_rekey_finish(arg);
}

static int journal(struct fixture *fx)
{
	int fd = openat(fx->vault->meta_fd, "journal", O_RDONLY | O_DIRECTORY);

	assert_true(fd >= 0);
	return fd;
}

static int redo_count(struct fixture *fx)
{
	int fd = openat(fx->vault->meta_fd, "journal", O_RDONLY | O_DIRECTORY);
	int n = fd < 0 ? 0 : fx_count(fd);

	if (fd >= 0)
		close(fd);
	return n;
}

/* The only redo file, opened; its name where wanted. */
static int redo_open(struct fixture *fx, char name[64])
{
	int dirfd = journal(fx), fd = -1;
	DIR *dir = fdopendir(dirfd);
	const struct dirent *e;

	while ((e = readdir(dir)))
		if (e->d_name[0] != '.') {
			assert_int_equal(fd, -1);
			fd = openat(dirfd, e->d_name, O_RDWR);
			if (name)
				snprintf(name, 64, "%.60s", e->d_name);
		}
	assert_true(fd >= 0);
	closedir(dir);
	return fd;
}

static void redo_clear(struct fixture *fx)
{
	char name[64];
	int dirfd = journal(fx);

	if (redo_count(fx) > 0) {
		close(redo_open(fx, name));
		assert_int_equal(unlinkat(dirfd, name, 0), 0);
	}
	close(dirfd);
}

static bool has_old_header(struct subject *s)
{
	uint8_t header[HEADER_LEN];

	read_header(s->fx, s->plain, header);
	return memcmp(header, s->header, sizeof header) == 0;
}

/* Opened anew, under both names: contents, times, holes. */
static void expect_whole(struct subject *s)
{
	const char *names[] = {s->plain, s->second};

	for (int i = 0; i < 2; i++) {
		struct vfile *f = vf_open(s->fx, s->fx->vault, names[i]);
		struct stat st;

		vf_expect(f, s->bytes, s->len);
		assert_memory_equal(vfile_id(f), vfile_id(s->f), FILE_ID_LEN);
		assert_int_equal(fstat(vfile_fd(f), &st), 0);
		assert_int_equal(st.st_nlink, 2);
		assert_int_equal(st.st_mtim.tv_sec, s->mtime.tv_sec);
		assert_int_equal(st.st_mtim.tv_nsec, s->mtime.tv_nsec);
		vfile_close(f);
	}
}

/* No chunk opens with the old key any more. */
static void expect_old_key_dead(struct subject *s)
{
	_Alignas(64) static uint8_t plain[FERNET_OPEN_ROOM(CHUNK_TOKEN_LEN)];
	uint8_t stored[CHUNK_TOKEN_LEN];
	struct fernet_key key;
	int fd = vf_backing_fd(s->fx, s->plain);

	fernet_key_init(&key, s->key);
	for (uint64_t i = 0; i < chunk_last_index(s->len); i++) {
		struct fernet_open_job job = {.token = stored,
					      .token_len = sizeof stored,
					      .plaintext = plain};

		assert_int_equal(xio_pread(fd, stored, sizeof stored,
					   (off_t)chunk_offset(i)),
				 0);
		assert_int_equal(fernet_open(vf_ws()->fernet, &key, &job, 1),
				 1);
	}
	close(fd);
}

static void test_rekey__everything_stays_but_the_key(void **state)
{
	struct fixture *fx = *state;
	const size_t sizes[] = {0, SMALL, 256, CHUNKS};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct stat before, after;
		uint8_t key[FERNET_KEY_LEN];
		struct subject s;

		subject_init(fx, &s, sizes[i]);
		assert_int_equal(fstat(vfile_fd(s.f), &before), 0);
		assert_int_equal(rekey(&s), 0);
		assert_int_equal(vfile_key(s.f, key), 0);
		assert_memory_not_equal(key, s.key, sizeof key);
		assert_false(has_old_header(&s));
		assert_int_equal(redo_count(fx), 0);
		vf_expect(s.f, s.bytes, s.len);
		expect_whole(&s);
		expect_old_key_dead(&s);
		assert_int_equal(fstat(vfile_fd(s.f), &after), 0);
		assert_int_equal(after.st_ino, before.st_ino);
		assert_int_equal(after.st_size, before.st_size);
		assert_true(after.st_blocks <= before.st_blocks + 16);
		/* An ordinary file, still; again and again. */
		assert_int_equal(vf_put(s.f, "changed", 7, 11), 0);
		memcpy(s.bytes + 11, "changed", 7);
		assert_int_equal(rekey(&s), 0);
		vf_expect(s.f, s.bytes, s.len);
		subject_fini(&s);
	}
	{
		struct vfile *f = vf_create(fx, "empty");

		assert_int_equal(vfile_rekey(f, vf_ws(), "-"), 0);
		vf_expect(f, NULL, 0);
		vfile_close(f);
		f = vf_open(fx, fx->vault, "empty");
		vf_expect(f, NULL, 0);
		vfile_close(f);
	}
}

/* What the clock says is earlier than when the file was made. */
static void test_rekey__a_file_is_not_born_before_it_was_made(void **state)
{
	struct fixture *fx = *state;
	uint64_t now = (uint64_t)time(NULL), ahead = now + 3 * 86400;
	struct subject s;

	vault_pass(fx->vault, ahead);
	subject_init(fx, &s, SMALL);
	assert_true(vfile_born_s(s.f) >= ahead);
	fx->vault->latest_s = now;
	assert_int_equal(rekey(&s), 0);
	assert_true(vault_now(fx->vault) < ahead);
	assert_true(vfile_born_s(s.f) >= ahead);
	assert_false(has_old_header(&s));
	vf_expect(s.f, s.bytes, s.len);
	subject_fini(&s);
}

static void test_rekey__damage_is_not_made_good(void **state)
{
	struct fixture *fx = *state;
	struct subject s;
	struct vfile *f;
	int fd;

	subject_init(fx, &s, SMALL);
	fd = vf_backing_fd(fx, s.plain);
	fx_spoil(fd, (off_t)chunk_offset(3) + 50);
	assert_int_equal(rekey(&s), -EBADMSG);
	assert_true(has_old_header(&s));
	assert_int_equal(redo_count(fx), 0);
	assert_int_equal(ftruncate(fd, (off_t)chunk_backing_len(s.len) - 1), 0);
	assert_int_equal(rekey(&s), -EBADMSG);
	close(fd);
	/* What cannot be written gets no new key. */
	fd = vf_backing_fd(fx, s.plain);
	assert_int_equal(vfile_open(fx->vault, fd, false, &f), 0);
	assert_int_equal(vfile_rekey(f, vf_ws(), ""), -EBADF);
	vfile_close(f);
	subject_fini(&s);
}

static void test_rekey__a_crash_anywhere_is_finished(void **state)
{
	struct fixture *fx = *state;
	bool was_old = false, was_new = false;
	size_t chunks = SMALL;

	for (int n = 0;; n++) {
		struct subject s;
		int result;
		bool died, pending;

		subject_init(fx, &s, chunks);
		died = crash_child(n, rekey, &s, &result);
		pending = redo_count(fx) > 0;
		assert_int_equal(vault_rekey_finish(fx->vault), 0);
		assert_int_equal(redo_count(fx), 0);
		*(has_old_header(&s) ? &was_old : &was_new) = true;
		expect_whole(&s);
		if (!has_old_header(&s))
			expect_old_key_dead(&s);
		assert_int_equal(vault_rekey_finish(fx->vault), 0);
		expect_whole(&s);
		subject_fini(&s);
		if (died)
			continue;
		assert_int_equal(result, 0);
		assert_false(pending);
		assert_true(was_old && was_new && n > 8);
		if (chunks == CHUNKS)
			break;
		chunks = CHUNKS; /* again, in several batches */
		n = -1;
	}
}

/* What is made durable in the journal goes with it where nobody knows that. */
static void test_rekey__the_journal_has_a_durable_name(void **state)
{
	struct fixture *fx = *state;
	struct stat st;
	int fd = -1;

	assert_int_equal(fstat(fx->vault->meta_fd, &st), 0);
	crash_fsyncs = 0;
	crash_watched = st.st_ino;
	assert_int_equal(rekey_open_journal(fx->vault, true, &fd), 0);
	crash_watched = 0;
	assert_int_equal(crash_fsyncs, 1);
	close(fd);
}

static void watch(const struct subject *s)
{
	struct stat st;

	assert_int_equal(fstat(vfile_fd(s->f), &st), 0);
	memset(crash_course, 0, sizeof crash_course);
	crash_watched = st.st_ino;
}

/* Neither the header nor a chunk is written while the other may be lost. */
static void expect_in_turn(void)
{
	crash_watched = 0;
	assert_null(strstr(crash_course, "hc"));
	assert_null(strstr(crash_course, "ch"));
}

/* An old header promises that all chunks are old. */
static void test_rekey__the_disk_gets_the_header_by_itself(void **state)
{
	struct fixture *fx = *state;
	size_t turns = 0;
	int err = -1;

	for (int n = 0; err; n++) {
		struct subject s;
		int result;

		subject_init(fx, &s, SMALL);
		watch(&s);
		crash_left = n;
		crash_mode = CRASH_NO_ROOM;
		err = rekey(&s);
		crash_mode = CRASH_NOT;
		expect_in_turn();
		turns += strcmp(crash_course, "hscshs") == 0;
		if (!err)
			assert_string_equal(crash_course, "hscs");
		if (redo_count(fx) > 0)
			assert_int_equal(vault_rekey_finish(fx->vault), 0);
		subject_fini(&s);

		/* and where the next mount goes on */
		subject_init(fx, &s, SMALL);
		(void)crash_child(n, rekey, &s, &result);
		watch(&s);
		assert_int_equal(vault_rekey_finish(fx->vault), 0);
		expect_in_turn();
		turns += strcmp(crash_course, "hscs") == 0;
		subject_fini(&s);
	}
	assert_true(turns > 1);
}

static void test_rekey__a_crash_while_finishing_is_finished(void **state)
{
	struct fixture *fx = *state;
	bool again = true;

	for (int n = 3; again; n++)
		for (int m = 0;; m++) {
			struct subject s;
			int result;
			bool died;

			subject_init(fx, &s, SMALL);
			again = crash_child(n, rekey, &s, &result);
			died = crash_child(m, finish, fx->vault, &result);
			if (!died)
				assert_int_equal(result, 0);
			assert_int_equal(vault_rekey_finish(fx->vault), 0);
			assert_int_equal(redo_count(fx), 0);
			expect_whole(&s);
			subject_fini(&s);
			if (!died)
				break;
		}
}

static void test_rekey__no_room_leaves_the_old_file(void **state)
{
	struct fixture *fx = *state;
	int failed = 0;

	for (size_t chunks = SMALL; chunks <= CHUNKS; chunks += CHUNKS - SMALL)
		for (int n = 0;; n++) {
			struct subject s;
			int err;

			subject_init(fx, &s, chunks);
			crash_left = n;
			crash_mode = CRASH_NO_ROOM;
			err = rekey(&s);
			if (crash_mode == CRASH_NOT && err) {
				failed++;
				assert_int_equal(err, -ENOSPC);
				assert_true(has_old_header(&s));
				assert_int_equal(redo_count(fx), 0);
			} else {
				assert_int_equal(err, 0);
			}
			n = crash_mode == CRASH_NOT ? n : -1;
			crash_mode = CRASH_NOT;
			vf_expect(s.f, s.bytes, s.len);
			expect_whole(&s);
			assert_int_equal(vf_put(s.f, "on", 2, s.len), 0);
			subject_fini(&s);
			if (n < 0)
				break;
		}
	assert_true(failed >= 16);
}

/* A file system that is really full, but for so many KiB. True: it worked. */
static bool try_full(struct subject *s, unsigned free_kib)
{
	struct fixture *fx = s->fx;
	int fd = openat(fx->vault->meta_fd, "ballast", O_RDWR | O_CREAT, 0600);
	off_t len = 0;
	int err;

	assert_true(fd >= 0);
	while (fallocate(fd, 0, len, 4096) == 0)
		len += 4096;
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(ftruncate(fd, len - (off_t)free_kib * 1024), 0);
	err = rekey(s);
	assert_int_equal(unlinkat(fx->vault->meta_fd, "ballast", 0), 0);
	close(fd);
	assert_true(err == 0 || err == -ENOSPC);
	assert_int_equal(has_old_header(s), err != 0);
	assert_int_equal(redo_count(fx), 0);
	vf_expect(s->f, s->bytes, s->len);
	expect_whole(s);
	return err == 0;
}

static void test_rekey__a_full_file_system_keeps_the_old_file(void **state)
{
	struct fixture *outer = *state, *fx;
	const char *tmp = getenv("TMPDIR");
	char path[sizeof outer->top + 8];
	void *inner = NULL;
	unsigned free_kib = 0;
	struct subject s;

	snprintf(path, sizeof path, "%s/small", outer->top);
	assert_int_equal(mkdir(path, 0700), 0);
	if (mount("tmpfs", path, "tmpfs", 0, "size=8m") < 0) {
		assert_int_equal(errno, EPERM);
		skip();
	}
	tmp = tmp ? strdup(tmp) : NULL;
	setenv("TMPDIR", path, 1);
	assert_int_equal(fx_setup(&inner), 0);
	/* What is open in it stays, and it goes with that. */
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	fx = inner;
	subject_init(fx, &s, CHUNKS);
	while (!try_full(&s, free_kib))
		free_kib += 160;
	assert_true(free_kib >= 1600);
	subject_fini(&s);
	fx_teardown(&inner);
	if (tmp)
		setenv("TMPDIR", tmp, 1);
	else
		unsetenv("TMPDIR");
	free((void *)(uintptr_t)tmp);
}

static void test_rekey__no_room_for_good_loses_nothing(void **state)
{
	struct fixture *fx = *state;

	for (size_t chunks = SMALL; chunks <= CHUNKS; chunks += CHUNKS - SMALL)
		for (int n = 0;; n++) {
			struct subject s;
			int err;

			subject_init(fx, &s, chunks);
			crash_left = n;
			crash_mode = CRASH_NO_MORE_ROOM;
			err = rekey(&s);
			crash_mode = CRASH_NOT;
			if (err)
				assert_int_equal(err, -ENOSPC);
			else
				vf_expect(s.f, s.bytes, s.len);
			if (redo_count(fx) == 0)
				vf_expect(s.f, s.bytes, s.len);
			assert_int_equal(vault_rekey_finish(fx->vault), 0);
			assert_int_equal(redo_count(fx), 0);
			expect_whole(&s);
			subject_fini(&s);
			if (crash_left >= 0)
				break;
		}
}

/*
 * Die with a good redo file: with the file wholly old, or, where partly is
 * set, with its header new and its chunks old.
 */
static void leave_redo(struct subject *s, bool partly)
{
	for (int n = 0;; n++) {
		uint8_t header[HEADER_LEN];
		struct stat st = {0};
		int result, fd;

		assert_true(crash_child(n, rekey, s, &result));
		read_header(s->fx, s->plain, header);
		if (redo_count(s->fx) > 0) {
			fd = redo_open(s->fx, NULL);
			assert_int_equal(fstat(fd, &st), 0);
			close(fd);
		}
		if (!partly &&
		    st.st_size > (off_t)chunk_backing_len(s->len) + 300) {
			/* The next step: its fsync. */
			redo_clear(s->fx);
			assert_true(crash_child(n + 1, rekey, s, &result));
			assert_true(has_old_header(s));
			return;
		}
		if (partly && !has_old_header(s)) {
			/* Torn, then: the next step makes it whole. */
			assert_int_equal(vault_rekey_finish(s->fx->vault), 0);
			read_header(s->fx, s->plain, s->header);
			vfile_close(s->f);
			s->f = vf_open(s->fx, s->fx->vault, s->plain);
			assert_int_equal(vfile_key(s->f, s->key), 0);
			assert_true(crash_child(n + 1, rekey, s, &result));
			assert_false(has_old_header(s));
			return;
		}
		redo_clear(s->fx);
	}
}

static void test_rekey__altered_redo_files_are_refused(void **state)
{
	struct fixture *fx = *state;
	struct stat st;
	off_t at = 0;

	do {
		struct subject s;
		uint8_t c;
		int fd;

		subject_init(fx, &s, SMALL);
		leave_redo(&s, false);
		fd = redo_open(fx, NULL);
		assert_int_equal(fstat(fd, &st), 0);
		/* The copy of the header is the record's, not this one. */
		if (at < HEADER_LEN)
			at = HEADER_LEN;
		assert_int_equal(xio_pread(fd, &c, 1, at), 0);
		/* bytes of a hole are bytes, too */
		c ^= 0x10;
		assert_int_equal(xio_pwrite(fd, &c, 1, at), 0);
		close(fd);
		assert_int_equal(vault_rekey_finish(fx->vault), 0);
		assert_int_equal(redo_count(fx), 0);
		assert_true(has_old_header(&s));
		expect_whole(&s);
		subject_fini(&s);
		at += 997;
	} while (at < st.st_size);
}

static void test_rekey__cut_and_empty_redo_files_are_dropped(void **state)
{
	struct fixture *fx = *state;
	struct subject s;
	struct stat st;
	int fd;

	subject_init(fx, &s, SMALL);
	for (off_t cut = 1; cut < 30000; cut = cut * 3) {
		leave_redo(&s, false);
		fd = redo_open(fx, NULL);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(
			ftruncate(fd, st.st_size > cut ? st.st_size - cut : 0),
			0);
		close(fd);
		assert_int_equal(vault_rekey_finish(fx->vault), 0);
		assert_int_equal(redo_count(fx), 0);
		assert_true(has_old_header(&s));
		expect_whole(&s);
	}
	subject_fini(&s);
}

static void test_rekey__an_altered_chunk_costs_itself_only(void **state)
{
	struct fixture *fx = *state;
	uint8_t buf[CHUNK_SIZE];
	struct subject s;
	struct vfile *f;
	uint64_t bad = 0;
	int fd;

	subject_init(fx, &s, SMALL);
	leave_redo(&s, true);
	fd = redo_open(fx, NULL);
	assert_int_equal(xio_pread(fd, buf, 1, (off_t)chunk_offset(3) + 99), 0);
	buf[0] ^= 1;
	assert_int_equal(xio_pwrite(fd, buf, 1, (off_t)chunk_offset(3) + 99),
			 0);
	assert_int_equal(vault_rekey_finish(fx->vault), -EBADMSG);
	assert_int_equal(redo_count(fx), 1); /* it is needed */
	f = vf_open(fx, fx->vault, s.plain);
	assert_int_equal(vf_get(f, buf, 1, 3 * CHUNK_SIZE, &bad), -EBADMSG);
	assert_int_equal(bad, 3);
	assert_int_equal(vf_get(f, buf, CHUNK_SIZE, 0, NULL), CHUNK_SIZE);
	assert_memory_equal(buf, s.bytes, CHUNK_SIZE);
	assert_int_equal(vf_get(f, buf, 123, SMALL * CHUNK_SIZE, NULL), 123);
	assert_memory_equal(buf, s.bytes + SMALL * CHUNK_SIZE, 123);
	vfile_close(f);
	/* Once it is back, so is the file. */
	assert_int_equal(xio_pread(fd, buf, 1, (off_t)chunk_offset(3) + 99), 0);
	buf[0] ^= 1;
	assert_int_equal(xio_pwrite(fd, buf, 1, (off_t)chunk_offset(3) + 99),
			 0);
	close(fd);
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	assert_int_equal(redo_count(fx), 0);
	expect_whole(&s);
	subject_fini(&s);
}

/* Put a copy of bytes into the journal. */
static void redo_put(struct fixture *fx, const char *name, const void *bytes,
		     size_t len)
{
	int dirfd = journal(fx);

	fx_write(dirfd, name, bytes, len);
	close(dirfd);
}

static void expect_put_aside(struct fixture *fx, const char *name)
{
	int fd = journal(fx), kept = openat(fd, "kept", O_RDONLY | O_DIRECTORY);

	assert_true(kept >= 0);
	assert_int_equal(unlinkat(kept, name, 0), 0);
	assert_int_equal(unlinkat(fd, "kept", AT_REMOVEDIR), 0);
	close(kept);
	close(fd);
}

static void test_rekey__old_and_foreign_redo_files_do_nothing(void **state)
{
	struct fixture *fx = *state;
	struct subject s, other;
	struct vault stranger = *fx->vault;
	struct vfile *f;
	char name[64];
	uint8_t *old;
	struct stat st;
	int fd;

	subject_init(fx, &s, SMALL);
	leave_redo(&s, true);
	fd = redo_open(fx, name);
	assert_int_equal(fstat(fd, &st), 0);
	old = malloc((size_t)st.st_size);
	assert_int_equal(xio_pread(fd, old, (size_t)st.st_size, 0), 0);
	close(fd);
	/* Of a vault with other keys it is no redo file at all: it goes. */
	stranger.keys = secret_alloc(sizeof *stranger.keys);
	*stranger.keys = *fx->vault->keys;
	stranger.keys->master[5] ^= 1;
	assert_int_equal(vault_rekey_finish(&stranger), 0);
	assert_int_equal(redo_count(fx), 0);
	secret_free(stranger.keys);
	redo_put(fx, name, old, (size_t)st.st_size);
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	expect_whole(&s);
	/* Played again after the file has changed: it stays changed. */
	f = vf_open(fx, fx->vault, s.plain);
	assert_int_equal(vf_put(f, "newer", 5, 7), 0);
	memcpy(s.bytes + 7, "newer", 5);
	assert_int_equal(vf_truncate(f, 4 * CHUNK_SIZE + 5), 0);
	redo_put(fx, name, old, (size_t)st.st_size);
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	vf_expect(f, s.bytes, 4 * CHUNK_SIZE + 5);
	/* nobody can tell who has cut it: nothing is thrown away */
	expect_put_aside(fx, name);
	assert_int_equal(redo_count(fx), 0);
	/* And after another re-keying. */
	assert_int_equal(vfile_rekey(f, vf_ws(), ""), 0);
	redo_put(fx, name, old, (size_t)st.st_size);
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	assert_int_equal(redo_count(fx), 0);
	vf_expect(f, s.bytes, 4 * CHUNK_SIZE + 5);
	vfile_close(f);
	f = vf_open(fx, fx->vault, s.plain);
	vf_expect(f, s.bytes, 4 * CHUNK_SIZE + 5);
	vfile_close(f);
	/* A file that took the name is not touched either. */
	subject_init(fx, &other, SMALL);
	free(old);
	subject_fini(&other);
	subject_fini(&s);
}

static void test_rekey__what_changed_since_keeps_its_key(void **state)
{
	struct fixture *fx = *state;
	struct subject s;
	struct stat st;

	subject_init(fx, &s, SMALL);
	leave_redo(&s, false);
	/* Somebody went on with the file, and set its time back. */
	assert_int_equal(vf_put(s.f, "newer", 5, 7), 0);
	memcpy(s.bytes + 7, "newer", 5);
	assert_int_equal(
		futimens(vfile_fd(s.f),
			 (struct timespec[]){{.tv_nsec = UTIME_OMIT}, s.mtime}),
		0);
	assert_int_equal(fstat(vfile_fd(s.f), &st), 0);
	crash_watched = st.st_ino;
	crash_fsyncs = 0;
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	assert_int_equal(redo_count(fx), 0);
	/* who went on with it may have been killed before that */
	assert_int_equal(crash_fsyncs, 1);
	crash_watched = 0;
	assert_true(has_old_header(&s));
	expect_whole(&s);
	vf_expect(s.f, s.bytes, s.len);
	subject_fini(&s);
}

static void test_rekey__a_moved_file_is_found(void **state)
{
	struct fixture *fx = *state;
	struct backing_name name, first, second;
	uint8_t dirid[DIRID_LEN];
	struct subject s;
	int fd, parked;

	subject_init(fx, &s, SMALL);
	leave_redo(&s, true);
	first = fx_name(fx, fx->root_id, s.plain);
	second = fx_name(fx, fx->root_id, s.second);
	fx_mkdir(fx, fx->vault->root_fd, fx->root_id, "deep", &name, dirid,
		 &fd);
	/* Out of the vault: loud, but nothing is lost. */
	parked = open(fx->top, O_PATH | O_DIRECTORY);
	assert_int_equal(
		renameat(fx->vault->root_fd, first.entry, parked, "parked"), 0);
	assert_int_equal(unlinkat(fx->vault->root_fd, second.entry, 0), 0);
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	assert_int_equal(redo_count(fx), 1);
	/* Another has its name, and it lies in a directory now. */
	vfile_close(vf_create(fx, s.plain));
	assert_int_equal(renameat(parked, "parked", fd, first.entry), 0);
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	assert_int_equal(redo_count(fx), 0);
	assert_int_equal(
		renameat(fd, first.entry, fx->vault->root_fd, first.entry), 0);
	assert_int_equal(linkat(fx->vault->root_fd, first.entry,
				fx->vault->root_fd, second.entry, 0),
			 0);
	expect_whole(&s);
	close(parked);
	close(fd);
	subject_fini(&s);
}

static void test_rekey__an_orphan_takes_its_redo_file_along(void **state)
{
	struct fixture *fx = *state;
	struct backing_name name;
	struct subject s;
	int result;

	subject_init(fx, &s, SMALL);
	assert_int_equal(vault_orphans_open(fx->vault), 0);
	name = fx_name(fx, fx->root_id, s.second);
	assert_int_equal(unlinkat(fx->vault->root_fd, name.entry, 0), 0);
	name = fx_name(fx, fx->root_id, s.plain);
	assert_int_equal(renameat(fx->vault->root_fd, name.entry,
				  fx->vault->orphans_fd, "gone"),
			 0);
	for (int n = 0; redo_count(fx) == 0 || n < 8; n++) {
		redo_clear(fx);
		assert_true(crash_child(n, rekey_orphan, &s, &result));
	}
	assert_int_equal(unlinkat(fx->vault->orphans_fd, "gone", 0), 0);
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	assert_int_equal(redo_count(fx), 0);
	subject_fini(&s);
}

/* Root may do anything; whoever may not meets modes. Line that failed, or 0. */
static int finish_as_user(void *arg)
{
	void *state = NULL;
	struct fixture *fx;
	struct subject s;
	struct stat st;
	int result, fd;

	(void)arg;
	FX_EXPECT(fx_setup(&state) == 0);
	fx = state;
	subject_init(fx, &s, SMALL);
	leave_redo(&s, true);
	FX_EXPECT(fchmod(vfile_fd(s.f), 0400) == 0);
	FX_EXPECT(crash_child(99, finish, fx->vault, &result) == false);
	FX_EXPECT(result == 0 && redo_count(fx) == 0);
	FX_EXPECT(fstat(vfile_fd(s.f), &st) == 0);
	FX_EXPECT((st.st_mode & 07777) == 0400);
	FX_EXPECT(fchmod(vfile_fd(s.f), 0600) == 0);
	fd = vf_backing_fd(fx, s.plain);
	vfile_close(s.f);
	FX_EXPECT(vfile_open(fx->vault, fd, true, &s.f) == 0);
	vf_expect(s.f, s.bytes, s.len);
	subject_fini(&s);
	return fx_teardown(&state);
}

static void test_rekey__read_only_files_are_finished(void **state)
{
	(void)state;
	assert_int_equal(fx_as_user(finish_as_user, NULL), 0);
}

static void test_rekey__a_living_one_is_left_alone(void **state)
{
	struct fixture *fx = *state;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct subject s;
	int fd;

	subject_init(fx, &s, SMALL);
	leave_redo(&s, true);
	fd = redo_open(fx, NULL);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	assert_int_equal(redo_count(fx), 1);
	close(fd);
	assert_int_equal(vault_rekey_finish(fx->vault), 0);
	assert_int_equal(redo_count(fx), 0);
	expect_whole(&s);
	subject_fini(&s);
}

/* Two mounts of one vault, each with a view of the file. */
static struct vault *second_mount(struct fixture *fx)
{
	struct vault_fault fault = {0};
	struct vault *vault = NULL;

	assert_int_equal(vault_open(fx->path, FX_PASS, strlen(FX_PASS), 4,
				    &vault, &fault),
			 0);
	vault->shared = true;
	return vault;
}

static void test_rekey__other_mounts_take_the_new_key(void **state)
{
	struct fixture *fx = *state;
	struct vault *second = second_mount(fx);
	static uint8_t chunk[CHUNK_SIZE];
	uint8_t mine[FERNET_KEY_LEN], theirs[FERNET_KEY_LEN];
	struct subject s;
	struct vfile *f;

	fx->vault->shared = true;
	subject_init(fx, &s, SMALL);
	f = vf_open(fx, second, s.plain);
	vf_expect(f, s.bytes, s.len);
	assert_int_equal(rekey(&s), 0);
	/* A whole chunk is written without reading anything first. */
	memset(chunk, 'w', sizeof chunk);
	assert_int_equal(vf_put(f, chunk, sizeof chunk, CHUNK_SIZE), 0);
	memcpy(s.bytes + CHUNK_SIZE, chunk, sizeof chunk);
	vf_expect(s.f, s.bytes, s.len);
	vf_expect(f, s.bytes, s.len);
	assert_int_equal(rekey(&s), 0);
	vf_expect(f, s.bytes, s.len);
	assert_int_equal(rekey(&s), 0);
	assert_int_equal(vfile_key(f, theirs), 0);
	assert_int_equal(vfile_key(s.f, mine), 0);
	assert_memory_equal(mine, theirs, sizeof mine);
	vfile_close(f);
	fx->vault->shared = false;
	subject_fini(&s);
	vault_close(second);
}

static void test_rekey__other_mounts_finish_what_one_died_of(void **state)
{
	struct fixture *fx = *state;
	struct vault *second = second_mount(fx);
	static uint8_t chunk[CHUNK_SIZE];
	struct subject s;

	memset(chunk, 'w', sizeof chunk);
	fx->vault->shared = true;
	for (int n = 0;; n++) {
		struct vfile *f, *fresh = NULL;
		int result;
		bool died;

		subject_init(fx, &s, SMALL);
		f = vf_open(fx, second, s.plain);
		died = crash_child(n, rekey_afresh, &s, &result);
		if (n % 3 == 0) {
			/* Who opened it before, and writes. */
			assert_int_equal(
				vf_put(f, chunk, sizeof chunk, CHUNK_SIZE), 0);
			memcpy(s.bytes + CHUNK_SIZE, chunk, sizeof chunk);
			vf_expect(f, s.bytes, s.len);
		} else if (n % 3 == 1) {
			vf_expect(f, s.bytes, s.len);
		} else {
			/* Who sees it for the first time. */
			int fd = vf_backing_fd(fx, s.plain);

			assert_int_equal(vfile_open(second, fd, true, &fresh),
					 0);
			vf_expect(fresh, s.bytes, s.len);
			vfile_close(fresh);
		}
		assert_int_equal(vault_rekey_finish(fx->vault), 0);
		assert_int_equal(redo_count(fx), 0);
		vf_expect(f, s.bytes, s.len);
		vf_expect(s.f, s.bytes, s.len);
		vfile_close(f);
		subject_fini(&s);
		if (!died)
			break;
	}
	fx->vault->shared = false;
	vault_close(second);
}

struct user {
	struct vfile *f;
	const uint8_t *bytes;
	size_t len;
	atomic_bool stop;
};

static void *use(void *arg)
{
	struct user *u = arg;
	uint8_t buf[3 * CHUNK_SIZE];
	uint64_t rng = 5, bad;

	while (!u->stop) {
		size_t at = vf_random(&rng) % (u->len - sizeof buf);
		const struct vfile_write w = {.data = u->bytes + at,
					      .len = 2 * CHUNK_SIZE,
					      .offset = at};

		if (vf_get(u->f, buf, sizeof buf, at, NULL) !=
			    (ssize_t)sizeof buf ||
		    memcmp(buf, u->bytes + at, sizeof buf) != 0)
			return "read something else";
		if (vfile_write(u->f, vf_ws(), &w, &bad))
			return "cannot write";
	}
	return NULL;
}

static void test_rekey__readers_and_writers_wait(void **state)
{
	struct fixture *fx = *state;
	pthread_t threads[3];
	struct subject s;
	struct user u = {0};
	void *complaint;

	subject_init(fx, &s, CHUNKS);
	u.f = s.f;
	u.bytes = s.bytes;
	u.len = s.len;
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use, &u), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(rekey(&s), 0);
	u.stop = true;
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], &complaint);
		assert_null(complaint);
	}
	vf_expect(s.f, s.bytes, s.len);
	subject_fini(&s);
}

static void test_rekey__grants_end_with_the_old_key(void **state)
{
	struct fixture *fx = *state;
	struct vfile_grant grant = {0};
	struct subject s;
	struct vfile *f;
	uint8_t buf[8];
	int fd;

	subject_init(fx, &s, SMALL);
	memcpy(grant.file_id, vfile_id(s.f), FILE_ID_LEN);
	memcpy(grant.key, s.key, sizeof grant.key);
	fd = vf_backing_fd(fx, s.plain);
	assert_int_equal(vfile_open_granted(fx->vault, fd, &grant, &f), 0);
	vf_expect(f, s.bytes, s.len);
	vfile_header_digest(f, grant.header_digest);
	assert_int_equal(rekey(&s), 0);
	assert_int_equal(vf_get(f, buf, 8, 0, NULL), -EKEYREVOKED);
	vfile_close(f);
	fd = vf_backing_fd(fx, s.plain);
	assert_int_equal(vfile_open_granted(fx->vault, fd, &grant, &f),
			 -EKEYREVOKED);
	close(fd);
	subject_fini(&s);
}

#define TEST(name) cmocka_unit_test(test_rekey__##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_stays_but_the_key),
		TEST(a_file_is_not_born_before_it_was_made),
		TEST(damage_is_not_made_good),
		TEST(a_crash_anywhere_is_finished),
		TEST(the_journal_has_a_durable_name),
		TEST(the_disk_gets_the_header_by_itself),
		TEST(a_crash_while_finishing_is_finished),
		TEST(no_room_leaves_the_old_file),
		TEST(a_full_file_system_keeps_the_old_file),
		TEST(no_room_for_good_loses_nothing),
		TEST(altered_redo_files_are_refused),
		TEST(cut_and_empty_redo_files_are_dropped),
		TEST(an_altered_chunk_costs_itself_only),
		TEST(old_and_foreign_redo_files_do_nothing),
		TEST(what_changed_since_keeps_its_key),
		TEST(a_moved_file_is_found),
		TEST(an_orphan_takes_its_redo_file_along),
		TEST(read_only_files_are_finished),
		TEST(a_living_one_is_left_alone),
		TEST(other_mounts_take_the_new_key),
		TEST(other_mounts_finish_what_one_died_of),
		TEST(readers_and_writers_wait),
		TEST(grants_end_with_the_old_key),
	};
	int skip = vf_init();

	return skip ? skip
		    : cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
