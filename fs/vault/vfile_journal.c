/* Files that are written through the journal. */
#include "vfile_internal.h"

#include "clock.h"
#include "log.h"
#include "xio.h"

#include <errno.h>
#include <string.h>

enum { OVERDUE_MS = 4 * JOURNAL_SETTLE_MS };

int vfile_journal_open_(struct vfile *f, const struct stat *st, uint64_t *size)
{
	struct journal_file *jf = f->jf;
	struct stat again;

	if (!f->journal)
		return chunk_shown_len((uint64_t)st->st_size, size);
	if (!jf)
		f->jf = jf = journal_find_(f->journal, st->st_dev, st->st_ino);
	if (jf && jf->tail) {
		*size = jf->size;
		return 0;
	}
	/* what the journal had of it may have got there just now */
	if (fstat(f->fd, &again) < 0)
		return -errno;
	return chunk_shown_len((uint64_t)again.st_size, size);
}

/*
 * The file has this one from now on, unless it has one: *jf. Who changes what
 * both of them say does so with the same lock, or here it would stay as it was.
 */
static bool adopt_jf(struct vfile *f, struct journal_file **jf)
{
	struct journal_file *have;

	pthread_mutex_lock(&f->marks_lock);
	have = f->jf;
	if (!have) {
		(*jf)->size = f->size;
		(*jf)->holes = f->holes;
		(*jf)->holes_known = f->holes_known;
		(*jf)->flux = f->flux;
		/* it may have been written in place before */
		(*jf)->changed++;
		f->jf = *jf;
	}
	pthread_mutex_unlock(&f->marks_lock);
	if (have)
		*jf = have;
	return !have;
}

int vfile_get_jf_(struct vfile *f, bool may_wait, struct journal_file **out)
{
	struct journal_file *jf = f->jf, *got;
	int err;

	if (!f->writable)
		return -EBADF;
	if (!jf) {
		err = journal_get_(f->journal, f->fd, f->id, f->size, may_wait,
				   &got);
		if (err)
			return err;
		jf = got;
		if (!adopt_jf(f, &jf))
			journal_put_back_(got);
	}
	*out = jf;
	return 0;
}

void vfile_note_written_(struct vfile *f)
{
	struct journal_file *jf = f->jf;

	if (f->journal && !f->journal->wrote)
		f->journal->wrote = true;
	f->written++;
	if (jf)
		jf->changed++;
}

static bool set_flux(struct vfile *f, bool flux)
{
	struct journal_file *jf;
	bool was;

	pthread_mutex_lock(&f->marks_lock);
	was = f->flux;
	f->flux = flux;
	jf = f->jf;
	if (jf)
		jf->flux = flux;
	pthread_mutex_unlock(&f->marks_lock);
	return was;
}

void vfile_enter_flux_(struct vfile *f)
{
	struct journal *j = f->journal;

	f->grown_ms = clock_now_ms();
	if (set_flux(f, true))
		return;
	pthread_mutex_lock(&j->flux_lock);
	if (!f->listed) {
		f->flux_prev = NULL;
		f->flux_next = j->flux;
		if (j->flux)
			j->flux->flux_prev = f;
		j->flux = f;
		f->listed = true;
	}
	pthread_mutex_unlock(&j->flux_lock);
	journal_wake_(j, false);
}

/* Needs the flux_lock. */
static void unlist(struct vfile *f)
{
	if (!f->listed)
		return;
	if (f->flux_prev)
		f->flux_prev->flux_next = f->flux_next;
	else
		f->journal->flux = f->flux_next;
	if (f->flux_next)
		f->flux_next->flux_prev = f->flux_prev;
	f->listed = false;
}

/* It stays on the list, from which the thread takes it. */
void vfile_leave_flux_(struct vfile *f)
{
	if (f->flux)
		(void)set_flux(f, false);
}

static enum chunk_holes holes_of(int flags)
{
	if (flags & RECORD_MAPPED)
		return CHUNK_HOLES_MAPPED;
	return flags & RECORD_HOLES ? CHUNK_HOLES_ANYWHERE : CHUNK_HOLES_NONE;
}

int vfile_put_record_(struct vfile *f, const uint8_t *tokens, uint64_t first,
		      size_t count, size_t len, uint64_t size, int flags)
{
	bool tail = first + count - 1 == chunk_last_index(size);
	bool kept = !tail && (flags & RECORD_KEEP);
	struct journal_head head = {.kind = JOURNAL_KIND_TOKENS,
				    .size = kept ? JOURNAL_SIZE_KEPT : size,
				    .before = kept ? 0 : f->size,
				    .floor = vfile_floor_(f),
				    .first = first,
				    .count = count,
				    .len = (uint32_t)len,
				    .marked = flags & RECORD_MARKED,
				    .holes = holes_of(flags)};
	const struct journal_put put = {.head = &head,
					.tokens = tokens,
					.tail = tail,
					.quiet = flags & RECORD_QUIET,
					.hurry = flags & RECORD_HURRY};
	struct journal_file *jf;
	int err = vfile_get_jf_(f, !(flags & RECORD_HURRY), &jf);

	if (err)
		return err;
	head.ino = jf->ino;
	memcpy(head.file_id, f->id, sizeof head.file_id);
	err = journal_append_(jf, &put);
	if (!err && tail) {
		vfile_leave_flux_(f);
		f->belied = false;
	}
	return err;
}

