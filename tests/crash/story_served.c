/*
 * The same steps asked of the kernel, where fs/mount serves the vault, in this
 * process: what is called by the names of recorder_calls.h is not recorded, and
 * does not fail. A step that is done again may have been done although it said
 * that it failed.
 */
#include "story_internal.h"

#include "recorder_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

static int result(const struct story *s, int ret, int done_already)
{
	if (ret >= 0 || (s->again && errno == done_already))
		return 0;
	return -errno;
}

static int at(const struct story *s, unsigned node)
{
	return s->nodes[node].at;
}

void served_look(struct story *s, unsigned node, unsigned dir, const char *name)
{
	struct node *n = &s->nodes[node];
	struct backing_name b;
	uint8_t header[HEADER_LEN];
	bool locked;
	int fd;

	if (n->kind == NODE_DIR) {
		n->at = __real_openat64(at(s, dir), name,
					O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (n->at < 0)
			story_broken(s, "looking at a directory", -errno);
		return;
	}
	if (name_encode(s->vault->names, s->nodes[dir].id, name, strlen(name),
			&b))
		story_broken(s, "a name", -EIO);
	fd = openat(s->nodes[dir].dirfd, b.entry, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, header, sizeof header, 0) != sizeof header ||
	    header_probe(header, n->id, &locked))
		story_broken(s, "a new file's header", -EIO);
	close(fd);
}

int served_create(struct story *s, unsigned node, unsigned dir,
		  const char *name)
{
	int flags = O_RDWR | O_CREAT | O_CLOEXEC | (s->again ? 0 : O_EXCL);
	int fd = __real_openat64(at(s, dir), name, flags, 0644);

	s->nodes[node].at = fd;
	return fd < 0 ? -errno : 0;
}

int served_open(struct story *s, unsigned node, unsigned dir, const char *name)
{
	int fd = __real_openat64(at(s, dir), name, O_RDWR | O_CLOEXEC);

	s->nodes[node].at = fd;
	return fd < 0 ? -errno : 0;
}

int served_shut(struct story *s, unsigned node)
{
	int fd = at(s, node);

	s->nodes[node].at = -1;
	return fd >= 0 && close(fd) < 0 ? -errno : 0;
}

int served_mkdir(struct story *s, unsigned dir, const char *name)
{
	return result(s, __real_mkdirat(at(s, dir), name, 0755), EEXIST);
}

int served_symlink(struct story *s, unsigned dir, const char *name,
		   const char *target)
{
	return result(s, __real_symlinkat(target, at(s, dir), name), EEXIST);
}

int served_link(struct story *s, unsigned from_dir, const char *from,
		unsigned dir, const char *name)
{
	return result(s,
		      __real_linkat(at(s, from_dir), from, at(s, dir), name, 0),
		      EEXIST);
}

int served_rename(struct story *s, unsigned from_dir, const char *from,
		  unsigned dir, const char *name, unsigned flags)
{
	return result(s,
		      __real_renameat2(at(s, from_dir), from, at(s, dir), name,
				       flags),
		      ENOENT);
}

int served_unlink(struct story *s, unsigned dir, const char *name, int flags)
{
	return result(s, __real_unlinkat(at(s, dir), name, flags), ENOENT);
}

int served_sync_dir(struct story *s, unsigned dir)
{
	CLEANUP_FD int fd = __real_openat64(at(s, dir), ".",
					    O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || __real_fsync(fd) < 0 ? -errno : 0;
}

int served_write(struct story *s, unsigned node, const uint8_t *data,
		 size_t len, size_t offset)
{
	while (len > 0) {
		ssize_t n =
			__real_pwrite64(at(s, node), data, len, (off_t)offset);

		if (n < 0)
			return -errno;
		data += n;
		offset += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Whole and right, or not at all. */
int served_read(struct story *s, unsigned node)
{
	const struct version *v = versions_last(&s->nodes[node].content);
	uint8_t *bytes = image_alloc(NULL, v->len + 1);
	size_t len = 0;
	ssize_t n = 1;
	int err = 0;

	while (n > 0) {
		n = __real_pread64(at(s, node), bytes + len, v->len + 1 - len,
				   (off_t)len);
		err = n < 0 ? -errno : 0;
		len += n > 0 ? (size_t)n : 0;
	}
	if (!err && (len != v->len || memcmp(bytes, v->bytes, len) != 0))
		story_broken(s, "what is read was never written", -EIO);
	free(bytes);
	return err;
}

int served_truncate(struct story *s, unsigned node, size_t len)
{
	return result(s, __real_ftruncate64(at(s, node), (off_t)len), 0);
}

int served_punch(struct story *s, unsigned node, size_t offset, size_t len)
{
	return result(
		s,
		__real_fallocate64(at(s, node),
				   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   (off_t)offset, (off_t)len),
		0);
}

int served_sync(struct story *s, unsigned node, bool data_only)
{
	int fd = at(s, node);

	return result(s, data_only ? __real_fdatasync(fd) : __real_fsync(fd),
		      0);
}

int served_mark(struct story *s, unsigned node, const uint8_t *value,
		size_t len)
{
	return result(s, fsetxattr(at(s, node), STORY_MARK, value, len, 0), 0);
}

/* Directories that were there before it was served. */
void served_enter(struct story *s)
{
	const struct tree *t = &s->trees[s->tree_count - 1];
	bool more = true;

	s->nodes[0].at =
		__real_open64(s->point, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->nodes[0].at < 0)
		story_broken(s, "looking at the mount", -errno);
	while (more) {
		more = false;
		for (size_t i = 0; i < t->count; i++) {
			const struct name *n = &t->names[i];

			if (s->nodes[n->node].kind != NODE_DIR ||
			    at(s, n->node) >= 0 || at(s, n->dir) < 0)
				continue;
			served_look(s, n->node, n->dir, n->text);
			more = true;
		}
	}
}
