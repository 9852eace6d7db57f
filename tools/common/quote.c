#include "quote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "0123456789"
			    "/._-+:,@%";

char *quote_word(const char *text)
{
	size_t len = strlen(text);
	char *out, *end;

	if (len > 0 && strspn(text, plain) == len)
		return strdup(text);
	/* at worst every character is a quote: '\'' */
	out = malloc(4 * len + sizeof "''");
	if (!out)
		return NULL;
	end = out;
	*end++ = '\'';
	for (; *text; text++) {
		if (*text == '\'')
			end = stpcpy(end, "'\\'");
		*end++ = *text;
	}
	*end++ = '\'';
	*end = '\0';
	return out;
}

char *quote_program(void)
{
	return strchr(program_invocation_name, '/')
		       ? quote_word(program_invocation_name)
		       : strdup("frondfs");
}
