/* Rows in an SQLite database. A damaged one begins anew: it knows less then. */
#include "memory_internal.h"

#include "bytes.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum {
	VERSION = 1,
	TIME_LEN =
		8 + 1, /* the newest time sealed, and if places are in doubt */
};

/* Nobody else has it: cache and lock stay from one use to the next. */
static const char settings[] = "PRAGMA locking_mode = EXCLUSIVE;"
			       "PRAGMA journal_mode = TRUNCATE;"
			       "PRAGMA synchronous = FULL;"
			       "PRAGMA temp_store = MEMORY;"
			       "PRAGMA mmap_size = 0;"
			       "PRAGMA cache_size = -4096;"
			       "BEGIN EXCLUSIVE;";

static const char schema[] =
	"CREATE TABLE files (key BLOB PRIMARY KEY, time INTEGER, value BLOB)"
	" WITHOUT ROWID;"
	"CREATE TABLE places (key BLOB PRIMARY KEY, time INTEGER, value BLOB)"
	" WITHOUT ROWID;"
	"PRAGMA user_version = 1;";

static const char *const statements[MEMORY_TABLES][MEMORY_STATEMENTS] = {
	{"SELECT value FROM files WHERE key = ?1",
	 "INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3)",
	 "DELETE FROM files WHERE key = ?1"},
	{"SELECT value FROM places WHERE key = ?1",
	 "INSERT OR REPLACE INTO places VALUES (?1, ?2, ?3)",
	 "DELETE FROM places WHERE key = ?1"},
};

/* Keys are hashes: those in front are as good a sample as any. */
static const char forget_oldest[] =
	"DELETE FROM files WHERE time <= (SELECT time FROM (SELECT time FROM"
	" files LIMIT 1000) ORDER BY time LIMIT 1 OFFSET 250);"
	"DELETE FROM places WHERE time <= (SELECT time FROM (SELECT time FROM"
	" places LIMIT 1000) ORDER BY time LIMIT 1 OFFSET 250);";

