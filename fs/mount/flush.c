/*
 * Writing back what one's own mount has cached ends when one's own threads
 * have answered. If they are killed meanwhile, so is the thread that waits, but
 * it cannot end before the answers, and as long as it has not ended, /dev/fuse
 * stays open and the kernel goes on waiting for them. So another process does
 * it, which has no descriptor of /dev/fuse.
 */
#include "flush.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum { FLUSH_TIMEOUT_S = 60, LOOK_INTERVAL_MS = 2 };

/* Where in the mount files lie that are open for writing. */
struct paths {
	char **v;
	size_t count;
};

static void paths_fini(struct paths *p)
{
	for (size_t n = 0; n < p->count; n++)
		free(p->v[n]);
	free(p->v);
}

static bool is_written(const struct inode *i)
{
	return i->writers > 0 && !i->parked;
}

/* Closed files have been written back: close(2) does that. */
static int find_written(struct fs *fs, struct paths *p)
{
	CLEANUP_FREE struct inode **written = NULL;
	size_t count;
	int err = inode_collect(fs->inodes, is_written, &written, &count);

	if (err)
		return err;
	p->v = calloc(count + 1, sizeof *p->v);
	for (size_t n = 0; n < count; n++) {
		if (p->v)
			p->v[p->count] =
				inode_plain_path(fs->inodes, written[n]);
		if (p->v && p->v[p->count])
			p->count++;
		inode_unref(fs->inodes, written[n]);
	}
	return p->v ? 0 : -ENOMEM;
}

static int write_back(int root_fd, const char *path)
{
	const int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	int err = 0, fd = openat(root_fd, path, O_RDONLY | flags);

	if (fd < 0 && errno == EACCES)
		fd = openat(root_fd, path, O_WRONLY | flags);
	if (fd < 0)
		return errno == ENOENT ? 0 : errno;
	if (sync_file_range(fd, 0, 0,
			    SYNC_FILE_RANGE_WAIT_BEFORE |
				    SYNC_FILE_RANGE_WRITE |
				    SYNC_FILE_RANGE_WAIT_AFTER) < 0)
		err = errno;
	close(fd);
	return err;
}

/*
 * In a child of a process with threads: async-signal-safe calls only.
 * syncfs(2) gets all of it under way, but on FUSE it waits for nothing, and
 * leaves out what would be too much for the queue.
 */
__attribute__((noreturn)) static void write_back_and_exit(const struct fs *fs,
							  const struct paths *p)
{
	int fd, err, first = 0;

	/* that of /dev/fuse above all */
	if (close_range(0, ~0U, 0) < 0)
		_exit(errno);
	if (seek_device(fs->mountpoint) != fs->dev)
		_exit(0); /* unmounted lazily: there is no way to it */
	fd = open(fs->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		_exit(errno);
	for (size_t n = 0; n < p->count; n++) {
		err = write_back(fd, p->v[n]);
		if (!first)
			first = err;
	}
	_exit(first);
}

/* A little later; false: it is too late. */
static bool pause_until(int64_t end_ms)
{
	const struct timespec pause = {.tv_nsec = LOOK_INTERVAL_MS * 1000000L};

	nanosleep(&pause, NULL);
	return clock_now_ms() < end_ms;
}

static int wait_for_child(pid_t pid, int64_t end_ms)
{
	int status = 0;
	pid_t ended;

	while ((ended = waitpid(pid, &status, WNOHANG)) == 0)
		if (!pause_until(end_ms))
			return -ETIMEDOUT;
	if (ended < 0)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

/*
 * Of what is queued in the background the kernel keeps fs->background requests
 * in flight: as long as any is left behind, others lie ready to be read, or so
 * many threads have them; some of those may have taken theirs just now, and
 * not be counted yet.
 */
static bool is_queued(const struct fs *fs, struct pollfd *fuse)
{
	return poll(fuse, 1, 0) > 0 || fs->answering > fs->background / 2;
}

/*
 * Before Linux 6.16, pages count as written back when they are queued. What a
 * thread has read it will answer, even if told to end.
 */
static int wait_for_queue(const struct fs *fs, int64_t end_ms)
{
	struct pollfd fuse = {.fd = fuse_session_fd(fs->session),
			      .events = POLLIN};

	while (is_queued(fs, &fuse) && !(fuse.revents & POLLERR))
		if (!pause_until(end_ms))
			return -ETIMEDOUT;
	return 0;
}

static int flush_written(struct fs *fs, const struct paths *p)
{
	int64_t end_ms = clock_now_ms() + FLUSH_TIMEOUT_S * 1000;
	pid_t pid = fork();
	int err, late;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		write_back_and_exit(fs, p);
	err = wait_for_child(pid, end_ms);
	late = wait_for_queue(fs, end_ms);
	return err ? err : late;
}

int flush_mount(struct fs *fs)
{
	struct paths p = {0};
	int err = find_written(fs, &p);

	if (!err)
		err = flush_written(fs, &p);
	paths_fini(&p);
	return err;
}
