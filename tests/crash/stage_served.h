/* A vault that is mounted, and served by threads of this process. */
#ifndef FROND_CRASH_STAGE_SERVED_H
#define FROND_CRASH_STAGE_SERVED_H

#include "vault.h"

#include <stdbool.h>

/* Can anything be mounted here? */
bool served_possible(void);

/* vault: opened, and no more. What failed leaves it so. One at a time. */
MUST_CHECK int served_begin(struct vault *vault, const char *point);
/* How it ended. */
MUST_CHECK int served_end(void);
/* The process that a mount starts has what it had open for a moment: until it
 * lets go of the lock. */
void served_settle(const char *path);

#endif
