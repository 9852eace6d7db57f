#include "vfile_internal.h"

#include "bytes.h"
#include "log.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>

/* Have the backing file system set room aside, where it can. */
static int reserve(struct vfile *f, uint64_t offset, uint64_t len)
{
	uint64_t from = chunk_offset(offset / CHUNK_SIZE);
	uint64_t to = chunk_offset((offset + len - 1) / CHUNK_SIZE + 1) +
		      CHUNK_LAST_MAX - CHUNK_TOKEN_LEN;

	if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)from,
		      (off_t)(to - from)) < 0)
		return -errno;
	return 0;
}

int vfile_reserve_(struct vfile *f, uint64_t first, uint64_t last)
{
	off_t from = (off_t)chunk_offset(first);
	off_t len = (off_t)((last + 1 - first) * CHUNK_TOKEN_LEN +
			    CHUNK_LAST_MAX - CHUNK_TOKEN_LEN);

	if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, from, len) == 0)
		return 0;
	return errno == ENOSPC || errno == EDQUOT || errno == EIO ? -errno : 0;
}

/* Part of a chunk that is to be zeros, and what was there. */
struct piece {
	uint64_t index;
	size_t from, to; /* within the chunk */
	bool known;
	uint8_t was[CHUNK_SIZE];
};

enum { PIECES = 3 };

static int write_piece(struct vfile *f, struct workspace *ws,
		       const struct piece *p, const uint8_t *data,
		       uint64_t *bad_chunk)
{
	return vfile_write_locked_(f, ws, data, p->to - p->from,
				   p->index * CHUNK_SIZE + p->from, bad_chunk);
}

static bool is_zeros(const struct piece *p, const uint8_t *plain)
{
	return bytes_all_zero(plain + p->from, p->to - p->from);
}

/* What cannot be read has nothing to be put back. */
static void know_piece(struct vfile *f, struct workspace *ws, struct piece *p)
{
	p->known = vfile_load_chunk_(f, ws, p->index, p->was) == 0 &&
		   !is_zeros(p, p->was);
}

/* Zeros, by writing them. */
static int zero_piece(struct vfile *f, struct workspace *ws, struct piece *p,
		      uint64_t *bad_chunk)
{
	if (p->from == p->to)
		return 0;
	know_piece(f, ws, p);
	return write_piece(f, ws, p, workspace_zeros, bad_chunk);
}

/* There may be room once the journal is empty. */
static int put_piece_back(struct vfile *f, struct workspace *ws,
			  const struct piece *p)
{
	bool tried = false;
	uint64_t bad;
	int err;

	do {
		err = write_piece(f, ws, p, p->was + p->from, &bad);
		if (err == -EAGAIN) {
			err = vfile_learn_locked_(f, ws);
			if (!err)
				err = write_piece(f, ws, p, p->was + p->from,
						  &bad);
		}
	} while (err && !vfile_make_room_(f, &tried, err));
	return err;
}

/* Zeroing has failed, and so nothing is to be zeros: the kernel keeps the pages
 * that it has. */
static void put_back(struct vfile *f, struct workspace *ws,
		     const struct piece *pieces)
{
	for (size_t i = 0; i < PIECES; i++) {
		const struct piece *p = &pieces[i];
		int err;

		if (!p->known ||
		    vfile_load_chunk_(f, ws, p->index, ws->head) != 0 ||
		    !is_zeros(p, ws->head))
			continue;
		err = put_piece_back(f, ws, p);
		if (err)
			log_error("a part of a file is zeros, though it could "
				  "not be set to zeros as a whole: %s",
				  strerror(-err));
	}
}

int vfile_zero_slots_(struct vfile *f, struct workspace *ws, uint64_t first,
		      uint64_t last)
{
	uint64_t from = chunk_offset(first), to = chunk_offset(last);

	if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)from, (off_t)(to - from)) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	memset(ws->tokens, 0, VFILE_IO_MAX);
	while (from < to) {
		size_t part = to - from < VFILE_IO_MAX ? (size_t)(to - from)
						       : VFILE_IO_MAX;
		int err = xio_pwrite(f->fd, ws->tokens, part, (off_t)from);

		if (err)
			return err;
		from += part;
	}
	return 0;
}

static void note_punched(struct vfile *f, uint64_t first, uint64_t last)
{
	pthread_mutex_lock(&f->marks_lock);
	gaps_add(&f->gaps, first, last - 1);
	gaps_fill(&f->zeroed, first, last - 1);
	pthread_mutex_unlock(&f->marks_lock);
}

