#include "loop.h"

#include "clock.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum {
	SMALL_BYTES = 16 << 10, /* READ and WRITE up to here are soon done */
	LOOK_INTERVAL_MS = 2,
	BACKLOG_MIN = 4, /* requests in a row that find another behind them */
	STRANGERS = 16,	 /* requests after which a process is alone again */
	SPIN_NS = 50000,
	PREEMPTED_NS = 10000, /* no look takes that long */
	SLEEPS_MIN = 16,
	SLEEPS_MAX = 4096,
};

struct worker {
	struct loop *loop;
	pthread_t thread;
	struct fuse_buf buf;
	uint32_t pid;	    /* whose request it took last */
	unsigned strangers; /* how many requests ago there was another */
	unsigned sleeps, sleeps_next; /* requests until it spins again */
	bool sole; /* it kept its seat while it answered the last */
};

/*
 * Readers wait for a request, or are about to. A thread that answers a request
 * is none, except the only reader when the request is soon done: it stays one
 * meanwhile ("keeps its seat"), for it will have read the next request before
 * another thread is awake. If it is not done soon after all, the watcher gives
 * its seat to another.
 */
struct loop {
	struct fuse_session *session;
	unsigned threads_max, cores;
	atomic_uint *answering;
	sem_t ended_sem;

	pthread_mutex_t lock; /* guards all that follows */
	pthread_cond_t seats, awake;
	unsigned readers;
	unsigned parked, offered; /* offered: seats for those parked */
	uint64_t requests;	  /* taken so far */
	uint64_t kept;	  /* the request whose reader kept its seat, or 0 */
	unsigned backlog; /* requests in a row with another behind */
	bool watching, ended;
	int err;
	unsigned count;
	struct worker workers[];
};

static uint32_t word_at(const struct fuse_buf *buf, size_t offset)
{
	uint32_t value = 0;

	if (offset + sizeof value <= buf->size)
		memcpy(&value, (const char *)buf->mem + offset, sizeof value);
	return value;
}

static uint32_t argument(const struct fuse_buf *buf, size_t offset)
{
	return word_at(buf, sizeof(struct fuse_in_header) + offset);
}

/* Is the request in buf such that nobody gains by taking the next meanwhile? */
static bool is_soon_done(const struct fuse_buf *buf)
{
	switch (word_at(buf, offsetof(struct fuse_in_header, opcode))) {
	case FUSE_LOOKUP:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
	case FUSE_GETATTR:
	case FUSE_READLINK:
	case FUSE_SYMLINK:
	case FUSE_CREATE:
	case FUSE_UNLINK:
	case FUSE_LINK:
	case FUSE_OPEN:
	case FUSE_RELEASE:
	case FUSE_OPENDIR:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASEDIR:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		return true;
	case FUSE_SETATTR:
		return !(
			argument(buf, offsetof(struct fuse_setattr_in, valid)) &
			FATTR_SIZE);
	case FUSE_READ:
		return argument(buf, offsetof(struct fuse_read_in, size)) <=
		       SMALL_BYTES;
	case FUSE_WRITE:
		return buf->size <= SMALL_BYTES;
	default:
		return false;
	}
}

/* Does another request lie ready to be taken? */
static bool more_waits(const struct loop *l)
{
	struct pollfd fuse = {.fd = fuse_session_fd(l->session),
			      .events = POLLIN};

	return poll(&fuse, 1, 0) > 0;
}

/*
 * A process alone has no other request waiting, but for those that the kernel
 * makes on its own (process 0): no need to look.
 */
static bool several_ask(struct worker *w)
{
	uint32_t pid = word_at(&w->buf, offsetof(struct fuse_in_header, pid));

	if (pid != 0 && pid != w->pid) {
		w->pid = pid;
		w->strangers = STRANGERS;
	} else if (w->strangers > 0) {
		w->strangers--;
	}
	return w->strangers > 0;
}

static void *work(void *arg);

/* All that follow, up to answer(), need the lock. */

