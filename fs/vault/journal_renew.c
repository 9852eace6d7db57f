/*
 * After the disk has failed. A failed fsync leaves nobody knowing what of the
 * pages before it was written, and the next one says that all is well: what
 * was to be durable is written again, elsewhere where that is possible.
 */
#include "journal_internal.h"

#include "chunk.h"
#include "log.h"
#include "rekey.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#ifdef FROND_XXHASH_DISPATCH
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

enum { COPY_BYTES = 1 << 20, PAGE_BYTES = 4096, FETCH_TRIES = 2 };

uint64_t journal_sum_(const uint8_t *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

/* Does the backing directory answer at all? */
static bool is_there(const struct journal *j)
{
	CLEANUP_FD int fd =
		openat(j->dir_fd, JOURNAL_SESSION_FILE,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	return fd >= 0 || errno == ENOENT || errno == EACCES ||
	       errno == EPERM || errno == ELOOP;
}

int journal_fetch_(const struct journal *j, int fd, void *buf, size_t len,
		   off_t offset)
{
	int err = xio_pread(fd, buf, len, offset);

	/* It goes and comes back at any time: what cannot be read is lost when
	 * all else was there before, and after. */
	for (int tries = 0; err && tries < FETCH_TRIES; tries++) {
		if (!is_there(j))
			return -EIO;
		err = xio_pread(fd, buf, len, offset);
	}
	if (!err)
		return 0;
	return is_there(j) ? -EBADMSG : -EIO;
}

/* Pages that the disk does not give are zeros. */
static int read_part(const struct journal *j, int from, uint8_t *buf,
		     size_t len, off_t at)
{
	int err = xio_pread(from, buf, len, at);

	for (size_t i = 0; err && i < len; i += PAGE_BYTES) {
		size_t page = len - i < PAGE_BYTES ? len - i : PAGE_BYTES;
		int e = journal_fetch_(j, from, buf + i, page, at + (off_t)i);

		if (e == -EBADMSG)
			memset(buf + i, 0, page);
		else if (e)
			return e;
	}
	return 0;
}

/* The mark comes with the last of the bytes: nobody finds these without it. */
static int copy_bytes(const struct journal *j, const struct segment *s, int to,
		      uint64_t len)
{
	const struct journal_ids ids = journal_ids_of_(j, s->number);
	uint8_t *buf = malloc(COPY_BYTES + JOURNAL_RECORD_HEAD_LEN);
	int err = buf ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < len && !err; at += COPY_BYTES) {
		bool last = len - at <= COPY_BYTES;
		size_t part = last ? (size_t)(len - at) : COPY_BYTES;

		err = read_part(j, s->fd, buf, part, (off_t)at);
		if (last) {
			journal_end_build(&ids, len, buf + part);
			part += JOURNAL_RECORD_HEAD_LEN;
		}
		if (!err)
			err = xio_pwrite(to, buf, part, (off_t)at);
	}
	free(buf);
	return err;
}

/* What nobody can read any more is lost: who reads it is told, and no other
 * chunk waits for it. Needs the lock. */
static void give_up(struct journal_file *jf, struct journal_entry *e)
{
	log_error("%s: the disk has lost what the journal held of chunk "
		  "%" PRIu64 " of a file (inode %ju)",
		  jf->journal->vault->path, e->chunk, (uintmax_t)jf->ino);
	e->segment = JOURNAL_NOWHERE;
	journal_owe_(jf, -EIO);
}

/* Is this one what it was? */
static int check_token(const struct journal *j, const struct journal_entry *e,
		       int fd)
{
	uint8_t token[CHUNK_LAST_MAX];
	int err = journal_fetch_(j, fd, token, e->len, (off_t)e->offset);

	return !err && journal_sum_(token, e->len) != e->sum ? -EBADMSG : err;
}

/* Are the file's tokens in this file, the segment's, what they were? Where
 * nothing can be read now, that is left open. */
static void check_tokens(struct journal_file *jf, unsigned segment, int fd)
{
	int err = 0;

	pthread_rwlock_wrlock(&jf->lock);
	for (size_t i = 0; i < jf->room && (!err || err == -EBADMSG); i++) {
		struct journal_entry *e = &jf->slots[i];

		if (e->chunk == UINT64_MAX || e->segment != segment)
			continue;
		err = check_token(jf->journal, e, fd);
		if (err == -EBADMSG)
			give_up(jf, e);
	}
	pthread_rwlock_unlock(&jf->lock);
}

void journal_give_up_(struct journal_file *jf)
{
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++)
		check_tokens(jf, n, jf->journal->seg[n].fd);
}

