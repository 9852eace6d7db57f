/* What to do about what a check found: one sentence for all of a kind. */
#ifndef FROND_CHECK_ADVICE_H
#define FROND_CHECK_ADVICE_H

#include "check.h"

struct check_advice {
	unsigned kinds; /* a bit each */
};

/* This was found. */
void check_advice_add(struct check_advice *a, const struct check_finding *f);
/* Everything that was: on standard error. */
void check_advice_put(const struct check_advice *a);

#endif
