#include "cmd.h"
#include "passphrase.h"
#include "report.h"

#include <getopt.h>
#include <stdio.h>

const char cmd_passwd_help[] =
	"Usage: frondfs passwd [OPTION...] BACKING\n"
	"\n"
	"Change the passphrase of the vault BACKING; no file is encrypted "
	"again. The vault\n"
	"may be mounted meanwhile.\n"
	"  --passfile OLD      present passphrase: the first line of OLD\n"
	"  --extpass CMD       present passphrase: the first line that the "
	"shell command\n"
	"                      CMD prints\n"
	"  --new-passfile NEW  passphrase from now on: the first line of NEW\n"
	"  --help              this text\n";

/* Nobody should think up a new passphrase only to hear that the old one was
 * mistyped. */
static int check_old(const char *backing, const struct passphrase *old)
{
	struct vault_fault fault = {0};
	struct vault *vault = NULL;
	int err = vault_open(backing, old->text, old->len, 1, &vault, &fault);

	vault_close(vault);
	return err ? report_vault(err, backing, &fault) : CMD_OK;
}

static int change(const char *backing, const struct passphrase_source *old_from,
		  const struct passphrase_source *new_from)
{
	CLEANUP_PASSPHRASE struct passphrase old = {0};
	CLEANUP_PASSPHRASE struct passphrase replacement = {0};
	struct vault_fault fault = {0};
	struct vault_ini ini;
	int status, err = vault_probe(backing, &ini, &fault);

	if (err)
		return report_vault(err, backing, &fault);
	status = passphrase_get(old_from, "Present passphrase: ", &old);
	if (!status && !new_from->passfile)
		status = check_old(backing, &old);
	if (!status)
		status = passphrase_get_new(new_from,
					    "New passphrase: ", &replacement);
	if (status)
		return status;
	err = vault_change_passphrase(backing, old.text, old.len,
				      replacement.text, replacement.len,
				      &fault);
	if (err)
		return report_vault(err, backing, &fault);
	printf("The passphrase of %s is changed. Back up "
	       "%s/.frondfs/vault.ini again,\nand destroy older copies: they "
	       "still open with the old passphrase.\n",
	       backing, backing);
	return CMD_OK;
}

int cmd_passwd(int argc, char **argv)
{
	static const struct option options[] = {
		{"passfile", required_argument, NULL, 'p' + 256},
		{"extpass", required_argument, NULL, 'e' + 256},
		{"new-passfile", required_argument, NULL, 'n' + 256},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct passphrase_source old = {0}, replacement = {0};
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'p' + 256)
			old.passfile = optarg;
		else if (c == 'e' + 256)
			old.extpass = optarg;
		else if (c == 'n' + 256)
			replacement.passfile = optarg;
		else if (c == 'h')
			return fputs(cmd_passwd_help, stdout) < 0 ? CMD_FAILED
								  : CMD_OK;
		else
			return report_bad_option("passwd", c, argv);
	}
	if (old.passfile && old.extpass)
		return report_usage("passwd", "--passfile and --extpass "
					      "exclude each other");
	if (argc - optind != 1)
		return report_usage("passwd",
				    "passwd wants one backing directory");
	return change(argv[optind], &old, &replacement);
}
