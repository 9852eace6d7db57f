/*
 * Sentences for humans, on standard error: what failed, on what, what to do.
 */
#ifndef FROND_REPORT_H
#define FROND_REPORT_H

#include "cmd.h"
#include "mount.h"
#include "vault.h"

/* "frondfs: " and the sentence. */
__attribute__((format(printf, 1, 2))) void report(const char *fmt, ...);

/* A mistake in the arguments of command; returns CMD_USAGE. */
__attribute__((format(printf, 2, 3))) int report_usage(const char *command,
						       const char *fmt, ...);

/*
 * What getopt_long could not make sense of (it returned c, '?' or ':');
 * returns CMD_USAGE.
 */
int report_bad_option(const char *command, int c, char **argv);

/* Does the directory belong to a vault, though it has no vault.ini? */
bool report_is_of_vault(const char *path);

/* A vault_* function or behind_probe() said err (negative errno); returns the
 * exit status. */
int report_vault(int err, const char *backing, const struct vault_fault *fault);

/* It said -EROFS; instead: what can be done without writing. */
void report_read_only(const char *backing, const char *instead);

/*
 * seen_vault_ini() said err; returns the exit status, CMD_OK if one can go on.
 * accept: how to say that the older one is right.
 */
int report_seen(int err, const char *backing, const char *accept);

/* Nothing can be remembered: what is put back is not noticed. */
void report_not_remembered(int err, const char *backing);

/*
 * Mounting failed with fault, and err (0 where nothing more is known);
 * returns the exit status.
 */
int report_mount(enum mount_fault fault, int err, const char *backing,
		 const char *mountpoint, const struct mount_options *opt);

#endif
