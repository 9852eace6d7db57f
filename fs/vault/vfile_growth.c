/* Growing files that are written through the journal. */
#include "vfile_internal.h"

#include "xio.h"

#include <errno.h>
#include <string.h>

enum {
	/* Growth by no more than this goes through the journal as a whole... */
	SMALL_CHUNKS = 16,
	/* ...until it has done so for this much. */
	SMALL_TOTAL = 256 << 10,
	NEW_MS = 60000,
};

/* Growth as it has been staged and sealed: tokens of chunks base and on. */
struct growth {
	uint64_t old_last, first, end; /* chunks; first: of the data */
	uint64_t base;
	size_t over;		  /* tokens in front that replace others */
	size_t count, stored_len; /* tokens, and bytes of all */
	uint64_t sealed_s;	  /* the earliest of them */
	uint64_t size;
	bool lead; /* the first is the former end, which data does not reach */
	bool hole, fresh, whole, mark;
	enum chunk_holes had, holes;   /* before, and then */
	const struct journal_file *jf; /* as it was... */
	uint64_t drained;	       /* ...and how far */
};

bool vfile_is_new_(const struct vfile *f)
{
	return f->made && vfile_age_clock_() - f->made_ms < NEW_MS;
}

static struct growth plan(const struct vfile *f, uint64_t offset, size_t len)
{
	struct growth g = {.old_last = chunk_last_index(f->size),
			   .first = offset / CHUNK_SIZE,
			   .end = (offset + len - 1) / CHUNK_SIZE,
			   .size = offset + len};

	g.jf = f->jf;
	if (g.jf)
		g.drained = g.jf->drained;
	g.hole = g.first > g.old_last + 1;
	/* What follows a record is never written without one. */
	g.fresh = vfile_is_new_(f) && f->size == 0 && !f->jf && !g.hole;
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
 * Where the journal does not take that, either, the end in place is the right
 * one, but after a crash what was to follow it would be there in part: so fsync
 * does not succeed before the end has a record.
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
	err = vfile_seal_(f, ws, 1, true, &len);
	if (!err)
		err = vfile_put_record_(
			f, ws->tokens, g->old_last, 1, len, f->size,
			RECORD_HURRY | vfile_holes_flags_(g->had));
	if (err) {
		journal_forget_(jf, g->old_last, g->old_last);
		f->belied = true;
	}
}

/* Whoever empties the segment that has the record must not take the end for a
 * marked one, nor an unmarked one's holes for lost data. */
static void note_end(struct vfile *f, const struct growth *g,
		     struct journal_file *jf)
{
	pthread_mutex_lock(&f->marks_lock);
	jf->holes = g->holes;
	jf->holes_known = true;
	pthread_mutex_unlock(&f->marks_lock);
	jf->flux = !g->mark;
	f->belied = false;
}

/*
 * To grow behind the end in place, nobody else brings anything there meanwhile;
 * nor may an older end come there later, which would cut what is behind it, or
 * what was cut off come back and look like the new data. Takes applying.
 */
static int begin_behind(struct journal_file *jf)
{
	int err = 0;

	/* what has failed before is not durable by itself */
	if (jf->lost && jf->cut > jf->durable)
		(void)!journal_retire_(jf->journal, true, true, NULL);
	do {
		if (jf->tail)
			err = journal_drain_(jf);
		if (!err && jf->cut > jf->durable)
			err = journal_sync_file_(jf);
		if (err)
			return err;
		pthread_mutex_lock(&jf->applying);
		/* that of a file that cannot be written may be there again */
		if (!jf->tail && jf->cut <= jf->durable)
			return 0;
		pthread_mutex_unlock(&jf->applying);
	} while (true);
}

/*
 * A long end reaches into the place of the chunk behind it. Bytes there get to
 * the disk without the file's length and times, which would tell.
 */
static int write_behind(struct vfile *f, struct workspace *ws,
			const struct growth *g, struct journal_file *jf)
{
	size_t over_len = g->over * CHUNK_TOKEN_LEN;
	uint64_t behind = g->hole ? g->first : g->old_last + 1;
	int err = 0;

	if (chunk_backing_len(f->size) > chunk_offset(behind))
		err = vfile_make_known_(f, jf);
	if (err)
		return err;
	err = write_at(f, ws->tokens + over_len, g->stored_len - over_len,
		       behind);
	vfile_note_written_(f);
	return err;
}

static int reserve_growth(struct vfile *f, const struct growth *g,
			  const struct journal_file *jf)
{
	uint64_t cut = jf->cut;
	int err;

	if (g->base == g->end && g->end < f->reserved && cut == f->reserved_cut)
		return 0;
	err = vfile_reserve_(f, g->base, g->end);
	if (err)
		return err;
	f->reserved = g->end + 1;
	f->reserved_cut = cut;
	return 0;
}

/* Room for the whole former end and what is behind it, or no record tells of
 * any of that. */
static int reserve_behind(struct vfile *f, const struct growth *g,
			  const struct journal_file *jf)
{
	int err;

	if (!g->hole) {
		err = reserve_growth(f, g, jf);
	} else {
		err = vfile_reserve_(f, g->old_last, g->old_last);
		if (!err)
			err = vfile_reserve_(f, g->first, g->end);
	}
	if (err) {
		(void)!vfile_cut_backing_(f, f->size);
		f->reserved = 0;
	}
	return err;
}

/*
 * The former end loses its mark in the journal, what is behind it goes to its
 * place. If that fails, the record must not get there: so nobody applies any
 * meanwhile, and so nobody waits for room.
 */
