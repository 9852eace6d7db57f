#include "json.h"

#include "plain.h"

#include <stddef.h>
#include <stdint.h>

void json_put_string(FILE *out, const char *text)
{
	const uint8_t *p = (const uint8_t *)text;

	(void)fputc('"', out);
	while (*p) {
		size_t len = plain_utf8_len(p);

		if (len == 0)
			fprintf(out, "\\udc%02x", *p);
		else if (plain_hidden(p, len))
			fprintf(out, "\\u%04x", plain_hidden(p, len));
		else if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else
			(void)fwrite(p, 1, len, out);
		p += len ? len : 1;
	}
	(void)fputc('"', out);
}

void json_put_plain(FILE *out, const char *text)
{
	char next[PLAIN_ROOM(4)];

	while (*text)
		(void)fwrite(next, 1, plain_next(&text, next), out);
}
