#include "file_cache.h"

#include "former.h"
#include "granted.h"
#include "prefetch.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

struct open_file {
	struct inode *inode;
	unsigned holders; /* the cache's lock: handles, and file_get's users */
	bool pinned;	  /* the cache's lock: no name leads to it */
	bool lingers;	  /* the cache's lock: nobody holds it, and it stays */
	pthread_mutex_t opening; /* held while vf is opened or reopened */
	struct vfile_owed owed;	 /* opening: by the vf before */
	struct vfile *vf;	 /* stable while users > 0 */
	_Atomic int users;	 /* requests under way; -1: vf is not open */
	atomic_bool recent;	 /* used since the clock hand came by */
	struct open_file *prev, *next; /* the cache's lock: ring of open vfs */
	struct open_handle *handles;   /* the cache's lock */
};

struct file_cache {
	struct fs *fs;
	pthread_mutex_t lock;
	size_t max, open_count; /* lock */
	struct open_file *hand; /* lock: where the clock stands */
};

int file_cache_new(struct fs *fs, size_t max, struct file_cache **out)
{
	struct file_cache *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->fs = fs;
	c->max = max;
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return 0;
}

static void ring_add(struct file_cache *c, struct open_file *of)
{
	if (c->hand) {
		of->next = c->hand;
		of->prev = c->hand->prev;
		of->prev->next = of->next->prev = of;
	} else {
		of->next = of->prev = of;
		c->hand = of;
	}
	c->open_count++;
}

static void ring_remove(struct file_cache *c, struct open_file *of)
{
	if (of->next == of) {
		c->hand = NULL;
	} else {
		of->next->prev = of->prev;
		of->prev->next = of->next;
		if (c->hand == of)
			c->hand = of->next;
	}
	c->open_count--;
}

/*
 * Take the vfile of one that was not used lately out of the ring: the second
 * chance ("clock") algorithm, unless its end is in flux: it must not be
 * opened anew while it is being closed. NULL when all are in use. *gone: it had
 * only lingered. Needs the lock.
 */
static struct vfile *evict_one(struct file_cache *c, struct open_file **gone)
{
	size_t steps = 2 * c->open_count;
	struct vfile *vf = NULL;

	for (; steps > 0; steps--, c->hand = c->hand->next) {
		struct open_file *of = c->hand;
		int idle = 0;

		if (of->pinned || atomic_exchange(&of->recent, false))
			continue;
		/* who comes now waits, and finds it open or not at all */
		if (pthread_mutex_trylock(&of->opening) != 0)
			continue;
		if (atomic_compare_exchange_strong(&of->users, &idle, -1)) {
			if (vfile_in_flux(of->vf)) {
				atomic_store(&of->users, 0);
			} else {
				vfile_leave_claims(of->vf);
				of->owed = vfile_owed(of->vf);
				vf = TAKE_PTR(of->vf);
				ring_remove(c, of);
			}
		}
		pthread_mutex_unlock(&of->opening);
		if (vf && of->lingers) {
			of->inode->file = NULL;
			*gone = of;
		}
		if (vf || !c->hand)
			break;
	}
	return vf;
}

/* Handles are left where the kernel went without releasing them. */
static void open_file_free(struct open_file *of)
{
	while (of->handles) {
		struct open_handle *h = of->handles;

		of->handles = h->next;
		free(h);
	}
	vfile_close(of->vf);
	pthread_mutex_destroy(&of->opening);
	free(of);
}

/* Nobody can find it any more. */
static void dismiss(struct fs *fs, struct open_file *of)
{
	struct inode *i = of->inode;

	open_file_free(of);
	/* who has opened and unlinked it meanwhile needs what was parked */
	if (i->parked && i->opens == 0) {
		former_file_gone(fs, i);
		inode_unpark(fs->inodes, i);
	}
	inode_unref(fs->inodes, i);
}

static bool evict_if(struct file_cache *c, bool at_any_rate)
{
	struct open_file *gone = NULL;
	struct vfile *vf = NULL;

	pthread_mutex_lock(&c->lock);
	if (at_any_rate || c->open_count >= c->max)
		vf = evict_one(c, &gone);
	pthread_mutex_unlock(&c->lock);
	vfile_close(vf);
	if (gone)
		dismiss(c->fs, gone);
	return vf != NULL;
}

bool file_cache_evict(struct file_cache *c)
{
	return evict_if(c, true);
}

/* Make room for another open file. */
static void make_room(struct file_cache *c)
{
	while (evict_if(c, false))
		;
}

static int open_vfile_once(struct fs *fs, struct inode *i, bool for_writing,
			   struct vfile **out)
{
	CLEANUP_FD int fd = -1;
	bool writable;
	int err;

	if (i->grant)
		return granted_open(fs, i, out);
	err = file_open_backing(fs, i, for_writing, &fd, &writable);
	if (!err && inode_is_copy(fs->inodes, i))
		err = vfile_open_unjudged(fs->vault, fd, writable, out);
	else if (!err)
		err = vfile_open(fs->vault, fd, writable, out);
	if (err == -ENOKEY)
		err = granted_why_locked(fs, fd);
	if (!err)
		(void)TAKE_FD(fd);
	return err;
}

