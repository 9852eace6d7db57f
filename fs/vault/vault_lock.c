#include "vault_lock.h"

#include "clock.h"
#include "journal_internal.h"
#include "own_file.h"
#include "rekey.h"
#include "vault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

/*
 * READER_BYTE and SHARER_BYTE tell those apart that do not have it alone: who
 * reads may keep what was read, and must not while others write.
 */
enum { MOUNT_BYTE, INI_BYTE, READER_BYTE, SHARER_BYTE, POLL_INTERVAL_MS = 20 };

static int open_lock(int meta_fd, int flags, int *out)
{
	CLEANUP_FD int fd =
		openat(meta_fd, VAULT_LOCK_FILE,
		       flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (flags & O_CREAT)
		own_file(meta_fd, fd);
	*out = TAKE_FD(fd);
	return 0;
}

static struct flock lock_byte(int type, int byte)
{
	return (struct flock){.l_type = (short)type,
			      .l_whence = SEEK_SET,
			      .l_start = byte,
			      .l_len = 1};
}

static int open_to_share(int meta_fd, int *fd)
{
	int err = open_lock(meta_fd, O_RDWR | O_CREAT, fd);

	if (err == -EACCES || err == -EROFS || err == -EPERM)
		err = open_lock(meta_fd, O_RDONLY, fd);
	return err;
}

/* Both sides take their own first and look then: never do both go on. */
static int join(int fd, bool shared)
{
	struct flock own =
		lock_byte(F_RDLCK, shared ? SHARER_BYTE : READER_BYTE);
	struct flock other =
		lock_byte(F_WRLCK, shared ? READER_BYTE : SHARER_BYTE);

	if (fcntl(fd, F_OFD_SETLK, &own) < 0 ||
	    fcntl(fd, F_OFD_GETLK, &other) < 0)
		return -errno;
	return other.l_type == F_UNLCK ? 0 : -EBUSY;
}

static int lock_in(struct vault *vault, int meta_fd, bool shared,
		   bool read_only)
{
	CLEANUP_FD int fd = -1;
	bool exclusive = !shared && !read_only;
	struct flock lock =
		lock_byte(exclusive ? F_WRLCK : F_RDLCK, MOUNT_BYTE);
	int err = exclusive ? open_lock(meta_fd, O_RDWR | O_CREAT, &fd)
			    : open_to_share(meta_fd, &fd);

	if (err == -ENOENT && read_only) {
		vault->shared = shared;
		return 0;
	}
	if (err)
		return err;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	err = exclusive ? 0 : join(fd, shared);
	if (err)
		return err;
	if (vault->lock_fd >= 0)
		close(vault->lock_fd);
	vault->lock_fd = TAKE_FD(fd);
	vault->shared = shared;
	vault->exclusive = exclusive;
	return 0;
}

int vault_lock(struct vault *vault, bool shared, bool read_only)
{
	return lock_in(vault, vault->meta_fd, shared, read_only);
}

int vault_lock_alone_in(struct vault *vault, int meta_fd)
{
	return lock_in(vault, meta_fd, false, false);
}

int vault_lock_share(struct vault *vault)
{
	struct flock lock = lock_byte(F_RDLCK, MOUNT_BYTE);
	int err = join(vault->lock_fd, true);

	if (err)
		return err;
	if (fcntl(vault->lock_fd, F_OFD_SETLK, &lock) < 0)
		return -errno;
	vault->shared = true;
	vault->exclusive = false;
	return 0;
}

void vault_unlock(struct vault *vault)
{
	cleanup_fd_(&vault->lock_fd);
	vault->lock_fd = -1;
	vault->exclusive = false;
}

static int lock_ini(int meta_fd, int how, int *out)
{
	CLEANUP_FD int fd = -1;
	struct flock lock = lock_byte(F_WRLCK, INI_BYTE);
	int err = open_lock(meta_fd, O_RDWR | O_CREAT, &fd);

	if (err)
		return err;
	while (fcntl(fd, how, &lock) < 0)
		if (errno != EINTR)
			return errno == EAGAIN || errno == EACCES ? -EBUSY
								  : -errno;
	*out = TAKE_FD(fd);
	return 0;
}

int vault_lock_ini(int meta_fd, int *out)
{
	return lock_ini(meta_fd, F_OFD_SETLKW, out);
}

int vault_try_lock_ini(int meta_fd, int *out)
{
	return lock_ini(meta_fd, F_OFD_SETLK, out);
}

/* 1: it is; or an error. In this order, or one that ends goes unseen. */
static int is_busy(int meta, int fd, bool until_durable)
{
	struct flock lock = lock_byte(F_WRLCK, MOUNT_BYTE);

	if (until_durable &&
	    faccessat(meta, REKEY_JOURNAL_DIR "/" JOURNAL_ENDED_FILE, F_OK,
		      AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type != F_UNLCK;
}

static int wait_for_lock(const char *path, bool until_durable, int timeout_ms)
{
	const struct timespec pause = {.tv_nsec = POLL_INTERVAL_MS * 1000000L};
	CLEANUP_FD int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FD int meta = -1;
	CLEANUP_FD int fd = -1;
	int64_t end = clock_now_ms() + timeout_ms;
	int err;

	if (root < 0)
		return -errno;
	meta = openat(root, NAME_VAULT_DIR,
		      O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (meta < 0)
		return errno == ENOENT ? -ENOMEDIUM : -errno;
	err = open_lock(meta, O_RDONLY, &fd);
	if (err)
		return err == -ENOENT ? 0 : err;
	for (;;) {
		err = is_busy(meta, fd, until_durable);
		if (err <= 0)
			return err;
		if (clock_now_ms() >= end)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
}

int vault_wait_unlocked(const char *path, int timeout_ms)
{
	return wait_for_lock(path, false, timeout_ms);
}

int vault_wait_at_rest(const char *path, int timeout_ms)
{
	return wait_for_lock(path, true, timeout_ms);
}