/* Whoever empties that segment waits for what is being applied. */
int vfile_make_known_(struct vfile *f, struct journal_file *jf)
{
	return vfile_is_new_(f) ? 0
				: journal_commit_(f->journal, jf->since, NULL);
}

/* Of what was gathered, in records of what fits into one. From the end, since
 * the last chunk claims the holes behind, and those in front are claimed still.
 */
int vfile_record_(struct vfile *f, const struct workspace *ws, uint64_t first,
		  size_t count, size_t stored_len)
{
	size_t end = count, n, len;
	int err = 0;

	for (size_t at; end > 0 && !err; end = at) {
		n = end < WORKSPACE_CHUNKS ? end : WORKSPACE_CHUNKS;
		at = end - n;
		len = n * CHUNK_TOKEN_LEN;
		if (end == count)
			len = stored_len - at * CHUNK_TOKEN_LEN;
		err = vfile_put_record_(f, ws->tokens + at * CHUNK_TOKEN_LEN,
					first + at, n, len, f->size,
					RECORD_KEEP);
	}
	return err;
}

int vfile_shrink_journaled_(struct vfile *f, struct workspace *ws,
			    uint64_t size, uint64_t *bad_chunk)
{
	uint64_t last = chunk_last_index(size);
	size_t stored_len;
	enum chunk_holes had = CHUNK_HOLES_NONE, holes;
	int err = vfile_settle_locked_(f, ws);

	if (!err)
		err = vfile_load_new_last_(f, ws, size, &had, bad_chunk);
	if (err)
		return err;
	holes = vfile_cut_gaps_(f, last);
	workspace_stage(ws, 0, chunk_tag(last, true, holes), ws->tail,
			chunk_last_len(size));
	err = vfile_seal_(f, ws, 1, true, &stored_len);
	if (!err)
		err = vfile_put_record_(f, ws->tokens, last, 1, stored_len,
					size, vfile_holes_flags_(holes));
	if (err) {
		vfile_forget_holes_(f);
		return err;
	}
	f->size = size;
	f->reserved = 0;
	pthread_mutex_lock(&f->marks_lock);
	f->cuts++;
	if (f->floor > size)
		f->floor = size;
	pthread_mutex_unlock(&f->marks_lock);
	pthread_mutex_lock(&f->fill_lock);
	if (f->solid > size)
		f->solid = size;
	pthread_mutex_unlock(&f->fill_lock);
	vfile_set_holes_(f, holes);
	memory_file_stored(f->memory, last, AGES_END, ws->sealed_s);
	return 0;
}

/*
 * First the record, durable, then the holes, and nobody empties the segment in
 * between. Those who apply must not wait for room.
 */
static int punch(struct vfile *f, struct workspace *ws, struct journal_file *jf,
		 const struct journal_put *put)
{
	const struct journal_head *h = put->head;
	int err;

	pthread_mutex_lock(&jf->applying);
	err = journal_append_(jf, put);
	if (!err)
		err = journal_commit_(f->journal, jf->position, NULL);
	if (!err) {
		err = vfile_zero_slots_(f, ws, h->first, h->first + h->count);
		vfile_note_written_(f);
	}
	pthread_mutex_unlock(&jf->applying);
	return err;
}

int vfile_punch_journaled_(struct vfile *f, struct workspace *ws,
			   uint64_t first, uint64_t last)
{
	struct journal_head head = {.kind = JOURNAL_KIND_HOLES,
				    .size = JOURNAL_SIZE_KEPT,
				    .before = vault_now(f->vault),
				    .floor = vfile_floor_(f),
				    .first = first,
				    .count = last - first,
				    .marked = true,
				    .holes = f->holes};
	const struct journal_put put = {.head = &head, .hurry = true};
	struct journal_file *jf;
	int err = vfile_get_jf_(f, true, &jf);

	/* what is taken away there may come back */
	f->gaps_stale = true;
	/* should it fail, what is in place is what they hold */
	if (!err)
		err = journal_drain_(jf);
	if (err)
		return err;
	head.ino = jf->ino;
	memcpy(head.file_id, f->id, sizeof head.file_id);
	err = punch(f, ws, jf, &put);
	/* and no crash is to make them later */
	if (err)
		(void)!journal_flush(f->vault);
	return err;
}

int vfile_touch_journaled_(struct vfile *f)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
					  {.tv_nsec = UTIME_NOW}};

	return futimens(f->fd, times) < 0 ? -errno : 0;
}

/* The last chunk once more, with its mark, into ws->tokens. */
static int seal_end(struct vfile *f, struct workspace *ws, size_t *stored_len,
		    enum chunk_holes *holes)
{
	uint64_t last = chunk_last_index(f->size);
	int err = vfile_load_chunk_(f, ws, last, ws->tail);