static int open_vfile(struct fs *fs, struct inode *i, bool for_writing,
		      struct vfile **out)
{
	unsigned tries = 0;
	int err;

	make_room(fs->files);
	do {
		err = open_vfile_once(fs, i, for_writing, out);
	} while (err && fs_spare_fd(fs, err, &tries));
	return err;
}

/* Reopen for writing what could only be opened for reading before. */
static int make_writable(struct fs *fs, struct open_file *of)
{
	unsigned tries = 0;
	bool writable;
	int fd = -1, err = 0;

	pthread_mutex_lock(&of->opening);
	if (!vfile_writable(of->vf))
		do {
			err = file_open_backing(fs, of->inode, true, &fd,
						&writable);
		} while (fs_spare_fd(fs, err, &tries));
	if (fd >= 0)
		vfile_make_writable(of->vf, fd);
	pthread_mutex_unlock(&of->opening);
	return err;
}

static bool acquire_if_open(struct open_file *of)
{
	int users = atomic_load(&of->users);

	while (users >= 0)
		if (atomic_compare_exchange_weak(&of->users, &users, users + 1))
			return true;
	return false;
}

static void install(struct file_cache *c, struct open_file *of,
		    struct vfile *vf)
{
	/* a copy has the id of what it was copied from */
	bool known =
		!of->inode->grant && !inode_is_copy(c->fs->inodes, of->inode);

	vfile_owe(vf, &of->owed);
	pthread_mutex_lock(&c->lock);
	of->vf = vf;
	if (known) {
		memcpy(of->inode->file_id, vfile_id(vf), FILE_ID_LEN);
		of->inode->born_s = vfile_born_s(vf);
	}
	atomic_store(&of->recent, true);
	ring_add(c, of);
	atomic_store(&of->users, 1);
	pthread_mutex_unlock(&c->lock);
}

int file_acquire(struct fs *fs, struct open_file *of, bool for_writing,
		 struct vfile **out)
{
	int err = 0;

	if (for_writing && of->inode->grant)
		return -EROFS;
	if (!acquire_if_open(of)) {
		pthread_mutex_lock(&of->opening);
		if (!acquire_if_open(of)) {
			struct vfile *vf;

			err = open_vfile(fs, of->inode, for_writing, &vf);
			if (!err)
				install(fs->files, of, vf);
		}
		pthread_mutex_unlock(&of->opening);
		if (err)
			return err;
	}
	if (for_writing && !vfile_writable(of->vf))
		err = make_writable(fs, of);
	if (err) {
		file_release(of);
		return err;
	}
	*out = of->vf;
	return 0;
}

void file_release(struct open_file *of)
{
	if (!atomic_load_explicit(&of->recent, memory_order_relaxed))
		atomic_store(&of->recent, true);
	atomic_fetch_sub(&of->users, 1);
}

struct inode *file_inode(const struct open_file *of)
{
	return of->inode;
}

static struct open_file *open_file_new(struct inode *i)
{
	struct open_file *of = calloc(1, sizeof *of);

	if (!of)
		return NULL;
	of->inode = i;
	atomic_init(&of->users, -1);
	pthread_mutex_init(&of->opening, NULL);
	return of;
}

static struct open_file *hold(struct fs *fs, struct inode *i)
{
	struct file_cache *c = fs->files;
	struct open_file *of;

	pthread_mutex_lock(&c->lock);
	if (!i->file)
		i->file = open_file_new(i);
	of = i->file;
	if (of && of->holders++ == 0 && !of->lingers)
		inode_ref(fs->inodes, i);
	if (of)
		of->lingers = false;
	pthread_mutex_unlock(&c->lock);
	return of;
}

enum settled { SETTLED, UNSETTLED, UNSETTLED_REMOVED };

static enum settled settle(struct open_file *of)
{
	enum settled settled = SETTLED;
	struct stat st;

	if (!acquire_if_open(of))
		return SETTLED;
	vfile_settle(of->vf);
	if (vfile_in_flux(of->vf))
		settled = fstat(vfile_fd(of->vf), &st) == 0 && st.st_nlink == 0
				  ? UNSETTLED_REMOVED
				  : UNSETTLED;
	file_release(of);
	return settled;
}

/* False: it is the last one, and the file is not settled, though that has not
 * been tried. *gone: nobody finds it any more. */
static bool leave(struct file_cache *c, struct open_file *of,
		  enum settled tried, bool *gone)
{
	bool last, unsettled;

	pthread_mutex_lock(&c->lock);
	last = of->holders == 1;
	unsettled = last && of->vf && !vfile_is_settled(of->vf);
	if (!unsettled || tried != SETTLED) {
		of->holders--;
		of->lingers =
			unsettled && tried == UNSETTLED && !of->inode->parked;
		*gone = last && !of->lingers;
	}
	if (*gone) {
		of->inode->file = NULL;
		if (of->vf)
			ring_remove(c, of);
	}
	pthread_mutex_unlock(&c->lock);
	return !unsettled || tried != SETTLED;
}

