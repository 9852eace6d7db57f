/*
 * Writing within files that are written through the journal. What was a hole,
 * as files that are new have them where a kernel writes their pages in another
 * order, needs no copy in the journal: a record says that it is being filled,
 * and whatever a crash leaves of that is a hole again.
 */
#include "vfile_internal.h"

#include "xio.h"

#include <string.h>

/* Tokens of ws->tokens that become these chunks. */
struct run {
	uint64_t first, end;
	size_t len;
	enum chunk_holes holes; /* the file's marks, where they are a gap */
};

/* What becomes data by a record alone must have room when its turn comes. */
static int reserve_holes(struct vfile *f, const struct run *r)
{
	bool known;
	off_t hole;

	pthread_mutex_lock(&f->marks_lock);
	known = f->holes_known && !gaps_meet(&f->gaps, r->first, r->end);
	pthread_mutex_unlock(&f->marks_lock);
	if (known)
		return 0;
	hole = lseek(f->fd, (off_t)chunk_offset(r->first), SEEK_HOLE);
	if (hole >= (off_t)chunk_offset(r->end + 1))
		return 0;
	return vfile_reserve_(f, r->first, r->end);
}

/* Has there never been anything, nor behind it what may be durable? */
static bool is_gap(struct vfile *f, struct run *r)
{
	const struct journal_file *jf = f->jf;
	bool gap;

	if (jf && r->first * CHUNK_SIZE < jf->solid)
		return false;

	pthread_mutex_lock(&f->marks_lock);
	gap = f->holes_known && !f->gaps_stale &&
	      gaps_cover(&f->gaps, r->first, r->end);
	/* others may be moving the end, and tell what marks it has then */
	r->holes = f->holes;
	pthread_mutex_unlock(&f->marks_lock);
	return gap;
}

void vfile_stop_filling_(struct vfile *f, uint64_t size)
{
	pthread_mutex_lock(&f->fill_lock);
	if (f->solid < size)
		f->solid = size;
	pthread_mutex_unlock(&f->fill_lock);
}

/* False: it is to be written in another way. Needs applying and fill_lock. */
static bool append_fill(struct vfile *f, struct journal_file *jf,
			const struct run *r)
{
	struct journal_head head = {.kind = JOURNAL_KIND_FILL,
				    .ino = jf->ino,
				    .size = JOURNAL_SIZE_KEPT,
				    .floor = f->floor,
				    .first = r->first,
				    .count = r->end - r->first + 1,
				    .marked = true,
				    .holes = r->holes};
	const struct journal_put put = {
		.head = &head, .quiet = true, .hurry = true};
	uint64_t offset = r->first * CHUNK_SIZE;
	bool done;

	memcpy(head.file_id, f->id, sizeof head.file_id);
	pthread_mutex_lock(&f->journal->append_lock);
	done = offset >= f->solid && offset >= jf->solid &&
	       journal_append_locked_(jf, &put) == 0;
	pthread_mutex_unlock(&f->journal->append_lock);
	journal_wake_(f->journal, false);
	return done;
}

/* Needs applying and fill_lock: who empties the journal, or makes the file
 * durable, finds all of it there or nothing. */
static int fill_locked(struct vfile *f, struct workspace *ws,
		       struct journal_file *jf, const struct run *r,
		       bool *filled)
{
	int err;

	if (!append_fill(f, jf, r))
		return 0;
	*filled = true;
	jf->filled = true;
	/* If the power fails, it may end where this is torn. */
	err = vfile_make_known_(f, jf);
	if (err)
		return err;
	err = xio_pwrite(f->fd, ws->tokens, r->len,
			 (off_t)chunk_offset(r->first));
	vfile_note_written_(f);
	/* all of them were holes, and are claimed as such */
	if (err) {
		(void)!vfile_zero_slots_(f, ws, r->first, r->end + 1);
		f->gaps_stale = true;
	}
	return err;
}

static int fill(struct vfile *f, struct workspace *ws, const struct run *r,
		bool *filled)
{
	struct journal_file *jf;
	int err = vfile_get_jf_(f, true, &jf);

	if (err)
		return err;
	pthread_mutex_lock(&jf->applying);
	pthread_mutex_lock(&f->fill_lock);
	err = fill_locked(f, ws, jf, r, filled);
	pthread_mutex_unlock(&f->fill_lock);
	pthread_mutex_unlock(&jf->applying);
	return err;
}

int vfile_overwrite_journaled_(struct vfile *f, struct workspace *ws,
			       uint64_t first, uint64_t end)
{
	struct run r = {.first = first, .end = end};
	size_t count = (size_t)(end - first + 1);
	bool filled = false;
	int err = vfile_seal_(f, ws, count, end == chunk_last_index(f->size),
			      &r.len);

	if (!err && is_gap(f, &r))
		err = fill(f, ws, &r, &filled);
	if (!err && !filled)
		err = reserve_holes(f, &r);
	if (!err && !filled)
		err = vfile_record_(f, ws, first, count, r.len);
	if (!err)
		memory_file_stored(f->memory, first, end, ws->sealed_s);
	return err;
}