	if (!err)
		err = vfile_load_holes_(f, ws, holes);
	if (err)
		return err;
	workspace_stage(ws, 0, chunk_tag(last, true, *holes), ws->tail,
			chunk_last_len(f->size));
	return vfile_seal_(f, ws, 1, true, stored_len);
}

static int settle(struct vfile *f, struct workspace *ws, int flags)
{
	uint64_t last = chunk_last_index(f->size);
	enum chunk_holes holes;
	size_t stored_len;
	int err;

	if (!vfile_lacks_end_(f))
		return 0;
	err = seal_end(f, ws, &stored_len, &holes);
	if (!err)
		err = vfile_put_record_(
			f, ws->tokens, last, 1, stored_len, f->size,
			flags | RECORD_QUIET | vfile_holes_flags_(holes));
	if (!err)
		memory_file_stored(f->memory, last, AGES_END, ws->sealed_s);
	return err;
}

int vfile_settle_locked_(struct vfile *f, struct workspace *ws)
{
	return settle(f, ws, 0);
}

bool vfile_in_flux(const struct vfile *f)
{
	return f->flux;
}

bool vfile_is_settled(struct vfile *f)
{
	return !vfile_lacks_end_(f) && !vfile_is_loose_(f);
}

/* The journal does not take it: into its place, where it needs no room. */
static int settle_in_place(struct vfile *f, struct workspace *ws)
{
	uint64_t last = chunk_last_index(f->size);
	struct journal_mtime kept;
	size_t stored_len;
	enum chunk_holes holes;
	struct stat st;
	int err = seal_end(f, ws, &stored_len, &holes);

	if (err)
		return err;
	if (fstat(f->fd, &st) < 0)
		return -errno;
	err = journal_mtime_keep_(f->journal, f->fd, st.st_ino, &kept);
	if (err)
		return err;
	err = xio_pwrite(f->fd, ws->tokens, stored_len,
			 (off_t)chunk_offset(last));
	vfile_note_written_(f);
	journal_mtime_restore_(&kept);
	if (!err) {
		vfile_leave_flux_(f);
		memory_file_stored(f->memory, last, AGES_END, ws->sealed_s);
	}
	return err;
}

void vfile_settle(struct vfile *f)
{
	struct workspace *ws;
	struct range r;
	int err;

	vfile_tighten_(f);
	if (!vfile_lacks_end_(f))
		return;
	ws = workspace_get();
	if (!ws) {
		log_error("no memory to mark the end of a file");
		return;
	}
	rangelock_acquire(&f->ranges, &r, 0, RANGE_END, true);
	err = settle(f, ws, 0);
	if (err && journal_retire_(f->journal, true, false, NULL) == 0)
		err = settle(f, ws, 0);
	if (err && f->flux)
		err = settle_in_place(f, ws);
	rangelock_release(&f->ranges, &r);
	if (err)
		log_error("the end of a file cannot be marked: %s",
			  strerror(-err));
}

void vfile_journal_close_(struct vfile *f)
{
	if (!f->journal)
		return;
	if (journal_is_removed_(f->jf))
		vfile_leave_claims(f);
	vfile_settle(f);
	if (f->flux && journal_is_removed_(f->jf))
		vfile_leave_flux_(f);
	pthread_mutex_lock(&f->journal->flux_lock);
	unlist(f);
	pthread_mutex_unlock(&f->journal->flux_lock);
	if (journal_take_fd_(f->jf, f->fd))
		f->fd = -1;
	journal_put_back_(f->jf);
}

/* Where the journal has no room, none is made as long as an end has no mark. */
static int settle_anyhow(struct vfile *f, struct workspace *ws)
{
	int err = settle(f, ws, RECORD_HURRY);

	return err == -ENOSPC || err == -EDQUOT ? settle_in_place(f, ws) : err;
}

void vfile_settle_overdue_(struct vfile *f)
{
	struct workspace *ws = workspace_get();
	int64_t now = clock_now_ms();
	struct range r;

	if (!ws || now - f->grown_ms < OVERDUE_MS)
		return;
	/* others go on, and if it fails there is another time */
	f->grown_ms = now;
	rangelock_acquire(&f->ranges, &r, 0, RANGE_END, true);
	(void)!settle_anyhow(f, ws);
	rangelock_release(&f->ranges, &r);
}

bool vfile_settle_old_(struct journal *j, int64_t before_ms)
{
	struct workspace *ws = workspace_get();
	struct vfile *f, *next;
	bool left = false;

	if (!ws)
		return true;
	pthread_mutex_lock(&j->flux_lock);
	for (f = j->flux; f; f = next) {
		struct range r;

		next = f->flux_next;
		/* who waits here for a range could wait for this thread */
		if (f->grown_ms > before_ms ||
		    !rangelock_try(&f->ranges, &r, 0, RANGE_END, true)) {
			left = true;
			continue;
		}
		if (f->flux && settle_anyhow(f, ws) != 0)
			left = true;
		else
			unlist(f);
		rangelock_release(&f->ranges, &r);
	}
	pthread_mutex_unlock(&j->flux_lock);
	return left;
}
