/* What a check finds, in words. */
#ifndef FROND_CHECK_WORDS_H
#define FROND_CHECK_WORDS_H

#include "check.h"

#include <stdio.h>

/* One line. */
void check_words_put(FILE *out, const struct check_finding *f);
/* One JSON object. */
void check_words_put_json(FILE *out, const struct check_finding *f);

#endif
