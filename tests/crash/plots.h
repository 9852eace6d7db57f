/* What the plots*.c files share. */
#ifndef FROND_CRASH_PLOTS_H
#define FROND_CRASH_PLOTS_H

#include "random.h"
#include "story.h"

static inline size_t below(struct story *s, size_t limit)
{
	return random_below(&s->rng, limit);
}

/* Files of these lengths, called f0, f1, ..., shut. Their first node. */
unsigned plot_made(struct story *s, unsigned dir, const size_t *len,
		   unsigned count);

/* plots_race.c: with the journal being emptied meanwhile. */
void plot_growing(struct story *s);
void plot_punching(struct story *s);
void plot_racing(struct story *s);
void plot_reopened(struct story *s);
void plot_filling(struct story *s);
void plot_rewriting(struct story *s);
void plot_scattered(struct story *s);

/* plots_seen.c: what the machine remembers meanwhile. */
void plot_remembered(struct story *s);
void plot_left(struct story *s);

/* plots_served.c: what fs/mount alone does. */
void plot_visits(struct story *s);

#endif
