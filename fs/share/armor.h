/*
 * base64url as it comes back from people: quoted, indented, broken into
 * lines. What it is and where it ends is the caller's to find out.
 */
#ifndef FROND_ARMOR_H
#define FROND_ARMOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct armor {
	const char *text;
	size_t len, at; /* at: behind the last character taken */
	bool broken;	/* blanks or a line end stood before it */
};

/*
 * The value (0 to 63) of the next base64url character. Blanks and line ends
 * are passed over, and at the beginning of a line the quotation marks ">" and
 * "|". -1: something else comes, or the end; at is left where it was, and
 * broken says nothing.
 */
int armor_next(struct armor *a);

/* Where prefix begins in text at or after from; len: nowhere. */
size_t armor_find(const char *text, size_t len, size_t from,
		  const char *prefix);

#endif
