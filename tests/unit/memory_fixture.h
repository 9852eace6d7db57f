/* A vault with a memory of its own, for tests of that. */
#ifndef FROND_MEMORY_FIXTURE_H
#define FROND_MEMORY_FIXTURE_H

#include "memory_internal.h"
#include "vault_fixture.h"

#include <stdlib.h>

static const uint8_t id_a[FILE_ID_LEN] = "file id a, sixt",
		     id_b[FILE_ID_LEN] = "file id b, sixt",
		     dir_a[DIRID_LEN] = "a directory's i",
		     dir_b[DIRID_LEN] = "another one's i";
static const struct memory_place place = {dir_a, "entry"},
				 other_place = {dir_a, "another"};

static bool syncfs_fails;
static void (*syncs)(void); /* what happens meanwhile */

int __wrap_syncfs(int fd);
int __wrap_syncfs(int fd)
{
	/* of one that nothing can be read from, it would fail */
	assert_false(fcntl(fd, F_GETFL) & O_PATH);
	if (syncs)
		syncs();
	if (!syncfs_fails)
		return 0;
	errno = EIO;
	return -1;
}

static inline int setup(void **state)
{
	char home[120];
	struct fixture *fx;

	syncfs_fails = false;
	syncs = NULL;
	if (fx_setup(state))
		return -1;
	fx = *state;
	snprintf(home, sizeof home, "%s/state", fx->top);
	if (setenv("XDG_STATE_HOME", home, 1) < 0 || mkdir(home, 0700) < 0)
		return -1;
	return memory_open(fx->vault, false);
}

static inline void db_path(const struct fixture *fx, char *path, size_t size)
{
	char id[2 * VAULT_ID_LEN + 1];

	sodium_bin2hex(id, sizeof id, fx->vault->id, VAULT_ID_LEN);
	snprintf(path, size, "%s/state/frondfs/%s.files", fx->top, id);
}

static inline void keep(const struct fixture *fx)
{
	memory_mark(fx->vault);
	assert_int_equal(memory_keep(fx->vault), 0);
}

static inline void die(const struct fixture *fx)
{
	memory_free_(fx->vault->memory);
	fx->vault->memory = NULL;
}

/* The process dies, and another one comes. */
static inline void crash(const struct fixture *fx)
{
	die(fx);
	assert_int_equal(memory_open(fx->vault, false), 0);
}

static inline void reopen(const struct fixture *fx, bool accept)
{
	memory_close(fx->vault);
	assert_null(fx->vault->memory);
	assert_int_equal(memory_open(fx->vault, accept), 0);
}

static inline void stored(const struct fixture *fx, const uint8_t *id,
			  uint64_t first, uint64_t last, uint64_t sealed_s)
{
	struct memory_file *mf = memory_file_get(fx->vault, id, false);

	assert_non_null(mf);
	memory_file_stored(mf, first, last, sealed_s);
	memory_file_put(fx->vault, mf);
}

static inline bool is_fine(const struct fixture *fx, const uint8_t *id,
			   uint64_t index, uint64_t sealed_s)
{
	struct memory_file *mf = memory_file_get(fx->vault, id, false);
	size_t good;

	assert_non_null(mf);
	good = memory_file_judge(mf, index, 1, &sealed_s);
	memory_file_put(fx->vault, mf);
	return good == 1;
}

static inline uint64_t known(const struct fixture *fx, const uint8_t *id,
			     uint64_t index)
{
	struct memory_file *mf = memory_file_get(fx->vault, id, false);
	uint64_t last, sealed_s;

	assert_non_null(mf);
	sealed_s = ages_at(&mf->ages, index, &last);
	memory_file_put(fx->vault, mf);
	return sealed_s;
}

static inline void id_of(unsigned n, uint8_t id[static FILE_ID_LEN])
{
	crypto_generichash(id, FILE_ID_LEN, (const uint8_t *)&n, sizeof n, NULL,
			   0);
}

static inline int64_t count_rows(const struct fixture *fx, const char *table)
{
	sqlite3_stmt *s;
	char sql[80];
	int64_t n;

	snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table);
	assert_int_equal(
		sqlite3_prepare_v2(fx->vault->memory->db, sql, -1, &s, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_step(s), SQLITE_ROW);
	n = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return n;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fx_teardown)

#endif
