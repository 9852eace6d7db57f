#include "mailbox.h"
#include "text.h"
#include "transport.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>

enum {
	PART_MAX = 64 << 20,
	TEXT_MAX = 1 << 20,
	/* Synchronised and network folders change without inotify noticing */
	LOOK_EVERY_MS = 2000,
	ID_TEXT_LEN = 2 * TRANSPORT_ID_LEN,
	REASON_MAX = 512,
};

static const char text_suffix[] = MAILBOX_TEXT_SUFFIX;

struct queued {
	struct transport_message message;
	struct queued *next;
};

struct dir_transport {
	struct transport base;
	char path[PATH_MAX]; /* without "dir:" */
	char own[ID_TEXT_LEN + 1], address[TRANSPORT_ADDRESS_MAX + 1];
	int box_fd, watch_fd;
	struct queued *first, **last;
	uint8_t *block;
	char reason[REASON_MAX];
};

static struct dir_transport *of(struct transport *t)
{
	return (struct dir_transport *)t;
}

static const struct dir_transport *of_const(const struct transport *t)
{
	return (const struct dir_transport *)t;
}

__attribute__((format(printf, 2, 3))) static void
set_reason(struct dir_transport *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->reason, sizeof d->reason, fmt, ap);
	va_end(ap);
}

static uint64_t dir_part_max(const struct transport *t)
{
	(void)t;
	return PART_MAX;
}

static const char *dir_address(const struct transport *t)
{
	return of_const(t)->address;
}

static bool dir_idle(const struct transport *t)
{
	return !of_const(t)->first;
}

static const char *dir_reason(const struct transport *t)
{
	return of_const(t)->reason;
}

static int dir_submit(struct transport *t, const struct transport_message *m)
{
	struct dir_transport *d = of(t);
	struct queued *q = calloc(1, sizeof *q);

	if (!q)
		return -ENOMEM;
	q->message = *m;
	*d->last = q;
	d->last = &q->next;
	return 0;
}

/*
 * Whoever may make mailboxes here may put mail into mine; where that is
 * everybody, only its owner takes mail out (the sticky bit).
 */
