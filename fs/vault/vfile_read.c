#include "vfile_internal.h"
#include "vfile_slot.h"

#include "clock.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { PIECE = 256 << 10 }; /* twice what Linux reads ahead at once */

static void note_holes(struct vfile *f, enum chunk_holes holes)
{
	struct journal_file *jf;

	pthread_mutex_lock(&f->marks_lock);
	jf = f->jf;
	if (!f->holes_known) {
		f->holes_known = true;
		f->holes = holes;
		gaps_fini(&f->gaps);
		gaps_fini(&f->zeroed);
		f->gaps.unknown = holes;
		if (jf) {
			jf->holes = holes;
			jf->holes_known = true;
		}
	}
	pthread_mutex_unlock(&f->marks_lock);
}

/* The end of a file that is being written has no mark, which a cut does not
 * leave either; but it moves. */
enum { MOVING_MS = 2000 };

static bool is_moving_end(struct vfile *f, const struct slot *s, uint64_t tag)
{
	enum chunk_holes holes;

	if (!f->granted || !s->last || s->plain_len != CHUNK_SIZE ||
	    chunk_tag_check(tag, s->index, false, &holes) != 0)
		return false;
	return f->moved_ms != 0 && clock_now_ms() - f->moved_ms <= MOVING_MS;
}

/* Of a granted file nobody knows what its vault is like. */
static bool has_claims(const struct vfile *f)
{
	return f->granted || f->vault->version >= VAULT_VERSION_MAPS;
}

/* Is an opened token what this slot must hold? */
static int check_opened(struct vfile *f, const struct slot *s,
			const struct fernet_open_job *job)
{
	enum chunk_holes holes;
	bool marked, can_claim = !s->last && has_claims(f);
	int err;

	if (job->status)
		return job->status;
	if (!chunk_fits(job->plaintext, job->plaintext_len, s->plain_len,
			can_claim))
		return -EBADMSG;
	/* In flux, the last one has no mark, and holes are known. */
	marked = s->last && !f->flux;
	err = chunk_tag_check(be64_load(job->plaintext), s->index, marked,
			      &holes);
	if (err)
		return is_moving_end(f, s, be64_load(job->plaintext)) ? 0 : err;
	return 0;
}

/* It is that, and no older than what was seen: believe its mark. */
static void note_mark(struct vfile *f, const struct slot *s,
		      const struct fernet_open_job *job)
{
	enum chunk_holes holes = CHUNK_HOLES_NONE;

	if (!s->last || f->flux)
		return;
	/* an end that moves has none yet, nor has it holes that one knows of */
	if (chunk_tag_check(be64_load(job->plaintext), s->index, true, &holes))
		holes = CHUNK_HOLES_NONE;
	note_holes(f, holes);
}

int vfile_read_stored_(struct vfile *f, uint8_t *buf, uint64_t first,
		       size_t count, size_t len)
{
	struct journal_file *jf = f->jf;

	if (jf && jf->count > 0)
		return journal_read_(jf, f->fd, buf, first, count, len);
	return xio_pread(f->fd, buf, len, (off_t)chunk_offset(first));
}

static bool holes_if_known(struct vfile *f, enum chunk_holes *holes)
{
	bool known;

	pthread_mutex_lock(&f->marks_lock);
	known = f->holes_known;
	*holes = f->holes;
	pthread_mutex_unlock(&f->marks_lock);
	return known;
}

int vfile_load_chunk_(struct vfile *f, struct workspace *ws, uint64_t index,
		      uint8_t plain[CHUNK_SIZE])
{
	uint64_t claim;

	return vfile_load_claim_(f, ws, index, plain, &claim);
}

int vfile_load_claim_(struct vfile *f, struct workspace *ws, uint64_t index,
		      uint8_t plain[CHUNK_SIZE], uint64_t *claim)
{
	struct slot s = slot_of(index, f->size);
	uint8_t stored[CHUNK_LAST_MAX], opened[WORKSPACE_PLAIN_STRIDE];
	struct fernet_open_job job = {
		.token = stored, .token_len = s.token_len, .plaintext = opened};
	enum chunk_holes holes;
	uint64_t stamp;
	int err;

	*claim = 0;
	/* Of an empty file there is no more to learn: it was just made. */
	if (!f->changing && f->size == 0 && holes_if_known(f, &holes)) {
		memset(plain, 0, CHUNK_SIZE);
		return 0;
	}
	err = vfile_read_stored_(f, stored, index, 1, s.stored_len);
	if (err)
		return err == -ENODATA ? -EBADMSG : err;
	if (!s.last && bytes_all_zero(stored, s.stored_len)) {
		memset(plain, 0, CHUNK_SIZE);
		return vfile_judge_zeros_(f, ws, index);
	}
	workspace_count_opened(1);
	if (!slot_padding_is_zero(&s, stored) ||
	    fernet_open(ws->fernet, f->key, &job, 1) != 0)
		return -EBADMSG;
	err = check_opened(f, &s, &job);
	if (err)
		return err;
	stamp = fernet_timestamp(stored);
	if (memory_file_judge(f->memory, index, 1, &stamp) == 0)
		return -ETIME;
	vfile_keep_up_(f, stamp);
	note_mark(f, &s, &job);
	*claim = chunk_claim(opened, job.plaintext_len);
	memcpy(plain, opened + CHUNK_TAG_LEN, s.plain_len);
	memset(plain + s.plain_len, 0, CHUNK_SIZE - s.plain_len);
	return 0;
}

