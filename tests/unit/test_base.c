#include "bytes.h"
#include "log.h"
#include "plain.h"
#include "random.h"
#include "secret.h"
#include "text.h"
#include "xio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

ssize_t __real_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);

/* A file system that moves a byte at a time, and every other time none, for a
 * signal came. */
static bool faltering;
static unsigned falters;

static bool falter(size_t *len)
{
	if (!faltering)
		return false;
	*len = *len > 0;
	errno = EINTR;
	return falters++ % 2 == 0;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	return falter(&len) ? -1 : __real_pread64(fd, buf, len, offset);
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
	return falter(&len) ? -1 : __real_pwrite64(fd, buf, len, offset);
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	return falter(&len) ? -1 : __real_write(fd, buf, len);
}

static char folder[] = "/tmp/frond-base-XXXXXX";
static int dirfd_of_folder = -1;

static int set_up(void **state)
{
	(void)state;
	if (sodium_init() < 0 || !mkdtemp(folder))
		return -1;
	dirfd_of_folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_of_folder < 0;
}

/* Empties the folder; how many entries there were. */
static size_t clear_folder(void)
{
	CLEANUP_DIR DIR *dir = opendir(folder);
	size_t n = 0;

	assert_non_null(dir);
	for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		n++;
		if (unlinkat(dirfd_of_folder, e->d_name, 0) < 0)
			assert_int_equal(unlinkat(dirfd_of_folder, e->d_name,
						  AT_REMOVEDIR),
					 0);
	}
	return n;
}

static int tear_down(void **state)
{
	(void)state;
	clear_folder();
	close(dirfd_of_folder);
	return rmdir(folder);
}

static void test_bytes__integers_are_big_endian(void **state)
{
	uint8_t b[8];

	(void)state;
	be64_store(b, UINT64_C(0x0102030405060708));
	assert_memory_equal(b, "\1\2\3\4\5\6\7\10", 8);
	assert_true(be64_load(b) == UINT64_C(0x0102030405060708));
	be16_store(b, 0xfffe);
	assert_memory_equal(b, "\xff\xfe", 2);
	assert_int_equal(be16_load(b), 0xfffe);
}

static void test_bytes__all_zero_sees_each_byte(void **state)
{
	uint8_t b[70] = {0};

	(void)state;
	assert_true(bytes_all_zero(b, 0));
	assert_true(bytes_all_zero(b, sizeof b));
	for (size_t i = 0; i < sizeof b; i++) {
		b[i] = 1;
		assert_false(bytes_all_zero(b, sizeof b));
		assert_true(bytes_all_zero(b, i));
		b[i] = 0;
	}
}

static void test_text__base64url_known_answers(void **state)
{
	static const struct {
		const char *bytes, *text, *padded;
	} known[] = {
		{"", "", ""},
		{"f", "Zg", "Zg=="},
		{"fo", "Zm8", "Zm8="},
		{"foo", "Zm9v", "Zm9v"},
		{"\xfb\xff\xfe", "-__-", "-__-"},
	};
	char text[16];
	uint8_t back[8];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		const uint8_t *bytes = (const uint8_t *)known[i].bytes;
		size_t n = strlen(known[i].bytes);

		base64url_encode(bytes, n, text);
		assert_string_equal(text, known[i].text);
		assert_int_equal(strlen(text), BASE64URL_LEN(n));
		base64url_encode_padded(bytes, n, text);
		assert_string_equal(text, known[i].padded);
		assert_int_equal(strlen(text), BASE64URL_PADDED_LEN(n));
		assert_int_equal(base64url_decode(known[i].text,
						  strlen(known[i].text), back,
						  sizeof back, &len),
				 0);
		assert_int_equal(len, n);
		assert_memory_equal(back, bytes, n);
		assert_int_equal(
			base64url_decode_padded(known[i].padded,
						strlen(known[i].padded), back,
						sizeof back, &len),
			0);
		assert_int_equal(len, n);
		assert_memory_equal(back, bytes, n);
	}
}

