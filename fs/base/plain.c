#include "plain.h"

#include <stdbool.h>
#include <string.h>

size_t plain_utf8_len(const uint8_t *p)
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

unsigned plain_hidden(const uint8_t *p, size_t len)
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

size_t plain_next(const char **text, char out[static PLAIN_ROOM(4)])
{
	const uint8_t *p = (const uint8_t *)*text;
	size_t len = plain_utf8_len(p), n = len ? len : 1;
	char *end = out;

	*text += n;
	if (len && !plain_hidden(p, len)) {
		memcpy(out, p, n);
		return n;
	}
	for (size_t i = 0; i < n; i++) {
		*end++ = '\\';
		*end++ = (char)('0' + (p[i] >> 6));
		*end++ = (char)('0' + (p[i] >> 3 & 7));
		*end++ = (char)('0' + (p[i] & 7));
	}
	return (size_t)(end - out);
}

void plain_copy(char *out, const char *text)
{
	char next[PLAIN_ROOM(4)];
	size_t n;

	while (*text) {
		n = plain_next(&text, next);
		memcpy(out, next, n);
		out += n;
	}
	*out = '\0';
}
