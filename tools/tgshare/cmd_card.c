#include "cmd.h"
#include "qr.h"
#include "report.h"
#include "session.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char cmd_card_help[] =
	"Usage: tgshare card [--vault MOUNT] [--qr]\n"
	"\n"
	"Print your card: one line that others add with 'tgshare contact "
	"add'.\n"
	"  --vault MOUNT  which mounted vault, if there are several\n"
	"  --qr           draw it as a QR code\n"
	"  --help         this text\n";

static int show(struct session *s, bool qr)
{
	char card[CARD_TEXT_MAX];
	int status = session_need_transport(s);

	if (!status)
		status = session_card(s, card);
	if (status)
		return status;
	if (!qr)
		return puts(card) < 0 ? CMD_FAILED : CMD_OK;
	int err = qr_draw(stdout, card);

	return err ? report_as(CMD_FAILED, "cannot draw the card: %s",
			       strerror(-err))
		   : CMD_OK;
}

int cmd_card(int argc, char **argv)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"qr", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *vault = NULL;
	bool qr = false;
	struct session s;
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			vault = optarg;
		else if (c == 'q')
			qr = true;
		else if (c == 'h')
			return report_help(cmd_card_help);
		else
			return report_bad_option("card", c, argv);
	}
	if (optind < argc)
		return report_usage("card", "card takes no argument '%s'",
				    argv[optind]);
	int status = session_open(&s, NULL, 0, vault);

	if (!status)
		status = show(&s, qr);
	session_close(&s);
	return status;
}
