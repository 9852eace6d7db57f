/*
 * Text of anybody's (names of files above all) as terminals and logs can take
 * it: it stays on its line, and looks like what it is.
 */
#ifndef FROND_PLAIN_H
#define FROND_PLAIN_H

#include <stddef.h>
#include <stdint.h>

/*
 * Length of the UTF-8 sequence at p (RFC 3629; p ends with a NUL), 0 when
 * there is none: stray or missing continuation bytes, overlong forms,
 * surrogates, beyond U+10FFFF.
 */
size_t plain_utf8_len(const uint8_t *p);

/*
 * The character of a whole sequence if terminals act on it instead of showing
 * it: controls, among them C1, line ends, and what turns the direction of text
 * around or has no width. 0: it may be shown. Joiners belong to words.
 */
unsigned plain_hidden(const uint8_t *p, size_t len);

/* For a text of len bytes, with the closing NUL. */
#define PLAIN_ROOM(len) (4 * (len) + 1)

/*
 * The first character of *text, which is not empty, with bytes as \ooo if it is
 * no UTF-8, or hidden: written to out, without a NUL. How many; *text is behind
 * it then.
 */
size_t plain_next(const char **text, char out[static PLAIN_ROOM(4)]);

/* All of them. out has PLAIN_ROOM(strlen(text)) bytes. */
void plain_copy(char *out, const char *text);

#endif