/* Who knows what has become of them? */
static void forget_punched(struct vfile *f, uint64_t first, uint64_t last)
{
	pthread_mutex_lock(&f->marks_lock);
	gaps_fill(&f->gaps, first, last - 1);
	f->gaps.unknown = true;
	pthread_mutex_unlock(&f->marks_lock);
}

/* Turn whole chunks first..last-1, none of them the file's last, into holes */
static int punch(struct vfile *f, struct workspace *ws, uint64_t first,
		 uint64_t last, uint64_t *bad_chunk)
{
	uint64_t now = vault_now(f->vault);
	enum chunk_holes holes, marks;
	int err = vfile_load_holes_(f, ws, &holes);

	if (err)
		return err;
	/* First the permission to have holes, then the holes. */
	marks = vfile_marks_(f);
	if (holes == CHUNK_HOLES_NONE)
		err = vfile_mark_holes_(f, ws, marks, bad_chunk);
	if (!err && marks == CHUNK_HOLES_MAPPED)
		err = vfile_claim_holes_(f, ws, &first, last, bad_chunk);
	if (err || first == last)
		return err;
	note_punched(f, first, last);
	err = f->journal ? vfile_punch_journaled_(f, ws, first, last)
			 : vfile_zero_slots_(f, ws, first, last);
	/* what may lie there from now on is made later */
	if (!err)
		memory_file_stored(f->memory, first, last - 1, now);
	else
		forget_punched(f, first, last);
	return err;
}

/* Whole chunks first..last-1 and parts of those around them. */
static int zero_all(struct vfile *f, struct workspace *ws, struct piece *pieces,
		    uint64_t first, uint64_t last, uint64_t *bad_chunk)
{
	int err = zero_piece(f, ws, &pieces[0], bad_chunk);

	if (!err)
		err = zero_piece(f, ws, &pieces[1], bad_chunk);
	if (err || first >= last)
		return err;
	/* where nothing can claim it as a hole it becomes zeros, too */
	pieces[2] = (struct piece){.index = first, .to = CHUNK_SIZE};
	know_piece(f, ws, &pieces[2]);
	return punch(f, ws, first, last, bad_chunk);
}

/* Zeros from offset to end, both within the file: all of it or nothing. */
static int zero_range(struct vfile *f, struct workspace *ws, uint64_t offset,
		      uint64_t end, uint64_t *bad_chunk)
{
	uint64_t first = (offset + CHUNK_SIZE - 1) / CHUNK_SIZE;
	uint64_t last = end / CHUNK_SIZE;
	struct piece pieces[PIECES] = {
		{.index = offset / CHUNK_SIZE,
		 .from = (size_t)(offset % CHUNK_SIZE)},
		{.index = last},
	};
	enum chunk_holes holes;
	int err = vfile_load_holes_(f, ws, &holes);

	if (err) {
		*bad_chunk = chunk_last_index(f->size);
		return err;
	}
	if (last > chunk_last_index(f->size))
		pieces[1].index = last = chunk_last_index(f->size);
	pieces[0].to = pieces[0].from;
	if (pieces[0].from > 0)
		pieces[0].to = end < first * CHUNK_SIZE
				       ? (size_t)(end % CHUNK_SIZE)
				       : CHUNK_SIZE;
	if (first <= last)
		pieces[1].to = (size_t)(end - last * CHUNK_SIZE);
	err = zero_all(f, ws, pieces, first, last, bad_chunk);
	if (err)
		put_back(f, ws, pieces);
	sodium_memzero(pieces, sizeof pieces);
	return err;
}

/* What the journal is about to cut off takes along the room that is set aside
 * behind the end. */
static int cut_first(struct vfile *f)
{
	struct journal_file *jf = f->journal ? f->jf : NULL;

	return jf && jf->tail ? journal_drain_(jf) : 0;
}

static int allocate_locked(struct vfile *f, struct workspace *ws, int mode,
			   uint64_t offset, uint64_t len, uint64_t *bad_chunk)
{
	bool keep = mode & FALLOC_FL_KEEP_SIZE;
	bool zero = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
	uint64_t end = offset + len;
	uint64_t inside = end < f->size ? end : f->size;
	int err = 0;

	if (!(mode & FALLOC_FL_PUNCH_HOLE))
		err = cut_first(f);
	if (!err && !(mode & FALLOC_FL_PUNCH_HOLE))
		err = reserve(f, offset, len);
	if (!err && zero && offset < inside)
		err = zero_range(f, ws, offset, inside, bad_chunk);
	/* What became a hole has lost its room. If it gets none, it is zeros
	 * nevertheless, and so it has not failed. */
	if (!err && (mode & FALLOC_FL_ZERO_RANGE))
		(void)reserve(f, offset, len);
	if (!err && !keep && end > f->size)
		err = vfile_resize_locked_(f, ws, end, bad_chunk);
	return err;
}

