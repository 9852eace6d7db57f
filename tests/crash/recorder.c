#include "recorder_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAPS_MAX = 16, NAME_ROOM = 4096 };

/* A file mapped for writing: what it held when last looked at. */
struct map {
	uint8_t *at, *seen;
	size_t len, offset;
	unsigned obj;
};

struct number {
	dev_t dev;
	ino_t ino;
	unsigned obj;
};

static struct {
	pthread_mutex_t lock; /* from before a call until it is written down */
	struct oplog *log;    /* NULL: nothing is recorded */
	struct number *known;
	size_t known_count;
	struct map maps[MAPS_MAX];
	unsigned steps;
} rec = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local bool met, met_sync;

static struct {
	atomic_bool armed;
	enum fault_kind kind;
	dev_t dev;
	atomic_long left, count;
	const char *_Atomic fired;
} fault;

static struct {
	struct {
		ino_t real, shown;
	} * pairs;
	size_t count;
	const struct image *im;
	unsigned boots;
} shown;

static long clock_back_s;

/* Inode numbers. */

void shown_inos_of(const struct image *im)
{
	shown_inos_forget();
	shown.im = im;
}

void shown_ino(void *arg, unsigned obj, ino_t number)
{
	ino_t was = shown.im->objects[obj].ino;

	(void)arg;
	if (!was || was == number)
		return;
	shown.pairs = image_alloc(shown.pairs,
				  (shown.count + 1) * sizeof *shown.pairs);
	shown.pairs[shown.count].real = number;
	shown.pairs[shown.count++].shown = was;
}

void shown_inos_forget(void)
{
	free(shown.pairs);
	shown.pairs = NULL;
	shown.count = 0;
	shown.im = NULL;
}

static ino_t show(ino_t real)
{
	for (size_t i = 0; i < shown.count; i++)
		if (shown.pairs[i].real == real)
			return shown.pairs[i].shown;
	return real;
}

int __wrap_fstat64(int fd, struct stat64 *st)
{
	int ret = __real_fstat64(fd, st);

	if (ret == 0 && shown.count)
		st->st_ino = show(st->st_ino);
	return ret;
}

int __wrap_fstatat64(int fd, const char *path, struct stat64 *st, int flags)
{
	int ret = __real_fstatat64(fd, path, st, flags);

	if (ret == 0 && shown.count)
		st->st_ino = show(st->st_ino);
	return ret;
}

int __wrap_statx(int fd, const char *path, int flags, unsigned mask,
		 struct statx *stx)
{
	int ret = __real_statx(fd, path, flags, mask, stx);

	if (ret == 0 && shown.count)
		stx->stx_ino = show(stx->stx_ino);
	if (ret == 0)
		stx->stx_mnt_id += shown.boots;
	return ret;
}

void shown_boots(unsigned count)
{
	shown.boots = count;
}

time_t __wrap_time(time_t *t)
{
	time_t now = __real_time(NULL) - clock_back_s;

	if (t)
		*t = now;
	return now;
}

void shown_past(long seconds)
{
	clock_back_s = seconds;
}

struct dirent64 *__wrap_readdir64(DIR *dir)
{
	struct dirent64 *e = __real_readdir64(dir);

	if (e && shown.count)
		e->d_ino = show(e->d_ino);
	return e;
}

/* Which object is meant. */

void rec_know(const struct stat64 *st, unsigned obj)
{
	rec.known = image_alloc(rec.known,
				(rec.known_count + 1) * sizeof *rec.known);
	rec.known[rec.known_count++] =
		(struct number){st->st_dev, st->st_ino, obj};
}

/* The youngest of that number: numbers come back. */
long rec_object_of(const struct stat64 *st)
{
	for (size_t i = rec.known_count; i-- > 0;)
		if (rec.known[i].ino == st->st_ino &&
		    rec.known[i].dev == st->st_dev)
			return (long)rec.known[i].obj;
	return -1;
}

long rec_object_of_fd(int fd)
{
	struct stat64 st;

	if (fd == AT_FDCWD)
		return __real_fstatat64(fd, ".", &st, 0) < 0
			       ? -1
			       : rec_object_of(&st);
	return __real_fstat64(fd, &st) < 0 ? -1 : rec_object_of(&st);
}

long rec_object_at(int fd, const char *path, int flags)
{
	struct stat64 st;

	return __real_fstatat64(fd, path, &st, flags) < 0 ? -1
							  : rec_object_of(&st);
}

long rec_place(int fd, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char dir[NAME_ROOM];

	*name = slash ? slash + 1 : path;
	if (!slash)
		return rec_object_of_fd(fd);
	snprintf(dir, sizeof dir, "%.*s", (int)(slash - path + 1), path);
	return rec_object_at(fd, dir, 0);
}

/* Writing down. rec.lock is held. */

char *rec_text(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		image_fail("memory", "strdup");
	return copy;
}

void rec_note_bytes(long obj, size_t offset, const void *bytes, size_t len)
{
	struct op *op = oplog_add(rec.log, OP_WRITE);

	op->obj = (unsigned)obj;
	op->offset = offset;
	op->len = len;
	op->bytes = image_alloc(NULL, len);
	memcpy(op->bytes, bytes, len);
}

/* What was stored into mapped files since the last look. */
static void note_maps(void)
{
	for (struct map *m = rec.maps; m < rec.maps + MAPS_MAX; m++) {
		size_t from = 0, to = m->len;

		if (!m->at || memcmp(m->at, m->seen, m->len) == 0)
			continue;
		while (m->at[from] == m->seen[from])
			from++;
		while (m->at[to - 1] == m->seen[to - 1])
			to--;
		memcpy(m->seen + from, m->at + from, to - from);
		rec_note_bytes(m->obj, m->offset + from, m->seen + from,
			       to - from);
	}
}

