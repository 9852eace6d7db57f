#include "text.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

void base64url_encode(const uint8_t *bytes, size_t len, char *text)
{
	sodium_bin2base64(text, BASE64URL_LEN(len) + 1, bytes, len,
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

void base64url_encode_padded(const uint8_t *bytes, size_t len, char *text)
{
	sodium_bin2base64(text, BASE64URL_PADDED_LEN(len) + 1, bytes, len,
			  sodium_base64_VARIANT_URLSAFE);
}

static int decode(const char *text, size_t text_len, uint8_t *bytes, size_t max,
		  size_t *len_out, int variant)
{
	size_t len;
	const char *end;

	/* libsodium 1.0.18 takes every byte from 0x80 on for one of the
	 * alphabet where char is signed. */
	for (size_t i = 0; i < text_len; i++)
		if ((unsigned char)text[i] >= 0x80)
			return -EINVAL;
	if (sodium_base642bin(bytes, max, text, text_len, NULL, &len, &end,
			      variant) != 0 ||
	    end != text + text_len)
		return -EINVAL;
	*len_out = len;
	return 0;
}

int base64url_decode(const char *text, size_t text_len, uint8_t *bytes,
		     size_t max, size_t *len_out)
{
	return decode(text, text_len, bytes, max, len_out,
		      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

int base64url_decode_padded(const char *text, size_t text_len, uint8_t *bytes,
			    size_t max, size_t *len_out)
{
	return decode(text, text_len, bytes, max, len_out,
		      sodium_base64_VARIANT_URLSAFE);
}

void hex_encode(const uint8_t *bytes, size_t len, char *text)
{
	sodium_bin2hex(text, 2 * len + 1, bytes, len);
}

int hex_decode(const char *text, size_t text_len, uint8_t *bytes, size_t len)
{
	size_t got;
	const char *end;

	if (text_len != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < text_len; i++)
		if (text[i] >= 'A' && text[i] <= 'F')
			return -EINVAL;
	if (sodium_hex2bin(bytes, len, text, text_len, NULL, &got, &end) != 0 ||
	    end != text + text_len || got != len)
		return -EINVAL;
	return 0;
}
