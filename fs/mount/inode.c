#include "inode_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

enum { BUCKETS_MIN = 256 };

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static uint64_t identity_hash(dev_t dev, ino_t ino, uint64_t btime_ns)
{
	return mix(ino ^ mix(dev ^ btime_ns));
}

/* FNV-1a over the entry, seeded with the parent. */
static uint32_t name_hash(const struct inode *parent, const char *entry)
{
	uint64_t h = mix((uintptr_t)parent);

	for (; *entry; entry++)
		h = (h ^ (uint8_t)*entry) * UINT64_C(0x100000001b3);
	return (uint32_t)(h ^ (h >> 32));
}

static uint64_t btime_ns_of(const struct statx *stx)
{
	if (!(stx->stx_mask & STATX_BTIME))
		return 0;
	return (uint64_t)stx->stx_btime.tv_sec * UINT64_C(1000000000) +
	       stx->stx_btime.tv_nsec;
}

bool inode_is(const struct inode *i, const struct statx *stx)
{
	return i->ino == stx->stx_ino &&
	       i->dev == makedev(stx->stx_dev_major, stx->stx_dev_minor) &&
	       i->type == (stx->stx_mode & S_IFMT) &&
	       i->btime_ns == btime_ns_of(stx);
}

void inode_lock_(struct inode_table *t)
{
	pthread_mutex_lock(&t->lock);
}

static struct inode **bucket_of(struct inode_table *t, const struct inode *i)
{
	return &t->inodes[identity_hash(i->dev, i->ino, i->btime_ns) &
			  (t->inode_buckets - 1)];
}

static struct link **name_bucket(struct inode_table *t, uint32_t hash)
{
	return &t->names[hash & (t->name_buckets - 1)];
}

/* A table that cannot grow goes on with longer chains. */
static void grow_inodes(struct inode_table *t)
{
	struct inode **old = t->inodes, *i, *next, **bucket;
	size_t old_count = t->inode_buckets;
	struct inode **wider = calloc(old_count * 2, sizeof(struct inode *));

	if (!wider)
		return;
	t->inodes = wider;
	t->inode_buckets = old_count * 2;
	for (size_t n = 0; n < old_count; n++) {
		for (i = old[n]; i; i = next) {
			next = i->hash_next;
			bucket = bucket_of(t, i);
			i->hash_next = *bucket;
			*bucket = i;
		}
	}
	free(old);
}

static void grow_names(struct inode_table *t)
{
	struct link **old = t->names, *l, *next, **bucket;
	size_t old_count = t->name_buckets;
	struct link **wider = calloc(old_count * 2, sizeof(struct link *));

	if (!wider)
		return;
	t->names = wider;
	t->name_buckets = old_count * 2;
	for (size_t n = 0; n < old_count; n++) {
		for (l = old[n]; l; l = next) {
			next = l->name_next;
			bucket = name_bucket(t, l->hash);
			l->name_next = *bucket;
			*bucket = l;
		}
	}
	free(old);
}

static struct inode *add_inode(struct inode_table *t, const struct statx *stx,
			       const struct inode_grant *grant)
{
	struct inode *i = calloc(1, sizeof *i), **bucket;

	if (!i)
		return NULL;
	if (grant) {
		i->grant = malloc(sizeof *grant);
		if (!i->grant) {
			free(i);
			return NULL;
		}
		*i->grant = *grant;
	}
	i->dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	i->ino = stx->stx_ino;
	i->btime_ns = btime_ns_of(stx);
	i->type = stx->stx_mode & S_IFMT;
	i->fd = -1;
	i->attrs_changed = 1; /* nobody knows */
	if (++t->inode_count > t->inode_buckets)
		grow_inodes(t);
	bucket = bucket_of(t, i);
	i->hash_next = *bucket;
	*bucket = i;
	return i;
}

static uint64_t version_of(const struct inode_grant *grant)
{
	return grant ? grant->version : 0;
}

static struct inode *find_inode(struct inode_table *t, const struct statx *stx,
				const struct inode_grant *grant)
{
	dev_t dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	uint64_t hash = identity_hash(dev, stx->stx_ino, btime_ns_of(stx));
	struct inode *i = t->inodes[hash & (t->inode_buckets - 1)];

	while (i && (i->gone || !inode_is(i, stx) ||
		     version_of(i->grant) != version_of(grant)))
		i = i->hash_next;
	return i;
}

