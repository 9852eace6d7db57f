/* What the memory*.c files share; nobody else includes this. */
#ifndef FROND_MEMORY_INTERNAL_H
#define FROND_MEMORY_INTERNAL_H

#include "ages.h"
#include "memory.h"

#include <limits.h>
#include <pthread.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdatomic.h>

#define MEMORY_SUFFIX ".files" /* behind the vault's id in hex */

enum {
	MEMORY_KEY_LEN = 16,
	MEMORY_MAC_LEN = 16,
	MEMORY_AGE_LEN = 16,
	MEMORY_BODY_MAX = 2 + AGES_MAX * MEMORY_AGE_LEN,
	MEMORY_VALUE_MAX = MEMORY_BODY_MAX + MEMORY_MAC_LEN,
	/* this much noted is kept soon; and what only reading tells, or what
	 * was removed, is not noted beyond that */
	MEMORY_FULL = 50000,
	MEMORY_NOTED_MAX = 1000000,
	/* pages of 4096 bytes: some three million files and places */
	MEMORY_PAGES_MAX = 65536,
};

/* Their rows are in tables of their own, but for the last one's. */
enum memory_kind { MEMORY_FILE, MEMORY_PLACE, MEMORY_TIME };
enum { MEMORY_TABLES = MEMORY_PLACE + 1 };

/* A time so far ahead of the clock is of one that was wrong. */
enum { MEMORY_AHEAD_MAX_S = 86400 };

struct memory_keys {
	uint8_t rows[32]; /* of the rows' keys */
	uint8_t macs[32]; /* of their values' MACs */
};

/* What is known of a place: nothing, if left_s is 0. */
struct memory_left {
	uint64_t left_s;
	bool has_dirid;
	uint8_t dirid[DIRID_LEN];
};

/* Something in one of the tables of the process. */
struct memory_entry {
	struct memory_entry *next;   /* memory->lock */
	uint8_t key[MEMORY_KEY_LEN]; /* a file's id, a place's row key */
	enum memory_kind kind;	     /* MEMORY_TIME: a directory that is gone */
	unsigned refs;		     /* memory->lock */
	uint64_t version;	     /* a file's: its lock; else memory->lock */
	/* the version up to which a row of it may say what is not true any
	 * more; changed under the same */
	_Atomic uint64_t revoked;
	atomic_bool noted;	 /* changed under the same: not kept yet */
	atomic_bool may_be_kept; /* there may be a row of it */
};

struct memory_table {
	struct memory_entry **buckets;
	size_t room; /* a power of two */
	size_t count;
};

struct memory_file {
	struct memory_entry entry;
	struct memory *memory;
	pthread_mutex_t lock;
	struct ages ages;    /* lock */
	atomic_bool ignored; /* by memory_file_ignore(); changed under lock */
};

struct memory_spot {
	struct memory_entry entry;
	uint8_t parent[DIRID_LEN];
	struct memory_left left; /* memory->lock */
};

/* A row as it was when it was marked. */
struct memory_marked {
	struct memory_entry *entry; /* with a reference */
	uint64_t version;
	uint8_t row[MEMORY_KEY_LEN];
	size_t at, len; /* of the body in bytes; len 0: no row */
	bool lost;	/* memory was short: it stays noted */
};

struct memory_marks {
	struct memory_marked *list;
	size_t count, room;
	uint8_t *bytes;
	size_t bytes_len, bytes_room;
	uint64_t doubts; /* memory->doubts then */
	bool incomplete; /* memory was short */
};

enum { MEMORY_FIND, MEMORY_PUT, MEMORY_DROP, MEMORY_STATEMENTS };

struct memory {
	struct vault *vault;
	struct memory_keys *keys; /* locked memory */
	bool accept;
	bool looks; /* and keeps nothing */
	/* It went without the database, as the first one since that was closed
	 * by another process, which ended before then. */
	bool went_without;
	uint64_t without_s;

	pthread_mutex_t lock; /* of the tables; nothing is taken under it */
	struct memory_table files, places;
	struct memory_table gone; /* directories, since the last mark */
	size_t sweep_at;	  /* so many places, and theirs go at once */
	_Atomic size_t noted;	  /* entries that are not kept yet */

	pthread_mutex_t keep_lock; /* of what has been marked */
	struct memory_marks marks;

	pthread_mutex_t db_lock; /* of what follows */
	sqlite3 *db;		 /* NULL: another process has it still, say */
	atomic_bool is_open;	 /* db is there; changed under db_lock */
	sqlite3_stmt *statements[MEMORY_TABLES][MEMORY_STATEMENTS];
	atomic_bool has_rows[MEMORY_TABLES];
	bool damaged;		 /* begin anew when something is kept */
	bool doubted;		 /* memory_db_doubt_() has been written */
	_Atomic uint64_t doubts; /* how often there was a reason for it */
	/* memory was short when one was to be forgotten: all of them are */
	atomic_bool forgets_places;
	/* The newest time that was known when it was opened; and whether the
	 * clock is so far behind that it is not believed. */
	uint64_t newest_s;
	atomic_bool is_behind;
	int64_t pages_max;
};

/* memory_value.c: pure */
void memory_keys_derive_(const struct vault *vault, struct memory_keys *keys);
void memory_row_file_(const struct memory_keys *keys,
		      const uint8_t id[static FILE_ID_LEN],
		      uint8_t row[static MEMORY_KEY_LEN]);
void memory_row_place_(const struct memory_keys *keys,
		       const struct memory_place *place,
		       uint8_t row[static MEMORY_KEY_LEN]);
void memory_row_time_(const struct memory_keys *keys,
		      uint8_t row[static MEMORY_KEY_LEN]);
