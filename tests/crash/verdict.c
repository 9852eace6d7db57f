#include "verdict.h"

#include "bytes.h"
#include "vlink.h"
#include "vxattr.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAMES_MAX = 64, FILE_ROOM = 1 << 22, DEPTH_MAX = 8, PATH_ROOM = 1024 };

void steps_find(struct steps *st, const struct oplog *log)
{
	*st = (struct steps){0};
	for (size_t i = 0; i < log->count; i++) {
		const struct op *op = &log->ops[i];
		size_t bytes = (op->obj + 1) * sizeof *st->begin;

		if (op->kind == OP_BEGIN) {
			st->begin = image_alloc(st->begin, bytes);
			st->end = image_alloc(st->end, bytes);
			st->begin[op->obj] = i;
			st->end[op->obj] = SIZE_MAX;
			st->count = (long)op->obj + 1;
		} else if (op->kind == OP_END) {
			st->end[op->obj] = i;
		}
	}
}

void steps_fini(struct steps *st)
{
	free(st->begin);
	free(st->end);
}

bool verdict_wrong(struct verdict *v, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (!v->what[0])
		vsnprintf(v->what, sizeof v->what, format, ap);
	va_end(ap);
	return false;
}

static bool has_begun(const struct verdict *v, long step)
{
	return step < 0 ||
	       (step < v->steps->count && v->steps->begin[step] < v->plan->end);
}

static bool has_ended(const struct verdict *v, long step)
{
	return step < 0 ||
	       (step < v->steps->count && v->steps->end[step] < v->plan->end);
}

static bool is_power(const struct verdict *v)
{
	return v->plan->kind != PLAN_KILL;
}

/* Which of a row of versions may be there. */
struct allowed {
	size_t first, last;
	bool any; /* false: not even the first one */
};

/*
 * step_of(i): the step of version i. durable: what is durable before the
 * crash, if the power fails; a killed process leaves all that has ended.
 */
static struct allowed allow(const struct verdict *v, size_t count,
			    const void *list,
			    long (*step_of)(const void *list, size_t i),
			    size_t durable)
{
	struct allowed a = {.first = durable, .last = durable};

	for (size_t i = 0; i < count; i++) {
		long step = step_of(list, i);

		if (has_begun(v, step))
			a.last = i, a.any = true;
		if (has_ended(v, step) && !is_power(v))
			a.first = i;
	}
	return a;
}

static long version_step(const void *list, size_t i)
{
	return ((const struct version *)list)[i].step;
}

static long tree_step(const void *list, size_t i)
{
	return ((const struct tree *)list)[i].step;
}

/* The last fsync of a node that has ended; NULL: none. */
static const struct durable *last_sync(const struct verdict *v,
				       const struct node *n)
{
	const struct durable *found = NULL;

	for (size_t i = 0; i < n->synced_count; i++)
		if (has_ended(v, n->synced[i].step))
			found = &n->synced[i];
	return found;
}

/* What was seen of one entry. */
struct seen {
	unsigned node;
	char text[NAME_PLAIN_MAX + 1];
	char entry[NAME_BACKING_MAX + 1];
};

static long node_by_id(const struct verdict *v, enum node_kind kind,
		       const uint8_t id[FILE_ID_LEN])
{
	for (unsigned i = 0; i < v->story->node_count; i++)
		if (v->story->nodes[i].kind == kind &&
		    memcmp(v->story->nodes[i].id, id, FILE_ID_LEN) == 0)
			return i;
	return -1;
}

/*
 * Chunk by chunk: is what is there, of a file of so many bytes, from one
 * version that may be? A part of a chunk is its end, as it was then.
 */
