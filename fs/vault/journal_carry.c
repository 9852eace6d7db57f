/*
 * One file that cannot be written must not keep a segment from being emptied:
 * what it has there and what is not in its place for good goes to the other
 * segment.
 */
#include "journal_internal.h"

#include "chunk.h"
#include "xio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* So many chunks following one another. */
static size_t run_of(const struct journal_entry *e, size_t count)
{
	size_t n = 1;

	while (n < count && n < WORKSPACE_CHUNKS &&
	       e[n].chunk == e[0].chunk + n && e[n].len == e[0].len &&
	       e[n].segment == e[0].segment)
		n++;
	return n;
}

static int read_tokens(const struct journal *j, const struct journal_entry *e,
		       size_t count, uint8_t *buf, size_t *len)
{
	*len = 0;
	for (size_t i = 0; i < count; i++) {
		int err = xio_pread(j->seg[e[i].segment].fd, buf + *len,
				    e[i].len, (off_t)e[i].offset);

		if (err || journal_sum_(buf + *len, e[i].len) != e[i].sum)
			return -EBADMSG;
		*len += e[i].len;
	}
	return 0;
}

/* There is no other token of the last chunk than one with its mark. */
static bool is_tail(const struct journal_file *jf,
		    const struct journal_entry *e)
{
	uint64_t size = jf->size;

	return e->chunk == chunk_last_index(size) &&
	       e->len == chunk_backing_len(size) - chunk_offset(e->chunk);
}

/*
 * Needs the append_lock, so nobody has a newer record of these chunks. How
 * much is durable is said elsewhere.
 */
static int carry_run(struct journal_file *jf, const struct journal_entry *e,
		     size_t count, uint8_t *buf)
{
	bool tail = is_tail(jf, e);
	struct journal_head head = {
		.kind = JOURNAL_KIND_TOKENS,
		.ino = jf->ino,
		.size = tail ? jf->size : JOURNAL_SIZE_KEPT,
		.before = tail ? jf->size : 0,
		.first = e->chunk,
		.count = count,
		.marked = jf->holes_known,
		.holes = jf->holes,
	};
	const struct journal_put put = {
		.head = &head,
		.tokens = buf,
		.tail = tail,
		.quiet = true,
		.hurry = true,
	};
	size_t len;
	int err = read_tokens(jf->journal, e, count, buf, &len);

	/* what nobody could read would hide all that follows it */
	if (!err && !tail && len != count * CHUNK_TOKEN_LEN)
		err = -EIO;
	if (err)
		return err;
	memcpy(head.file_id, jf->id, sizeof head.file_id);
	head.len = (uint32_t)len;
	return journal_append_locked_(jf, &put);
}

static int carry(struct journal_file *jf, unsigned segment,
		 const struct journal_snapshot *s)
{
	uint8_t *buf = malloc(JOURNAL_TOKENS_MAX);
	int err = buf ? 0 : -ENOMEM;

	for (size_t i = 0, n = 1; i < s->count && !err; i += n) {
		const struct journal_entry *e = &s->entries[i];

		n = 1;
		if (e->segment != segment)
			continue;
		/* the last chunk's record says more */
		n = run_of(e, s->count - i);
		if (n > 1 && e[n - 1].chunk == chunk_last_index(jf->size))
			n--;
		err = carry_run(jf, e, n, buf);
	}
	free(buf);
	return err;
}

static int carry_entries(struct journal_file *jf, unsigned segment)
{
	struct journal_snapshot s = {0};
	int err = journal_snapshot_(jf, &s);

	if (!err)
		err = carry(jf, segment, &s);
	free(s.entries);
	return err;
}

static int carry_hole(struct journal_file *jf, uint64_t first, uint64_t end)
{
	struct journal_head head = {
		.kind = JOURNAL_KIND_HOLES,
		.ino = jf->ino,
		.size = JOURNAL_SIZE_KEPT,
		.before = vault_now(jf->journal->vault),
		.first = first,
		.count = end - first,
		.marked = true,
		.holes = jf->holes_known ? jf->holes : CHUNK_HOLES_ANYWHERE};
	const struct journal_put put = {
		.head = &head, .quiet = true, .hurry = true};

	memcpy(head.file_id, jf->id, sizeof head.file_id);
	return journal_append_locked_(jf, &put);
}

/* But for what has been written there since: that has entries, all of it. */
static int carry_holes(struct journal_file *jf, unsigned segment,
		       const struct journal_holes *holes)
{
	struct journal_snapshot s = {0};
	int err = holes->count > 0 ? journal_snapshot_(jf, &s) : 0;

	for (size_t n = 0; n < holes->count && !err; n++)
		if (holes->list[n].segment == segment)
			err = journal_each_hole_(jf, &s, &holes->list[n],
						 carry_hole);
	free(s.entries);
	return err;
}

/* Needs applying and append_lock: nothing comes, and nothing goes. */
static int keep(struct journal_file *jf, unsigned segment)
{
	struct journal_holes holes = {0};
	int err = 0;

	/* is what was brought in place needed here as well? */
	if (jf->lost || jf->durable != jf->changed)
		err = journal_reread_(jf, &holes);
	if (!err)
		err = carry_entries(jf, segment);
	if (err == -EBADMSG) {
		journal_give_up_(jf);
		err = carry_entries(jf, segment);
	}
	if (!err)
		err = carry_holes(jf, segment, &holes);
	free(holes.list);
	return err == -EBADMSG ? -EIO : err;
}

int journal_keep_(struct journal_file *jf, unsigned segment)
{
	int err;

	pthread_mutex_lock(&jf->applying);
	pthread_mutex_lock(&jf->journal->append_lock);
	err = keep(jf, segment);
	pthread_mutex_unlock(&jf->journal->append_lock);
	pthread_mutex_unlock(&jf->applying);
	return err;
}
