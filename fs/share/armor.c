#include "armor.h"

#include <string.h>

static int value_of(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Bytes of the blank at s, 0: none. Mail programs indent with U+00A0. */
static size_t blank_len(const char *s, size_t len)
{
	if (*s == ' ' || *s == '\t' || *s == '\r')
		return 1;
	return len >= 2 && memcmp(s, "\xc2\xa0", 2) == 0 ? 2 : 0;
}

int armor_next(struct armor *a)
{
	bool line_start = false;
	size_t at = a->at;
	int value;

	while (at < a->len) {
		const char *s = a->text + at;
		size_t blank = blank_len(s, a->len - at);

		if (*s == '\n')
			line_start = true;
		else if (!blank && !(line_start && (*s == '>' || *s == '|')))
			break;
		at += blank ? blank : 1;
	}
	value = at < a->len ? value_of((unsigned char)a->text[at]) : -1;
	if (value < 0)
		return -1;
	a->broken = at > a->at;
	a->at = at + 1;
	return value;
}

size_t armor_find(const char *text, size_t len, size_t from, const char *prefix)
{
	const char *found;

	if (from >= len)
		return len;
	found = memmem(text + from, len - from, prefix, strlen(prefix));
	return found ? (size_t)(found - text) : len;
}
