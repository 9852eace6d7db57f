#include "vfile_internal.h"

#include "bytes.h"
#include "xio.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Prepare the i-th token of a run. plain must stay until the run is stored. */
static void stage(struct workspace *ws, size_t i, uint64_t tag,
		  const uint8_t *plain, size_t len)
{
	be64_store(ws->tags[i], tag);
	ws->seal[i] = (struct fernet_seal_job){
		.head = ws->tags[i],
		.head_len = CHUNK_TAG_LEN,
		.body = plain,
		.body_len = len,
		.token = ws->tokens + i * CHUNK_TOKEN_LEN,
	};
}

/*
 * Seal the count staged tokens and write them to their place, which begins
 * with chunk first. If the last of them is the file's last chunk, it is
 * followed by the zeros that bring it to its length.
 */
static int store_run(struct vfile *f, struct workspace *ws, uint64_t first,
		     size_t count, bool ends_file)
{
	const struct fernet_seal_job *end = &ws->seal[count - 1];
	size_t stored_len = (count - 1) * CHUNK_TOKEN_LEN +
			    FERNET_TOKEN_LEN(CHUNK_TAG_LEN + end->body_len);
	size_t zeros = (end->body_len + CHUNK_TAG_LEN) % 16;
	int err = fernet_seal(ws->fernet, f->key, (uint64_t)time(NULL),
			      ws->seal, count);

	if (err)
		return err;
	if (ends_file) {
		memset(ws->tokens + stored_len, 0, zeros);
		stored_len += zeros;
	}
	return xio_pwrite(f->fd, ws->tokens, stored_len,
			  (off_t)chunk_offset(first));
}

int vfile_store_last_(struct vfile *f, struct workspace *ws, uint64_t index,
		      const uint8_t *plain, size_t len, bool holes)
{
	stage(ws, 0, chunk_tag(index, true, holes), plain, len);
	return store_run(f, ws, index, 1, true);
}

static int cut_backing(struct vfile *f, uint64_t size)
{
	return ftruncate(f->fd, (off_t)chunk_backing_len(size)) < 0 ? -errno
								    : 0;
}

static void set_holes(struct vfile *f, bool holes)
{
	pthread_mutex_lock(&f->marks_lock);
	f->holes = holes;
	pthread_mutex_unlock(&f->marks_lock);
}

/* What is on disk is not what was planned: look at it when it matters. */
static void forget_holes(struct vfile *f)
{
	pthread_mutex_lock(&f->marks_lock);
	f->holes_known = false;
	gaps_fini(&f->gaps);
	pthread_mutex_unlock(&f->marks_lock);
}

/*
 * The write of the token at sealed into chunk index's place has failed. Was,
 * or is, that place a hole? What it may hold then is a beginning of the token
 * and zeros, which no other token can look like.
 */
static bool was_hole(struct vfile *f, uint64_t index, const uint8_t *sealed,
		     size_t sealed_len)
{
	uint8_t stored[CHUNK_TOKEN_LEN];
	size_t same = 0;

	if (xio_pread(f->fd, stored, sizeof stored,
		      (off_t)chunk_offset(index)) != 0)
		return false;
	if (sealed_len > sizeof stored)
		sealed_len = sizeof stored;
	while (same < sealed_len && stored[same] == sealed[same])
		same++;
	return same < sizeof stored &&
	       bytes_all_zero(stored + same, sizeof stored - same);
}

/*
 * A write of chunks first..end from ws->tokens failed. Where it broke off in
 * a hole, for want of room as a rule, put the hole back.
 */
static void mend_holes(struct vfile *f, struct workspace *ws, uint64_t first,
		       uint64_t end)
{
	uint64_t last = chunk_last_index(f->size);

	for (uint64_t i = first; i <= end && i < last; i++)
		if (was_hole(f, i, ws->tokens + (i - first) * CHUNK_TOKEN_LEN,
			     CHUNK_TOKEN_LEN)) {
			(void)!vfile_zero_slots_(f, ws, i, i + 1);
			return; /* a write goes from front to back */
		}
}

