/*
 * Which zeros of a file are holes. Those of a mapped one are that are claimed
 * by the nearest token in front of them (frondfs-format(5), "Holes"). Looked at
 * when somebody meets them, and remembered: as gaps, or as zeroed. A claim may
 * be larger than what there is, never smaller: so holes are made after they are
 * claimed, and what claims too much is made right when there is time.
 */
#include "vfile_internal.h"

#include "bytes.h"
#include "log.h"
#include "map.h"

#include <errno.h>
#include <string.h>

enum { LOOSE_MAX = 1024 }; /* chunks that claim too much, while it is open */

enum chunk_holes vfile_marks_(const struct vfile *f)
{
	bool maps = f->journal && f->vault->version >= VAULT_VERSION_MAPS;

	return maps && f->holes != CHUNK_HOLES_ANYWHERE ? CHUNK_HOLES_MAPPED
							: CHUNK_HOLES_ANYWHERE;
}

static bool is_mapped(struct vfile *f)
{
	bool mapped;

	pthread_mutex_lock(&f->marks_lock);
	mapped = f->holes_known && f->holes == CHUNK_HOLES_MAPPED;
	pthread_mutex_unlock(&f->marks_lock);
	return mapped;
}

/* Needs marks_lock. */
static int judge(const struct vfile *f, uint64_t index)
{
	if (!f->holes_known)
		return -EAGAIN;
	if (f->holes != CHUNK_HOLES_MAPPED)
		return f->holes ? 0 : -EBADMSG;
	if (gaps_cover(&f->gaps, index, index))
		return 0;
	if (!f->gaps.unknown || gaps_cover(&f->zeroed, index, index))
		return -EBADMSG;
	return -EAGAIN;
}

int vfile_judge_zeros_(struct vfile *f, struct workspace *ws, uint64_t index)
{
	int err;

	pthread_mutex_lock(&f->marks_lock);
	err = judge(f, index);
	pthread_mutex_unlock(&f->marks_lock);
	if (err == -EAGAIN)
		ws->zeros_first = ws->zeros_last = index;
	return err;
}

static int read_place(void *arg, uint64_t index,
		      uint8_t stored[static CHUNK_TOKEN_LEN])
{
	int err = vfile_read_stored_(arg, stored, index, 1, CHUNK_TOKEN_LEN);

	return err == -ENODATA ? -EBADMSG : err;
}

static int is_zeros(struct vfile *f, uint64_t index, bool *zeros)
{
	uint8_t stored[CHUNK_TOKEN_LEN];
	int err = read_place(f, index, stored);

	*zeros = !err && bytes_all_zero(stored, sizeof stored);
	return err;
}

static int know(struct vfile *f, struct workspace *ws, uint64_t index)
{
	bool zeros;
	int err;

	if (index >= chunk_last_index(f->size) ||
	    vfile_judge_zeros_(f, ws, index) != -EAGAIN)
		return 0;
	err = is_zeros(f, index, &zeros);
	return err || !zeros ? err : -EAGAIN;
}

int vfile_know_(struct vfile *f, struct workspace *ws, uint64_t index)
{
	return is_mapped(f) ? know(f, ws, index) : 0;
}

int vfile_keep_claim_(struct vfile *f, struct workspace *ws, uint64_t index,
		      uint64_t *claim)
{
	uint64_t behind = index + 1;
	bool zeros;
	int err = 0;

	*claim = 0;
	if (f->vault->version < VAULT_VERSION_MAPS ||
	    behind >= chunk_last_index(f->size))
		return 0;
	/* at once: others may have it forgotten at any time */
	pthread_mutex_lock(&f->marks_lock);
	if (!f->holes_known)
		*claim = CHUNK_CLAIM_MAX;
	else if (f->holes == CHUNK_HOLES_MAPPED)
		*claim = gaps_reach(&f->gaps, behind) - behind;
	if (f->holes_known && *claim == 0)
		err = judge(f, behind);
	pthread_mutex_unlock(&f->marks_lock);
	if (err != -EAGAIN)
		return 0;
	err = is_zeros(f, behind, &zeros);
	ws->zeros_first = ws->zeros_last = behind;
	return err || !zeros ? err : -EAGAIN;
}

uint64_t vfile_claim_(struct vfile *f, uint64_t index)
{
	uint64_t claim = 0;

	pthread_mutex_lock(&f->marks_lock);
	if (f->holes_known && f->holes == CHUNK_HOLES_MAPPED)
		claim = gaps_reach(&f->gaps, index + 1) - (index + 1);
	pthread_mutex_unlock(&f->marks_lock);
	return claim;
}

