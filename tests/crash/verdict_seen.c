/* Nothing that a crash leaves may look as if somebody had put it back. */
#include "verdict.h"

#include "memory.h"
#include "vlink.h"

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
