#include "lock.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

enum {
	WAITERS_MAX = 4096,
	POLL_MIN_MS = 1,
	POLL_MAX_MS = 50,
	/* The kernel tells of an open file's end only after close() returned:
	 * a lock that goes with it may be seen for that long. */
	RELEASE_GRACE_MS = 50,
	FOREVER = 0,
};

/*
 * Byte-range locks belong to a process, flock locks to an open file. The kernel
 * names an owner by an address of its own, and gives a closed file's address to
 * the next one before it tells of the close: an open file's name is its handle.
 */
enum lock_kind { LOCK_RANGE, LOCK_WHOLE };

/* The descriptor of one owner of one inode. */
struct owner {
	struct owner *next;  /* the table's lock */
	struct inode *inode; /* holds a reference */
	uint64_t id;
	enum lock_kind kind;
	int fd;
	_Atomic pid_t pid;	 /* who locked last */
	_Atomic uint64_t handle; /* through which open file */
	unsigned users; /* the table's lock: requests under way or waiting */
};

/* A request that waits until others let go. */
struct waiter {
	struct waiter *next;
	fuse_req_t req;
	struct owner *owner;
	struct flock want;
	int64_t until_ms; /* CLOCK_MONOTONIC, or FOREVER */
};

struct lock_table {
	pthread_mutex_t lock;
	struct owner *owners; /* lock */
	_Atomic size_t count; /* of owners */
	struct waiter *added; /* lock: not yet seen by the poller */
	size_t waiters;	      /* lock */
	bool polling;	      /* lock: the thread has been started */
	bool kick;	      /* lock: something was unlocked or added */
	bool stop;	      /* lock */
	pthread_cond_t kicked;
	pthread_t poller;
};

int lock_table_new(struct lock_table **out)
{
	struct lock_table *t = calloc(1, sizeof *t);
	pthread_condattr_t attr;

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->kicked, &attr);
	pthread_condattr_destroy(&attr);
	*out = t;
	return 0;
}

/* Open for writing where possible, since write locks ask for that. */
static int open_backing(struct fs *fs, struct inode *i, int *out)
{
	CLEANUP_FD int path_fd = -1;
	char path[32];
	int fd, err = inode_open_path(fs->inodes, i, &path_fd);

	if (err)
		return err;
	snprintf(path, sizeof path, "/proc/self/fd/%d", path_fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && (errno == EACCES || errno == EROFS))
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == EMFILE || errno == ENFILE ? -ENOLCK : -errno;
	*out = fd;
	return 0;
}

/* Needs the table's lock. */
static struct owner **find(struct lock_table *t, const struct inode *i,
			   uint64_t id, enum lock_kind kind)
{
	struct owner **o = &t->owners;

	while (*o && ((*o)->inode != i || (*o)->id != id || (*o)->kind != kind))
		o = &(*o)->next;
	return o;
}

static struct owner *find_and_use(struct lock_table *t, const struct inode *i,
				  uint64_t id, enum lock_kind kind)
{
	struct owner *o;

	pthread_mutex_lock(&t->lock);
	o = *find(t, i, id, kind);
	if (o)
		o->users++;
	pthread_mutex_unlock(&t->lock);
	return o;
}

/*
 * The owner, made when it has none yet. One owner's first two requests may
 * meet here: the one who comes second uses the other's.
 */
static int owner_get(struct fs *fs, struct inode *i, uint64_t id,
		     enum lock_kind kind, struct owner **out)
{
	struct lock_table *t = fs->locks;
	struct owner *o = find_and_use(t, i, id, kind), *made;
	CLEANUP_FD int fd = -1;
	int err;

	if (o) {
		*out = o;
		return 0;
	}
	err = open_backing(fs, i, &fd);
	if (err)
		return err;
	made = calloc(1, sizeof *made);
	if (!made)
		return -ENOMEM;
	pthread_mutex_lock(&t->lock);
	o = *find(t, i, id, kind);
	if (!o) {
		o = TAKE_PTR(made);
		o->inode = i;
		o->id = id;
		o->kind = kind;
		o->fd = TAKE_FD(fd);
		o->next = t->owners;
		t->owners = o;
		t->count++;
	}
	o->users++;
	pthread_mutex_unlock(&t->lock);
	if (!made)
		inode_ref(fs->inodes, i);
	free(made);
	*out = o;
	return 0;
}

