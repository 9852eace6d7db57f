#include "image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PATH_ROOM = 4096, TEXT_ROOM = 4096, XATTR_ROOM = 65536 };

_Noreturn void image_fail(const char *what, const char *name)
{
	fprintf(stderr, "crash: %s: %s: %s\n", what, name, strerror(errno));
	abort();
}

void *image_alloc(void *old, size_t size)
{
	void *p = realloc(old, size ? size : 1);

	if (!p)
		image_fail("memory", "realloc");
	return p;
}

static char *copy_text(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		image_fail("memory", "strdup");
	return copy;
}

static void object_fini(struct image_object *o)
{
	for (size_t i = 0; i < o->entry_count; i++)
		free(o->entries[i].name);
	for (size_t i = 0; i < o->xattr_count; i++) {
		free(o->xattrs[i].name);
		free(o->xattrs[i].value);
	}
	free(o->entries);
	free(o->xattrs);
	free(o->bytes);
}

struct image *image_new(void)
{
	struct image *im = image_alloc(NULL, sizeof *im);

	*im = (struct image){0};
	image_at(im, 0)->mode = S_IFDIR | 0700;
	return im;
}

void image_free(struct image *im)
{
	if (!im)
		return;
	for (size_t i = 0; i < im->count; i++)
		object_fini(&im->objects[i]);
	free(im->objects);
	free(im);
}

struct image_object *image_at(struct image *im, unsigned obj)
{
	if (obj >= im->count) {
		im->objects = image_alloc(im->objects,
					  (obj + 1) * sizeof *im->objects);
		memset(im->objects + im->count, 0,
		       (obj + 1 - im->count) * sizeof *im->objects);
		im->count = obj + 1;
	}
	return &im->objects[obj];
}

static void copy_object(struct image_object *to, const struct image_object *o)
{
	to->mode = o->mode;
	to->ino = o->ino;
	if (o->len)
		image_write(to, 0, o->bytes, o->len);
	for (size_t i = 0; i < o->entry_count; i++)
		image_enter(to, o->entries[i].name, o->entries[i].obj);
	for (size_t i = 0; i < o->xattr_count; i++)
		image_set_xattr(to, o->xattrs[i].name, o->xattrs[i].value,
				o->xattrs[i].len);
}

struct image *image_copy(const struct image *im)
{
	struct image *copy = image_new();

	for (unsigned i = 0; i < im->count; i++)
		copy_object(image_at(copy, i), &im->objects[i]);
	return copy;
}

void image_resize(struct image_object *o, size_t len)
{
	if (len > o->room) {
		o->room = len + len / 2 + 64;
		o->bytes = image_alloc(o->bytes, o->room);
	}
	if (len > o->len)
		memset(o->bytes + o->len, 0, len - o->len);
	o->len = len;
}

void image_write(struct image_object *o, size_t offset, const void *bytes,
		 size_t len)
{
	if (len == 0)
		return;
	if (offset + len > o->len)
		image_resize(o, offset + len);
	memcpy(o->bytes + offset, bytes, len);
}

