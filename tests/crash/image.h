/*
 * A small file system in memory: the backing directory as it was at some
 * instant, or as a crash may have left it. Objects are numbered; number 0 is
 * the root. Everything here aborts where memory or the file system fails:
 * nothing can be concluded then.
 */
#ifndef FROND_CRASH_IMAGE_H
#define FROND_CRASH_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct image_entry {
	char *name;
	unsigned obj;
};

struct image_xattr {
	char *name;
	uint8_t *value;
	size_t len;
};

struct image_object {
	mode_t mode;	/* with the type; 0: there is no such object */
	ino_t ino;	/* what the workload saw */
	uint8_t *bytes; /* of a file; the text of a symbolic link */
	size_t len, room;
	struct image_entry *entries;
	size_t entry_count;
	struct image_xattr *xattrs;
	size_t xattr_count;
};

struct image {
	struct image_object *objects;
	size_t count;
};

/* Say what failed, and end. */
_Noreturn void image_fail(const char *what, const char *name);
void *image_alloc(void *old, size_t size);

struct image *image_new(void);
void image_free(struct image *im);
struct image *image_copy(const struct image *im);

/* The object of this number, made room for. */
struct image_object *image_at(struct image *im, unsigned obj);

/* The length of a file; what is added is zeros. */
void image_resize(struct image_object *o, size_t len);
void image_write(struct image_object *o, size_t offset, const void *bytes,
		 size_t len);

/* The object of that name, or -1. */
long image_find(const struct image_object *dir, const char *name);
/* Give a name to an object, whatever had it before. */
void image_enter(struct image_object *dir, const char *name, unsigned obj);
void image_leave(struct image_object *dir, const char *name);
/* value NULL removes it. */
void image_set_xattr(struct image_object *o, const char *name,
		     const void *value, size_t len);

/* The directory at path as it is on disk. */
struct image *image_scan(const char *path);

/*
 * Make the directory at path, which must not exist, hold this.
 * tell(arg, obj, st): what each object is like there.
 */
void image_store(const struct image *im, const char *path,
		 void (*tell)(void *arg, unsigned obj, const struct stat *st),
		 void *arg);

/*
 * Do both show the same tree, from the root? Numbers may differ, times and
 * xattrs do not count. Where not: which path, in *where, to be freed.
 */
bool image_same(const struct image *a, const struct image *b, char **where);

/* Copies of the files in the directory at path become a directory of their own,
 * under the same names. */
void image_copy_files(const char *path, const char *to);

/* Remove a directory and all that is in it. */
void image_remove_tree(const char *path);

#endif