/* A body's MAC, bound to its row. */
void memory_mac_(const struct memory_keys *keys,
		 const uint8_t row[static MEMORY_KEY_LEN], const uint8_t *body,
		 size_t len, uint8_t mac[static MEMORY_MAC_LEN]);
/* The body's length within a value, or -EBADMSG: its MAC is not right. */
MUST_CHECK int memory_value_open_(const struct memory_keys *keys,
				  const uint8_t row[static MEMORY_KEY_LEN],
				  const uint8_t *value, size_t len,
				  size_t *body_len);
enum { MEMORY_IGNORED_LEN = 2 };
size_t memory_file_len_(const struct memory_file *mf);
/* out has memory_file_len_() bytes; which is 0 if nothing is known. */
void memory_file_build_(const struct memory_file *mf, uint8_t *out);
void memory_ignored_build_(uint8_t out[static MEMORY_IGNORED_LEN]);
/* -EBADMSG, and then nothing is known. */
MUST_CHECK int memory_file_parse_(const uint8_t *body, size_t len,
				  struct memory_file *mf);
enum { MEMORY_LEFT_LEN = 8 + DIRID_LEN };
size_t memory_left_build_(const struct memory_left *left,
			  uint8_t out[static MEMORY_LEFT_LEN]);
MUST_CHECK int memory_left_parse_(const uint8_t *body, size_t len,
				  struct memory_left *left);

/* memory_table.c: the caller has memory->lock */
void memory_table_fini_(struct memory_table *t,
			void (*free_one)(struct memory_entry *e));
struct memory_entry *memory_table_find_(const struct memory_table *t,
					const uint8_t *key);
/* -ENOMEM; e->key is set */
MUST_CHECK int memory_table_add_(struct memory_table *t,
				 struct memory_entry *e);
void memory_table_remove_(struct memory_table *t, struct memory_entry *e);
/* All of them; fn may remove the one that it is told. */
void memory_table_each_(struct memory_table *t,
			void (*fn)(void *arg, struct memory_entry *e),
			void *arg);

/*
 * memory_home.c: where the database lies. Its path, made with make where it is
 * not there (else -ENOENT). -ENOTSUP: what lies there is no file, and SQLite
 * might wait for it; the log says so.
 */
MUST_CHECK int memory_home_ready_(const struct memory *m, bool make,
				  char path[static PATH_MAX]);
bool memory_home_has_(const struct memory *m);
/* It goes, with what SQLite keeps beside it. */
MUST_CHECK int memory_home_clear_(const struct memory *m);
/*
 * A process goes without the database, as another one has it still, and may
 * move things of which that one's rows know nothing. It says so beside it,
 * until the next one that opens it has heard.
 */
MUST_CHECK int memory_home_leave_out_(const struct memory *m);
bool memory_home_was_left_out_(const struct memory *m);
void memory_home_caught_up_(const struct memory *m);

/*
 * memory_db.c: rows. Called with db_lock held, unless nobody else is there.
 * -EBUSY: another process has it. -EBADMSG of the first: it was damaged, or
 * of another version, and begins anew; it is open then.
 */
MUST_CHECK int memory_db_open_(struct memory *m);
/* For whoever only asks, and takes it from nobody. -ENOENT: there is none. */
MUST_CHECK int memory_db_look_(struct memory *m);
void memory_db_close_(struct memory *m);
/* Empty, and without what was wrong with it. */
MUST_CHECK int memory_db_anew_(struct memory *m);
/*
 * take is called with a row's body that is right; -ENOENT: there is none.
 * Without a database, too.
 */
MUST_CHECK int memory_db_find_(struct memory *m, enum memory_kind kind,
			       const uint8_t row[static MEMORY_KEY_LEN],
			       int (*take)(const uint8_t *body, size_t len,
					   void *out),
			       void *out);
MUST_CHECK int memory_db_put_(struct memory *m, enum memory_kind kind,
			      const uint8_t row[static MEMORY_KEY_LEN],
			      const uint8_t *body, size_t len);
MUST_CHECK int memory_db_drop_(struct memory *m, enum memory_kind kind,
			       const uint8_t row[static MEMORY_KEY_LEN]);
MUST_CHECK int memory_db_begin_(struct memory *m);
/* err: what happened since it began; not 0 undoes all of it. */
MUST_CHECK int memory_db_end_(struct memory *m, int err);
/* The newest time that was sealed, and room for what comes. */
MUST_CHECK int memory_db_settle_(struct memory *m);
/*
 * From now on the process knows of places what the database does not: if it
 * dies before that is kept, places are forgotten.
 */
MUST_CHECK int memory_db_doubt_(struct memory *m, bool doubt);
/* All that the process knows is kept, and it ends. */
MUST_CHECK int memory_db_rest_(struct memory *m);
MUST_CHECK int memory_db_forget_places_(struct memory *m);

/* memory_keep.c */
void memory_note_(struct memory *m, struct memory_entry *e);
/* And what was marked of it before must not be kept. */
void memory_revoke_(struct memory *m, struct memory_entry *e);
void memory_marks_fini_(struct memory *m);

/* memory.c */
/* Without keeping anything. */
void memory_free_(struct memory *m);
/* Needs memory->lock; frees it, if nobody wants it any more */
void memory_unref_(struct memory *m, struct memory_entry *e);
static inline struct memory_file *memory_file_of_(struct memory_entry *e)
{
	return (struct memory_file *)e;
}
static inline struct memory_spot *memory_spot_of_(struct memory_entry *e)
{
	return (struct memory_spot *)e;
}

#endif
