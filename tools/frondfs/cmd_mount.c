#include "background.h"
#include "cmd.h"
#include "journal.h"
#include "log.h"
#include "memory.h"
#include "passphrase.h"
#include "quote.h"
#include "report.h"
#include "seen.h"
#include "vdir.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
	NOFILE_WANTED = 65536,
	KEY_SLOTS_MAX = 4096,
	/* umount(8) returns before the process behind the mount has ended */
	ENDING_PATIENCE_MS = 500,
	LOCK_PAUSE_MS = 20,
};

const char cmd_mount_help[] =
	"Usage: frondfs mount [OPTION...] BACKING MOUNTPOINT\n"
	"       frondfs BACKING MOUNTPOINT [OPTION...]\n"
	"\n"
	"Mount the vault BACKING on the directory MOUNTPOINT, and return when "
	"it answers.\n"
	"  -f, --foreground  stay in the foreground, log to standard error\n"
	"  --passfile FILE   passphrase: the first line of FILE\n"
	"  --extpass CMD     passphrase: the first line that the shell command "
	"CMD prints\n"
	"  -o OPT[,OPT...]   mount options, among them\n"
	"       ro                   nothing can be changed\n"
	"       allow_other          other users may use it, as permissions "
	"say\n"
	"       allow_root           root may use it\n"
	"       idle=MIN             unmount after MIN minutes without use\n"
	"       shared               several mounts write this vault\n"
	"       writeback=on|off     let the kernel collect writes\n"
	"       xattr=on|off         extended attributes\n"
	"       suid, dev, noexec    as mount(8); suid and dev are off, and "
	"root's alone\n"
	"       nonempty             the mount point may have entries (not "
	"encrypted)\n"
	"       fsname=NAME          what df shows as the source\n"
	"       accept-old           what is older than what was seen here, "
	"once\n"
	"       log=FILE             where the log goes, instead of syslog\n"
	"       passfile=FILE, extpass=CMD   as above, for fstab\n"
	"  --help            this text\n"
	"\n"
	"frondfs(1) has all options and the exit statuses.\n";

struct mount_request {
	struct mount_options opt;
	struct passphrase_source source; /* from the command line */
	bool foreground, fake, help;
	const char *backing, *mountpoint;
};

static void cleanup_request_(struct mount_request *req)
{
	mount_options_fini(&req->opt);
}

#define CLEANUP_REQUEST __attribute__((cleanup(cleanup_request_)))

static int take_options(struct mount_request *req, const char *text)
{
	CLEANUP_FREE char *bad = NULL;
	int err = mount_options_parse(&req->opt, text, &bad);

	if (err == -EINVAL && strcmp(bad, "remount") == 0) {
		report("the options of a mount cannot be changed; unmount it, "
		       "and mount it again with those you want");
		return CMD_USAGE;
	}
	if (err == -EINVAL)
		return report_usage("mount",
				    "mount option '%s' is unknown or has a "
				    "value it cannot have",
				    bad);
	if (err) {
		report("cannot take in the mount options: %s", strerror(-err));
		return CMD_FAILED;
	}
	return CMD_OK;
}

static int take_positionals(struct mount_request *req, int argc, char **argv)
{
	const struct passphrase_source *source = &req->source;

	if (argc - optind != 2)
		return report_usage("mount",
				    "mount wants a backing directory and a "
				    "mount point");
	if (req->opt.allow_other && req->opt.allow_root)
		return report_usage("mount", "allow_other and allow_root "
					     "exclude each other");
	if (!source->passfile && !source->extpass)
		req->source = (struct passphrase_source){
			.passfile = req->opt.passfile,
			.extpass = req->opt.extpass};
	if (source->passfile && source->extpass)
		return report_usage("mount", "a passfile and an extpass "
					     "command exclude each other");
	req->backing = argv[optind];
	req->mountpoint = argv[optind + 1];
	return CMD_OK;
}

