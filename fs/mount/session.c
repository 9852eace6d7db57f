/* A mount from its beginning to its end. */
#include "fs.h"

#include "flush.h"
#include "gather.h"
#include "heap.h"
#include "idle.h"
#include "journal.h"
#include "lock.h"
#include "log.h"
#include "loop.h"
#include "prefetch.h"
#include "privileges.h"
#include "readahead.h"
#include "sharing.h"
#include "unmounter.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
	MAX_WRITE = VFILE_IO_MAX,
	BACKGROUND_MIN = 16,
	BACKGROUND_MAX = 32,
	/* What the kernel writes back may have to wait for the disk, all that
	 * it keeps in flight of it; then these answer what somebody asks. */
	THREADS_BESIDE = 4,
	EXCLUSIVE_TIMEOUT_S = 86400,
	/* where there are no locks, others may write */
	READ_ONLY_TIMEOUT_S = 1,
	DIR_FDS_MAX = 4096,
	DIR_STREAMS_MAX = 256,
	/* fewer than the vault has slots for keys: files being made need one */
	FILES_MAX = 4032,
	WAKE_INTERVAL_MS = 10,
	SHARED_PAUSE_MS = 100,
	SHARED_TRIES = 30,
};

/* The thread that takes the signals, so that nobody else is interrupted. */
struct ender {
	struct fs *fs;
	pthread_t thread, main;
	sigset_t signals, mask_before;
	struct sigaction wake_before;
	atomic_bool loop_ended;
};

/*
 * Not wanted: ATOMIC_O_TRUNC, so that O_TRUNC comes as SETATTR; splicing, as
 * the bytes are needed in memory; HANDLE_KILLPRIV, for wire.c asks for its
 * second version.
 */
void ops_init(void *userdata, struct fuse_conn_info *conn)
{
	const struct fs *fs = userdata;
	const struct mount_options *opt = fs->opt;
	unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO |
			FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_IOCTL_DIR;

	if (opt->xattr)
		want |= FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;
	if (fs->collects_writes)
		want |= FUSE_CAP_WRITEBACK_CACHE;
	/* Alone, the kernel's own locks do, and what it is told stays true. */
	if (opt->shared)
		want |= FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;
	else
		want |= FUSE_CAP_READDIRPLUS; /* AUTO: listing in ops_dir.c */
	if (fs->vault->exclusive)
		want |= FUSE_CAP_CACHE_SYMLINKS;
	else
		want |= FUSE_CAP_AUTO_INVAL_DATA;
	conn->want = want & conn->capable;
	conn->max_write = MAX_WRITE;
	/* libfuse wants it said here and as an option */
	conn->max_read = readahead_max_read(opt);
	conn->max_background = fs->background;
	conn->congestion_threshold = fs->background;
	conn->time_gran = 1;
}

__attribute__((format(printf, 2, 0))) static void
log_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[512];

	vsnprintf(line, sizeof line, fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	log_at((int)level, "%s", line);
}

/* "key=value" as one option, whatever characters value has. */
static int add_value(char **opts, const char *key, const char *value)
{
	CLEANUP_FREE char *text = NULL;

	if (asprintf(&text, "%s=%s", key, value) < 0) {
		text = NULL;
		return -1;
	}
	return fuse_opt_add_opt_escaped(opts, text);
}

static int build_options(const struct fs *fs, char **opts)
{
	const struct mount_options *opt = fs->opt;
	const struct {
		bool wanted;
		const char *word;
	} words[] = {
		{true, "default_permissions"},
		{true, "subtype=frondfs"},
		{opt->read_only, "ro"},
		{opt->allow_other, "allow_other"},
		{opt->allow_root, "allow_root"},
		{opt->noexec, "noexec"},
		{fs->uid == 0, opt->suid ? "suid" : "nosuid"},
		{fs->uid == 0, opt->dev ? "dev" : "nodev"},
		{opt->fuse_options, opt->fuse_options},
	};
	char max_read[32];
	int err = add_value(opts, "fsname",
			    opt->fsname ? opt->fsname : fs->vault->path);

	snprintf(max_read, sizeof max_read, "max_read=%u",
		 readahead_max_read(opt));
	if (!err)
		err = fuse_opt_add_opt(opts, max_read);
	for (size_t n = 0; !err && n < sizeof words / sizeof words[0]; n++)
		if (words[n].wanted)
			err = fuse_opt_add_opt(opts, words[n].word);
	return err ? -ENOMEM : 0;
}

