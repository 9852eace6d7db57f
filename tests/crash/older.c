#include "older.h"

#include "chunk.h"
#include "memory.h"
#include "random.h"
#include "states.h"
#include "verdict.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PATH_ROOM = 1024, FOUND_MAX = 256 };

enum older_kind { OLDER_CHUNK, OLDER_FILE, OLDER_ENTRY, OLDER_KINDS };

/* Something with a name in the backing directory. */
struct found {
	unsigned dir, obj;
	char path[PATH_ROOM]; /* from the vault's root; with its name */
	size_t name_at;	      /* within path */
};

struct finds {
	struct found list[FOUND_MAX];
	size_t count;
};

struct attempt {
	const struct stage *stage;
	const struct recording *r;
	enum older_kind kind;
	struct image *now, *before;
	struct finds there, gone;
	uint64_t rng;
	struct found what;
	uint64_t chunk;
	char path[96];
};

static const char *name_of(const struct found *f)
{
	return f->path + f->name_at;
}

static bool is_entry(const char *name)
{
	enum name_kind kind = name_classify(name);

	return kind == NAME_KIND_ENTRY || kind == NAME_KIND_LONG;
}

/* What is called something in im. */
static void list(const struct image *im, unsigned dir, const char *path,
		 struct finds *f)
{
	const struct image_object *o = &im->objects[dir];

	for (size_t i = 0; i < o->entry_count && f->count < FOUND_MAX; i++) {
		const struct image_entry *e = &o->entries[i];
		struct found *found = &f->list[f->count];

		if (!is_entry(e->name))
			continue;
		*found = (struct found){.dir = dir, .obj = e->obj};
		snprintf(found->path, sizeof found->path, "%.700s/%.255s", path,
			 e->name);
		found->name_at =
			(size_t)(strrchr(found->path, '/') + 1 - found->path);
		f->count++;
		if (S_ISDIR(im->objects[e->obj].mode))
			list(im, e->obj, found->path, f);
	}
}

static const struct image_object *object(const struct image *im, unsigned obj)
{
	return obj < im->count ? &im->objects[obj] : NULL;
}

static bool is_file(const struct image_object *o)
{
	return o && S_ISREG(o->mode) && o->len > HEADER_LEN;
}

static uint64_t last_of(const struct image_object *o)
{
	uint64_t size = 0;

	return chunk_plain_len(o->len, &size) ? 0 : chunk_last_index(size);
}

/* When a chunk was sealed; 0: it is a hole, or not there. */
static uint64_t sealed_s(const struct image_object *o, uint64_t index)
{
	size_t at = (size_t)chunk_offset(index);

	return at + CHUNK_TOKEN_LEN <= o->len ||
			       (index == last_of(o) && at + 9 <= o->len)
		       ? fernet_timestamp(o->bytes + at)
		       : 0;
}

/* What is remembered of a chunk, at the least. */
static uint64_t claimed_s(const struct image_object *now, uint64_t index)
{
	uint64_t last = last_of(now);

	return sealed_s(now, index < last ? index : last);
}

static bool is_older(const struct image_object *was,
		     const struct image_object *now, uint64_t index)
{
	uint64_t then_s = sealed_s(was, index);

	return then_s > 0 && then_s < claimed_s(now, index);
}

/* A whole chunk of both; false: none is older. */
static bool choose_chunk(struct attempt *a, const struct image_object *was,
			 const struct image_object *now)
{
	uint64_t count =
		last_of(was) < last_of(now) ? last_of(was) : last_of(now);
	uint64_t from = count ? random_below(&a->rng, count) : 0;

	for (uint64_t i = 0; i < count; i++) {
		a->chunk = (from + i) % count;
		if (sealed_s(now, a->chunk) > 0 && is_older(was, now, a->chunk))
			return true;
	}
	return false;
}

static bool any_is_older(const struct image_object *was,
			 const struct image_object *now)
{
	for (uint64_t i = 0; i <= last_of(was); i++)
		if (is_older(was, now, i))
			return true;
	return false;
}

/* What has gone since, and was there from the very beginning, long ago. */
static void find_gone(struct attempt *a)
{
	struct finds was = {.count = 0};

	list(a->r->log.base, 0, "", &was);
	for (size_t i = 0; i < was.count; i++) {
		const struct found *f = &was.list[i];
		const struct image_object *dir = object(a->now, f->dir);
		bool listed = f->dir == 0;

		for (size_t k = 0; k < a->there.count; k++)
			listed |= a->there.list[k].obj == f->dir;
		if (listed && image_find(dir, name_of(f)) < 0 &&
		    !S_ISDIR(a->r->log.base->objects[f->obj].mode))
			a->gone.list[a->gone.count++] = *f;
	}
}

static void copy_object(struct image *to, unsigned obj,
			const struct image *from)
{
	const struct image_object *o = &from->objects[obj];
	struct image_object *copy = image_at(to, obj);

	copy->mode = o->mode;
	image_resize(copy, 0);
	image_write(copy, 0, o->bytes, o->len);
}

