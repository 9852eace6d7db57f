/* Arbitrary bytes as text that other programs, or terminals, can take. */
#ifndef FROND_JSON_H
#define FROND_JSON_H

#include <stdio.h>

/*
 * text as a JSON string (RFC 8259), quotes included. Bytes that are not
 * UTF-8 become the lone surrogates U+DC80 to U+DCFF, as Python's
 * os.fsencode() takes them back.
 */
void json_put_string(FILE *out, const char *text);

/* text as plain_copy() has it. */
void json_put_plain(FILE *out, const char *text);

#endif