static int check_copy(struct journal *j, unsigned segment, int fd)
{
	struct journal_file **all = journal_all_(j);

	for (size_t i = 0; all && all[i]; i++) {
		check_tokens(all[i], segment, fd);
		journal_put_back_(all[i]);
	}
	free(all);
	return all ? 0 : -ENOMEM;
}

/* The segment's other name. */
static void other_name(const struct segment *s,
		       char name[static JOURNAL_NAME_LEN + 1])
{
	memcpy(name, s->name, JOURNAL_NAME_LEN + 1);
	name[JOURNAL_NAME_LEN - 1] ^= '0' ^ '2';
}

static int make_copy(struct journal *j, unsigned segment, uint64_t len,
		     const char *name, int *out)
{
	CLEANUP_FD int fd = -1;
	int err;

	(void)!unlinkat(j->dir_fd, name, 0);
	fd = openat(j->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return -errno;
	err = vtree_own(j->vault, fd);
	if (!err && len > 0)
		err = copy_bytes(j, &j->seg[segment], fd, len);
	else if (!err)
		err = journal_write_head_(j, fd);
	if (!err && (fdatasync(fd) < 0 || fsync(j->dir_fd) < 0))
		err = -errno;
	/* only of what is the segment from now on */
	if (!err && len > 0)
		err = check_copy(j, segment, fd);
	if (err)
		return err;
	*out = TAKE_FD(fd);
	return 0;
}

int journal_renew_(struct journal *j, unsigned segment, uint64_t len)
{
	struct segment *s = &j->seg[segment];
	char name[JOURNAL_NAME_LEN + 1];
	CLEANUP_FD int fd = -1;
	int err;

	other_name(s, name);
	err = make_copy(j, segment, len, name, &fd);
	if (err) {
		(void)!unlinkat(j->dir_fd, name, 0);
		return err;
	}
	/* Readers go on: number and offsets stay. */
	if (dup3(fd, s->fd, O_CLOEXEC) < 0)
		return -errno;
	memcpy(s->name, name, sizeof s->name);
	s->unmarked = false;
	s->twin = true;
	journal_untwin_(j, segment);
	return 0;
}

/* The directory itself may have been removed and made again, with the one that
 * it lies in. */
static int find_dir_again(struct journal *j)
{
	CLEANUP_FD int fd = -1;
	struct stat st;
	int err;

	if (fstat(j->dir_fd, &st) == 0 && st.st_nlink > 0)
		return 0;
	err = rekey_open_journal(j->vault, true, &fd);
	if (err == -ENOENT || err == -ESTALE) {
		err = vault_find_meta(j->vault);
		if (!err)
			err = rekey_open_journal(j->vault, true, &fd);
	}
	if (!err && dup3(fd, j->dir_fd, O_CLOEXEC) < 0)
		err = -errno;
	return err;
}

/* The session's file as it is now. -ESTALE: it is not this session's. */
static int see_session(struct journal *j)
{
	struct journal_session s;
	struct stat st = {0};
	int err;

	(void)!fstatat(j->dir_fd, JOURNAL_SESSION_FILE, &st,
		       AT_SYMLINK_NOFOLLOW);
	err = journal_session_read_(j->vault, j->dir_fd, JOURNAL_SESSION_FILE,
				    &s);
	if (xio_is_shortage(err))
		return err;
	if (err || memcmp(s.id, j->session, sizeof s.id) != 0)
		return -ESTALE;
	j->session_st = st;
	return 0;
}

static int write_session(struct journal *j)
{
	struct journal_session s;
	int err = journal_session_init_(j->dir_fd, &s);

	if (err)
		return err;
	memcpy(s.id, j->session, sizeof s.id);
	s.start_s = (uint64_t)j->start_s;
	err = journal_session_write_(j->vault, j->dir_fd, &s);
	/* what fails is tried again when there is something to make durable */
	if (!err)
		(void)!see_session(j);
	return err;
}

/* Nobody can make it anew: what is open here can still be saved. */
void journal_mind_ini_(const struct journal *j)
{
	if (!vault_has_ini(j->vault))
		log_error("%s/" NAME_VAULT_DIR "/" VAULT_INI_FILE
			  " is gone: without it nothing in this vault can be "
			  "opened again, whatever the passphrase; put it back "
			  "from your backup (as long as the vault is mounted, "
			  "its files can still be copied out of it)",
			  j->vault->path);
}

static int make_session_anew(struct journal *j)
{
	int err = find_dir_again(j);

	if (!j->made_anew) {
		log_error("%s: somebody has removed the journal of this mount, "
			  "or put another one in its place (a synchronising "
			  "service, another mount elsewhere); it is made anew",
			  j->vault->path);
		journal_mind_ini_(j);
	}
	j->made_anew = true;
	return err ? err : write_session(j);
}

/* What is changed from now on must not look older than the session. */
static bool clock_went_back(struct journal *j)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec >= j->start_s)
		return false;
	j->start_s = now.tv_sec;
	j->durable_s = INT64_MIN;
	return true;
}

