/* What the check*.c files share; nobody else includes this. */
#ifndef FROND_CHECK_INTERNAL_H
#define FROND_CHECK_INTERNAL_H

#include "check.h"
#include "vfile_slot.h"
#include "workspace.h"

#include <pthread.h>
#include <sys/stat.h>

/* A directory being checked, open for reading. */
struct check_dir {
	struct check_dir *parent; /* NULL: the root */
	atomic_uint refs;
	int fd;
	bool known; /* its id is */
	bool own;   /* it lies under a name of ours: no copy */
	uint8_t id[DIRID_LEN];
	char *plain;  /* NULL: not known; "" the root */
	char entry[]; /* in its parent; "" the root */
};

/* What was found where, until it is reported, repaired or gone. */
struct trouble {
	struct trouble *next;
	enum check_fault fault;
	struct check_dir *dir; /* where entry lies; NULL: .frondfs */
	char *entry;	       /* CHECK_DIRID: ".dirid" */
	char *plain;	       /* or NULL */
	char *detail;	       /* or NULL */
	uint64_t first, last, number;
	uint64_t digest; /* of what was seen, to see whether it changes */
	unsigned looks;	 /* in a row that saw the same */
	int error;
};

/* What a run of chunks turned out to be. */
struct chunk_fault {
	enum check_fault fault;
	uint64_t first, last, digest;
};

struct check;

struct check_task {
	struct check_task *next;
	void (*run)(struct check *c, void *arg);
	void *arg;
};

/* Directory ids that are mentioned somewhere. */
struct id_set {
	uint8_t (*ids)[DIRID_LEN];
	size_t count, room;
};

struct redo;
struct crashed;
struct twins;

struct check {
	struct vault *vault;
	const struct check_options *opt;
	unsigned jobs;
	struct redo *redo;	 /* fixed once the threads run */
	struct crashed *crashed; /* likewise */
	struct twins *twins;
	atomic_int err; /* ends everything */

	pthread_mutex_t lock;
	/* All below: lock. */
	pthread_cond_t work, idle;
	struct check_task *tasks;
	unsigned running; /* tasks */
	unsigned shared;  /* big files being read by several */
	bool ended;
	struct trouble *troubles, **troubles_end;
	struct id_set hints;

	pthread_mutex_t report_lock; /* found(), and the four numbers */
	struct check_result result;
	atomic_uint_fast64_t files, directories, links, others, locked, bytes;
	atomic_uint_fast64_t bytes_found;
	atomic_bool counted;
};

enum {
	CHECK_JOBS_MAX = 256,
	ID_SET_MAX = 4096, /* of a damaged vault, or one of many moves */
};

static inline bool check_stopped(const struct check *c)
{
	return atomic_load(&c->err) ||
	       (c->opt->stop && atomic_load(c->opt->stop));
}

/* check_pool.c */
MUST_CHECK int check_push(struct check *c,
			  void (*run)(struct check *c, void *arg), void *arg);
/* What the machine lacks: ends everything. */
void check_fail(struct check *c, int err);
/* Do all tasks; calls progress() meanwhile. */
MUST_CHECK int check_run_all(struct check *c);

/* check_dir.c */
MUST_CHECK struct check_dir *check_dir_new(struct check_dir *parent, int fd,
					   const char *entry,
					   const char *plain);
static inline struct check_dir *check_dir_ref(struct check_dir *d)
{
	atomic_fetch_add(&d->refs, 1);
	return d;
}
void check_dir_unref(struct check_dir *d);
/* Paths from the root; malloced. The plain one is NULL where a part of it is
 * not known. */
MUST_CHECK char *check_plain_path(const struct check_dir *d, const char *name);
MUST_CHECK char *check_backing_path(const struct check_dir *d,
				    const char *entry);

/* check_walk.c */
void check_start_at_root(struct check *c);
/* Look at one entry again, as if it had just been found. */
void check_entry(struct check *c, struct check_dir *dir, const char *entry,
		 unsigned char type);
/* The plain name of an entry; *copy: made by somebody else. As
 * vdir_plain_name(). */
MUST_CHECK int check_plain_name(struct check *c, struct check_dir *dir,
				const char *entry,
				char plain[static NAME_PLAIN_MAX + 1],
				bool *copy);

/* check_file.c */
/* own: no copy, and so compared with what was seen. */
void check_file(struct check *c, struct check_dir *dir, const char *entry,
		const char *plain, bool own);
/* Look at chunks again. What is wrong now; -ENOENT: the file is gone. */
MUST_CHECK int check_chunks_again(struct check *c, const struct trouble *t,
				  struct chunk_fault **faults, size_t *count);
/* A number that changes with the file's header and length. */
MUST_CHECK int check_header_digest(const struct trouble *t, uint64_t *digest);
bool check_is_chunk_fault(enum check_fault fault);

/* check_xattr.c */
void check_xattrs(struct check *c, struct check_dir *dir, const char *entry,
		  const char *plain, int fd, const uint8_t *owner);
