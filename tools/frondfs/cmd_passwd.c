#include "behind.h"
#include "cmd.h"
#include "json.h"
#include "passphrase.h"
#include "report.h"
#include "seen.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>

const char cmd_passwd_help[] =
	"Usage: frondfs passwd [OPTION...] BACKING | MOUNTPOINT\n"
	"\n"
	"Change the passphrase of the vault BACKING, or of the one that is "
	"mounted on\n"
	"MOUNTPOINT; no file is encrypted again.\n"
	"  --passfile OLD      present passphrase: the first line of OLD\n"
	"  --extpass CMD       present passphrase: the first line that the "
	"shell command\n"
	"                      CMD prints\n"
	"  --new-passfile NEW  passphrase from now on: the first line of NEW\n"
	"  --accept-old        the vault is older than what was seen here: "
	"you have\n"
	"                      restored it\n"
	"  --help              this text\n";

struct passwd_request {
	struct passphrase_source old, replacement;
	bool accept_old;
	const char *path;
};

static void cleanup_vault_(struct vault *const *vault)
{
	vault_close(*vault);
}

static int report_older(int err, const char *backing)
{
	return report_seen(err, backing, "say so with '--accept-old'");
}

/*
 * Nobody should think up a new passphrase only to hear that the old one was
 * mistyped, or the vault put back. seen: what seen_vault_ini() said.
 */
static int open_with_old(const struct passwd_request *req, struct behind *b,
			 struct passphrase *old, struct vault **out, int *seen)
{
	struct vault_fault fault = {0};
	struct vault_ini ini;
	int status, err = behind_probe(req->path, b, &ini, &fault);

	if (err)
		return report_vault(err, b->backing, &fault);
	status = passphrase_get(&req->old, "Present passphrase: ", old);
	if (status)
		return status;
	err = vault_open(b->backing, old->text, old->len, 1, out, &fault);
	if (err)
		return report_vault(err, b->backing, &fault);
	*seen = seen_vault_ini(*out, req->accept_old);
	return report_older(*seen, b->backing);
}

/* So that the former one is not taken for right if it is put back before the
 * next mount. told: that it cannot be remembered. */
static void remember(struct vault *vault, const char *backing, bool told)
{
	int err = seen_vault_ini(vault, true);

	if (!told)
		(void)report_older(err, backing);
}

static int change(const struct passwd_request *req)
{
	__attribute__((cleanup(cleanup_vault_))) struct vault *vault = NULL;
	CLEANUP_PASSPHRASE struct passphrase old = {0};
	CLEANUP_PASSPHRASE struct passphrase replacement = {0};
	struct vault_fault fault = {0};
	struct behind behind;
	const char *backing = behind.backing;
	int seen = 0, err;
	int status = open_with_old(req, &behind, &old, &vault, &seen);

	if (!status)
		status = passphrase_get_new(&req->replacement,
					    "New passphrase: ", &replacement);
	if (status)
		return status;
	err = vault_change_passphrase(vault, old.text, old.len,
				      replacement.text, replacement.len,
				      &fault);
	if (err == -ESTALE)
		return report_older(err, backing);
	if (err)
		return report_vault(err, backing, &fault);
	remember(vault, backing, seen != 0);
	printf("The passphrase of ");
	json_put_plain(stdout, backing);
	printf(" is changed. Back up ");
	json_put_plain(stdout, backing);
	puts("/.frondfs/vault.ini again,\nand destroy older copies: they still "
	     "open with the old passphrase.");
	return CMD_OK;
}

int cmd_passwd(int argc, char **argv)
{
	static const struct option options[] = {
		{"passfile", required_argument, NULL, 'p' + 256},
		{"extpass", required_argument, NULL, 'e' + 256},
		{"new-passfile", required_argument, NULL, 'n' + 256},
		{"accept-old", no_argument, NULL, 'a' + 256},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct passwd_request req = {
		.replacement.instead = "the new one with '--new-passfile NEW'"};
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'p' + 256)
			req.old.passfile = optarg;
		else if (c == 'e' + 256)
			req.old.extpass = optarg;
		else if (c == 'n' + 256)
			req.replacement.passfile = optarg;
		else if (c == 'a' + 256)
			req.accept_old = true;
		else if (c == 'h')
			return fputs(cmd_passwd_help, stdout) < 0 ? CMD_FAILED
								  : CMD_OK;
		else
			return report_bad_option("passwd", c, argv);
	}
	if (req.old.passfile && req.old.extpass)
		return report_usage("passwd", "--passfile and --extpass "
					      "exclude each other");
	if (argc - optind != 1)
		return report_usage("passwd", "passwd wants one backing "
					      "directory or mount point");
	req.path = argv[optind];
	return change(&req);
}