/* Nobody refers to it: out of the table, into the hands of the unlocker. */
static void bury_if_unused(struct inode_table *t, struct inode *i)
{
	struct inode **p = bucket_of(t, i);

	if (i->nlookup > 0 || i->refs > 0)
		return;
	while (*p != i)
		p = &(*p)->hash_next;
	*p = i->hash_next;
	t->inode_count--;
	if (i->fd >= 0) {
		inode_lru_remove_(t, i);
		t->fds_open--;
	}
	i->hash_next = NULL;
	*t->dead_tail = i;
	t->dead_tail = &i->hash_next;
}

void inode_drop_ref_(struct inode_table *t, struct inode *i)
{
	i->refs--;
	bury_if_unused(t, i);
}

struct link *inode_find_link_(struct inode_table *t, const struct inode *parent,
			      const char *entry)
{
	struct link *l = *name_bucket(t, name_hash(parent, entry));

	while (l && (l->parent != parent || strcmp(l->entry, entry) != 0))
		l = l->name_next;
	return l;
}

void inode_cut_link_(struct inode_table *t, struct link *l)
{
	struct link **p;

	if (l->parent) {
		p = name_bucket(t, l->hash);
		while (*p != l)
			p = &(*p)->name_next;
		*p = l->name_next;
		t->name_count--;
		inode_drop_ref_(t, l->parent);
	}
	*l->pprev = l->next;
	if (l->next)
		l->next->pprev = l->pprev;
	free(l);
}

struct link *inode_add_link_(struct inode_table *t, struct inode *i,
			     struct inode *parent, const char *entry)
{
	size_t size = strlen(entry) + 1;
	struct link *l = malloc(sizeof *l + size), **bucket;

	if (!l)
		return NULL;
	*l = (struct link){.next = i->links, .pprev = &i->links};
	l->inode = i;
	l->parent = parent;
	memcpy(l->entry, entry, size);
	if (l->next)
		l->next->pprev = &l->next;
	i->links = l;
	i->named++;
	if (!parent)
		return l;
	parent->refs++;
	if (++t->name_count > t->name_buckets)
		grow_names(t);
	l->hash = name_hash(parent, entry);
	bucket = name_bucket(t, l->hash);
	l->name_next = *bucket;
	*bucket = l;
	return l;
}

bool inode_set_link_(struct inode_table *t, struct inode *i,
		     struct inode *parent, const char *entry)
{
	struct link *l = inode_find_link_(t, parent, entry);

	if (l && l->inode == i)
		return true;
	if (!inode_add_link_(t, i, parent, entry))
		return false;
	if (l)
		inode_cut_link_(t, l);
	/* directories have one name: others are of the past */
	while (S_ISDIR(i->type) && i->links->next)
		inode_cut_link_(t, i->links->next);
	return true;
}

static void free_inode(struct inode_table *t, struct inode *i)
{
	struct link *l;

	if (i->fd >= 0 && i != t->root)
		close(i->fd);
	while ((l = i->links)) {
		if (!l->parent)
			unlinkat(t->vault->orphans_fd, l->entry, 0);
		i->links = l->next;
		free(l);
	}
	free(i->grant);
	free(i->removed);
	free(i);
}

void inode_unlock_(struct inode_table *t)
{
	struct inode *i, *dead;
	struct link *l, *next;

	/* the list grows meanwhile by parents that nobody else needed */
	for (i = t->dead; i; i = i->hash_next) {
		for (l = i->links; l; l = next) {
			next = l->next;
			if (l->parent)
				inode_cut_link_(t, l);
		}
	}
	dead = t->dead;
	t->dead = NULL;
	t->dead_tail = &t->dead;
	pthread_mutex_unlock(&t->lock);
	while ((i = dead)) {
		dead = i->hash_next;
		free_inode(t, i);
	}
}

static int init_root(struct inode_table *t)
{
	struct statx stx;

	if (statx(t->vault->root_fd, "", AT_EMPTY_PATH,
		  STATX_BASIC_STATS | STATX_BTIME, &stx) < 0)
		return -errno;
	t->root = add_inode(t, &stx, NULL);
	if (!t->root)
		return -ENOMEM;
	/* neither ever goes */
	t->root->refs = 1;
	t->root->fd = t->vault->root_fd;
	t->root->fd_users = 1;
	return 0;
}

