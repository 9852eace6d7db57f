#include "answer.h"
#include "cmd.h"
#include "intake.h"
#include "report.h"
#include "round.h"
#include "when.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char cmd_receive_help[] =
	"Usage: tgshare receive [--vault MOUNT] [--wait SECONDS]\n"
	"\n"
	"Collect what came, open what can be opened, acknowledge it, and send "
	"again what is\n"
	"due.\n"
	"  --vault MOUNT   which mounted vault, if there are several\n"
	"  --wait SECONDS  when nothing is there, wait so long for something\n"
	"  --help          this text\n";

enum { WAIT_MAX_S = 7 * 86400 };

/* Beside an agent that collects there is only the rest to do. */
static int collect(struct session *s, size_t *arrived)
{
	int err =
		s->transport->ops->one_reader ? session_lock_collecting(s) : 0;

	if (err == -EWOULDBLOCK) {
		fprintf(stderr, "tgshare: an agent works for this vault and "
				"collects what comes\n");
		return CMD_OK;
	}
	return err ? report_as(CMD_FAILED,
			       "cannot lock '%s/.frondfs/outbox': %s",
			       s->m.info.backing, strerror(-err))
		   : round_collect(s, 0, arrived);
}

static int receive(struct session *s, long wait_s)
{
	struct round_result result = {0};
	uint64_t until_s = when_now_s() + (uint64_t)wait_s;
	size_t arrived = 0;
	int status = collect(s, &arrived), at_home;
	bool alone = !s->transport->ops->one_reader || s->collecting;

	/* without the post there is still what came before */
	at_home = status && !s->no_room ? round_work_at_home(s, &result)
					: round_work(s, &result);
	if (!status)
		status = at_home;
	while (!status && alone && !arrived && !result.events &&
	       when_now_s() < until_s) {
		status = round_collect(s, 500, &arrived);
		if (!status && arrived)
			status = round_work(s, &result);
	}
	if (status)
		return status;
	if (s->unsettled)
		report("something in the mailbox is not what its name says; it "
		       "may still be on its way: 'tgshare receive%s' again in "
		       "a minute",
		       report_vault());
	size_t failed = result.delivered.failed;

	if (!result.events && !failed && alone && isatty(STDOUT_FILENO))
		puts("Nothing new has come.");
	if (failed)
		return report_as(CMD_QUEUED,
				 "%zu message%s could not be delivered; try "
				 "'tgshare receive%s' again later",
				 failed, failed == 1 ? "" : "s",
				 report_vault());
	return CMD_OK;
}

static int parse_wait(const char *text, long *wait_s)
{
	char *end;

	*wait_s = strtol(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || *wait_s > WAIT_MAX_S)
		return report_usage("receive",
				    "--wait wants seconds, at most %d, not "
				    "'%s'",
				    WAIT_MAX_S, text);
	return CMD_OK;
}

static int run(const char *vault, long wait_s)
{
	struct session s;
	int status = session_open(&s, NULL, 0, vault);

	if (!status)
		status = session_need_transport(&s);
	/* the spool has to be there before the first message */
	if (!status)
		status = session_open_spool(&s);
	if (!status)
		status = intake_other_log(&s);
	if (!status) {
		status = receive(&s, wait_s);
		answer_finish(&s);
	}
	session_close(&s);
	return status;
}

int cmd_receive(int argc, char **argv)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"wait", required_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *vault = NULL;
	long wait_s = 0;
	int c, status = CMD_OK;

	while (!status &&
	       (c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			vault = optarg;
		else if (c == 'w')
			status = parse_wait(optarg, &wait_s);
		else if (c == 'h')
			return report_help(cmd_receive_help);
		else
			status = report_bad_option("receive", c, argv);
	}
	if (!status && optind < argc)
		status = report_usage("receive",
				      "receive takes no argument '%s'",
				      argv[optind]);
	return status ? status : run(vault, wait_s);
}
