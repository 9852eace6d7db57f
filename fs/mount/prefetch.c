#include "prefetch_internal.h"

#include <unistd.h>

enum {
	UNITS_NEAR = 4,
	UNITS_FAR = 16, /* at first, and then twice as many... */
	UNITS_MOST = UNITS - 8,
	/* requests of a reader in order may come out of order by so much */
	DISORDER = 1 << 20,
	RUN_MIN = 2,	  /* requests in order before anything is done */
	UNUSED_LONG = 64, /* requests of others that make a stream free */
	THREADS_NEAR = 8, /* at most; as many as there are cores */
};

struct prefetch *prefetch_new(struct fs *fs)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct prefetch *p;

	if (!fs->vault->exclusive || cores < 2)
		return NULL;
	p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->fs = fs;
	p->tail = &p->head;
	p->cores = cores < THREADS_NEAR ? (unsigned)cores : THREADS_NEAR;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->queued, NULL);
	pthread_cond_init(&p->far_queued, NULL);
	pthread_cond_init(&p->done, NULL);
	return p;
}

static void stream_free(struct prefetch_stream *s)
{
	for (size_t k = 0; s && k < UNITS; k++)
		workspace_keep_free(s->units[k].buffer);
	free(s);
}

void prefetch_free(struct prefetch *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->queued);
	pthread_cond_broadcast(&p->far_queued);
	pthread_mutex_unlock(&p->lock);
	for (unsigned k = 0; k < p->thread_count; k++)
		pthread_join(p->threads[k], NULL);
	for (size_t k = 0; k < STREAMS_MAX; k++)
		stream_free(p->streams[k]);
	while (p->spare_count > 0)
		workspace_keep_free(p->spare[--p->spare_count]);
	pthread_cond_destroy(&p->done);
	pthread_cond_destroy(&p->far_queued);
	pthread_cond_destroy(&p->queued);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* All that follow, up to prefetch_wants(), need the lock. */

static struct unit *unit_at(struct prefetch_stream *s, uint64_t offset)
{
	return &s->units[offset / PREFETCH_UNIT % UNITS];
}

static void drop_units(struct prefetch *p, struct prefetch_stream *s)
{
	for (size_t k = 0; s && k < UNITS; k++)
		if (s->units[k].state != UNIT_FREE)
			prefetch_drop_(p, &s->units[k]);
}

/* Drop what the reader has left behind. */
static void drop_passed(struct prefetch *p, struct prefetch_stream *s)
{
	for (; s->behind + PREFETCH_UNIT + DISORDER <= s->reader->expected;
	     s->behind += PREFETCH_UNIT) {
		struct unit *u = unit_at(s, s->behind);

		if (u->state != UNIT_FREE && u->offset == s->behind)
			prefetch_drop_(p, u);
	}
}

/* Begin anew with the unit of this offset. */
static void restart(struct prefetch *p, struct prefetch_stream *s,
		    uint64_t offset)
{
	drop_units(p, s);
	s->ahead = s->behind = offset / PREFETCH_UNIT * PREFETCH_UNIT;
	s->depth = 0;
}

/* A place for another stream: an empty one, or whose was unused longest. */
static struct prefetch_stream **find_place(struct prefetch *p)
{
	struct prefetch_stream **oldest = NULL;

	for (size_t k = 0; k < STREAMS_MAX; k++) {
		struct prefetch_stream *s = p->streams[k];

		if (!s)
			return &p->streams[k];
		if (s->busy == 0 && p->uses - s->last_use > UNUSED_LONG &&
		    (!oldest || s->last_use < (*oldest)->last_use))
			oldest = &p->streams[k];
	}
	return oldest;
}

static struct prefetch_stream *claim_stream(struct prefetch *p,
					    struct open_handle *h)
{
	struct prefetch_stream **place = find_place(p), *s;

	if (!place || !prefetch_start_threads_(p))
		return NULL;
	if (*place)
		(*place)->reader->stream = NULL;
	else
		*place = calloc(1, sizeof **place);
	s = *place;
	if (!s)
		return NULL;
	for (size_t k = 0; k < UNITS; k++)
		s->units[k].stream = s;
	s->reader = h;
	s->last_use = p->uses;
	restart(p, s, h->expected);
	h->stream = s;
	return s;
}

