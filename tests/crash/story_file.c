/* Steps on what files hold. */
#include "story_internal.h"

#include "random.h"
#include "vxattr.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct workspace *ws(void)
{
	struct workspace *w = workspace_get();

	if (!w)
		image_fail("memory", "workspace");
	return w;
}

/* Contents at the next step: the last ones, of this length. */
static struct version *next_version(struct story *s, unsigned node, size_t len)
{
	struct versions *v = &s->nodes[node].content;
	const struct version *last = versions_last(v);
	uint8_t *bytes = image_alloc(NULL, len);
	size_t kept = last->len < len ? last->len : len;

	memset(bytes, 0, len);
	if (kept)
		memcpy(bytes, last->bytes, kept);
	versions_add(v, s->step, bytes, len);
	free(bytes);
	return versions_last(v);
}

struct writing {
	struct story *s;
	unsigned node;
	struct vfile_write w;
};

static int act_write(void *arg)
{
	struct writing *w = arg;
	uint64_t bad;

	if (w->s->point)
		return served_write(w->s, w->node, w->w.data, w->w.len,
				    w->w.offset);
	return vfile_write(w->s->nodes[w->node].f, ws(), &w->w, &bad);
}

void story_write(struct story *s, unsigned node, size_t offset, size_t len)
{
	const struct version *last = versions_last(&s->nodes[node].content);
	size_t size = offset + len > last->len ? offset + len : last->len;
	struct version *v = next_version(s, node, size);
	struct writing w = {
		s,
		node,
		{.data = v->bytes + offset, .len = len, .offset = offset}};

	for (size_t i = 0; i < len; i++)
		v->bytes[offset + i] = (uint8_t)(random_next(&s->rng) | 1);
	story_step(s, "writing", act_write, &w);
}

void story_append(struct story *s, unsigned node, size_t len)
{
	story_write(s, node, versions_last(&s->nodes[node].content)->len, len);
}

/* One file's chunks, written by one thread and read by another. */
struct rewriting {
	struct vfile *f;
	const struct version *v;
	size_t *order, count;
	_Atomic size_t done;
	atomic_bool ended, stale;
	uint64_t rng;
};

/* What was written is what is read. */
static bool is_seen(struct rewriting *w, size_t chunk)
{
	struct iovec iov[WORKSPACE_CHUNKS];
	uint64_t at = chunk * CHUNK_SIZE, bad = 0;
	int count = 0;

	return vfile_read(w->f, ws(), at, CHUNK_SIZE, iov, &count, &bad) ==
		       CHUNK_SIZE &&
	       count == 1 &&
	       memcmp(iov[0].iov_base, w->v->bytes + at, CHUNK_SIZE) == 0;
}

static void *watch(void *arg)
{
	struct rewriting *w = arg;

	while (!w->ended && !w->stale) {
		size_t done = w->done;

		if (done && !is_seen(w, w->order[random_below(&w->rng, done)]))
			w->stale = true;
	}
	return NULL;
}

static int act_rewrite(void *arg)
{
	struct rewriting *w = arg;
	pthread_t reader;
	int err = 0;

	w->done = 0;
	if (pthread_create(&reader, NULL, watch, w) != 0)
		return -EAGAIN;
	for (size_t i = 0; i < w->count && !err; i++) {
		uint64_t at = w->order[i] * CHUNK_SIZE, bad;
		const struct vfile_write part = {.data = w->v->bytes + at,
						 .len = CHUNK_SIZE,
						 .offset = at};

		err = vfile_write(w->f, ws(), &part, &bad);
		w->done = i + 1;
	}
	w->ended = true;
	pthread_join(reader, NULL);
	return !err && w->stale ? -ESTALE : err;
}

void story_rewrite(struct story *s, unsigned node)
{
	size_t len = versions_last(&s->nodes[node].content)->len;
	struct version *v = next_version(s, node, len);
	struct rewriting w = {.f = s->nodes[node].f,
			      .v = v,
			      .count = len / CHUNK_SIZE,
			      .rng = random_next(&s->rng)};

	w.order = image_alloc(NULL, w.count * sizeof *w.order);
	for (size_t i = 0; i < w.count; i++) {
		size_t k = random_below(&s->rng, i + 1);

		w.order[i] = w.order[k];
		w.order[k] = i;
		memset(v->bytes + i * CHUNK_SIZE,
		       (int)(random_next(&s->rng) | 1) & 0xff, CHUNK_SIZE);
	}
	story_step(s, "rewriting", act_rewrite, &w);
	free(w.order);
}

struct sizing {
	struct story *s;
	unsigned node;
	size_t offset, len;
};

