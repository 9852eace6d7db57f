#include "gather.h"

#include "clock.h"
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
	/* for what comes in front of a hole, where the file has just grown
	 * without any */
	PATIENCE_MS = 5,
	MOMENT_MS = 200,
	WANTED_MAX = 1024,
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

/* A file that somebody makes longer, or did a while ago. */
struct growing {
	struct vfile *file;
	unsigned users;		 /* 0: it may not be there any more */
	bool led;		 /* one of them writes, or is about to */
	struct pending *waiting; /* by offset */
	struct pending *sealing; /* ahead; they will be waiting */
	struct pending *patient; /* leads, but would leave a hole */
	unsigned arrived;
	/* How it has grown: up to here, then, so many times without a hole;
	 * and how many are to be reason enough for patience. */
	uint64_t end;
	int64_t grown_ms;
	unsigned in_order, wanted;
};

struct gather {
	struct counters *counters;
	pthread_condattr_t monotonic;
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
	pthread_condattr_init(&g->monotonic);
	pthread_condattr_setclock(&g->monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&g->lock, NULL);
	return g;
}

void gather_free(struct gather *g)
{
	if (!g)
		return;
	pthread_mutex_destroy(&g->lock);
	pthread_condattr_destroy(&g->monotonic);
	free(g);
}

static uint64_t end_of(const struct pending *p)
{
	return p->w->offset + p->w->len;
}

/* Most begin at their beginning. */
static struct growing begin_growing(struct vfile *f)
{
	struct growing file = {.file = f, .wanted = 1};

	if (vfile_size(f) == 0) {
		file.in_order = 1;
		file.grown_ms = clock_now_ms();
	}
	return file;
}

/* The file's place from now on, or NULL: there is none left. */
static struct growing *take_place(struct gather *g, struct vfile *f)
{
	struct growing *found = NULL;

	for (size_t k = 0; k < FILES_MAX; k++) {
		struct growing *file = &g->files[k];

		if (file->file == f) {
			found = file;
			break;
		}
		if (file->users == 0 &&
		    (!found || file->grown_ms < found->grown_ms))
			found = file;
	}
	if (!found)
		return NULL;
	/* another one may have come to lie where it was */
	if (found->file != f ||
	    (found->users == 0 && found->end != vfile_size(f)))
		*found = begin_growing(f);
	found->users++;
	return found;
}

static bool leaves_hole(const struct growing *file, const struct pending *p)
{
	return p->w->offset > vfile_size(file->file);
}

/* Is there anyone who belongs in front of it? */
static bool has_earlier(const struct growing *file, const struct pending *p)
{
	const struct pending *q = file->sealing;

	while (q && q->w->offset >= p->w->offset)
		q = q->next;
	return q || (file->waiting && file->waiting->w->offset < p->w->offset);
}

static void tell(struct pending *p, enum turn turn)
{
	p->turn = turn;
	pthread_cond_signal(&p->told);
}

/* Who is patient looks whether this is what was missing. */
static void announce(struct growing *file)
{
	file->arrived++;
	if (file->patient)
		pthread_cond_signal(&file->patient->told);
}

static void enqueue(struct growing *file, struct pending *p)
{
	struct pending **at = &file->waiting;

	while (*at && (*at)->w->offset <= p->w->offset)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
	announce(file);
}

/*
 * Let the next one lead, if nobody does; unless it would leave a hole that
 * somebody is about to fill, and calls this again.
 */