/* Its stream, if h is being read in order and this request fits in. */
static struct prefetch_stream *follow(struct prefetch *p, struct open_handle *h,
				      const struct prefetched *r)
{
	uint64_t end = r->offset + r->size;
	/* whoever begins at the beginning will go on */
	unsigned run_min = p->far ? r->offset > 0 : RUN_MIN;

	if (r->offset > h->expected + DISORDER ||
	    h->expected > r->offset + DISORDER) {
		h->run = 0;
		h->expected = end;
		if (h->stream)
			restart(p, h->stream, end);
	}
	if (h->expected < end)
		h->expected = end;
	p->uses++;
	if (h->run < run_min) {
		h->run++;
		return NULL;
	}
	if (!h->stream)
		return claim_stream(p, h);
	h->stream->last_use = p->uses;
	(void)prefetch_start_threads_(p);
	return h->stream;
}

/* Queue what comes next. */
static void look_ahead(struct prefetch *p, struct prefetch_stream *s,
		       uint64_t size)
{
	unsigned least = p->far ? UNITS_FAR : UNITS_NEAR;
	uint64_t end;

	if (s->depth < least || !p->far)
		s->depth = least;
	end = s->reader->expected + (uint64_t)s->depth * PREFETCH_UNIT;
	drop_passed(p, s);
	while (s->ahead < end && s->ahead < size) {
		struct unit *u = unit_at(s, s->ahead);
		struct workspace *buffer =
			u->state == UNIT_FREE ? prefetch_get_buffer_(p) : NULL;

		if (!buffer)
			return;
		*u = (struct unit){.stream = s,
				   .offset = s->ahead,
				   .len = PREFETCH_UNIT,
				   .buffer = buffer};
		if (u->len > size - s->ahead)
			u->len = (size_t)(size - s->ahead);
		u->left = u->len;
		s->ahead += PREFETCH_UNIT;
		prefetch_enqueue_(p, u);
	}
}

/* More of them, if there is a point in it. */
static void look_further(const struct prefetch *p, struct prefetch_stream *s)
{
	if (p->far)
		s->depth =
			s->depth < UNITS_MOST / 2 ? s->depth * 2 : UNITS_MOST;
}

/* How much of the request lies in this unit. */
static size_t overlap(const struct prefetched *r, const struct unit *u)
{
	uint64_t from = r->offset > u->offset ? r->offset : u->offset;
	uint64_t to = r->offset + r->size;

	if (to > u->offset + u->len)
		to = u->offset + u->len;
	return from < to ? (size_t)(to - from) : 0;
}

static bool is_coming(const struct prefetch *p, const struct unit *u)
{
	if (u->unwanted)
		return false;
	/* near, whoever asks has read it before anybody wakes up */
	return u->state == UNIT_BUSY || u->state == UNIT_READY ||
	       (u->state == UNIT_QUEUED && p->far);
}

/* Take hold of all units that the request needs. False: of some. */
static bool hold_units(const struct prefetch *p, struct prefetch_stream *s,
		       struct prefetched *r, uint64_t size)
{
	uint64_t end = r->offset + r->size < size ? r->offset + r->size : size;
	bool all = r->offset < size;

	r->unit_count = 0;
	for (uint64_t at = r->offset / PREFETCH_UNIT * PREFETCH_UNIT; at < end;
	     at += PREFETCH_UNIT) {
		struct unit *u = unit_at(s, at);

		if (u->state == UNIT_FREE || u->offset != at) {
			all = false;
			continue;
		}
		all = all && is_coming(p, u);
		u->users++;
		s->busy++;
		r->units[r->unit_count++] = u;
	}
	return all;
}

/* The request has what it gets of them. */
static void let_units_go(struct prefetch *p, const struct prefetched *r)
{
	for (unsigned k = 0; k < r->unit_count; k++) {
		struct unit *u = r->units[k];
		size_t part = overlap(r, u);

		u->left -= part < u->left ? part : u->left;
		u->users--;
		u->stream->busy--;
		if (u->state == UNIT_QUEUED && u->left == 0)
			prefetch_drop_(p, u);
		prefetch_settle_(p, u);
	}
	pthread_cond_broadcast(&p->done);
}