int vfile_mark_holes_(struct vfile *f, struct workspace *ws, bool holes,
		      uint64_t *bad_chunk)
{
	uint64_t last = chunk_last_index(f->size);
	int err = vfile_load_chunk_(f, ws, last, ws->tail);

	if (err) {
		*bad_chunk = last;
		return err;
	}
	err = vfile_store_last_(f, ws, last, ws->tail, chunk_last_len(f->size),
				holes);
	if (!err)
		set_holes(f, holes);
	return err;
}

/*
 * Chunks first..last are being filled, and made..made_last (none if made is
 * larger) become holes: will the file have holes then?
 */
static bool update_gaps(struct vfile *f, uint64_t first, uint64_t last,
			uint64_t made, uint64_t made_last)
{
	bool any;

	pthread_mutex_lock(&f->marks_lock);
	if (made <= made_last)
		gaps_add(&f->gaps, made, made_last);
	gaps_fill(&f->gaps, first, last);
	any = !gaps_none(&f->gaps);
	pthread_mutex_unlock(&f->marks_lock);
	return any;
}

/* Where a piece of the request's data meets one chunk. */
struct part {
	uint64_t index;
	size_t from, to; /* within the chunk */
	const uint8_t *data;
};

static struct part part_of(uint64_t index, uint64_t offset, const uint8_t *data,
			   size_t len)
{
	uint64_t start = index * CHUNK_SIZE;
	struct part p = {.index = index, .to = CHUNK_SIZE};

	if (offset > start)
		p.from = (size_t)(offset - start);
	if (offset + len < start + CHUNK_SIZE)
		p.to = (size_t)(offset + len - start);
	p.data = data + (start + p.from - offset);
	return p;
}

/* Overwrite within the file: its length stays. */
static int overwrite(struct vfile *f, struct workspace *ws, const uint8_t *data,
		     size_t len, uint64_t offset, uint64_t *bad_chunk)
{
	uint64_t first = offset / CHUNK_SIZE;
	uint64_t end = (offset + len - 1) / CHUNK_SIZE;
	uint64_t last = chunk_last_index(f->size);
	bool holes = false;
	int err = 0;

	if (end == last)
		err = vfile_load_holes_(f, ws, &holes);
	if (err)
		*bad_chunk = last;
	for (uint64_t i = first; i <= end && !err; i++) {
		struct part p = part_of(i, offset, data, len);
		size_t plain_len =
			i == last ? chunk_last_len(f->size) : CHUNK_SIZE;
		const uint8_t *plain = p.data;

		if (p.from > 0 || p.to < plain_len) {
			uint8_t *merged = i == first ? ws->head : ws->tail;

			err = vfile_load_chunk_(f, ws, i, merged);
			if (err == -EBADMSG)
				*bad_chunk = i;
			memcpy(merged + p.from, p.data, p.to - p.from);
			plain = merged;
		}
		stage(ws, i - first, chunk_tag(i, i == last, holes), plain,
		      plain_len);
	}
	if (err)
		return err;
	err = store_run(f, ws, first, end - first + 1, end == last);
	if (err)
		mend_holes(f, ws, first, end);
	else
		(void)update_gaps(f, first, end, 1, 0);
	return err;
}

/* A failed extension must leave the file as long and as whole as it was. */
static void undo_extend(struct vfile *f, struct workspace *ws, bool holes)
{
	uint64_t last = chunk_last_index(f->size);

	(void)!vfile_store_last_(f, ws, last, ws->tail, chunk_last_len(f->size),
				 holes);
	(void)!cut_backing(f, f->size);
}

/*
 * Store a staged extension: count chunks from first on, and after them the
 * former last one where a hole lies between.
 */
