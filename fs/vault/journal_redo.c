/* One file of a session that did not end: redone, looked at, mended. */
#include "journal_recover.h"

#include "bytes.h"
#include "log.h"
#include "vfile_slot.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Clocks of files are coarse, and the journal is written now and then. */
enum { LATER_S = 10 };

/* Are the tokens in ws->tokens chunks of this file, all of them? */
static bool tokens_are_good(const struct journal_patient *p,
			    const struct journal_head *h)
{
	/* where the size is kept, none of them is the last */
	uint64_t size =
		h->size == JOURNAL_SIZE_KEPT ? CHUNK_MAX_PLAIN_LEN : h->size;
	bool can_claim = p->vault->version >= VAULT_VERSION_MAPS;
	struct workspace *ws = p->ws;
	size_t count = (size_t)h->count;

	for (size_t i = 0; i < count; i++) {
		struct slot s = slot_of(h->first + i, size);

		ws->open[i] = (struct fernet_open_job){
			.token = ws->tokens + i * CHUNK_TOKEN_LEN,
			.token_len = s.token_len,
			.plaintext = ws->plain + i * WORKSPACE_PLAIN_STRIDE};
	}
	workspace_count_opened(count);
	if (fernet_open(ws->fernet, p->key, ws->open, count) != 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		struct slot s = slot_of(h->first + i, size);
		const struct fernet_open_job *job = &ws->open[i];
		enum chunk_holes holes;

		if (!chunk_fits(job->plaintext, job->plaintext_len, s.plain_len,
				can_claim && !s.last) ||
		    chunk_tag_check(be64_load(job->plaintext), s.index, s.last,
				    &holes) != 0 ||
		    (s.last && !slot_padding_is_zero(
				       &s, ws->tokens + i * CHUNK_TOKEN_LEN)))
			return false;
	}
	return true;
}

int journal_punch_(int fd, uint64_t first, uint64_t count)
{
	uint64_t from = chunk_offset(first), to = chunk_offset(first + count);
	uint8_t zeros[CHUNK_TOKEN_LEN] = {0};
	int err = 0;

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)from, (off_t)(to - from)) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	for (; from < to && !err; from += sizeof zeros)
		err = xio_pwrite(fd, zeros, sizeof zeros, (off_t)from);
	return err;
}

static int read_tokens(struct recovery *rec, const struct journal_patient *p,
		       const struct journal_found *found)
{
	return xio_pread(rec->reader->segment[found->segment].fd, p->ws->tokens,
			 found->head.len,
			 (off_t)(found->offset + JOURNAL_RECORD_HEAD_LEN));
}

/* Into its place, but for what was cut off later. */
static int redo_record(struct recovery *rec, const struct journal_patient *p,
		       const struct logged *l)
{
	const struct journal_head *h = &l->found.head;
	uint64_t count = h->count;
	size_t len = h->len;
	int err;

	if (h->first >= l->limit)
		return 0;
	if (count > l->limit - h->first)
		count = l->limit - h->first;
	if (count == 0)
		return 0;
	if (h->kind == JOURNAL_KIND_FILL)
		return 0;
	if (h->kind == JOURNAL_KIND_HOLES)
		return journal_punch_(p->fd, h->first, count);
	err = read_tokens(rec, p, &l->found);
	if (err)
		return err;
	/* The zeros behind a long last token may be another's place by now. */
	if (len > count * CHUNK_TOKEN_LEN)
		len = (size_t)count * CHUNK_TOKEN_LEN;
	return xio_pwrite(p->fd, p->ws->tokens, len,
			  (off_t)chunk_offset(h->first));
}

/* Where the journal says that it ends, zeros and all. */
static int put_length(const struct journal_patient *p, uint64_t size)
{
	uint64_t end = chunk_backing_len(size);
	uint64_t slot_end = chunk_offset(chunk_last_index(size) + 1);

	if (end > slot_end && ftruncate(p->fd, (off_t)slot_end) < 0)
		return -errno;
	return ftruncate(p->fd, (off_t)end) < 0 ? -errno : 0;
}

/* Does the file end with what this record holds? */
static bool is_tail(const struct journal_head *h)
{
	return h->kind == JOURNAL_KIND_TOKENS && h->count > 0 &&
	       h->size != JOURNAL_SIZE_KEPT &&
	       h->first + h->count - 1 == chunk_last_index(h->size);
}

