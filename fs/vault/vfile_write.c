#include "vfile_internal.h"

#include "bytes.h"
#include "xio.h"

#include <errno.h>
#include <string.h>

enum { AHEAD_MIN = 16 }; /* chunks; fewer are not worth it */

int vfile_seal_(struct vfile *f, struct workspace *ws, size_t count,
		bool ends_file, size_t *stored_len)
{
	ws->seal_s = vault_now(f->vault);
	return workspace_seal(ws, f->key, count, ends_file, stored_len);
}

int vfile_store_run_(struct vfile *f, struct workspace *ws, uint64_t first,
		     size_t count, bool ends_file)
{
	size_t stored_len;
	int err = vfile_seal_(f, ws, count, ends_file, &stored_len);

	if (err)
		return err;
	if (f->journal)
		err = vfile_record_(f, ws, first, count, stored_len);
	else
		err = xio_pwrite(f->fd, ws->tokens, stored_len,
				 (off_t)chunk_offset(first));
	if (!err)
		memory_file_stored(f->memory, first, first + count - 1,
				   ws->sealed_s);
	return err;
}

int vfile_store_made_(struct vfile *f, struct workspace *ws, uint64_t first,
		      size_t count, bool ends_file)
{
	size_t stored_len;
	int err = vfile_seal_(f, ws, count, ends_file, &stored_len);

	if (!err)
		err = xio_pwrite(f->fd, ws->tokens, stored_len,
				 (off_t)chunk_offset(first));
	if (!err)
		memory_file_stored(f->memory, first, AGES_END, ws->sealed_s);
	return err;
}

int vfile_store_last_(struct vfile *f, struct workspace *ws, uint64_t index,
		      const uint8_t *plain, size_t len, enum chunk_holes holes)
{
	workspace_stage(ws, 0, chunk_tag(index, true, holes), plain, len);
	return vfile_store_run_(f, ws, index, 1, true);
}

int vfile_cut_backing_(struct vfile *f, uint64_t size)
{
	return ftruncate(f->fd, (off_t)chunk_backing_len(size)) < 0 ? -errno
								    : 0;
}

void vfile_set_holes_(struct vfile *f, enum chunk_holes holes)
{
	struct journal_file *jf;

	pthread_mutex_lock(&f->marks_lock);
	f->holes = holes;
	jf = f->jf;
	if (jf) {
		jf->holes = holes;
		jf->holes_known = true;
	}
	pthread_mutex_unlock(&f->marks_lock);
}

void vfile_forget_holes_(struct vfile *f)
{
	pthread_mutex_lock(&f->marks_lock);
	f->holes_known = false;
	gaps_fini(&f->gaps);
	gaps_fini(&f->zeroed);
	pthread_mutex_unlock(&f->marks_lock);
}

