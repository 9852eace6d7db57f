/* Guessing which word a mistyped one was meant to be. */
#ifndef FROND_SUGGEST_H
#define FROND_SUGGEST_H

#include <stddef.h>

/*
 * The candidate that word is fewest typing mistakes away from (letters
 * missing, added, wrong, or two swapped). NULL: none is near enough, which
 * means two mistakes, and less than word has letters.
 */
const char *suggest_nearest(const char *word, const char *const *candidates,
			    size_t count);

#endif
