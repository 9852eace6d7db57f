/*
 * Bytes as text: base64url (RFC 4648 section 5) with and without padding,
 * and lower-case hex. Decoders are strict: one spelling per byte string.
 */
#ifndef FROND_TEXT_H
#define FROND_TEXT_H

#include "cleanup.h"

#include <stddef.h>
#include <stdint.h>

/* Characters that len bytes need, without the closing NUL. */
#define BASE64URL_LEN(len) (((len)*4 + 2) / 3)
#define BASE64URL_PADDED_LEN(len) (((len) + 2) / 3 * 4)
/* Bytes that text_len characters may hold at most. */
#define BASE64URL_MAX_BYTES(text_len) ((text_len) / 4 * 3 + 3)

/* Write the text and a NUL: text has room for the length above plus 1. */
void base64url_encode(const uint8_t *bytes, size_t len, char *text);
void base64url_encode_padded(const uint8_t *bytes, size_t len, char *text);

/*
 * Decode text_len characters into at most max bytes; *len_out is their
 * number. -EINVAL: not base64url, wrong padding, stray bits, or too long.
 */
MUST_CHECK int base64url_decode(const char *text, size_t text_len,
				uint8_t *bytes, size_t max, size_t *len_out);
MUST_CHECK int base64url_decode_padded(const char *text, size_t text_len,
				       uint8_t *bytes, size_t max,
				       size_t *len_out);

/* text has room for 2 * len + 1 characters. */
void hex_encode(const uint8_t *bytes, size_t len, char *text);
/* Exactly 2 * len lower-case digits, else -EINVAL. */
MUST_CHECK int hex_decode(const char *text, size_t text_len, uint8_t *bytes,
			  size_t len);

#endif
