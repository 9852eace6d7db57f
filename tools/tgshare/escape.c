#include "escape.h"
#include "text.h"

#include <errno.h>
#include <string.h>

static char *escape(const char *text)
{
	static const char hex[] = "0123456789abcdef";
	char *out = malloc(3 * strlen(text) + 1), *end = out;

	if (!out)
		return NULL;
	for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
		if (*p == '%' || *p < 0x20 || *p >= 0x7f) {
			*end++ = '%';
			*end++ = hex[*p >> 4];
			*end++ = hex[*p & 15];
		} else {
			*end++ = (char)*p;
		}
	}
	*end = '\0';
	return out;
}

int escape_undo(const char *text, char **out)
{
	char *bytes = malloc(strlen(text) + 1);
	size_t n = 0;

	if (!bytes)
		return -ENOMEM;
	while (*text) {
		uint8_t byte = (uint8_t)*text;
		bool escaped = byte == '%';

		if (escaped && (strnlen(text, 3) < 3 ||
				hex_decode(text + 1, 2, &byte, 1))) {
			free(bytes);
			return -EBADMSG;
		}
		bytes[n++] = (char)byte;
		text += escaped ? 3 : 1;
	}
	bytes[n] = '\0';
	*out = bytes;
	return 0;
}

json_t *escape_hex(const uint8_t *bytes, size_t len)
{
	char text[2 * 64 + 1];

	hex_encode(bytes, len, text);
	return json_string(text);
}

json_t *escape_json(const char *text)
{
	CLEANUP_FREE char *escaped = escape(text ? text : "");

	return escaped ? json_string(escaped) : NULL;
}

bool escape_unhex(const char *hex, uint8_t *bytes, size_t len)
{
	return hex && hex_decode(hex, strlen(hex), bytes, len) == 0;
}
