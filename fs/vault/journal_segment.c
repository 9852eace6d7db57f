/* Appending to the segments, and making them durable. */
#include "journal_internal.h"

#include "chunk.h"
#include "clock.h"
#include "log.h"
#include "xio.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

struct journal_ids journal_ids_of_(const struct journal *j, uint64_t number)
{
	struct journal_ids ids = {.number = number, .key = j->key};

	memcpy(ids.vault_id, j->vault->id, sizeof ids.vault_id);
	memcpy(ids.session, j->session, sizeof ids.session);
	return ids;
}

/* All parts, whole. */
static int write_parts(int fd, struct iovec *part, int count, off_t offset)
{
	while (count > 0) {
		ssize_t n = pwritev(fd, part, count, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		offset += n;
		for (; count > 0 && (size_t)n >= part->iov_len; part++, count--)
			n -= (ssize_t)part->iov_len;
		if (count > 0) {
			part->iov_base = (uint8_t *)part->iov_base + n;
			part->iov_len -= (size_t)n;
		}
	}
	return 0;
}

/* A record where the segment ends, and the new end behind it. */
static int write_record(const struct journal *j, const struct segment *s,
			const struct journal_head *h, const uint8_t *tokens)
{
	const struct journal_ids ids = journal_ids_of_(j, s->number);
	uint8_t head[JOURNAL_RECORD_HEAD_LEN], end[JOURNAL_RECORD_HEAD_LEN];
	struct iovec part[] = {{head, sizeof head},
			       {(void *)(uintptr_t)tokens, h->len},
			       {end, sizeof end}};

	journal_record_build(&ids, h, s->end, tokens, head);
	journal_end_build(&ids, s->end + sizeof head + h->len, end);
	return write_parts(s->fd, part, 3, (off_t)s->end);
}

int journal_write_head_(const struct journal *j, int fd)
{
	uint8_t head[JOURNAL_EMPTY_LEN];
	struct journal_ids ids = journal_ids_of_(j, j->number + 1);

	journal_head_build(&ids, head);
	journal_end_build(&ids, JOURNAL_HEAD_LEN, head + JOURNAL_HEAD_LEN);
	return xio_pwrite(fd, head, sizeof head, 0);
}

void journal_begin_segment_(struct journal *j, struct segment *s)
{
	s->number = ++j->number;
	s->end = JOURNAL_HEAD_LEN;
	s->unmarked = false;
	s->uncommitted = false;
}

/* How long a segment may become by this. */
static uint64_t max_end(const struct journal_put *put)
{
	/* without which none is emptied; and offsets have 32 bits */
	if (put->note)
		return UINT32_MAX;
	return put->hurry ? JOURNAL_HURRY_MAX : JOURNAL_SEGMENT_MAX;
}

/*
 * The segment to append len bytes to. Waits while both are full, unless in a
 * hurry. Needs the append_lock.
 */
static int find_room(struct journal *j, size_t len,
		     const struct journal_put *put, struct segment **out)
{
	for (;;) {
		struct segment *s = &j->seg[j->active];
		struct segment *other = &j->seg[1 - j->active];
		int err;

		if (s->end + len <= max_end(put)) {
			*out = s;
			return 0;
		}
		if (journal_is_empty_(other)) {
			err = journal_mark_(j, s);
			if (err)
				return err;
			j->active = 1 - j->active;
		} else if (put->hurry) {
			return j->stuck ? j->stuck : -ENOSPC;
		} else {
			if (j->stuck)
				return j->stuck;
			journal_wake_(j, true);
			pthread_cond_wait(&j->room, &j->append_lock);
		}
	}
}

/* Of the record's token number i; zeros follow the file's last one. */
static uint16_t token_len(const struct journal_head *h, uint64_t i)
{
	return h->first + i == chunk_last_index(h->size)
		       ? (uint16_t)(h->len - i * CHUNK_TOKEN_LEN)
		       : CHUNK_TOKEN_LEN;
}

static uint64_t sum_of(const struct journal_put *put, uint64_t i)
{
	return journal_sum_(put->tokens + i * CHUNK_TOKEN_LEN,
			    token_len(put->head, i));
}

/* The record's tokens are the newest now. Needs lock and room. */
static void enter_tokens(struct journal_file *jf, const struct journal_put *put,
			 unsigned segment, uint64_t offset)
{
	const struct journal_head *h = put->head;

	/* KEPT is no smaller than any */
	if (h->size < h->before)
		journal_drop_range_(jf, chunk_last_index(h->size) + 1,
				    UINT64_MAX - 1);
	for (uint64_t i = 0; i < h->count; i++) {
		const struct journal_entry e = {
			.chunk = h->first + i,
			.segment = (uint8_t)segment,
			.offset = (uint32_t)(offset + i * CHUNK_TOKEN_LEN),
			.len = token_len(h, i),
			.sum = put->sums ? put->sums[i] : sum_of(put, i)};

		journal_enter_(jf, &e);
	}
}

void journal_enter_record_(struct journal_file *jf,
			   const struct journal_put *put, unsigned segment,
			   uint64_t offset)
{
	const struct journal_head *h = put->head;

	if (h->kind == JOURNAL_KIND_HOLES)
		journal_drop_range_(jf, h->first, h->first + h->count - 1);
	else if (h->kind == JOURNAL_KIND_TOKENS)
		enter_tokens(jf, put, segment, offset);
}

/* Needs the append_lock, so that later records come later here, too. */
static void take_effect(struct journal_file *jf, const struct journal_put *put,
			const struct journal_head *h, unsigned segment,
			uint64_t offset, uint64_t position)
{
	journal_enter_record_(jf, put, segment, offset);
	jf->position = position;
	if (h->size != JOURNAL_SIZE_KEPT)
		jf->size = h->size;
	if (jf->number != jf->journal->seg[segment].number)
		jf->since = position;
	jf->number = jf->journal->seg[segment].number;
	if (h->size < jf->shortest)
		jf->shortest = h->size;
	if (h->size < jf->solid)
		jf->solid = h->size;
	if (h->floor > jf->floor)
		jf->floor = h->floor;
	if (h->size < jf->floor)
		jf->floor = h->size;
	if (put->tail)
		jf->tail = position;
}

/*
 * The head as it is written: the floor is at no time above the end, though
 * another thread may just have moved that.
 */
static struct journal_head with_floor(const struct journal_file *jf,
				      const struct journal_put *put)
{
	struct journal_head h = *put->head;

	if (put->note)
		h.floor = jf->floor;
	if (h.floor > jf->size)
		h.floor = jf->size;
	return h;
}

/* The kind of what a reader finds behind the segment's end; 0: nothing whole,
 * negative: nobody can say. */
static int kind_behind(const struct segment *s, const struct journal_ids *ids)
{
	size_t len = JOURNAL_RECORD_HEAD_LEN;
	CLEANUP_FREE uint8_t *buf = malloc(len + JOURNAL_TOKENS_MAX);
	struct journal_head h;

	if (!buf || xio_pread(s->fd, buf, len, (off_t)s->end))
		return -1;
	if (journal_record_tokens_(buf) > JOURNAL_TOKENS_MAX)
		return 0;
	len += journal_record_tokens_(buf);
	if (xio_pread(s->fd, buf, len, (off_t)s->end) ||
	    journal_record_parse(ids, s->end, buf, len, &h) != 0)
		return 0;
	return (int)h.kind;
}

static int write_mark(const struct segment *s, const struct journal_ids *ids)
{
	uint8_t mark[JOURNAL_RECORD_HEAD_LEN];

	journal_end_build(ids, s->end, mark);
	return xio_pwrite(s->fd, mark, sizeof mark, (off_t)s->end);
}

int journal_mark_(const struct journal *j, struct segment *s)
{
	const struct journal_ids ids = journal_ids_of_(j, s->number);
	int err = s->unmarked ? write_mark(s, &ids) : 0;

	if (!err)
		s->unmarked = false;
	return err;
}

/* What is whole behind the segment's end must not be taken for written. */
static void take_back(const struct journal *j, struct segment *s)
{
	const struct journal_ids ids = journal_ids_of_(j, s->number);
	off_t len = (off_t)s->end;
	int kind;

	/* first: whoever dies between the two leaves one */
	if (write_mark(s, &ids) == 0) {
		s->unmarked = false;
		len += JOURNAL_RECORD_HEAD_LEN;
	} else {
		kind = kind_behind(s, &ids);
		s->unmarked = kind != JOURNAL_KIND_END;
		/* Where nothing is written in place, cutting takes room, too:
		 * without it the rest of the page becomes zeros, and those look
		 * like damage. */
		if (kind == 0 || kind == JOURNAL_KIND_END)
			return;
	}
	(void)!ftruncate(s->fd, len);
}

int journal_append_locked_(struct journal_file *jf,
			   const struct journal_put *put)
{
	struct journal *j = jf->journal;
	size_t len = JOURNAL_RECORD_HEAD_LEN + put->head->len;
	struct journal_head h;
	struct segment *s;
	int err;

	/* nobody could read it, nor what follows it */
	if (put->head->len > JOURNAL_TOKENS_MAX)
		return -EFBIG;
	err = find_room(j, len, put, &s);
	if (err)
		return err;
	/* now: the lock is not held while it waits for room */
	h = with_floor(jf, put);
	err = write_record(j, s, &h, put->tokens);
	pthread_rwlock_wrlock(&jf->lock);
	if (!err && h.kind == JOURNAL_KIND_TOKENS)
		err = journal_reserve_(jf, h.count);
	if (!err)
		take_effect(jf, put, &h, (unsigned)(s - j->seg),
			    s->end + JOURNAL_RECORD_HEAD_LEN,
			    j->appended + len);
	pthread_rwlock_unlock(&jf->lock);
	if (err) {
		take_back(j, s);
		return err;
	}
	s->end += len;
	s->unmarked = false;
	s->uncommitted = true;
	j->appended += len;
	j->wrote = true;
	j->records++;
	j->bytes += len;
	j->last_append_ms = clock_now_ms();
	return 0;
}

/* What cannot be brought to its place must not fill the journal. */
static int may_append(const struct journal_file *jf,
		      const struct journal_put *put)
{
	int why = jf->failing ? jf->failing : jf->error;

	return put->hurry || (jf->count <= JOURNAL_FAILING_MAX &&
			      jf->journal->kept <= JOURNAL_FAILING_MAX)
		       ? 0
		       : why;
}

int journal_append_(struct journal_file *jf, const struct journal_put *put)
{
	struct journal *j = jf->journal;
	struct journal_put summed = *put;
	uint64_t sums[WORKSPACE_CHUNKS];
	int err = may_append(jf, put);

	if (err)
		return err;
	/* before anybody has to wait for it */
	if (put->head->kind == JOURNAL_KIND_TOKENS &&
	    put->head->count <= WORKSPACE_CHUNKS) {
		for (uint64_t i = 0; i < put->head->count; i++)
			sums[i] = sum_of(put, i);
		summed.sums = sums;
	}
	pthread_mutex_lock(&j->append_lock);
	err = journal_append_locked_(jf, &summed);
	pthread_mutex_unlock(&j->append_lock);
	if (err)
		return err;
	if (!put->quiet)
		journal_touch_(jf, false);
	journal_wake_(j, false);
	return 0;
}

/* Needs the commit_lock. */
static int sync_segment(struct journal *j, unsigned n, int *met)
{
	struct segment *s = &j->seg[n];
	int err = 0, again;

	if (!s->suspect && !journal_is_gone_(j, n)) {
		if (fdatasync(s->fd) == 0)
			return 0;
		err = -errno;
		log_error("%s: the journal cannot be written: %s; it is "
			  "written anew",
			  j->vault->path, strerror(-err));
	}
	/* The kernel may have dropped what it could not write, and would say
	 * next time that all is well. */
	s->suspect = true;
	pthread_mutex_lock(&j->append_lock);
	again = journal_renew_(j, n, s->end);
	pthread_mutex_unlock(&j->append_lock);
	if (again)
		return again;
	s->suspect = false;
	if (err)
		*met = err;
	return 0;
}

/* Older segments first: without their records the newer ones' mean nothing. */
static int sync_segments(struct journal *j, uint64_t *reached, int *met)
{
	bool dirty[JOURNAL_SEGMENTS];
	unsigned older;
	int err = 0;

	pthread_mutex_lock(&j->append_lock);
	*reached = j->appended;
	older = 1 - j->active;
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++) {
		dirty[n] = j->seg[n].uncommitted || journal_is_gone_(j, n);
		j->seg[n].uncommitted = false;
	}
	pthread_mutex_unlock(&j->append_lock);
	err = journal_keep_session_(j);
	for (unsigned n = 0; n < JOURNAL_SEGMENTS && !err; n++) {
		unsigned which = n == 0 ? older : 1 - older;

		if (dirty[which])
			err = sync_segment(j, which, met);
	}
	if (!err)
		return 0;
	pthread_mutex_lock(&j->append_lock);
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++)
		j->seg[n].uncommitted |= dirty[n];
	pthread_mutex_unlock(&j->append_lock);
	return err;
}

