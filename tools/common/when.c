#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const uint64_t latest_s = UINT64_C(253402300799); /* the year 9999 */

uint64_t when_now_s(void)
{
	return (uint64_t)time(NULL);
}

static int parse_span(const char *text, uint64_t *span_s)
{
	static const char units[] = "mhdw";
	static const uint64_t seconds[] = {60, 3600, 86400, 604800};
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	const char *unit = *end ? strchr(units, *end) : NULL;

	if (!unit || end[1])
		return -EINVAL;
	if (errno || n > latest_s / 604800)
		return -EOVERFLOW;
	if (n == 0)
		return -ERANGE;
	*span_s = n * seconds[unit - units];
	return 0;
}

static int parse_date(const char *text, uint64_t *time_s)
{
	struct tm tm = {.tm_isdst = -1};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M", &tm);

	if (end && *end == ':')
		end = strptime(end, ":%S", &tm);
	if (!end || *end) {
		memset(&tm, 0, sizeof tm);
		end = strptime(text, "%Y-%m-%d", &tm);
		tm.tm_hour = 23;
		tm.tm_min = tm.tm_sec = 59;
		tm.tm_isdst = -1;
	}
	if (!end || *end)
		return -EINVAL;
	int day = tm.tm_mday;
	time_t t = mktime(&tm);

	if (tm.tm_mday != day)
		return -EINVAL; /* the 31st of a month that has 30 */
	if (t < 0)
		return -ERANGE;
	*time_s = (uint64_t)t;
	return 0;
}

int when_parse(const char *text, uint64_t now_s, uint64_t *time_s)
{
	uint64_t value;
	int err = parse_span(text, &value);

	if (!err)
		value += now_s;
	else if (err == -EINVAL)
		err = parse_date(text, &value);
	if (err)
		return err;
	if (value > latest_s)
		return -EOVERFLOW;
	if (value <= now_s)
		return -ERANGE;
	*time_s = value;
	return 0;
}

static bool can_be_told(uint64_t time_s)
{
	return time_s != 0 && time_s <= latest_s;
}

const char *when_text(uint64_t time_s, char text[static WHEN_TEXT_MAX])
{
	time_t t = (time_t)time_s;
	struct tm tm;

	if (!can_be_told(time_s) || !localtime_r(&t, &tm) ||
	    strftime(text, WHEN_TEXT_MAX, "%Y-%m-%d %H:%M", &tm) == 0)
		strcpy(text, "-");
	return text;
}

const char *when_utc(uint64_t time_s, char text[static WHEN_TEXT_MAX])
{
	time_t t = (time_t)time_s;
	struct tm tm;

	if (!can_be_told(time_s) || !gmtime_r(&t, &tm) ||
	    strftime(text, WHEN_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		strcpy(text, "-");
	return text;
}

const char *when_size(uint64_t bytes, char text[static WHEN_TEXT_MAX])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = (double)bytes;
	int unit = -1;

	while (value >= 1024 && unit < 4) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(text, WHEN_TEXT_MAX, "%" PRIu64 " bytes", bytes);
	else
		snprintf(text, WHEN_TEXT_MAX, "%.1f %s", value, units[unit]);
	return text;
}