static void test_text__base64url_has_one_spelling(void **state)
{
	static const char *const bad[] = {
		"Zh",	"Zm9",	  "Z",	 "Zg==", "Zm8=",  "+__-",	 "-_/-",
		"Zm 8", "Zm9v\n", "Zg=", "=",	 "Zm9v=", "\xff\xa0\x38"};
	static const char *const bad_padded[] = {
		"Zg",	    "Zg=", "Zm8",  "Zh==", "Zg===",  "Zm9v====",
		"Zm8=Zm8=", "=",   "Z===", "+__-", "Zm9v\n", "Zg ==",
	};
	uint8_t back[16] = {9};
	size_t len = 99;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(base64url_decode(bad[i], strlen(bad[i]), back,
						  sizeof back, &len),
				 -EINVAL);
	for (size_t i = 0; i < sizeof bad_padded / sizeof *bad_padded; i++)
		assert_int_equal(base64url_decode_padded(
					 bad_padded[i], strlen(bad_padded[i]),
					 back, sizeof back, &len),
				 -EINVAL);
	assert_int_equal(base64url_decode("Zm9v", 4, back, 2, &len), -EINVAL);
	assert_int_equal(base64url_decode("Zm\0v", 4, back, sizeof back, &len),
			 -EINVAL);
	assert_int_equal(len, 99);
}

static void test_text__hex_is_lower_case_and_exact(void **state)
{
	static const char *const bad[] = {"00f",   "00fF", "00fg",  "00 f",
					  "00ff0", "0:ff", "00f\n", ""};
	uint8_t b[2];
	char text[5];

	(void)state;
	assert_int_equal(hex_decode("0af9", 4, b, 2), 0);
	assert_memory_equal(b, "\x0a\xf9", 2);
	hex_encode(b, 2, text);
	assert_string_equal(text, "0af9");
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(hex_decode(bad[i], strlen(bad[i]), b, 2),
				 -EINVAL);
}

static const char hostile[] = "a\nb\x1b[2J\xc2\x9b\xff\xe2\x80\xae\xc3\xbc";
#define SHOWN "a\\012b\\033[2J\\302\\233\\377\\342\\200\\256\xc3\xbc"

static void test_plain__shows_what_would_command_a_terminal(void **state)
{
	char out[PLAIN_ROOM(sizeof hostile)];

	(void)state;
	plain_copy(out, hostile);
	assert_string_equal(out, SHOWN);
	plain_copy(out, "");
	assert_string_equal(out, "");
}

/* What a child's log_at() says of a name, with its standard error. */
static void log_in_child(bool in_file, char *said, size_t room)
{
	int ends[2], status;
	ssize_t n;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (in_file)
			log_to_file(ends[1], "me");
		else
			dup2(ends[1], STDERR_FILENO);
		log_error("%s: damaged", hostile);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	n = read(ends[0], said, room - 1);
	assert_true(n > 0);
	said[n] = '\0';
	close(ends[0]);
	close(ends[1]);
}

static void test_log__a_name_stays_in_its_line(void **state)
{
	enum { TIME_LEN = sizeof "2026-11-22T09:00:00Z" - 1 };
	char said[256];

	(void)state;
	log_in_child(false, said, sizeof said);
	assert_string_equal(said, "frondfs: " SHOWN ": damaged\n");
	log_in_child(true, said, sizeof said);
	assert_true(strlen(said) > TIME_LEN);
	assert_string_equal(said + TIME_LEN, " me: " SHOWN ": damaged\n");
}

static void test_secret_alloc__is_zeroed_and_separate(void **state)
{
	CLEANUP_SECRET uint8_t *a = secret_alloc(100);
	CLEANUP_SECRET uint8_t *b = secret_alloc(100);

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	assert_true(bytes_all_zero(a, 100));
	memset(a, 1, 100);
	assert_true(bytes_all_zero(b, 100));
	secret_free(NULL);
}

static void test_secret_pool__gives_each_slot_once(void **state)
{
	enum { SLOTS = 50, BYTES = 100, ROOM = 128 };
	struct secret_pool *pool;
	uint8_t *slot[SLOTS];

	(void)state;
	assert_int_equal(secret_pool_new(BYTES, SLOTS, &pool), 0);
	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < SLOTS; i++) {
			slot[i] = secret_pool_get(pool);
			assert_non_null(slot[i]);
			assert_int_equal((uintptr_t)slot[i] % 64, 0);
			memset(slot[i], (int)i + 1, ROOM);
		}
		assert_null(secret_pool_get(pool));
		for (size_t i = 0; i < SLOTS; i++)
			for (size_t j = 0; j < ROOM; j++)
				assert_int_equal(slot[i][j], i + 1);
		for (size_t i = 0; i < SLOTS; i++)
			secret_pool_put(pool, slot[(i * 7) % SLOTS]);
	}
	secret_pool_put(pool, NULL);
	secret_pool_free(pool);
	secret_pool_free(NULL);
}