static int parse_arguments(int argc, char **argv, struct mount_request *req)
{
	static const struct option options[] = {
		{"passfile", required_argument, NULL, 'p' + 256},
		{"extpass", required_argument, NULL, 'e' + 256},
		{"foreground", no_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, status = CMD_OK;

	while (!status &&
	       (c = getopt_long(argc, argv, ":fho:", options, NULL)) != -1) {
		if (c == 'p' + 256)
			req->source.passfile = optarg;
		else if (c == 'e' + 256)
			req->source.extpass = optarg;
		else if (c == 'f')
			req->foreground = true;
		else if (c == 'h')
			req->help = true;
		else if (c == 'o')
			status = take_options(req, optarg);
		else
			status = report_bad_option("mount", c, argv);
	}
	if (status || req->help)
		return status;
	return take_positionals(req, argc, argv);
}

/* What mount(8) gives its helpers: -f is "fake" there (mount(8), "External
 * helpers"). */
static int parse_helper_arguments(int argc, char **argv,
				  struct mount_request *req)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, status = CMD_OK;

	while (!status &&
	       (c = getopt_long(argc, argv, ":sfnvrwhN:t:o:", options, NULL)) !=
		       -1) {
		if (c == 'f')
			req->fake = true;
		else if (c == 'r' || c == 'w')
			req->opt.read_only = c == 'r';
		else if (c == 'h')
			req->help = true;
		else if (c == 'o')
			status = take_options(req, optarg);
		else if (c == '?' || c == ':')
			status = report_bad_option("mount", c, argv);
	}
	if (status || req->help)
		return status;
	return take_positionals(req, argc, argv);
}

/* Did the user name the two directories in the wrong order? */
static bool swapped(const struct mount_request *req, int probe_err)
{
	struct vault_fault fault = {0};
	struct vault_ini ini;

	return (probe_err == -ENOMEDIUM || probe_err == -ENOENT ||
		probe_err == -ENOTDIR) &&
	       vault_probe(req->mountpoint, &ini, &fault) == 0;
}

static int report_swapped(const struct mount_request *req)
{
	report("'%s' is not a vault, but '%s' is: the backing directory comes "
	       "first, then the mount point",
	       req->backing, req->mountpoint);
	return CMD_NOT_A_VAULT;
}

/* The kernel lets only root's mounts have them (fusermount3(1)). */
static void warn_of_unsafe(const struct mount_options *opt)
{
	if (geteuid() != 0 && (opt->suid || opt->dev))
		report("only root can give the mount option '%s'; this mount "
		       "goes without it",
		       opt->suid && opt->dev ? "suid,dev"
		       : opt->suid	     ? "suid"
					     : "dev");
}

/* Without the top directory's id no name in the vault opens, and to mount it
 * would give a directory in which all fails. */
static int check_top(const char *backing)
{
	CLEANUP_FD int fd = open(backing, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_FREE char *quoted = quote_word(backing);
	uint8_t id[DIRID_LEN];

	if (fd < 0 || vdir_read_id(fd, id) != -EIO)
		return CMD_OK;
	report("'%s/.dirid' is missing or damaged, and without it no name in "
	       "the vault can be read: put that file back from a backup, or "
	       "from where this copy was made, or run 'frondfs check --repair "
	       "%s'",
	       backing, quoted ? quoted : backing);
	return CMD_DAMAGED;
}

/* All that can be known before the passphrase is asked for. */
static int check_request(const struct mount_request *req)
{
	enum mount_fault point =
		mount_check_point(req->backing, req->mountpoint, &req->opt);
	struct vault_fault fault = {0};
	struct vault_ini ini;
	int err = vault_probe(req->backing, &ini, &fault);

	if (swapped(req, err))
		return report_swapped(req);
	if (err)
		return report_vault(err, req->backing, &fault);
	if (point != MOUNT_OK)
		return report_mount(point, 0, req->backing, req->mountpoint,
				    &req->opt);
	/* whether a shared or read-only one may join shows only later */
	if (!req->opt.shared && !req->opt.read_only &&
	    vault_wait_unlocked(req->backing, ENDING_PATIENCE_MS) == -EBUSY)
		return report_vault(-EBUSY, req->backing, &fault);
	warn_of_unsafe(&req->opt);
	return check_top(req->backing);
}

/* Take the descriptors that may be had; returns how many that makes. */
static size_t raise_nofile(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1024;
	if (limit.rlim_cur < NOFILE_WANTED && limit.rlim_cur < limit.rlim_max) {
		rlim_t before = limit.rlim_cur;

		limit.rlim_cur = limit.rlim_max < NOFILE_WANTED ? limit.rlim_max
								: NOFILE_WANTED;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			limit.rlim_cur = before;
	}
	return limit.rlim_cur < NOFILE_WANTED ? (size_t)limit.rlim_cur
					      : NOFILE_WANTED;
}

/* Was what it begins with over and done with, on this machine? */
static int check_session(const struct mount_request *req, struct vault *vault)
{
	vault->remembers = req->opt.remember;
	if (!req->opt.remember || req->opt.read_only || req->opt.accept_old ||
	    journal_seen(vault) != -ESTALE)
		return CMD_OK;
	report("'%s/.frondfs/journal' holds what a mount left, and that has "
	       "been finished on this machine before: another copy of this "
	       "vault was opened here, or this one is a copy or a backup, or "
	       "somebody has put it back. What was written last may lie there "
	       "alone, so delete nothing: copy '%s' aside, then mount once "
	       "with '-o accept-old', which brings that to its place, over "
	       "nothing newer, and takes all else for right as it is",
	       req->backing, req->backing);
	return CMD_OLD_VAULT;
}

/* What was seen of its files. That there is nothing is no reason not to mount.
 * told: that nothing can be remembered. */
static void open_memory(const struct mount_request *req, struct vault *vault,
			bool told)
{
	int err;

	if (!req->opt.remember) {
		if (!req->opt.read_only)
			(void)!memory_pass_over(vault);
		return;
	}
	err = memory_open(vault, req->opt.accept_old);
	if (err == -EBADMSG)
		report("what this machine remembered of the files in '%s' was "
		       "damaged; it begins anew",
		       req->backing);
	else if (err && !told && err != -EBUSY && err != -ENOTSUP)
		report_not_remembered(err, req->backing);
}

/* Was a newer vault.ini seen on this machine? */
static int check_seen(const struct mount_request *req, struct vault *vault)
{
	int err = req->opt.remember ? seen_vault_ini(vault, req->opt.accept_old)
				    : 0;
	int status = report_seen(err, req->backing,
				 "mount once with '-o accept-old'");

	if (!status)
		status = check_session(req, vault);
	if (!status)
		open_memory(req, vault, err && err != -EBADMSG);
	return status;
}

/* The mount that was there before takes the lock once more, for a moment, after
 * it had let go of it (journal_stop). */
static int lock(const struct mount_request *req, struct vault *vault)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
	int err;

	for (int ms = 0;; ms += LOCK_PAUSE_MS) {
		err = vault_lock(vault, req->opt.shared, req->opt.read_only);
		if (err != -EBUSY || ms >= ENDING_PATIENCE_MS)
			return err;
		nanosleep(&pause, NULL);
	}
}

static int unlock(const struct mount_request *req, struct vault **out)
{
	CLEANUP_PASSPHRASE struct passphrase passphrase = {0};
	CLEANUP_FREE char *prompt = NULL;
	struct vault_fault fault = {0};
	size_t slots = raise_nofile() / 2;
	int err, status;

	if (asprintf(&prompt, "Passphrase for %s: ", req->backing) < 0)
		return report_vault(-ENOMEM, req->backing, &fault);
	status = passphrase_get(&req->source, prompt, &passphrase);
	if (status)
		return status;
	err = vault_open(req->backing, passphrase.text, passphrase.len,
			 slots < KEY_SLOTS_MAX ? slots : KEY_SLOTS_MAX, out,
			 &fault);
	if (!err)
		err = lock(req, *out);
	if (err == -EROFS) {
		report_read_only(req->backing,
				 "only read the vault with '-o ro'");
		return CMD_FAILED;
	}
	return err ? report_vault(err, req->backing, &fault)
		   : check_seen(req, *out);
}

static const char unfinished[] =
	"a mount of it ended unexpectedly, and what was written last may lie "
	"in .frondfs/journal, where a mount with '-o ro' does not look: files "
	"may be shown as they were before; mount it once without 'ro', and "
	"that is finished";

/* Whoever only reads leaves it as it is. */
static bool is_unfinished(const struct mount_request *req, struct vault *vault)
{
	if (!req->opt.read_only || !journal_is_unfinished(vault))
		return false;
	report("the vault '%s' is shown as it lies there: %s", req->backing,
	       unfinished);
	return true;
}

static void cleanup_vault_(struct vault *const *vault)
{
	vault_close(*vault);
}

/* What happens when the mount answers. */
struct when_ready {
	int fd;		  /* -1 in the foreground */
	int log_fd;	  /* -1: syslog, or standard error in the foreground */
	const char *path; /* of the vault */
	bool unfinished;  /* is_unfinished() */
	bool done;
};

static void on_ready(void *arg)
{
	struct when_ready *ready = arg;

	ready->done = true;
	if (ready->log_fd >= 0)
		log_to_file(ready->log_fd, "frondfs");
	else if (ready->fd >= 0)
		log_to_syslog("frondfs");
	/* it has been said where the log does not go */
	if (ready->unfinished && (ready->log_fd >= 0 || ready->fd >= 0))
		log_warning("%s: %s", ready->path, unfinished);
	if (ready->fd >= 0)
		background_ready(ready->fd);
}

static int open_log(const char *path, int *out)
{
	CLEANUP_FD int fd = -1;

	if (!path)
		return CMD_OK;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC,
		  0600);
	/* the first three are going to be closed */
	*out = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (*out >= 0)
		return CMD_OK;
	report("cannot open the log '%s': %s", path, strerror(errno));
	return CMD_FAILED;
}