static void note_size(struct journal_patient *p, const struct journal_head *h,
		      uint64_t *size, bool *ends)
{
	if (h->floor > p->floor)
		p->floor = h->floor;
	if (h->marked)
		p->holes = h->holes;
	/* written anew since: zeros at its end are a program's */
	if (h->size == JOURNAL_SIZE_KEPT && h->count > 0 && p->before > 0 &&
	    chunk_last_index(p->before) - h->first < h->count)
		p->before = 0;
	/* one without chunks tells of what is durable, not of an end */
	if (h->size == JOURNAL_SIZE_KEPT || h->count == 0)
		return;
	if (h->size < p->floor)
		p->floor = h->size;
	if (is_tail(h))
		*ends = true;
	else if (h->size != h->before)
		*ends = false;
	if (h->size > h->before)
		p->before = h->before;
	*size = h->size;
}

/* Are the tokens of this record whole? *newest: the latest time of all. */
static int look_at_record(struct recovery *rec, const struct journal_patient *p,
			  const struct logged *l, bool *good, uint64_t *newest)
{
	const struct journal_head *h = &l->found.head;
	int err;

	*good = true;
	if (h->kind != JOURNAL_KIND_TOKENS || h->count == 0)
		return 0;
	err = read_tokens(rec, p, &l->found);
	if (err)
		return err;
	*good = tokens_are_good(p, h);
	for (uint64_t n = 0; n < h->count && *good; n++) {
		uint64_t sealed =
			fernet_timestamp(p->ws->tokens + n * CHUNK_TOKEN_LEN);

		*newest = sealed > *newest ? sealed : *newest;
	}
	return 0;
}

/*
 * Leave out the records that are not whole: one whose tokens are not was never
 * durable, and neither is what the session wrote after it. What an earlier
 * recovery wrote is no part of that: it was durable before it went over bytes
 * that were.
 */
static int take_whole(struct recovery *rec, const struct journal_patient *p,
		      struct file_log *fl, uint64_t *newest)
{
	const struct journal_segment_file *segments = rec->reader->segment;
	size_t taken = 0;
	/* anew each time: what one try has left are the whole ones */
	bool torn = false;

	for (size_t i = 0; i < fl->count; i++) {
		struct logged *l = &fl->log[i];
		bool mending =
			segments[l->found.segment].n == JOURNAL_MEND_SEGMENT;
		int err = 0;

		l->whole = mending || !torn;
		if (l->whole)
			err = look_at_record(rec, p, l, &l->whole, newest);
		if (err)
			return err;
		if (l->whole)
			continue;
		torn |= !mending;
		/* bytes that were whole have changed: it is not over */
		rec->reader->broken |= rec->exact && !mending;
		if (l->found.head.floor > fl->floor)
			fl->floor = l->found.head.floor;
	}
	for (size_t i = 0; i < fl->count; i++)
		if (fl->log[i].whole)
			fl->log[taken++] = fl->log[i];
	fl->count = taken;
	fl->torn |= torn;
	return 0;
}

/*
 * A chunk that was cut off may have grown again since, in place: what older
 * records say of it must not come over that. What became the last is in the
 * record of the cut.
 */
static void set_limits(struct logged *log, size_t count)
{
	uint64_t limit = UINT64_MAX;

	for (size_t i = count; i-- > 0;) {
		const struct journal_head *h = &log[i].found.head;

		log[i].limit = limit;
		if (h->size != JOURNAL_SIZE_KEPT && h->count > 0 &&
		    h->size < h->before && chunk_last_index(h->size) < limit)
			limit = chunk_last_index(h->size);
	}
}

/* What all of them together say of the file. */
static void note_all(struct journal_patient *p, const struct file_log *fl,
		     uint64_t *size, bool *ends)
{
	*ends = false;
	for (size_t i = 0; i < fl->count; i++)
		note_size(p, &fl->log[i].found.head, size, ends);
	/* what was durable then may be behind an end that has lost its record
	 */
	if (p->floor < fl->floor)
		p->floor = fl->floor;
	if (*ends && p->floor > *size)
		p->floor = *size;
}

/* Once all that is newer is in place: holes that were being filled. */
static int unfill(struct journal_patient *p, const struct logged *l)
{
	const struct journal_head *h = &l->found.head;
	uint64_t first = (p->floor + CHUNK_SIZE - 1) / CHUNK_SIZE;
	uint64_t end = h->first + h->count;
	int err;

	if (h->kind != JOURNAL_KIND_FILL)
		return 0;
	if (first < h->first)
		first = h->first;
	if (end > l->limit)
		end = l->limit;
	err = journal_unfill_(p, first, end);
	return err ? err : journal_judge_fill_(p, first, end);
}

/*
 * With the power, records may go that lie in front of others: what had filled a
 * hole, say, but not the chunk in it that came later, nor the claim in front
 * that was lowered then. What zeros are left so is the hole that it was.
 */