static int store_extension(struct vfile *f, struct workspace *ws,
			   uint64_t first, size_t count, bool hole)
{
	uint64_t old_last = chunk_last_index(f->size);
	int err = store_run(f, ws, first, count, true);

	if (err) {
		mend_holes(f, ws, first, first + count - 1);
		return err;
	}
	if (!hole)
		return 0;
	stage(ws, 0, chunk_tag(old_last, false, false), ws->tail, CHUNK_SIZE);
	return store_run(f, ws, old_last, 1, false);
}

/*
 * Stage the chunks of data whose first one is merged with what is there (or
 * with zeros); ws->tail holds the former last chunk. Returns how many.
 */
static int stage_extension(struct vfile *f, struct workspace *ws, size_t slot,
			   const uint8_t *data, size_t len, uint64_t offset,
			   bool holes, uint64_t *bad_chunk)
{
	uint64_t first = offset / CHUNK_SIZE;
	uint64_t end = (offset + len - 1) / CHUNK_SIZE;
	uint64_t old_last = chunk_last_index(f->size);
	int err;

	for (uint64_t i = first; i <= end; i++) {
		struct part p = part_of(i, offset, data, len);
		const uint8_t *plain = p.data;

		if (p.from > 0) {
			if (i == old_last) {
				memcpy(ws->head, ws->tail, CHUNK_SIZE);
			} else if (i > old_last) {
				memset(ws->head, 0, CHUNK_SIZE);
			} else {
				err = vfile_load_chunk_(f, ws, i, ws->head);
				if (err == -EBADMSG)
					*bad_chunk = i;
				if (err)
					return err;
			}
			memcpy(ws->head + p.from, p.data, p.to - p.from);
			plain = ws->head;
		}
		stage(ws, slot++, chunk_tag(i, i == end, holes), plain, p.to);
	}
	return 0;
}

/*
 * Write what ends beyond the present end. The former last chunk is sealed
 * again without its mark: next to the new data in the same write where they
 * touch; after it where a hole lies between, since the new data is what may
 * not fit.
 */
static int extend(struct vfile *f, struct workspace *ws, const uint8_t *data,
		  size_t len, uint64_t offset, uint64_t *bad_chunk)
{
	uint64_t old_last = chunk_last_index(f->size);
	uint64_t first = offset / CHUNK_SIZE;
	uint64_t end = (offset + len - 1) / CHUNK_SIZE;
	bool hole = first > old_last + 1;
	size_t lead = first == old_last + 1; /* former last, in the same run */
	bool had, holes;
	int err = vfile_load_chunk_(f, ws, old_last, ws->tail);

	if (!err)
		err = vfile_load_holes_(f, ws, &had);
	if (err) {
		if (err == -EBADMSG)
			*bad_chunk = old_last;
		return err;
	}
	holes = update_gaps(f, first, end, hole ? old_last + 1 : 1,
			    hole ? first - 1 : 0);
	if (lead)
		stage(ws, 0, chunk_tag(old_last, false, false), ws->tail,
		      CHUNK_SIZE);
	err = stage_extension(f, ws, lead, data, len, offset, holes, bad_chunk);
	if (!err) {
		err = store_extension(f, ws, first - lead,
				      end - first + 1 + lead, hole);
		if (err)
			undo_extend(f, ws, had);
	}
	if (err) {
		forget_holes(f);
		return err;
	}
	f->size = offset + len;
	set_holes(f, holes);
	return 0;
}

int vfile_write_locked_(struct vfile *f, struct workspace *ws,
			const uint8_t *data, size_t len, uint64_t offset,
			uint64_t *bad_chunk)
{
	if (offset + len > f->size)
		return extend(f, ws, data, len, offset, bad_chunk);
	return overwrite(f, ws, data, len, offset, bad_chunk);
}

/*
 * Take the range that a write of this place needs: its own chunks, or, where
 * it moves the end, everything from the present last chunk on. The size may
 * change before the range is held; then again.
 */
