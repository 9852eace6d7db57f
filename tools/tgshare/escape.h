/* File names are bytes, JSON is UTF-8: names with "%" and what is no printable
 * ASCII as %XX. */
#ifndef TGSHARE_ESCAPE_H
#define TGSHARE_ESCAPE_H

#include "cleanup.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A JSON string; NULL when memory is short. NULL text is "". */
MUST_CHECK json_t *escape_json(const char *text);
/* *out is malloced. -EBADMSG, -ENOMEM. */
MUST_CHECK int escape_undo(const char *text, char **out);

/* At most 64 bytes as hex digits. */
MUST_CHECK json_t *escape_hex(const uint8_t *bytes, size_t len);
bool escape_unhex(const char *hex, uint8_t *bytes, size_t len);

#endif