bool vfile_was_hole_(struct vfile *f, uint64_t index, const uint8_t *sealed,
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

void vfile_mend_holes_(struct vfile *f, struct workspace *ws, uint64_t first,
		       uint64_t end)
{
	uint64_t last = chunk_last_index(f->size);

	for (uint64_t i = first; i <= end && i < last; i++)
		if (vfile_was_hole_(f, i,
				    ws->tokens + (i - first) * CHUNK_TOKEN_LEN,
				    CHUNK_TOKEN_LEN)) {
			(void)!vfile_zero_slots_(f, ws, i, i + 1);
			return; /* a write goes from front to back */
		}
}

int vfile_mark_holes_(struct vfile *f, struct workspace *ws,
		      enum chunk_holes holes, uint64_t *bad_chunk)
{
	uint64_t last = chunk_last_index(f->size);
	int err;

	/* It gets its mark when it is settled. */
	if (f->flux) {
		vfile_set_holes_(f, holes);
		return 0;
	}
	err = vfile_load_chunk_(f, ws, last, ws->tail);
	if (err) {
		*bad_chunk = last;
		return err;
	}
	err = vfile_store_last_(f, ws, last, ws->tail, chunk_last_len(f->size),
				holes);
	if (!err)
		vfile_set_holes_(f, holes);
	return err;
}

enum chunk_holes vfile_update_gaps_(struct vfile *f, uint64_t first,
				    uint64_t last, uint64_t made,
				    uint64_t made_last)
{
	enum chunk_holes holes = CHUNK_HOLES_NONE;

	pthread_mutex_lock(&f->marks_lock);
	vfile_note_loose_(f, first);
	if (made <= made_last)
		gaps_add(&f->gaps, made, made_last);
	gaps_fill(&f->gaps, first, last);
	gaps_fill(&f->zeroed, first, last);
	if (!gaps_none(&f->gaps))
		holes = vfile_marks_(f);
	pthread_mutex_unlock(&f->marks_lock);
	return holes;
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
	enum chunk_holes holes = CHUNK_HOLES_NONE;
	uint64_t claim = 0;
	int err = vfile_know_(f, ws, first);

	if (!err)
		err = vfile_keep_claim_(f, ws, end, &claim);
	/* others may have written there while it waited for its turn */
	if (ws->ahead_s < f->vault->latest_s)
		workspace_forget_ahead(ws);
	if (!err && end == last) {
		err = vfile_load_holes_(f, ws, &holes);
		if (err)
			*bad_chunk = last;
	}
	for (uint64_t i = first; i <= end && !err; i++) {
		struct part p = part_of(i, offset, data, len);
		size_t plain_len =
			i == last ? chunk_last_len(f->size) : CHUNK_SIZE;
		const uint8_t *plain = p.data;

		if (p.from > 0 || p.to < plain_len) {
			uint8_t *merged = i == first ? ws->head : ws->tail;

			err = vfile_load_chunk_(f, ws, i, merged);
			if (vfile_is_bad_(err))
				*bad_chunk = i;
			memcpy(merged + p.from, p.data, p.to - p.from);
			plain = merged;
		}
		if (i == last)
			workspace_stage(ws, i - first,
					chunk_tag(i, true, holes), plain,
					plain_len);
		else
			workspace_stage_full(ws, i - first, i, plain,
					     i == end ? claim : 0);
	}
	if (err)
		return err;
	if (f->journal) {
		err = vfile_overwrite_journaled_(f, ws, first, end);
	} else {
		err = vfile_store_run_(f, ws, first, end - first + 1,
				       end == last);
		if (err)
			vfile_mend_holes_(f, ws, first, end);
	}
	if (!err)
		(void)vfile_update_gaps_(f, first, end, 1, 0);
	return err;
}

/* A failed extension must leave the file as long and as whole as it was. */
static void undo_extend(struct vfile *f, struct workspace *ws,
			enum chunk_holes holes)
{
	uint64_t last = chunk_last_index(f->size);

	(void)!vfile_store_last_(f, ws, last, ws->tail, chunk_last_len(f->size),
				 holes);
	(void)!vfile_cut_backing_(f, f->size);
}

/*
 * Store a staged extension: count chunks from first on, and after them the
 * former last one where a hole lies between.
 */
static int store_extension(struct vfile *f, struct workspace *ws,
			   uint64_t first, size_t count, bool hole)
{
	uint64_t old_last = chunk_last_index(f->size);
	int err = vfile_store_run_(f, ws, first, count, true);

	if (err) {
		vfile_mend_holes_(f, ws, first, first + count - 1);
		return err;
	}
	if (!hole)
		return 0;
	workspace_stage_full(ws, 0, old_last, ws->tail, 0);
	return vfile_store_run_(f, ws, old_last, 1, false);
}

int vfile_stage_extension_(struct vfile *f, struct workspace *ws,
			   const struct vfile_staging *s, uint64_t *bad_chunk)
{
	uint64_t first = s->offset / CHUNK_SIZE;
	uint64_t end = (s->offset + s->len - 1) / CHUNK_SIZE;
	uint64_t old_last = chunk_last_index(f->size);
	size_t slot = s->slot;
	int err;

	for (uint64_t i = first; i <= end; i++) {
		struct part p = part_of(i, s->offset, s->data, s->len);
		const uint8_t *plain = p.data;

		if (p.from > 0) {
			if (i == old_last) {
				memcpy(ws->head, ws->tail, CHUNK_SIZE);
			} else if (i > old_last) {
				memset(ws->head, 0, CHUNK_SIZE);
			} else {
				err = vfile_load_chunk_(f, ws, i, ws->head);
				if (vfile_is_bad_(err))
					*bad_chunk = i;
				if (err)
					return err;
			}
			memcpy(ws->head + p.from, p.data, p.to - p.from);
			plain = ws->head;
		}
		workspace_stage(ws, slot++,
				chunk_tag(i, i == end && s->mark, s->holes),
				plain, p.to);
	}
	return 0;
}

int vfile_extend_(struct vfile *f, struct workspace *ws, const uint8_t *data,
		  size_t len, uint64_t offset, uint64_t *bad_chunk)
{
	uint64_t old_last = chunk_last_index(f->size);
	uint64_t first = offset / CHUNK_SIZE;
	uint64_t end = (offset + len - 1) / CHUNK_SIZE;
	bool hole = first > old_last + 1;
	size_t lead = first == old_last + 1; /* former last, in the same run */
	struct vfile_staging staging = {.slot = lead,
					.data = data,
					.len = len,
					.offset = offset,
					.mark = true};
	enum chunk_holes had, holes;
	int err;

	if (f->journal)
		return vfile_extend_journaled_(f, ws, data, len, offset,
					       bad_chunk);
	err = vfile_load_chunk_(f, ws, old_last, ws->tail);
	if (!err)
		err = vfile_load_holes_(f, ws, &had);
	if (err) {
		if (vfile_is_bad_(err))
			*bad_chunk = old_last;
		return err;
	}
	holes = vfile_update_gaps_(f, first, end, hole ? old_last + 1 : 1,
				   hole ? first - 1 : 0);
	if (lead)
		workspace_stage_full(ws, 0, old_last, ws->tail, 0);
	staging.holes = holes;
	err = vfile_stage_extension_(f, ws, &staging, bad_chunk);
	if (!err) {
		err = store_extension(f, ws, first - lead,
				      end - first + 1 + lead, hole);
		if (err)
			undo_extend(f, ws, had);
	}
	if (err) {
		vfile_forget_holes_(f);
		return err;
	}
	f->size = offset + len;
	vfile_set_holes_(f, holes);
	memory_file_stored(f->memory, end + 1, AGES_END, ws->sealed_s);
	return 0;
}

int vfile_write_locked_(struct vfile *f, struct workspace *ws,
			const uint8_t *data, size_t len, uint64_t offset,
			uint64_t *bad_chunk)
{
	if (offset + len > f->size)
		return vfile_extend_(f, ws, data, len, offset, bad_chunk);
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
	if (f->changing || !clear ||
	    vfile_begin_(f, &r, 0, RANGE_END, true) != 0)
		return;
	pthread_mutex_lock(&f->marks_lock);
	clear = f->holes_known && f->holes && gaps_none(&f->gaps);
	pthread_mutex_unlock(&f->marks_lock);
	/* Should it fail, the mark stays, and nothing is wrong. */
	if (clear)
		(void)!vfile_mark_holes_(f, ws, CHUNK_HOLES_NONE, &bad);
	vfile_end_(f, &r);
}

/* In a shared vault marks are known only for as long as the lock is held. */
static int write_knowing_holes(struct vfile *f, struct workspace *ws,
			       const struct vfile_write *w, uint64_t offset,
			       uint64_t *bad_chunk)
{
	int err = f->changing ? vfile_unmap_(f, ws, bad_chunk) : 0;

	if (!err)
		err = vfile_write_locked_(f, ws, w->data, w->len, offset,
					  bad_chunk);
	if (err != -EAGAIN || !f->changing)
		return err;
	err = vfile_learn_locked_(f, ws);
	if (vfile_is_bad_(err))
		*bad_chunk = chunk_last_index(f->size);
	return err ? err
		   : vfile_write_locked_(f, ws, w->data, w->len, offset,
					 bad_chunk);
}

/* Who overwrites wants to know whether that may be holes. A damaged end keeps
 * nobody from writing elsewhere. */
static int learn_holes(struct vfile *f, struct workspace *ws)
{
	uint64_t bad;
	struct range r;
	bool known;
	int err;

	pthread_mutex_lock(&f->marks_lock);
	known = f->holes_known &&
		(f->journal || f->holes != CHUNK_HOLES_MAPPED);
	pthread_mutex_unlock(&f->marks_lock);
	if (known || f->changing)
		return 0;
	ws->zeros_first = ws->zeros_last = 0;
	if (f->journal) {
		err = vfile_learn_holes_(f, ws, &bad);
		return f->vault->version < VAULT_VERSION_MAPS ||
				       vfile_is_bad_(err)
			       ? 0
			       : err;
	}
	err = vfile_begin_(f, &r, 0, RANGE_END, true);
	if (!err) {
		err = vfile_unmap_(f, ws, &bad);
		vfile_end_(f, &r);
	}
	return err;
}

int vfile_write(struct vfile *f, struct workspace *ws,
		const struct vfile_write *w, uint64_t *bad_chunk)
{
	bool made_room = false;
	struct range r;
	unsigned tries = 0;
	uint64_t offset;
	int err;

	*bad_chunk = VFILE_NO_CHUNK;
	if (w->len == 0)
		return 0;
	if (w->len > workspace_write_max(ws))
		return -EINVAL;
	if (!w->append && w->offset > CHUNK_MAX_PLAIN_LEN - w->len)
		return -EFBIG;
	err = learn_holes(f, ws);
	while (!err) {
		err = begin_write(f, &r, w, &offset);
		if (err)
			return err;
		if (ws->ahead_key != f->key_number)
			workspace_forget_ahead(ws);
		err = write_knowing_holes(f, ws, w, offset, bad_chunk);
		vfile_end_(f, &r);
		if (!err)
			break;
		err = err == -EBADMSG
			      ? vfile_again_(f, &tries, err)
			      : vfile_retry_(f, ws, &made_room, err, bad_chunk);
		if (err)
			return err;
		*bad_chunk = VFILE_NO_CHUNK;
	}
	if (err)
		return err;
	vfile_tighten_many_(f);
	vfile_clear_holes_(f, ws);
	return 0;
}

/* The slot of a write's first chunk: the former last one, which loses its
 * mark, comes in front. With a journal it has none where others are growing
 * the file in front of this write. */
static size_t slot_ahead(const struct vfile *f, uint64_t first)
{
	uint64_t size = f->size;

	if (!f->journal)
		return first > 0;
	return !f->flux && size > 0 && first == chunk_last_index(size) + 1;
}

void vfile_seal_ahead(struct vfile *f, struct workspace *ws,
		      const struct vfile_write *w)
{
	uint64_t first = w->offset / CHUNK_SIZE;
	/* the last chunk's mark depends on the file */
	size_t slot = slot_ahead(f, first), count = (w->len - 1) / CHUNK_SIZE;

	workspace_forget_ahead(ws);
	if (f->changing || w->append || w->offset % CHUNK_SIZE != 0 ||
	    count < AHEAD_MIN || w->len > workspace_write_max(ws))
		return;
	for (size_t i = 0; i < count; i++)
		workspace_stage_full(ws, slot + i, first + i,
				     w->data + i * CHUNK_SIZE, 0);
	pthread_rwlock_rdlock(&f->key_lock);
	ws->ahead_key = f->key_number;
	ws->seal_s = vault_now(f->vault);
	if (workspace_seal_ahead(ws, f->key, slot, count) != 0)
		workspace_forget_ahead(ws);
	pthread_rwlock_unlock(&f->key_lock);
}
