/* Times and sizes, as people write and read them. */
#ifndef FROND_WHEN_H
#define FROND_WHEN_H

#include "cleanup.h"

#include <stddef.h>
#include <stdint.h>

uint64_t when_now_s(void);

/*
 * "30m", "12h", "7d", "2w" from now on, or a date "2027-01-31" (its end),
 * "2027-01-31T12:00" or "2027-01-31T12:00:30", local: seconds since the epoch.
 * -EINVAL: none of these; -ERANGE: not in the future; -EOVERFLOW: after the
 * year 9999.
 */
MUST_CHECK int when_parse(const char *text, uint64_t now_s, uint64_t *time_s);

enum { WHEN_TEXT_MAX = 32 };
/* Local time "2026-11-21 12:00"; "-" for 0. */
const char *when_text(uint64_t time_s, char text[static WHEN_TEXT_MAX]);
/* UTC, "2026-11-21T12:00:00Z". */
const char *when_utc(uint64_t time_s, char text[static WHEN_TEXT_MAX]);
/* "812 bytes", "1.5 MiB". */
const char *when_size(uint64_t bytes, char text[static WHEN_TEXT_MAX]);

#endif