int vfile_load_holes_(struct vfile *f, struct workspace *ws,
		      enum chunk_holes *holes)
{
	uint8_t plain[CHUNK_SIZE];
	int err;

	if (holes_if_known(f, holes))
		return 0;
	err = vfile_load_chunk_(f, ws, chunk_last_index(f->size), plain);
	if (err)
		return err;
	(void)holes_if_known(f, holes);
	return 0;
}

/*
 * Point a job at every slot that holds a token, the zero page at every hole.
 * Returns the number of jobs; -EAGAIN: there are zeros, and whether they may be
 * a hole is not known yet. Stops at a slot that no token can help,
 * with *bad_chunk set: those in front of it may be worse.
 */
static ssize_t stage_open(struct vfile *f, struct workspace *ws, uint64_t first,
			  size_t count, uint64_t size, uint64_t *bad_chunk)
{
	size_t jobs = 0;

	for (size_t i = 0; i < count; i++) {
		struct slot s = slot_of(first + i, size);
		uint8_t *stored = ws->tokens + i * CHUNK_TOKEN_LEN;
		uint8_t *plain = ws->plain + i * WORKSPACE_PLAIN_STRIDE;
		int err;

		if (!s.last && stored[0] == 0 &&
		    bytes_all_zero(stored, s.stored_len)) {
			err = vfile_judge_zeros_(f, ws, s.index);
			if (err == -EAGAIN) {
				ws->zeros_last = first + count - 1;
				return err;
			}
			if (err) {
				*bad_chunk = s.index;
				break;
			}
			ws->chunk[i] = workspace_zeros;
			continue;
		}
		if (!slot_padding_is_zero(&s, stored)) {
			*bad_chunk = s.index;
			break;
		}
		ws->chunk[i] = plain + CHUNK_TAG_LEN;
		ws->open_slot[jobs] = i;
		ws->open[jobs++] =
			(struct fernet_open_job){.token = stored,
						 .token_len = s.token_len,
						 .plaintext = plain};
	}
	return (ssize_t)jobs;
}

/* How many chunks of the run, from the first, are no older than what was seen
 */
static size_t judge_run(struct vfile *f, struct workspace *ws, uint64_t first,
			size_t count, size_t jobs)
{
	for (size_t i = 0; i < count; i++)
		ws->stamps[i] = UINT64_MAX;
	for (size_t j = 0; j < jobs; j++) {
		uint64_t stamp = fernet_timestamp(ws->open[j].token);

		ws->stamps[ws->open_slot[j]] = stamp;
		vfile_keep_up_(f, stamp);
	}
	return memory_file_judge(f->memory, first, count, ws->stamps);
}

/* Open what stage_open() has staged. */
static int open_jobs(struct vfile *f, struct workspace *ws, uint64_t first,
		     size_t jobs, uint64_t size, uint64_t *bad_chunk)
{
	workspace_count_opened(jobs);
	(void)!fernet_open(ws->fernet, f->key, ws->open, jobs);
	for (size_t j = 0; j < jobs; j++) {
		struct slot s = slot_of(first + ws->open_slot[j], size);

		if (check_opened(f, &s, &ws->open[j]) != 0) {
			*bad_chunk = s.index;
			return -EBADMSG;
		}
	}
	return *bad_chunk == VFILE_NO_CHUNK ? 0 : -EBADMSG;
}

int vfile_open_run_(struct vfile *f, struct workspace *ws, uint64_t first,
		    size_t count, uint64_t size, uint64_t *bad_chunk)
{
	struct slot end = slot_of(first + count - 1, size);
	size_t stored_len = (count - 1) * CHUNK_TOKEN_LEN + end.stored_len,
	       good;
	ssize_t jobs;
	int err = vfile_read_stored_(f, ws->tokens, first, count, stored_len);

	if (err == -ENODATA) {
		*bad_chunk = end.index;
		return -EBADMSG;
	}
	if (err)
		return err;
	jobs = stage_open(f, ws, first, count, size, bad_chunk);
	if (jobs < 0)
		return (int)jobs;
	err = open_jobs(f, ws, first, (size_t)jobs, size, bad_chunk);
	if (err)
		return err;
	good = judge_run(f, ws, first, count, (size_t)jobs);
	if (good < count) {
		*bad_chunk = first + good;
		return -ETIME;
	}
	if (end.last)
		note_mark(f, &end, &ws->open[jobs - 1]);
	return 0;
}

