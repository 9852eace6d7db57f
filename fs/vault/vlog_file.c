/* The log's file: opened, locked, and followed where somebody replaces it. */
#include "vlog_internal.h"

#include "log.h"
#include "own_file.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Nothing can be made here, or not be written. */
static bool is_no_place(int err)
{
	return err == EACCES || err == EROFS || err == EPERM;
}

static int open_file(struct vault *vault, int *out)
{
	int fd = openat(vault->meta_fd, LOG_FILE,
			O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 && errno != EEXIST && !is_no_place(errno))
		return -errno;
	if (fd < 0)
		fd = openat(vault->meta_fd, LOG_FILE,
			    O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0)
		own_file(vault->meta_fd, fd);
	if (fd < 0 && is_no_place(errno))
		fd = openat(vault->meta_fd, LOG_FILE,
			    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return -errno;
	*out = fd;
	return 0;
}

int vlog_open(struct vault *vault, struct vlog **out)
{
	uint8_t raw[FERNET_KEY_LEN];
	struct vlog *log = calloc(1, sizeof *log);
	int err;

	if (!log)
		return -ENOMEM;
	log->vault = vault;
	log->fd = -1;
	pthread_mutex_init(&log->lock, NULL);
	log->key = secret_alloc(sizeof *log->key);
	own_file_at(vault->meta_fd, HEAD_FILE);
	err = log->key ? open_file(vault, &log->fd) : -ENOMEM;
	if (err) {
		vlog_close(log);
		return err;
	}
	kdf_subkey(vault->keys->master, KDF_LOG, raw, sizeof raw);
	fernet_key_init(log->key, raw);
	sodium_memzero(raw, sizeof raw);
	*out = log;
	return 0;
}

void vlog_close(struct vlog *log)
{
	if (!log)
		return;
	if (log->fd >= 0)
		close(log->fd);
	secret_free(log->key);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

/* It was taken away, as a synchronising service may do: what is still open
 * goes back, for it will be gone with this process. */
static int put_back(struct vlog *log, size_t len)
{
	CLEANUP_FREE uint8_t *bytes = malloc(len + 1);
	int err = bytes ? xio_pread(log->fd, bytes, len, 0) : -ENOMEM;

	if (!err)
		err = own_file_replace(log->vault->meta_fd, LOG_FILE, bytes,
				       len);
	if (!err)
		log_warning("%s/%s/%s was removed, and is put back",
			    log->vault->path, NAME_VAULT_DIR, LOG_FILE);
	return err;
}

/* 1: another file lies there now, and that is the log from now on; whoever
 * reads the other one just now is not disturbed. */
static int follow(struct vlog *log)
{
	CLEANUP_FD int fd = -1;
	struct stat ours, there;
	int err = 0;

	if (log->fd < 0)
		return 0;
	if (fstat(log->fd, &ours) < 0)
		return -errno;
	if (fstatat(log->vault->meta_fd, LOG_FILE, &there,
		    AT_SYMLINK_NOFOLLOW) == 0) {
		if (there.st_ino == ours.st_ino && there.st_dev == ours.st_dev)
			return 0;
	} else if (errno == ENOENT) {
		err = put_back(log, (size_t)ours.st_size);
	} else {
		err = -errno;
	}
	if (!err)
		err = open_file(log->vault, &fd);
	if (err || fd < 0)
		return is_no_place(-err) ? 0 : err;
	log->settled = false;
	return dup3(fd, log->fd, O_CLOEXEC) < 0 ? -errno : 1;
}

static int wait_for_lock(const struct vlog *log, int type)
{
	struct flock fl = {.l_type = (short)type, .l_whence = SEEK_SET};

	while (log->fd >= 0 && fcntl(log->fd, F_OFD_SETLKW, &fl) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

int vlog_lock_(struct vlog *log, int type)
{
	enum { TRIES = 10 }; /* of files that come and go */
	int err, followed = 1;

	pthread_mutex_lock(&log->lock);
	err = wait_for_lock(log, type);
	for (int i = 0; !err && followed == 1 && i < TRIES; i++) {
		followed = follow(log);
		err = followed < 0 ? followed : 0;
		if (!err && followed)
			err = wait_for_lock(log, type);
	}
	if (err)
		pthread_mutex_unlock(&log->lock);
	return err;
}

void vlog_unlock_(struct vlog *log)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (log->fd >= 0 && fcntl(log->fd, F_OFD_SETLK, &fl) < 0)
		log_warning("cannot unlock the log: %s", strerror(errno));
	pthread_mutex_unlock(&log->lock);
}
