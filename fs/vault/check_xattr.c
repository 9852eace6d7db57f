/* Extended attributes: every one stored must be one that can be read. */
#include "check_internal.h"
#include "vdir.h"
#include "vxattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum { LIST_MAX = 65536, PATH_LEN = 32 };

static bool is_ours(const char *stored)
{
	return strncmp(stored, NAME_XATTR_PREFIX, strlen(NAME_XATTR_PREFIX)) ==
	       0;
}

/* The attributes as they are stored; n as listxattr(2). */
static ssize_t list_stored(int fd, char *list, size_t size)
{
	char path[PATH_LEN];
	ssize_t n = flistxattr(fd, list, size);

	if (n >= 0 || errno != EBADF)
		return n;
	/* O_PATH */
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return listxattr(path, list, size);
}

/* Is one of the sound ones stored under this name? */
static bool is_sound(struct check *c, int fd, const uint8_t *owner,
		     const char *stored, const char *plain, ssize_t n)
{
	char again[NAME_XATTR_MAX + 1];

	for (const char *p = plain; p < plain + n; p += strlen(p) + 1)
		if (name_xattr_encode(c->vault->names, p, again) == 0 &&
		    strcmp(again, stored) == 0)
			return vxattr_get(c->vault, fd, owner, p, NULL, 0) >= 0;
	return false;
}

static bool any_of_ours(const char *stored, ssize_t n)
{
	for (const char *p = stored; p < stored + n; p += strlen(p) + 1)
		if (is_ours(p))
			return true;
	return false;
}

static void report(struct check *c, struct check_dir *dir, const char *entry,
		   const char *plain, char *stored)
{
	const struct trouble t = {.fault = CHECK_XATTR,
				  .dir = dir,
				  .entry = (char *)entry,
				  .plain = (char *)plain,
				  .detail = stored};

	check_trouble(c, &t);
}

void check_xattrs(struct check *c, struct check_dir *dir, const char *entry,
		  const char *plain, int fd, const uint8_t *owner)
{
	CLEANUP_FREE char *names = NULL;
	char small[512], *stored = small;
	CLEANUP_FREE char *large = NULL;
	ssize_t n = list_stored(fd, small, sizeof small), sound;

	if (n < 0 && errno == ERANGE) {
		stored = large = malloc(LIST_MAX);
		n = large ? list_stored(fd, large, LIST_MAX) : 0;
	}
	/* owner NULL: to whom they belong is not known */
	if (n <= 0 || !owner || !any_of_ours(stored, n))
		return;
	names = malloc(LIST_MAX);
	if (!names) {
		check_fail(c, -ENOMEM);
		return;
	}
	sound = vxattr_list(c->vault, fd, owner, names, LIST_MAX);
	if (sound < 0)
		return;
	for (char *p = stored; p < stored + n; p += strlen(p) + 1)
		if (is_ours(p) && !is_sound(c, fd, owner, p, names, sound))
			report(c, dir, entry, plain, p);
}

/* Whose they are: the file's id, the directory's, or nobody's. */
static bool read_owner(int fd, const struct stat *st,
		       uint8_t owner[static FILE_ID_LEN])
{
	uint8_t header[HEADER_LEN];
	bool locked;

	memset(owner, 0, FILE_ID_LEN);
	if (S_ISDIR(st->st_mode))
		return vdir_read_id(fd, owner) == 0;
	if (S_ISREG(st->st_mode))
		return pread(fd, header, sizeof header, 0) == HEADER_LEN &&
		       header_probe(header, owner, &locked) == 0;
	return true;
}

bool check_xattr_is_bad(struct check *c, const struct trouble *t)
{
	CLEANUP_FREE char *names = malloc(LIST_MAX);
	CLEANUP_FD int fd =
		openat(t->dir->fd, t->entry, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	uint8_t owner[FILE_ID_LEN];
	char path[PATH_LEN];
	struct stat st;
	ssize_t n;

	if (!names || fd < 0 || fstat(fd, &st) < 0)
		return false;
	if (S_ISREG(st.st_mode)) {
		int readable =
			openat(t->dir->fd, t->entry,
			       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

		if (readable < 0)
			return false;
		close(fd);
		fd = readable;
	}
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (!read_owner(fd, &st, owner) ||
	    getxattr(path, t->detail, NULL, 0) < 0)
		return false;
	n = vxattr_list(c->vault, fd, owner, names, LIST_MAX);
	return n < 0 || !is_sound(c, fd, owner, t->detail, names, n);
}