/* Can holes be told from what is in place? Then these are found at once. */
static bool can_seek(const struct vfile *f)
{
	struct journal_file *jf = f->jf;

	if (jf && jf->count > 0)
		(void)!journal_drain_(jf);
	return !jf || jf->count == 0;
}

static void note(struct vfile *f, uint64_t first, uint64_t holes_end,
		 uint64_t end)
{
	/* a record may be left that makes them: they are not filled in place */
	f->gaps_stale = true;
	pthread_mutex_lock(&f->marks_lock);
	if (first < holes_end)
		gaps_add(&f->gaps, first, holes_end - 1);
	if (holes_end < end)
		gaps_add(&f->zeroed, holes_end, end - 1);
	pthread_mutex_unlock(&f->marks_lock);
}

/* All zeros around this one; *next is behind them. */
static int learn_run(struct vfile *f, struct workspace *ws, bool seeks,
		     uint64_t index, uint64_t *next)
{
	const struct map m = {
		.fd = f->fd, .seeks = seeks, .read = read_place, .arg = f};
	uint8_t plain[CHUNK_SIZE];
	uint64_t token, end, claim = 0;
	int err = map_token_before(&m, index, &token);

	if (!err)
		err = map_token_behind(&m, index, chunk_last_index(f->size),
				       &end);
	if (err)
		return err;
	*next = end;
	if (token == index) {
		note(f, 0, 0, end);
		return 0;
	}
	err = vfile_load_claim_(f, ws, token, plain, &claim);
	sodium_memzero(plain, sizeof plain);
	/* what does not verify claims nothing; what was put back may yet be
	 * accepted */
	if (err && err != -EBADMSG)
		return err;
	note(f, token + 1, claim < end - token ? token + 1 + claim : end, end);
	return 0;
}

int vfile_learn_locked_(struct vfile *f, struct workspace *ws)
{
	uint64_t at = ws->zeros_first, end = ws->zeros_last + 1;
	uint64_t last = chunk_last_index(f->size);
	enum chunk_holes holes;
	bool zeros, seeks;
	int err = vfile_load_holes_(f, ws, &holes);

	if (err || holes != CHUNK_HOLES_MAPPED)
		return err;
	seeks = can_seek(f);
	while (at < end && at < last && !err) {
		zeros = false;
		if (vfile_judge_zeros_(f, ws, at) == -EAGAIN)
			err = is_zeros(f, at, &zeros);
		if (zeros)
			err = learn_run(f, ws, seeks, at, &at);
		else
			at++;
	}
	return err;
}

int vfile_unmap_(struct vfile *f, struct workspace *ws, uint64_t *bad_chunk)
{
	enum chunk_holes holes;
	int err;

	if (f->journal || f->vault->version < VAULT_VERSION_MAPS)
		return 0;
	err = vfile_load_holes_(f, ws, &holes);
	if (!err && holes == CHUNK_HOLES_MAPPED) {
		err = vfile_mark_holes_(f, ws, CHUNK_HOLES_ANYWHERE, bad_chunk);
		/* no power failure is to leave a map without its claims */
		if (!err && fdatasync(f->fd) < 0)
			err = -errno;
	}
	/* where the end is damaged, no hole can be told from that */
	return vfile_is_bad_(err) ? 0 : err;
}

static int know_both(struct vfile *f, struct workspace *ws, uint64_t first,
		     uint64_t behind)
{
	int err = vfile_know_(f, ws, first);

	return err ? err : vfile_know_(f, ws, behind);
}

/* What is a hole of these two, by who holds the whole file. */
static int know_whole(struct vfile *f, struct workspace *ws, uint64_t first,
		      uint64_t behind)
{
	int err = know_both(f, ws, first, behind);

	while (err == -EAGAIN) {
		err = vfile_learn_locked_(f, ws);
		if (!err)
			err = know_both(f, ws, first, behind);
	}
	return err;
}

/* The chunk that can claim what is behind chunk first-1, in ws->tail. */
static int load_claimant(struct vfile *f, struct workspace *ws, uint64_t first,
			 uint64_t *claimant)
{
	if (first == 0)
		return -EBADMSG;
	pthread_mutex_lock(&f->marks_lock);
	*claimant = first - 1;
	if (gaps_cover(&f->gaps, first - 1, first - 1))
		*claimant = gaps_begin(&f->gaps, first - 1) - 1;
	pthread_mutex_unlock(&f->marks_lock);
	return vfile_load_chunk_(f, ws, *claimant, ws->tail);
}

