#include "cmd.h"
#include "dumps.h"
#include "fernet.h"
#include "report.h"
#include "suggest.h"
#include "unmounter.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct command {
	const char *name, *help;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"init", cmd_init_help, cmd_init},
	{"mount", cmd_mount_help, cmd_mount},
	{"umount", cmd_umount_help, cmd_umount},
	{"passwd", cmd_passwd_help, cmd_passwd},
	{"info", cmd_info_help, cmd_info},
	{"attach", cmd_attach_help, cmd_attach},
	{"check", cmd_check_help, cmd_check},
	{"accept-old", cmd_accept_help, cmd_accept},
};

static const char help_text[] =
	"Usage: frondfs COMMAND [OPTION...] ARGUMENT...\n"
	"       frondfs BACKING MOUNTPOINT [-o OPT[,OPT...]]\n"
	"\n"
	"An encrypted folder: what lies in BACKING is unreadable, what is "
	"mounted on\n"
	"MOUNTPOINT is an ordinary folder.\n"
	"\n"
	"  init BACKING              make a vault\n"
	"  mount BACKING MOUNTPOINT  mount it (the second form is the same)\n"
	"  umount MOUNTPOINT         unmount it\n"
	"  passwd BACKING            change its passphrase\n"
	"  info PATH                 tell about a vault or a file in a mount\n"
	"  check BACKING             verify a vault, and repair it\n"
	"  accept-old FILE...        say that an older file is right\n"
	"  attach MOUNT NAME DIR     say where a contact's granted files lie\n"
	"  help COMMAND              tell about a command\n"
	"\n"
	"'frondfs COMMAND --help' and frondfs(1) say more; 'frondfs --version' "
	"tells which\n"
	"version this is.\n";

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int report_no_command(const char *name)
{
	enum { COUNT = sizeof commands / sizeof *commands };
	const char *names[COUNT], *meant;

	for (size_t i = 0; i < COUNT; i++)
		names[i] = commands[i].name;
	meant = suggest_nearest(name, names, COUNT);
	if (meant)
		report("there is no command '%s', did you mean '%s'? See "
		       "'frondfs --help'",
		       name, meant);
	else
		report("there is no command '%s'; see 'frondfs --help'", name);
	return CMD_USAGE;
}

static int start_crypto(void)
{
	const char *wanted = secure_getenv("FRONDFS_CRYPTO");
	int err;

	if (sodium_init() < 0) {
		report("libsodium does not start; reinstall it");
		return CMD_FAILED;
	}
	if (wanted && !wanted[0])
		wanted = NULL;
	err = fernet_init(wanted);
	if (err == -ENOENT && wanted)
		report("FRONDFS_CRYPTO=%s: this build has no such backend; "
		       "unset it, or use openssl or ipsecmb",
		       wanted);
	else if (err == -ENOTSUP && wanted)
		report("FRONDFS_CRYPTO=%s: this processor lacks what that "
		       "backend needs; unset it",
		       wanted);
	else if (err)
		report("the encryption fails its self-test (%s); do not use "
		       "this installation",
		       strerror(-err));
	return err ? CMD_FAILED : CMD_OK;
}

static int run(int (*command)(int, char **), int argc, char **argv)
{
	int status = start_crypto();

	opterr = 0;
	if (status)
		return command == cmd_check ? CMD_CHECK_FAILED : status;
	return command(argc, argv);
}

static int print_help(const char *about)
{
	const struct command *command = about ? find_command(about) : NULL;

	if (about && !command)
		return report_no_command(about);
	(void)fputs(command ? command->help : help_text, stdout);
	return CMD_OK;
}

/* Is this "frondfs BACKING MOUNTPOINT", or a command that does not exist? */
static bool looks_like_mount(int argc, char **argv)
{
	struct stat st;

	return argv[1][0] == '-' || strchr(argv[1], '/') ||
	       (argc > 2 && stat(argv[1], &st) == 0 && S_ISDIR(st.st_mode));
}

static bool is_mount_helper(const char *argv0)
{
	const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
	const char *name = slash ? slash + 1 : argv0;

	return name && (strcmp(name, "mount.frondfs") == 0 ||
			strcmp(name, "mount.fuse.frondfs") == 0);
}

static int dispatch(int argc, char **argv)
{
	const struct command *command;

	if (is_mount_helper(argv[0]))
		return run(cmd_mount_helper, argc, argv);
	if (argc < 2) {
		(void)fputs(help_text, stderr);
		return CMD_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0)
		return print_help(argc > 2 ? argv[2] : NULL);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("frondfs " FROND_VERSION);
		return CMD_OK;
	}
	command = find_command(argv[1]);
	if (command)
		return run(command->run, argc - 1, argv + 1);
	if (looks_like_mount(argc, argv))
		return run(cmd_mount, argc, argv);
	return report_no_command(argv[1]);
}

/* What is lost of what was printed is a failure, whatever else there was. */
static int add_failure(int argc, char **argv, int status)
{
	if (!is_mount_helper(argv[0]) && argc > 1 &&
	    strcmp(argv[1], "check") == 0)
		return status | CMD_CHECK_FAILED;
	return status ? status : CMD_FAILED;
}

/* mount(8) hands over none, and what is remembered of vaults lies below. */
static void find_home(void)
{
	const char *home = getenv("HOME");
	const struct passwd *user = home ? NULL : getpwuid(geteuid());

	if (user && user->pw_dir[0] == '/')
		(void)setenv("HOME", user->pw_dir, 0);
}

int main(int argc, char **argv)
{
	int status;

	dumps_refuse();
	if (argc == 1 && strcmp(argv[0], UNMOUNTER_NAME) == 0)
		return unmounter_main();
	find_home();
	status = dispatch(argc, argv);
	/* whatever was printed on the way: this is where it is lost or not */
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	report("cannot write to standard output: %s",
	       strerror(errno ? errno : EIO));
	return add_failure(argc, argv, status);
}
