#include "memory_fixture.h"

#include "bytes.h"

static int open_db(const struct fixture *fx, int flags)
{
	char path[300];
	int fd;

	db_path(fx, path, sizeof path);
	fd = open(path, flags);
	assert_true(fd >= 0);
	return fd;
}

static void test_file_mode__is_nobody_elses(void **state)
{
	const struct fixture *fx = *state;
	char path[300], journal[320];
	struct stat st;

	memory_close(fx->vault);
	db_path(fx, path, sizeof path);
	snprintf(journal, sizeof journal, "%s-journal", path);
	assert_int_equal(unlink(path), 0);
	umask(0);
	assert_int_equal(memory_open(fx->vault, false), 0);
	umask(022);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(journal, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void fill(const struct fixture *fx)
{
	uint8_t id[FILE_ID_LEN];

	for (unsigned n = 0; n < 300; n++) {
		id_of(n, id);
		stored(fx, id, 0, AGES_END, 1000 + n);
	}
	memory_place_left(fx->vault, &place, NULL);
	memory_close(fx->vault);
}

/* How many are known, and each for what it was. */
static unsigned look(const struct fixture *fx)
{
	uint8_t id[FILE_ID_LEN];
	unsigned count = 0;

	for (unsigned n = 0; n < 300; n++) {
		uint64_t sealed_s;

		id_of(n, id);
		sealed_s = known(fx, id, 0);
		assert_true(sealed_s == 0 || sealed_s == 1000 + n);
		count += sealed_s > 0;
	}
	return count;
}

static bool is_in_order(const struct fixture *fx)
{
	sqlite3_stmt *s;
	bool is;

	assert_int_equal(sqlite3_prepare_v2(fx->vault->memory->db,
					    "PRAGMA integrity_check(1)", -1, &s,
					    NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(s), SQLITE_ROW);
	is = strcmp((const char *)sqlite3_column_text(s, 0), "ok") == 0;
	sqlite3_finalize(s);
	return is;
}

/*
 * Whatever it is like: it opens, and what is kept then is there. A key that
 * became another one, out of order, may hide those around it.
 */
static unsigned open_damaged(const struct fixture *fx)
{
	uint64_t sealed_s;
	unsigned count;
	int err = memory_open(fx->vault, false);

	assert_true(err == 0 || err == -EBADMSG);
	count = look(fx);
	(void)memory_place_is_old(fx->vault, &place, 7, NULL);
	stored(fx, id_a, 0, AGES_END, 5);
	keep(fx);
	crash(fx);
	sealed_s = known(fx, id_a, 0);
	assert_true(sealed_s == 5 || (sealed_s == 0 && !is_in_order(fx)));
	return count;
}

enum { FILE_MAX = 1 << 17 };

static size_t load_db(const struct fixture *fx, uint8_t *bytes)
{
	int fd = open_db(fx, O_RDONLY);
	ssize_t len = read(fd, bytes, FILE_MAX);

	assert_true(len > 8192 && len < FILE_MAX);
	close(fd);
	return (size_t)len;
}

static void store_db(const struct fixture *fx, const uint8_t *bytes, size_t len)
{
	int fd = open_db(fx, O_WRONLY | O_TRUNC);

	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static void test_damage__flipped_anywhere(void **state)
{
	const struct fixture *fx = *state;
	uint8_t *whole = malloc(FILE_MAX), *bytes = malloc(FILE_MAX);
	unsigned least = 300;
	size_t len;

	fill(fx);
	len = load_db(fx, whole);
	for (size_t at = 0; at < len; at += at < 512 ? 7 : 331) {
		unsigned count;

		memcpy(bytes, whole, len);
		for (size_t i = at; i < at + 4 && i < len; i++)
			bytes[i] ^= 0xa5;
		store_db(fx, bytes, len);
		count = open_damaged(fx);
		least = count < least ? count : least;
		memory_close(fx->vault);
	}
	/* and it was noticed */
	assert_int_equal(least, 0);
	store_db(fx, whole, len);
	assert_int_equal(memory_open(fx->vault, false), 0);
	assert_int_equal(look(fx), 300);
	free(whole);
	free(bytes);
}

static void test_damage__cut_anywhere(void **state)
{
	const struct fixture *fx = *state;
	uint8_t *whole = malloc(FILE_MAX);
	size_t len;

	fill(fx);
	len = load_db(fx, whole);
	for (size_t cut = 0; cut < len; cut += cut < 200 ? 9 : 1021) {
		store_db(fx, whole, cut);
		assert_true(open_damaged(fx) < 300);
		memory_close(fx->vault);
	}
	assert_int_equal(memory_open(fx->vault, false), 0);
	free(whole);
}

static void test_damage__of_another_kind_or_version(void **state)
{
	static const char *const changes[] = {
		"PRAGMA user_version = 2",
		"PRAGMA user_version = 0",
		"DROP TABLE files",
		"DROP TABLE places",
		"ALTER TABLE files RENAME COLUMN value TO others",
	};
	const struct fixture *fx = *state;
	char path[300];
	sqlite3 *db;

	db_path(fx, path, sizeof path);
	memory_close(fx->vault);
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
		assert_int_equal(sqlite3_exec(db, changes[i], NULL, NULL, NULL),
				 SQLITE_OK);
		sqlite3_close(db);
		assert_int_equal(memory_open(fx->vault, false), -EBADMSG);
		stored(fx, id_a, 0, AGES_END, 5);
		keep(fx);
		crash(fx);
		assert_int_equal(known(fx, id_a, 0), 5);
		memory_close(fx->vault);
	}
	assert_int_equal(memory_open(fx->vault, false), 0);
}

/* While it is open. */
static void test_damage__is_found_when_something_is_kept(void **state)
{
	const struct fixture *fx = *state;
	uint8_t id[FILE_ID_LEN];
	int fd;

	for (unsigned n = 0; n < 2000; n++) {
		id_of(n, id);
		stored(fx, id, 0, AGES_END, 1000);
	}
	reopen(fx, false);
	fd = open_db(fx, O_WRONLY);
	for (off_t at = 4096; at < 20 * 4096; at += 4096)
		assert_int_equal(pwrite(fd, "garbage", 7, at), 7);
	for (unsigned n = 0; n < 2000; n++) {
		id_of(n, id);
		stored(fx, id, 0, AGES_END, 2000);
	}
	keep(fx);
	assert_false(memory_has_news(fx->vault));
	crash(fx);
	for (unsigned n = 0; n < 2000; n++) {
		id_of(n, id);
		assert_int_equal(known(fx, id, 0), 2000);
	}
	close(fd);
}

static void test_damage__a_row_that_was_changed_is_none(void **state)
{
	const struct fixture *fx = *state;

	stored(fx, id_a, 0, AGES_END, 1000);
	keep(fx);
	assert_int_equal(sqlite3_exec(fx->vault->memory->db,
				      "UPDATE files SET value = "
				      "CAST(substr(value, 1, 17) || x'07' || "
				      "substr(value, 19) AS BLOB)",
				      NULL, NULL, NULL),
			 0);
	assert_true(is_fine(fx, id_a, 0, 7));
	assert_int_equal(known(fx, id_a, 0), 7);
}

/* Nor is it of use under another's key. */
static void test_damage__a_row_of_another_file_is_none(void **state)
{
	const struct fixture *fx = *state;
	uint8_t row_a[MEMORY_KEY_LEN], row_b[MEMORY_KEY_LEN];
	sqlite3_stmt *s;

	stored(fx, id_a, 0, AGES_END, 1000);
	keep(fx);
	memory_row_file_(fx->vault->memory->keys, id_a, row_a);
	memory_row_file_(fx->vault->memory->keys, id_b, row_b);
	assert_int_equal(
		sqlite3_prepare_v2(fx->vault->memory->db,
				   "UPDATE files SET key = ?1 WHERE key = ?2",
				   -1, &s, NULL),
		SQLITE_OK);
	sqlite3_bind_blob(s, 1, row_b, MEMORY_KEY_LEN, SQLITE_STATIC);
	sqlite3_bind_blob(s, 2, row_a, MEMORY_KEY_LEN, SQLITE_STATIC);
	assert_int_equal(sqlite3_step(s), SQLITE_DONE);
	assert_int_equal(sqlite3_changes(fx->vault->memory->db), 1);
	sqlite3_finalize(s);
	assert_true(is_fine(fx, id_b, 0, 7));
}

/* Who has no key can neither find a row nor make one. */
static void test_keys__all_depends_on_them(void **state)
{
	const struct fixture *fx = *state;
	struct memory_keys a = *fx->vault->memory->keys, b;
	uint8_t rows[2][3][MEMORY_KEY_LEN], macs[2][MEMORY_MAC_LEN];

	fx->vault->keys->master[0] ^= 1;
	memory_keys_derive_(fx->vault, &b);
	fx->vault->keys->master[0] ^= 1;
	assert_memory_not_equal(a.rows, b.rows, sizeof a.rows);
	assert_memory_not_equal(a.macs, b.macs, sizeof a.macs);
	assert_memory_not_equal(a.rows, a.macs, sizeof a.rows);
	b = a;
	b.rows[sizeof b.rows - 1] ^= 1;
	b.macs[sizeof b.macs - 1] ^= 1;
	for (int i = 0; i < 2; i++) {
		const struct memory_keys *keys = i ? &b : &a;

		memory_row_file_(keys, id_a, rows[i][0]);
		memory_row_place_(keys, &place, rows[i][1]);
		memory_row_time_(keys, rows[i][2]);
		memory_mac_(keys, rows[0][0], id_a, sizeof id_a, macs[i]);
	}
	for (int i = 0; i < 3; i++)
		assert_memory_not_equal(rows[0][i], rows[1][i], MEMORY_KEY_LEN);
	assert_memory_not_equal(macs[0], macs[1], MEMORY_MAC_LEN);
}

/* Of a file whose id is a directory's, say, nothing is a place's. */
static void test_keys__each_kind_has_rows_of_its_own(void **state)
{
	const struct fixture *fx = *state;
	const struct memory_keys *keys = fx->vault->memory->keys;
	const struct memory_place nameless = {id_a, ""};
	uint8_t file[MEMORY_KEY_LEN], other[MEMORY_KEY_LEN];

	memory_row_file_(keys, id_a, file);
	memory_row_place_(keys, &nameless, other);
	assert_memory_not_equal(file, other, sizeof file);
}

/* A value that is no longer than its MAC, or longer than any. */
static void test_value__of_no_such_length(void **state)
{
	const struct fixture *fx = *state;
	const struct memory_keys *keys = fx->vault->memory->keys;
	uint8_t row[MEMORY_KEY_LEN] = {1};
	uint8_t *value = calloc(1, MEMORY_VALUE_MAX + 1);
	size_t len = MEMORY_VALUE_MAX - MEMORY_MAC_LEN, body_len;

	assert_non_null(value);
	for (int i = 0; i < 2; i++, len++) {
		memory_mac_(keys, row, value, len, value + len);
		assert_int_equal(memory_value_open_(keys, row, value,
						    len + MEMORY_MAC_LEN,
						    &body_len),
				 i ? -EBADMSG : 0);
	}
	free(value);
	/* to the byte, for whoever watches what is read */
	for (len = 0; len < MEMORY_MAC_LEN; len++) {
		value = calloc(1, len + 1);
		assert_non_null(value);
		assert_int_equal(
			memory_value_open_(keys, row, value, len, &body_len),
			-EBADMSG);
		free(value);
	}
}

/* What nobody has written, whoever has sealed it. */
static void test_value__that_says_nothing(void **state)
{
	static const struct {
		size_t len;
		uint16_t count;
		uint64_t runs[2][2];
		int err;
	} files[] = {
		{34, 2, {{1, 5}, {2, 6}}, 0},
		{18, 2, {{1, 5}, {2, 6}}, -EBADMSG},
		{33, 2, {{1, 5}, {2, 6}}, -EBADMSG},
		{35, 2, {{1, 5}, {2, 6}}, -EBADMSG},
		{2, 0, {{0}}, -EBADMSG},
		{1, 0, {{0}}, -EBADMSG},
		{34, 2, {{2, 5}, {1, 6}}, -EBADMSG},
		{34, 2, {{1, 5}, {1, 6}}, -EBADMSG},
		{34, 2, {{1, 5}, {2, 5}}, -EBADMSG},
		{34, 2, {{1, 0}, {2, 5}}, -EBADMSG},
	};
	const size_t half = MEMORY_LEFT_LEN - DIRID_LEN;
	uint8_t body[40] = {0};
	struct memory_left left;

	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		struct memory_file mf = {0};

		be16_store(body, files[i].count);
		for (size_t n = 0; n < 4; n++)
			be64_store(body + 2 + 8 * n,
				   files[i].runs[n / 2][n % 2]);
		assert_int_equal(memory_file_parse_(body, files[i].len, &mf),
				 files[i].err);
		ages_fini(&mf.ages);
	}
	be64_store(body, 5);
	for (size_t len = 0; len <= MEMORY_LEFT_LEN + 1; len++)
		assert_int_equal(
			memory_left_parse_(body, len, &left),
			len == half || len == MEMORY_LEFT_LEN ? 0 : -EBADMSG);
	be64_store(body, 0);
	assert_int_equal(memory_left_parse_(body, MEMORY_LEFT_LEN, &left),
			 -EBADMSG);
}

static void test_no_place__is_no_reason_not_to_go_on(void **state)
{
	const struct fixture *fx = *state;
	char path[300];
	int err;

	memory_close(fx->vault);
	db_path(fx, path, sizeof path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	err = memory_open(fx->vault, false);
	assert_true(err < 0 && err != -EBUSY && err != -EBADMSG);
	assert_null(fx->vault->memory);
	assert_int_equal(rmdir(path), 0);
	setenv("XDG_STATE_HOME", "/dev/null/nowhere", 1);
	assert_true(memory_open(fx->vault, false) < 0);
	assert_null(fx->vault->memory);
}

static int commits;

static int on_commit(void *arg)
{
	(void)arg;
	commits++;
	return 0;
}

static int is_second(void *arg)
{
	(void)arg;
	return commits > 0;
}

/* Of many rows some are there, and the clock goes back then. */
static void test_keep__half_done_knows_the_newest_time(void **state)
{
	const struct fixture *fx = *state;
	uint64_t ahead_s = vault_now(fx->vault) + 1000;
	uint8_t id[FILE_ID_LEN];
	sqlite3 *db = fx->vault->memory->db;

	vault_pass(fx->vault, ahead_s);
	for (unsigned n = 0; n < 5000; n++) {
		id_of(n, id);
		stored(fx, id, 0, AGES_END, ahead_s);
	}
	memory_mark(fx->vault);
	commits = 0;
	sqlite3_commit_hook(db, on_commit, NULL);
	sqlite3_progress_handler(db, 1, is_second, NULL);
	assert_true(memory_keep(fx->vault) < 0);
	assert_int_equal(commits, 1);
	fx->vault->latest_s = 0;
	crash(fx);
	assert_true(count_rows(fx, "files") > 4000);
	assert_true(vault_now(fx->vault) >= ahead_s);
}

enum { WAIT_S = 20 };

static void lay(const char *path, int kind)
{
	if (kind == 0)
		assert_int_equal(mkfifo(path, 0600), 0);
	else if (kind == 1)
		assert_int_equal(mkdir(path, 0700), 0);
	else
		assert_int_equal(symlink("/dev/zero", path), 0);
}

/* SQLite would wait for a pipe, and write where a link leads. */
static void test_no_place__what_is_no_file_is_not_opened(void **state)
{
	static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};
	const struct fixture *fx = *state;
	char path[300], at[320];

	stored(fx, id_a, 0, AGES_END, 1000);
	memory_close(fx->vault);
	db_path(fx, path, sizeof path);
	snprintf(at, sizeof at, "%s aside", path);
	assert_int_equal(rename(path, at), 0);
	alarm(WAIT_S);
	for (int i = 0; i < 4 * 3; i++) {
		if (i / 3 > 0)
			assert_int_equal(link(at, path), 0);
		snprintf(at, sizeof at, "%s%s", path, suffixes[i / 3]);
		unlink(at);
		lay(at, i % 3);
		assert_int_equal(memory_open(fx->vault, false), -ENOTSUP);
		assert_int_equal(memory_look(fx->vault), -ENOTSUP);
		assert_null(fx->vault->memory);
		assert_int_equal(remove(at), 0);
		unlink(path);
		snprintf(at, sizeof at, "%s aside", path);
	}
	assert_int_equal(rename(at, path), 0);
	assert_int_equal(memory_open(fx->vault, false), 0);
	assert_false(is_fine(fx, id_a, 0, 7));
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file_mode__is_nobody_elses),
		TEST(test_damage__flipped_anywhere),
		TEST(test_damage__cut_anywhere),
		TEST(test_damage__of_another_kind_or_version),
		TEST(test_damage__is_found_when_something_is_kept),
		TEST(test_damage__a_row_that_was_changed_is_none),
		TEST(test_damage__a_row_of_another_file_is_none),
		TEST(test_keep__half_done_knows_the_newest_time),
		TEST(test_keys__all_depends_on_them),
		TEST(test_keys__each_kind_has_rows_of_its_own),
		TEST(test_value__of_no_such_length),
		TEST(test_value__that_says_nothing),
		TEST(test_no_place__is_no_reason_not_to_go_on),
		TEST(test_no_place__what_is_no_file_is_not_opened),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
