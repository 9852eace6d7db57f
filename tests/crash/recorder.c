#include "recorder_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { MAPS_MAX = 16, NAME_ROOM = 4096, PLACES_MAX = 512 };

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
	char closed[256];
	pthread_mutex_t places_lock;
	const void *places[PLACES_MAX]; /* that have asked for memory */
	size_t place_count;
	bool by_place, for_good;
} fault = {.places_lock = PTHREAD_MUTEX_INITIALIZER};

/* What a file looks like that is a copy of another. */
struct shown_pair {
	ino_t real, shown;
	bool was_there, unchanged; /* long ago; since then... */
	struct timespec ctime;	   /* ...until this is another */
	unsigned obj;
};

static struct {
	struct shown_pair *pairs;
	size_t count;
	const struct image *im, *long_ago;
	bool lazy;
	unsigned boots;
} shown;

enum { LONG_AGO_S = 1000000 };
static _Atomic long clock_back_s;

/* Inode numbers. */

void shown_inos_of(const struct image *im, const struct image *long_ago,
		   bool lazy)
{
	shown_inos_forget();
	shown.im = im;
	shown.long_ago = long_ago;
	shown.lazy = lazy;
}

static const struct image_object *as_it_was(ino_t ino)
{
	const struct image *im = shown.long_ago;

	for (size_t i = 0; im && i < im->count; i++)
		if (im->objects[i].ino == ino)
			return &im->objects[i];
	return NULL;
}

static bool is_unchanged(const struct image_object *was,
			 const struct image_object *is)
{
	if (was->len != is->len || was->mode != is->mode)
		return false;
	return shown.lazy || was->len == 0 ||
	       memcmp(was->bytes, is->bytes, was->len) == 0;
}

void shown_ino(void *arg, unsigned obj, const struct stat *st)
{
	const struct image_object *is = &shown.im->objects[obj],
				  *was = as_it_was(is->ino);
	struct shown_pair *p;

	(void)arg;
	shown.pairs = image_alloc(shown.pairs,
				  (shown.count + 1) * sizeof *shown.pairs);
	p = &shown.pairs[shown.count++];
	*p = (struct shown_pair){.real = st->st_ino,
				 .shown = is->ino ? is->ino : st->st_ino,
				 .ctime = st->st_ctim,
				 .was_there = was,
				 .unchanged = was && is_unchanged(was, is),
				 .obj = obj};
}

void shown_inos_forget(void)
{
	free(shown.pairs);
	shown.pairs = NULL;
	shown.count = 0;
	shown.im = shown.long_ago = NULL;
}

static const struct shown_pair *pair_of(ino_t real)
{
	for (size_t i = 0; i < shown.count; i++)
		if (shown.pairs[i].real == real)
			return &shown.pairs[i];
	return NULL;
}

static ino_t show(ino_t real)
{
	const struct shown_pair *p = pair_of(real);

	return p ? p->shown : real;
}

static void show_stat(struct stat64 *st)
{
	const struct shown_pair *p = pair_of(st->st_ino);

	if (!p)
		return;
	st->st_ino = p->shown;
	if (p->unchanged && st->st_ctim.tv_sec == p->ctime.tv_sec &&
	    st->st_ctim.tv_nsec == p->ctime.tv_nsec)
		st->st_ctim.tv_sec -= LONG_AGO_S;
}

int __wrap_fstat64(int fd, struct stat64 *st)
{
	int ret;

	if (fault_fails("fstat", CAN_LOOK, fd, "."))
		return -1;
	ret = __real_fstat64(fd, st);
	if (ret == 0 && shown.count)
		show_stat(st);
	hold_point();
	return ret;
}

int __wrap_fstatat64(int fd, const char *path, struct stat64 *st, int flags)
{
	int ret;

	if (fault_fails("fstatat", CAN_LOOK, fd, path))
		return -1;
	ret = __real_fstatat64(fd, path, st, flags);
	if (ret == 0 && shown.count)
		show_stat(st);
	return ret;
}

int __wrap_statx(int fd, const char *path, int flags, unsigned mask,
		 struct statx *stx)
{
	const struct shown_pair *p;
	int ret;

	if (fault_fails("statx", CAN_LOOK, fd, path))
		return -1;
	ret = __real_statx(fd, path, flags, mask, stx);
	if (ret != 0)
		return ret;
	stx->stx_mnt_id += shown.boots;
	p = pair_of(stx->stx_ino);
	if (!p)
		return ret;
	stx->stx_ino = p->shown;
	if (p->was_there)
		stx->stx_btime.tv_sec -= LONG_AGO_S;
	if (p->unchanged && stx->stx_ctime.tv_sec == p->ctime.tv_sec &&
	    stx->stx_ctime.tv_nsec == p->ctime.tv_nsec)
		stx->stx_ctime.tv_sec -= LONG_AGO_S;
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
	struct dirent64 *e;

