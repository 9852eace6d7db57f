/* Steps that are about what the machine remembers. */
#include "story_internal.h"

#include "journal_internal.h"

#include <time.h>

enum { WAIT_MS = 2000, SLICE_MS = 5 };

void story_settle(struct vault *vault)
{
	const struct timespec slice = {.tv_nsec = SLICE_MS * 1000000L};
	struct journal *j = vault->journal;

	for (int ms = 0; j && ms < WAIT_MS; ms += SLICE_MS) {
		bool busy;

		pthread_mutex_lock(&j->wake_lock);
		busy = j->ticking || j->durable_s == INT64_MIN;
		pthread_mutex_unlock(&j->wake_lock);
		if (!busy)
			return;
		nanosleep(&slice, NULL);
	}
}

static int act_checkpoint(void *arg)
{
	struct story *s = arg;
	struct journal *j = s->vault->journal;

	if (!j)
		return 0;
	story_settle(s->vault);
	return journal_checkpoint_(j);
}

void story_checkpoint(struct story *s)
{
	story_step(s, "making all durable", act_checkpoint, s);
}

static int act_clock_back(void *arg)
{
	const long *seconds = arg;

	shown_past(*seconds);
	return 0;
}

void story_clock_back(struct story *s, long seconds)
{
	story_step(s, "setting the clock back", act_clock_back, &seconds);
}
