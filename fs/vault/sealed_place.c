#include "sealed.h"

#include "vfile_internal.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static int place_aside(int dirfd, const char *temp,
		       const uint8_t header[static HEADER_LEN], uint64_t size,
		       mode_t mode, const struct timespec *mtime)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, *mtime};
	CLEANUP_FD int fd = openat(dirfd, temp,
				   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	int err;

	if (fd < 0)
		return -errno;
	err = xio_pwrite(fd, header, HEADER_LEN, 0);
	if (err)
		return err;
	/* Durable before it has a name: else a crash leaves a file that is
	 * nothing, where one was promised. */
	if (ftruncate(fd, (off_t)chunk_backing_len(size)) < 0 ||
	    futimens(fd, times) < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

int sealed_place(int dirfd, const struct backing_name *name,
		 const uint8_t file_id[static FILE_ID_LEN],
		 const uint8_t dirid[static DIRID_LEN], uint64_t size,
		 mode_t mode, const struct timespec *mtime)
{
	uint8_t header[HEADER_LEN];
	char temp[64];
	int err;

	if (size > CHUNK_MAX_PLAIN_LEN)
		return -EFBIG;
	header_build_locked(file_id, dirid, header);
	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	err = place_aside(dirfd, temp, header, size, mode & 0777, mtime);
	if (!err)
		err = vfile_link_in_(dirfd, temp, name);
	if (err)
		unlinkat(dirfd, temp, 0);
	return err;
}

int sealed_probe(int fd, uint8_t file_id[static FILE_ID_LEN])
{
	uint8_t header[HEADER_LEN], id[FILE_ID_LEN];
	bool locked = false;
	int err = xio_pread(fd, header, sizeof header, 0);

	if (err)
		return err == -ENODATA ? -EBADMSG : err;
	err = header_probe(header, id, &locked);
	if (err || !locked)
		return -EBADMSG;
	memcpy(file_id, id, sizeof id);
	return 0;
}
