/*
 * What looked damaged while somebody was writing. It is when it stays as it
 * is: the mount finishes each thing it has begun within a second or so.
 */
#include "check_internal.h"
#include "vlink.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

enum {
	PAUSE_MS = 1500,
	SAME_LOOKS = 4,	 /* in a row that see the same damage */
	ROUNDS_MAX = 24, /* for what changes all the time */
	SLICE_MS = 100,	 /* between two looks at stop */
};

bool check_is_live(const struct check *c)
{
	return !c->opt->repair &&
	       vault_wait_unlocked(c->vault->path, 0) == -EBUSY;
}

static void pause_between(struct check *c)
{
	const struct timespec slice = {.tv_nsec = SLICE_MS * 1000000L};

	for (int ms = 0; ms < PAUSE_MS && !check_stopped(c); ms += SLICE_MS)
		nanosleep(&slice, NULL);
}

static bool is_there(const struct trouble *t, struct stat *st)
{
	return fstatat(t->dir->fd, t->entry, st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Is the directory still where it was found? One being removed loses its id. */
static bool dir_is_there(const struct check_dir *d)
{
	struct stat now, st;

	if (!d->parent)
		return true;
	return fstat(d->fd, &st) == 0 &&
	       fstatat(d->parent->fd, d->entry, &now, AT_SYMLINK_NOFOLLOW) ==
		       0 &&
	       now.st_ino == st.st_ino && now.st_dev == st.st_dev;
}

static bool name_is_bad(struct check *c, const struct trouble *t)
{
	char plain[NAME_PLAIN_MAX + 1];
	struct stat st;
	bool copy;

	return is_there(t, &st) &&
	       check_plain_name(c, t->dir, t->entry, plain, &copy) == -EBADMSG;
}

static bool link_is_bad(struct check *c, const struct trouble *t)
{
	char target[VLINK_TARGET_MAX + 1];
	size_t len;

	return vlink_read(c->vault, t->dir->fd, t->entry, target, &len) == -EIO;
}

static bool has_no_entry(const struct trouble *t)
{
	char owner[NAME_LONG_LEN + 1];
	struct stat st;

	memcpy(owner, t->entry, NAME_LONG_LEN);
	owner[NAME_LONG_LEN] = '\0';
	return is_there(t, &st) &&
	       fstatat(t->dir->fd, owner, &st, AT_SYMLINK_NOFOLLOW) < 0;
}

/* Of what is not a matter of bytes: is it still so? */
static bool is_still(struct check *c, const struct trouble *t)
{
	uint8_t id[DIRID_LEN];
	struct stat st;
	bool aside = false;

	switch (t->fault) {
	case CHECK_NAME:
	case CHECK_LONG_NAME:
	case CHECK_HIDDEN:
	case CHECK_FOREIGN:
		return name_is_bad(c, t);
	case CHECK_DIRID:
		return dir_is_there(t->dir) &&
		       (vdir_find_id(t->dir->fd, id, &aside) == -EIO ||
			vdir_prove_id(c->vault, t->dir->fd, id, aside) == -EIO);
	case CHECK_ASIDE:
		return dir_is_there(t->dir) && !is_there(t, &st);
	case CHECK_LINK:
		return link_is_bad(c, t);
	case CHECK_XATTR:
		return check_xattr_is_bad(c, t);
	case CHECK_NO_ENTRY:
		return has_no_entry(t);
	case CHECK_PUT_BACK:
		return false; /* who has mounted it since will say so */
	default:
		return t->dir ? is_there(t, &st) : check_meta_is_bad(c, t);
	}
}

static void look_at_header(struct check *c, struct trouble *t, bool *gone)
{
	uint64_t digest = 0;

	*gone = check_header_digest(t, &digest) != 0;
	t->looks = !*gone && digest == t->digest ? t->looks + 1 : 0;
	t->digest = digest;
	if (t->looks > 0 || *gone)
		return;
	/* Another file, or a whole one now: all of it is new. */
	*gone = true;
	check_file(c, t->dir, t->entry, t->plain, false);
}

/* What is wrong with the chunks now takes the trouble's place. */
static void look_at_chunks(struct check *c, struct trouble *t, bool *gone)
{
	CLEANUP_FREE struct chunk_fault *faults = NULL;
	struct trouble again = *t;
	size_t count = 0;
	int err = check_chunks_again(c, t, &faults, &count);

	*gone = false;
	if (!err && count == 1 && faults[0].fault == t->fault &&
	    faults[0].first == t->first && faults[0].last == t->last &&
	    faults[0].digest == t->digest) {
		t->looks++;
		return;
	}
	*gone = true;
	again.looks = 0;
	for (size_t i = 0; i < count; i++) {
		again.fault = faults[i].fault;
		again.first = faults[i].first;
		again.last = faults[i].last;
		again.digest = faults[i].digest;
		check_trouble(c, &again);
	}
	if (err == -EBADMSG)
		check_file(c, t->dir, t->entry, t->plain, false);
}

/* One more look. True: it is settled, and t is gone. */
static bool look(struct check *c, struct trouble *t, bool last_round)
{
	bool gone = false;

	if (check_is_chunk_fault(t->fault))
		look_at_chunks(c, t, &gone);
	else if (t->fault == CHECK_HEADER)
		look_at_header(c, t, &gone);
	else if (is_still(c, t))
		t->looks++;
	else
		gone = true;
	if (!gone && t->looks >= SAME_LOOKS) {
		check_found(c, t,
			    check_is_note(t->fault) ? CHECK_NOTE
						    : CHECK_DAMAGED,
			    NULL);
		gone = true;
	} else if (!gone && last_round) {
		t->fault = CHECK_BUSY;
		check_found(c, t, CHECK_NOTE, NULL);
		gone = true;
	}
	if (gone)
		check_trouble_free(t);
	return gone;
}

static void put_back(struct check *c, struct trouble *t)
{
	pthread_mutex_lock(&c->lock);
	t->next = c->troubles;
	if (!t->next)
		c->troubles_end = &t->next;
	c->troubles = t;
	pthread_mutex_unlock(&c->lock);
}

int check_look_again(struct check *c)
{
	struct trouble *list, *t;
	unsigned round = 0;

	while (!check_stopped(c) && round++ < ROUNDS_MAX &&
	       (list = check_take_troubles(c))) {
		pause_between(c);
		while ((t = list)) {
			list = t->next;
			if (check_stopped(c) ||
			    !look(c, t, round == ROUNDS_MAX))
				put_back(c, t);
		}
	}
	if (c->err)
		return c->err;
	return check_stopped(c) ? -EINTR : 0;
}