/* With what lies beside it, which says where a link leads. */
static void put_entry_back(struct attempt *a)
{
	const struct image *was = a->r->log.base;
	const struct image_object *dir = &was->objects[a->what.dir];

	for (size_t i = 0; i < dir->entry_count; i++) {
		const struct image_entry *e = &dir->entries[i];

		if (strcmp(e->name, name_of(&a->what)) != 0 &&
		    (is_entry(e->name) || e->name[0] != '@'))
			continue;
		copy_object(a->now, e->obj, was);
		image_enter(image_at(a->now, a->what.dir), e->name, e->obj);
	}
}

/* Put something back; false: there is nothing older. */
static bool put_back(struct attempt *a)
{
	const struct finds *from =
		a->kind == OLDER_ENTRY ? &a->gone : &a->there;
	const struct image_object *was, *now;
	size_t at = chunk_offset(0);

	if (from->count == 0)
		return false;
	a->what = from->list[random_below(&a->rng, from->count)];
	if (a->kind == OLDER_ENTRY) {
		put_entry_back(a);
		return true;
	}
	was = object(a->before, a->what.obj);
	now = object(a->now, a->what.obj);
	if (!is_file(was) || !is_file(now))
		return false;
	if (a->kind == OLDER_FILE) {
		if (!any_is_older(was, now))
			return false;
		copy_object(a->now, a->what.obj, a->before);
		return true;
	}
	if (!choose_chunk(a, was, now))
		return false;
	at = chunk_offset(a->chunk);
	image_write(image_at(a->now, a->what.obj), at, was->bytes + at,
		    CHUNK_TOKEN_LEN);
	return true;
}

/* Is the file all that it was? */
static int read_all(struct vault *v, int dirfd, const char *entry)
{
	static struct iovec iov[WORKSPACE_CHUNKS];
	struct verdict verdict = {.vault = v};
	struct vfile *f = NULL;
	uint64_t at = 0, bad;
	ssize_t n = 1;
	int err = verdict_open(&verdict, dirfd, entry, false, &f);

	while (!err && n > 0) {
		int count = 0;

		n = vfile_read(f, workspace_get(), at, VFILE_IO_MAX, iov,
			       &count, &bad);
		at += n > 0 ? (uint64_t)n : 0;
	}
	vfile_close(f);
	return err ? err : (int)n;
}

/* True: it does not pass for what should be there. */
static bool is_noticed(struct attempt *a, struct vault *v)
{
	char dir[PATH_ROOM + 128];
	struct verdict verdict = {.vault = v};
	uint8_t id[DIRID_LEN];
	bool noticed = false;
	int fd;

	snprintf(dir, sizeof dir, "%s%.*s", a->path, (int)a->what.name_at,
		 a->what.path);
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || vdir_read_id(fd, id))
		image_fail("opening", dir);
	if (a->kind == OLDER_ENTRY)
		noticed = !verdict_is_ours(&verdict, id, fd, name_of(&a->what),
					   a->what.path);
	else
		noticed = read_all(v, fd, name_of(&a->what)) < 0;
	close(fd);
	return noticed;
}

static bool look(struct attempt *a)
{
	struct vault v;
	bool noticed;
	int err;

	image_remove_tree(a->path);
	image_store(a->now, a->path, NULL, NULL);
	seen_store(&a->r->log, a->r->log.count, a->path);
	stage_open(a->stage, a->path, &v);
	err = story_mount(&v);
	noticed = !err && is_noticed(a, &v);
	if (!err)
		err = story_unmount(&v);
	stage_close(&v);
	if (err) {
		errno = -err;
		image_fail("mounting", a->path);
	}
	return noticed;
}

/* 1: it was noticed; 0: it was not; -1: nothing is older. */
static int attempt(struct attempt *a)
{
	const struct oplog *log = &a->r->log;
	const struct plan end = {.kind = PLAN_KILL, .end = log->count};
	const struct plan then = {.kind = PLAN_KILL,
				  .end = random_below(&a->rng, log->count)};
	int result = -1;

	a->now = state_build(log, &end, NULL);
	a->before = state_build(log, &then, NULL);
	a->there.count = a->gone.count = 0;
	list(a->now, 0, "", &a->there);
	find_gone(a);
	if (put_back(a))
		result = look(a);
	if (result == 0)
		printf("VIOLATION %s, seed %llu: %s of %s as it was before "
		       "call %zu of %zu is not noticed (chunk %llu)\n",
		       a->r->plot->name, (unsigned long long)a->r->seed,
		       a->kind == OLDER_CHUNK  ? "a chunk"
		       : a->kind == OLDER_FILE ? "the content"
					       : "the entry",
		       a->what.path, then.end, log->count,
		       (unsigned long long)a->chunk);
	image_free(a->now);
	image_free(a->before);
	return result;
}

size_t older_run(const struct stage *stage, const struct story_plot *plot,
		 uint64_t seed, size_t *count)
{
	size_t tries = *count, missed = 0,
	       kinds = stage->served ? OLDER_KINDS : OLDER_ENTRY;
	static struct attempt a;
	struct recording r;

	stage_record(stage, plot, seed, &r);
	a = (struct attempt){.stage = stage, .r = &r, .rng = seed};
	stage_path(stage, "older", a.path);
	*count = 0;
	for (size_t i = 0; i < tries; i++) {
		int result;

		a.kind = (enum older_kind)(i % kinds);
		result = attempt(&a);
		*count += result >= 0;
		missed += result == 0;
	}
	image_remove_tree(a.path);
	seen_forget(a.path);
	recording_fini(&r);
	return missed;
}