static bool chunk_is_allowed(const struct verdict *v, const struct versions *c,
			     const struct allowed *a, size_t at,
			     const uint8_t *bytes, size_t total)
{
	size_t len = total - at < CHUNK_SIZE ? total - at : CHUNK_SIZE;
	size_t from =
		!at && verdict_is_marked(bytes, len) ? VERDICT_LIFE_LEN : 0;
	bool lacked = false, anew = false;

	for (size_t i = a->first; i <= a->last; i++) {
		if ((len == CHUNK_SIZE ? c->list[i].len >= at + len
				       : c->list[i].len == total) &&
		    memcmp(c->list[i].bytes + at + from, bytes + from,
			   len - from) == 0)
			return true;
		anew |= lacked && c->list[i].len > at;
		lacked |= c->list[i].len <= at;
	}
	/* not there at some time, and never durable since it is: zeros */
	for (size_t i = from; i < len; i++)
		if (bytes[i])
			return false;
	return is_power(v) && anew;
}

static bool check_bytes(struct verdict *v, const struct node *n,
			const char *path, const uint8_t *bytes, size_t len)
{
	const struct durable *d = last_sync(v, n);
	const struct versions *c = &n->content;
	struct allowed a =
		allow(v, c->count, c->list, version_step, d ? d->version : 0);
	size_t least = SIZE_MAX, most = 0;

	if (!a.any)
		return verdict_wrong(v, "%s: made before its time", path);
	for (size_t i = a.first; i <= a.last; i++) {
		least = c->list[i].len < least ? c->list[i].len : least;
		most = c->list[i].len > most ? c->list[i].len : most;
	}
	if (len < least || len > most)
		return verdict_wrong(v, "%s: %zu bytes, should be %zu to %zu",
				     path, len, least, most);
	for (size_t at = 0; at < len; at += CHUNK_SIZE)
		if (!chunk_is_allowed(v, c, &a, at, bytes + at, len))
			return verdict_wrong(
				v, "%s: chunk %zu is neither old nor new", path,
				at / CHUNK_SIZE);
	return true;
}

static bool read_file(struct verdict *v, struct vfile *f, const char *path,
		      uint8_t *bytes, size_t *len)
{
	static struct iovec iov[WORKSPACE_CHUNKS];
	struct workspace *ws = workspace_get();
	uint64_t bad = 0;
	ssize_t n = 1;

	*len = 0;
	while (n > 0) {
		int count = 0;

		n = vfile_read(f, ws, *len, VFILE_IO_MAX, iov, &count, &bad);
		for (int i = 0; i < count && n > 0; i++) {
			memcpy(bytes + *len, iov[i].iov_base, iov[i].iov_len);
			*len += iov[i].iov_len;
		}
	}
	if (n < 0)
		return verdict_wrong(v, "%s: reading chunk %lld: %s", path,
				     (long long)bad, strerror((int)-n));
	if (*len != vfile_size(f))
		return verdict_wrong(v, "%s: %zu bytes to read, %llu said",
				     path, *len,
				     (unsigned long long)vfile_size(f));
	return true;
}

static bool check_mark(struct verdict *v, const struct node *n,
		       const char *path, struct vfile *f)
{
	static uint8_t value[65536];
	const struct durable *d = last_sync(v, n);
	const struct versions *c = &n->attr;
	struct allowed a =
		allow(v, c->count, c->list, version_step, d ? d->attr : 0);
	ssize_t len = vxattr_get(v->vault, vfile_fd(f), n->id, "user.mark",
				 value, sizeof value);

	if (len == -ENODATA)
		len = 0;
	if (len < 0)
		return verdict_wrong(v, "%s: xattr: %s", path,
				     strerror((int)-len));
	crypto_generichash_update(&v->digest, value, (size_t)len);
	for (size_t i = a.first; i <= a.last; i++)
		if (c->list[i].len == (size_t)len &&
		    memcmp(c->list[i].bytes, value, (size_t)len) == 0)
			return true;
	return verdict_wrong(v, "%s: its xattr is neither old nor new", path);
}

