/*
 * Chunks go to their place: once their records are durable, at most half a
 * second after they were written. Once that is durable, too, the records have
 * served.
 */
#include "journal_internal.h"

#include "chunk.h"
#include "clock.h"
#include "log.h"
#include "xio.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum {
	TICK_MS = 250,
	IDLE_MS = 2000,
	/* so long a file that is gone may keep its room, at most, and... */
	RETIRE_MS = 5000,
	CLOSED_MAX = 16, /* ...so many closed ones their descriptors */
	BATCH_BYTES = 1 << 18,
	BATCH_RUNS = 64,
};

static int by_chunk(const void *a, const void *b)
{
	uint64_t x = ((const struct journal_entry *)a)->chunk;
	uint64_t y = ((const struct journal_entry *)b)->chunk;

	return x < y ? -1 : x > y;
}

int journal_snapshot_(struct journal_file *jf, struct journal_snapshot *s)
{
	int err = 0;

	pthread_rwlock_rdlock(&jf->lock);
	if (jf->count > 0) {
		s->entries = malloc(jf->count * sizeof *s->entries);
		if (!s->entries)
			err = -ENOMEM;
	}
	for (size_t i = 0; s->entries && i < jf->room; i++)
		if (jf->slots[i].chunk != UINT64_MAX &&
		    jf->slots[i].segment != JOURNAL_NOWHERE)
			s->entries[s->count++] = jf->slots[i];
	s->size = jf->size;
	s->tail = jf->tail;
	s->position = jf->position;
	pthread_rwlock_unlock(&jf->lock);
	if (s->count > 1)
		qsort(s->entries, s->count, sizeof *s->entries, by_chunk);
	return err;
}

/* Read entries of neighbouring chunks: *used of them, *len bytes. -EBADMSG:
 * some token is lost. */
static int read_run(const struct journal *j, const struct journal_entry *e,
		    size_t count, uint8_t *buf, size_t room, size_t *used,
		    size_t *len)
{
	size_t n = 0, at = 0;

	while (n < count && e[n].chunk == e[0].chunk + n &&
	       at + e[n].len <= room) {
		size_t m = n + 1, bytes = e[n].len;
		int err;

		while (m < count && e[m].chunk == e[0].chunk + m &&
		       e[m].segment == e[n].segment &&
		       e[m].offset == e[n].offset + bytes &&
		       at + bytes + e[m].len <= room) {
			bytes += e[m].len;
			m++;
		}
		err = xio_pread(j->seg[e[n].segment].fd, buf + at, bytes,
				(off_t)e[n].offset);
		for (; n < m && !err; at += e[n++].len)
			if (journal_sum_(buf + at, e[n].len) != e[n].sum)
				err = -EBADMSG;
		if (err)
			return -EBADMSG;
	}
	*used = n;
	*len = at;
	return 0;
}

/* Where the last token ends the file already, room behind it stays reserved. */
static int put_end(struct journal_file *jf, off_t end)
{
	struct stat st;

	if (fstat(jf->fd, &st) < 0)
		return -errno;
	if (st.st_size == end)
		return 0;
	if (ftruncate(jf->fd, end) < 0)
		return -errno;
	if (st.st_size > end)
		jf->cut = ++jf->changed;
	return 0;
}

/* Some runs, the modification time as it was. */
static int write_batch(struct journal_file *jf,
		       const struct journal_snapshot *s, size_t *done)
{
	struct journal_mtime kept;
	size_t total = 0, n, len;
	int err = journal_mtime_keep_(jf->journal, jf->fd, jf->ino, &kept);

	if (err)
		return err;
	for (int runs = 0; !err && runs < BATCH_RUNS && *done < s->count &&
			   total < BATCH_BYTES;
	     runs++) {
		const struct journal_entry *e = &s->entries[*done];

		err = read_run(jf->journal, e, s->count - *done, s->buf,
			       BATCH_BYTES + CHUNK_LAST_MAX, &n, &len);
		if (!err)
			err = xio_pwrite(jf->fd, s->buf, len,
					 (off_t)chunk_offset(e->chunk));
		if (err)
			break;
		*done += n;
		total += len;
	}
	/* a newer one comes after it, perhaps behind room that this one took */
	if (!err && *done == s->count && s->tail && s->tail == jf->tail)
		err = put_end(jf, (off_t)chunk_backing_len(s->size));
	jf->changed++;
	journal_mtime_restore_(&kept);
	return err;
}

static int write_in_place(struct journal_file *jf, struct journal_snapshot *s)
{
	size_t done = 0;
	int err;

	s->buf = malloc(BATCH_BYTES + CHUNK_LAST_MAX);
	if (!s->buf)
		return -ENOMEM;
	do {
		err = write_batch(jf, s, &done);
	} while (!err && done < s->count);
	return err;
}

/* Reads find it in place from now on, save for what is newer. */
static void forget_entries(struct journal_file *jf,
			   const struct journal_snapshot *s)
{
	pthread_rwlock_wrlock(&jf->lock);
	jf->drained++;
	for (size_t i = 0; i < s->count; i++) {
		const struct journal_entry *was = &s->entries[i];
		const struct journal_entry *is = journal_entry_(jf, was->chunk);

		if (is && is->segment == was->segment &&
		    is->offset == was->offset)
			journal_drop_(jf, was->chunk);
	}
	if (jf->tail == s->tail)
		jf->tail = 0;
	journal_trim_(jf);
	pthread_rwlock_unlock(&jf->lock);
	jf->journal->applied += s->count;
}