	if (fault_fails("readdir", CAN_LOOK, dirfd(dir), "."))
		return NULL;
	e = __real_readdir64(dir);
	if (e && shown.count)
		e->d_ino = show(e->d_ino);
	return e;
}

/* Which object is meant. */

size_t rec_position(void)
{
	size_t count;

	pthread_mutex_lock(&rec.lock);
	count = rec.log ? rec.log->count : 0;
	pthread_mutex_unlock(&rec.lock);
	return count;
}

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
	static const char *const words[] = {"ENOSPC", "EDQUOT", "EIO",
					    "EMFILE", "short",	"ENOMEM",
					    "EACCES", "blind"};

	return words[kind];
}

/* What is served elsewhere may have nobody who answers now, and is not asked.
 */
static bool is_concerned(int fd, const char *path)
{
	int flags = AT_STATX_DONT_SYNC | (fd == AT_FDCWD ? 0 : AT_EMPTY_PATH);
	struct statx stx;

	return __real_statx(fd, fd == AT_FDCWD ? path : "", flags, STATX_TYPE,
			    &stx) == 0 &&
	       makedev(stx.stx_dev_major, stx.stx_dev_minor) == fault.dev;
}

/* It could not be opened before. */
static bool is_closed(const char *path)
{
	bool closed = fault.closed[0] && strcmp(path, fault.closed) == 0;

	if (closed)
		errno = EACCES;
	return closed;
}

/* One more call that could fail. Does it? */
static bool is_its_turn(const char *call)
{
	static const int numbers[] = {ENOSPC, EDQUOT, EIO,    EMFILE,
				      0,      ENOMEM, EACCES, EIO};

	fault.count++;
	/* several threads may come at once: to one of them it happens */
	if (fault.for_good ? !fault.fired && fault.left-- > 0
			   : fault.left < 0 || fault.left-- != 0)
		return false;
	fault.fired = call;
	met = true;
	met_sync |= strstr(call, "sync") != NULL;
	errno = numbers[fault.kind];
	return true;
}

/* Has nobody there asked since the fault was armed? Who asks after it has
 * happened still can be the next. */
static bool is_new_place(const void *place)
{
	bool known = fault.by_place && fault.left < 0;

	pthread_mutex_lock(&fault.places_lock);
	for (size_t i = 0; i < fault.place_count; i++)
		known |= fault.places[i] == place;
	if (!known && fault.place_count < PLACES_MAX)
		fault.places[fault.place_count++] = place;
	pthread_mutex_unlock(&fault.places_lock);
	return !known;
}

bool fault_fails_at(const void *place, const char *call, unsigned kinds, int fd,
		    const char *path)
{
	int saved = errno;

	if (!fault.armed || !(kinds >> fault.kind & 1U) ||
	    !is_concerned(fd, path) ||
	    (fault.by_place && !is_new_place(place))) {
		errno = saved;
		return false;
	}
	if (!is_its_turn(call)) {
		errno = saved;
		return is_closed(path);
	}
	if (fault.kind == FAULT_ACCESS && path)
		snprintf(fault.closed, sizeof fault.closed, "%s", path);
	return true;
}

bool fault_no_memory(const char *call, const void *place)
{
	int saved = errno;

	if (fault.armed && fault.kind == FAULT_NO_MEMORY &&
	    is_new_place(place) && is_its_turn(call))
		return true;
	errno = saved;
	return false;
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
	fault.closed[0] = '\0';
	fault.place_count = 0;
	fault.by_place = fault.for_good = false;
	fault.left = n;
	fault.armed = true;
}

void fault_arm_places(const char *path, enum fault_kind kind, long n)
{
	fault_arm(path, kind, n);
	fault.by_place = true;
}

void fault_next_place(void)
{
	fault.fired = NULL;
	fault.left = 0;
	fault.armed = true;
}

void fault_for_good(void)
{
	fault.for_good = true;
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
	rec_note_seen(path);
}

void recorder_go_on(const char *path, struct oplog *log)
{
	struct stat64 st;

	if (__real_fstatat64(AT_FDCWD, path, &st, 0) < 0)
		image_fail("looking at", path);
	pthread_mutex_lock(&rec.lock);
	free(rec.known);
	rec.known = NULL;
	rec.known_count = 0;
	for (size_t i = 0; i < shown.count; i++) {
		struct stat64 known = {.st_dev = st.st_dev,
				       .st_ino = shown.pairs[i].real};

		rec_know(&known, shown.pairs[i].obj);
	}
	rec.log = log;
	pthread_mutex_unlock(&rec.lock);
}

size_t recorder_count(void)
{
	size_t count;

	rec_begin();
	count = rec.log->count;
	rec_done();
	return count;
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
