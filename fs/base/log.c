#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_bool to_syslog;

void log_to_syslog(const char *ident)
{
	openlog(ident, LOG_PID | LOG_CONS, LOG_DAEMON);
	atomic_store(&to_syslog, 1);
}

void log_at(int level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (atomic_load(&to_syslog)) {
		vsyslog(level, fmt, ap);
	} else {
		flockfile(stderr);
		fputs("frondfs: ", stderr);
		vfprintf(stderr, fmt, ap);
		fputc('\n', stderr);
		funlockfile(stderr);
	}
	va_end(ap);
}
