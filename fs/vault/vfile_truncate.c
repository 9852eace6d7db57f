#include "vfile_internal.h"

#include "xio.h"

#include <errno.h>

int vfile_load_new_last_(struct vfile *f, struct workspace *ws, uint64_t size,
			 enum chunk_holes *had, uint64_t *bad_chunk)
{
	uint64_t bad = chunk_last_index(f->size);
	int err = 0;

	/* A file of one chunk has no holes, whatever was in it. */
	if (size > CHUNK_SIZE)
		err = vfile_load_holes_(f, ws, had);
	if (!err && size > 0) {
		bad = chunk_last_index(size);
		err = vfile_load_chunk_(f, ws, bad, ws->tail);
	}
	/* Chunk 0 is zeroed: may it be? */
	if (err == -EAGAIN && size <= CHUNK_SIZE) {
		err = vfile_load_holes_(f, ws, had);
		if (err)
			bad = chunk_last_index(f->size);
		else
			err = vfile_load_chunk_(f, ws, 0, ws->tail);
	}
	if (vfile_is_bad_(err))
		*bad_chunk = bad;
	return err;
}

enum chunk_holes vfile_cut_gaps_(struct vfile *f, uint64_t last)
{
	enum chunk_holes holes = CHUNK_HOLES_NONE;

	pthread_mutex_lock(&f->marks_lock);
	f->holes_known = true;
	vfile_note_loose_(f, last);
	gaps_fill(&f->zeroed, last, UINT64_MAX);
	if (last == 0)
		gaps_fini(&f->gaps);
	else
		gaps_fill(&f->gaps, last, UINT64_MAX);
	if (!gaps_none(&f->gaps))
		holes = vfile_marks_(f);
	pthread_mutex_unlock(&f->marks_lock);
	return holes;
}

/* A long last chunk's zeros reach this far into the next chunk's place. */
enum { SPILL_LEN = CHUNK_LAST_MAX - CHUNK_TOKEN_LEN };

/*
 * The chunk in ws->tail could not be made the last one of a file cut to size:
 * leave it, and what its zeros spilt over, as it was.
 */
static void undo_shrink(struct vfile *f, struct workspace *ws, uint64_t size,
			enum chunk_holes had,
			const uint8_t next[static SPILL_LEN])
{
	uint64_t last = chunk_last_index(size);
	size_t len = chunk_last_len(size);

	if (last == chunk_last_index(f->size)) {
		(void)!vfile_store_last_(f, ws, last, ws->tail,
					 chunk_last_len(f->size), had);
		return;
	}
	if (vfile_was_hole_(f, last, ws->tokens,
			    FERNET_TOKEN_LEN(CHUNK_TAG_LEN + len))) {
		(void)!vfile_zero_slots_(f, ws, last, last + 1);
	} else {
		workspace_stage_full(ws, 0, last, ws->tail, 0);
		(void)!vfile_store_run_(f, ws, last, 1, false);
	}
	(void)!xio_pwrite(f->fd, next, SPILL_LEN,
			  (off_t)chunk_offset(last + 1));
}

/* Make the file shorter: the chunk that becomes the last is sealed as such. */
static int shrink(struct vfile *f, struct workspace *ws, uint64_t size,
		  uint64_t *bad_chunk)
{
	uint64_t last = chunk_last_index(size);
	uint8_t next[SPILL_LEN] = {0};
	enum chunk_holes had = CHUNK_HOLES_NONE, holes;
	int err = vfile_load_new_last_(f, ws, size, &had, bad_chunk);

	if (!err && last < chunk_last_index(f->size))
		err = xio_pread(f->fd, next, sizeof next,
				(off_t)chunk_offset(last + 1));
	if (err)
		return err;
	holes = vfile_cut_gaps_(f, last);
	err = vfile_store_last_(f, ws, last, ws->tail, chunk_last_len(size),
				holes);
	if (!err)
		err = vfile_cut_backing_(f, size);
	if (err) {
		/* Of a file to be emptied nothing has been loaded. */
		if (size > 0)
			undo_shrink(f, ws, size, had, next);
		vfile_forget_holes_(f);
		return err;
	}
	f->size = size;
	vfile_set_holes_(f, holes);
	/* whatever comes behind it is made later */
	memory_file_stored(f->memory, last + 1, AGES_END, ws->sealed_s);
	return 0;
}

int vfile_resize_locked_(struct vfile *f, struct workspace *ws, uint64_t size,
			 uint64_t *bad_chunk)
{
	uint64_t from = chunk_last_index(size) * CHUNK_SIZE;

	/* Moves the modification time, as truncate(2) must. */
	if (size == f->size)
		return f->journal ? vfile_touch_journaled_(f)
				  : vfile_cut_backing_(f, size);
	if (size < f->size)
		return f->journal
			       ? vfile_shrink_journaled_(f, ws, size, bad_chunk)
			       : shrink(f, ws, size, bad_chunk);
	/* Growing is writing zeros into what becomes the last chunk. */
	if (from < f->size)
		from = f->size;
	return vfile_extend_(f, ws, workspace_zeros, (size_t)(size - from),
			     from, bad_chunk);
}

/* Take the range that a new length needs. */
static int begin_truncate(struct vfile *f, struct range *r, uint64_t size)
{
	for (;;) {
		uint64_t first = chunk_last_index(f->size);
		int err;

		if (chunk_last_index(size) < first)
			first = chunk_last_index(size);
		err = vfile_begin_(f, r, first, RANGE_END, true);
		if (err)
			return err;
		if (r->first <= chunk_last_index(f->size))
			return 0;
		vfile_end_(f, r);
	}
}

int vfile_truncate(struct vfile *f, struct workspace *ws, uint64_t size,
		   uint64_t *bad_chunk)
{
	bool tried = false;
	struct range r;
	int err;

	*bad_chunk = VFILE_NO_CHUNK;
	if (size > CHUNK_MAX_PLAIN_LEN)
		return -EFBIG;
	do {
		*bad_chunk = VFILE_NO_CHUNK;
		err = begin_truncate(f, &r, size);
		if (err)
			return err;
		err = vfile_unmap_(f, ws, bad_chunk);
		if (!err)
			err = vfile_resize_locked_(f, ws, size, bad_chunk);
		vfile_end_(f, &r);
	} while (err && !vfile_retry_(f, ws, &tried, err, bad_chunk));
	return err;
}
