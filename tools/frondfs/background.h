/*
 * Going into the background only once the work has begun: the parent stays
 * in front, passing on signals and stops, until the child is ready or gone.
 */
#ifndef FROND_BACKGROUND_H
#define FROND_BACKGROUND_H

#include "cleanup.h"

#include <stdbool.h>

/*
 * Fork. True in the child; *ready_fd is for background_ready(). False in the
 * parent, after the child is ready (*status 0) or gone (*status is its exit
 * status, or 1 after saying why); a signal from the terminal that killed the
 * child kills the parent as well.
 */
MUST_CHECK bool background_fork(int *ready_fd, int *status);

/*
 * In the child: leave the terminal, the directory and the standard streams, and
 * let the parent go.
 */
void background_ready(int ready_fd);

#endif
