/* Steps on what files hold. */
#include "story_internal.h"

#include "random.h"
#include "vxattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK_NAME "user.mark"

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

struct sizing {
	struct story *s;
	unsigned node;
	size_t offset, len;
};

static int act_truncate(void *arg)
{
	struct sizing *z = arg;
	uint64_t bad;

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

static int act_sync(void *arg)
{
	struct sizing *z = arg;

	int err;

	(void)fault_met_sync();
	err = vfile_sync(z->s->nodes[z->node].f, false);
	z->s->untold |= fault_met_sync() && !err;
	return err;
}

void story_sync(struct story *s, unsigned node)
{
	struct sizing z = {s, node, 0, 0};
	struct node *n = &s->nodes[node];

	n->synced = image_alloc(n->synced,
				(n->synced_count + 1) * sizeof *n->synced);
	n->synced[n->synced_count++] =
		(struct durable){.step = s->step,
				 .version = n->content.count - 1,
				 .attr = n->attr.count ? n->attr.count - 1 : 0};
	story_step(s, "fsync", act_sync, &z);
}

static int act_shut(void *arg)
{
	struct sizing *z = arg;
	struct node *n = &z->s->nodes[z->node];

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
	int fd, err = name_encode(o->s->vault->names, dir->id, o->name,
				  strlen(o->name), &name);

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

	return vxattr_set(z->s->vault, vfile_fd(n->f), n->id, MARK_NAME,
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
