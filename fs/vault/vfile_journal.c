/* Files that are written through the journal. */
#include "vfile_internal.h"

#include "log.h"
#include "xio.h"

#include <errno.h>
#include <string.h>

enum {
	/* Growth by no more than this goes through the journal as a whole... */
	SMALL_CHUNKS = 16,
	/* ...until it has done so for this much. */
	SMALL_TOTAL = 256 << 10,
};

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

/* What the file had become before it had one. */
static void tell_jf(struct vfile *f, struct journal_file *jf)
{
	pthread_mutex_lock(&f->marks_lock);
	jf->holes = f->holes;
	jf->flux = f->flux;
	pthread_mutex_unlock(&f->marks_lock);
}

/* The journal's side of the file; made when it is first needed. */
static int get_jf(struct vfile *f, bool may_wait, struct journal_file **out)
{
	struct journal_file *jf = f->jf, *none = NULL;
	int err;

	if (!f->writable)
		return -EBADF;
	if (!jf) {
		err = journal_get_(f->journal, f->fd, f->id, f->size, may_wait,
				   &jf);
		if (err)
			return err;
		if (atomic_compare_exchange_strong(&f->jf, &none, jf)) {
			tell_jf(f, jf);
		} else {
			journal_put_back_(jf);
			jf = none;
		}
	}
	*out = jf;
	return 0;
}

