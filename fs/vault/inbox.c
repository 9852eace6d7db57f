#include "inbox_internal.h"
#include "xio.h"

#include "log.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define WORK_LOCK_FILE "lock" /* shared vaults: one mount works at a time */

static int make_seal_key(struct inbox *in)
{
	CLEANUP_SECRET uint8_t *raw = secret_alloc(FERNET_KEY_LEN);

	in->seal = secret_alloc(sizeof *in->seal);
	if (!raw || !in->seal)
		return -ENOMEM;
	kdf_subkey(in->vault->keys->master, KDF_SHARING, raw, FERNET_KEY_LEN);
	fernet_key_init(in->seal, raw);
	return 0;
}

static bool is_record(const char *name, const char *suffix)
{
	uint8_t key[PARCEL_KEY_LEN];

	return strlen(name) > 2 * PARCEL_KEY_LEN &&
	       strcmp(name + 2 * PARCEL_KEY_LEN, suffix) == 0 &&
	       hex_decode(name, 2 * PARCEL_KEY_LEN, key, sizeof key) == 0;
}

/* Put a set into the list as its record tells it, at once for who asks. */
static int put_record(struct inbox *in, struct parcel *p, struct parcel *old)
{
	int err;

	p->seen = in->generation;
	inbox_write_begin_(in);
	if (old) {
		memcpy(p->sender_name, old->sender_name, sizeof p->sender_name);
		p->attached = TAKE_PTR(old->attached);
		p->attached_now = old->attached_now;
		inbox_unlink_(in, old);
	}
	p->next = in->parcels;
	in->parcels = p;
	err = inbox_fill_table_(in, p);
	inbox_write_end_(in);
	inbox_parcel_free_(old);
	return err;
}

static int load_record(struct inbox *in, const char *name)
{
	struct parcel *p = NULL, *old;
	int err = inbox_record_read_(in, name, &p);

	if (err == -EBADMSG || err == -EPROTONOSUPPORT || err == -ENOENT) {
		log_warning("a record of the inbox is left out: %s: %s", name,
			    strerror(-err));
		return 0;
	}
	if (err)
		return err;
	old = inbox_find_(in, p->key);
	/* a crash came between granting and forgetting the other record */
	if (old && old->seen == in->generation) {
		inbox_parcel_free_(p);
		return 0;
	}
	return put_record(in, p, old);
}

static int load_records(struct inbox *in, const char *suffix)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	int err = xio_list(in->dir_fd, &dir);

	if (err)
		return err;
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		if (!is_record(e->d_name, suffix))
			continue;
		err = load_record(in, e->d_name);
		if (err)
			return err;
	}
	return -errno;
}

/* What is in memory alone is forgotten: the spool tells it again. */
static int load_all(struct inbox *in)
{
	struct parcel *p, *next;
	int err;

	in->generation++;
	err = load_records(in, RECORD_GRANT);
	if (!err)
		err = load_records(in, RECORD_SET);
	for (p = in->parcels; p && !err; p = next) {
		next = p->next;
		if (p->seen != in->generation)
			inbox_drop_(in, p);
	}
	return err;
}

/* An identity, and with it a spool, may come while the vault is mounted. */
static int meet_identity(struct inbox *in)
{
	struct identity *me = NULL;
	int err;

	if (!in->me) {
		err = vault_identity(in->vault, false, &me);
		if (err)
			return err;
		inbox_write_begin_(in);
		in->me = me;
		inbox_write_end_(in);
	}
	if (in->dir_fd >= 0)
		return 0;
	err = inbox_spool_open_(in);
	return err ? err : load_all(in);
}

