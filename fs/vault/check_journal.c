/*
 * A mount that ended unexpectedly: what its journal puts right, or will, is no
 * damage.
 */
#include "check_internal.h"
#include "gaps.h"
#include "journal.h"
#include "map.h"
#include "vdir.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define JOURNAL_PATH NAME_VAULT_DIR "/journal"
#define SESSION_PATH JOURNAL_PATH "/session"
#define DAMAGED_PATH JOURNAL_PATH "/session.damaged"

/* A file that the next mount puts right. */
struct mended {
	char *path; /* in the backing directory */
	uint8_t file_id[FILE_ID_LEN];
	enum journal_event event;
	uint64_t from; /* the first chunk that may be another then */
};

struct crashed {
	struct mended *list;
	size_t count, redone;
	struct check *c;
};

void check_journal_free(struct crashed *crashed)
{
	if (!crashed)
		return;
	for (size_t i = 0; i < crashed->count; i++)
		free(crashed->list[i].path);
	free(crashed->list);
	free(crashed);
}

/* The plain path of what lies at a backing one; false: it has none. */
static bool plain_path(struct check *c, const char *path, char *out,
		       size_t size)
{
	CLEANUP_FD int fd = -1;
	char entry[NAME_BACKING_MAX + 1], plain[NAME_PLAIN_MAX + 1];
	uint8_t id[DIRID_LEN];
	size_t used = 0, len;
	int next;

	if (vdir_open_path(c->vault->root_fd, ".", &fd))
		return false;
	for (; *path; path += len + (path[len] == '/')) {
		len = strcspn(path, "/");
		if (len > NAME_BACKING_MAX)
			return false;
		memcpy(entry, path, len);
		entry[len] = '\0';
		if (vdir_read_id(fd, id) ||
		    vdir_plain_name(c->vault, fd, id, entry, plain) ||
		    used + strlen(plain) + 2 > size)
			return false;
		if (used > 0)
			out[used++] = '/';
		memcpy(out + used, plain, strlen(plain) + 1);
		used += strlen(plain);
		if (path[len] == '/') {
			if (vdir_open_path(fd, entry, &next))
				return false;
			close(fd);
			fd = next;
		}
	}
	return used > 0;
}

static void report(struct check *c, const struct journal_finding *f)
{
	char plain[8192];
	bool known = plain_path(c, f->path, plain, sizeof plain);
	const struct trouble t = {.fault = CHECK_JOURNAL,
				  .entry = (char *)f->path,
				  .plain = known ? plain : NULL};

	check_found(c, &t, c->opt->repair ? CHECK_REPAIRED : CHECK_NOTE, NULL);
}

static int keep(struct crashed *crashed, const struct journal_finding *f)
{
	struct mended *m =
		reallocarray(crashed->list, crashed->count + 1, sizeof *m);

	if (!m)
		return -ENOMEM;
	crashed->list = m;
	m += crashed->count;
	m->path = strdup(f->path);
	if (!m->path)
		return -ENOMEM;
	memcpy(m->file_id, f->file_id, sizeof m->file_id);
	m->event = f->event;
	m->from = f->event == JOURNAL_EMPTIED ? 0 : chunk_last_index(f->size);
	crashed->count++;
	return 0;
}

static void on_finding(void *arg, const struct journal_finding *f)
{
	struct crashed *crashed = arg;

	/* A file that is gone needs nothing; other damage shows by itself, and
	 * what is kept is said once for all. */
	if (!f->path || f->event == JOURNAL_BEYOND || f->event == JOURNAL_LEFT)
		return;
	/* Its key is being changed: that is finished first, and it is whole. */
	if (check_redo_has(crashed->c->redo, f->file_id))
		return;
	crashed->redone += f->event == JOURNAL_REDONE;
	if (f->event != JOURNAL_REDONE)
		report(crashed->c, f);
	if (keep(crashed, f))
		check_fail(crashed->c, -ENOMEM);
}

static void session_trouble(struct check *c, enum check_fault fault)
{
	const struct trouble t = {.fault = fault, .entry = SESSION_PATH};

	if (fault == CHECK_CRASHED && c->opt->repair)
		check_found(c, &t, CHECK_REPAIRED, NULL);
	else
		check_trouble(c, &t);
}

static void on_kept(void *arg, const char *name, bool finished)
{
	const struct crashed *crashed = arg;
	char path[NAME_BACKING_MAX + 32];
	const struct trouble t = {.fault = CHECK_KEPT, .entry = path};

	snprintf(path, sizeof path, NAME_VAULT_DIR "/journal/%s", name);
	if (finished)
		check_found(crashed->c, &t, CHECK_REPAIRED, NULL);
	else
		check_found(crashed->c, &t, CHECK_DAMAGED, NULL);
}

static void report_damaged(struct check *c)
{
	const struct trouble t = {.fault = CHECK_SESSION,
				  .entry = DAMAGED_PATH};

	if (faccessat(c->vault->root_fd, DAMAGED_PATH, F_OK,
		      AT_SYMLINK_NOFOLLOW) == 0)
		check_found(c, &t, CHECK_DAMAGED, NULL);
}

/* No mount takes it up just so: nothing is put right by it. */
static bool was_put_back(struct check *c)
{
	const struct trouble t = {.fault = CHECK_OLD_SESSION,
				  .entry = JOURNAL_PATH};

	if (!c->opt->compare || journal_seen(c->vault) != -ESTALE)
		return false;
	check_trouble(c, &t);
	return true;
}

