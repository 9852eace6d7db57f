/* Steps that meet a journal being emptied. */
#include "story_internal.h"

#include "journal.h"

#include <errno.h>

enum { ROOM_EVERY = 4 };

struct journal;
void __real_journal_give_room_(struct journal *j);
void __wrap_journal_give_room_(struct journal *j);

/* In a mount that is never idle, what is written next lies over old records. */
void __wrap_journal_give_room_(struct journal *j)
{
	static unsigned calls;

	if (++calls % ROOM_EVERY == 0)
		__real_journal_give_room_(j);
}

static void *empty_journal(void *arg)
{
	struct story *s = arg;

	hold_thread_is(HOLD_FLUSH);
	if (s->flush.waits)
		hold_await();
	s->flush.error = journal_flush(s->vault);
	/* nor is anything remembered of files that are not open */
	(void)journal_spare_fds(s->vault);
	hold_let_go();
	hold_not_met();
	return NULL;
}

static void start(struct story *s, enum hold_who who, size_t n)
{
	hold_arm(who, n);
	s->flush.waits = who == HOLD_STORY;
	if (pthread_create(&s->flush.thread, NULL, empty_journal, s) != 0)
		story_broken(s, "a thread", -EAGAIN);
	s->flush.runs = true;
}

static void join(struct story *s)
{
	if (!s->flush.runs)
		return;
	pthread_join(s->flush.thread, NULL);
	s->flush.runs = false;
	if (s->flush.error)
		story_broken(s, "emptying the journal", s->flush.error);
}

void story_flush_begin(struct story *s, size_t n)
{
	if (!s->vault)
		return;
	start(s, HOLD_FLUSH, n);
	hold_await();
}

void story_flush_end(struct story *s)
{
	hold_let_go();
	join(s);
}

void story_flush_within(struct story *s, size_t n)
{
	s->flush.within = n + 1;
}

void story_race_begins(struct story *s)
{
	if (s->flush.within && s->vault)
		start(s, HOLD_STORY, s->flush.within - 1);
}

void story_race_ends(struct story *s)
{
	if (!s->flush.within)
		return;
	s->flush.within = 0;
	hold_not_met();
	join(s);
}