bool rec_begin(void)
{
	pthread_mutex_lock(&rec.lock);
	if (rec.log)
		note_maps();
	return rec.log;
}

void rec_done(void)
{
	pthread_mutex_unlock(&rec.lock);
}

struct op *rec_note(enum op_kind kind, long obj)
{
	struct op *op = oplog_add(rec.log, kind);

	op->obj = (unsigned)obj;
	return op;
}

struct op *rec_note_entry(long dir, const char *name, long obj, bool born,
			  const struct stat64 *st)
{
	struct op *op = rec_note(OP_ENTER, obj);

	op->dir = (unsigned)dir;
	op->name = rec_text(name);
	op->born = born;
	op->mode = st->st_mode;
	op->ino = st->st_ino;
	return op;
}

struct op *rec_note_new(int fd, const char *path)
{
	const char *name;
	long dir = rec_place(fd, path, &name);
	struct stat64 st;

	if (dir < 0 || __real_fstatat64(fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return NULL;
	rec_know(&st, rec.log->objects);
	return rec_note_entry(dir, name, (long)rec.log->objects++, true, &st);
}

/* Failing. */

const char *fault_word(enum fault_kind kind)
{
	static const char *const words[] = {"ENOSPC", "EDQUOT", "EIO", "EMFILE",
					    "short"};

	return words[kind];
}

static bool is_concerned(int fd, const char *path)
{
	struct stat64 st;
	int ret = fd != AT_FDCWD ? __real_fstat64(fd, &st)
				 : __real_fstatat64(fd, path, &st, 0);

	return ret == 0 && st.st_dev == fault.dev;
}

bool fault_fails(const char *call, unsigned kinds, int fd, const char *path)
{
	static const int numbers[] = {ENOSPC, EDQUOT, EIO, EMFILE, 0};
	int saved = errno;

	if (!fault.armed || !(kinds >> fault.kind & 1U) ||
	    !is_concerned(fd, path)) {
		errno = saved;
		return false;
	}
	fault.count++;
	if (fault.left < 0 || fault.left-- > 0) {
		errno = saved;
		return false;
	}
	fault.fired = call;
	met = true;
	met_sync |= strstr(call, "sync") != NULL;
	errno = numbers[fault.kind];
	return true;
}

void fault_arm(const char *path, enum fault_kind kind, long n)
{
	struct stat64 st;

	if (__real_fstatat64(AT_FDCWD, path, &st, 0) < 0)
		image_fail("looking at", path);
	fault.dev = st.st_dev;
	fault.kind = kind;
	fault.count = 0;
	fault.fired = NULL;
	fault.left = n;
	fault.armed = true;
}

long fault_disarm(void)
{
	fault.armed = false;
	return fault.count;
}

const char *fault_fired(void)
{
	return fault.fired;
}

bool fault_met(void)
{
	bool was = met;

	met = false;
	return was;
}

bool fault_met_sync(void)
{
	bool was = met_sync;

	met_sync = false;
	return was;
}

bool fault_is_short(void)
{
	return fault.kind == FAULT_SHORT;
}

/* Beginning and end. */

/* What is in the directory already, by the numbers of the scan. */
static void know_all(const struct image *im, dev_t dev)
{
	free(rec.known);
	rec.known = NULL;
	rec.known_count = 0;
	for (unsigned i = 0; i < im->count; i++) {
		struct stat64 st = {.st_dev = dev,
				    .st_ino = im->objects[i].ino};

		rec_know(&st, i);
	}
}

void recorder_begin(const char *path, struct oplog *log)
{
	struct stat64 st;

	if (__real_fstatat64(AT_FDCWD, path, &st, 0) < 0)
		image_fail("looking at", path);
	*log = (struct oplog){.base = image_scan(path)};
	log->objects = (unsigned)log->base->count;
	pthread_mutex_lock(&rec.lock);
	know_all(log->base, st.st_dev);
	for (unsigned i = 0; i < log->base->count; i++)
		log->base->objects[i].ino = show(log->base->objects[i].ino);
	rec.steps = 0;
	rec.log = log;
	pthread_mutex_unlock(&rec.lock);
}

void recorder_end(const char *path)
{
	struct image *seen, *now;
	char *where = NULL;

	rec_begin();
	seen = image_copy(rec.log->base);
	for (size_t i = 0; i < rec.log->count; i++)
		op_apply(seen, &rec.log->ops[i]);
	rec.log = NULL;
	rec_done();
	now = image_scan(path);
	if (!image_same(seen, now, &where)) {
		fprintf(stderr, "crash: a call went unseen: %s differs\n",
			where);
		abort();
	}
	image_free(seen);
	image_free(now);
}

void recorder_step_begins(void)
{
	if (rec_begin())
		rec_note(OP_BEGIN, (long)rec.steps);
	rec_done();
}

void recorder_step_ends(void)
{
	if (rec_begin())
		rec_note(OP_END, (long)rec.steps++);
	rec_done();
}

/* Mapped files. */

void rec_note_map(long obj, void *at, size_t len, size_t offset)
{
	for (struct map *m = rec.maps; m < rec.maps + MAPS_MAX; m++) {
		if (m->at)
			continue;
		*m = (struct map){.at = at,
				  .len = len,
				  .offset = offset,
				  .obj = (unsigned)obj};
		m->seen = image_alloc(NULL, len);
		memcpy(m->seen, at, len);
		return;
	}
	errno = ENFILE;
	image_fail("mapped files", "too many");
}

void rec_note_unmap(void *at)
{
	for (struct map *m = rec.maps; m < rec.maps + MAPS_MAX; m++)
		if (m->at == at) {
			free(m->seen);
			*m = (struct map){0};
		}
}
