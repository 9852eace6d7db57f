#include "teller.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum { STOP_PATIENCE_S = 2 };

/* A path that changed, its components separated by slashes. */
struct news {
	struct news *next;
	char path[];
};

struct teller {
	struct fs *fs;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct news *first, **end; /* lock */
	bool busy, stop, started;  /* lock */
	pthread_t thread;
};

int teller_new(struct fs *fs, struct teller **out)
{
	struct teller *t = calloc(1, sizeof *t);
	pthread_condattr_t attr;

	if (!t)
		return -ENOMEM;
	t->fs = fs;
	t->end = &t->first;
	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
	*out = t;
	return 0;
}

void teller_tell(struct teller *t, const char *parent_path, const char *name)
{
	size_t dir_len = strlen(parent_path);
	struct news *n = malloc(sizeof *n + dir_len + strlen(name) + 2);

	if (!n) {
		log_error("out of memory: %s may be shown as it was", name);
		return;
	}
	n->next = NULL;
	strcpy(n->path, parent_path);
	if (dir_len > 0)
		n->path[dir_len++] = '/';
	strcpy(n->path + dir_len, name);
	pthread_mutex_lock(&t->lock);
	*t->end = n;
	t->end = &n->next;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

/* An entry of a directory that is known to the kernel. */
struct step {
	struct inode *dir;   /* with a reference of ours */
	struct inode *child; /* likewise, or NULL: not known */
	bool same;	     /* the child is what lies there now */
};

/* Is the child still what lies there? */
static bool is_there(struct fs *fs, const struct step *s, const char *entry)
{
	struct statx stx;
	int dirfd;
	bool same;

	if (!s->child || inode_dirfd_get(fs->inodes, s->dir, &dirfd))
		return false;
	same = statx(dirfd, entry, AT_SYMLINK_NOFOLLOW, FS_STATX_MASK, &stx) ==
		       0 &&
	       inode_is(s->child, &stx);
	inode_dirfd_put(fs->inodes, s->dir);
	return same;
}

static void look(struct fs *fs, const char *name, size_t len, struct step *s)
{
	struct backing_name backing;
	uint8_t dirid[DIRID_LEN];

	s->child = NULL;
	s->same = false;
	if (inode_dirid(fs->inodes, s->dir, dirid) ||
	    name_encode(fs->vault->names, dirid, name, len, &backing))
		return;
	s->child = inode_peek(fs->inodes, s->dir, backing.entry);
	s->same = is_there(fs, s, backing.entry);
}

/*
 * A directory that stays must not be dropped from the kernel's tree: somebody
 * may be in it. Of anything else the name is to be looked up anew; the kernel
 * may also remember that there was nothing.
 */
static void notify(struct fs *fs, const struct step *s, const char *name,
		   size_t len)
{
	fuse_ino_t dir = inode_id(fs->inodes, s->dir);

	if (s->same && S_ISDIR(s->child->type))
		fuse_lowlevel_notify_inval_inode(
			fs->session, inode_id(fs->inodes, s->child), -1, 0);
	else
		fuse_lowlevel_notify_inval_entry(fs->session, dir, name, len);
	fuse_lowlevel_notify_inval_inode(fs->session, dir, -1, 0);
}

/* Walk down to the first component that the kernel may know wrongly. */
static void tell(struct fs *fs, const char *path)
{
	struct step s = {.dir = inode_of(fs->inodes, FUSE_ROOT_ID)};

	inode_ref(fs->inodes, s.dir);
	for (;;) {
		size_t len = strcspn(path, "/");
		bool further;

		look(fs, path, len, &s);
		further = path[len] && s.same && S_ISDIR(s.child->type);
		if (!further)
			notify(fs, &s, path, len);
		inode_unref(fs->inodes, s.dir);
		s.dir = s.child;
		if (!further)
			break;
		path += len + 1;
	}
	if (s.dir)
		inode_unref(fs->inodes, s.dir);
}

/* The next news, or NULL when it is time to end. */
static struct news *take(struct teller *t)
{
	struct news *n;

	pthread_mutex_lock(&t->lock);
	t->busy = false;
	pthread_cond_broadcast(&t->changed);
	while (!t->first && !t->stop)
		pthread_cond_wait(&t->changed, &t->lock);
	n = t->stop ? NULL : t->first;
	if (n) {
		t->busy = true;
		t->first = n->next;
		if (!t->first)
			t->end = &t->first;
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

static void *run(void *arg)
{
	struct teller *t = arg;
	struct news *n;

	while ((n = take(t))) {
		tell(t->fs, n->path);
		free(n);
	}
	return NULL;
}

int teller_start(struct teller *t)
{
	int err = pthread_create(&t->thread, NULL, run, t);

	t->started = !err;
	return -err;
}

void teller_drain(struct teller *t)
{
	pthread_mutex_lock(&t->lock);
	while ((t->first || t->busy) && !t->stop)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

void teller_stop(struct teller *t)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STOP_PATIENCE_S;
	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->changed);
	while (t->busy && !err)
		err = pthread_cond_timedwait(&t->changed, &t->lock, &until);
	pthread_mutex_unlock(&t->lock);
}

void teller_free(struct teller *t)
{
	struct news *n;

	if (!t)
		return;
	teller_stop(t);
	if (t->started)
		pthread_join(t->thread, NULL);
	while ((n = t->first)) {
		t->first = n->next;
		free(n);
	}
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