static int grow_behind(struct vfile *f, struct workspace *ws,
		       const struct growth *g)
{
	struct journal_file *jf;
	int err = vfile_get_jf_(f, true, &jf);

	if (!err)
		err = begin_behind(jf);
	if (err)
		return err;
	err = reserve_behind(f, g, jf);
	if (!err)
		err = vfile_put_record_(f, ws->tokens, g->base, g->over,
					g->over * CHUNK_TOKEN_LEN, g->size,
					RECORD_HURRY |
						vfile_holes_flags_(g->had));
	if (!err) {
		err = write_behind(f, ws, g, jf);
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
		workspace_stage(ws, 0, chunk_tag(0, true, CHUNK_HOLES_NONE),
				ws->tail, 0);
		if (vfile_seal_(f, ws, 1, true, &len) == 0)
			(void)!write_at(f, ws->tokens, len, 0);
	}
	cut_growth(f, g);
}

static int record_growth(struct vfile *f, struct workspace *ws,
			 const struct growth *g)
{
	struct journal_file *jf;
	int err = vfile_get_jf_(f, true, &jf);

	if (!err)
		err = reserve_growth(f, g, jf);
	if (!err)
		err = vfile_put_record_(f, ws->tokens, g->base, g->count,
					g->stored_len, g->size,
					vfile_holes_flags_(g->had));
	/* an older end may have come to its place, and the room have gone */
	if (!err && jf->cut != f->reserved_cut)
		(void)!reserve_growth(f, g, jf);
	return err;
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
	vfile_note_written_(f);
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
	f->gaps.unknown = f->holes != CHUNK_HOLES_NONE;
	pthread_mutex_unlock(&f->marks_lock);
}

/* May what goes to its place have put an older time back meanwhile? */
static bool is_time_moved(const struct growth *g, const struct journal_file *jf)
{
	return jf != g->jf || jf->count > 0 || jf->tail ||
	       jf->drained != g->drained;
}

static void adopt_growth(struct vfile *f, const struct growth *g)
{
	struct journal_file *jf;

	f->journaled = g->whole ? f->journaled + (g->size - f->size) : 0;
	/* it may get one now */
	pthread_mutex_lock(&f->marks_lock);
	f->size = g->size;
	jf = f->jf;
	if (jf)
		jf->size = g->size;
	pthread_mutex_unlock(&f->marks_lock);
	if (jf && !g->whole && is_time_moved(g, jf))
		journal_touch_(jf, true);
	vfile_set_holes_(f, g->holes);
	memory_file_stored(f->memory, g->base, AGES_END, g->sealed_s);
	if (g->mark)
		vfile_leave_flux_(f);
	else
		vfile_enter_flux_(f);
}

/* What becomes of the former end where data does not reach into it. */
static int stage_growth(struct vfile *f, struct workspace *ws, struct growth *g,
			struct vfile_staging *staging, uint64_t *bad_chunk)
{
	bool mapped = g->holes == CHUNK_HOLES_MAPPED;
	int err;

	if (g->lead) {
		workspace_stage_full(ws, 0, g->old_last, ws->tail,
				     g->hole && mapped ? g->first - g->base - 1
						       : 0);
		staging->slot = 1;
	}
	staging->mark = g->mark;
	staging->holes = g->holes;
	err = vfile_stage_extension_(f, ws, staging, bad_chunk);
	if (!err)
		err = vfile_seal_(f, ws, g->count, true, &g->stored_len);
	g->sealed_s = ws->sealed_s;
	return err;
}

/* All from its first chunk on holds data then. */
static enum chunk_holes marks_then(struct vfile *f, const struct growth *g)
{
	enum chunk_holes holes = CHUNK_HOLES_NONE;

	pthread_mutex_lock(&f->marks_lock);
	if (g->hole || f->gaps.unknown ||
	    (f->gaps.count > 0 && f->gaps.list[0].first < g->first))
		holes = vfile_marks_(f);
	pthread_mutex_unlock(&f->marks_lock);
	return holes;
}

/* A former end that is to claim a hole does so through the journal. */
static int prepare(struct vfile *f, struct workspace *ws,
		   const struct growth *g, enum chunk_holes *had)
{
	int err = vfile_load_holes_(f, ws, had);

	if (!err)
		err = vfile_know_(f, ws, g->first);
	if (!err && g->hole && vfile_marks_(f) == CHUNK_HOLES_MAPPED)
		err = vfile_settle_locked_(f, ws);
	return err;
}

int vfile_extend_journaled_(struct vfile *f, struct workspace *ws,
			    const uint8_t *data, size_t len, uint64_t offset,
			    uint64_t *bad_chunk)
{
	struct vfile_staging staging = {
		.data = data, .len = len, .offset = offset};
	struct growth g = plan(f, offset, len);
	enum chunk_holes had;
	int err = prepare(f, ws, &g, &had);

	/* the end may have got its mark */
	g = plan(f, offset, len);
	g.had = had;
	if (!err && (!f->flux || g.first <= g.old_last))
		err = vfile_load_chunk_(f, ws, g.old_last, ws->tail);
	if (err) {
		if (vfile_is_bad_(err))
			*bad_chunk = g.old_last;
		return err;
	}
	g.holes = marks_then(f, &g);
	err = stage_growth(f, ws, &g, &staging, bad_chunk);
	if (err)
		return err;
	(void)vfile_update_gaps_(f, g.first, g.end, g.hole ? g.old_last + 1 : 1,
				 g.hole ? g.first - 1 : 0);
	err = store_growth(f, ws, &g);
	if (err)
		forget_growth(f);
	else
		adopt_growth(f, &g);
	return err;
}
