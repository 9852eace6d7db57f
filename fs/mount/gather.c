#include "gather.h"

#include "pace.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	FILES_MAX = 32,	 /* that grow at once; others do without */
	SLOW_US = 4000,	 /* what a write takes where it is worth waiting */
	LINGER_US = 500, /* for more to come, as long as any does */
	LINGERS_MAX = 8,
};

enum turn {
	TURN_WAITS,
	TURN_LEADS, /* it may write now */
	TURN_OVER,  /* somebody has written it along */
};

/* One request; lies on its thread's stack. */
struct pending {
	const struct vfile_write *w;
	enum turn turn;
	pthread_cond_t told;
	int err;
	uint64_t bad_chunk;
	struct pending *next;
};

/* A file that somebody makes longer; file is NULL where nobody does. */
struct growing {
	struct vfile *file;
	struct pending *waiting; /* by offset */
	unsigned arrived;
};

struct gather {
	struct counters *counters;
	pthread_mutex_t lock; /* guards all that follows, and what is pending */
	bool slow;	      /* the last write took long */
	struct growing files[FILES_MAX];
};

struct gather *gather_new(struct counters *counters)
{
	struct gather *g = calloc(1, sizeof *g);

	if (!g)
		return NULL;
	g->counters = counters;
	pthread_mutex_init(&g->lock, NULL);
	return g;
}

void gather_free(struct gather *g)
{
	if (!g)
		return;
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static uint64_t end_of(const struct pending *p)
{
	return p->w->offset + p->w->len;
}

/* The file's place, an empty one if it has none, or NULL. */
static struct growing *find_file(struct gather *g, const struct vfile *f)
{
	struct growing *empty = NULL;

	for (size_t k = 0; k < FILES_MAX; k++) {
		if (g->files[k].file == f)
			return &g->files[k];
		if (!g->files[k].file)
			empty = &g->files[k];
	}
	return empty;
}

static void enqueue(struct growing *file, struct pending *p)
{
	struct pending **at = &file->waiting;

	while (*at && (*at)->w->offset <= p->w->offset)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
	file->arrived++;
}

/* Take what goes on where the run ends out of the queue, and put it there. */
static void take_run(struct growing *file, struct pending *run)
{
	struct pending **at = &file->waiting, *end = run;
	size_t len = run->w->len;

	while (*at) {
		struct pending *p = *at;

		if (p->w->offset == end_of(end) &&
		    len + p->w->len <= GATHER_MAX) {
			*at = p->next;
			p->next = NULL;
			len += p->w->len;
			end->next = p;
			end = p;
		} else {
			at = &p->next;
		}
	}
}

/* Needs the lock, and gives it up for the while. */
static void linger(struct gather *g, const struct growing *file)
{
	const struct timespec pause = {.tv_nsec = LINGER_US * 1000L};
	unsigned arrived;

	for (int k = 0; k < LINGERS_MAX; k++) {
		arrived = file->arrived;
		pthread_mutex_unlock(&g->lock);
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&g->lock);
		if (file->arrived == arrived)
			return;
	}
}

static int write_together(struct vfile *f, struct workspace *ws,
			  const struct pending *run, size_t len)
{
	struct vfile_write all = {.len = len, .offset = run->w->offset};
	struct workspace *wide = workspace_wide_new(ws, len);
	uint8_t *data = wide ? malloc(len) : NULL;
	uint64_t bad_chunk;
	size_t at = 0;
	int err = -ENOMEM;

	if (data) {
		for (const struct pending *p = run; p; p = p->next) {
			memcpy(data + at, p->w->data, p->w->len);
			at += p->w->len;
		}
		all.data = data;
		err = vfile_write(f, wide, &all, &bad_chunk);
		sodium_memzero(data, len);
	}
	free(data);
	workspace_wide_free(wide);
	return err;
}

/* Without the lock: nobody else looks at what is in the run. */
static void write_run(struct gather *g, struct vfile *f, struct workspace *ws,
		      struct pending *run)
{
	size_t len = 0;
	unsigned count = 0;

	for (const struct pending *p = run; p; p = p->next, count++)
		len += p->w->len;
	if (count > 1 && write_together(f, ws, run, len) == 0) {
		counters_add(&g->counters->joined_writes, count);
		for (struct pending *p = run; p; p = p->next)
			p->err = 0;
		return;
	}
	for (struct pending *p = run; p; p = p->next)
		p->err = vfile_write(f, ws, p->w, &p->bad_chunk);
}

static void tell(struct pending *p, enum turn turn)
{
	p->turn = turn;
	pthread_cond_signal(&p->told);
}

/* Write what own leads, and let the next one lead. Needs the lock. */
static void lead(struct gather *g, struct growing *file, struct workspace *ws,
		 struct pending *own)
{
	struct pending *p, *next;
	struct pace pace;
	bool slow;

	own->next = NULL;
	if (g->slow) {
		linger(g, file);
		take_run(file, own);
	}
	pthread_mutex_unlock(&g->lock);
	pace_begin(&pace);
	write_run(g, file->file, ws, own);
	slow = pace_end(&pace) > SLOW_US;
	pthread_mutex_lock(&g->lock);
	g->slow = slow;
	for (p = own->next; p; p = next) {
		next = p->next;
		tell(p, TURN_OVER);
	}
	p = file->waiting;
	if (p) {
		file->waiting = p->next;
		tell(p, TURN_LEADS);
	} else {
		file->file = NULL;
	}
}

static int write_in_turn(struct gather *g, struct vfile *f,
			 struct workspace *ws, struct pending *own)
{
	struct growing *file;

	pthread_mutex_lock(&g->lock);
	file = find_file(g, f);
	if (file && file->file && !g->slow) {
		pthread_mutex_unlock(&g->lock);
		vfile_seal_ahead(f, ws, own->w);
		pthread_mutex_lock(&g->lock);
		file = find_file(g, f);
	}
	if (!file) {
		pthread_mutex_unlock(&g->lock);
		return vfile_write(f, ws, own->w, &own->bad_chunk);
	}
	if (file->file) {
		enqueue(file, own);
		while (own->turn == TURN_WAITS)
			pthread_cond_wait(&own->told, &g->lock);
	} else {
		file->file = f;
		own->turn = TURN_LEADS;
	}
	if (own->turn == TURN_LEADS)
		lead(g, file, ws, own);
	pthread_mutex_unlock(&g->lock);
	return own->err;
}

int gather_write(struct gather *g, struct vfile *f, struct workspace *ws,
		 const struct vfile_write *w, uint64_t *bad_chunk)
{
	struct pending own = {.w = w, .bad_chunk = VFILE_NO_CHUNK};
	int err;

	if (!g || w->append || w->offset + w->len <= vfile_size(f))
		return vfile_write(f, ws, w, bad_chunk);
	pthread_cond_init(&own.told, NULL);
	err = write_in_turn(g, f, ws, &own);
	pthread_cond_destroy(&own.told);
	workspace_forget_ahead(ws);
	*bad_chunk = own.bad_chunk;
	return err;
}