static int act_truncate(void *arg)
{
	struct sizing *z = arg;
	uint64_t bad;

	if (z->s->point)
		return served_truncate(z->s, z->node, z->len);
	return vfile_truncate(z->s->nodes[z->node].f, ws(), z->len, &bad);
}

void story_truncate(struct story *s, unsigned node, size_t len)
{
	struct sizing z = {s, node, 0, len};

	next_version(s, node, len);
	story_step(s, "truncating", act_truncate, &z);
}

static int act_punch(void *arg)
{
	struct sizing *z = arg;
	uint64_t bad;

	if (z->s->point)
		return served_punch(z->s, z->node, z->offset, z->len);
	return vfile_allocate(z->s->nodes[z->node].f, ws(),
			      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      z->offset, z->len, &bad);
}

void story_punch(struct story *s, unsigned node, size_t offset, size_t len)
{
	size_t size = versions_last(&s->nodes[node].content)->len;
	struct version *v = next_version(s, node, size);
	struct sizing z = {s, node, offset, len};

	if (offset < size)
		memset(v->bytes + offset, 0,
		       size - offset < len ? size - offset : len);
	story_step(s, "punching", act_punch, &z);
}

struct syncing {
	struct story *s;
	unsigned node;
	bool data_only;
};

static int act_sync(void *arg)
{
	struct syncing *y = arg;
	int err;

	if (y->s->point)
		return served_sync(y->s, y->node, y->data_only);
	(void)fault_met_sync();
	err = vfile_sync(y->s->nodes[y->node].f, y->data_only);
	y->s->untold |= fault_met_sync() && !err;
	return err;
}

static void sync_node(struct story *s, unsigned node, bool data_only)
{
	struct syncing y = {s, node, data_only};
	struct node *n = &s->nodes[node];

	n->synced = image_alloc(n->synced,
				(n->synced_count + 1) * sizeof *n->synced);
	n->synced[n->synced_count++] =
		(struct durable){.step = s->step,
				 .version = n->content.count - 1,
				 .attr = n->attr.count ? n->attr.count - 1 : 0};
	story_step(s, data_only ? "fdatasync" : "fsync", act_sync, &y);
}

void story_sync(struct story *s, unsigned node)
{
	sync_node(s, node, false);
}

void story_sync_data(struct story *s, unsigned node)
{
	sync_node(s, node, true);
}

static int act_shut(void *arg)
{
	struct sizing *z = arg;
	struct node *n = &z->s->nodes[z->node];

	if (z->s->point)
		return served_shut(z->s, z->node);
	vfile_close(n->f);
	n->f = NULL;
	return 0;
}

void story_shut(struct story *s, unsigned node)
{
	struct sizing z = {s, node, 0, 0};

	story_step(s, "closing", act_shut, &z);
}

struct opening {
	struct story *s;
	unsigned node, dir;
	const char *name;
};

static int act_open(void *arg)
{
	struct opening *o = arg;
	const struct node *dir = &o->s->nodes[o->dir];
	struct backing_name name;
	int fd, err;

	if (o->s->point)
		return served_open(o->s, o->node, o->dir, o->name);
	err = name_encode(o->s->vault->names, dir->id, o->name, strlen(o->name),
			  &name);
	if (err)
		return err;
	fd = openat(dir->dirfd, name.entry, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = vfile_open(o->s->vault, fd, true, &o->s->nodes[o->node].f);
	if (err)
		close(fd);
	return err;
}

void story_open(struct story *s, unsigned node, unsigned dir, const char *name)
{
	struct opening o = {s, node, dir, name};

	story_step(s, "opening", act_open, &o);
}

static int act_rekey(void *arg)
{
	struct sizing *z = arg;

	return vfile_rekey(z->s->nodes[z->node].f, ws(), "");
}

void story_rekey(struct story *s, unsigned node)
{
	struct sizing z = {s, node, 0, 0};

	story_step(s, "giving a new key", act_rekey, &z);
}

static int act_mark(void *arg)
{
	struct sizing *z = arg;
	const struct node *n = &z->s->nodes[z->node];
	const struct version *v = versions_last(&n->attr);

	if (z->s->point)
		return served_mark(z->s, z->node, v->bytes, v->len);
	return vxattr_set(z->s->vault, vfile_fd(n->f), n->id, STORY_MARK,
			  v->bytes, v->len, 0);
}

void story_mark(struct story *s, unsigned node, size_t value_len)
{
	struct sizing z = {s, node, 0, 0};
	struct versions *v = &s->nodes[node].attr;
	uint8_t *value = image_alloc(NULL, value_len);

	for (size_t i = 0; i < value_len; i++)
		value[i] = (uint8_t)(random_next(&s->rng) | 1);
	versions_add(v, s->step, value, value_len);
	free(value);
	story_step(s, "setting an xattr", act_mark, &z);
}
