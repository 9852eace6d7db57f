#include "prefetch.h"

#include <pthread.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

enum {
	UNITS = 16,	  /* of one reader, most of the time UNITS_NEAR */
	STREAMS_MAX = 16, /* readers served at once */
	/* More would not stay in cache until they are asked for; where the
	 * backing file system is what takes the time, more of them hide it. */
	UNITS_NEAR = 4,
	SLOW_US = 2000,	  /* to read a unit */
	RUN_MIN = 2,	  /* requests in order before anything is done */
	UNUSED_LONG = 64, /* requests of others that make a stream free */
	THREADS_MAX = 8,
};

enum unit_state {
	UNIT_FREE,
	UNIT_QUEUED,
	UNIT_BUSY,  /* a thread is reading it */
	UNIT_READY, /* waits for its request */
	UNIT_TAKEN, /* by its request */
};

/* What is expected to be asked for. All but data: the prefetch's lock. */
struct unit {
	struct prefetched data; /* whoever made it BUSY or TAKEN */
	enum unit_state state;
	bool unwanted; /* while BUSY: the reader has gone elsewhere */
	struct prefetch_stream *stream;
	uint64_t offset;
	size_t len;
	uint64_t generation;
	struct workspace *ws; /* made when first used */
	struct unit *next;    /* in the queue */
};

/* The prefetch's lock guards it. */
struct prefetch_stream {
	struct open_handle *reader; /* NULL: nobody's */
	uint64_t ahead;		    /* where the next unit begins */
	uint64_t last_use;
	struct unit units[UNITS];
};

struct prefetch {
	struct fs *fs;
	pthread_mutex_t lock;
	pthread_cond_t queued, done;
	struct unit *head, **tail; /* lock: what is UNIT_QUEUED */
	uint64_t uses;		   /* lock */
	bool stop;		   /* lock */
	bool slow;		   /* lock: so is the backing file system */
	int64_t pace_us;	   /* lock: what a unit takes at best, lately */
	unsigned cores, thread_count; /* lock */
	pthread_t threads[THREADS_MAX];
	struct prefetch_stream *streams[STREAMS_MAX]; /* lock */
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
	p->cores = cores < THREADS_MAX ? (unsigned)cores : THREADS_MAX;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->queued, NULL);
	pthread_cond_init(&p->done, NULL);
	return p;
}

static void stream_free(struct prefetch_stream *s)
{
	if (!s)
		return;
	for (size_t k = 0; k < UNITS; k++)
		workspace_keep_free(s->units[k].ws);
	free(s);
}

static struct prefetch_stream *stream_new(void)
{
	struct prefetch_stream *s = calloc(1, sizeof *s);

	for (size_t k = 0; s && k < UNITS; k++)
		s->units[k].stream = s;
	return s;
}

void prefetch_free(struct prefetch *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->queued);
	pthread_mutex_unlock(&p->lock);
	for (unsigned k = 0; k < p->thread_count; k++)
		pthread_join(p->threads[k], NULL);
	for (size_t k = 0; k < STREAMS_MAX; k++)
		stream_free(p->streams[k]);
	pthread_cond_destroy(&p->done);
	pthread_cond_destroy(&p->queued);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void enqueue(struct prefetch *p, struct unit *u)
{
	u->state = UNIT_QUEUED;
	u->unwanted = false;
	u->next = NULL;
	*p->tail = u;
	p->tail = &u->next;
	pthread_cond_signal(&p->queued);
}

static void unqueue(struct prefetch *p, struct unit *u)
{
	struct unit **at = &p->head;

	while (*at != u)
		at = &(*at)->next;
	*at = u->next;
	if (p->tail == &u->next)
		p->tail = at;
	u->state = UNIT_FREE;
}

static void drop_units(struct prefetch *p, struct prefetch_stream *s)
{
	for (size_t k = 0; s && k < UNITS; k++) {
		struct unit *u = &s->units[k];

		if (u->state == UNIT_QUEUED)
			unqueue(p, u);
		else if (u->state == UNIT_READY)
			u->state = UNIT_FREE;
		else if (u->state == UNIT_BUSY)
			u->unwanted = true;
	}
}

static bool in_use(const struct prefetch_stream *s)
{
	for (size_t k = 0; k < UNITS; k++)
		if (s->units[k].state == UNIT_BUSY ||
		    s->units[k].state == UNIT_TAKEN)
			return true;
	return false;
}

/* Without the lock; false: a bad file, or no longer a file of ours alone. */
static bool read_unit(struct fs *fs, struct open_file *of, struct unit *u)
{
	struct workspace *own = workspace_get();
	uint64_t bad_chunk;
	struct vfile *vf;

	if (!own || file_acquire(fs, of, false, &vf))
		return false;
	workspace_lend(own, u->ws);
	u->generation = vfile_generation(vf);
	u->data.len = vfile_read(vf, u->ws, u->offset, u->len, u->data.iov,
				 &u->data.iov_count, &bad_chunk);
	file_release(of);
	return u->data.len > 0;
}

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Slow is where no unit is fast: one that took long may have been preempted. */
static void note_pace(struct prefetch *p, int64_t took_us)
{
	int64_t most = p->pace_us + p->pace_us / 8 + 1;

	p->pace_us = took_us < most ? took_us : most;
	p->slow = p->pace_us > SLOW_US;
}

/* Needs the lock, and gives it up for the while. */
static void read_first(struct prefetch *p)
{
	struct unit *u = p->head;
	int64_t begin, took;
	bool good;

	unqueue(p, u);
	u->state = UNIT_BUSY;
	pthread_mutex_unlock(&p->lock);
	begin = now_us();
	good = read_unit(p->fs, u->stream->reader->file, u);
	took = now_us() - begin;
	pthread_mutex_lock(&p->lock);
	note_pace(p, took);
	u->state = good && !u->unwanted ? UNIT_READY : UNIT_FREE;
	pthread_cond_broadcast(&p->done);
}

