#include "sharing.h"

#include "clock.h"
#include "log.h"
#include "own_file.h"
#include "teller.h"
#include "vtree.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <time.h>

/* Of this file the inbox itself locks byte 0. */
#define INBOX_LOCK_FILE "lock"
enum { LOCK_BYTE = 1 };

enum {
	LOOK_INTERVAL_MS = 3000,
	BUSY_INTERVAL_MS = 200, /* another mount is at it */
	RETRY_S = 30,		/* after a failure of the vault's own */
	/* time goes by for what expires, and for what one second of a coarse
	 * clock may hide */
	REGULAR_S = 60,
};

/* Directories in which news appear. */
enum place { PLACE_INBOX, PLACE_CONTACTS, PLACE_ATTACHED, PLACES };

struct sight {
	struct timespec mtime;
	ino_t ino; /* 0: not there */
};

struct sharing {
	struct fs *fs;
	struct vlog *log;
	struct inbox *inbox;
	struct teller *teller;
	struct inbox_events events;
	int fault;
	int wake_fd;	/* eventfd */
	int inotify_fd; /* -1: the kernel has no more of them */
	pthread_t thread;
	bool started;
	atomic_bool stop;

	pthread_mutex_t lock; /* guards all below */
	struct identity *identity;
	uint64_t requested, done;
	int result; /* of the scan that made done what it is */

	/* the thread's own */
	struct sight seen[PLACES];
	int watches[PLACES];
	int64_t next_s; /* look then, whatever the directories say */
};

static void entry_changed(void *arg, const char *parent_path, const char *name)
{
	struct sharing *s = arg;

	teller_tell(s->teller, parent_path, name);
}

static int open_log_and_inbox(struct sharing *s)
{
	int err = vlog_open(s->fs->vault, &s->log);

	if (err) {
		log_error("%s: the log of sharing cannot be opened, so nothing "
			  "is shared: %s",
			  s->fs->vault->path, strerror(-err));
		return err;
	}
	err = inbox_open(s->fs->vault, s->log, &s->events, &s->inbox);
	if (err == -EBADMSG)
		log_error("%s/.frondfs/identity, the keys for sharing, is "
			  "damaged, so nothing is shared; put it back from a "
			  "backup, and mount anew",
			  s->fs->vault->path);
	else if (err)
		log_error("%s: the inbox cannot be opened, so nothing is "
			  "shared: %s",
			  s->fs->vault->path, strerror(-err));
	return err;
}

int sharing_new(struct fs *fs, struct sharing **out)
{
	struct sharing *s = calloc(1, sizeof *s);
	int err;

	if (!s)
		return -ENOMEM;
	s->fs = fs;
	s->events = (struct inbox_events){entry_changed, s};
	s->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (int p = 0; p < PLACES; p++)
		s->watches[p] = -1;
	pthread_mutex_init(&s->lock, NULL);
	err = s->wake_fd < 0 ? -errno : teller_new(fs, &s->teller);
	if (err) {
		sharing_free(s);
		return err;
	}
	s->fault = open_log_and_inbox(s);
	*out = s;
	return 0;
}

int sharing_fault(const struct sharing *s)
{
	return s->fault;
}

struct inbox *sharing_inbox(const struct sharing *s)
{
	return s && !s->fault ? s->inbox : NULL;
}

struct vlog *sharing_log(const struct sharing *s)
{
	return s && !s->fault ? s->log : NULL;
}

static void wake(struct sharing *s)
{
	const uint64_t one = 1;

	(void)!write(s->wake_fd, &one, sizeof one);
}

int sharing_identity(struct sharing *s, bool make, const struct identity **out)
{
	bool met = false;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	if (!s->identity) {
		err = vault_identity(s->fs->vault, make, &s->identity);
		met = !err;
	}
	if (!err)
		*out = s->identity;
	/* from now on something may come */
	if (met && make)
		s->requested++;
	pthread_mutex_unlock(&s->lock);
	if (met && make)
		wake(s);
	return err;
}