int verdict_open(struct verdict *v, int dirfd, const char *entry, bool writable,
		 struct vfile **f)
{
	int fd =
		openat(dirfd, entry,
		       (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC);
	int err = fd < 0 ? -errno : vfile_open(v->vault, fd, writable, f);

	if (err && fd >= 0)
		close(fd);
	return err;
}

/*
 * An empty file with an id of its own may stand for one that was made, and
 * never fsynced, before the power failed. -1: not here.
 */
static long node_emptied(const struct verdict *v, unsigned dir,
			 const char *text, size_t len)
{
	const struct story *s = v->story;

	for (size_t i = 0; i < s->tree_count && is_power(v) && len == 0; i++) {
		const struct name *n = tree_find(&s->trees[i], dir, text);
		const struct node *node = n ? &s->nodes[n->node] : NULL;

		if (node && node->kind == NODE_FILE && !last_sync(v, node) &&
		    has_begun(v, node->content.list[0].step))
			return n->node;
	}
	return -1;
}

/* In a copy it stays the damage that it is. */
bool verdict_is_nothing(const struct verdict *v, int dirfd, const char *entry)
{
	uint8_t header[HEADER_LEN] = {0};
	int fd = openat(dirfd, entry, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : pread(fd, header, sizeof header, 0);

	if (fd >= 0)
		close(fd);
	return v->copied && is_power(v) && n >= 0 &&
	       bytes_all_zero(header, sizeof header);
}

static long check_file(struct verdict *v, unsigned dir, int dirfd,
		       const char *entry, const char *text, const char *path)
{
	static uint8_t bytes[FILE_ROOM];
	struct vfile *f = NULL;
	size_t len = 0;
	long node;
	int err = verdict_open(v, dirfd, entry, false, &f);

	if (err == -EBADMSG && verdict_is_nothing(v, dirfd, entry)) {
		node = node_emptied(v, dir, text, 0);
		if (node >= 0)
			return node;
	}
	if (err) {
		verdict_wrong(v, "%s: opening: %s", path, strerror(-err));
		return -1;
	}
	node = node_by_id(v, NODE_FILE, vfile_id(f));
	if (node < 0)
		node = node_emptied(v, dir, text, vfile_size(f));
	if (node < 0)
		verdict_wrong(v, "%s: not a file that was made", path);
	else if (read_file(v, f, path, bytes, &len))
		(void)!(check_bytes(v, &v->story->nodes[node], path, bytes,
				    len) &&
			check_mark(v, &v->story->nodes[node], path, f));
	crypto_generichash_update(&v->digest, bytes, len);
	vfile_close(f);
	return v->what[0] ? -1 : node;
}

static long check_link(struct verdict *v, int dirfd, const char *entry,
		       const char *path)
{
	static char target[VLINK_TARGET_MAX + 1];
	size_t len = 0;
	int err = vlink_read(v->vault, dirfd, entry, target, &len);

	if (err) {
		verdict_wrong(v, "%s: symbolic link: %s", path, strerror(-err));
		return -1;
	}
	crypto_generichash_update(&v->digest, (uint8_t *)target, len);
	for (unsigned i = 0; i < v->story->node_count; i++) {
		const struct node *n = &v->story->nodes[i];

		if (n->kind == NODE_LINK && n->content.list[0].len == len + 1 &&
		    memcmp(n->content.list[0].bytes, target, len) == 0)
			return i;
	}
	verdict_wrong(v, "%s: not a link that was made", path);
	return -1;
}

/* A directory on the way of the walk. */
struct visit {
	int fd;
	unsigned node;
	char path[PATH_ROOM];
	struct seen *seen;
	size_t count;
	unsigned depth;
};

static bool look_dir(struct verdict *v, struct visit *at);

static long check_dir(struct verdict *v, const struct visit *above,
		      const char *entry, const char *path)
{
	struct visit at = {.fd = -1, .depth = above->depth + 1};
	uint8_t id[DIRID_LEN];
	long node = -1;
	int err = vdir_open_path(above->fd, entry, &at.fd);

	if (!err)
		err = vdir_read_id(at.fd, id);
	if (err) {
		verdict_wrong(v, "%s: directory: %s", path, strerror(-err));
	} else {
		node = node_by_id(v, NODE_DIR, id);
		if (node < 0 || at.depth > DEPTH_MAX)
			verdict_wrong(v, "%s: not a directory that was made",
				      path);
	}
	if (!v->what[0]) {
		at.node = (unsigned)node;
		snprintf(at.path, sizeof at.path, "%s", path);
		(void)!look_dir(v, &at);
	}
	if (at.fd >= 0)
		close(at.fd);
	return v->what[0] ? -1 : node;
}

/* False: something is wrong. An entry that is to be left out is nothing. */
static bool look_entry(struct verdict *v, struct visit *at,
		       const struct dirent *e)
{
	struct seen *s;
	char path[PATH_ROOM];
	long node;
	int err;

	/* nothing of a fifo lies in the vault */
	if (strcmp(e->d_name, VERDICT_FOREIGN) == 0 || e->d_type == DT_FIFO)
		return true;
	if (at->count == NAMES_MAX)
		return verdict_wrong(v, "%s: far too many names", at->path);
	s = &at->seen[at->count];
	err = vdir_plain_name(v->vault, at->fd, v->story->nodes[at->node].id,
			      e->d_name, s->text);
	if (err == -ENOENT)
		return true;
	snprintf(path, sizeof path, "%.900s/%.60s", at->path,
		 err ? e->d_name : s->text);
	if (err)
		return verdict_wrong(v, "%s: name: %s", path, strerror(-err));
	crypto_generichash_update(&v->digest, (uint8_t *)s->text,
				  strlen(s->text));
	snprintf(s->entry, sizeof s->entry, "%s", e->d_name);
	node = e->d_type == DT_DIR   ? check_dir(v, at, e->d_name, path)
	       : e->d_type == DT_LNK ? check_link(v, at->fd, e->d_name, path)
				     : check_file(v, at->node, at->fd,
						  e->d_name, s->text, path);
	if (node < 0 || !verdict_is_ours(v, v->story->nodes[at->node].id,
					 at->fd, e->d_name, path))
		return false;
	s->node = (unsigned)node;
	at->count++;
	return true;
}

static bool same_names(const struct tree *t, const struct visit *at)
{
	size_t there = 0;

	for (size_t i = 0; i < t->count; i++)
		there += t->names[i].dir == at->node;
	if (there != at->count)
		return false;
	for (size_t i = 0; i < at->count; i++) {
		const struct name *n = tree_find(t, at->node, at->seen[i].text);

		if (!n || n->node != at->seen[i].node)
			return false;
	}
	return true;
}

static bool check_names(struct verdict *v, const struct visit *at)
{
	const struct story *s = v->story;
	const struct durable *d = last_sync(v, &s->nodes[at->node]);
	struct allowed a = allow(v, s->tree_count, s->trees, tree_step,
				 d ? d->version : 0);
	char list[300] = "";
	size_t used = 0;
	bool good = false;

	for (size_t i = 0; i < s->tree_count; i++) {
		bool same = i >= a.first && i <= a.last &&
			    same_names(&s->trees[i], at);

		good |= same;
		v->fits[i] &= same;
	}
	if (good)
		return true;
	for (size_t i = 0; i < at->count && used < sizeof list - 80; i++)
		used += (size_t)snprintf(list + used, sizeof list - used,
					 " %.40s=%u", at->seen[i].text,
					 at->seen[i].node);
	return verdict_wrong(v, "%s/: these names were never there together:%s",
			     at->path, list);
}

static int is_entry(const struct dirent *e)
{
	return strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
}

/* In the same order wherever it lies: the digest depends on it. */
static bool look_dir(struct verdict *v, struct visit *at)
{
	struct dirent **list;
	bool good = true;
	int count = scandirat(at->fd, ".", &list, is_entry, alphasort);

	if (count < 0)
		return verdict_wrong(v, "%s: cannot be listed", at->path);
	at->seen = image_alloc(NULL, NAMES_MAX * sizeof *at->seen);
	for (int i = 0; i < count; i++) {
		good = good && look_entry(v, at, list[i]);
		free(list[i]);
	}
	free(list);
	if (good)
		good = check_names(v, at);
	free(at->seen);
	return good;
}

/*
 * Records in order. One that is there, though adding it failed, is there twice
 * when it is added again.
 */
static bool check_records(struct verdict *v, struct vlog *log,
			  const struct allowed *a)
{
	const struct versions *c = &v->story->records;
	const uint8_t *details = c->list[c->count - 1].bytes;
	uint64_t count = vlog_count(log), twice = 0;
	struct vlog_record r = {0};

	for (uint64_t i = 0; i < count; i++) {
		if (vlog_read(log, i, &r))
			return verdict_wrong(v, "the log: record %llu",
					     (unsigned long long)i);
		if (i > twice && v->story->failures &&
		    r.detail == details[i - twice - 1])
			twice++;
		else if (i - twice >= a->last || r.detail != details[i - twice])
			return verdict_wrong(v,
					     "the log: record %llu is another",
					     (unsigned long long)i);
	}
	return count - twice >= a->first ||
	       verdict_wrong(v, "the log: %llu records, %zu were added",
			     (unsigned long long)count, a->first);
}

static bool check_log(struct verdict *v)
{
	const struct versions *c = &v->story->records;
	struct allowed a = {.last = 0};
	struct vlog *log = NULL;
	enum vlog_fault fault = VLOG_FAULT_NONE;
	uint64_t seq = 0;
	int err = vlog_open(v->vault, &log);

	for (size_t i = 0; i < c->count; i++) {
		/* each record is durable once it is written */
		if (has_ended(v, c->list[i].step))
			a.first = i;
		if (has_begun(v, c->list[i].step))
			a.last = i;
	}
	if (!err)
		err = vlog_verify(log, &fault, &seq);
	if (err)
		verdict_wrong(v, "the log: %s (fault %d at %llu)",
			      strerror(-err), (int)fault,
			      (unsigned long long)seq);
	else
		(void)!check_records(v, log, &a);
	vlog_close(log);
	return !v->what[0];
}

static bool check_passphrase(struct verdict *v)
{
	const struct story *s = v->story;
	bool begun = s->pass_step >= 0 && has_begun(v, s->pass_step);
	bool ended = s->pass_step >= 0 && has_ended(v, s->pass_step);
	bool opens = false;

	if (s->pass_step < 0)
		return true;
	for (int i = ended ? 1 : 0; i <= (begun ? 1 : 0) && !opens; i++) {
		struct vault_fault fault = {0};
		struct vault *vault = NULL;

		opens = vault_open(v->vault->path, s->pass[i],
				   strlen(s->pass[i]), 4, &vault, &fault) == 0;
		vault_close(vault);
	}
	return opens || verdict_wrong(v, "no passphrase that may be opens it");
}

/* Killed, a process leaves the names of one instant in all directories. */
static bool check_instant(struct verdict *v)
{
	bool any = is_power(v);

	for (size_t i = 0; i < v->story->tree_count; i++)
		any |= v->fits[i];
	return any || verdict_wrong(v, "a change of names is there by halves");
}

bool verdict_look(struct verdict *v, uint8_t digest[static 32])
{
	struct visit root = {.fd = v->vault->root_fd};
	uint8_t id[DIRID_LEN];

	v->what[0] = '\0';
	crypto_generichash_init(&v->digest, NULL, 0, 32);
	if (vdir_read_id(root.fd, id) ||
	    memcmp(id, v->story->nodes[0].id, sizeof id) != 0)
		return verdict_wrong(v, "the root's id");
	v->fits = image_alloc(NULL, v->story->tree_count);
	memset(v->fits, true, v->story->tree_count);
	(void)!(look_dir(v, &root) && check_instant(v) && check_log(v) &&
		check_passphrase(v));
	free(v->fits);
	crypto_generichash_final(&v->digest, digest, 32);
	return !v->what[0];
}