static bool is_same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int keep_session(struct journal *j, bool back)
{
	struct stat st;
	bool seen = fstatat(j->dir_fd, JOURNAL_SESSION_FILE, &st,
			    AT_SYMLINK_NOFOLLOW) == 0 &&
		    is_same_stat(&st, &j->session_st);
	int err = seen ? 0 : see_session(j);

	if (err == -ESTALE)
		return make_session_anew(j);
	return !err && back ? write_session(j) : err;
}

int journal_keep_session_(struct journal *j)
{
	int64_t before = j->start_s;
	int err = keep_session(j, clock_went_back(j));

	/* what its file does not say yet, the next one is to see */
	if (err)
		j->start_s = before;
	return err;
}

int journal_move_session_(struct journal *j, int64_t start_s)
{
	int64_t before;
	int err = 0;

	pthread_mutex_lock(&j->commit_lock);
	before = j->start_s;
	/* the clock may have been set back meanwhile */
	if (start_s > before) {
		j->start_s = start_s;
		err = write_session(j);
		if (err)
			j->start_s = before;
	}
	pthread_mutex_unlock(&j->commit_lock);
	return err;
}

bool journal_is_gone_(struct journal *j, unsigned segment)
{
	struct stat st;

	return j->counts_links && fstat(j->seg[segment].fd, &st) == 0 &&
	       st.st_nlink == 0;
}

bool journal_is_lost_(struct journal *j)
{
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++)
		if (!journal_is_empty_(&j->seg[n]) &&
		    faccessat(j->dir_fd, j->seg[n].name, F_OK,
			      AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno == ENOENT)
			return true;
	return false;
}

void journal_untwin_(struct journal *j, unsigned segment)
{
	struct segment *s = &j->seg[segment];
	char name[JOURNAL_NAME_LEN + 1];

	if (!s->twin)
		return;
	other_name(s, name);
	s->twin = (unlinkat(j->dir_fd, name, 0) < 0 && errno != ENOENT) ||
		  fsync(j->dir_fd) < 0;
}
