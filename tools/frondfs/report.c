#include "report.h"

#include "behind.h"
#include "cleanup.h"
#include "json.h"
#include "quote.h"
#include "seen.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the words hold of somebody else's does not command the terminal. */
__attribute__((format(printf, 1, 0))) static void say(const char *fmt,
						      va_list ap)
{
	CLEANUP_FREE char *line = NULL;

	(void)fputs("frondfs: ", stderr);
	if (vasprintf(&line, fmt, ap) < 0) {
		line = NULL;
		(void)fputs("out of memory", stderr);
		return;
	}
	json_put_plain(stderr, line);
}

void report(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
}

int report_usage(const char *command, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	fprintf(stderr, "; see 'frondfs %s --help'\n", command);
	return CMD_USAGE;
}

int report_bad_option(const char *command, int c, char **argv)
{
	if (c == ':' && optopt && optopt < 128)
		return report_usage(command, "option -%c wants a value",
				    optopt);
	if (c == ':')
		return report_usage(command, "option %s wants a value",
				    argv[optind - 1]);
	if (optopt && optopt < 128)
		return report_usage(command, "%s has no option -%c", command,
				    optopt);
	return report_usage(command, "%s has no option %s", command,
			    argv[optind - 1]);
}

static void report_damage(const char *backing, const struct vault_fault *fault)
{
	static const char advice[] =
		"put back a copy from your backup before anything else";

	if (fault->ini_line)
		report("'%s/.frondfs/vault.ini' is damaged at line %u; %s",
		       backing, fault->ini_line, advice);
	else
		report("'%s/.frondfs/vault.ini' is damaged or was changed by "
		       "someone without the key; %s",
		       backing, advice);
}

/* What a vault's directories have tells one that lost its settings. */
bool report_is_of_vault(const char *path)
{
	char dirid[PATH_MAX];

	snprintf(dirid, sizeof dirid, "%s/.dirid", path);
	return access(dirid, F_OK) == 0;
}

static void report_no_vault(const char *backing)
{
	if (report_is_of_vault(backing))
		report("'%s' belongs to a vault, but has no "
		       ".frondfs/vault.ini: name the vault's top directory, or "
		       "restore that file from your backup",
		       backing);
	else
		report("'%s' is not a vault (it has no .frondfs/vault.ini); "
		       "name the backing directory of one, or make a new one "
		       "with 'frondfs init'",
		       backing);
}

/* What of a vault may not be used, as far as that can be found out. */
static const char *find_closed(const char *backing)
{
	static const struct {
		const char *name;
		int mode;
	} needed[] = {{".", X_OK},
		      {".frondfs", X_OK},
		      {".frondfs/vault.ini", R_OK},
		      {".frondfs/lock", R_OK | W_OK}};
	char path[PATH_MAX];

	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
		snprintf(path, sizeof path, "%s/%s", backing, needed[i].name);
		if (faccessat(AT_FDCWD, path, needed[i].mode, AT_EACCESS) < 0 &&
		    errno == EACCES)
			return i ? needed[i].name : NULL;
	}
	return NULL;
}

/* What the system said, and what to do about it where that is known. */
static void report_system(int err, const char *backing)
{
	static const struct {
		int err;
		const char *advice;
	} known[] = {
		{ENOTCONN, "; the mount there died: unmount it with 'frondfs "
			   "umount', and name the backing directory"},
		{EACCES, "; become the user whose vault it is"},
		{EPERM, "; become the user whose vault it is"},
		{ENOSPC, "; make room there and try again"},
		{EDQUOT, "; make room there and try again"},
		{EROFS, "; make that file system writable and try again"},
		{ENOLCK, "; the file system has no locks: mount it with them"},
		{EIO, "; the disk or the network fails: see the system's log"},
	};
	const char *closed = err == -EACCES ? find_closed(backing) : NULL;
	const char *advice = "";

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].err == -err)
			advice = known[i].advice;
	report("cannot use the vault '%s'%s%s: %s%s", backing,
	       closed ? " because of its " : "", closed ? closed : "",
	       strerror(-err), advice);
}

void report_read_only(const char *backing, const char *instead)
{
	report("cannot use the vault '%s': %s; make that file system writable, "
	       "or %s",
	       backing, strerror(EROFS), instead);
}

static void report_mounted(const char *backing)
{
	CLEANUP_FREE char *real = realpath(backing, NULL);
	char point[PATH_MAX];

	if (real && behind_find(real, point))
		report("the vault '%s' is mounted already, on '%s'; use it "
		       "there, unmount it, or give every mount of it -o shared",
		       backing, point);
	else
		report("the vault '%s' is mounted already, on another machine "
		       "or by another user, or was unmounted while a file in "
		       "it was open, and goes on until that is closed ('pgrep "
		       "-a frondfs' lists the mounts of this machine); end "
		       "that, or give every mount of it -o shared",
		       backing);
}

int report_vault(int err, const char *backing, const struct vault_fault *fault)
{
	switch (err) {
	case -ENOENT:
	case -ENOTDIR:
		report("there is no directory '%s'; check the name, or make a "
		       "new vault with 'frondfs init'",
		       backing);
		return CMD_NOT_A_VAULT;
	case -ENOMEDIUM:
		report_no_vault(backing);
		return CMD_NOT_A_VAULT;
	case -EXDEV:
		report("'%s' is in a mounted vault; name its mount point",
		       backing);
		return CMD_NOT_A_VAULT;
	case -EKEYREJECTED:
		report("wrong passphrase for the vault '%s'; nothing was "
		       "changed, try again",
		       backing);
		return CMD_WRONG_PASSPHRASE;
	case -EBADMSG:
		report_damage(backing, fault);
		return CMD_DAMAGED;
	case -EPROTONOSUPPORT:
		report("the vault '%s' was made by a newer version of frondfs; "
		       "install that one",
		       backing);
		return CMD_NEWER_VERSION;
	case -EBUSY:
		report_mounted(backing);
		return CMD_MOUNTED;
	case -ENOMEM:
		report("not enough memory to unlock the vault '%s'; close "
		       "other programs and try again",
		       backing);
		return CMD_FAILED;
	default:
		report_system(err, backing);
		return CMD_FAILED;
	}
}