static int judge_claims(struct journal_patient *p, const struct logged *l)
{
	const struct journal_head *h = &l->found.head;
	uint64_t end = h->first + h->count;

	if (!p->wholly || h->kind != JOURNAL_KIND_TOKENS || h->count == 0 ||
	    end > l->limit)
		return 0;
	return journal_judge_behind_(p, end - 1);
}

static int redo_all(struct recovery *rec, struct journal_patient *p,
		    const struct file_log *fl, bool ends, uint64_t size)
{
	int err = 0;

	rec->wrote = true;
	for (size_t i = 0; i < fl->count && !err; i++)
		err = redo_record(rec, p, &fl->log[i]);
	for (size_t i = 0; i < fl->count && !err; i++)
		err = unfill(p, &fl->log[i]);
	for (size_t i = 0; i < fl->count && !err; i++)
		err = judge_claims(p, &fl->log[i]);
	return !err && ends ? put_length(p, size) : err;
}

/* Where what does not stay begins, if the file is to be so long. */
static uint64_t lost_from(uint64_t size)
{
	return chunk_offset(size ? chunk_last_index(size) + 1 : 0);
}

/*
 * What lies behind the end that the records say, and was not cut off by them:
 * growth that has lost its record, or another's. *left: there is no room to
 * keep it, and whoever asked for that goes on without, so it stays.
 */
static int keep_growth(struct recovery *rec, const struct journal_patient *p,
		       const struct file_log *fl, uint64_t size, bool *left)
{
	int err;

	for (size_t i = 0; i < fl->count; i++) {
		const struct journal_head *h = &fl->log[i].found.head;

		if (h->size == JOURNAL_SIZE_KEPT || h->count == 0)
			continue;
		size = h->size > size ? h->size : size;
		size = h->before > size ? h->before : size;
	}
	err = journal_keep_tail_(rec, p, lost_from(size), true);
	if (!rec->out->go_on || (err != -ENOSPC && err != -EDQUOT))
		return err;
	*left = true;
	return 0;
}

/*
 * Put the records in place. *size: where the journal says that it ends, if
 * *ends. *left: the file is newer, and stays as it is.
 */
static int redo(struct recovery *rec, struct journal_patient *p,
		struct file_log *fl, uint64_t *size, bool *ends, bool *left)
{
	uint64_t newest = 0;
	int err = take_whole(rec, p, fl, &newest);

	if (err)
		return err;
	set_limits(fl->log, fl->count);
	note_all(p, fl, size, ends);
	if (rec->doubtful || fl->torn || p->later)
		err = journal_is_newer_(p, fl, newest, left);
	if (err || *left || rec->out->look_only)
		return err;
	if (*ends)
		err = keep_growth(rec, p, fl, *size, left);
	return err || *left ? err : redo_all(rec, p, fl, *ends, *size);
}

/* Nobody knows enough to cut anything; NULL: somebody does. */
static const char *why_not(const struct recovery *rec)
{
	if (rec->rekeyed_unknown)
		return "a change of a file's key is not finished, and may be "
		       "this one's";
	if (rec->reader->mute)
		return "it may have been mended before, and what says so "
		       "cannot be read";
	return NULL;
}

/* What cannot be kept is not cut off, either; *waits: the file stays torn. */
static int keep_what_goes(struct recovery *rec, const struct journal_patient *p,
			  uint64_t size, bool *waits)
{
	const char *why = why_not(rec);
	int err = why ? 0 : journal_keep_tail_(rec, p, lost_from(size), false);

	if (err == -ENOSPC || err == -EDQUOT)
		why = "there is no room to keep what would be cut off";
	if (!why)
		return err;
	log_warning("%s/%s: its end is torn, and stays so: %s",
		    rec->vault->path, p->path, why);
	journal_tell_(rec, p, JOURNAL_BEYOND, 0);
	rec->failed++;
	*waits = true;
	return 0;
}

static int mend(struct recovery *rec, struct journal_patient *p, bool *waits)
{
	enum journal_state state = JOURNAL_SOUND;
	uint64_t size = 0;
	enum chunk_holes holes = CHUNK_HOLES_NONE;
	int err = journal_examine_(p, &state, &size, &holes);

	if (err || state == JOURNAL_SOUND)
		return err;
	if (state == JOURNAL_STRANGE) {
		journal_tell_(rec, p, JOURNAL_BEYOND, 0);
		return 0;
	}
	if (!rec->out->look_only)
		err = keep_what_goes(rec, p, size, waits);
	if (err || *waits)
		return err;
	if (!rec->out->look_only)
		err = journal_put_end_(rec, p, size, holes);
	if (!err)
		journal_tell_(rec, p, JOURNAL_MENDED, size);
	return err;
}