int sharing_request(struct sharing *s, uint64_t *ticket)
{
	if (s->fault)
		return s->fault;
	if (!s->started)
		return -EROFS;
	pthread_mutex_lock(&s->lock);
	*ticket = ++s->requested;
	pthread_mutex_unlock(&s->lock);
	wake(s);
	return 0;
}

bool sharing_done(struct sharing *s, uint64_t ticket, int *err)
{
	bool done;

	pthread_mutex_lock(&s->lock);
	done = s->done >= ticket;
	*err = done ? s->result : 0;
	pthread_mutex_unlock(&s->lock);
	return done;
}

/* A directory in which news appear, O_PATH. */
static int open_place(struct sharing *s, enum place p, int *fd)
{
	static const char *const paths[PLACES] = {
		[PLACE_CONTACTS] = CONTACTS_DIR,
		[PLACE_ATTACHED] = CONTACTS_ATTACHED_DIR,
	};
	struct vtree_dir dir;
	int err;

	if (p == PLACE_INBOX)
		return vdir_open_path(s->fs->vault->meta_fd, VAULT_INBOX_DIR,
				      fd);
	err = vtree_open_dir(s->fs->vault, paths[p], false, 0, &dir);
	if (!err)
		*fd = TAKE_FD(dir.fd);
	return err;
}

/* Each is watched anew when it is another directory than before. */
static void watch(struct sharing *s, enum place p, int fd)
{
	char path[40];

	if (s->inotify_fd < 0)
		return;
	if (s->watches[p] >= 0)
		inotify_rm_watch(s->inotify_fd, s->watches[p]);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	s->watches[p] =
		inotify_add_watch(s->inotify_fd, path,
				  IN_MOVED_TO | IN_CREATE | IN_DELETE |
					  IN_MOVED_FROM | IN_CLOSE_WRITE);
}

/* True: it has changed since it was seen last. */
static bool look_at(struct sharing *s, enum place p)
{
	struct sight before = s->seen[p], now = {0};
	CLEANUP_FD int fd = -1;
	struct stat st;

	if (!open_place(s, p, &fd) && fstat(fd, &st) == 0) {
		now.mtime = st.st_mtim;
		now.ino = st.st_ino;
		if (now.ino != before.ino)
			watch(s, p, fd);
	}
	s->seen[p] = now;
	return now.ino != before.ino ||
	       now.mtime.tv_sec != before.mtime.tv_sec ||
	       now.mtime.tv_nsec != before.mtime.tv_nsec;
}

static bool look_around(struct sharing *s)
{
	bool changed = false;

	for (int p = 0; p < PLACES; p++)
		changed |= look_at(s, (enum place)p);
	return changed;
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), tail = strlen(suffix);

	return len >= tail && strcmp(name + len - tail, suffix) == 0;
}

/* The inbox's own records come and go by what it does itself. */
static bool is_news(const struct sharing *s, const struct inotify_event *event)
{
	if (event->wd != s->watches[PLACE_INBOX])
		return true;
	return event->len > 0 &&
	       (event->mask & (IN_MOVED_TO | IN_CREATE | IN_CLOSE_WRITE)) &&
	       (has_suffix(event->name, ".env") ||
		has_suffix(event->name, ".part"));
}

static bool read_events(struct sharing *s)
{
	_Alignas(struct inotify_event) char buf[4096];
	bool news = false;
	ssize_t n;

	while (s->inotify_fd >= 0 &&
	       (n = read(s->inotify_fd, buf, sizeof buf)) > 0) {
		for (char *at = buf; at < buf + n;) {
			const struct inotify_event *event = (void *)at;

			news |= is_news(s, event);
			at += sizeof *event + event->len;
		}
	}
	return news;
}

/* True: something in the watched directories, or somebody asks. */
static bool wait_for_news(struct sharing *s, int timeout_ms)
{
	struct pollfd fds[] = {
		{.fd = s->wake_fd, .events = POLLIN},
		{.fd = s->inotify_fd, .events = POLLIN},
	};
	uint64_t count;

	if (poll(fds, 2, timeout_ms) <= 0)
		return false;
	(void)!read(s->wake_fd, &count, sizeof count);
	return read_events(s);
}