int vfile_allocate(struct vfile *f, struct workspace *ws, int mode,
		   uint64_t offset, uint64_t len, uint64_t *bad_chunk)
{
	bool tried = false;
	struct range r;
	int err;

	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (len == 0)
		return -EINVAL;
	if (len > CHUNK_MAX_PLAIN_LEN || offset > CHUNK_MAX_PLAIN_LEN - len)
		return -EFBIG;
	do {
		*bad_chunk = VFILE_NO_CHUNK;
		err = vfile_begin_(f, &r, 0, RANGE_END, true);
		if (err)
			return err;
		err = vfile_unmap_(f, ws, bad_chunk);
		if (!err)
			err = allocate_locked(f, ws, mode, offset, len,
					      bad_chunk);
		vfile_end_(f, &r);
	} while (err && !vfile_retry_(f, ws, &tried, err, bad_chunk));
	/* Parts of a hole are zeroed by writing the rest of its chunk, too. */
	if (!err)
		vfile_clear_holes_(f, ws);
	return err;
}

/* Zeros that nobody claims are lost data, which a copy must not leave out. */
static bool is_hole(struct vfile *f, struct workspace *ws, uint64_t index)
{
	int err = vfile_judge_zeros_(f, ws, index);

	if (err == -EAGAIN)
		err = vfile_learn_locked_(f, ws);
	return !err && vfile_judge_zeros_(f, ws, index) == 0;
}

/*
 * The first chunk from index on that holds data (want_data) or is a hole; the
 * last chunk, which holds data, ends the search. A token's first byte is
 * never zero.
 */
static int find_chunk(struct vfile *f, struct workspace *ws, uint64_t index,
		      bool want_data, uint64_t *found)
{
	uint64_t last = chunk_last_index(f->size);
	struct journal_file *jf = f->jf;
	bool mapped = f->holes == CHUNK_HOLES_MAPPED;

	while (index < last) {
		uint64_t count = VFILE_IO_MAX / CHUNK_SIZE;
		/* what is data now may still be a hole in place */
		off_t data = want_data && !mapped && !(jf && jf->count > 0)
				     ? lseek(f->fd, (off_t)chunk_offset(index),
					     SEEK_DATA)
				     : -1;
		int err;

		if (data > (off_t)chunk_offset(index))
			index = ((uint64_t)data - CHUNK_AREA_OFFSET) /
				CHUNK_TOKEN_LEN;
		if (mapped && want_data)
			index += vfile_claim_(f, index - 1);
		if (count > last - index)
			count = last - index;
		if (count == 0)
			break;
		err = vfile_read_stored_(f, ws->tokens, index, (size_t)count,
					 (size_t)count * CHUNK_TOKEN_LEN);
		if (err)
			return err == -ENODATA ? -EBADMSG : err;
		for (uint64_t i = 0; i < count; i++, index++) {
			bool is_data = ws->tokens[i * CHUNK_TOKEN_LEN] != 0 ||
				       !is_hole(f, ws, index);

			if (is_data == want_data) {
				*found = index;
				return 0;
			}
		}
	}
	*found = last;
	return 0;
}

static int seek_locked(struct vfile *f, struct workspace *ws, uint64_t offset,
		       int whence, uint64_t *result)
{
	uint64_t index, found = 0;
	enum chunk_holes holes;
	int err;

	if (offset >= f->size)
		return -ENXIO;
	err = vfile_load_holes_(f, ws, &holes);
	if (err)
		return err;
	if (!holes) {
		*result = whence == SEEK_DATA ? offset : f->size;
		return 0;
	}
	index = offset / CHUNK_SIZE;
	err = find_chunk(f, ws, index, whence == SEEK_DATA, &found);
	if (err)
		return err;
	if (whence == SEEK_HOLE && found == chunk_last_index(f->size))
		*result = f->size;
	else
		*result = found == index ? offset : found * CHUNK_SIZE;
	return 0;
}

int vfile_seek(struct vfile *f, struct workspace *ws, uint64_t offset,
	       int whence, uint64_t *result)
{
	struct range r;
	unsigned tries = 0;
	int err;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	do {
		err = vfile_begin_(f, &r, 0, RANGE_END, false);
		if (!err) {
			err = seek_locked(f, ws, offset, whence, result);
			vfile_end_(f, &r);
		}
		if (!err)
			return 0;
		err = vfile_again_(f, &tries, err);
	} while (!err);
	return err == -EBADMSG ? -EIO : err;
}