static void fill_ops(const struct mount_options *opt,
		     struct fuse_lowlevel_ops *ops)
{
	ops->init = ops_init;
	ops_fill_lookup(ops);
	ops_fill_attr(ops);
	ops_fill_name(ops);
	ops_fill_move(ops);
	ops_fill_dir(ops);
	ops_fill_file(ops, opt->shared);
	ops_fill_seek(ops);
	ops_fill_ioctl(ops);
	if (opt->xattr)
		ops_fill_xattr(ops);
	if (opt->shared)
		ops_fill_lock(ops);
}

static int new_session(struct fs *fs)
{
	CLEANUP_FREE char *opts = NULL;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops ops = {0};
	int err = build_options(fs, &opts);

	if (!err &&
	    (fuse_opt_add_arg(&args, "frondfs") ||
	     fuse_opt_add_arg(&args, "-o") || fuse_opt_add_arg(&args, opts)))
		err = -ENOMEM;
	fill_ops(fs->opt, &ops);
	if (!err) {
		fs->session = fuse_session_new(&args, &ops, sizeof ops, fs);
		err = fs->session ? 0 : -EINVAL;
	}
	fuse_opt_free_args(&args);
	return err;
}

static bool spare_fd(void *fs, int err, unsigned *tries)
{
	return fs_spare_fd(fs, err, tries);
}

/* Share the descriptors that this process may have among the caches. */
static int new_tables(struct fs *fs)
{
	struct rlimit limit;
	size_t nofile = 1024, dirs, files, streams;
	int err;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		nofile = limit.rlim_cur;
	dirs = nofile / 4 < DIR_FDS_MAX ? nofile / 4 : DIR_FDS_MAX;
	files = nofile / 3 < FILES_MAX ? nofile / 3 : FILES_MAX;
	streams = nofile / 8 < DIR_STREAMS_MAX ? nofile / 8 : DIR_STREAMS_MAX;
	err = inode_table_new(fs->vault, dirs, &fs->inodes);
	if (!err)
		err = file_cache_new(fs, files, &fs->files);
	if (!err)
		err = damage_log_new(&fs->damage);
	if (!err)
		err = dir_cache_new(streams, &fs->dirs);
	if (!err)
		inode_table_set_spare(fs->inodes, spare_fd, fs);
	if (!err && fs->opt->shared)
		err = lock_table_new(&fs->locks);
	return err;
}

static double timeout_s(const struct fs *fs)
{
	if (fs->vault->exclusive)
		return EXCLUSIVE_TIMEOUT_S;
	return fs->opt->shared ? 0 : READ_ONLY_TIMEOUT_S;
}

/*
 * A file that is half under its new key can be read by nobody. If that is so
 * for good, it is this file's damage, and no reason to keep others from theirs;
 * it has been said which one.
 */
static int finish_rekeying(struct fs *fs)
{
	int err = vault_rekey_finish(fs->vault);

	switch (err) {
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
	case -ENOSPC:
	case -EDQUOT:
		log_error("%s: a change of a file's key was interrupted, and "
			  "cannot be finished: %s",
			  fs->vault->path, strerror(-err));
		return err;
	default:
		return 0;
	}
}

/*
 * What the last session left is finished whether or not this one has a
 * journal: its records must not come back over what is written from now on.
 */
static int recover(struct fs *fs)
{
	struct journal_recovery r = {.doubtful = fs->opt->accept_old};
	int err = journal_recover(fs->vault, &r);

	/* before anybody uses them: what could not be read the last time, say;
	 * and is not just so */
	if (!err && !r.crashed) {
		r = (struct journal_recovery){.once = true};
		(void)!journal_retry(fs->vault, &r, NULL);
	}
	return err;
}

/* With the lock alone for as long as that takes, unless another does it. */
static int recover_to_share(struct fs *fs)
{
	const struct timespec pause = {.tv_nsec = SHARED_PAUSE_MS * 1000000L};
	struct vault *vault = fs->vault;

	for (int tries = 0; tries < SHARED_TRIES; tries++) {
		int err;

		if (vault->lock_fd >= 0 && !journal_is_pending(vault))
			return 0;
		vault_unlock(vault);
		err = vault_lock(vault, false, false);
		if (!err) {
			err = recover(fs);
			if (!err)
				err = journal_forget_ended(vault);
			return err ? err : vault_lock_share(vault);
		}
		if (err == -EBUSY)
			nanosleep(&pause, NULL);
		if (err == -EBUSY)
			err = vault_lock(vault, true, false);
		if (err && err != -EBUSY)
			return err;
	}
	log_error("%s: a mount ended unexpectedly, and what it has left must "
		  "be finished before others write: unmount all mounts of this "
		  "vault, and try again",
		  vault->path);
	return -EBUSY;
}