static int begin_write(struct vfile *f, struct range *r,
		       const struct vfile_write *w, uint64_t *offset)
{
	for (;;) {
		uint64_t size = f->size;
		uint64_t at = w->append ? size : w->offset;
		uint64_t first = at / CHUNK_SIZE;
		uint64_t last = (at + w->len - 1) / CHUNK_SIZE;
		bool grows = at + w->len > size;
		int err;

		if (grows) {
			if (first > chunk_last_index(size))
				first = chunk_last_index(size);
			last = RANGE_END;
		}
		err = vfile_begin_(f, r, first, last, true);
		if (err)
			return err;
		if (r->last == RANGE_END || at + w->len <= f->size) {
			at = w->append ? f->size : w->offset;
			if (at > CHUNK_MAX_PLAIN_LEN - w->len) {
				vfile_end_(f, r);
				return -EFBIG;
			}
			*offset = at;
			if (r->first <= *offset / CHUNK_SIZE &&
			    r->first <= chunk_last_index(f->size))
				return 0;
		}
		vfile_end_(f, r);
	}
}

void vfile_clear_holes_(struct vfile *f, struct workspace *ws)
{
	struct range r;
	uint64_t bad;
	bool clear;

	pthread_mutex_lock(&f->marks_lock);
	clear = f->holes_known && f->holes && gaps_none(&f->gaps);
	pthread_mutex_unlock(&f->marks_lock);
	if (f->vault->shared || !clear ||
	    vfile_begin_(f, &r, 0, RANGE_END, true) != 0)
		return;
	pthread_mutex_lock(&f->marks_lock);
	clear = f->holes_known && f->holes && gaps_none(&f->gaps);
	pthread_mutex_unlock(&f->marks_lock);
	/* Should it fail, the mark stays, and nothing is wrong. */
	if (clear)
		(void)!vfile_mark_holes_(f, ws, false, &bad);
	vfile_end_(f, &r);
}

/* In a shared vault marks are known only for as long as the lock is held. */
static int write_knowing_holes(struct vfile *f, struct workspace *ws,
			       const struct vfile_write *w, uint64_t offset,
			       uint64_t *bad_chunk)
{
	bool holes;
	int err =
		vfile_write_locked_(f, ws, w->data, w->len, offset, bad_chunk);

	if (err != -EAGAIN || !f->vault->shared)
		return err;
	err = vfile_load_holes_(f, ws, &holes);
	if (err == -EBADMSG)
		*bad_chunk = chunk_last_index(f->size);
	return err ? err
		   : vfile_write_locked_(f, ws, w->data, w->len, offset,
					 bad_chunk);
}

int vfile_write(struct vfile *f, struct workspace *ws,
		const struct vfile_write *w, uint64_t *bad_chunk)
{
	struct range r;
	uint64_t offset;
	int err;

	*bad_chunk = VFILE_NO_CHUNK;
	if (w->len == 0)
		return 0;
	if (w->len > VFILE_IO_MAX)
		return -EINVAL;
	if (!w->append && w->offset > CHUNK_MAX_PLAIN_LEN - w->len)
		return -EFBIG;
	for (;;) {
		err = begin_write(f, &r, w, &offset);
		if (err)
			return err;
		err = write_knowing_holes(f, ws, w, offset, bad_chunk);
		vfile_end_(f, &r);
		if (err != -EAGAIN)
			break;
		err = vfile_learn_holes_(f, ws, bad_chunk);
		if (err)
			return err;
	}
	if (!err)
		vfile_clear_holes_(f, ws);
	return err;
}

/* What shrinking needs to know: the chunk that becomes the last, and marks. */
static int load_new_last(struct vfile *f, struct workspace *ws, uint64_t size,
			 bool *had, uint64_t *bad_chunk)
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
	if (err == -EAGAIN) {
		err = vfile_load_holes_(f, ws, had);
		if (err)
			bad = chunk_last_index(f->size);
		else
			err = vfile_load_chunk_(f, ws, 0, ws->tail);
	}
	if (err == -EBADMSG)
		*bad_chunk = bad;
	return err;
}