static int make_own_box(struct dir_transport *d)
{
	CLEANUP_FD int top = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (top < 0 || fstat(top, &st) < 0)
		return -errno;
	mode_t mode = (st.st_mode & 0777) | 0700;

	if (mode & 0022)
		mode |= S_ISVTX;
	if (mkdirat(top, d->own, 0700) == 0) {
		if (fchmodat(top, d->own, mode, 0) < 0 || fsync(top) < 0)
			return -errno;
	} else if (errno != EEXIST) {
		return -errno;
	}
	d->box_fd = openat(top, d->own,
			   O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return d->box_fd < 0 ? -errno : 0;
}

static void watch_own_box(struct dir_transport *d)
{
	char box[PATH_MAX + ID_TEXT_LEN + 2];

	snprintf(box, sizeof box, "%s/%s", d->path, d->own);
	d->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	/* Without it mail is noticed a little later. */
	if (d->watch_fd >= 0 &&
	    inotify_add_watch(d->watch_fd, box, IN_MOVED_TO | IN_CLOSE_WRITE) <
		    0) {
		close(d->watch_fd);
		d->watch_fd = -1;
	}
}

static void leave_own_box(struct dir_transport *d)
{
	if (d->box_fd >= 0)
		close(d->box_fd);
	if (d->watch_fd >= 0)
		close(d->watch_fd);
	d->box_fd = d->watch_fd = -1;
}

/* Is what we have open still what lies there? */
static bool box_is_there(const struct dir_transport *d)
{
	char box[PATH_MAX + ID_TEXT_LEN + 2];
	struct stat is, was;

	snprintf(box, sizeof box, "%s/%s", d->path, d->own);
	return d->box_fd >= 0 && fstat(d->box_fd, &was) == 0 &&
	       lstat(box, &is) == 0 && is.st_dev == was.st_dev &&
	       is.st_ino == was.st_ino;
}

/* What is said of a folder that may be back later. */
static bool is_away(int err)
{
	return err == -ENOENT || err == -ENOTDIR || err == -EIO ||
	       err == -ENODEV || err == -ENXIO || err == -ENOTCONN ||
	       err == -ESTALE || err == -EHOSTDOWN || err == -ETIMEDOUT;
}

/* A stick or a network folder comes and goes: whatever is there now. */
static int find_own_box(struct dir_transport *d)
{
	int err;

	if (box_is_there(d))
		return 0;
	leave_own_box(d);
	err = make_own_box(d);
	if (err)
		set_reason(d,
			   "the folder '%s' for messages cannot be used: %s; "
			   "plug it in, or make it",
			   d->path, strerror(-err));
	else
		watch_own_box(d);
	return err;
}

static void set_address(struct dir_transport *d)
{
	int n = snprintf(d->address, sizeof d->address, "dir:%s/%s", d->path,
			 d->own);

	if (n >= (int)sizeof d->address)
		snprintf(d->address, sizeof d->address, "dir:%s", d->own);
}

/* The last component of an address if it is an id, as no other is looked at */
static const char *mailbox_of(const char *address)
{
	const char *slash = strrchr(address, '/');
	const char *id = slash ? slash + 1 : address + 4;
	uint8_t bytes[TRANSPORT_ID_LEN];

	if (strncmp(address, "dir:", 4) != 0 ||
	    hex_decode(id, strlen(id), bytes, sizeof bytes))
		return NULL;
	return id;
}

static int open_box(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

static int open_mailbox(struct dir_transport *d, const char *address)
{
	const char *id = mailbox_of(address);
	char path[PATH_MAX + ID_TEXT_LEN + 2];
	int fd;

	if (!id) {
		set_reason(
			d,
			"the address '%s' is not one of the folder transport; "
			"ask for a card made with --transport dir:PATH",
			address);
		return -EADDRNOTAVAIL;
	}
	snprintf(path, sizeof path, "%s/%s", d->path, id);
	fd = open_box(path);
	if (fd == -ENOENT && strchr(address, '/'))
		fd = open_box(address + 4);
	if (fd == -ENOENT)
		set_reason(d,
			   "there is no mailbox %s in '%s'; its owner makes it "
			   "with 'tgshare setup --transport dir:%s'",
			   id, d->path, d->path);
	else if (fd < 0)
		set_reason(d, "cannot open the mailbox '%s': %s", path,
			   strerror(-fd));
	return fd;
}

static void deliver(struct dir_transport *d, const struct transport_message *m)
{
	char name[MAILBOX_NAME_MAX + 1];
	int err = find_own_box(d);
	CLEANUP_FD int box = err ? err : open_mailbox(d, m->address);

	err = box < 0 ? box : mailbox_name(m, name);
	if (!err) {
		err = mailbox_put(box, name, m, d->block);
		if (err)
			set_reason(d, "cannot write into the mailbox '%s': %s",
				   m->address, strerror(-err));
	}
	m->done(m->arg, err, err ? d->reason : "", err ? "" : name);
}

static bool deliver_all(struct dir_transport *d)
{
	bool any = d->first;

	while (d->first) {
		struct queued *q = d->first;

		d->first = q->next;
		if (!d->first)
			d->last = &d->first;
		deliver(d, &q->message);
		free(q);
	}
	return any;
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t len = strlen(name), n = strlen(suffix);

	return len > n && strcmp(name + len - n, suffix) == 0;
}

static int take_text(const struct transport_receiver *r, int fd,
		     const struct stat *st, const char *name)
{
	size_t len = (size_t)st->st_size;
	CLEANUP_FREE char *text = malloc(len + 1);
	int err;

	if (!text)
		return -ENOMEM;
	err = xio_pread(fd, text, len, 0);
	if (!err && mailbox_is_unsettled(name, st, text, len)) {
		if (r->unsettled)
			r->unsettled(r->arg);
		err = -EAGAIN;
	}
	return err ? err : r->text(r->arg, "", text, len);
}

/* 0: it may go. */
static int take_one(struct dir_transport *d, const struct transport_receiver *r,
		    const char *name)
{
	CLEANUP_FD int fd = openat(d->box_fd, name,
				   O_RDONLY | O_CLOEXEC | O_NOFOLLOW |
					   O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	/* Longer than any message: nothing that tgshare wrote. It costs nothing
	 * to put a file of a terabyte of holes into a mailbox. */
	if (st.st_size > (ends_with(name, text_suffix) ? TEXT_MAX : PART_MAX))
		return 0;
	return ends_with(name, text_suffix)
		       ? take_text(r, fd, &st, name)
		       : r->document(r->arg, fd, (uint64_t)st.st_size, name,
				     NULL);
}

static int receive_all(struct dir_transport *d,
		       const struct transport_receiver *r, bool *any)
{
	char **names = NULL;
	size_t count = 0;
	int err = mailbox_list(d->box_fd, &names, &count);

	if (err)
		set_reason(d, "cannot read the mailbox '%s': %s",
			   d->address + 4, strerror(-err));
	for (size_t i = 0; i < count; i++) {
		if (!err && !take_one(d, r, names[i]) &&
		    unlinkat(d->box_fd, names[i], 0) == 0)
			*any = true;
		free(names[i]);
	}
	free(names);
	return err;
}

static void wait_for_mail(struct dir_transport *d, int timeout_ms)
{
	struct pollfd pfd = {.fd = d->watch_fd, .events = POLLIN};
	int ms = timeout_ms < LOOK_EVERY_MS ? timeout_ms : LOOK_EVERY_MS;
	struct timespec timeout = {ms / 1000, ms % 1000 * 1000000L};
	char events[4096];
	sigset_t none;

	sigemptyset(&none);
	if (ppoll(&pfd, 1, &timeout, &none) > 0)
		while (read(d->watch_fd, events, sizeof events) > 0)
			;
}

static int dir_run(struct transport *t, const struct transport_receiver *r,
		   int timeout_ms)
{
	struct dir_transport *d = of(t);
	bool any = deliver_all(d);
	int err = r ? find_own_box(d) : 0;

	if (!err && r)
		err = receive_all(d, r, &any);

	if (!err && !any && timeout_ms > 0)
		wait_for_mail(d, timeout_ms);
	return is_away(err) ? -EAGAIN : err;
}

static int dir_retract(struct transport *t, const char *address,
		       const char *ref, void (*done)(void *arg, int err),
		       void *arg)
{
	CLEANUP_FD int box = open_mailbox(of(t), address);

	if (box < 0)
		return box;
	if (!mailbox_good_name(ref))
		return -EINVAL;
	if (unlinkat(box, ref, 0) < 0 || fsync(box) < 0)
		return -errno;
	if (done)
		done(arg, 0);
	return 0;
}

/* The next of those that wait, which is to be freed. */
static struct queued *take_queued(struct dir_transport *d)
{
	struct queued *q = d->first;

	d->first = q->next;
	if (!d->first)
		d->last = &d->first;
	return q;
}

static void dir_give_up(struct transport *t)
{
	struct dir_transport *d = of(t);

	while (d->first) {
		struct queued *q = take_queued(d);

		q->message.done(q->message.arg, -EAGAIN,
				"it was given up for now", "");
		free(q);
	}
}

static void dir_free(struct transport *t)
{
	struct dir_transport *d = of(t);

	if (!d)
		return;
	while (d->first)
		free(take_queued(d));
	leave_own_box(d);
	free(d->block);
	free(d);
}

static const struct transport_ops dir_ops = {
	.name = "dir",
	.part_max = dir_part_max,
	.address = dir_address,
	.submit = dir_submit,
	.retract = dir_retract,
	.run = dir_run,
	.idle = dir_idle,
	.give_up = dir_give_up,
	.reason = dir_reason,
	.free = dir_free,
};

int transport_dir_open(const char *path,
		       const uint8_t own_id[static TRANSPORT_ID_LEN],
		       struct transport **out)
{
	struct dir_transport *d;
	int err;

	if (strlen(path) >= sizeof d->path)
		return -ENAMETOOLONG;
	d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	d->base.ops = &dir_ops;
	d->box_fd = d->watch_fd = -1;
	d->last = &d->first;
	strcpy(d->path, path);
	hex_encode(own_id, TRANSPORT_ID_LEN, d->own);
	d->block = malloc(MAILBOX_BLOCK);
	set_address(d);
	err = d->block ? find_own_box(d) : -ENOMEM;
	if (err && !is_away(err)) {
		dir_free(&d->base);
		return err;
	}
	*out = &d->base;
	return 0;
}