/* Its records, if they are; *mended: nothing more is to be done. */
static int treat_records(struct recovery *rec, struct journal_patient *p,
			 const struct stat *st, struct file_log *fl,
			 bool *mended)
{
	uint64_t size = 0;
	bool ends = false, left = false;
	int err = journal_is_used_(rec, p, st, &left);

	if (!err && !left)
		err = redo(rec, p, fl, &size, &ends, &left);
	if (err)
		return err;
	*mended = left || rec->out->look_only ||
		  (ends && !p->wholly && !p->unmapped);
	fl->done = !left;
	if (!left)
		journal_tell_(rec, p, JOURNAL_REDONE, size);
	else if (!fl->path)
		fl->path = strdup(p->path);
	fl->met |= left;
	return 0;
}

/*
 * As it was: nothing was written that a program has not written. As a rule all
 * becomes durable at the end, and what is sound is not touched.
 */
static int leave_written(const struct recovery *rec,
			 const struct journal_patient *p, const struct stat *st)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};

	if (!rec->wrote)
		return 0;
	(void)!futimens(p->fd, times);
	return rec->one_by_one && fsync(p->fd) < 0 ? -errno : 0;
}

static int treat(struct recovery *rec, struct journal_patient *p,
		 const struct stat *st)
{
	struct file_log *fl;
	enum journal_claim claim = journal_claim_(rec, p, st, &fl);
	bool mended = false, waits = false;
	int err = 0, left;

	/* another's records, or the same file by another name */
	if (claim == JOURNAL_DOUBT || (fl && fl->done))
		return 0;
	/* what it lacks since is not for want of that session */
	if (rec->again && !fl && !journal_is_untouched_(rec, st))
		return 0;
	rec->wrote = false;
	p->records = claim == JOURNAL_HOME;
	p->ino = fl ? fl->ino : st->st_ino;
	p->later = st->st_mtim.tv_sec > rec->last_s + LATER_S;
	if (fl)
		err = treat_records(rec, p, st, fl, &mended);
	if (!err && !mended)
		err = mend(rec, p, &waits);
	left = leave_written(rec, p, st);
	err = err ? err : left;
	if (fl && (err || waits))
		fl->done = false;
	/* without them nothing tells what is to be mended, and how */
	if (fl && waits)
		fl->met = true;
	return err;
}

/*
 * Its chunks are under two keys: all of it that opens by neither header alone
 * is in the redo file, and the next finishing of that finds it as it is.
 */
static bool is_rekeyed(struct recovery *rec, const struct journal_patient *p,
		       const uint8_t header[static HEADER_LEN])
{
	uint8_t id[FILE_ID_LEN];
	bool locked, found = false;

	if (header_probe(header, id, &locked) != 0)
		return false;
	for (size_t i = 0; i < rec->rekeyed_count && !found; i++)
		found = memcmp(rec->rekeyed[i], id, sizeof id) == 0;
	if (!found)
		return false;
	rec->skipped++;
	rec->failed++;
	if (!rec->out->look_only)
		log_warning("%s/%s: stays as it is until the change of its "
			    "key is finished",
			    rec->vault->path, p->path);
	return true;
}

int journal_treat_(struct recovery *rec, int dirfd, const char *entry,
		   const char *path, int fd)
{
	struct journal_patient p = {.vault = rec->vault,
				    .ws = rec->ws,
				    .fd = fd,
				    .path = path,
				    .key = rec->key,
				    .wholly = rec->wholly};
	uint8_t bytes[HEADER_LEN];
	struct header h;
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	err = xio_pread(fd, bytes, sizeof bytes, 0);
	if (!err && is_rekeyed(rec, &p, bytes))
		return 0;
	if (!err)
		err = header_parse(bytes, &rec->vault->keys->file_keys, &h);
	if (err == -EBADMSG || err == -ENODATA)
		return journal_treat_nothing_(rec, &p, dirfd, entry, &st);
	if (err == -ENOKEY)
		journal_meet_(rec, &p, &st);
	if (err)
		return err == -ENOKEY ? 0 : err;
	memcpy(p.file_id, h.file_id, sizeof p.file_id);
	fernet_key_init(p.key, h.file_key);
	sodium_memzero(&h, sizeof h);
	p.made = journal_is_made_(rec, fd, bytes);
	err = treat(rec, &p, &st);
	sodium_memzero(p.key, sizeof *p.key);
	return err;
}