/* False: not all of them became ready, or are so no longer. */
static bool wait_for_units(struct prefetch *p, struct prefetch_stream *s,
			   const struct prefetched *r, const struct vfile *vf)
{
	bool waited = false;

	for (unsigned k = 0; k < r->unit_count; k++) {
		struct unit *u = r->units[k];

		for (; !u->unwanted &&
		       (u->state == UNIT_QUEUED || u->state == UNIT_BUSY);
		     waited = true)
			pthread_cond_wait(&p->done, &p->lock);
		if (u->unwanted || u->state != UNIT_READY)
			return false;
		if (u->generation != vfile_generation(vf)) {
			prefetch_drop_(p, u);
			return false;
		}
	}
	if (waited)
		look_further(p, s);
	return true;
}

/* Say where the parts lie. */
static void describe(struct prefetched *r)
{
	r->len = 0;
	r->iov_count = 0;
	for (unsigned k = 0; k < r->unit_count; k++) {
		const struct unit *u = r->units[k];
		size_t left = overlap(r, u);
		size_t at = r->offset > u->offset
				    ? (size_t)(r->offset - u->offset)
				    : 0;

		r->len += left;
		while (left > 0) {
			size_t skip = at % CHUNK_SIZE;
			size_t part = CHUNK_SIZE - skip;
			const uint8_t *chunk =
				u->buffer->chunk[at / CHUNK_SIZE];

			if (part > left)
				part = left;
			r->iov[r->iov_count++] = (struct iovec){
				.iov_base = (void *)(uintptr_t)(chunk + skip),
				.iov_len = part};
			at += part;
			left -= part;
		}
	}
}

bool prefetch_wants(const struct prefetch *p, size_t size)
{
	return p && size >= PREFETCH_REQUEST_MIN &&
	       size <= PREFETCH_REQUEST_MAX;
}

void prefetch_note(struct prefetch *p, int64_t took_us)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	prefetch_note_pace_(p, took_us);
	pthread_mutex_unlock(&p->lock);
}

/* The file may have become longer since the end of it was asked for, and a
 * short answer says that it ends there. */
static bool reaches_end(const struct prefetched *r, const struct vfile *vf)
{
	return r->len == r->size || r->offset + r->len >= vfile_size(vf);
}

/* Needs the lock. */
static bool take(struct prefetch *p, struct open_handle *h,
		 const struct vfile *vf, struct prefetched *got)
{
	struct prefetch_stream *s = follow(p, h, got);
	uint64_t size = vfile_size(vf);
	bool good;

	if (!s)
		return false;
	good = hold_units(p, s, got, size);
	if (!good) {
		/* nobody begins to read what is being read here */
		while (s->ahead < got->offset + got->size)
			s->ahead += PREFETCH_UNIT;
		look_further(p, s);
	}
	look_ahead(p, s, size);
	good = good && wait_for_units(p, s, got, vf);
	if (good) {
		describe(got);
		good = reaches_end(got, vf);
	}
	if (!good)
		let_units_go(p, got);
	return good;
}

bool prefetch_take(struct prefetch *p, struct open_handle *h, struct vfile *vf,
		   struct prefetched *got)
{
	bool good;

	if (!prefetch_wants(p, got->size))
		return false;
	pthread_mutex_lock(&p->lock);
	good = (p->far || got->size <= PREFETCH_UNIT) && take(p, h, vf, got);
	pthread_mutex_unlock(&p->lock);
	return good;
}

void prefetch_give_back(struct prefetch *p, const struct prefetched *got)
{
	pthread_mutex_lock(&p->lock);
	let_units_go(p, got);
	pthread_mutex_unlock(&p->lock);
}

void prefetch_leave(struct prefetch *p, struct open_handle *h)
{
	struct prefetch_stream *s;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	s = h->stream;
	drop_units(p, s);
	while (s && s->busy > 0)
		pthread_cond_wait(&p->done, &p->lock);
	for (size_t k = 0; s && k < STREAMS_MAX; k++)
		if (p->streams[k] == s)
			p->streams[k] = NULL;
	h->stream = NULL;
	pthread_mutex_unlock(&p->lock);
	stream_free(s);
}