static int add_worker(struct loop *l)
{
	struct worker *w = &l->workers[l->count];
	int err;

	*w = (struct worker){
		.loop = l, .sleeps = SLEEPS_MIN, .sleeps_next = SLEEPS_MIN};
	err = pthread_create(&w->thread, NULL, work, w);
	if (!err)
		l->count++;
	return -err;
}

/* Where all are busy, whoever is done first will read. */
static void call_reader(struct loop *l)
{
	if (l->ended)
		return;
	if (l->offered < l->parked) {
		l->offered++;
		l->readers++;
		pthread_cond_signal(&l->seats);
	} else if (l->count < l->threads_max && !add_worker(l)) {
		l->readers++;
	}
}

static void park(struct loop *l)
{
	l->parked++;
	while (!l->offered && !l->ended)
		pthread_cond_wait(&l->seats, &l->lock);
	if (l->offered)
		l->offered--;
	l->parked--;
}

static void wake_watcher(struct loop *l)
{
	if (!l->watching) {
		l->watching = true;
		pthread_cond_signal(&l->awake);
	}
}

/* The request's number if its reader keeps its seat, 0 if it gave it up. */
static uint64_t begin(struct loop *l, bool soon_done, bool more)
{
	l->requests++;
	l->backlog = more ? l->backlog + 1 : 0;
	if (soon_done && l->backlog < BACKLOG_MIN && l->readers == 1) {
		l->kept = l->requests;
		wake_watcher(l);
		return l->kept;
	}
	l->readers--;
	if (l->readers == 0)
		call_reader(l);
	return 0;
}

static unsigned readers_wanted(const struct loop *l, bool soon_done)
{
	return soon_done && l->backlog < BACKLOG_MIN ? 1 : l->cores;
}

/*
 * Returns when this thread is a reader again, or all is over. True: it kept
 * its seat.
 */
static bool end(struct loop *l, uint64_t kept, bool soon_done)
{
	if (kept && l->kept == kept) {
		l->kept = 0;
		return true;
	}
	if (l->readers < readers_wanted(l, soon_done))
		l->readers++;
	else
		park(l);
	return false;
}

static void answer(struct worker *w)
{
	struct loop *l = w->loop;
	bool soon_done = is_soon_done(&w->buf), more;
	uint64_t kept;

	(*l->answering)++;
	more = several_ask(w) && more_waits(l);
	pthread_mutex_lock(&l->lock);
	kept = begin(l, soon_done, more);
	pthread_mutex_unlock(&l->lock);
	fuse_session_process_buf(l->session, &w->buf);
	(*l->answering)--;
	pthread_mutex_lock(&l->lock);
	w->sole = end(l, kept, soon_done);
	pthread_mutex_unlock(&l->lock);
}

/* Threads are cancelled within these, and AddressSanitizer would go on guarding
 * what they had on their stacks. */
#define CANCELLED_WITHIN __attribute__((no_sanitize("address")))

CANCELLED_WITHIN static int receive_sleeping(struct worker *w)
{
	int n, state;

	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
	n = fuse_session_receive_buf(w->loop->session, &w->buf);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return n;
}

/*
 * Look for a request for a while. False: it was of no use, as none came, or as
 * somebody else, perhaps the one who is to ask, had to wait for this processor.
 */
static bool spin(const struct loop *l)
{
	int64_t begin_ns = clock_now_ns(), last_ns = begin_ns, ns = begin_ns;

	while (!more_waits(l)) {
		ns = clock_now_ns();
		if (ns - begin_ns > SPIN_NS || ns - last_ns > PREEMPTED_NS)
			return false;
		last_ns = ns;
	}
	return clock_now_ns() - last_ns < PREEMPTED_NS;
}

/*
 * Who asks again as soon as he is answered would wake this thread from its
 * sleep each time, and with it a processor: that takes longer than the answer.
 * So look for his next request, as long as that pays off.
 */
static void spin_if_useful(struct worker *w)
{
	if (w->sleeps > 0) {
		w->sleeps--;
	} else if (spin(w->loop)) {
		w->sleeps_next = SLEEPS_MIN;
	} else {
		w->sleeps = w->sleeps_next;
		if (w->sleeps_next < SLEEPS_MAX)
			w->sleeps_next *= 2;
	}
}

