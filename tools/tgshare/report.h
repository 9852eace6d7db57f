/*
 * Sentences for humans, on standard error: what failed, on what, what to do.
 */
#ifndef TGSHARE_REPORT_H
#define TGSHARE_REPORT_H

#include "cmd.h"

#include <stdbool.h>

/* "tgshare: " and the sentence. What looks like a bot token in it is left out,
 * wherever it came from. */
__attribute__((format(printf, 1, 2))) void report(const char *fmt, ...);

/* The same; returns status. */
__attribute__((format(printf, 2, 3))) int report_as(int status, const char *fmt,
						    ...);

/* A mistake in the arguments of command; returns CMD_USAGE. */
__attribute__((format(printf, 2, 3))) int report_usage(const char *command,
						       const char *fmt, ...);

/*
 * What getopt_long could not make sense of (it returned c, '?' or ':');
 * returns CMD_USAGE.
 */
int report_bad_option(const char *command, int c, char **argv);

/*
 * For commands that a sentence names: " --vault MOUNT" when that is how this
 * one was told which vault, else "".
 */
void report_use_vault(const char *option);
const char *report_vault(void);

/* Does it hold something that looks like a bot token? */
bool report_has_token(const char *text);

/* --help was asked for. */
int report_help(const char *text);

#endif