static void test_secret_pool__wipes_what_is_put_back(void **state)
{
	struct secret_pool *pool;
	uint8_t *slot;

	(void)state;
	assert_int_equal(secret_pool_new(192, 1, &pool), 0);
	slot = secret_pool_get(pool);
	memset(slot, 0xaa, 192);
	secret_pool_put(pool, slot);
	/* The list's pointer may stand in front. */
	assert_true(
		bytes_all_zero(slot + sizeof(void *), 192 - sizeof(void *)));
	secret_pool_free(pool);
}

static void test_xio__pread_and_pwrite_move_all_or_say_why(void **state)
{
	CLEANUP_FD int fd =
		openat(dirfd_of_folder, "f",
		       O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char buf[8];

	(void)state;
	assert_int_equal(xio_pwrite(fd, "frond", 5, 3), 0);
	assert_int_equal(xio_pread(fd, buf, 8, 0), 0);
	assert_memory_equal(buf, "\0\0\0frond", 8);
	assert_int_equal(xio_pread(fd, buf, 6, 3), -ENODATA);
	assert_int_equal(xio_pread(fd, buf, 1, 8), -ENODATA);
	assert_int_equal(xio_pread(fd, buf, 0, 100), 0);
	assert_int_equal(xio_write(fd, "leaf", 4), 0);
	assert_int_equal(xio_pread(fd, buf, 8, 0), 0);
	assert_memory_equal(buf, "leaffron", 4);
	assert_int_equal(xio_pread(-1, buf, 1, 0), -EBADF);
	assert_int_equal(xio_pwrite(-1, buf, 1, 0), -EBADF);
	assert_int_equal(xio_write(-1, buf, 1), -EBADF);
	clear_folder();
}

static void test_xio__goes_on_after_signals_and_short_calls(void **state)
{
	CLEANUP_FD int fd =
		openat(dirfd_of_folder, "f",
		       O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char buf[8] = "";
	int written, placed, got;

	(void)state;
	faltering = true;
	written = xio_write(fd, "leaves", 6);
	placed = xio_pwrite(fd, "frond", 5, 3);
	got = xio_pread(fd, buf, 8, 0);
	faltering = false;
	assert_int_equal(written, 0);
	assert_int_equal(placed, 0);
	assert_int_equal(got, 0);
	assert_memory_equal(buf, "leafrond", 8);
	assert_int_equal(falters, 2 * (6 + 5 + 8));
	clear_folder();
}

static void test_xio__replace_file_leaves_one_whole_file(void **state)
{
	struct stat st;
	char buf[32];
	size_t len = 0;

	(void)state;
	assert_int_equal(
		xio_replace_file(dirfd_of_folder, "v", "first one", 9, 0600),
		0);
	assert_int_equal(
		xio_replace_file(dirfd_of_folder, "v", "next", 4, 0600), 0);
	assert_int_equal(
		xio_read_file(dirfd_of_folder, "v", buf, sizeof buf, &len), 0);
	assert_int_equal(len, 4);
	assert_memory_equal(buf, "next", 4);
	assert_int_equal(fstatat(dirfd_of_folder, "v", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(clear_folder(), 1);
}

static void test_xio__replace_file_cleans_up_when_it_fails(void **state)
{
	(void)state;
	assert_int_equal(mkdirat(dirfd_of_folder, "taken", 0700), 0);
	assert_int_equal(
		xio_replace_file(dirfd_of_folder, "taken", "x", 1, 0600),
		-EISDIR);
	assert_int_equal(xio_replace_file(-1, "x", "x", 1, 0600), -EBADF);
	assert_int_equal(clear_folder(), 1);
}

static void test_xio__read_file_refuses_what_it_must(void **state)
{
	char buf[8] = "before";
	size_t len = 77;

	(void)state;
	assert_int_equal(
		xio_replace_file(dirfd_of_folder, "f", "123456789", 9, 0600),
		0);
	assert_int_equal(symlinkat("f", dirfd_of_folder, "link"), 0);
	assert_int_equal(mkfifoat(dirfd_of_folder, "fifo", 0600), 0);
	assert_int_equal(xio_read_file(dirfd_of_folder, "f", buf, 8, &len),
			 -EFBIG);
	assert_int_equal(xio_read_file(dirfd_of_folder, "link", buf, 8, &len),
			 -ELOOP);
	assert_int_equal(xio_read_file(dirfd_of_folder, "fifo", buf, 8, &len),
			 -EINVAL);
	assert_int_equal(xio_read_file(dirfd_of_folder, "none", buf, 8, &len),
			 -ENOENT);
	assert_string_equal(buf, "before");
	assert_int_equal(len, 77);
	clear_folder();
}

static void test_xio__temp_names_are_new_each_time(void **state)
{
	char a[40], b[40];

	(void)state;
	xio_temp_name(".tmp-", a, sizeof a);
	xio_temp_name(".tmp-", b, sizeof b);
	assert_int_equal(strlen(a), 5 + 24);
	assert_memory_equal(a, ".tmp-", 5);
	assert_string_not_equal(a, b);
	assert_true(xio_is_temp_name(".tmp-", a));
	assert_false(xio_is_temp_name(".tmq-", a));
	assert_false(xio_is_temp_name(".tmp", a));
	a[9] = 'g';
	assert_false(xio_is_temp_name(".tmp-", a));
	strcat(b, "0");
	assert_false(xio_is_temp_name(".tmp-", b));
	b[28] = '\0';
	assert_false(xio_is_temp_name(".tmp-", b));
}

enum { DRAWS = 4000, DRAW_LEN = 16 };

static int compare_draws(const void *a, const void *b)
{
	return memcmp(a, b, DRAW_LEN);
}

static void assert_all_differ(uint8_t (*draws)[DRAW_LEN], size_t n)
{
	qsort(draws, n, DRAW_LEN, compare_draws);
	for (size_t i = 1; i < n; i++)
		assert_memory_not_equal(draws[i - 1], draws[i], DRAW_LEN);
}

static void *draw_many(void *arg)
{
	uint8_t(*draws)[DRAW_LEN] = arg;

	for (size_t i = 0; i < DRAWS; i++)
		random_bytes(draws[i], DRAW_LEN);
	return NULL;
}

static void test_random_bytes__never_come_twice(void **state)
{
	static uint8_t draws[2 * DRAWS][DRAW_LEN];
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, draw_many, draws), 0);
	draw_many(draws + DRAWS);
	pthread_join(thread, NULL);
	assert_all_differ(draws, 2 * DRAWS);
}

static void test_random_bytes__fill_all_that_is_asked_for(void **state)
{
	static uint8_t buf[3 * 65536];

	(void)state;
	for (size_t len = 0; len < sizeof buf - 1; len = 3 * len + 1) {
		size_t zeros = 0;

		memset(buf, 0, sizeof buf);
		random_bytes(buf, len);
		for (size_t i = 0; i < len; i++)
			zeros += buf[i] == 0;
		assert_true(zeros <= 4 + len / 64);
		assert_true(bytes_all_zero(buf + len, sizeof buf - len));
	}
}

static void test_random_bytes__differ_after_a_fork(void **state)
{
	uint8_t draws[3 * 2][DRAW_LEN];
	int fds[2], status;
	pid_t pid;

	(void)state;
	random_bytes(draws[0], DRAW_LEN);
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		for (size_t i = 0; i < 3; i++)
			random_bytes(draws[i], DRAW_LEN);
		_exit(write(fds[1], draws, 3 * DRAW_LEN) != 3 * DRAW_LEN);
	}
	for (size_t i = 0; i < 3; i++)
		random_bytes(draws[i], DRAW_LEN);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	for (size_t i = 3; i < 6; i++)
		assert_int_equal(read(fds[0], draws[i], DRAW_LEN), DRAW_LEN);
	close(fds[0]);
	close(fds[1]);
	assert_all_differ(draws, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_bytes__never_come_twice),
		cmocka_unit_test(test_random_bytes__fill_all_that_is_asked_for),
		cmocka_unit_test(test_random_bytes__differ_after_a_fork),
		cmocka_unit_test(test_bytes__integers_are_big_endian),
		cmocka_unit_test(test_bytes__all_zero_sees_each_byte),
		cmocka_unit_test(test_text__base64url_known_answers),
		cmocka_unit_test(test_text__base64url_has_one_spelling),
		cmocka_unit_test(test_text__hex_is_lower_case_and_exact),
		cmocka_unit_test(
			test_plain__shows_what_would_command_a_terminal),
		cmocka_unit_test(test_log__a_name_stays_in_its_line),
		cmocka_unit_test(test_secret_alloc__is_zeroed_and_separate),
		cmocka_unit_test(test_secret_pool__gives_each_slot_once),
		cmocka_unit_test(test_secret_pool__wipes_what_is_put_back),
		cmocka_unit_test(
			test_xio__pread_and_pwrite_move_all_or_say_why),
		cmocka_unit_test(
			test_xio__goes_on_after_signals_and_short_calls),
		cmocka_unit_test(test_xio__replace_file_leaves_one_whole_file),
		cmocka_unit_test(
			test_xio__replace_file_cleans_up_when_it_fails),
		cmocka_unit_test(test_xio__read_file_refuses_what_it_must),
		cmocka_unit_test(test_xio__temp_names_are_new_each_time),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
