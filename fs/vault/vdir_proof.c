/* Is a directory's id the one that its names were made with? */
#include "vdir.h"

#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A directory says whose child it is. */
static int parent_of(int fd, uint8_t id[static DIRID_LEN])
{
	uint8_t ids[VDIR_IDS_LEN];
	size_t len = 0;
	int err = xio_read_file(fd, NAME_DIRID_FILE, ids, sizeof ids, &len);

	if (err || len != sizeof ids)
		return xio_is_shortage(err) ? err : -ENOENT;
	memcpy(id, ids + DIRID_LEN, DIRID_LEN);
	return 0;
}

int vdir_hint(int dirfd, const char *entry, uint8_t id[static DIRID_LEN])
{
	CLEANUP_FD int fd = -1;
	uint8_t header[HEADER_LEN], file_id[FILE_ID_LEN];
	struct stat st;
	bool locked;

	/* opening a device may do something */
	if (fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
		return -ENOENT;
	fd = openat(dirfd, entry,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return xio_is_shortage(-errno) ? -errno : -ENOENT;
	if (S_ISDIR(st.st_mode))
		return parent_of(fd, id);
	if (xio_pread(fd, header, sizeof header, 0) != 0 ||
	    header_probe(header, file_id, &locked) != 0)
		return -ENOENT;
	memcpy(id, header + 8 + FILE_ID_LEN, DIRID_LEN);
	return 0;
}

/* 1: it does; 0; or that nobody could look. */
static int opens(const struct vault *vault, int dirfd,
		 const uint8_t id[static DIRID_LEN], const char *entry)
{
	char plain[NAME_PLAIN_MAX + 1];
	int err = vdir_plain_name(vault, dirfd, id, entry, plain);

	return xio_is_shortage(err) ? err : err == 0;
}

/* The same with an id that is mentioned: by what has the name, or in stored. */
static int opens_otherwise(const struct vault *vault, int dirfd,
			   const uint8_t *stored, const char *entry)
{
	uint8_t hint[DIRID_LEN];
	int found = stored ? opens(vault, dirfd, stored, entry) : 0, err;

	if (found)
		return found;
	err = vdir_hint(dirfd, entry, hint);
	if (err)
		return err == -ENOENT ? 0 : err;
	return opens(vault, dirfd, hint, entry);
}

int vdir_prove_id(const struct vault *vault, int dirfd,
		  const uint8_t dirid[static DIRID_LEN], bool aside)
{
	CLEANUP_DIR DIR *dir = NULL;
	uint8_t ids[VDIR_IDS_LEN];
	const uint8_t *stored = vdir_read_aside(dirfd, ids) ? NULL : ids;
	const struct dirent *e;
	int otherwise = 0, found, err;

	if (!aside && stored && memcmp(stored, dirid, DIRID_LEN) == 0)
		return 0;
	err = xio_list(dirfd, &dir);
	if (err)
		return err == -EACCES ? 0 : err;
	while ((e = readdir(dir))) {
		if (name_classify(e->d_name) == NAME_KIND_INTERNAL)
			continue;
		found = opens(vault, dirfd, dirid, e->d_name);
		if (found)
			return found > 0 ? 0 : found;
		if (!otherwise)
			otherwise = opens_otherwise(vault, dirfd, stored,
						    e->d_name);
		if (otherwise < 0)
			return otherwise;
	}
	return otherwise ? -EIO : 0;
}
