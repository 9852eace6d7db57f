/*
 * Emptying segments: what their records are about is in place and durable by
 * then, or, for a file that cannot be written, in the other one.
 */
#include "journal_internal.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <string.h>

/* Writers that wait for room are told why there is none. */
static void set_stuck(struct journal *j, int err)
{
	bool news;

	pthread_mutex_lock(&j->append_lock);
	news = err && j->stuck != err;
	j->stuck = err;
	if (err)
		pthread_cond_broadcast(&j->room);
	pthread_mutex_unlock(&j->append_lock);
	if (news)
		log_error("%s: chunks cannot be brought from the journal to "
			  "their place: %s; they are kept there, and it is "
			  "tried again",
			  j->vault->path, strerror(-err));
}

int journal_for_all_(struct journal *j,
		     int (*fn)(struct journal_file *jf, unsigned segment),
		     unsigned segment)
{
	struct journal_file **all = journal_all_(j);
	int err = all ? 0 : -ENOMEM;

	for (size_t i = 0; all && all[i]; i++) {
		int e = fn(all[i], segment);

		if (!err)
			err = e;
		journal_put_back_(all[i]);
	}
	free(all);
	return err;
}

/*
 * Is the end in place without its mark? Nobody is between the record that
 * takes the mark away and what follows it in place, so all of the file's
 * present length is there, but for what has a record.
 */
static bool look_at_end(struct journal_file *jf)
{
	bool flux;

	pthread_mutex_lock(&jf->applying);
	pthread_mutex_lock(&jf->journal->append_lock);
	flux = jf->flux;
	jf->shortest = jf->size;
	jf->solid = jf->size;
	pthread_mutex_unlock(&jf->journal->append_lock);
	pthread_mutex_unlock(&jf->applying);
	/* by whom does not matter */
	if (flux)
		jf->changed++;
	return flux;
}

/*
 * A file whose end has no mark in place, and whose record saying why is about
 * to be forgotten: say how much of it is durable. It may have grown since, or
 * have ended; of its length this says nothing.
 */
static int note_floor(struct journal_file *jf)
{
	struct journal_head head = {.kind = JOURNAL_KIND_TOKENS,
				    .ino = jf->ino,
				    .size = JOURNAL_SIZE_KEPT,
				    .marked = jf->holes_known,
				    .holes = jf->holes};
	const struct journal_put put = {
		.head = &head, .quiet = true, .hurry = true, .note = true};

	memcpy(head.file_id, jf->id, sizeof head.file_id);
	return journal_append_(jf, &put);
}

/* So much of it was durable, unless it has been cut since. */
static void raise_floor(struct journal_file *jf)
{
	pthread_mutex_lock(&jf->journal->append_lock);
	if (jf->floor < jf->shortest)
		jf->floor = jf->shortest;
	pthread_mutex_unlock(&jf->journal->append_lock);
}

/* All that the journal has of it is in place then, and durable. */
static int bring_home(struct journal_file *jf, bool *flux)
{
	int err = jf->lost ? journal_again_(jf) : 0, e;

	if (!err)
		err = journal_drain_(jf);
	*flux = look_at_end(jf);
	/* though not all of it got there */
	e = journal_sync_file_(jf);
	if (!e)
		raise_floor(jf);
	return err ? err : e;
}

static int bring_bare(struct journal_file *jf, unsigned segment)
{
	bool flux;

	(void)segment;
	return bring_home(jf, &flux);
}

bool journal_waits_(const struct journal_file *jf)
{
	return jf->failing && !jf->journal->insists &&
	       clock_now_ms() < jf->again_ms;
}

/* It cannot be written, but others can. */
static int keep_file(struct journal_file *jf, unsigned segment, int why)
{
	int err = journal_keep_(jf, segment);

	if (err)
		return err;
	jf->journal->carried = why;
	if (!jf->failing)
		log_error(
			"%s: chunks of a file cannot be brought from the "
			"journal to their place: %s; they are kept there, and "
			"it is tried again",
			jf->journal->vault->path, strerror(-why));
	if (!journal_waits_(jf))
		jf->again_ms = clock_now_ms() + JOURNAL_AGAIN_MS;
	jf->failing = why;
	return 0;
}