/* Will there be holes once chunk last is the last one? */
static bool cut_gaps(struct vfile *f, uint64_t last)
{
	bool any;

	pthread_mutex_lock(&f->marks_lock);
	f->holes_known = true;
	if (last == 0)
		gaps_fini(&f->gaps);
	else
		gaps_fill(&f->gaps, last, UINT64_MAX);
	any = !gaps_none(&f->gaps);
	pthread_mutex_unlock(&f->marks_lock);
	return any;
}

/* A long last chunk's zeros reach this far into the next chunk's place. */
enum { SPILL_LEN = CHUNK_LAST_MAX - CHUNK_TOKEN_LEN };

/*
 * The chunk in ws->tail could not be made the last one of a file cut to size:
 * leave it, and what its zeros spilt over, as it was.
 */
static void undo_shrink(struct vfile *f, struct workspace *ws, uint64_t size,
			bool had, const uint8_t next[static SPILL_LEN])
{
	uint64_t last = chunk_last_index(size);
	size_t len = chunk_last_len(size);

	if (last == chunk_last_index(f->size)) {
		(void)!vfile_store_last_(f, ws, last, ws->tail,
					 chunk_last_len(f->size), had);
		return;
	}
	if (was_hole(f, last, ws->tokens,
		     FERNET_TOKEN_LEN(CHUNK_TAG_LEN + len))) {
		(void)!vfile_zero_slots_(f, ws, last, last + 1);
	} else {
		stage(ws, 0, chunk_tag(last, false, false), ws->tail,
		      CHUNK_SIZE);
		(void)!store_run(f, ws, last, 1, false);
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
	bool had = false, holes;
	int err = load_new_last(f, ws, size, &had, bad_chunk);

	if (!err && last < chunk_last_index(f->size))
		err = xio_pread(f->fd, next, sizeof next,
				(off_t)chunk_offset(last + 1));
	if (err)
		return err;
	holes = cut_gaps(f, last);
	err = vfile_store_last_(f, ws, last, ws->tail, chunk_last_len(size),
				holes);
	if (!err)
		err = cut_backing(f, size);
	if (err) {
		/* Of a file to be emptied nothing has been loaded. */
		if (size > 0)
			undo_shrink(f, ws, size, had, next);
		forget_holes(f);
		return err;
	}
	f->size = size;
	set_holes(f, holes);
	return 0;
}

int vfile_resize_locked_(struct vfile *f, struct workspace *ws, uint64_t size,
			 uint64_t *bad_chunk)
{
	uint64_t from = chunk_last_index(size) * CHUNK_SIZE;

	/* Moves the modification time, as truncate(2) must. */
	if (size == f->size)
		return cut_backing(f, size);
	if (size < f->size)
		return shrink(f, ws, size, bad_chunk);
	/* Growing is writing zeros into what becomes the last chunk. */
	if (from < f->size)
		from = f->size;
	return extend(f, ws, workspace_zeros, (size_t)(size - from), from,
		      bad_chunk);
}

int vfile_truncate(struct vfile *f, struct workspace *ws, uint64_t size,
		   uint64_t *bad_chunk)
{
	struct range r;
	int err;

	*bad_chunk = VFILE_NO_CHUNK;
	if (size > CHUNK_MAX_PLAIN_LEN)
		return -EFBIG;
	for (;;) {
		uint64_t first = chunk_last_index(f->size);

		if (chunk_last_index(size) < first)
			first = chunk_last_index(size);
		err = vfile_begin_(f, &r, first, RANGE_END, true);
		if (err)
			return err;
		if (r.first <= chunk_last_index(f->size))
			break;
		vfile_end_(f, &r);
	}
	err = vfile_resize_locked_(f, ws, size, bad_chunk);
	vfile_end_(f, &r);
	return err;
}