int check_journal_begin(struct check *c)
{
	struct crashed *crashed = calloc(1, sizeof *crashed);
	struct journal_recovery r = {.look_only = !c->opt->repair,
				     .go_on = c->opt->repair,
				     .tell = on_finding,
				     .arg = crashed};
	bool put_back = was_put_back(c), did_crash;
	int err, kept_err;

	if (!crashed)
		return -ENOMEM;
	crashed->c = c;
	err = put_back ? 0 : journal_recover(c->vault, &r);
	did_crash = r.crashed;
	/* whose unmounting finds the vault in use would leave it there */
	if (!err && !put_back && c->opt->repair)
		(void)!journal_forget_ended(c->vault);
	if (!err)
		report_damaged(c);
	kept_err = err ? 0 : journal_retry(c->vault, &r, on_kept);
	/* what has been put right is looked at like anything else */
	if (c->opt->repair && !err)
		check_journal_free(crashed);
	else
		c->crashed = crashed;
	if (err == -ENOMEM || kept_err == -ENOMEM)
		return -ENOMEM;
	if (err)
		session_trouble(c, CHECK_SESSION);
	else if (did_crash)
		session_trouble(c, CHECK_CRASHED);
	return 0;
}

static int read_place(void *arg, uint64_t index,
		      uint8_t stored[static CHUNK_TOKEN_LEN])
{
	const int *fd = arg;

	return xio_pread(*fd, stored, CHUNK_TOKEN_LEN,
			 (off_t)chunk_offset(index));
}

/* The first chunk that has a say in what these are: of zeros, whether they are
 * holes is told in front of them. */
static uint64_t told_from(const struct trouble *t)
{
	CLEANUP_FD int fd = -1;
	struct map m = {.seeks = true, .read = read_place, .arg = &fd};
	uint64_t token = t->first;

	if (t->fault != CHECK_ZEROED)
		return t->first;
	fd = openat(t->dir->fd, t->entry,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	m.fd = fd;
	return fd < 0 || map_token_before(&m, t->first, &token) ? t->first
								: token;
}

/* The last chunk says whether there are any. */
static bool is_last(const struct journal_record *rec)
{
	return rec->size != JOURNAL_SIZE_KEPT && rec->count > 0 &&
	       rec->first + rec->count > chunk_last_index(rec->size);
}

/* From which of these chunks on the record has a say in what they are? */
static uint64_t held_from(const struct journal_record *rec,
			  const struct trouble *t, uint64_t told)
{
	uint64_t from = UINT64_MAX;

	if (t->fault == CHECK_ZEROED && is_last(rec))
		return t->first;
	if (rec->size != JOURNAL_SIZE_KEPT)
		from = chunk_last_index(rec->size);
	if (t->fault == CHECK_ZEROED && rec->count > 0 &&
	    told < rec->first + rec->count && rec->first < from)
		from = rec->first;
	return from < t->first ? t->first : from;
}

/* Those of which the journal holds a token, or a length. */
static void add_held(struct check *c, const struct mended *m,
		     const struct trouble *t, struct gaps *held)
{
	struct journal_reader *r = NULL;
	uint64_t told = told_from(t);
	struct journal_record rec;

	if (journal_reader_open(c->vault, &r))
		return;
	while (journal_reader_next(r, &rec) == 1) {
		uint64_t from = held_from(&rec, t, told);

		if (memcmp(rec.file_id, m->file_id, FILE_ID_LEN) != 0)
			continue;
		if (from <= t->last)
			gaps_add(held, from, t->last);
		if (rec.count > 0 && rec.first <= t->last)
			gaps_add(held, rec.first, rec.first + rec.count - 1);
	}
	journal_reader_close(r);
}

static void add_mended(struct check *c, const struct mended *m,
		       const struct trouble *t, struct gaps *mended)
{
	if (m->event == JOURNAL_EMPTIED)
		gaps_add(mended, t->first, t->last);
	if (t->fault == CHECK_HEADER)
		return;
	if (m->event == JOURNAL_MENDED && t->last >= m->from)
		gaps_add(mended, m->from, t->last);
	add_held(c, m, t, mended);
}

/* The chunks of a trouble (the first, of what is none of chunks) that are put
 * right. */
static void find_mended(struct check *c, const struct trouble *t,
			struct gaps *mended)
{
	CLEANUP_FREE char *path = NULL;

	if (!c->crashed || !t->dir ||
	    (!check_is_chunk_fault(t->fault) && t->fault != CHECK_HEADER))
		return;
	path = check_backing_path(t->dir, t->entry);
	for (size_t i = 0; path && i < c->crashed->count; i++)
		if (strcmp(c->crashed->list[i].path, path) == 0)
			add_mended(c, &c->crashed->list[i], t, mended);
}

/* The last chunk from this one on, up to last, that is not listed. */
static uint64_t end_of_part(const struct gaps *g, uint64_t first, uint64_t last)
{
	for (size_t i = 0; i < g->count; i++)
		if (g->list[i].first > first)
			return g->list[i].first <= last ? g->list[i].first - 1
							: last;
	return last;
}

void check_journal_sift(struct check *c, const struct trouble *t,
			void (*tell)(struct check *c, const struct trouble *t))
{
	struct gaps mended = {0};
	struct trouble part = *t;

	find_mended(c, t, &mended);
	while ((part.first = gaps_reach(&mended, part.first)) <= t->last) {
		part.last = end_of_part(&mended, part.first, t->last);
		tell(c, &part);
		part.first = part.last + 1;
	}
	gaps_fini(&mended);
}
