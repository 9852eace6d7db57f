#include "log.h"

#include "cleanup.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static atomic_bool to_syslog;
static const char *file_ident; /* set before file_fd */
static atomic_int file_fd = -1;

void log_to_syslog(const char *ident)
{
	openlog(ident, LOG_PID | LOG_CONS, LOG_DAEMON);
	atomic_store(&to_syslog, 1);
}

void log_to_file(int fd, const char *ident)
{
	file_ident = ident;
	atomic_store(&file_fd, fd);
}

/* A name with a line end in it does not look like another line. */
static void put_line(int fd, const char *words)
{
	CLEANUP_FREE char *line = NULL;
	char when[sizeof "2026-11-22T09:00:00Z"] = "";
	time_t now = time(NULL);
	struct tm utc;
	int len;

	if (gmtime_r(&now, &utc))
		(void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
	len = asprintf(&line, "%s %s: %s", when, file_ident, words);
	if (len < 0) {
		line = NULL;
		return;
	}
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	line[len] = '\n'; /* in the place of the NUL */
	(void)!write(fd, line, (size_t)len + 1);
}

__attribute__((format(printf, 2, 0))) static void
put_in_file(int fd, const char *fmt, va_list ap)
{
	CLEANUP_FREE char *words = NULL;

	if (vasprintf(&words, fmt, ap) < 0) {
		words = NULL;
		return;
	}
	put_line(fd, words);
}

void log_at(int level, const char *fmt, ...)
{
	int fd = atomic_load(&file_fd);
	va_list ap;

	va_start(ap, fmt);
	if (fd >= 0) {
		put_in_file(fd, fmt, ap);
	} else if (atomic_load(&to_syslog)) {
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