static int serve(const struct mount_request *req, int ready_fd, int log_fd)
{
	__attribute__((cleanup(cleanup_vault_))) struct vault *vault = NULL;
	CLEANUP_FREE char *point = realpath(req->mountpoint, NULL);
	struct when_ready ready = {.fd = ready_fd, .log_fd = log_fd};
	enum mount_fault fault = MOUNT_OK;
	int err, status;

	if (!point)
		return report_mount(MOUNT_NO_POINT, 0, req->backing,
				    req->mountpoint, &req->opt);
	status = unlock(req, &vault);
	if (status)
		return status;
	ready.path = vault->path;
	ready.unfinished = is_unfinished(req, vault);
	err = mount_serve(vault, point, &req->opt, on_ready, &ready, &fault);
	if (err && ready.done)
		log_error("the mount on %s ended: %s", point, strerror(-err));
	else if (err)
		return report_mount(fault, err, req->backing, req->mountpoint,
				    &req->opt);
	return err ? CMD_FAILED : CMD_OK;
}

static int run(const struct mount_request *req)
{
	CLEANUP_FD int log_fd = -1;
	int ready_fd = -1;
	int status = check_request(req);

	if (status || req->fake)
		return status;
	status = open_log(req->opt.log, &log_fd);
	if (status)
		return status;
	if (!req->foreground && !background_fork(&ready_fd, &status))
		return status;
	return serve(req, ready_fd, log_fd);
}

int cmd_mount(int argc, char **argv)
{
	CLEANUP_REQUEST struct mount_request req = {0};
	int status;

	mount_options_init(&req.opt);
	status = parse_arguments(argc, argv, &req);
	if (req.help)
		return fputs(cmd_mount_help, stdout) < 0 ? CMD_FAILED : CMD_OK;
	return status ? status : run(&req);
}

int cmd_mount_helper(int argc, char **argv)
{
	CLEANUP_REQUEST struct mount_request req = {0};
	int status;

	mount_options_init(&req.opt);
	status = parse_helper_arguments(argc, argv, &req);
	if (req.help)
		return fputs(cmd_mount_help, stdout) < 0 ? CMD_FAILED : CMD_OK;
	return status ? status : run(&req);
}
