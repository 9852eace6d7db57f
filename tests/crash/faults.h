/* Every call of a workload fails once, in each way that it can. */
#ifndef FROND_CRASH_FAULTS_H
#define FROND_CRASH_FAULTS_H

#include "stage.h"

/* How many violations there were; *count: faults. */
size_t faults_run(const struct stage *stage, const struct story_plot *plot,
		  uint64_t seed, size_t *count);

/* The same of what fs/mount serves, each place in the code failing once. */
size_t faults_served(const struct stage *stage, const struct story_plot *plot,
		     uint64_t seed, size_t *count);

#endif
