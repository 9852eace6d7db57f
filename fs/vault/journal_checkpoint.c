/*
 * How far back a crash reaches. What was changed since the session began is
 * looked at after it, and what was made since may end where it is torn. So that
 * this is a matter of minutes in a mount of months, everything is made durable
 * now and then, and the session begins anew.
 */
#include "vfile_internal.h"

#include "memory.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum {
	TICK_S = 60,
	AGAIN_TICKS = 10,
};

/* A new file may have an end without a mark and no record: that it was made in
 * the session will be true no more. */
static int note(struct vfile *f)
{
	struct journal_head head = {.kind = JOURNAL_KIND_TOKENS,
				    .size = JOURNAL_SIZE_KEPT};
	const struct journal_put put = {
		.head = &head, .quiet = true, .hurry = true};
	struct journal_file *jf;
	int err = vfile_get_jf_(f, false, &jf);

	if (err)
		return err;
	head.ino = jf->ino;
	head.marked = jf->holes_known;
	head.holes = jf->holes;
	memcpy(head.file_id, f->id, sizeof head.file_id);
	return journal_append_(jf, &put);
}

static int note_all(struct journal *j)
{
	int err = 0;

	pthread_mutex_lock(&j->flux_lock);
	for (struct vfile *f = j->flux; f && !err; f = f->flux_next)
		if (f->flux)
			err = note(f);
	pthread_mutex_unlock(&j->flux_lock);
	return err ? err : journal_commit_(j, j->appended, NULL);
}

/* Whoever ends the session waits for its files, and not for the disk. */
static int sync_all(struct journal *j)
{
	int err;

	pthread_mutex_lock(&j->wake_lock);
	j->syncing = true;
	pthread_cond_broadcast(&j->ends);
	pthread_mutex_unlock(&j->wake_lock);
	err = syncfs(j->dir_fd) < 0 ? -errno : 0;
	pthread_mutex_lock(&j->wake_lock);
	j->syncing = false;
	if (j->over)
		err = -ECANCELED;
	pthread_mutex_unlock(&j->wake_lock);
	return err;
}

/* What was changed before, in seconds, was so when this is asked: the kernel's
 * clock for files lags behind a little. */
static int64_t past(const struct journal *j)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	/* nothing was changed between that one and its session's beginning */
	return now.tv_sec == j->start_s ? now.tv_sec : now.tv_sec - 1;
}

int journal_checkpoint_(struct journal *j)
{
	int64_t from_s = past(j);
	int err;

	j->wrote = false;
	memory_mark(j->vault);
	err = note_all(j);
	if (!err)
		err = sync_all(j);
	if (!err) {
		j->durable_s = from_s;
		/* of the state directory: no matter of the vault's */
		(void)!memory_keep(j->vault);
		err = journal_move_session_(j, from_s);
	}
	if (err)
		j->wrote = true;
	return err;
}

void journal_mind_clock_(struct journal *j)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec >= j->start_s)
		return;
	pthread_mutex_lock(&j->commit_lock);
	(void)!journal_keep_session_(j);
	pthread_mutex_unlock(&j->commit_lock);
}

/* True: it is over. */
static bool wait_until_over(struct journal *j, int seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	while (!j->over &&
	       pthread_cond_timedwait(&j->ends, &j->wake_lock, &until) == 0)
		;
	return j->over;
}

/*
 * First of all, what others have left in the page cache, who knew nothing of
 * this journal; then what was written in the first minute; then as it comes.
 * What fails is tried again, and does no harm.
 */
static void tick(struct journal *j, unsigned n)
{
	bool news = j->wrote || memory_has_news(j->vault);

	if (n == 0 || (news && n % AGAIN_TICKS == 1) ||
	    memory_is_full(j->vault))
		(void)!journal_checkpoint_(j);
	else if (j->wrote)
		journal_mind_clock_(j);
}

static void *keep(void *arg)
{
	struct journal *j = arg;

	pthread_mutex_lock(&j->wake_lock);
	for (unsigned n = 0; !wait_until_over(j, n ? TICK_S : 0); n++) {
		j->ticking = true;
		pthread_mutex_unlock(&j->wake_lock);
		tick(j, n);
		pthread_mutex_lock(&j->wake_lock);
		j->ticking = false;
		pthread_cond_broadcast(&j->ends);
	}
	pthread_mutex_unlock(&j->wake_lock);
	return NULL;
}

int journal_keeper_start_(struct journal *j)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	err = pthread_create(&j->keeper, NULL, keep, j);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	j->keeps = err == 0;
	return -err;
}

void journal_keeper_stop_(struct journal *j)
{
	if (!j->keeps)
		return;
	pthread_mutex_lock(&j->wake_lock);
	j->over = true;
	pthread_cond_broadcast(&j->ends);
	while (j->ticking && !j->syncing)
		pthread_cond_wait(&j->ends, &j->wake_lock);
	pthread_mutex_unlock(&j->wake_lock);
}

void journal_keeper_join_(struct journal *j)
{
	if (j->keeps)
		pthread_join(j->keeper, NULL);
}