/* Whose the inbox is may have put a link in its place. */
static int open_lock(const struct vault *vault, int *out)
{
	CLEANUP_FD int inbox =
		openat(vault->meta_fd, VAULT_INBOX_DIR,
		       O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int fd = inbox < 0 ? -1
			   : openat(inbox, INBOX_LOCK_FILE,
				    O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK |
					    O_CLOEXEC,
				    0600);

	if (fd < 0)
		return -errno;
	own_file(vault->meta_fd, fd);
	*out = fd;
	return 0;
}

/*
 * In a shared vault the inbox leaves the work to the mount that is at it, on
 * byte 0. Who was promised a scan gets one of its own: after that. -EAGAIN:
 * not yet.
 */
static int wait_in_line(const struct sharing *s, int *fd)
{
	struct flock lock = {.l_type = F_WRLCK,
			     .l_whence = SEEK_SET,
			     .l_start = LOCK_BYTE,
			     .l_len = 1};
	const struct vault *vault = s->fs->vault;
	int err;

	if (vault->exclusive)
		return 0;
	err = open_lock(vault, fd);
	if (!err && fcntl(*fd, F_OFD_SETLK, &lock) < 0)
		err = errno == EACCES ? -EAGAIN : -errno;
	return err;
}

/* What the outcome of a scan means for the next one. */
static void settle(struct sharing *s, uint64_t goal, int err)
{
	bool failed = err && err != -ENOENT;

	if (failed && err != s->result)
		log_warning("%s: cannot take in what others sent: %s",
			    s->fs->vault->path, strerror(-err));
	s->next_s = clock_now_s() + (failed ? RETRY_S : REGULAR_S);
	teller_drain(s->teller);
	pthread_mutex_lock(&s->lock);
	s->done = goal;
	s->result = err;
	pthread_mutex_unlock(&s->lock);
}

/*
 * False: try again soon, as another mount is at it, or because the scan has
 * just made the inbox, which is to be watched.
 */
static bool scan(struct sharing *s)
{
	CLEANUP_FD int lock_fd = -1;
	uint64_t goal;
	int err;

	pthread_mutex_lock(&s->lock);
	goal = s->requested;
	pthread_mutex_unlock(&s->lock);
	err = wait_in_line(s, &lock_fd);
	if (err == -EAGAIN)
		return false;
	if (!err)
		err = inbox_scan(s->inbox, &s->stop);
	if (!s->stop)
		settle(s, goal, err);
	return err || s->seen[PLACE_INBOX].ino;
}

static bool is_asked(struct sharing *s)
{
	bool asked;

	pthread_mutex_lock(&s->lock);
	asked = s->requested > s->done;
	pthread_mutex_unlock(&s->lock);
	return asked;
}

static void *work(void *arg)
{
	struct sharing *s = arg;
	bool due = true;

	while (!s->stop) {
		/* first look, then scan: what comes meanwhile is seen next */
		due |= look_around(s);
		due |= is_asked(s) || clock_now_s() >= s->next_s;
		if (due)
			due = !scan(s);
		due |= wait_for_news(s,
				     due ? BUSY_INTERVAL_MS : LOOK_INTERVAL_MS);
	}
	return NULL;
}

static int start_thread(struct sharing *s)
{
	sigset_t all, before;
	int err;

	/* signals are for the thread that ends the session */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = teller_start(s->teller);
	if (!err)
		err = -pthread_create(&s->thread, NULL, work, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	s->started = !err;
	return err;
}

int sharing_start(struct sharing *s)
{
	if (s->fault || s->fs->opt->read_only)
		return 0;
	return start_thread(s);
}

void sharing_stop(struct sharing *s)
{
	if (!s)
		return;
	s->stop = true;
	wake(s);
	teller_stop(s->teller);
}

void sharing_free(struct sharing *s)
{
	if (!s)
		return;
	if (s->teller)
		sharing_stop(s);
	if (s->started)
		pthread_join(s->thread, NULL);
	teller_free(s->teller);
	inbox_close(s->inbox);
	vlog_close(s->log);
	secret_free(s->identity);
	if (s->inotify_fd >= 0)
		close(s->inotify_fd);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