int vfile_open_whole_run_(struct vfile *f, struct workspace *ws, uint64_t first,
			  size_t count, uint64_t size, uint64_t *bad_chunk)
{
	int err = vfile_open_run_(f, ws, first, count, size, bad_chunk);

	/* where there are many, learning of some forgets others */
	while (err == -EAGAIN) {
		err = vfile_learn_locked_(f, ws);
		if (!err)
			err = vfile_open_run_(f, ws, first, count, size,
					      bad_chunk);
	}
	return err;
}

/* Describe len bytes of the run in ws->chunk, beginning skip bytes in. */
static int describe(struct workspace *ws, size_t skip, size_t len,
		    struct iovec *iov)
{
	int n = 0;

	for (; len > 0; n++, skip = 0) {
		size_t part = CHUNK_SIZE - skip;

		if (part > len)
			part = len;
		iov[n].iov_base = (void *)(ws->chunk[n] + skip);
		iov[n].iov_len = part;
		len -= part;
	}
	return n;
}

int vfile_learn_holes_(struct vfile *f, struct workspace *ws,
		       uint64_t *bad_chunk)
{
	struct range r;
	int err = vfile_begin_(f, &r, 0, RANGE_END, false);

	if (err)
		return err;
	err = vfile_learn_locked_(f, ws);
	if (vfile_is_bad_(err))
		*bad_chunk = chunk_last_index(f->size);
	vfile_end_(f, &r);
	return err;
}

/*
 * Behind the end there is nothing to be read, if it is the end: the kernel may
 * know of a longer file, which somebody has cut, and takes what it does not get
 * for zeros. Where others write, an end may have no mark yet.
 */
static int look_at_end(struct vfile *f, struct workspace *ws,
		       uint64_t *bad_chunk)
{
	enum chunk_holes holes;
	struct range r;
	int err;

	if (f->changing || holes_if_known(f, &holes))
		return 0;
	err = vfile_begin_(f, &r, 0, RANGE_END, false);
	if (err)
		return err;
	err = vfile_load_holes_(f, ws, &holes);
	if (vfile_is_bad_(err))
		*bad_chunk = chunk_last_index(f->size);
	vfile_end_(f, &r);
	return err;
}

static ssize_t read_once(struct vfile *f, struct workspace *ws, uint64_t offset,
			 size_t len, struct iovec *iov, int *iov_count,
			 uint64_t *bad_chunk)
{
	uint64_t first = offset / CHUNK_SIZE;
	struct range r;
	uint64_t size;
	size_t count;
	int err = vfile_begin_(f, &r, first, (offset + len - 1) / CHUNK_SIZE,
			       false);

	if (err)
		return err;
	size = f->size;
	if (offset >= size) {
		vfile_end_(f, &r);
		return 0;
	}
	if (len > size - offset)
		len = (size_t)(size - offset);
	count = (size_t)((offset + len - 1) / CHUNK_SIZE - first + 1);
	/* Where others write it, holes are known only while it is locked. */
	err = f->changing
		      ? vfile_open_whole_run_(f, ws, first, count, size,
					      bad_chunk)
		      : vfile_open_run_(f, ws, first, count, size, bad_chunk);
	vfile_end_(f, &r);
	if (err)
		return err;
	*iov_count = describe(ws, offset % CHUNK_SIZE, len, iov);
	return (ssize_t)len;
}

ssize_t vfile_read(struct vfile *f, struct workspace *ws, uint64_t offset,
		   size_t len, struct iovec *iov, int *iov_count,
		   uint64_t *bad_chunk)
{
	unsigned tries = 0;
	ssize_t n;

	*iov_count = 0;
	*bad_chunk = VFILE_NO_CHUNK;
	if (len > VFILE_IO_MAX)
		len = VFILE_IO_MAX;
	if (len == 0 || offset >= CHUNK_MAX_PLAIN_LEN)
		return 0;
	if (f->flux)
		vfile_settle_overdue_(f);
	for (;;) {
		*bad_chunk = VFILE_NO_CHUNK;
		n = read_once(f, ws, offset, len, iov, iov_count, bad_chunk);
		if (n == 0)
			return look_at_end(f, ws, bad_chunk);
		if (n > 0)
			return n;
		n = n == -EAGAIN ? vfile_learn_holes_(f, ws, bad_chunk)
				 : vfile_again_(f, &tries, (int)n);
		if (n)
			return n;
	}
}

void vfile_will_read(struct vfile *f, uint64_t offset, size_t len)
{
	uint64_t from = chunk_offset(offset / CHUNK_SIZE);
	uint64_t to = chunk_offset((offset + len) / CHUNK_SIZE);

	/* Linux doubles what it reads at once. */
	(void)!posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	for (uint64_t at = (from + PIECE - 1) / PIECE * PIECE; at < to;
	     at += PIECE)
		(void)!posix_fadvise(f->fd, (off_t)at, PIECE,
				     POSIX_FADV_WILLNEED);
}