/* Nothing is appended to the segment any more. */
static int finish_file(struct journal_file *jf, unsigned segment)
{
	bool flux;
	int why, err = 0;

	if (journal_waits_(jf)) {
		why = jf->failing;
		flux = look_at_end(jf);
	} else {
		why = bring_home(jf, &flux);
	}
	if (why)
		err = keep_file(jf, segment, why);
	else
		jf->failing = 0;
	/* of a file without records nobody knows that it was being changed */
	return err || !(flux || (why && jf->filled)) ? err : note_floor(jf);
}

/* Needs the retire_lock. */
static int retire(struct journal *j, unsigned segment)
{
	int err = journal_for_all_(j, finish_file, segment);

	if (!err)
		err = journal_commit_(j, j->appended, NULL);
	return err ? err : journal_void_(j, segment);
}

/* The segment to be emptied next, or -1: the full one, else, with all, the
 * active one, which is none from now on. */
static int next_to_retire(struct journal *j, bool all, int *found)
{
	unsigned other;
	int err = 0;

	*found = -1;
	pthread_mutex_lock(&j->append_lock);
	other = 1 - j->active;
	if (!journal_is_empty_(&j->seg[other])) {
		*found = (int)other;
	} else if (all && !journal_is_empty_(&j->seg[j->active])) {
		err = journal_mark_(j, &j->seg[j->active]);
		if (!err) {
			*found = (int)j->active;
			j->active = other;
		}
	}
	pthread_mutex_unlock(&j->append_lock);
	return err;
}

/* What has failed once is written elsewhere; for want of room, that is no
 * better. */
static void renew_active(struct journal *j, int why)
{
	if (why == -ENOSPC || why == -EDQUOT)
		return;
	pthread_mutex_lock(&j->commit_lock);
	pthread_mutex_lock(&j->append_lock);
	(void)!journal_renew_(j, j->active, j->seg[j->active].end);
	pthread_mutex_unlock(&j->append_lock);
	pthread_mutex_unlock(&j->commit_lock);
}

static int bring_ready(struct journal_file *jf, unsigned segment)
{
	return journal_waits_(jf) ? 0 : bring_bare(jf, segment);
}

/*
 * The active segment cannot be left, as its end cannot be marked. What is in
 * place needs none: a removed file that nobody has open gives its room back
 * then, and with that the mark can be written.
 */
static void stay(struct journal *j, int why)
{
	renew_active(j, why);
	(void)!journal_for_all_(j, bring_ready, 0);
}

/* What is carried into a segment while the other one is emptied can stay. */
static unsigned how_many(struct journal *j)
{
	unsigned n = 0;

	pthread_mutex_lock(&j->append_lock);
	for (unsigned i = 0; i < JOURNAL_SEGMENTS; i++)
		n += !journal_is_empty_(&j->seg[i]);
	pthread_mutex_unlock(&j->append_lock);
	return n;
}

int journal_retire_(struct journal *j, bool all, bool insist, int *kept)
{
	int err = 0;

	pthread_mutex_lock(&j->retire_lock);
	j->carried = 0;
	j->insists = insist;
	for (unsigned n = how_many(j); n > 0 && !err; n--) {
		int segment;

		err = next_to_retire(j, all, &segment);
		if (err)
			stay(j, err);
		if (segment < 0)
			break;
		err = retire(j, (unsigned)segment);
	}
	if (all && !err)
		journal_give_room_(j);
	if (kept)
		*kept = j->carried;
	j->insists = false;
	pthread_mutex_unlock(&j->retire_lock);
	set_stuck(j, err);
	return err;
}

int journal_save_(struct journal *j)
{
	j->unrecorded = true;
	return journal_for_all_(j, bring_bare, 0);
}

int journal_flush(struct vault *vault)
{
	int kept = 0, err = 0;

	if (vault->journal)
		err = journal_retire_(vault->journal, true, true, &kept);
	return err ? err : kept;
}
