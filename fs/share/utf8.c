#include "utf8.h"

#include <stdint.h>

/* The character at s; 0 when the bytes there are no UTF-8. *used: its bytes */
static uint32_t decode(const unsigned char *s, size_t len, size_t *used)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80	 ? 1
		   : s[0] < 0xc2 ? 0
		   : s[0] < 0xe0 ? 2
		   : s[0] < 0xf0 ? 3
		   : s[0] < 0xf5 ? 4
				 : 0;
	uint32_t c;

	*used = n;
	if (n <= 1)
		return n ? s[0] : 0;
	if (n > len)
		return 0;
	c = s[0] & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	return c;
}

static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 ||
	       c == 0x2029;
}

/* Embeddings, overrides and isolates. */
static bool reorders(uint32_t c)
{
	return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* Zero width, direction marks, word joiner and its kin, tags. */
static bool is_invisible(uint32_t c)
{
	return c == 0xad || c == 0x61c || c == 0x180e ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x2060 && c <= 0x206f) ||
	       c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
	       (c >= 0xe0000 && c <= 0xe007f);
}

bool utf8_valid(const char *s, size_t len, enum utf8_use use)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t used;

	for (size_t at = 0; at < len; at += used) {
		uint32_t c = decode(p + at, len - at, &used);

		if (use == UTF8_TEXT && (c == '\n' || c == '\t'))
			continue;
		if (is_control(c) || reorders(c))
			return false;
		if (use == UTF8_NAME && is_invisible(c))
			return false;
	}
	return true;
}

/* Of whatever width, and what is drawn as nothing. */
static bool is_blank(uint32_t c)
{
	return c == ' ' || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x202f || c == 0x205f ||
	       c == 0x2800 || c == 0x3000 || c == 0x3164;
}

bool utf8_trimmed(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	bool blank = true;
	size_t used;

	for (size_t at = 0; at < len; at += used) {
		blank = is_blank(decode(p + at, len - at, &used));
		if (used == 0 || (at == 0 && blank))
			return false;
	}
	return !blank;
}