int vfile_claim_holes_(struct vfile *f, struct workspace *ws, uint64_t *first,
		       uint64_t last, uint64_t *bad_chunk)
{
	uint64_t claimant, end;
	int err = know_whole(f, ws, *first ? *first - 1 : 0, last);

	if (err)
		return err;
	err = load_claimant(f, ws, *first, &claimant);
	if (vfile_is_bad_(err)) {
		claimant = (*first)++;
		err = vfile_write_locked_(f, ws, workspace_zeros, CHUNK_SIZE,
					  claimant * CHUNK_SIZE, bad_chunk);
		memset(ws->tail, 0, CHUNK_SIZE);
	}
	if (err || *first == last)
		return err;
	pthread_mutex_lock(&f->marks_lock);
	end = gaps_reach(&f->gaps, last);
	pthread_mutex_unlock(&f->marks_lock);
	workspace_stage_full(ws, 0, claimant, ws->tail, end - claimant - 1);
	return vfile_store_run_(f, ws, claimant, 1, false);
}

void vfile_note_loose_(struct vfile *f, uint64_t first)
{
	uint64_t claimant;

	if (f->holes != CHUNK_HOLES_MAPPED ||
	    !gaps_cover(&f->gaps, first, first))
		return;
	claimant = gaps_begin(&f->gaps, first) - 1;
	gaps_add(&f->loose, claimant, claimant);
}

static int tighten(struct vfile *f, struct workspace *ws, uint64_t index)
{
	uint64_t claim, right;
	size_t len;
	int err;

	if (index >= chunk_last_index(f->size))
		return 0;
	err = vfile_load_claim_(f, ws, index, ws->tail, &claim);
	if (err || claim == 0)
		return err;
	err = know_whole(f, ws, index + 1, index + 1);
	right = vfile_claim_(f, index);
	if (err || right >= claim)
		return err;
	workspace_stage_full(ws, 0, index, ws->tail, right);
	err = vfile_seal_(f, ws, 1, false, &len);
	/* its times are as they were */
	if (!err)
		err = vfile_put_record_(f, ws->tokens, index, 1, len, f->size,
					RECORD_KEEP | RECORD_QUIET);
	if (!err)
		memory_file_stored(f->memory, index, index, ws->sealed_s);
	return err;
}

/* A file whose holes may be anywhere does not need its claims. */
static int tighten_all(struct vfile *f, struct workspace *ws)
{
	struct gaps loose;
	int err = 0;

	pthread_mutex_lock(&f->marks_lock);
	loose = f->loose;
	f->loose = (struct gaps){0};
	if (!f->holes_known || f->holes == CHUNK_HOLES_ANYWHERE)
		gaps_fini(&loose);
	pthread_mutex_unlock(&f->marks_lock);
	for (size_t i = 0; i < loose.count && !err; i++)
		for (uint64_t c = loose.list[i].first;
		     c <= loose.list[i].last && !err; c++)
			err = tighten(f, ws, c);
	gaps_fini(&loose);
	return err;
}

bool vfile_is_loose_(struct vfile *f)
{
	bool loose;

	pthread_mutex_lock(&f->marks_lock);
	loose = f->loose.count > 0;
	pthread_mutex_unlock(&f->marks_lock);
	return loose;
}

void vfile_leave_claims(struct vfile *f)
{
	pthread_mutex_lock(&f->marks_lock);
	gaps_fini(&f->loose);
	pthread_mutex_unlock(&f->marks_lock);
}

void vfile_tighten_(struct vfile *f)
{
	struct workspace *ws;
	struct range r;
	int err;

	if (!vfile_is_loose_(f))
		return;
	ws = f->journal ? workspace_get() : NULL;
	if (!ws) {
		vfile_leave_claims(f);
		return;
	}
	rangelock_acquire(&f->ranges, &r, 0, RANGE_END, true);
	err = tighten_all(f, ws);
	rangelock_release(&f->ranges, &r);
	if (err)
		log_warning("a file goes on claiming holes where it has none: "
			    "%s",
			    strerror(-err));
}

void vfile_tighten_many_(struct vfile *f)
{
	bool many;

	pthread_mutex_lock(&f->marks_lock);
	many = f->loose.count > LOOSE_MAX;
	pthread_mutex_unlock(&f->marks_lock);
	if (many)
		vfile_tighten_(f);
}