static void *work(void *arg)
{
	struct prefetch *p = arg;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		if (p->head)
			read_first(p);
		else
			pthread_cond_wait(&p->queued, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Threads beyond the cores only help to wait. */
static bool start_threads(struct prefetch *p)
{
	while (p->thread_count < (p->slow ? THREADS_MAX : p->cores)) {
		if (pthread_create(&p->threads[p->thread_count], NULL, work, p))
			break;
		p->thread_count++;
	}
	return p->thread_count > 0;
}

/* A place for another stream: an empty one, or whose was unused longest. */
static struct prefetch_stream **find_place(struct prefetch *p)
{
	struct prefetch_stream **oldest = NULL;

	for (size_t k = 0; k < STREAMS_MAX; k++) {
		struct prefetch_stream *s = p->streams[k];

		if (!s)
			return &p->streams[k];
		if (!in_use(s) && p->uses - s->last_use > UNUSED_LONG &&
		    (!oldest || s->last_use < (*oldest)->last_use))
			oldest = &p->streams[k];
	}
	return oldest;
}

static struct prefetch_stream *claim_stream(struct prefetch *p,
					    struct open_handle *h)
{
	struct prefetch_stream **place = find_place(p);

	if (!place || !start_threads(p))
		return NULL;
	if (*place) {
		drop_units(p, *place);
		(*place)->reader->stream = NULL;
	} else {
		*place = stream_new();
	}
	if (!*place)
		return NULL;
	(*place)->reader = h;
	(*place)->last_use = p->uses;
	h->stream = *place;
	return *place;
}

static struct unit *find_unit(struct prefetch_stream *s, uint64_t offset,
			      size_t len)
{
	for (size_t k = 0; k < UNITS; k++) {
		struct unit *u = &s->units[k];

		if (u->state != UNIT_FREE && !u->unwanted &&
		    u->offset == offset && u->len == len)
			return u;
	}
	return NULL;
}

/* Queue what comes next. */
static void look_ahead(struct prefetch *p, struct prefetch_stream *s,
		       const struct vfile *vf, size_t len)
{
	uint64_t size = vfile_size(vf);
	uint64_t depth = p->slow ? UNITS : UNITS_NEAR;
	uint64_t end = s->reader->expected + depth * len;

	for (size_t k = 0; k < UNITS && s->ahead < end && s->ahead < size;
	     k++) {
		struct unit *u = &s->units[k];

		if (u->state != UNIT_FREE)
			continue;
		if (!u->ws)
			u->ws = workspace_keep_new(PREFETCH_IOV_MAX);
		if (!u->ws)
			return;
		u->offset = s->ahead;
		u->len = len;
		s->ahead += len;
		enqueue(p, u);
	}
}

/* Its stream, if h is being read in order and this request fits in. */
static struct prefetch_stream *follow(struct prefetch *p, struct open_handle *h,
				      uint64_t offset, size_t size)
{
	if (h->expected != offset) {
		h->run = 0;
		drop_units(p, h->stream);
	}
	h->expected = offset + size;
	p->uses++;
	if (h->run < RUN_MIN) {
		h->run++;
		return NULL;
	}
	if (!h->stream)
		return claim_stream(p, h);
	h->stream->last_use = p->uses;
	if (p->slow)
		(void)start_threads(p);
	return h->stream;
}

/* When it is ready, if it becomes so. */
static const struct prefetched *wait_for(struct prefetch *p, struct unit *u,
					 const struct vfile *vf,
					 uint64_t offset)
{
	while (u->state == UNIT_BUSY && u->offset == offset && !u->unwanted)
		pthread_cond_wait(&p->done, &p->lock);
	if (u->state != UNIT_READY || u->offset != offset)
		return NULL;
	if (u->generation != vfile_generation(vf)) {
		u->state = UNIT_FREE;
		return NULL;
	}
	u->state = UNIT_TAKEN;
	return &u->data;
}

const struct prefetched *prefetch_take(struct prefetch *p,
				       struct open_handle *h, struct vfile *vf,
				       uint64_t offset, size_t size)
{
	const struct prefetched *got = NULL;
	struct prefetch_stream *s;
	struct unit *u;

	if (!p || size < PREFETCH_UNIT_MIN || size > PREFETCH_UNIT_MAX)
		return NULL;
	pthread_mutex_lock(&p->lock);
	s = follow(p, h, offset, size);
	if (s) {
		u = find_unit(s, offset, size);
		if (!u) {
			drop_units(p, s);
			s->ahead = offset + size;
		} else if (u->state == UNIT_QUEUED) {
			unqueue(p, u); /* no need to wait for anybody */
			u = NULL;
		}
		look_ahead(p, s, vf, size);
		if (u)
			got = wait_for(p, u, vf, offset);
	}
	pthread_mutex_unlock(&p->lock);
	return got;
}

void prefetch_give_back(struct prefetch *p, const struct prefetched *got)
{
	struct unit *u = (struct unit *)((char *)(uintptr_t)got -
					 offsetof(struct unit, data));

	pthread_mutex_lock(&p->lock);
	u->state = UNIT_FREE;
	pthread_cond_broadcast(&p->done);
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
	while (s && in_use(s))
		pthread_cond_wait(&p->done, &p->lock);
	for (size_t k = 0; s && k < STREAMS_MAX; k++)
		if (p->streams[k] == s)
			p->streams[k] = NULL;
	h->stream = NULL;
	pthread_mutex_unlock(&p->lock);
	stream_free(s);
}
