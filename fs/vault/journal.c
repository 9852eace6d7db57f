/* A session from its beginning to its end. */
#include "journal_internal.h"

#include "log.h"
#include "memory.h"
#include "rekey.h"
#include "secret.h"
#include "seen.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

/* Descriptors of files that are closed. */
enum { OWNED_MIN = 16, OWNED_MAX = 1024 };

static void journal_free(struct journal *j)
{
	if (!j)
		return;
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++)
		if (j->seg[n].fd >= 0)
			close(j->seg[n].fd);
	if (j->dir_fd >= 0)
		close(j->dir_fd);
	secret_free(j->key);
	pthread_mutex_destroy(&j->append_lock);
	pthread_cond_destroy(&j->room);
	pthread_mutex_destroy(&j->commit_lock);
	pthread_mutex_destroy(&j->retire_lock);
	for (unsigned n = 0; n < JOURNAL_TIMES_LOCKS; n++)
		pthread_mutex_destroy(&j->times[n].lock);
	pthread_mutex_destroy(&j->files_lock);
	pthread_mutex_destroy(&j->flux_lock);
	pthread_mutex_destroy(&j->wake_lock);
	pthread_cond_destroy(&j->wake);
	pthread_cond_destroy(&j->ends);
	free(j);
}

static struct journal *journal_new(struct vault *vault)
{
	struct journal *j = calloc(1, sizeof *j);
	struct rlimit limit;
	pthread_condattr_t attr;

	if (!j)
		return NULL;
	j->vault = vault;
	j->dir_fd = -1;
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++)
		j->seg[n].fd = -1;
	j->owned_max = OWNED_MAX;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	    limit.rlim_cur / 8 < OWNED_MAX)
		j->owned_max = limit.rlim_cur / 8;
	if (j->owned_max < OWNED_MIN)
		j->owned_max = OWNED_MIN;
	pthread_mutex_init(&j->append_lock, NULL);
	pthread_cond_init(&j->room, NULL);
	pthread_mutex_init(&j->commit_lock, NULL);
	pthread_mutex_init(&j->retire_lock, NULL);
	for (unsigned n = 0; n < JOURNAL_TIMES_LOCKS; n++)
		pthread_mutex_init(&j->times[n].lock, NULL);
	pthread_mutex_init(&j->files_lock, NULL);
	pthread_mutex_init(&j->flux_lock, NULL);
	pthread_mutex_init(&j->wake_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&j->wake, &attr);
	pthread_cond_init(&j->ends, &attr);
	j->durable_s = INT64_MIN;
	pthread_condattr_destroy(&attr);
	j->key = journal_key_(vault);
	if (!j->key) {
		journal_free(j);
		return NULL;
	}
	return j;
}

/* As the file system says, and no cache. */
static int read_number(int fd, const char *name, uint64_t *number)
{
	const int flags = AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC |
			  (name[0] ? 0 : AT_EMPTY_PATH);
	struct statx stx;

	if (statx(fd, name, flags, STATX_INO, &stx) < 0)
		return -errno;
	*number = stx.stx_ino;
	return 0;
}

/*
 * Files are told apart by their inode numbers, as long as they are open at
 * least. Some file systems make them of the name, or have one for all.
 * -EOPNOTSUPP: this one.
 */
static int create_numbered(struct journal *j, struct segment *s)
{
	const char temp[] = NAME_TEMP_PREFIX "segment";
	uint64_t before = 0, after = 0, found = 0, other = 0;
	int err;

	(void)!unlinkat(j->dir_fd, temp, 0);
	s->fd = openat(j->dir_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		       0600);
	if (s->fd < 0)
		return -errno;
	err = read_number(s->fd, "", &before);
	if (!err && renameat(j->dir_fd, temp, j->dir_fd, s->name) < 0)
		err = -errno;
	if (!err)
		err = read_number(s->fd, "", &after);
	if (!err)
		err = read_number(j->dir_fd, s->name, &found);
	if (!err && s != j->seg)
		err = read_number(j->seg->fd, "", &other);
	if (err) {
		(void)!unlinkat(j->dir_fd, temp, 0);
		return err;
	}
	return before == after && before == found && before != other
		       ? 0
		       : -EOPNOTSUPP;
}

