#include "cmd.h"
#include "dumps.h"
#include "fernet.h"
#include "report.h"
#include "suggest.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

static const struct command {
	const char *name, *help;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"setup", cmd_setup_help, cmd_setup},
	{"card", cmd_card_help, cmd_card},
	{"contact", cmd_contact_help, cmd_contact},
	{"send", cmd_send_help, cmd_send},
	{"grant", cmd_grant_help, cmd_grant},
	{"release", cmd_release_help, cmd_release},
	{"receive", cmd_receive_help, cmd_receive},
	{"agent", cmd_agent_help, cmd_agent},
	{"status", cmd_status_help, cmd_status},
	{"revoke", cmd_revoke_help, cmd_revoke},
	{"log", cmd_log_help, cmd_log},
	{"export", cmd_export_help, cmd_export},
	{"import", cmd_import_help, cmd_import},
	{"split", cmd_split_help, cmd_split},
	{"combine", cmd_combine_help, cmd_combine},
};

static const char help_text[] =
	"Usage: tgshare COMMAND [OPTION...] ARGUMENT...\n"
	"\n"
	"Share files of a mounted frondfs vault with people.\n"
	"\n"
	"  setup                     make your keys and your card\n"
	"  card                      print the card\n"
	"  contact add NAME CARD     know somebody; also list, show, verify, "
	"remove, chat\n"
	"  send FILE... --to NAME    give a copy\n"
	"  grant FILE... --to NAME   let somebody read this very file\n"
	"  receive                   collect what came; agent does so for "
	"ever\n"
	"  release SET               pass on a share that you keep\n"
	"  status                    who has what, what is missing\n"
	"  revoke FILE|SET           take it back\n"
	"  log                       what happened\n"
	"  export FILE -o BUNDLE     into a file; import BUNDLE on the other "
	"side\n"
	"  split FILE                its key as words for paper; combine them\n"
	"  help COMMAND              tell about a command\n"
	"\n"
	"'tgshare COMMAND --help' and tgshare(1) say more; 'tgshare --version' "
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
		       "'tgshare --help'",
		       name, meant);
	else
		report("there is no command '%s'; see 'tgshare --help'", name);
	return CMD_USAGE;
}

static int start_crypto(void)
{
	int err;

	if (sodium_init() < 0)
		return report_as(CMD_FAILED,
				 "libsodium does not start; reinstall it");
	err = fernet_init(NULL);
	if (err)
		return report_as(CMD_FAILED,
				 "the encryption fails its self-test (%s); do "
				 "not use this installation",
				 strerror(-err));
	return CMD_OK;
}

/* Who has read enough, as head(1), goes away. */
static bool reader_left(void)
{
	struct pollfd out = {.fd = STDOUT_FILENO};

	return poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
}

static int run(const struct command *command, int argc, char **argv)
{
	int status = start_crypto();

	if (status)
		return status;
	opterr = 0;
	/* a reader that goes away is an error of write(2) */
	signal(SIGPIPE, SIG_IGN);
	status = command->run(argc, argv);
	if ((fflush(stdout) == 0 && !ferror(stdout)) || reader_left())
		return status;
	report("cannot write to standard output: %s", strerror(errno));
	return status ? status : CMD_FAILED;
}

static int print_help(const char *about)
{
	const struct command *command = about ? find_command(about) : NULL;

	if (about && !command)
		return report_no_command(about);
	return report_help(command ? command->help : help_text);
}

int main(int argc, char **argv)
{
	const struct command *command;

	dumps_refuse();
	/* nor does what it starts, to tell on the desktop, become more */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (argc < 2) {
		fputs(help_text, stderr);
		return CMD_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0)
		return print_help(argc > 2 ? argv[2] : NULL);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return puts("tgshare " FROND_VERSION) < 0 ? CMD_FAILED : CMD_OK;
	command = find_command(argv[1]);
	if (!command)
		return report_no_command(argv[1]);
	return run(command, argc - 1, argv + 1);
}
