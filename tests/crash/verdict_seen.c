/* Nothing that a crash leaves may look as if somebody had put it back. */
#include "verdict.h"

#include "memory.h"
#include "vlink.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* When a file or link was born; 0: nothing tells. */
static uint64_t born(const struct verdict *v, int dirfd, const char *entry,
		     mode_t mode)
{
	char target[VLINK_TARGET_MAX + 1];
	uint8_t header[HEADER_LEN] = {0};
	uint64_t born_s = 0;
	size_t len;
	int fd;

	if (S_ISLNK(mode))
		return vlink_read_born(v->vault, dirfd, entry, target, &len,
				       &born_s)
			       ? 0
			       : born_s;
	fd = openat(dirfd, entry, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0 && pread(fd, header, sizeof header, 0) == sizeof header)
		born_s = header_sealed_s(header);
	if (fd >= 0)
		close(fd);
	return born_s;
}

static bool directory_id(int dirfd, const char *entry, uint8_t id[DIRID_LEN])
{
	int fd = -1, err = vdir_open_path(dirfd, entry, &fd);

	if (!err)
		err = vdir_read_id(fd, id);
	if (fd >= 0)
		close(fd);
	return !err;
}

bool verdict_is_ours(struct verdict *v, const uint8_t *parent, int dirfd,
		     const char *entry, const char *path)
{
	const struct memory_place place = {.parent = parent, .entry = entry};
	uint8_t id[DIRID_LEN];
	uint64_t born_s = 0;
	struct stat st;
	bool is_dir;

	if (fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return verdict_wrong(v, "%s: %s", path, strerror(errno));
	is_dir = S_ISDIR(st.st_mode);
	if (!is_dir)
		born_s = born(v, dirfd, entry, st.st_mode);
	if (is_dir ? !directory_id(dirfd, entry, id) : !born_s)
		return true;
	return !memory_place_is_old(v->vault, &place, born_s,
				    is_dir ? id : NULL) ||
	       verdict_wrong(v, "%s: is said to have been put back", path);
}

/* Damage is another matter, and was looked at before. */
static bool is_read(struct verdict *v, int dirfd, const char *entry,
		    const char *path)
{
	static struct iovec iov[WORKSPACE_CHUNKS];
	struct vfile *f = NULL;
	uint64_t at = 0, bad = 0;
	int err = verdict_open(v, dirfd, entry, false, &f), count = 0;
	ssize_t n = err ? err : 1;

	while (n > 0) {
		n = vfile_read(f, workspace_get(), at, VFILE_IO_MAX, iov,
			       &count, &bad);
		at += n > 0 ? (uint64_t)n : 0;
	}
	vfile_close(f);
	return n != -ETIME ||
	       verdict_wrong(v, "%s: is called older than it is", path);
}

static bool read_dir(struct verdict *v, int dirfd, const char *above);

static bool read_entry(struct verdict *v, int dirfd, const uint8_t *id,
		       const struct dirent *e, const char *above)
{
	char plain[NAME_PLAIN_MAX + 1], path[400];
	int fd = -1;
	bool good;

	if (strcmp(e->d_name, VERDICT_FOREIGN) == 0 || e->d_type == DT_FIFO ||
	    vdir_plain_name(v->vault, dirfd, id, e->d_name, plain))
		return true;
	snprintf(path, sizeof path, "%.300s/%.60s", above, plain);
	if (!verdict_is_ours(v, id, dirfd, e->d_name, path))
		return false;
	if (e->d_type == DT_REG)
		return is_read(v, dirfd, e->d_name, path);
	if (e->d_type != DT_DIR || vdir_open_path(dirfd, e->d_name, &fd))
		return true;
	good = read_dir(v, fd, path);
	close(fd);
	return good;
}

static bool read_dir(struct verdict *v, int dirfd, const char *above)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	uint8_t id[DIRID_LEN];
	bool good = true;

	if (vdir_read_id(dirfd, id) || xio_list(dirfd, &dir))
		return verdict_wrong(v, "%s: cannot be listed", above);
	while (good && (e = readdir(dir)))
		good = read_entry(v, dirfd, id, e, above);
	return good;
}

bool verdict_is_none_older(struct verdict *v)
{
	return read_dir(v, v->vault->root_fd, "");
}
