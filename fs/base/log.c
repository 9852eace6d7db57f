#include "log.h"

#include "cleanup.h"
#include "plain.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

enum { BEGINNING_MAX = 200 };

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

static void put_in_file(int fd, const char *line)
{
	char when[sizeof "2026-11-22T09:00:00Z "] = "";
	struct iovec parts[5];
	const char *texts[] = {when, file_ident, ": ", line, "\n"};
	time_t now = time(NULL);
	struct tm utc;

	if (gmtime_r(&now, &utc))
		(void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ ", &utc);
	for (int i = 0; i < 5; i++)
		parts[i] = (struct iovec){(char *)texts[i], strlen(texts[i])};
	(void)!writev(fd, parts, 5);
}

static void put(int level, const char *line)
{
	int fd = atomic_load(&file_fd);

	if (fd >= 0)
		put_in_file(fd, line);
	else if (atomic_load(&to_syslog))
		syslog(level, "%s", line);
	else
		fprintf(stderr, "frondfs: %s\n", line);
}

/*
 * A name with a line end in it does not look like another line, and none acts
 * on the terminal that shows the log. Where memory is short, how the words
 * begin is told.
 */
void log_at(int level, const char *fmt, ...)
{
	char few[BEGINNING_MAX], shown[PLAIN_ROOM(sizeof few)];
	CLEANUP_FREE char *words = NULL;
	CLEANUP_FREE char *line = NULL;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&words, fmt, ap);
	va_end(ap);
	if (len >= 0)
		line = malloc(PLAIN_ROOM((size_t)len));
	else
		words = NULL;
	if (line) {
		plain_copy(line, words);
	} else {
		va_start(ap, fmt);
		(void)vsnprintf(few, sizeof few, fmt, ap);
		va_end(ap);
		plain_copy(shown, few);
	}
	put(level, line ? line : shown);
}
