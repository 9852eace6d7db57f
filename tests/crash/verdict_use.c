/* A vault after a crash goes on being used. */
#include "verdict.h"

#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { SETTLED_AT_ONCE = 3 * CHUNK_SIZE };

static int put_file(struct verdict *v, int dirfd, const uint8_t *id)
{
	const struct vfile_write w = {.data = (const uint8_t *)"on", .len = 2};
	const char text[] = "life goes on";
	struct backing_name name;
	struct vfile *f = NULL;
	uint64_t bad;
	int err = name_encode(v->vault->names, id, text, strlen(text), &name);

	if (!err)
		err = vfile_create(v->vault, dirfd, id, &name, 0644, &f);
	if (!err)
		err = vfile_write(f, workspace_get(), &w, &bad);
	if (!err)
		err = vfile_sync(f, false);
	vfile_close(f);
	return err ? err : unlinkat(dirfd, name.entry, 0) < 0 ? -errno : 0;
}

/* Overwrite the beginning and add to the end. */
static int change(struct vfile *f)
{
	const uint8_t data[] = "changed";
	struct vfile_write w = {.data = data, .len = sizeof data};
	uint64_t bad;
	int err = vfile_write(f, workspace_get(), &w, &bad);

	if (err)
		return err;
	w.append = true;
	return vfile_write(f, workspace_get(), &w, &bad);
}

static void mark(uint8_t *bytes, uint8_t life)
{
	memcpy(bytes, VERDICT_LIFE, VERDICT_LIFE_LEN - 1);
	bytes[VERDICT_LIFE_LEN - 1] = life;
}

/* Write again what it holds, a few chunks at a time, with that mark. */
static int rewrite(struct vfile *f, uint8_t life)
{
	static struct iovec iov[WORKSPACE_CHUNKS];
	static uint8_t bytes[SETTLED_AT_ONCE];
	struct vfile_write w = {.data = bytes};
	uint64_t bad, size = vfile_size(f);
	int err = 0;

	while (!err && w.offset < size) {
		int count = 0;
		ssize_t n = vfile_read(f, workspace_get(), w.offset,
				       sizeof bytes, iov, &count, &bad);

		if (n <= 0)
			return n ? (int)n : -EIO;
		w.len = 0;
		for (int i = 0; i < count; i++) {
			memcpy(bytes + w.len, iov[i].iov_base, iov[i].iov_len);
			w.len += iov[i].iov_len;
		}
		if (!w.offset && w.len >= VERDICT_LIFE_LEN)
			mark(bytes, life);
		err = vfile_write(f, workspace_get(), &w, &bad);
		w.offset += w.len;
	}
	return err ? err : vfile_sync(f, false);
}

bool verdict_is_marked(const uint8_t *bytes, size_t len)
{
	return len >= VERDICT_LIFE_LEN &&
	       memcmp(bytes, VERDICT_LIFE, VERDICT_LIFE_LEN - 1) == 0;
}

static int use_file(struct verdict *v, int dirfd, const char *entry)
{
	struct vfile *f = NULL;
	int err = verdict_open(v, dirfd, entry, true, &f);

	if (!err)
		err = v->life ? rewrite(f, v->life) : change(f);
	vfile_close(f);
	return err;
}

static bool use_dir(struct verdict *v, int dirfd, const char *path);

static bool use_entry(struct verdict *v, int dirfd, const struct dirent *e,
		      const char *path)
{
	int fd = -1, err;
	bool good;

	if (e->d_type == DT_REG) {
		err = use_file(v, dirfd, e->d_name);
		if (err == -EBADMSG && verdict_is_nothing(v, dirfd, e->d_name))
			return true;
		return !err ||
		       verdict_wrong(v, "%s: a file cannot be changed: %s",
				     path, strerror(-err));
	}
	if (e->d_type != DT_DIR)
		return true;
	err = vdir_open_path(dirfd, e->d_name, &fd);
	if (err)
		return verdict_wrong(v, "%s: %s", path, strerror(-err));
	good = use_dir(v, fd, path);
	close(fd);
	return good;
}

static bool use_dir(struct verdict *v, int dirfd, const char *path)
{
	CLEANUP_DIR DIR *dir = NULL;
	char plain[NAME_PLAIN_MAX + 1], below[400];
	const struct dirent *e;
	uint8_t id[DIRID_LEN];
	bool good = true;
	int err = vdir_read_id(dirfd, id);

	if (!err && !v->life)
		err = put_file(v, dirfd, id);
	if (!err && v->life && fsync(dirfd) < 0)
		err = -errno;
	if (err)
		return verdict_wrong(v, "%s: takes no file: %s", path,
				     strerror(-err));
	if (xio_list(dirfd, &dir))
		return verdict_wrong(v, "%s: cannot be listed", path);
	while (good && (e = readdir(dir))) {
		if (vdir_plain_name(v->vault, dirfd, id, e->d_name, plain))
			continue;
		snprintf(below, sizeof below, "%.300s/%.60s", path, plain);
		good = use_entry(v, dirfd, e, below);
	}
	return good;
}

bool verdict_use(struct verdict *v)
{
	return use_dir(v, v->vault->root_fd, "");
}

bool verdict_settle(struct verdict *v, uint8_t life)
{
	v->life = life;
	return use_dir(v, v->vault->root_fd, "");
}