/* Needs applying, and so the segments stay. */
static int bring_in_place(struct journal_file *jf)
{
	struct journal_snapshot s = {0};
	int err = journal_snapshot_(jf, &s);

	if (!err && (s.count > 0 || s.tail)) {
		err = journal_commit_(jf->journal, s.position, NULL);
		if (!err)
			err = write_in_place(jf, &s);
		if (!err)
			forget_entries(jf, &s);
	}
	free(s.buf);
	free(s.entries);
	return err;
}

int journal_drain_(struct journal_file *jf)
{
	int err;

	pthread_mutex_lock(&jf->applying);
	err = bring_in_place(jf);
	if (err == -EBADMSG) {
		journal_give_up_(jf);
		err = bring_in_place(jf);
	}
	if (err == -EBADMSG)
		err = -EIO;
	jf->error = err;
	pthread_mutex_unlock(&jf->applying);
	return err;
}

void journal_owe_(struct journal_file *jf, int err)
{
	jf->why = err;
	jf->untold = err;
	jf->failed = ++jf->journal->failures;
}

int journal_sync_file_(struct journal_file *jf)
{
	uint64_t changed;
	int err = 0;

	/* Who finds it durable must not come before it is. */
	pthread_mutex_lock(&jf->sync_lock);
	changed = jf->changed;
	if (changed != jf->durable) {
		if (fdatasync(jf->fd) == 0) {
			/* what an earlier one has lost is not */
			if (!jf->lost)
				jf->durable = changed;
		} else {
			/* this was the one time that the kernel says so */
			err = -errno;
			journal_owe_(jf, err);
			jf->lost = true;
		}
	}
	/* others may have been told */
	if (jf->lost && !err)
		err = -EIO;
	pthread_mutex_unlock(&jf->sync_lock);
	return err;
}

bool journal_is_removed_(const struct journal_file *jf)
{
	struct stat st;

	return jf && jf->journal->counts_links && fstat(jf->fd, &st) == 0 &&
	       st.st_nlink == 0;
}

static int drain(struct journal_file *jf, unsigned segment)
{
	(void)segment;
	/* an end that nobody will look for needs no mark */
	if (jf->flux && jf->owns_fd && journal_is_removed_(jf))
		jf->flux = false;
	return journal_waits_(jf) ? 0 : journal_drain_(jf);
}

/* Is it time to empty the segments, if they are not full? What cannot be
 * brought to its place need not be carried to and fro. */
static bool is_due(const struct journal *j, int64_t now)
{
	int64_t since = now - j->retired_ms;

	if (j->failing > 0)
		return since >= JOURNAL_AGAIN_MS;
	return since >= RETIRE_MS || now - j->last_append_ms >= IDLE_MS ||
	       j->closed > CLOSED_MAX;
}

/* Is there anything to come back for? */
static bool look_around(struct journal *j)
{
	int64_t now = clock_now_ms();
	bool flux = vfile_settle_old_(j, now - JOURNAL_SETTLE_MS);
	bool due, left;

	(void)!journal_for_all_(j, drain, 0);
	due = is_due(j, now);
	if (due)
		j->retired_ms = now;
	(void)!journal_retire_(j, due, false, NULL);
	left = journal_sweep_(j, j->closed > CLOSED_MAX);
	return flux || left || journal_has_records_(j);
}

void journal_wake_(struct journal *j, bool at_once)
{
	if (j->working && !at_once)
		return;
	pthread_mutex_lock(&j->wake_lock);
	j->working = true;
	if (at_once)
		j->at_once = true;
	pthread_cond_signal(&j->wake);
	pthread_mutex_unlock(&j->wake_lock);
}

/* Sleep until it is time, or until there is something. Needs wake_lock. */
static void rest(struct journal *j)
{
	struct timespec until;

	if (!j->working && !j->stop)
		pthread_cond_wait(&j->wake, &j->wake_lock);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += TICK_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	while (!j->at_once && !j->stop &&
	       pthread_cond_timedwait(&j->wake, &j->wake_lock, &until) == 0)
		;
	j->at_once = false;
}

static void *work(void *arg)
{
	struct journal *j = arg;
	bool more;

	pthread_mutex_lock(&j->wake_lock);
	while (!j->stop) {
		rest(j);
		/* what comes from now on wakes it again */
		j->working = false;
		pthread_mutex_unlock(&j->wake_lock);
		more = look_around(j);
		pthread_mutex_lock(&j->wake_lock);
		if (more)
			j->working = true;
	}
	pthread_mutex_unlock(&j->wake_lock);
	return NULL;
}

int journal_thread_start_(struct journal *j)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	err = pthread_create(&j->thread, NULL, work, j);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	j->runs = err == 0;
	return -err;
}

void journal_thread_stop_(struct journal *j)
{
	if (!j->runs)
		return;
	pthread_mutex_lock(&j->wake_lock);
	j->stop = true;
	pthread_cond_signal(&j->wake);
	pthread_mutex_unlock(&j->wake_lock);
	pthread_join(j->thread, NULL);
}