int journal_commit_(struct journal *j, uint64_t position, int *met)
{
	uint64_t reached;
	int err = 0, overcome = 0;

	if (j->unrecorded || j->committed >= position)
		return 0;
	pthread_mutex_lock(&j->commit_lock);
	if (j->committed < position) {
		err = sync_segments(j, &reached, &overcome);
		if (!err) {
			j->committed = reached;
			j->commits++;
		}
	}
	pthread_mutex_unlock(&j->commit_lock);
	if (met && overcome)
		*met = overcome;
	return err;
}

/*
 * A new head with the next number: the old one goes at once or not at all, and
 * with it all that follows. Needs the commit_lock.
 */
static int empty(struct journal *j, unsigned n)
{
	struct segment *s = &j->seg[n];
	int err;

	journal_untwin_(j, n);
	if (!s->suspect && !journal_is_gone_(j, n)) {
		s->suspect = true;
		err = journal_write_head_(j, s->fd);
		if (!err && fdatasync(s->fd) < 0)
			err = -errno;
		if (err)
			return err;
	} else {
		pthread_mutex_lock(&j->append_lock);
		err = journal_renew_(j, n, 0);
		pthread_mutex_unlock(&j->append_lock);
		if (err)
			return err;
	}
	s->suspect = false;
	return 0;
}

int journal_void_(struct journal *j, unsigned segment)
{
	struct segment *s = &j->seg[segment];
	int err;

	/* Durable, or what it holds could come back and be older than what
	 * later ones had brought in place. */
	pthread_mutex_lock(&j->commit_lock);
	err = empty(j, segment);
	if (!err) {
		pthread_mutex_lock(&j->append_lock);
		journal_begin_segment_(j, s);
		pthread_cond_broadcast(&j->room);
		pthread_mutex_unlock(&j->append_lock);
	}
	pthread_mutex_unlock(&j->commit_lock);
	return err;
}

void journal_give_room_(struct journal *j)
{
	pthread_mutex_lock(&j->append_lock);
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++) {
		const struct segment *s = &j->seg[n];
		struct stat st;

		/* where one has failed, it is as long as it is */
		if (journal_is_empty_(s) && fstat(s->fd, &st) == 0 &&
		    st.st_size > JOURNAL_EMPTY_LEN)
			(void)!ftruncate(s->fd, JOURNAL_EMPTY_LEN);
	}
	pthread_mutex_unlock(&j->append_lock);
}