/* Who they are, and where their granted files lie. */
static int introduce(struct inbox *in, struct parcel *p)
{
	const struct contact *c = contacts_find(&in->contacts, &p->sender);
	char *attached = NULL;
	bool now;

	if (c && c->attached) {
		attached = strdup(c->attached);
		if (!attached)
			return -ENOMEM;
	}
	inbox_write_begin_(in);
	memset(p->sender_name, 0, sizeof p->sender_name);
	if (c)
		memcpy(p->sender_name, c->name, sizeof p->sender_name);
	free(p->attached);
	p->attached = attached;
	inbox_write_end_(in);
	if (!p->granted)
		return 0;
	now = inbox_is_attached_(p);
	inbox_write_begin_(in);
	p->attached_now = now;
	inbox_write_end_(in);
	return 0;
}

static int introduce_all(struct inbox *in)
{
	struct contacts fresh;
	int err = contacts_load(in->vault, &fresh);

	if (err)
		return err;
	err = inbox_refuse_for_(in, &fresh);
	if (err) {
		contacts_fini(&fresh);
		return err;
	}
	inbox_write_begin_(in);
	contacts_fini(&in->contacts);
	in->contacts = fresh;
	inbox_write_end_(in);
	for (struct parcel *p = in->parcels; p && !err; p = p->next)
		err = introduce(in, p);
	return err;
}

int inbox_open(struct vault *vault, struct vlog *log,
	       const struct inbox_events *events, struct inbox **out)
{
	struct inbox *in = calloc(1, sizeof *in);
	int err;

	if (!in)
		return -ENOMEM;
	in->vault = vault;
	in->log = log;
	if (events)
		in->events = *events;
	in->dir_fd = -1;
	pthread_mutex_init(&in->work, NULL);
	pthread_rwlock_init(&in->lock, NULL);
	err = make_seal_key(in);
	if (!err)
		err = meet_identity(in);
	/* a read-only mount never scans; others say it again when they do */
	if (!err && introduce_all(in))
		log_warning("the contacts cannot be read");
	/* no identity: nothing can have come; or a read-only file system */
	if (err == -ENOENT)
		err = 0;
	if (err) {
		inbox_close(in);
		return err;
	}
	*out = in;
	return 0;
}

/* What was noted since the last scan. */
static void write_notes(struct inbox *in)
{
	for (struct parcel *p = in->parcels; p; p = p->next)
		if (p->dirty && p->granted && inbox_record_write_(in, p))
			log_warning("a record of the inbox stays old");
}

void inbox_close(struct inbox *in)
{
	if (!in)
		return;
	if (in->dir_fd >= 0)
		write_notes(in);
	while (in->parcels)
		inbox_drop_(in, in->parcels);
	inbox_table_free_(in);
	inbox_log_free_(in);
	contacts_fini(&in->contacts);
	free(in->parts);
	free(in->done);
	free(in->envelopes);
	free(in->refusals);
	free(in->declines);
	cleanup_fd_(&in->dir_fd);
	secret_free(in->me);
	secret_free(in->seal);
	pthread_rwlock_destroy(&in->lock);
	pthread_mutex_destroy(&in->work);
	free(in);
}

/* Every set by its key: advancing one may drop another. */
static int advance_all(struct inbox *in)
{
	CLEANUP_FREE uint8_t(*keys)[PARCEL_KEY_LEN] = NULL;
	size_t count = 0, i = 0;
	int first_err = 0;

	for (const struct parcel *p = in->parcels; p; p = p->next)
		count++;
	keys = calloc(count + 1, PARCEL_KEY_LEN);
	if (!keys)
		return -ENOMEM;
	for (const struct parcel *p = in->parcels; p; p = p->next)
		memcpy(keys[i++], p->key, PARCEL_KEY_LEN);
	/* the list begins with the youngest */
	while (i-- > 0) {
		struct parcel *p = inbox_find_(in, keys[i]);
		bool dropped = false;
		int err = p ? inbox_advance_(in, p, &dropped) : 0;

		if (err == -EINTR)
			return err;
		if (!first_err)
			first_err = err;
		/* became a grant just now */
		if (!err && !dropped && p && p->granted)
			first_err = first_err ? first_err : introduce(in, p);
	}
	return first_err;
}