void report_not_remembered(int err, const char *backing)
{
	char path[PATH_MAX];
	bool has_place = seen_state_path(path);

	report("cannot remember in '%s' what was seen of the vault '%s' (%s): "
	       "what somebody puts back to an older state is not noticed; set "
	       "XDG_STATE_HOME to a directory in which this account may write",
	       has_place ? path : "$HOME", backing,
	       !has_place      ? "there is no HOME"
	       : err == -EPERM ? "it is another account's"
			       : strerror(-err));
}

int report_seen(int err, const char *backing, const char *accept)
{
	if (err == -ESTALE) {
		report("'%s/.frondfs/vault.ini' is older than the one that "
		       "this machine saw last: an old passphrase may have come "
		       "back to life. If you restored a backup, %s",
		       backing, accept);
		return CMD_OLD_VAULT;
	}
	if (err == -EBADMSG)
		report("what this machine remembered of the vault '%s' was "
		       "damaged; it begins anew",
		       backing);
	else if (err)
		report_not_remembered(err, backing);
	return CMD_OK;
}

static int report_no_fuse(void)
{
	if (access("/dev/fuse", F_OK) < 0)
		report("FUSE is not available: there is no /dev/fuse; load it "
		       "with 'modprobe fuse', or give the container that "
		       "device");
	else if (access("/dev/fuse", R_OK | W_OK) < 0)
		report("FUSE is not available: /dev/fuse may not be opened "
		       "(%s); ask whoever looks after this machine",
		       strerror(errno));
	else
		report("FUSE is not available: fusermount3 is missing, or "
		       "/dev/fuse answers nothing; install the package fuse3 "
		       "and load the module fuse");
	return CMD_NO_FUSE;
}

static void report_dead(const char *mountpoint)
{
	CLEANUP_FREE char *quoted = quote_word(mountpoint);

	report("a vault is mounted on '%s' already, and the process behind "
	       "that mount died; unmount it with 'frondfs umount %s' and mount "
	       "again",
	       mountpoint, quoted ? quoted : mountpoint);
}

/* Has fusermount3 been told that users may let others in (fusermount3(1))? */
static bool may_let_others_in(void)
{
	FILE *f = fopen("/etc/fuse.conf", "re");
	CLEANUP_FREE char *line = NULL;
	size_t size = 0;
	bool found = false;

	while (f && !found && getline(&line, &size, f) > 0) {
		line[strcspn(line, " \t\n")] = '\0';
		found = strcmp(line, "user_allow_other") == 0;
	}
	if (f)
		(void)fclose(f);
	return found;
}

/* What fusermount3 or libfuse knows of it they have said themselves; err is 0
 * where they were not asked. */
static int report_denied(int err, const char *mountpoint,
			 const struct mount_options *opt)
{
	const char *advice = "the reason stands above";

	if (!err || access(mountpoint, W_OK) < 0)
		advice = "you need write access to it";
	else if (geteuid() != 0 && (opt->allow_other || opt->allow_root) &&
		 !may_let_others_in())
		advice = "allow_other and allow_root need the line "
			 "'user_allow_other' in /etc/fuse.conf";
	report("mounting on '%s' was refused; %s", mountpoint, advice);
	return CMD_FAILED;
}

int report_mount(enum mount_fault fault, int err, const char *backing,
		 const char *mountpoint, const struct mount_options *opt)
{
	switch (fault) {
	case MOUNT_NO_FUSE:
		return report_no_fuse();
	case MOUNT_NO_POINT:
		report("the mount point '%s' does not exist; make it with "
		       "mkdir",
		       mountpoint);
		return CMD_MOUNT_POINT;
	case MOUNT_NOT_DIR:
		report("the mount point '%s' is not a directory; name one",
		       mountpoint);
		return CMD_MOUNT_POINT;
	case MOUNT_BUSY:
		report("something is mounted on '%s' already; unmount that "
		       "first, or name another directory",
		       mountpoint);
		return CMD_MOUNT_POINT;
	case MOUNT_DEAD:
		report_dead(mountpoint);
		return CMD_MOUNT_POINT;
	case MOUNT_NOT_EMPTY:
		report("the mount point '%s' is not empty, and what lies there "
		       "is NOT encrypted: move it elsewhere and, once mounted, "
		       "into the mount, or name an empty directory (-o "
		       "nonempty only hides it)",
		       mountpoint);
		return CMD_MOUNT_POINT;
	case MOUNT_OVERLAP:
		report("the mount point '%s' and the backing directory '%s' "
		       "lie within each other; name a directory outside",
		       mountpoint, backing);
		return CMD_MOUNT_POINT;
	case MOUNT_LOG:
		report("the log '%s' may lie neither in the mount point '%s' "
		       "nor in the backing directory '%s'; name a file "
		       "elsewhere",
		       opt->log, mountpoint, backing);
		return CMD_FAILED;
	case MOUNT_DENIED:
		return report_denied(err, mountpoint, opt);
	case MOUNT_OK:
		break;
	}
	report("cannot mount '%s' on '%s': %s", backing, mountpoint,
	       strerror(-err));
	return CMD_FAILED;
}
