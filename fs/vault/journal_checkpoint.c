/*
 * How far back a crash reaches. What was changed since the session began is
 * looked at after it, and what was made since may end where it is torn. So that
 * this is a matter of minutes in a mount of months, everything is made durable
 * now and then, and the session begins anew.
 */
#include "vfile_internal.h"

#include "log.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum { FIRST_S = 60, AGAIN_S = 600 };

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
		if (f->flux && !f->jf)
			err = note(f);
	pthread_mutex_unlock(&j->flux_lock);
	return err ? err : journal_commit_(j, j->appended, NULL);
}

int journal_checkpoint_(struct journal *j)
{
	struct timespec now;
	int err;

	clock_gettime(CLOCK_REALTIME, &now);
	/* from here on; the kernel's clock for files lags behind a little */
	j->wrote = false;
	now.tv_sec--;
	err = note_all(j);
	if (!err && syncfs(j->dir_fd) < 0)
		err = -errno;
	if (!err) {
		j->durable_s = now.tv_sec;
		err = journal_move_session_(j, now.tv_sec);
	}
	if (err)
		j->wrote = true;
	return err;
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

static void *keep(void *arg)
{
	struct journal *j = arg;
	int wait_s = FIRST_S;

	pthread_mutex_lock(&j->wake_lock);
	for (; !wait_until_over(j, wait_s); wait_s = AGAIN_S) {
		pthread_mutex_unlock(&j->wake_lock);
		/* what fails is tried again, and does no harm */
		if (j->wrote)
			(void)!journal_checkpoint_(j);
		pthread_mutex_lock(&j->wake_lock);
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
	pthread_cond_signal(&j->ends);
	pthread_mutex_unlock(&j->wake_lock);
	pthread_join(j->keeper, NULL);
}
