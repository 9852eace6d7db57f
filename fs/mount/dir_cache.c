#include "dir_cache.h"

#include "vdir.h"

#include <errno.h>
#include <fcntl.h>

struct dir_cache {
	pthread_mutex_t lock;
	size_t max, open_count;	 /* lock */
	struct dirhandle unused; /* lock: head of a ring, unused longest next */
	struct dirhandle *all;	 /* lock */
};

int dir_cache_new(size_t max, struct dir_cache **out)
{
	struct dir_cache *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->max = max;
	c->unused.prev = c->unused.next = &c->unused;
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return 0;
}

/* Under the lock. */
static void ring_remove(struct dirhandle *h)
{
	h->prev->next = h->next;
	h->next->prev = h->prev;
	h->prev = h->next = NULL;
}

static void ring_append(struct dir_cache *c, struct dirhandle *h)
{
	h->next = &c->unused;
	h->prev = c->unused.prev;
	h->prev->next = h->next->prev = h;
}

static void stream_free(struct dir_stream *s)
{
	close(s->fd);
	free(s);
}

bool dir_cache_evict(struct dir_cache *c, bool at_any_rate)
{
	struct dir_stream *s = NULL;
	struct dirhandle *oldest;

	pthread_mutex_lock(&c->lock);
	oldest = c->unused.next;
	if (oldest != &c->unused && (at_any_rate || c->open_count > c->max)) {
		ring_remove(oldest);
		s = TAKE_PTR(oldest->stream);
		c->open_count--;
	}
	pthread_mutex_unlock(&c->lock);
	if (s)
		stream_free(s);
	return s != NULL;
}

/*
 * A directory that was open when its mode was changed can be read on, so its
 * owner is let in for an instant.
 */
static int open_granted(int path_fd, int *fd)
{
	mode_t old_mode = 0;
	int err = vdir_grant(path_fd, &old_mode);

	if (err)
		return err;
	*fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = *fd < 0 ? -errno : 0;
	vdir_restore(path_fd, old_mode);
	return err;
}

static int open_once(struct fs *fs, struct inode *dir, bool again, int *fd)
{
	int path_fd, err = inode_dirfd_get(fs->inodes, dir, &path_fd);

	if (err)
		return err;
	*fd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = *fd < 0 ? -errno : 0;
	if (err == -EACCES && again && !fs->opt->read_only)
		err = open_granted(path_fd, fd);
	inode_dirfd_put(fs->inodes, dir);
	return err;
}

static int stream_new(struct fs *fs, struct inode *dir, bool again,
		      struct dir_stream **out)
{
	CLEANUP_FREE struct dir_stream *s = malloc(sizeof *s);
	unsigned tries = 0;
	int err;

	if (!s)
		return -ENOMEM;
	do {
		err = open_once(fs, dir, again, &s->fd);
	} while (err && fs_spare_fd(fs, err, &tries));
	if (err)
		return err;
	s->next = 0;
	s->at = s->used = 0;
	*out = TAKE_PTR(s);
	return 0;
}

/* Give the handle, whose lock is held, a stream. */
static int install(struct fs *fs, struct dirhandle *h, bool again)
{
	struct dir_cache *c = fs->dirs;
	struct dir_stream *s;
	int err = stream_new(fs, h->inode, again, &s);

	if (err)
		return err;
	pthread_mutex_lock(&c->lock);
	h->stream = s;
	c->open_count++;
	pthread_mutex_unlock(&c->lock);
	while (dir_cache_evict(c, false))
		;
	return 0;
}

static void handle_free(struct dirhandle *h)
{
	if (h->stream)
		stream_free(h->stream);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static void enlist(struct dir_cache *c, struct dirhandle *h)
{
	pthread_mutex_lock(&c->lock);
	h->all_next = c->all;
	if (c->all)
		c->all->all_prev = h;
	c->all = h;
	pthread_mutex_unlock(&c->lock);
}

/* Under the lock: the handle goes, and nobody uses it. */
static void delist(struct dir_cache *c, struct dirhandle *h)
{
	if (h->all_prev)
		h->all_prev->all_next = h->all_next;
	else
		c->all = h->all_next;
	if (h->all_next)
		h->all_next->all_prev = h->all_prev;
	if (h->stream) {
		ring_remove(h);
		c->open_count--;
	}
}

int dir_open(struct fs *fs, struct inode *dir, struct dirhandle **out)
{
	CLEANUP_FREE struct dirhandle *h = calloc(1, sizeof *h);
	int err;

	if (!h)
		return -ENOMEM;
	h->inode = dir;
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_lock(&h->lock);
	err = install(fs, h, false);
	if (err) {
		pthread_mutex_unlock(&h->lock);
		pthread_mutex_destroy(&h->lock);
		return err;
	}
	enlist(fs->dirs, h);
	dir_release(fs, h);
	*out = TAKE_PTR(h);
	return 0;
}

void dir_close(struct fs *fs, struct dirhandle *h)
{
	struct dir_cache *c = fs->dirs;

	pthread_mutex_lock(&c->lock);
	delist(c, h);
	pthread_mutex_unlock(&c->lock);
	handle_free(h);
}

int dir_acquire(struct fs *fs, struct dirhandle *h, struct dir_stream **out)
{
	struct dir_cache *c = fs->dirs;
	int err = 0;

	pthread_mutex_lock(&h->lock);
	pthread_mutex_lock(&c->lock);
	if (h->stream)
		ring_remove(h);
	pthread_mutex_unlock(&c->lock);
	/* in nobody's reach now, or only we can make one */
	if (!h->stream)
		err = install(fs, h, true);
	if (err) {
		pthread_mutex_unlock(&h->lock);
		return err;
	}
	*out = h->stream;
	return 0;
}

void dir_release(struct fs *fs, struct dirhandle *h)
{
	struct dir_cache *c = fs->dirs;

	pthread_mutex_lock(&c->lock);
	ring_append(c, h);
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&h->lock);
	while (dir_cache_evict(c, false))
		;
}

void dir_cache_free(struct dir_cache *c)
{
	struct dirhandle *h;

	if (!c)
		return;
	/* handles are left where the kernel went without releasing them */
	while ((h = c->all)) {
		delist(c, h);
		handle_free(h);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}
