/*
 * Why something could not be delivered the last time it was tried: beside the
 * set's record in the outbox, a file "why-<party>" with one sentence. It counts
 * as long as nothing was delivered since.
 */
#ifndef TGSHARE_WHY_H
#define TGSHARE_WHY_H

#include "item.h"

enum { WHY_MAX = 512 };

/* Failures are of no consequence. Under session_lock(). */
void why_note(int outbox, const struct item *item, unsigned party,
	      const char *reason);
/* "" when it is not known. */
const char *why_of(int outbox, const struct item *item, unsigned party,
		   char text[static WHY_MAX]);

#endif