static int begin_journal(struct fs *fs)
{
	int err;

	if (!fs->vault->exclusive)
		return recover_to_share(fs);
	err = recover(fs);
	if (!err && !fs->opt->journal)
		return journal_forget_ended(fs->vault);
	if (err)
		return err;
	err = journal_begin(fs->vault);
	if (!err)
		return 0;
	if (err != -ENOSPC && err != -EDQUOT && err != -EROFS &&
	    err != -EOPNOTSUPP) {
		log_error("%s: the journal cannot be begun: %s; '-o "
			  "journal=off' does without, and a crash may damage "
			  "files that are being changed then",
			  fs->vault->path, strerror(-err));
		return err;
	}
	log_warning("%s: there is no %s a journal (%s): a crash may damage "
		    "files that are being changed",
		    fs->vault->path,
		    err == -EOPNOTSUPP
			    ? "telling files apart by their inode numbers, as "
			      "is needed for"
			    : "room for",
		    strerror(-err));
	return journal_forget_ended(fs->vault);
}

static unsigned background_count(void)
{
	long wanted = 2 * sysconf(_SC_NPROCESSORS_ONLN);

	if (wanted < BACKGROUND_MIN)
		return BACKGROUND_MIN;
	return wanted > BACKGROUND_MAX ? BACKGROUND_MAX : (unsigned)wanted;
}

/* All that can fail before the mount point is touched. */
static int prepare(struct fs *fs, const char *mountpoint)
{
	int err = 0;

	fs->uid = geteuid();
	fs->background = background_count();
	fs->timeout_s = timeout_s(fs);
	fs->labels = xattr_labels_are_used();
	fs->collects_writes =
		fs->opt->writeback && !fs->opt->shared && !fs->opt->read_only;
	fs->mountpoint = realpath(mountpoint, NULL);
	if (!fs->mountpoint)
		return -errno;
	if (!fs->opt->read_only) {
		vault_clear_aborted(fs->vault);
		err = vault_orphans_open(fs->vault);
	}
	if (!err && !fs->opt->read_only)
		err = finish_rekeying(fs);
	if (!err && !fs->opt->read_only)
		err = begin_journal(fs);
	if (!err)
		err = new_tables(fs);
	if (!err)
		err = sharing_new(fs, &fs->sharing);
	if (!err)
		err = unmounter_start(fs->mountpoint, &fs->unmounter);
	if (!err)
		fs->prefetch = prefetch_new(fs);
	if (!err && fs->collects_writes)
		fs->gather = gather_new(&fs->counters);
	return err ? err : new_session(fs);
}

static void fs_fini(struct fs *fs)
{
	lock_table_free(fs->locks);
	sharing_free(fs->sharing);
	prefetch_free(fs->prefetch);
	gather_free(fs->gather);
	if (fs->session)
		fuse_session_destroy(fs->session);
	dir_cache_free(fs->dirs);
	if (fs->files)
		file_cache_free(fs->files);
	damage_log_free(fs->damage);
	if (fs->inodes)
		inode_table_free(fs->inodes);
	unmounter_free(fs->unmounter);
	/* last of all, as it unlocks; what fails is logged, and kept */
	(void)journal_stop(fs->vault);
	free(fs->mountpoint);
}

/* End the session though someone uses the mount. */
static void end_busy(struct ender *e)
{
	const struct timespec pause = {.tv_nsec = WAKE_INTERVAL_MS * 1000000L};

	log_notice("%s: ending while in use", e->fs->mountpoint);
	/* while requests are answered, or it could wait for one for ever */
	sharing_stop(e->fs->sharing);
	fuse_session_exit(e->fs->session);
	/* libfuse's loop looks only when it is interrupted, and it may just
	 * be about to wait */
	while (!e->loop_ended) {
		pthread_kill(e->main, SIGUSR2);
		nanosleep(&pause, NULL);
	}
}

static void *wait_for_signal(void *arg)
{
	struct ender *e = arg;
	int err, sig;

	while (sigwait(&e->signals, &sig) != 0)
		;
	if (e->loop_ended)
		return NULL;
	log_notice("%s: ending at signal %d", e->fs->mountpoint, sig);
	/* what the kernel holds back would be lost with the session */
	err = flush_mount(e->fs);
	if (err)
		log_warning("%s: cannot flush before ending: %s",
			    e->fs->mountpoint, strerror(-err));
	/* in good order if possible; the loop then ends by itself */
	if (unmounter_ask(e->fs->unmounter, false))
		end_busy(e);
	return NULL;
}

static void wake(int sig)
{
	(void)sig;
}