/*
 * Of what a mount has done that was killed then, not all may be durable; what
 * follows on it must not be before it.
 */
static int settle(const struct inbox *in)
{
	if (!in->parcels && in->envelope_count == 0)
		return 0;
	return syncfs(in->dir_fd) < 0 ? -errno : 0;
}

/* In the lock file of a shared vault, one byte: is anybody at work? */
static const char at_rest = '0', at_work = '1';

static bool says_at_work(int lock_fd)
{
	char who;

	return pread(lock_fd, &who, 1, 0) == 1 && who == at_work;
}

/* Is there anything to be left half done? Else the lock is not written, which
 * may lie in a folder that is synchronised. */
static bool has_work(const struct inbox *in)
{
	for (const struct parcel *p = in->parcels; p; p = p->next)
		if (!p->granted)
			return true;
	return in->envelope_count > 0 || in->part_count > 0;
}

/* What lies there is known, durable, and this one's to work on. */
static int begin_work(struct inbox *in, int lock_fd)
{
	int err = inbox_log_refresh_(in);

	if (!err)
		err = inbox_spool_list_(in, !in->swept);
	if (!err && !in->swept)
		err = settle(in);
	/* the byte is written over, which takes no room */
	if (!err && lock_fd >= 0 && has_work(in))
		err = xio_pwrite(lock_fd, &at_work, 1, 0);
	return err;
}

static int work(struct inbox *in, int lock_fd)
{
	int err = introduce_all(in), take_err;

	if (!err)
		err = begin_work(in, lock_fd);
	if (err)
		return err;
	in->swept = true;
	in->vain_hunts = 0;
	take_err = inbox_take_all_(in);
	if (take_err == -EINTR)
		return take_err;
	err = inbox_drain_declines_(in);
	if (!err && !in->looked) {
		err = inbox_look_(in);
		in->looked = !err;
	}
	if (!err)
		err = inbox_claim_parts_(in);
	if (!err)
		err = advance_all(in);
	if (!err)
		err = inbox_drain_declines_(in);
	if (!err)
		err = inbox_refuse_rest_(in);
	return err ? err : take_err;
}

/* 1: another mount is at work. */
static int lock_shared(struct inbox *in, int *fd)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	int opened;

	if (!in->vault->shared)
		return 0;
	opened = openat(in->dir_fd, WORK_LOCK_FILE,
			O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (opened < 0)
		return -errno;
	*fd = opened;
	if (fcntl(opened, F_OFD_SETLK, &fl) < 0)
		return errno == EAGAIN || errno == EACCES ? 1 : -errno;
	/* who was killed at work has left what a mount finds that begins */
	if (says_at_work(opened))
		in->swept = false;
	return vtree_own(in->vault, opened);
}

static int scan(struct inbox *in)
{
	CLEANUP_FD int lock_fd = -1;
	int err = meet_identity(in), busy;

	if (err)
		return err;
	busy = lock_shared(in, &lock_fd);
	if (busy < 0)
		return busy;
	if (in->vault->shared) {
		/* another mount may have worked: what it wrote down is so */
		write_notes(in);
		err = load_all(in);
	}
	if (!err && busy)
		return introduce_all(in);
	if (!err)
		err = work(in, lock_fd);
	/* failing, it is taken for killed */
	if (!err && lock_fd >= 0 && says_at_work(lock_fd))
		(void)!xio_pwrite(lock_fd, &at_rest, 1, 0);
	return err;
}

int inbox_scan(struct inbox *in, const atomic_bool *stop)
{
	int err;

	pthread_mutex_lock(&in->work);
	in->stop = stop;
	err = scan(in);
	in->stop = NULL;
	pthread_mutex_unlock(&in->work);
	inbox_settle_declines_(in);
	return err;
}