static int to_errno(int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_PERM:
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
		return -EACCES;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_ERROR: /* other tables than ours */
	case SQLITE_MISMATCH:
	case SQLITE_CONSTRAINT:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

static int run(struct memory *m, const char *sql)
{
	return to_errno(sqlite3_exec(m->db, sql, NULL, NULL, NULL));
}

/* The one number that the statement says. */
static int ask(struct memory *m, const char *sql, int64_t *out)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(m->db, sql, -1, &s, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(s);
	*out = code == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
	sqlite3_finalize(s);
	return to_errno(code);
}

static bool is_damage(int err)
{
	return err == -EBADMSG;
}

static sqlite3_stmt *statement(struct memory *m, enum memory_kind kind, int n)
{
	return m->statements[kind == MEMORY_PLACE][n];
}

static bool may_have(const struct memory *m, enum memory_kind kind)
{
	return m->db && !m->damaged &&
	       (kind == MEMORY_TIME || m->has_rows[kind]);
}

/* Its only row, or none. */
static int step(struct memory *m, sqlite3_stmt *s)
{
	int code = sqlite3_step(s), err = to_errno(code);

	if (is_damage(err))
		m->damaged = true;
	return err ? err : code == SQLITE_ROW ? 1 : 0;
}

static void end_step(sqlite3_stmt *s)
{
	(void)sqlite3_reset(s); /* says again what step did */
	(void)sqlite3_clear_bindings(s);
}

int memory_db_find_(struct memory *m, enum memory_kind kind,
		    const uint8_t row[static MEMORY_KEY_LEN],
		    int (*take)(const uint8_t *body, size_t len, void *out),
		    void *out)
{
	sqlite3_stmt *s;
	size_t len;
	int err;

	if (!may_have(m, kind))
		return -ENOENT;
	s = statement(m, kind, MEMORY_FIND);
	err = to_errno(
		sqlite3_bind_blob(s, 1, row, MEMORY_KEY_LEN, SQLITE_STATIC));
	if (!err)
		err = step(m, s);
	if (err > 0) {
		const uint8_t *value = sqlite3_column_blob(s, 0);

		len = (size_t)sqlite3_column_bytes(s, 0);
		err = memory_value_open_(m->keys, row, value, len, &len);
		if (!err)
			err = take(value, len, out);
	} else if (err == 0) {
		err = -ENOENT;
	}
	end_step(s);
	return err;
}

int memory_db_put_(struct memory *m, enum memory_kind kind,
		   const uint8_t row[static MEMORY_KEY_LEN],
		   const uint8_t *body, size_t len)
{
	sqlite3_stmt *s = statement(m, kind, MEMORY_PUT);
	CLEANUP_FREE uint8_t *value = malloc(len + MEMORY_MAC_LEN);
	int err;

	if (!value)
		return -ENOMEM;
	memcpy(value, body, len);
	memory_mac_(m->keys, row, body, len, value + len);
	err = to_errno(
		sqlite3_bind_blob(s, 1, row, MEMORY_KEY_LEN, SQLITE_STATIC));
	if (!err)
		err = to_errno(sqlite3_bind_int64(s, 2, (int64_t)time(NULL)));
	if (!err)
		err = to_errno(sqlite3_bind_blob(s, 3, value,
						 (int)(len + MEMORY_MAC_LEN),
						 SQLITE_STATIC));
	if (!err)
		err = step(m, s);
	end_step(s);
	if (kind != MEMORY_TIME)
		m->has_rows[kind] = true;
	return err;
}

int memory_db_drop_(struct memory *m, enum memory_kind kind,
		    const uint8_t row[static MEMORY_KEY_LEN])
{
	sqlite3_stmt *s;
	int err;

	if (!may_have(m, kind))
		return 0;
	s = statement(m, kind, MEMORY_DROP);
	err = to_errno(
		sqlite3_bind_blob(s, 1, row, MEMORY_KEY_LEN, SQLITE_STATIC));
	if (!err)
		err = step(m, s);
	end_step(s);
	return err;
}

int memory_db_begin_(struct memory *m)
{
	return run(m, "BEGIN IMMEDIATE");
}

int memory_db_end_(struct memory *m, int err)
{
	if (!err)
		err = run(m, "COMMIT");
	if (err && !sqlite3_get_autocommit(m->db))
		(void)!run(m, "ROLLBACK");
	if (is_damage(err))
		m->damaged = true;
	return err;
}

enum doubt { NONE, PLACES, ALL };

struct times {
	uint64_t latest_s;
	enum doubt doubt;
};

static int take_times(const uint8_t *body, size_t len, void *out)
{
	struct times *t = out;

	if (len != TIME_LEN)
		return -EBADMSG;
	t->latest_s = be64_load(body);
	t->doubt = body[8] <= PLACES ? body[8] : ALL;
	return 0;
}

/* Behind the rows' times, what is stored is older than what they say. */
static int write_times(struct memory *m, bool doubt)
{
	uint64_t latest_s = m->vault->latest_s;
	uint8_t row[MEMORY_KEY_LEN], body[TIME_LEN];

	memory_row_time_(m->keys, row);
	be64_store(body, latest_s < m->newest_s ? m->newest_s : latest_s);
	body[8] = m->is_behind ? ALL : doubt ? PLACES : NONE;
	return memory_db_put_(m, MEMORY_TIME, row, body, sizeof body);
}

int memory_db_doubt_(struct memory *m, bool doubt)
{
	int err = write_times(m, doubt);

	if (!err)
		m->doubted = doubt;
	return err;
}

int memory_db_rest_(struct memory *m)
{
	m->is_behind = false;
	return memory_db_doubt_(m, false);
}

int memory_db_forget_places_(struct memory *m)
{
	return run(m, "DELETE FROM places");
}

int memory_db_settle_(struct memory *m)
{
	int64_t pages, unused = 0;
	int err = ask(m, "PRAGMA page_count", &pages);

	if (!err)
		err = ask(m, "PRAGMA freelist_count", &unused);
	if (!err && pages - unused > m->pages_max)
		err = run(m, forget_oldest);
	return err;
}

/*
 * Some process moved things that the rows know nothing of. What this one did
 * without them it knows, and notes yet; but not of what it made when the clock
 * had gone back.
 */
static bool has_missed_some(const struct memory *m, const struct times *t)
{
	return m->went_without ? t->latest_s > m->without_s
			       : memory_home_was_left_out_(m);
}

/* Whoever was the last to have it may have died in between. */
static int take_over(struct memory *m)
{
	struct times t = {.doubt = PLACES};
	uint8_t row[MEMORY_KEY_LEN];
	int64_t rows = 0;
	int err;

	memory_row_time_(m->keys, row);
	err = memory_db_find_(m, MEMORY_TIME, row, take_times, &t);
	if (err && err != -ENOENT && err != -EBADMSG)
		return err;
	if (t.doubt == NONE && has_missed_some(m, &t))
		t.doubt = PLACES;
	if (t.doubt == ALL || m->accept)
		t.latest_s = 0;
	m->newest_s = t.latest_s;
	m->is_behind = t.latest_s > (uint64_t)time(NULL) + MEMORY_AHEAD_MAX_S;
	if (!m->is_behind)
		vault_pass(m->vault, t.latest_s);
	/* what is made by a clock that is behind is older than all of them */
	err = t.doubt || m->accept || m->is_behind ? memory_db_forget_places_(m)
						   : 0;
	if (!err && (t.doubt == ALL || m->accept))
		err = run(m, "DELETE FROM files");
	if (!err)
		err = ask(m, "SELECT EXISTS (SELECT 1 FROM places)", &rows);
	m->has_rows[MEMORY_PLACE] = rows != 0;
	/* one is the times' */
	if (!err)
		err = ask(m,
			  "SELECT count(*) FROM (SELECT 1 FROM files LIMIT"
			  " 2)",
			  &rows);
	m->has_rows[MEMORY_FILE] = rows > 1;
	/* SQLite's own journal is open from now on, whoever writes */
	return err ? err : memory_db_doubt_(m, m->went_without);
}

static int prepare(struct memory *m)
{
	int64_t version, tables;
	int err = run(m, settings);

	if (!err)
		err = ask(m, "PRAGMA user_version", &version);
	if (!err)
		err = ask(m, "SELECT count(*) FROM sqlite_schema", &tables);
	if (!err && version == 0 && tables == 0)
		err = run(m, schema);
	else if (!err && version != VERSION)
		err = -EBADMSG;
	for (int t = 0; t < MEMORY_TABLES && !err; t++)
		for (int n = 0; n < MEMORY_STATEMENTS && !err; n++)
			err = to_errno(
				sqlite3_prepare_v3(m->db, statements[t][n], -1,
						   SQLITE_PREPARE_PERSISTENT,
						   &m->statements[t][n], NULL));
	if (!err)
		err = take_over(m);
	if (!err)
		err = memory_db_end_(m, 0);
	if (err)
		return err;
	memory_home_caught_up_(m);
	m->went_without = false;
	return 0;
}

/* make: where it is not there; else -ENOENT. */
static int open_file(struct memory *m, bool make)
{
	char path[PATH_MAX];
	int err = memory_home_ready_(m, make, path);

	if (err)
		return err;
	m->damaged = m->doubted = false;
	return to_errno(sqlite3_open_v2(
		path, &m->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
		NULL));
}

static int open_alone(struct memory *m)
{
	int err = open_file(m, true);

	if (!err)
		err = prepare(m);
	m->is_open = err == 0;
	return err;
}

/* As it is, and with no lock from one question to the next. */
static int look(struct memory *m)
{
	struct times t = {.doubt = PLACES};
	uint8_t row[MEMORY_KEY_LEN];
	int64_t version = 0;
	int err = ask(m, "PRAGMA user_version", &version);

	/* it is made, and nothing has been kept */
	if (!err && version == 0)
		return -ENOENT;
	if (!err && version != VERSION)
		return -EBADMSG;
	for (int kind = 0; kind < MEMORY_TABLES && !err; kind++)
		err = to_errno(sqlite3_prepare_v2(
			m->db, statements[kind][MEMORY_FIND], -1,
			&m->statements[kind][MEMORY_FIND], NULL));
	if (err)
		return err;
	memory_row_time_(m->keys, row);
	err = memory_db_find_(m, MEMORY_TIME, row, take_times, &t);
	m->has_rows[MEMORY_FILE] = t.doubt != ALL;
	m->has_rows[MEMORY_PLACE] =
		t.doubt == NONE && !memory_home_was_left_out_(m);
	return err;
}

int memory_db_look_(struct memory *m)
{
	int err = open_file(m, false);

	if (!err)
		err = look(m);
	m->is_open = err == 0;
	if (err)
		memory_db_close_(m);
	return err;
}

void memory_db_close_(struct memory *m)
{
	for (int t = 0; t < MEMORY_TABLES; t++)
		for (int n = 0; n < MEMORY_STATEMENTS; n++) {
			sqlite3_finalize(m->statements[t][n]);
			m->statements[t][n] = NULL;
		}
	m->is_open = false;
	(void)sqlite3_close(m->db);
	m->db = NULL;
}

int memory_db_anew_(struct memory *m)
{
	int err;

	memory_db_close_(m);
	err = memory_home_clear_(m);
	if (!err)
		err = open_alone(m);
	if (err)
		memory_db_close_(m);
	return err;
}

int memory_db_open_(struct memory *m)
{
	int err = open_alone(m);

	if (is_damage(err)) {
		err = memory_db_anew_(m);
		return err ? err : -EBADMSG;
	}
	if (err)
		memory_db_close_(m);
	return err;
}