static int ender_start(struct ender *e)
{
	const struct sigaction on_wake = {.sa_handler = wake};
	int err;

	e->main = pthread_self();
	sigemptyset(&e->signals);
	sigaddset(&e->signals, SIGHUP);
	sigaddset(&e->signals, SIGINT);
	sigaddset(&e->signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &e->signals, &e->mask_before);
	sigaction(SIGUSR2, &on_wake, &e->wake_before);
	err = pthread_create(&e->thread, NULL, wait_for_signal, e);
	if (err) {
		sigaction(SIGUSR2, &e->wake_before, NULL);
		pthread_sigmask(SIG_SETMASK, &e->mask_before, NULL);
	}
	return -err;
}

static void ender_stop(struct ender *e)
{
	e->loop_ended = true;
	pthread_kill(e->thread, SIGTERM);
	pthread_join(e->thread, NULL);
	sigaction(SIGUSR2, &e->wake_before, NULL);
	pthread_sigmask(SIG_SETMASK, &e->mask_before, NULL);
}

static int serve(struct fs *fs)
{
	struct ender ender = {.fs = fs};
	struct idle *idle = NULL;
	int err = ender_start(&ender);

	if (err)
		return err;
	if (fs->opt->idle_min > 0)
		err = idle_start(fs, &idle);
	if (!err)
		err = sharing_start(fs->sharing);
	if (!err)
		err = loop_run(fs->session, fs->background + THREADS_BESIDE,
			       &fs->answering);
	sharing_stop(fs->sharing);
	ender_stop(&ender);
	idle_stop(idle);
	/* while the session can still answer those that wait */
	lock_table_free(TAKE_PTR(fs->locks));
	return err;
}

static int fault_errno(enum mount_fault fault)
{
	switch (fault) {
	case MOUNT_NO_FUSE:
		return -ENODEV;
	case MOUNT_NO_POINT:
		return -ENOENT;
	case MOUNT_NOT_DIR:
		return -ENOTDIR;
	case MOUNT_NOT_EMPTY:
		return -ENOTEMPTY;
	case MOUNT_BUSY:
	case MOUNT_DEAD:
	case MOUNT_OVERLAP:
		return -EBUSY;
	default:
		return -EPERM;
	}
}

/*
 * libfuse would unmount by itself, for which there are no privileges any more.
 * It does not where the descriptor says that all is over (POLLERR), as after
 * an umount(8). A pipe that nobody reads says the same; putting it there
 * closes /dev/fuse, so that nobody waits for answers meanwhile.
 */
static void end_session(struct fs *fs)
{
	struct pollfd fuse = {.fd = fuse_session_fd(fs->session)};
	int fds[2], err;

	if (poll(&fuse, 1, 0) != 1 && pipe2(fds, O_CLOEXEC) == 0) {
		close(fds[0]);
		dup3(fds[1], fuse.fd, O_CLOEXEC);
		close(fds[1]);
		err = unmounter_ask(fs->unmounter, true);
		if (err && err != -EINVAL)
			log_warning("%s: cannot unmount: %s", fs->mountpoint,
				    strerror(-err));
	}
	fuse_session_unmount(fs->session);
}

static int mount_and_serve(struct fs *fs, enum mount_fault *fault)
{
	int err;

	if (fuse_session_mount(fs->session, fs->mountpoint) != 0) {
		*fault = MOUNT_DENIED;
		return fault_errno(MOUNT_DENIED);
	}
	fs->dev = seek_device(fs->mountpoint);
	err = fuse_session_custom_io(fs->session, &wire_io,
				     fuse_session_fd(fs->session));
	if (!err && fs->opt->confine)
		privileges_drop();
	if (!err)
		err = journal_run(fs->vault);
	if (!err)
		err = serve(fs);
	end_session(fs);
	sharing_free(TAKE_PTR(fs->sharing));
	return err;
}

int mount_serve(struct vault *vault, const char *mountpoint,
		const struct mount_options *opt, void (*ready)(void *arg),
		void *arg, enum mount_fault *fault)
{
	struct wire wire = {.ready = ready, .arg = arg};
	struct fs fs = {.vault = vault, .opt = opt, .wire = &wire};
	mode_t umask_before;
	int err;

	*fault = mount_check_point(vault->path, mountpoint, opt);
	if (*fault != MOUNT_OK)
		return fault_errno(*fault);
	heap_bound();
	fuse_set_log_func(log_libfuse);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	umask_before = umask(0);
	err = prepare(&fs, mountpoint);
	if (!err)
		err = mount_and_serve(&fs, fault);
	fs_fini(&fs);
	umask(umask_before);
	return err;
}