int inode_table_new(struct vault *vault, size_t dir_fds,
		    struct inode_table **out)
{
	struct inode_table *t = calloc(1, sizeof *t);
	int err = -ENOMEM;

	if (!t)
		return -ENOMEM;
	t->vault = vault;
	t->fds_max = dir_fds;
	t->dead_tail = &t->dead;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->moved, NULL);
	t->inode_buckets = t->name_buckets = BUCKETS_MIN;
	t->inodes = calloc(BUCKETS_MIN, sizeof(struct inode *));
	t->names = calloc(BUCKETS_MIN, sizeof(struct link *));
	if (t->inodes && t->names)
		err = init_root(t);
	if (err) {
		inode_table_free(t);
		return err;
	}
	*out = t;
	return 0;
}

void inode_table_free(struct inode_table *t)
{
	struct inode *i;

	if (!t)
		return;
	for (size_t n = 0; t->inodes && n < t->inode_buckets; n++) {
		while ((i = t->inodes[n])) {
			t->inodes[n] = i->hash_next;
			free_inode(t, i);
		}
	}
	free(t->inodes);
	free(t->names);
	pthread_cond_destroy(&t->moved);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

struct inode *inode_of(struct inode_table *t, fuse_ino_t id)
{
	/* the kernel hands back what inode_id() made */
	return id == FUSE_ROOT_ID ? t->root : (struct inode *)(uintptr_t)id;
}

fuse_ino_t inode_id(const struct inode_table *t, const struct inode *i)
{
	return i == t->root ? FUSE_ROOT_ID : (uintptr_t)i;
}

ino_t inode_number(const struct inode_table *t, dev_t dev, ino_t ino)
{
	return dev == t->root->dev ? ino : mix(dev) ^ ino;
}

static struct inode *enter(struct inode_table *t, struct inode *parent,
			   const char *entry, const struct statx *stx,
			   const struct inode_grant *grant)
{
	struct inode *i;
	bool linked;

	inode_lock_(t);
	i = find_inode(t, stx, grant);
	if (!i)
		i = add_inode(t, stx, grant);
	if (i) {
		i->nlookup++;
		linked = i == t->root || inode_set_link_(t, i, parent, entry);
		if (!linked) {
			i->nlookup--;
			bury_if_unused(t, i);
			i = NULL;
		}
	}
	inode_unlock_(t);
	return i;
}

struct inode *inode_enter(struct inode_table *t, struct inode *parent,
			  const char *entry, const struct statx *stx)
{
	return enter(t, parent, entry, stx, NULL);
}

struct inode *inode_enter_granted(struct inode_table *t, struct inode *parent,
				  const char *entry,
				  const struct inode_grant *grant)
{
	return enter(t, parent, entry, &grant->stub, grant);
}

void inode_forget(struct inode_table *t, struct inode *i, uint64_t n)
{
	inode_lock_(t);
	i->nlookup -= n < i->nlookup ? n : i->nlookup;
	if (i->nlookup == 0)
		i->told = false;
	bury_if_unused(t, i);
	inode_unlock_(t);
}

void inode_ref(struct inode_table *t, struct inode *i)
{
	inode_lock_(t);
	i->refs++;
	inode_unlock_(t);
}

void inode_unref(struct inode_table *t, struct inode *i)
{
	inode_lock_(t);
	inode_drop_ref_(t, i);
	inode_unlock_(t);
}

int inode_collect(struct inode_table *t, bool (*wanted)(const struct inode *i),
		  struct inode ***out, size_t *count)
{
	struct inode **all;
	size_t found = 0;

	inode_lock_(t);
	all = calloc(t->inode_count + 1, sizeof(struct inode *));
	for (size_t n = 0; all && n < t->inode_buckets; n++) {
		for (struct inode *i = t->inodes[n]; i; i = i->hash_next) {
			if (wanted(i)) {
				i->refs++;
				all[found++] = i;
			}
		}
	}
	inode_unlock_(t);
	if (!all)
		return -ENOMEM;
	*out = all;
	*count = found;
	return 0;
}