/* Is the attribute still damaged? */
bool check_xattr_is_bad(struct check *c, const struct trouble *t);

/* check_meta.c */
void check_meta(struct check *c, void *arg);
bool check_meta_is_bad(struct check *c, const struct trouble *t);

/* check_redo.c: interrupted re-keyings that nobody finishes now */
MUST_CHECK int check_redo_load(struct check *c);
void check_redo_free(struct redo *redo);
/* The header that a file has or will have, if it is one of those. */
bool check_redo_header(const struct redo *redo,
		       const uint8_t header[static HEADER_LEN],
		       uint8_t wanted[static HEADER_LEN]);
/* Is the file with this id one of those? */
bool check_redo_has(const struct redo *redo,
		    const uint8_t id[static FILE_ID_LEN]);
/* The stored bytes of a chunk of the file with this id. */
MUST_CHECK int check_redo_chunk(const struct redo *redo,
				const uint8_t id[static FILE_ID_LEN],
				const struct slot *s, uint8_t *stored);

/* check_seen.c: false, and told: what lies there was seen to go. born_s: of a
 * file or link; dirid: of a directory */
bool check_seen(struct check *c, struct check_dir *dir, const char *entry,
		const char *plain, uint64_t born_s, const uint8_t *dirid);

/* check_twins.c: several files with one id */
MUST_CHECK int check_twins_begin(struct check *c);
void check_twins_free(struct twins *twins);
/* There is a file with this id, and no copy that somebody else made. */
void check_twins_meet(struct check *c, const uint8_t id[static FILE_ID_LEN],
		      const struct stat *st);
/* Once all files have been met: look for those, and tell of them. */
void check_twins_tell(struct check *c);

/* check_journal.c: what a mount that ended unexpectedly has left */
MUST_CHECK int check_journal_begin(struct check *c);
/* tell() of each part that the next mount does not put right. */
void check_journal_sift(struct check *c, const struct trouble *t,
			void (*tell)(struct check *c, const struct trouble *t));
void check_journal_free(struct crashed *crashed);

/* check_report.c */
void check_found(struct check *c, const struct trouble *t,
		 enum check_state state, const char *moved_to);
/*
 * Something was found: reported at once, or kept for later where it may still
 * change, or be repaired. t is copied; the rest of it is the caller's.
 */
void check_trouble(struct check *c, const struct trouble *t);
/* The same for one entry. */
void check_entry_trouble(struct check *c, enum check_fault fault,
			 struct check_dir *dir, const char *entry,
			 const char *plain, int error);
void check_trouble_free(struct trouble *t);
bool check_is_note(enum check_fault fault);
/* Of what is not repaired. */
enum check_state check_state_of(const struct trouble *t);
/* Take all kept troubles. */
MUST_CHECK struct trouble *check_take_troubles(struct check *c);
void check_hint(struct check *c, const struct check_dir *dir,
		const uint8_t id[static DIRID_LEN]);

/* check_again.c: look again at what may have been in the making. */
MUST_CHECK int check_look_again(struct check *c);
bool check_is_live(const struct check *c);

/* check_repair.c */
MUST_CHECK int check_repair_before(struct check *c);
MUST_CHECK int check_repair_all(struct check *c);

/* check_ids.c: which directory was an entry made in? */
MUST_CHECK int check_ids_add(struct id_set *set,
			     const uint8_t id[static DIRID_LEN]);
void check_ids_free(struct id_set *set);
/* What the entry itself says: the header's or .dirid's hint. */
MUST_CHECK int check_ids_of_entry(int dirfd, const char *entry,
				  struct id_set *set);
/* Everything in a directory that mentions an id that may be its own. */
MUST_CHECK int check_ids_of_dir(struct check *c, int dirfd, struct id_set *set);
/* How many of the directory's entries have names made with this id. */
MUST_CHECK int check_ids_score(struct check *c, int dirfd,
			       const uint8_t id[static DIRID_LEN],
			       size_t *score);
/* The encoded name of an entry, long or not. -ENOENT: the long one is lost. */
MUST_CHECK int check_full_name(int dirfd, const char *entry,
			       char full[static NAME_FULL_MAX + 1],
			       size_t *len);

/* check_lost.c */
/*
 * Move an entry into lost+found. name: the best that is known; *moved_to is
 * its plain path, malloced. What has not been looked at is looked at there: by
 * check_run_all(), as far as it is a directory.
 */
MUST_CHECK int check_lost(struct check *c, struct check_dir *dir,
			  const char *entry, const char *name, bool looked_at,
			  char **moved_to);
/* Rename within the directory. -EEXIST. */
MUST_CHECK int check_rename(struct check *c, struct check_dir *dir,
			    const char *entry, const char *name);
/* Is it certainly something of this vault? */
bool check_is_ours(struct check *c, struct check_dir *dir, const char *entry);

#endif