static void owner_put(struct lock_table *t, struct owner *o)
{
	pthread_mutex_lock(&t->lock);
	o->users--;
	pthread_mutex_unlock(&t->lock);
}

/* Something may have become free for those who wait. */
static void kick(struct lock_table *t)
{
	pthread_mutex_lock(&t->lock);
	t->kick = true;
	pthread_cond_signal(&t->kicked);
	pthread_mutex_unlock(&t->lock);
}

static int try_lock(const struct owner *o, const struct flock *want)
{
	struct flock fl = *want;

	if (fcntl(o->fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

/*
 * All that an owner has goes at once. Needs the table's lock; returns the
 * owner for owner_free, unless another thread's request uses it.
 */
static struct owner *owner_cut(struct lock_table *t, struct owner **link)
{
	const struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	struct owner *o = *link;

	if (o->users > 0) {
		(void)try_lock(o, &all);
		return NULL;
	}
	*link = o->next;
	t->count--;
	return o;
}

static void owner_free(struct fs *fs, struct owner *o)
{
	if (!o)
		return;
	close(o->fd);
	inode_unref(fs->inodes, o->inode);
	free(o);
}

static void owner_drop(struct fs *fs, const struct inode *i, uint64_t id,
		       enum lock_kind kind)
{
	struct lock_table *t = fs->locks;
	struct owner **link, *gone = NULL;
	bool found;

	if (t->count == 0)
		return;
	pthread_mutex_lock(&t->lock);
	link = find(t, i, id, kind);
	found = *link;
	if (found)
		gone = owner_cut(t, link);
	pthread_mutex_unlock(&t->lock);
	owner_free(fs, gone);
	if (found)
		kick(t);
}

/*
 * The kernel does not tell when the owner of open file description locks goes:
 * they go with the open file through which they were taken.
 */
static void drop_abandoned(struct fs *fs, const struct inode *i,
			   uint64_t handle)
{
	struct lock_table *t = fs->locks;
	struct owner *gone = NULL, *o;
	struct owner **link = &t->owners;

	if (t->count == 0)
		return;
	pthread_mutex_lock(&t->lock);
	while (*link) {
		if ((*link)->inode != i || (*link)->handle != handle ||
		    !(o = owner_cut(t, link))) {
			link = &(*link)->next;
			continue;
		}
		o->next = gone;
		gone = o;
	}
	pthread_mutex_unlock(&t->lock);
	while (gone) {
		o = gone;
		gone = o->next;
		owner_free(fs, o);
	}
	kick(t);
}

void lock_flush(struct fs *fs, struct inode *i, uint64_t owner)
{
	owner_drop(fs, i, owner, LOCK_RANGE);
}

void lock_release(struct fs *fs, struct inode *i, uint64_t handle)
{
	owner_drop(fs, i, handle, LOCK_WHOLE);
	drop_abandoned(fs, i, handle);
}

/* Once more: 0, or why not; -EINPROGRESS: it goes on waiting. */
static int retry(const struct waiter *w, bool stop)
{
	int err;

	if (stop || fuse_req_interrupted(w->req))
		return -EINTR;
	err = try_lock(w->owner, &w->want);
	if (err == -EAGAIN &&
	    (w->until_ms == FOREVER || clock_now_ms() < w->until_ms))
		return -EINPROGRESS;
	return err;
}

static void answer(struct lock_table *t, struct waiter *w, int err)
{
	pthread_mutex_lock(&t->lock);
	t->waiters--;
	pthread_mutex_unlock(&t->lock);
	owner_put(t, w->owner);
	fs_reply_err(w->req, err);
	free(w);
}

/* Try all in their order; returns those that must go on waiting. */
static struct waiter *poll_all(struct lock_table *t, struct waiter *list,
			       bool stop)
{
	struct waiter *left = NULL, **tail = &left;

	while (list) {
		struct waiter *w = list;
		int err = retry(w, stop);

		list = w->next;
		if (err == -EINPROGRESS) {
			w->next = NULL;
			*tail = w;
			tail = &w->next;
		} else {
			answer(t, w, err);
		}
	}
	return left;
}

static void sleep_ms(struct lock_table *t, int ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ms * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_cond_timedwait(&t->kicked, &t->lock, &until);
}

/*
 * Other mounts cannot tell when they unlock, so what waits is tried again and
 * again, ever more seldom; what this mount unlocks shows at once. A thread
 * blocked in fcntl(2) for each waiter could not be bounded.
 */
static void *poll_locks(void *arg)
{
	struct lock_table *t = arg;
	struct waiter *list = NULL, **tail;
	int pause_ms = POLL_MIN_MS;
	bool stop;

	do {
		pthread_mutex_lock(&t->lock);
		while (!t->stop && !t->kick && !list)
			pthread_cond_wait(&t->kicked, &t->lock);
		if (!t->stop && !t->kick)
			sleep_ms(t, pause_ms);
		pause_ms = t->kick			? POLL_MIN_MS
			   : 2 * pause_ms < POLL_MAX_MS ? 2 * pause_ms
							: POLL_MAX_MS;
		t->kick = false;
		stop = t->stop;
		for (tail = &list; *tail; tail = &(*tail)->next)
			;
		*tail = TAKE_PTR(t->added);
		pthread_mutex_unlock(&t->lock);
		list = poll_all(t, list, stop);
	} while (!stop);
	return NULL;
}

/* Signals are for the thread that ends the session. */
static int start_poller(struct lock_table *t)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&t->poller, NULL, poll_locks, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err ? -ENOLCK : 0;
}

/* On success the poller answers the request. */
static int wait_for(struct lock_table *t, fuse_req_t req, struct owner *o,
		    const struct flock *want, int64_t until_ms)
{
	struct waiter *w = malloc(sizeof *w), **tail;
	int err = 0;

	if (!w)
		return -ENOLCK;
	*w = (struct waiter){
		.req = req, .owner = o, .want = *want, .until_ms = until_ms};
	pthread_mutex_lock(&t->lock);
	if (t->waiters >= WAITERS_MAX)
		err = -ENOLCK;
	if (!err && !t->polling) {
		err = start_poller(t);
		t->polling = !err;
	}
	if (!err) {
		for (tail = &t->added; *tail; tail = &(*tail)->next)
			;
		*tail = TAKE_PTR(w);
		t->waiters++;
		t->kick = true;
		pthread_cond_signal(&t->kicked);
	}
	pthread_mutex_unlock(&t->lock);
	free(w);
	return err;
}

/* The part of a range that user locks have; length 0 means up to the end. */
static struct flock clamp(const struct flock *fl)
{
	struct flock r = *fl;
	off_t last = fl->l_len > 0 && fl->l_len - 1 <=
					      VFILE_LOCK_USER_MAX - fl->l_start
			     ? fl->l_start + fl->l_len - 1
			     : VFILE_LOCK_USER_MAX;

	if (r.l_start > VFILE_LOCK_USER_MAX)
		r.l_start = VFILE_LOCK_USER_MAX;
	r.l_whence = SEEK_SET;
	r.l_len = last - r.l_start + 1;
	r.l_pid = 0; /* as open file description locks want it */
	return r;
}

/*
 * Which process of this mount has the lock found to be in the way? The one
 * whose own descriptor sees none there. 0: several, or one of another mount.
 */
static pid_t holder(struct lock_table *t, const struct inode *i,
		    const struct flock *found)
{
	pid_t pid = 0;

	pthread_mutex_lock(&t->lock);
	for (const struct owner *o = t->owners; o && !pid; o = o->next) {
		struct flock fl = *found;

		fl.l_type = F_WRLCK;
		fl.l_pid = 0;
		if (o->inode == i && o->kind == LOCK_RANGE &&
		    fcntl(o->fd, F_OFD_GETLK, &fl) == 0 && fl.l_type == F_UNLCK)
			pid = o->pid;
	}
	pthread_mutex_unlock(&t->lock);
	return pid;
}

static void ops_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		      struct flock *lock)
{
	struct fs *fs = fs_of(req);
	struct inode *i = inode_of(fs->inodes, ino);
	struct flock fl = clamp(lock);
	struct owner *o;
	int err = owner_get(fs, i, fi->lock_owner, LOCK_RANGE, &o);

	if (!err) {
		if (fcntl(o->fd, F_OFD_GETLK, &fl) < 0)
			err = -errno;
		owner_put(fs->locks, o);
	}
	if (err) {
		fs_reply_err(req, err);
		return;
	}
	fl.l_pid = 0;
	if (fl.l_type != F_UNLCK) {
		fl.l_pid = holder(fs->locks, i, &fl);
		if (fl.l_start + fl.l_len > VFILE_LOCK_USER_MAX)
			fl.l_len = 0;
	}
	fuse_reply_lock(req, &fl);
}

/* Lock, unlock, or have the poller answer later. */
static void change(fuse_req_t req, struct owner *o, const struct flock *want,
		   bool wait)
{
	struct lock_table *t = fs_of(req)->locks;
	int err = try_lock(o, want);

	if (err == -EAGAIN) {
		err = wait_for(t, req, o, want,
			       wait ? FOREVER
				    : clock_now_ms() + RELEASE_GRACE_MS);
		if (!err)
			return;
	}
	owner_put(t, o);
	if (!err)
		kick(t); /* unlocked, or perhaps made less exclusive */
	fs_reply_err(req, err);
}

static void ops_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		      struct flock *lock, int wait)
{
	struct fs *fs = fs_of(req);
	const struct flock want = clamp(lock);
	struct owner *o;
	int err = owner_get(fs, inode_of(fs->inodes, ino), fi->lock_owner,
			    LOCK_RANGE, &o);

	if (err) {
		fs_reply_err(req, err);
		return;
	}
	if (want.l_type != F_UNLCK) {
		o->pid = lock->l_pid;
		o->handle = fi->fh;
	}
	change(req, o, &want, wait);
}

