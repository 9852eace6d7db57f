/* Text that strangers chose and people will read. */
#ifndef FROND_UTF8_H
#define FROND_UTF8_H

#include <stdbool.h>
#include <stddef.h>

enum utf8_use {
	/* one line that stands for somebody: nothing invisible in it, nothing
	 * that turns the direction of writing */
	UTF8_NAME,
	/* line ends and tabs, joiners and direction marks, too; not overrides
	 * and embeddings, which reorder what stands around them */
	UTF8_TEXT,
};

/*
 * Is it well-formed UTF-8 (RFC 3629: shortest forms only, no surrogates)
 * without control characters, and fit for this use?
 */
bool utf8_valid(const char *s, size_t len, enum utf8_use use);

/* Does it begin and end with something that can be seen? s: well-formed. */
bool utf8_trimmed(const char *s, size_t len);

#endif
