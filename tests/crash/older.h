/*
 * The other way round: what somebody puts back must be noticed where the newer
 * has been seen and kept.
 */
#ifndef FROND_CRASH_OLDER_H
#define FROND_CRASH_OLDER_H

#include "stage.h"

/*
 * Play it to its end, put something back as it was at any time before, and
 * look: again and again, *count times at most; out: how often there was
 * something older to put back. How many of these went unnoticed.
 */
size_t older_run(const struct stage *stage, const struct story_plot *plot,
		 uint64_t seed, size_t *count);

#endif