/* Something was changed in place that no record tells of. */
static void note_written(struct vfile *f)
{
	struct journal_file *jf = f->jf;

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

static void enter_flux(struct vfile *f)
{
	struct journal *j = f->journal;

	f->grown_ms = journal_now_ms();
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
static void leave_flux(struct vfile *f)
{
	if (f->flux)
		(void)set_flux(f, false);
}

/* KEEP: others may be moving the end, behind these chunks. MARKED: whether the
 * file may have HOLES is known. */
enum { QUIET = 1, HURRY = 2, KEEP = 4, MARKED = 8, HOLES = 16 };

/* Tokens become chunks of a file that is to be size long from now on. */
static int record(struct vfile *f, const uint8_t *tokens, uint64_t first,
		  size_t count, size_t len, uint64_t size, int flags)
{
	bool tail = first + count - 1 == chunk_last_index(size);
	bool kept = !tail && (flags & KEEP);
	struct journal_head head = {.kind = JOURNAL_KIND_TOKENS,
				    .size = kept ? JOURNAL_SIZE_KEPT : size,
				    .before = kept ? 0 : f->size,
				    .floor = f->floor,
				    .first = first,
				    .count = count,
				    .len = (uint32_t)len,
				    .marked = flags & MARKED,
				    .holes = flags & HOLES};
	const struct journal_put put = {.head = &head,
					.tokens = tokens,
					.tail = tail,
					.quiet = flags & QUIET,
					.hurry = flags & HURRY};
	struct journal_file *jf;
	int err = get_jf(f, !(flags & HURRY), &jf);

	if (err)
		return err;
	head.ino = jf->ino;
	memcpy(head.file_id, f->id, sizeof head.file_id);
	err = journal_append_(jf, &put);
	if (!err && tail)
		leave_flux(f);
	return err;
}

int vfile_record_(struct vfile *f, const struct workspace *ws, uint64_t first,
		  size_t count, size_t stored_len)
{
	return record(f, ws->tokens, first, count, stored_len, f->size, KEEP);
}

/* Growth as it has been staged and sealed: tokens of chunks base and on. */
struct growth {
	uint64_t old_last, first, end; /* chunks; first: of the data */
	uint64_t base;
	size_t over;		  /* tokens in front that replace others */
	size_t count, stored_len; /* tokens, and bytes of all */
	uint64_t size;
	bool lead; /* the first is the former end, which data does not reach */
	bool hole, fresh, whole, mark;
	bool had, holes; /* before, and then */
};

static struct growth plan(const struct vfile *f, uint64_t offset, size_t len)
{
	struct growth g = {.old_last = chunk_last_index(f->size),
			   .first = offset / CHUNK_SIZE,
			   .end = (offset + len - 1) / CHUNK_SIZE,
			   .size = offset + len};

	g.hole = g.first > g.old_last + 1;
	/* What follows a record is never written without one. */
	g.fresh = f->made && f->size == 0 && !f->jf && !g.hole;
	g.lead = !f->flux && g.first > g.old_last;
	g.base = g.lead ? g.old_last : g.first;
	if (g.base <= g.old_last && !g.fresh)
		g.over = (size_t)(g.old_last - g.base + 1);
	g.count = (size_t)(g.end - g.first + 1) + g.lead;
	if (g.over > 0 && !g.hole)
		g.whole = g.end == g.old_last ||
			  (!f->flux && g.count <= SMALL_CHUNKS + 1 &&
			   f->journaled + len <= SMALL_TOTAL);
	/* In flux only at the end of a chunk, and without new holes: nothing
	 * would say that they are. */
	g.mark = g.whole || g.hole || g.size % CHUNK_SIZE != 0;
	return g;
}

static int write_at(struct vfile *f, const uint8_t *tokens, size_t len,
		    uint64_t chunk)
{
	return xio_pwrite(f->fd, tokens, len, (off_t)chunk_offset(chunk));
}

static int holes_flags(bool holes)
{
	return MARKED | (holes ? HOLES : 0);
}

/* A failed growth in place must leave the file as long and whole as it was. */
static void cut_growth(struct vfile *f, const struct growth *g)
{
	static const uint8_t zeros[CHUNK_LAST_MAX - CHUNK_TOKEN_LEN];

	if (!g->hole && chunk_last_len(f->size) == CHUNK_SIZE)
		(void)!write_at(f, zeros, sizeof zeros, g->old_last + 1);
	(void)!vfile_cut_backing_(f, f->size);
	f->reserved = 0;
}

/*
 * What the last record says of the former end shall not be so, and no older
 * one may come back instead. Chunks in front of it stay as they were written.
 */
static void take_back(struct vfile *f, struct workspace *ws,
		      const struct growth *g, struct journal_file *jf)
{
	size_t len;
	int err;

	cut_growth(f, g);
	jf->size = f->size;
	workspace_stage(ws, 0, chunk_tag(g->old_last, true, g->had), ws->tail,
			chunk_last_len(f->size));
	err = workspace_seal(ws, f->key, 1, true, &len);
	if (!err)
		err = record(f, ws->tokens, g->old_last, 1, len, f->size,
			     HURRY | holes_flags(g->had));
	if (err)
		journal_forget_(jf, g->base, g->old_last);
}

/* Whoever empties the segment that has the record must not take the end for a
 * marked one, nor an unmarked one's holes for lost data. */
static void note_end(struct vfile *f, const struct growth *g,
		     struct journal_file *jf)
{
	pthread_mutex_lock(&f->marks_lock);
	jf->holes = g->holes;
	pthread_mutex_unlock(&f->marks_lock);
	jf->flux = !g->mark;
}

/*
 * The former end loses its mark in the journal, what is behind it goes to its
 * place. If that fails, the record must not get there: so nobody applies any
 * meanwhile, and so nobody waits for room.
 */
static int grow_behind(struct vfile *f, struct workspace *ws,
		       const struct growth *g)
{
	size_t over_len = g->over * CHUNK_TOKEN_LEN;
	uint64_t behind = g->hole ? g->first : g->old_last + 1;
	struct journal_file *jf;
	int err = get_jf(f, true, &jf);

	/* nor may there be older ones, which it would take along */
	if (!err && (jf->tail || (g->over > 1 && jf->count > 0)))
		err = journal_drain_(jf);
	/* What was cut off could come back, and look like the new data. */
	if (!err && jf->cut > jf->durable)
		err = journal_sync_file_(jf);
	if (err)
		return err;
	pthread_mutex_lock(&jf->applying);
	err = record(f, ws->tokens, g->base, g->over, over_len, g->size,
		     HURRY | holes_flags(g->had));
	if (!err) {
		err = write_at(f, ws->tokens + over_len,
			       g->stored_len - over_len, behind);
		note_written(f);
		if (err)
			take_back(f, ws, g, jf);
		else
			note_end(f, g, jf);
	}
	pthread_mutex_unlock(&jf->applying);
	return err;
}

static void undo_growth(struct vfile *f, struct workspace *ws,
			const struct growth *g)
{
	size_t len;

	if (g->fresh) {
		workspace_stage(ws, 0, chunk_tag(0, true, false), ws->tail, 0);
		if (workspace_seal(ws, f->key, 1, true, &len) == 0)
			(void)!write_at(f, ws->tokens, len, 0);
	}
	cut_growth(f, g);
}

static int record_growth(struct vfile *f, struct workspace *ws,
			 const struct growth *g)
{
	int err = g->end < f->reserved ? 0 : vfile_reserve_(f, g->base, g->end);

	if (err)
		return err;
	if (g->end >= f->reserved)
		f->reserved = g->end + 1;
	return record(f, ws->tokens, g->base, g->count, g->stored_len, g->size,
		      holes_flags(g->had));
}

static int store_growth(struct vfile *f, struct workspace *ws,
			const struct growth *g)
{
	int err;

	if (g->whole)
		return record_growth(f, ws, g);
	if (g->over > 0)
		return grow_behind(f, ws, g);
	/* behind an end in flux, or over the nothing of a new file */
	err = write_at(f, ws->tokens, g->stored_len, g->base);
	note_written(f);
	if (err)
		undo_growth(f, ws, g);
	return err;
}

/* Nothing is known of holes behind the end that stays the end. */
static void forget_growth(struct vfile *f)
{
	if (!f->flux) {
		vfile_forget_holes_(f);
		return;
	}
	pthread_mutex_lock(&f->marks_lock);
	gaps_fill(&f->gaps, chunk_last_index(f->size), UINT64_MAX);
	pthread_mutex_unlock(&f->marks_lock);
}

static void adopt_growth(struct vfile *f, const struct growth *g)
{
	struct journal_file *jf = f->jf;

	f->journaled = g->whole ? f->journaled + (g->size - f->size) : 0;
	f->size = g->size;
	if (jf) {
		jf->size = g->size;
		/* what goes to its place meanwhile puts older times back */
		if (!g->whole)
			journal_touch_(jf, true);
	}
	vfile_set_holes_(f, g->holes);
	if (g->mark)
		leave_flux(f);
	else
		enter_flux(f);
}

/* What becomes of the former end where data does not reach into it. */
static int stage_growth(struct vfile *f, struct workspace *ws, struct growth *g,
			struct vfile_staging *staging, uint64_t *bad_chunk)
{
	int err;

	if (g->lead) {
		workspace_stage(ws, 0, chunk_tag(g->old_last, false, false),
				ws->tail, CHUNK_SIZE);
		staging->slot = 1;
	}
	staging->mark = g->mark;
	staging->holes = g->holes;
	err = vfile_stage_extension_(f, ws, staging, bad_chunk);
	return err ? err
		   : workspace_seal(ws, f->key, g->count, true, &g->stored_len);
}

int vfile_extend_journaled_(struct vfile *f, struct workspace *ws,
			    const uint8_t *data, size_t len, uint64_t offset,
			    uint64_t *bad_chunk)
{
	struct vfile_staging staging = {
		.data = data, .len = len, .offset = offset};
	struct growth g = plan(f, offset, len);
	int err = 0;

	if (!f->flux || g.first <= g.old_last)
		err = vfile_load_chunk_(f, ws, g.old_last, ws->tail);
	if (!err)
		err = vfile_load_holes_(f, ws, &g.had);
	if (err) {
		if (err == -EBADMSG)
			*bad_chunk = g.old_last;
		return err;
	}
	g.holes = vfile_update_gaps_(f, g.first, g.end,
				     g.hole ? g.old_last + 1 : 1,
				     g.hole ? g.first - 1 : 0);
	err = stage_growth(f, ws, &g, &staging, bad_chunk);
	if (!err)
		err = store_growth(f, ws, &g);
	if (err)
		forget_growth(f);
	else
		adopt_growth(f, &g);
	return err;
}

int vfile_shrink_journaled_(struct vfile *f, struct workspace *ws,
			    uint64_t size, uint64_t *bad_chunk)
{
	uint64_t last = chunk_last_index(size);
	size_t stored_len;
	bool had = false, holes;
	int err = vfile_settle_locked_(f, ws);

	if (!err)
		err = vfile_load_new_last_(f, ws, size, &had, bad_chunk);
	if (err)
		return err;
	holes = vfile_cut_gaps_(f, last);
	workspace_stage(ws, 0, chunk_tag(last, true, holes), ws->tail,
			chunk_last_len(size));
	err = workspace_seal(ws, f->key, 1, true, &stored_len);
	if (!err)
		err = record(f, ws->tokens, last, 1, stored_len, size,
			     holes_flags(holes));
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
	vfile_set_holes_(f, holes);
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
		note_written(f);
	}
	pthread_mutex_unlock(&jf->applying);
	return err;
}

int vfile_punch_journaled_(struct vfile *f, struct workspace *ws,
			   uint64_t first, uint64_t last)
{
	struct journal_head head = {.kind = JOURNAL_KIND_HOLES,
				    .size = JOURNAL_SIZE_KEPT,
				    .floor = f->floor,
				    .first = first,
				    .count = last - first,
				    .marked = true,
				    .holes = true};
	const struct journal_put put = {.head = &head, .hurry = true};
	struct journal_file *jf;
	int err = get_jf(f, true, &jf);

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

static int settle(struct vfile *f, struct workspace *ws, int flags)
{
	uint64_t last = chunk_last_index(f->size);
	size_t stored_len;
	bool holes;
	int err;

	if (!f->flux)
		return 0;
	err = vfile_load_chunk_(f, ws, last, ws->tail);
	if (!err)
		err = vfile_load_holes_(f, ws, &holes);
	if (err)
		return err;
	workspace_stage(ws, 0, chunk_tag(last, true, holes), ws->tail,
			chunk_last_len(f->size));
	err = workspace_seal(ws, f->key, 1, true, &stored_len);
	return err ? err
		   : record(f, ws->tokens, last, 1, stored_len, f->size,
			    flags | QUIET | holes_flags(holes));
}

int vfile_settle_locked_(struct vfile *f, struct workspace *ws)
{
	return settle(f, ws, 0);
}

bool vfile_in_flux(const struct vfile *f)
{
	return f->flux;
}

/* The journal does not take it: into its place, where it needs no room. */
static int settle_in_place(struct vfile *f, struct workspace *ws)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	uint64_t last = chunk_last_index(f->size);
	size_t stored_len;
	struct stat st = {0};
	bool holes;
	int err = vfile_load_chunk_(f, ws, last, ws->tail);

	if (!err)
		err = vfile_load_holes_(f, ws, &holes);
	if (err)
		return err;
	workspace_stage(ws, 0, chunk_tag(last, true, holes), ws->tail,
			chunk_last_len(f->size));
	err = workspace_seal(ws, f->key, 1, true, &stored_len);
	if (err)
		return err;
	journal_times_lock(f->vault);
	if (fstat(f->fd, &st) < 0)
		err = -errno;
	if (!err)
		err = write_at(f, ws->tokens, stored_len, last);
	note_written(f);
	times[1] = st.st_mtim;
	if (!err)
		(void)!futimens(f->fd, times);
	journal_times_unlock(f->vault);
	if (!err)
		leave_flux(f);
	return err;
}

void vfile_settle(struct vfile *f)
{
	struct workspace *ws;
	struct range r;
	int err;

	if (!f->flux)
		return;
	ws = workspace_get();
	if (!ws) {
		log_error("no memory to mark the end of a file");
		return;
	}
	rangelock_acquire(&f->ranges, &r, 0, RANGE_END, true);
	err = settle(f, ws, 0);
	if (err && journal_flush(f->vault) == 0)
		err = settle(f, ws, 0);
	if (err)
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
	vfile_settle(f);
	pthread_mutex_lock(&f->journal->flux_lock);
	unlist(f);
	pthread_mutex_unlock(&f->journal->flux_lock);
	if (journal_take_fd_(f->jf, f->fd))
		f->fd = -1;
	journal_put_back_(f->jf);
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
		if (f->flux && settle(f, ws, HURRY) != 0)
			left = true;
		else
			unlist(f);
		rangelock_release(&f->ranges, &r);
	}
	pthread_mutex_unlock(&j->flux_lock);
	return left;
}
