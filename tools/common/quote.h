/* Commands that a user can paste. */
#ifndef FROND_QUOTE_H
#define FROND_QUOTE_H

#include "cleanup.h"

/*
 * text as one word of a POSIX shell: itself where that does, else quoted.
 * malloced; NULL when memory is short.
 */
MUST_CHECK char *quote_word(const char *text);

/* How this program was called, as quote_word() has it: with its path if it
 * was called by one, as a build tree's is. */
MUST_CHECK char *quote_program(void);

#endif
