/*
 * Where a process says what it noticed: standard error until log_to_syslog()
 * (facility DAEMON) or log_to_file() is called. Safe to use from any thread.
 * Each message is one line, and names in it look as plain.h has them.
 * No secret and no file content may be passed to it.
 */
#ifndef FROND_LOG_H
#define FROND_LOG_H

#include <syslog.h>

void log_to_syslog(const char *ident);
/* Lines with the time (UTC) and ident in front, each in one write(2); fd and
 * ident have to stay. */
void log_to_file(int fd, const char *ident);

/* level: LOG_ERR, LOG_WARNING, LOG_NOTICE or LOG_INFO of syslog(3). */
__attribute__((format(printf, 2, 3))) void log_at(int level, const char *fmt,
						  ...);

#define log_error(...) log_at(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_at(LOG_NOTICE, __VA_ARGS__)

#endif