static void ops_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		      int op)
{
	struct fs *fs = fs_of(req);
	int mode = op & ~LOCK_NB;
	struct flock want = {.l_type = mode == LOCK_SH	 ? F_RDLCK
				       : mode == LOCK_EX ? F_WRLCK
							 : F_UNLCK,
			     .l_whence = SEEK_SET,
			     .l_start = VFILE_LOCK_FLOCK,
			     .l_len = VFILE_LOCK_FLOCK_LEN};
	const struct flock none = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	struct owner *o;
	int err = owner_get(fs, inode_of(fs->inodes, ino), fi->fh, LOCK_WHOLE,
			    &o);

	if (err) {
		fs_reply_err(req, err);
		return;
	}
	/* flock(2): a conversion drops the old lock first, so that two who
	 * convert do not wait for each other */
	if (want.l_type == F_WRLCK && !(op & LOCK_NB) &&
	    try_lock(o, &want) == -EAGAIN)
		(void)!try_lock(o, &none);
	change(req, o, &want, !(op & LOCK_NB));
}

static void free_owners(struct lock_table *t)
{
	while (t->owners) {
		struct owner *o = t->owners;

		t->owners = o->next;
		close(o->fd);
		free(o);
	}
}

void lock_table_free(struct lock_table *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_signal(&t->kicked);
	pthread_mutex_unlock(&t->lock);
	if (t->polling)
		pthread_join(t->poller, NULL);
	free_owners(t);
	pthread_cond_destroy(&t->kicked);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void ops_fill_lock(struct fuse_lowlevel_ops *ops)
{
	ops->getlk = ops_getlk;
	ops->setlk = ops_setlk;
	ops->flock = ops_flock;
}
