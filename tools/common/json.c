#include "json.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Length of the UTF-8 sequence at p (RFC 3629; p ends with a NUL), 0 when
 * there is none: stray or missing continuation bytes, overlong forms,
 * surrogates, beyond U+10FFFF.
 */
static size_t utf8_len(const uint8_t *p)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t len;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return len;
}

void json_put_string(FILE *out, const char *text)
{
	const uint8_t *p = (const uint8_t *)text;

	(void)fputc('"', out);
	while (*p) {
		size_t len = utf8_len(p);

		if (len == 0)
			fprintf(out, "\\udc%02x", *p);
		else if (*p < 0x20 || *p == 0x7f)
			fprintf(out, "\\u%04x", *p);
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
	for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			fprintf(out, "\\%03o", *p);
		else
			(void)fputc(*p, out);
	}
}
