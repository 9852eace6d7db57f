/*
 * After a backing file could not be made durable: all that the segments hold of
 * it is to be brought to its place again.
 */
#include "journal_internal.h"

#include "chunk.h"
#include "log.h"
#include "xio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add_hole(struct journal_holes *h, uint64_t first, uint64_t count,
		    unsigned segment)
{
	void *more = realloc(h->list, (h->count + 1) * sizeof *h->list);

	if (!more)
		return -ENOMEM;
	h->list = more;
	h->list[h->count++] = (struct journal_hole){
		.first = first, .end = first + count, .segment = segment};
	return 0;
}

static void cut_holes(struct journal_holes *h, uint64_t end)
{
	for (size_t i = 0; i < h->count; i++)
		if (h->list[i].end > end)
			h->list[i].end = end;
}

/* A token of the chunk that is the last one now, but not as the last one. */
static bool denies_end(const struct journal_file *jf,
		       const struct journal_head *h)
{
	uint64_t last = chunk_last_index(jf->size);

	return h->kind == JOURNAL_KIND_TOKENS && h->first <= last &&
	       last - h->first < h->count &&
	       (h->size == JOURNAL_SIZE_KEPT ||
		chunk_last_index(h->size) != last);
}

/*
 * Such a token is of a growth that has failed, or a later record tells of the
 * chunk: what becomes the last one, or is written as the last one, has one that
 * says so. In place of the end it would be damage.
 */
static void enter_but_for_end(struct journal_file *jf,
			      const struct journal_put *put, unsigned segment,
			      uint64_t offset)
{
	uint64_t last = chunk_last_index(jf->size);
	const struct journal_entry *e = journal_entry_(jf, last);
	struct journal_entry was = {.chunk = UINT64_MAX};

	if (e)
		was = *e;
	journal_enter_record_(jf, put, segment, offset);
	if (was.chunk == last)
		journal_enter_(jf, &was);
	else
		journal_drop_(jf, last);
}

static int take_record(struct journal_file *jf, const struct journal_put *put,
		       unsigned segment, uint64_t offset,
		       struct journal_holes *holes)
{
	const struct journal_head *h = put->head;
	int err = 0;

	if (h->size != JOURNAL_SIZE_KEPT && h->size < h->before)
		cut_holes(holes, chunk_last_index(h->size));
	if (h->kind == JOURNAL_KIND_HOLES)
		err = add_hole(holes, h->first, h->count, segment);
	else
		err = journal_reserve_(jf, h->count);
	if (!err && denies_end(jf, h))
		enter_but_for_end(jf, put, segment, offset);
	else if (!err)
		journal_enter_record_(jf, put, segment, offset);
	return err;
}

/* Needs append_lock and the file's lock. */
static int read_segment(struct journal_file *jf, unsigned segment, uint8_t *buf,
			struct journal_holes *holes)
{
	struct journal *j = jf->journal;
	const struct segment *s = &j->seg[segment];
	struct journal_ids ids = journal_ids_of_(j, s->number);
	int err = 0;

	for (uint64_t at = JOURNAL_HEAD_LEN; at < s->end && !err;) {
		struct journal_head h;
		const struct journal_put put = {
			.head = &h, .tokens = buf + JOURNAL_RECORD_HEAD_LEN};
		uint64_t len = JOURNAL_RECORD_HEAD_LEN;

		err = journal_fetch_(j, s->fd, buf, (size_t)len, (off_t)at);
		if (!err && journal_record_tokens_(buf) <= JOURNAL_TOKENS_MAX)
			len += journal_record_tokens_(buf);
		if (!err)
			err = journal_fetch_(j, s->fd, buf, (size_t)len,
					     (off_t)at);
		if (!err)
			err = journal_record_parse(&ids, at, buf, (size_t)len,
						   &h);
		if (!err && h.ino == jf->ino &&
		    memcmp(h.file_id, jf->id, sizeof jf->id) == 0)
			err = take_record(jf, &put, segment,
					  at + JOURNAL_RECORD_HEAD_LEN, holes);
		at += len;
	}
	return err;
}

int journal_reread_(struct journal_file *jf, struct journal_holes *holes)
{
	struct journal *j = jf->journal;
	uint8_t *buf = malloc(JOURNAL_RECORD_HEAD_LEN + JOURNAL_TOKENS_MAX);
	int err = buf ? 0 : -ENOMEM;

	pthread_rwlock_wrlock(&jf->lock);
	for (unsigned n = 0; n < JOURNAL_SEGMENTS && !err; n++)
		err = read_segment(jf, n == 0 ? 1 - j->active : j->active, buf,
				   holes);
	/* what a failed growth has said */
	journal_drop_range_(jf, chunk_last_index(jf->size) + 1, UINT64_MAX - 1);
	pthread_rwlock_unlock(&jf->lock);
	free(buf);
	if (err != -EBADMSG)
		return err;
	log_error("%s: the disk does not give all that the journal held of a "
		  "file (inode %ju)",
		  j->vault->path, (uintmax_t)jf->ino);
	journal_owe_(jf, -EIO);
	return 0;
}

/* Not what has been written since: who reads it in place would find it gone. */
int journal_each_hole_(struct journal_file *jf,
		       const struct journal_snapshot *s,
		       const struct journal_hole *h,
		       int (*fn)(struct journal_file *jf, uint64_t first,
				 uint64_t end))
{
	uint64_t first = h->first;
	int err = 0;

	for (size_t i = 0; i < s->count && !err; i++) {
		uint64_t chunk = s->entries[i].chunk;

		if (chunk < first || chunk >= h->end)
			continue;
		if (chunk > first)
			err = fn(jf, first, chunk);
		first = chunk + 1;
	}
	return err || first >= h->end ? err : fn(jf, first, h->end);
}

static int punch(struct journal_file *jf, uint64_t first, uint64_t end)
{
	return journal_punch_(jf->fd, first, end - first);
}

static int punch_all(struct journal_file *jf, const struct journal_holes *holes)
{
	struct journal_snapshot s = {0};
	int err = holes->count > 0 ? journal_snapshot_(jf, &s) : 0;

	for (size_t i = 0; i < holes->count && !err; i++)
		err = journal_each_hole_(jf, &s, &holes->list[i], punch);
	free(s.entries);
	return err;
}

int journal_again_(struct journal_file *jf)
{
	struct journal *j = jf->journal;
	struct journal_holes holes = {0};
	int err;

	pthread_mutex_lock(&jf->applying);
	/* failing once more, meanwhile, makes it true again */
	jf->lost = false;
	pthread_mutex_lock(&j->append_lock);
	err = journal_reread_(jf, &holes);
	pthread_mutex_unlock(&j->append_lock);
	if (!err)
		err = punch_all(jf, &holes);
	jf->changed++;
	if (err)
		jf->lost = true;
	pthread_mutex_unlock(&jf->applying);
	free(holes.list);
	return err;
}