static void go_on(struct growing *file)
{
	struct pending *p = file->waiting;

	if (!p || file->led || (leaves_hole(file, p) && has_earlier(file, p)))
		return;
	file->waiting = p->next;
	file->led = true;
	tell(p, TURN_LEADS);
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

static bool grows_in_order(const struct growing *file)
{
	return file->in_order >= file->wanted &&
	       file->end == vfile_size(file->file) &&
	       clock_now_ms() - file->grown_ms < MOMENT_MS;
}

/*
 * Has a thread taken what is missing, and not come here yet? Where it has not,
 * the file is to have holes, and it takes more to make anyone wait again. Gives
 * up the lock for the while.
 */
static void be_patient(struct gather *g, struct growing *file,
		       struct pending *own)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += PATIENCE_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	file->patient = own;
	while (!has_earlier(file, own) && !err)
		err = pthread_cond_timedwait(&own->told, &g->lock, &until);
	file->patient = NULL;
	if (!has_earlier(file, own) && file->wanted < WANTED_MAX)
		file->wanted *= 2;
}

/*
 * What leaves a hole that is filled a moment later costs far more than waiting
 * for that: with a journal its bytes are written twice. So whoever leads leaves
 * that to whom it belongs in front; false: there is nobody.
 */
static bool gives_way(struct gather *g, struct growing *file,
		      struct pending *own)
{
	if (g->slow)
		linger(g, file);
	else if (leaves_hole(file, own) && !has_earlier(file, own) &&
		 grows_in_order(file))
		be_patient(g, file, own);
	if (!leaves_hole(file, own) || !has_earlier(file, own))
		return false;
	file->led = false;
	own->turn = TURN_WAITS;
	enqueue(file, own);
	go_on(file);
	return true;
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

static void note_growth(struct growing *file, bool hole)
{
	if (hole)
		file->in_order = 0;
	else if (file->in_order < WANTED_MAX)
		file->in_order++;
	file->end = vfile_size(file->file);
	file->grown_ms = clock_now_ms();
}

/* Write what own leads, and let the next one lead. Needs the lock. */
static void lead(struct gather *g, struct growing *file, struct workspace *ws,
		 struct pending *own)
{
	bool slow, hole = leaves_hole(file, own);
	struct pending *p, *next;
	struct pace pace;

	own->next = NULL;
	if (g->slow)
		take_run(file, own);
	pthread_mutex_unlock(&g->lock);
	pace_begin(&pace);
	write_run(g, file->file, ws, own);
	slow = pace_end(&pace) > SLOW_US;
	pthread_mutex_lock(&g->lock);
	g->slow = slow;
	note_growth(file, hole);
	for (p = own->next; p; p = next) {
		next = p->next;
		tell(p, TURN_OVER);
	}
	file->led = false;
	go_on(file);
}

/* Needs the lock, and gives it up for the while. */
static void seal_ahead(struct gather *g, struct growing *file,
		       struct workspace *ws, struct pending *own)
{
	struct pending **at = &file->sealing;

	own->next = file->sealing;
	file->sealing = own;
	announce(file);
	pthread_mutex_unlock(&g->lock);
	vfile_seal_ahead(file->file, ws, own->w);
	pthread_mutex_lock(&g->lock);
	while (*at != own)
		at = &(*at)->next;
	*at = own->next;
}

static int write_in_turn(struct gather *g, struct vfile *f,
			 struct workspace *ws, struct pending *own)
{
	struct growing *file;

	pthread_mutex_lock(&g->lock);
	file = take_place(g, f);
	if (!file) {
		pthread_mutex_unlock(&g->lock);
		return vfile_write(f, ws, own->w, &own->bad_chunk);
	}
	if (file->users > 1 && !g->slow)
		seal_ahead(g, file, ws, own);
	enqueue(file, own);
	go_on(file);
	do {
		while (own->turn == TURN_WAITS)
			pthread_cond_wait(&own->told, &g->lock);
	} while (own->turn == TURN_LEADS && gives_way(g, file, own));
	if (own->turn == TURN_LEADS)
		lead(g, file, ws, own);
	file->users--;
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
	pthread_cond_init(&own.told, &g->monotonic);
	err = write_in_turn(g, f, ws, &own);
	pthread_cond_destroy(&own.told);
	workspace_forget_ahead(ws);
	*bad_chunk = own.bad_chunk;
	return err;
}