static struct image_entry *entry_of(const struct image_object *dir,
				    const char *name)
{
	for (size_t i = 0; i < dir->entry_count; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

long image_find(const struct image_object *dir, const char *name)
{
	const struct image_entry *e = entry_of(dir, name);

	return e ? (long)e->obj : -1;
}

void image_enter(struct image_object *dir, const char *name, unsigned obj)
{
	struct image_entry *e = entry_of(dir, name);

	if (!e) {
		dir->entries = image_alloc(dir->entries,
					   (dir->entry_count + 1) * sizeof *e);
		e = &dir->entries[dir->entry_count++];
		e->name = copy_text(name);
	}
	e->obj = obj;
}

void image_leave(struct image_object *dir, const char *name)
{
	struct image_entry *e = entry_of(dir, name);

	if (!e)
		return;
	free(e->name);
	*e = dir->entries[--dir->entry_count];
}

void image_set_xattr(struct image_object *o, const char *name,
		     const void *value, size_t len)
{
	struct image_xattr *x = NULL;

	for (size_t i = 0; i < o->xattr_count; i++)
		if (strcmp(o->xattrs[i].name, name) == 0)
			x = &o->xattrs[i];
	if (!value) {
		if (x) {
			free(x->name);
			free(x->value);
			*x = o->xattrs[--o->xattr_count];
		}
		return;
	}
	if (!x) {
		o->xattrs = image_alloc(o->xattrs,
					(o->xattr_count + 1) * sizeof *x);
		x = &o->xattrs[o->xattr_count++];
		*x = (struct image_xattr){.name = copy_text(name)};
	}
	x->value = image_alloc(x->value, len);
	memcpy(x->value, value, len);
	x->len = len;
}

static void scan_xattrs(struct image_object *o, const char *path)
{
	char names[TEXT_ROOM];
	uint8_t *value = image_alloc(NULL, XATTR_ROOM);
	ssize_t n = llistxattr(path, names, sizeof names);

	for (const char *p = names; n > 0 && p < names + n;
	     p += strlen(p) + 1) {
		ssize_t len = lgetxattr(path, p, value, XATTR_ROOM);

		if (len >= 0 && strncmp(p, "user.", 5) == 0)
			image_set_xattr(o, p, value, (size_t)len);
	}
	free(value);
}

static void scan_bytes(struct image_object *o, const char *path, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	image_resize(o, len);
	if (fd >= 0)
		n = pread(fd, o->bytes, len, 0);
	if (n != (ssize_t)len)
		image_fail("reading", path);
	close(fd);
}

static unsigned scan(struct image *im, const char *path);

static void scan_dir(struct image *im, unsigned self, const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *e;

	if (!dir)
		image_fail("listing", path);
	while ((e = readdir(dir))) {
		char below[PATH_ROOM];
		unsigned obj;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(below, sizeof below, "%s/%s", path, e->d_name);
		obj = scan(im, below);
		image_enter(image_at(im, self), e->d_name, obj);
	}
	closedir(dir);
}

/* The number of the object at path, which may have been met before. */
static unsigned scan(struct image *im, const char *path)
{
	unsigned self = (unsigned)im->count;
	struct image_object *o;
	struct stat st;

	if (lstat(path, &st) < 0)
		image_fail("looking at", path);
	for (unsigned i = 0; i < im->count; i++)
		if (im->objects[i].ino == st.st_ino)
			return i;
	if (im->count == 1 && im->objects[0].ino == 0)
		self = 0;
	o = image_at(im, self);
	o->mode = st.st_mode;
	o->ino = st.st_ino;
	if (!S_ISLNK(st.st_mode))
		scan_xattrs(o, path);
	if (S_ISREG(st.st_mode)) {
		scan_bytes(o, path, (size_t)st.st_size);
	} else if (S_ISLNK(st.st_mode)) {
		image_resize(o, (size_t)st.st_size);
		if (readlink(path, (char *)o->bytes, o->len) < 0)
			image_fail("reading", path);
	} else if (S_ISDIR(st.st_mode)) {
		scan_dir(im, self, path);
	}
	return self;
}

struct image *image_scan(const char *path)
{
	struct image *im = image_new();

	scan(im, path);
	return im;
}

/* What image_store() has to remember of each object. */
struct storing {
	const struct image *im;
	char **first; /* a path it has already */
	void (*tell)(void *arg, unsigned obj, const struct stat *st);
	void *arg;
};

static void store_file(const struct image_object *o, const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		image_fail("making", path);
	if (o->len && write(fd, o->bytes, o->len) != (ssize_t)o->len)
		image_fail("writing", path);
	close(fd);
}

static void store(struct storing *s, unsigned obj, const char *path);

static void store_dir(struct storing *s, const struct image_object *o,
		      const char *path)
{
	if (mkdir(path, 0700) < 0)
		image_fail("making", path);
	for (size_t i = 0; i < o->entry_count; i++) {
		char below[PATH_ROOM];

		snprintf(below, sizeof below, "%s/%s", path,
			 o->entries[i].name);
		store(s, o->entries[i].obj, below);
	}
}

static void store_link(const struct image_object *o, const char *path)
{
	char text[TEXT_ROOM];

	snprintf(text, sizeof text, "%.*s", (int)o->len, o->bytes);
	if (symlink(text, path) < 0)
		image_fail("linking", path);
}

static void store_fifo(const char *path)
{
	if (mkfifo(path, 0600) < 0)
		image_fail("making", path);
}

static void store(struct storing *s, unsigned obj, const char *path)
{
	const struct image_object *o = &s->im->objects[obj];
	struct stat st;

	if (s->first[obj] && !S_ISDIR(o->mode)) {
		if (link(s->first[obj], path) < 0)
			image_fail("linking", path);
		return;
	}
	s->first[obj] = copy_text(path);
	if (S_ISDIR(o->mode))
		store_dir(s, o, path);
	else if (S_ISLNK(o->mode))
		store_link(o, path);
	else if (S_ISFIFO(o->mode))
		store_fifo(path);
	else
		store_file(o, path);
	for (size_t i = 0; i < o->xattr_count; i++)
		if (lsetxattr(path, o->xattrs[i].name, o->xattrs[i].value,
			      o->xattrs[i].len, 0) < 0)
			image_fail("an xattr of", path);
	if (!S_ISLNK(o->mode) && chmod(path, o->mode & 07777) < 0)
		image_fail("the mode of", path);
	if (s->tell && lstat(path, &st) == 0)
		s->tell(s->arg, obj, &st);
}

void image_store(const struct image *im, const char *path,
		 void (*tell)(void *arg, unsigned obj, const struct stat *st),
		 void *arg)
{
	struct storing s = {.im = im, .tell = tell, .arg = arg};

	s.first = image_alloc(NULL, im->count * sizeof *s.first);
	memset(s.first, 0, im->count * sizeof *s.first);
	store(&s, 0, path);
	for (size_t i = 0; i < im->count; i++)
		free(s.first[i]);
	free(s.first);
}

void image_copy_files(const char *path, const char *to)
{
	struct image *im = image_scan(path), *copies = image_new();
	const struct image_object *dir = &im->objects[0];

	for (size_t i = 0; i < dir->entry_count; i++) {
		const struct image_entry *e = &dir->entries[i];
		unsigned obj = (unsigned)copies->count;

		if (!S_ISREG(im->objects[e->obj].mode) || e->name[0] == '.')
			continue;
		copy_object(image_at(copies, obj), &im->objects[e->obj]);
		image_enter(image_at(copies, 0), e->name, obj);
	}
	image_store(copies, to, NULL, NULL);
	image_free(im);
	image_free(copies);
}

static bool same_object(const struct image *a, unsigned x,
			const struct image *b, unsigned y, const char *path,
			char **where)
{
	const struct image_object *o = &a->objects[x], *p = &b->objects[y];
	bool same = (o->mode & S_IFMT) == (p->mode & S_IFMT) &&
		    o->entry_count == p->entry_count;

	if (same && !S_ISDIR(o->mode))
		same = o->len == p->len &&
		       (o->len == 0 || memcmp(o->bytes, p->bytes, o->len) == 0);
	if (same && !S_ISLNK(o->mode))
		same = (o->mode & 07777) == (p->mode & 07777);
	for (size_t i = 0; i < o->entry_count && same; i++) {
		char below[PATH_ROOM];
		long other = image_find(p, o->entries[i].name);

		snprintf(below, sizeof below, "%s/%s", path,
			 o->entries[i].name);
		if (other < 0) {
			*where = copy_text(below);
			return false;
		}
		if (!same_object(a, o->entries[i].obj, b, (unsigned)other,
				 below, where))
			return false;
	}
	if (!same)
		*where = copy_text(path);
	return same;
}

bool image_same(const struct image *a, const struct image *b, char **where)
{
	return same_object(a, 0, b, 0, "", where);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void image_remove_tree(const char *path)
{
	if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS) < 0 &&
	    errno != ENOENT)
		image_fail("removing", path);
}
