#include "conflict.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum { HOST_MAX = 15 }; /* of a Windows computer's name */

static const char digits[] = "0123456789";

/* OneDrive adds "-" and the computer's name. */
static bool is_host(const char *rest)
{
	size_t len = strspn(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789");

	return len >= 2 && len <= HOST_MAX && rest[len] == '\0' &&
	       rest[0] != '-';
}

static bool is_number(const char *rest)
{
	size_t len = strspn(rest, digits);

	return len >= 1 && len <= 3 && rest[len] == '\0';
}

/* What stands behind a blank: "(...)", "- Copy", or a number. */
static bool is_remark(const char *rest)
{
	size_t len = strlen(rest);

	if (rest[0] == '(')
		return rest[len - 1] == ')' && len > 2;
	return is_number(rest) || strncasecmp(rest, "- copy", 6) == 0;
}

static bool is_addition(const char *text)
{
	switch (text[0]) {
	case '~':
		return text[1] == '\0';
	case ' ':
		return text[1] && is_remark(text + 1);
	case '.':
		return strncmp(text, ".sync-conflict-", 15) == 0 ||
		       strncasecmp(text, ".conflict", 9) == 0;
	case '_':
		return strncmp(text, "_conflict-", 10) == 0;
	case '-':
		return is_host(text + 1);
	default:
		return false;
	}
}

size_t conflict_cut(const char *name, size_t from)
{
	for (size_t at = from;; at++) {
		at += strcspn(name + at, "~ ._-");
		if (name[at] == '\0')
			return 0;
		if (is_addition(name + at))
			return at;
	}
}