static int create_segments(struct journal *j)
{
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++) {
		struct segment *s = &j->seg[n];
		struct stat st;
		int err;

		journal_segment_name_(j->session, n, s->name);
		err = create_numbered(j, s);
		if (!err && fstat(s->fd, &st) < 0)
			err = -errno;
		if (err)
			return err;
		j->counts_links = st.st_nlink > 0;
		j->dev = st.st_dev;
		err = vtree_own(j->vault, s->fd);
		if (!err)
			err = journal_write_head_(j, s->fd);
		if (err)
			return err;
		journal_begin_segment_(j, s);
	}
	return 0;
}

/*
 * A full disk is a usual way to die: room for what recovery writes, which gives
 * it up first of all. Without it, it may have to wait until there is some.
 */
static void create_reserve(struct journal *j)
{
	const struct journal_ids ids = journal_ids_of_(j, JOURNAL_BOTH);
	char name[JOURNAL_NAME_LEN + 1];
	uint8_t head[JOURNAL_HEAD_LEN];
	CLEANUP_FD int fd = -1;

	journal_segment_name_(j->session, JOURNAL_RESERVE, name);
	fd = openat(j->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return;
	if (fallocate(fd, 0, 0, JOURNAL_RESERVE_BYTES) < 0)
		(void)!ftruncate(fd, 0);
	journal_head_build(&ids, head);
	if (vtree_own(j->vault, fd) || xio_pwrite(fd, head, sizeof head, 0))
		(void)!unlinkat(j->dir_fd, name, 0);
}

/* What one that has ended wrote may not be durable yet: this one looks there,
 * too, and takes its place. */
static void take_over(struct journal *j, const struct journal_session *ended)
{
	/* one that comes back would be taken for one that was put back */
	bool gone = unlinkat(j->dir_fd, JOURNAL_ENDED_FILE, 0) == 0 &&
		    fsync(j->dir_fd) == 0;

	if (ended && gone && j->vault->remembers)
		(void)!seen_session_end(j->vault, ended->id, ended->start_s);
}

/* One that cannot be read now may be of what is not durable yet. */
static int find_ended(struct journal *j, struct journal_session *ended,
		      bool *found)
{
	int err = journal_session_read_(j->vault, j->dir_fd, JOURNAL_ENDED_FILE,
					ended);

	*found = !err;
	return err == -ENOENT || err == -EBADMSG ? 0 : err;
}

static int begin(struct journal *j)
{
	struct journal_session s, ended;
	bool has_ended = false;
	int err = rekey_open_journal(j->vault, true, &j->dir_fd);

	if (err)
		return err;
	if (faccessat(j->dir_fd, JOURNAL_SESSION_FILE, F_OK,
		      AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST; /* one that has not been recovered */
	/* of a session that ended; unless nobody could tell */
	if (faccessat(j->dir_fd, JOURNAL_DAMAGED_FILE, F_OK,
		      AT_SYMLINK_NOFOLLOW) != 0)
		err = journal_remove_stale_(j->dir_fd);
	if (!err)
		err = journal_kept_pass_(j->vault, j->dir_fd);
	if (!err)
		err = journal_session_init_(j->dir_fd, &s);
	if (!err)
		err = find_ended(j, &ended, &has_ended);
	if (err)
		return err;
	if (has_ended && ended.start_s < s.start_s)
		s.start_s = ended.start_s;
	memcpy(j->session, s.id, sizeof j->session);
	j->start_s = (int64_t)s.start_s;
	err = create_segments(j);
	if (!err)
		create_reserve(j);
	/* last: it makes all entries of the directory durable */
	if (!err)
		err = journal_session_write_(j->vault, j->dir_fd, &s);
	/* now, as there may be no descriptors to spare later */
	if (!err)
		err = journal_keep_session_(j);
	if (!err)
		take_over(j, has_ended ? &ended : NULL);
	if (err) {
		unlinkat(j->dir_fd, JOURNAL_SESSION_FILE, 0);
		(void)!journal_remove_own_(j->dir_fd, j->session);
	}
	return err;
}

int journal_begin(struct vault *vault)
{
	struct journal *j;
	int err;

	if (vault->journal || !vault->exclusive)
		return -EINVAL;
	j = journal_new(vault);
	if (!j)
		return -ENOMEM;
	err = begin(j);
	if (err) {
		journal_free(j);
		return err;
	}
	vault->journal = j;
	return 0;
}

int journal_run(struct vault *vault)
{
	struct journal *j = vault->journal;
	int err = j ? journal_thread_start_(j) : 0;

	/* without it a crash reaches further back, and that is all */
	if (j && !err)
		(void)!journal_keeper_start_(j);
	return err;
}

int journal_start(struct vault *vault)
{
	int err = journal_begin(vault);

	if (err)
		return err;
	err = journal_run(vault);
	if (err)
		(void)journal_stop(vault);
	return err;
}

/*
 * Everything is in its place, if not durable. Making all that was written so
 * can take as long as the disk is busy, with others' bytes as well: whoever
 * wants to mount the vault does not have to wait for it.
 */
static int end_session(struct journal *j)
{
	struct journal_session s;
	int err = journal_remove_own_(j->dir_fd, j->session);
	bool gone;

	if (err)
		return err;
	gone = renameat(j->dir_fd, JOURNAL_SESSION_FILE, j->dir_fd,
			JOURNAL_ENDED_FILE) < 0;
	if (gone && errno != ENOENT)
		return -errno;
	vault_unlock(j->vault);
	memory_mark(j->vault);
	if (syncfs(j->dir_fd) < 0)
		return -errno;
	/* what fails is tried again by memory_close() */
	(void)!memory_keep(j->vault);
	/* somebody has removed it: no mount takes it for one that did not end
	 */
	if (gone)
		return 0;
	err = vault_lock(j->vault, false, false);
	if (err)
		return err == -EBUSY ? 0 : err;
	/* another one may have come and ended meanwhile */
	if (journal_session_read_(j->vault, j->dir_fd, JOURNAL_ENDED_FILE,
				  &s) != 0 ||
	    memcmp(s.id, j->session, sizeof s.id) != 0)
		return 0;
	if (unlinkat(j->dir_fd, JOURNAL_ENDED_FILE, 0) < 0 ||
	    fsync(j->dir_fd) < 0)
		return -errno;
	if (j->vault->remembers)
		(void)!seen_session_end(j->vault, j->session,
					(uint64_t)j->start_s);
	return 0;
}

/* An end that could not be marked: the next mount does that. */
static int look_for_flux(struct journal *j)
{
	int err = 0;

	pthread_mutex_lock(&j->files_lock);
	for (size_t b = 0; b < JOURNAL_BUCKETS; b++)
		for (const struct journal_file *jf = j->files[b]; jf;
		     jf = jf->next)
			if (jf->flux && !journal_is_removed_(jf))
				err = -EIO;
	pthread_mutex_unlock(&j->files_lock);
	return err;
}

static void say_end(const struct journal *j, int err, bool lost)
{
	if (err && lost)
		log_error("%s: somebody has removed the journal of this mount, "
			  "and not all that it held could be brought to its "
			  "place (%s): that is lost",
			  j->vault->path, strerror(-err));
	else if (err)
		log_error("%s: the journal is kept (%s); the next mount goes "
			  "on from it",
			  j->vault->path, strerror(-err));
	journal_mind_ini_(j);
}

int journal_stop(struct vault *vault)
{
	struct journal *j = vault->journal;
	bool lost;
	int err;

	if (!j)
		return 0;
	journal_keeper_stop_(j);
	journal_thread_stop_(j);
	err = journal_flush(vault);
	/* what has failed once is written elsewhere */
	if (err)
		err = journal_flush(vault);
	lost = err && journal_is_lost_(j);
	/* nor where another one has the vault, and may have what is newer */
	if (lost && err != -EBUSY)
		err = journal_save_(j);
	if (!err)
		err = look_for_flux(j);
	vault->journal = NULL;
	journal_forget_files_(j);
	if (!err)
		err = end_session(j);
	say_end(j, err, lost);
	journal_keeper_join_(j);
	journal_free(j);
	return err;
}

void journal_counters(struct vault *vault, struct journal_counters *out)
{
	struct journal *j = vault->journal;

	*out = (struct journal_counters){0};
	if (!j)
		return;
	out->records = j->records;
	out->bytes = j->bytes;
	out->commits = j->commits;
	out->applied = j->applied;
	out->pending = j->pending;
}