/*
 * The last one to use a file settles it while it still is the only one that
 * can: from then on others open it anew. Where that fails it stays open,
 * so that the journal's thread goes on trying, and others find it as it is.
 */
static void let_go(struct fs *fs, struct open_file *of)
{
	enum settled tried = SETTLED;
	bool gone = false;

	while (!leave(fs->files, of, tried, &gone))
		tried = settle(of);
	if (gone)
		dismiss(fs, of);
}

void file_removed(struct fs *fs, struct inode *i)
{
	struct open_file *of;
	bool lingers;

	pthread_mutex_lock(&fs->files->lock);
	lingers = i->file && i->file->lingers;
	pthread_mutex_unlock(&fs->files->lock);
	of = lingers ? hold(fs, i) : NULL;
	if (of)
		let_go(fs, of);
}

int file_get(struct fs *fs, struct inode *i, bool for_writing,
	     struct vfile **out)
{
	struct open_file *of = hold(fs, i);
	int err;

	if (!of)
		return -ENOMEM;
	err = file_acquire(fs, of, for_writing, out);
	if (err)
		let_go(fs, of);
	return err;
}

void file_put(struct fs *fs, struct inode *i)
{
	struct open_file *of = i->file;

	file_release(of);
	let_go(fs, of);
}

/* A handle of the inode, not yet known to be good for anything. */
static struct open_handle *handle_new(struct fs *fs, struct inode *i,
				      bool for_writing)
{
	struct open_handle *h = calloc(1, sizeof *h);
	struct open_file *of = h ? hold(fs, i) : NULL;

	if (!of) {
		free(h);
		return NULL;
	}
	h->file = of;
	h->writes = for_writing;
	pthread_mutex_lock(&fs->files->lock);
	h->next = of->handles;
	if (h->next)
		h->next->prev = h;
	of->handles = h;
	pthread_mutex_unlock(&fs->files->lock);
	/* From now on whoever removes its last name parks the file. */
	atomic_fetch_add(&i->opens, 1);
	if (for_writing)
		atomic_fetch_add(&i->writers, 1);
	return h;
}

int file_open(struct fs *fs, struct inode *i, bool for_writing,
	      struct open_handle **out)
{
	struct open_handle *h = handle_new(fs, i, for_writing);
	struct vfile *vf;
	int err;

	if (!h)
		return -ENOMEM;
	err = file_acquire(fs, h->file, for_writing, &vf);
	if (err) {
		file_close(fs, h);
		return err;
	}
	h->told = vfile_told(vf);
	if (!i->grant)
		err = inode_check_names(fs->inodes, i, vfile_born_s(vf), NULL);
	if (err == -ETIME)
		err = -ESTALE; /* the log has said why */
	file_release(h->file);
	if (err)
		file_close(fs, h);
	else
		*out = h;
	return err;
}

int file_open_made(struct fs *fs, struct inode *i, struct vfile *vf,
		   bool for_writing, struct open_handle **out)
{
	struct open_handle *h;

	make_room(fs->files);
	h = handle_new(fs, i, for_writing);
	if (!h)
		return -ENOMEM;
	install(fs->files, h->file, vf);
	file_release(h->file);
	*out = h;
	return 0;
}

void file_close(struct fs *fs, struct open_handle *h)
{
	struct open_file *of = h->file;

	prefetch_leave(fs->prefetch, h);
	if (h->writes)
		atomic_fetch_sub(&of->inode->writers, 1);
	atomic_fetch_sub(&of->inode->opens, 1);
	pthread_mutex_lock(&fs->files->lock);
	if (h->prev)
		h->prev->next = h->next;
	else
		of->handles = h->next;
	if (h->next)
		h->next->prev = h->prev;
	pthread_mutex_unlock(&fs->files->lock);
	free(h);
	let_go(fs, of);
}

int file_pin(struct fs *fs, struct inode *i)
{
	struct vfile *vf;
	int err = file_get(fs, i, false, &vf);

	if (err)
		return err;
	pthread_mutex_lock(&fs->files->lock);
	i->file->pinned = true;
	pthread_mutex_unlock(&fs->files->lock);
	file_put(fs, i);
	return 0;
}

bool file_size_if_open(struct fs *fs, struct inode *i, uint64_t *size)
{
	bool open = false;

	if (fs->vault->shared)
		return false;
	pthread_mutex_lock(&fs->files->lock);
	if (i->file && i->file->vf) {
		*size = vfile_size(i->file->vf);
		open = true;
	}
	pthread_mutex_unlock(&fs->files->lock);
	return open;
}

bool file_birth_if_known(struct fs *fs, struct inode *i,
			 uint8_t id[static FILE_ID_LEN], uint64_t *born_s)
{
	pthread_mutex_lock(&fs->files->lock);
	memcpy(id, i->file_id, FILE_ID_LEN);
	*born_s = i->born_s;
	pthread_mutex_unlock(&fs->files->lock);
	return *born_s != 0;
}

void file_cache_free(struct file_cache *c)
{
	if (!c)
		return;
	while (c->hand) {
		struct open_file *of = c->hand;

		ring_remove(c, of);
		of->inode->file = NULL;
		open_file_free(of);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}