CANCELLED_WITHIN static int receive(struct worker *w)
{
	if (w->sole)
		spin_if_useful(w);
	return receive_sleeping(w);
}

CANCELLED_WITHIN static void *work(void *arg)
{
	struct worker *w = arg;
	struct loop *l = w->loop;
	int n = 0, state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	while (!fuse_session_exited(l->session)) {
		n = receive(w);
		if (n == -EINTR)
			continue;
		if (n <= 0)
			break;
		answer(w);
	}
	/* Linux says so when it was unmounted while it handed a request over,
	 * the last file's release for example; else ENODEV, which is 0 here. */
	if (n == -ECONNABORTED) {
		fuse_session_exit(l->session);
	} else if (n < 0) {
		fuse_session_exit(l->session);
		pthread_mutex_lock(&l->lock);
		l->err = n;
		pthread_mutex_unlock(&l->lock);
	}
	sem_post(&l->ended_sem);
	return NULL;
}

/* Sleep until there is something to watch; false: it is over. */
static bool watcher_sleep(struct loop *l)
{
	bool ended;

	pthread_mutex_lock(&l->lock);
	while (!l->watching && !l->ended)
		pthread_cond_wait(&l->awake, &l->lock);
	ended = l->ended;
	pthread_mutex_unlock(&l->lock);
	return !ended;
}

/* A reader that kept its seat from one look to the next loses it. */
static void *watch(void *arg)
{
	const struct timespec pause = {.tv_nsec = LOOK_INTERVAL_MS * 1000000L};
	struct loop *l = arg;
	uint64_t last_kept = 0, last_requests = 0;

	while (watcher_sleep(l)) {
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&l->lock);
		if (l->kept && l->kept == last_kept) {
			l->kept = 0;
			l->readers--;
			call_reader(l);
		}
		if (!l->kept && l->requests == last_requests)
			l->watching = false;
		last_kept = l->kept;
		last_requests = l->requests;
		pthread_mutex_unlock(&l->lock);
	}
	return NULL;
}

static struct loop *loop_new(struct fuse_session *session, unsigned threads_max)
{
	struct loop *l =
		calloc(1, sizeof *l + threads_max * sizeof l->workers[0]);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	if (!l)
		return NULL;
	l->session = session;
	l->threads_max = threads_max;
	l->cores = cores > 1 ? (unsigned)cores : 1;
	sem_init(&l->ended_sem, 0, 0);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->seats, NULL);
	pthread_cond_init(&l->awake, NULL);
	return l;
}

static void loop_free(struct loop *l)
{
	pthread_cond_destroy(&l->awake);
	pthread_cond_destroy(&l->seats);
	pthread_mutex_destroy(&l->lock);
	sem_destroy(&l->ended_sem);
	free(l);
}

static int start(struct loop *l)
{
	int err;

	pthread_mutex_lock(&l->lock);
	err = add_worker(l);
	if (!err)
		l->readers = 1;
	pthread_mutex_unlock(&l->lock);
	return err;
}

static void stop(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->ended = true;
	pthread_cond_broadcast(&l->seats);
	pthread_cond_broadcast(&l->awake);
	pthread_mutex_unlock(&l->lock);
	/* none is added any more */
	for (unsigned k = 0; k < l->count; k++)
		pthread_cancel(l->workers[k].thread);
	for (unsigned k = 0; k < l->count; k++) {
		pthread_join(l->workers[k].thread, NULL);
		free(l->workers[k].buf.mem);
	}
}

int loop_run(struct fuse_session *session, unsigned threads_max,
	     atomic_uint *answering)
{
	struct loop *l = loop_new(session, threads_max);
	pthread_t watcher;
	int err;

	if (!l)
		return -ENOMEM;
	l->answering = answering;
	err = -pthread_create(&watcher, NULL, watch, l);
	if (!err) {
		err = start(l);
		while (!err && !fuse_session_exited(session))
			sem_wait(&l->ended_sem);
		stop(l);
		pthread_join(watcher, NULL);
	}
	if (!err)
		err = l->err;
	loop_free(l);
	return err;
}
