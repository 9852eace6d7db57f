/* The units themselves: room for them, threads that read them. */
#include "pace.h"
#include "prefetch_internal.h"

enum {
	SLOW_US = 2000, /* to read a unit: far away */
	ALWAYS = 1024,
	/* so often are those that take long, lately, where it gets far, and
	 * where it stops to be */
	FAR_FROM = ALWAYS * 3 / 10,
	FAR_UNTIL = ALWAYS / 20,
};

struct workspace *prefetch_get_buffer_(struct prefetch *p)
{
	struct workspace *ws;

	if (p->spare_count > 0)
		return p->spare[--p->spare_count];
	if (p->buffer_count == BUFFERS_MAX)
		return NULL;
	ws = workspace_keep_new(PREFETCH_UNIT / CHUNK_SIZE);
	if (ws)
		p->buffer_count++;
	return ws;
}

static void put_buffer(struct prefetch *p, struct workspace *ws)
{
	if (p->spare_count < SPARE_MAX) {
		p->spare[p->spare_count++] = ws;
	} else {
		workspace_keep_free(ws);
		p->buffer_count--;
	}
}

void prefetch_enqueue_(struct prefetch *p, struct unit *u)
{
	u->state = UNIT_QUEUED;
	u->next = NULL;
	*p->tail = u;
	p->tail = &u->next;
	pthread_cond_signal(&p->queued);
	if (p->far)
		pthread_cond_signal(&p->far_queued);
}

static void unqueue(struct prefetch *p, struct unit *u)
{
	struct unit **at = &p->head;

	while (*at != u)
		at = &(*at)->next;
	*at = u->next;
	if (p->tail == &u->next)
		p->tail = at;
}

void prefetch_settle_(struct prefetch *p, struct unit *u)
{
	bool over = u->state == UNIT_BAD ||
		    (u->state == UNIT_READY && (u->unwanted || u->left == 0));

	if (over && u->users == 0) {
		u->state = UNIT_FREE;
		put_buffer(p, TAKE_PTR(u->buffer));
	}
}

void prefetch_drop_(struct prefetch *p, struct unit *u)
{
	u->unwanted = true;
	if (u->state == UNIT_QUEUED) {
		unqueue(p, u);
		u->state = UNIT_BAD;
	}
	if (u->users > 0)
		pthread_cond_broadcast(&p->done);
	prefetch_settle_(p, u);
}

/* One that took long may have waited for others; many of them have not. */
void prefetch_note_pace_(struct prefetch *p, int64_t took_us)
{
	unsigned sample = took_us > SLOW_US ? ALWAYS : 0;

	p->slowness = p->known ? (p->slowness * 7 + sample) / 8 : sample;
	p->known = true;
	p->far = p->slowness > (p->far ? FAR_UNTIL : FAR_FROM);
}

/* Without the lock. Returns the bytes; 0: a bad file, or one no longer ours. */
static size_t read_unit(struct fs *fs, struct unit *u, bool far)
{
	struct open_file *of = u->stream->reader->file;
	struct workspace *own = workspace_get();
	struct iovec iov[PREFETCH_UNIT / CHUNK_SIZE + 1];
	uint64_t bad_chunk;
	struct vfile *vf;
	ssize_t n;
	int count;

	if (!own || file_acquire(fs, of, false, &vf))
		return 0;
	workspace_lend(own, u->buffer);
	if (far)
		vfile_will_read(vf, u->offset, u->len);
	u->generation = vfile_generation(vf);
	n = vfile_read(vf, u->buffer, u->offset, u->len, iov, &count,
		       &bad_chunk);
	file_release(of);
	return n < 0 ? 0 : (size_t)n;
}

/* Gives the lock up for the while. */
static void read_first(struct prefetch *p)
{
	struct unit *u = p->head;
	struct prefetch_stream *s = u->stream;
	bool far = p->far;
	struct pace pace;
	int64_t took;
	size_t len;

	unqueue(p, u);
	u->state = UNIT_BUSY;
	s->busy++;
	pthread_mutex_unlock(&p->lock);
	pace_begin(&pace);
	len = read_unit(p->fs, u, far);
	took = pace_end(&pace);
	pthread_mutex_lock(&p->lock);
	prefetch_note_pace_(p, took);
	s->busy--;
	u->len = len;
	u->state = len > 0 ? UNIT_READY : UNIT_BAD;
	prefetch_settle_(p, u);
	pthread_cond_broadcast(&p->done);
}

static void serve(struct prefetch *p, pthread_cond_t *queued)
{
	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		if (p->head)
			read_first(p);
		else
			pthread_cond_wait(queued, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
}

static void *work(void *p)
{
	serve(p, &((struct prefetch *)p)->queued);
	return NULL;
}

static void *work_if_far(void *p)
{
	serve(p, &((struct prefetch *)p)->far_queued);
	return NULL;
}

bool prefetch_start_threads_(struct prefetch *p)
{
	while (p->thread_count < (p->far ? THREADS_FAR : p->cores)) {
		void *(*run)(void *) =
			p->thread_count < p->cores ? work : work_if_far;

		if (pthread_create(&p->threads[p->thread_count], NULL, run, p))
			break;
		p->thread_count++;
	}
	return p->thread_count > 0;
}
