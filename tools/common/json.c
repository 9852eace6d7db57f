#include "json.h"

#include <stdbool.h>
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

/*
 * The character of a whole sequence if terminals act on it instead of showing
 * it: controls, among them C1, line ends, and what turns the direction of text
 * around or has no width. 0: it may be shown. Joiners belong to words.
 */
static unsigned hidden(const uint8_t *p, size_t len)
{
	unsigned c = len == 1	? p[0]
		     : len == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu)
		     : len == 3 ? (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 |
					  (p[2] & 0x3fu)
				: 0;
	bool is_hidden = c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c ||
			 c == 0x200b || c == 0x200e || c == 0x200f ||
			 (c >= 0x2028 && c <= 0x202e) ||
			 (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;

	return is_hidden ? c : 0;
}

void json_put_string(FILE *out, const char *text)
{
	const uint8_t *p = (const uint8_t *)text;

	(void)fputc('"', out);
	while (*p) {
		size_t len = utf8_len(p);

		if (len == 0)
			fprintf(out, "\\udc%02x", *p);
		else if (hidden(p, len))
			fprintf(out, "\\u%04x", hidden(p, len));
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
	const uint8_t *p = (const uint8_t *)text;

	while (*p) {
		size_t len = utf8_len(p), n = len ? len : 1;

		if (len && !hidden(p, len))
			(void)fwrite(p, 1, n, out);
		else
			for (size_t i = 0; i < n; i++)
				fprintf(out, "\\%03o", p[i]);
		p += n;
	}
}
