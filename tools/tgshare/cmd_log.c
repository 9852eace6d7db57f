#include "cmd.h"
#include "json.h"
#include "report.h"
#include "session.h"
#include "status_words.h"
#include "tell.h"
#include "text.h"
#include "when.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char cmd_log_help[] =
	"Usage: tgshare log [--vault MOUNT] [--verify] [--json]\n"
	"\n"
	"What was sent, granted, received, opened, released, refused, revoked. "
	"Every entry is\n"
	"chained to the one before.\n"
	"  --vault MOUNT  which mounted vault, if there are several\n"
	"  --verify       check the chain, and say what is wrong and where\n"
	"  --json         one JSON object a line\n"
	"  --help         this text\n";

static void describe_detail(const struct vlog_record *r, char *text,
			    size_t size)
{
	static const char *const states[] = {
		[ACK_RECEIVED] = "received", [ACK_OPENED] = "opened",
		[ACK_CUSTODY] = "kept",	     [ACK_RELEASED] = "passed on",
		[ACK_DECLINED] = "declined",
	};

	text[0] = '\0';
	if (r->event == VLOG_WITHDRAWN && r->detail == VLOG_REPLACED)
		snprintf(text, size, "replaced");
	if (r->event == VLOG_REFUSED && r->detail == VLOG_HARMLESS)
		snprintf(text, size, "harmless");
	if (r->event == VLOG_ACKNOWLEDGED &&
	    r->detail < sizeof states / sizeof *states && states[r->detail])
		snprintf(text, size, "%s", states[r->detail]);
}

static void print_record(const struct session *s, const struct vlog_record *r)
{
	char when[WHEN_TEXT_MAX], label[PEOPLE_LABEL_MAX], detail[32];
	char hex[2 * SET_ID_LEN + 1], note[TELL_NOTE_SIZE];
	const char *event = status_of_record(r);
	bool nobody = sodium_is_zero((const uint8_t *)&r->peer, sizeof r->peer);
	bool no_set = sodium_is_zero(r->set_id, SET_ID_LEN);

	hex_encode(r->set_id, SET_ID_LEN, hex);
	describe_detail(r, detail, sizeof detail);
	printf("%5" PRIu64 "  %s  %-12s  %-8.8s  %-16s ", r->seq,
	       when_text(r->time_s, when), event ? event : "(newer event)",
	       no_set ? "-" : hex,
	       nobody ? "-" : people_label(&s->people, &r->peer, label));
	json_put_plain(stdout, r->text);
	if (r->text[0] && detail[0])
		fputs(r->event == VLOG_REFUSED ? "; " : " ", stdout);
	fputs(detail, stdout);
	if (r->index)
		printf("%s(share %u)", r->text[0] || detail[0] ? " " : "",
		       r->index);
	putchar('\n');
	if (r->event == VLOG_OPENED) {
		tell_note_of(s, r->text, note);
		tell_note(note);
	}
}

static void print_json(const struct session *s, const struct vlog_record *r)
{
	char when[WHEN_TEXT_MAX], label[PEOPLE_LABEL_MAX], detail[32];
	char hex[2 * SET_ID_LEN + 1], key[IDENTITY_FINGERPRINT_LEN + 1];
	const char *event = status_of_record(r);
	bool nobody = sodium_is_zero((const uint8_t *)&r->peer, sizeof r->peer);

	hex_encode(r->set_id, SET_ID_LEN, hex);
	describe_detail(r, detail, sizeof detail);
	identity_fingerprint(&r->peer, key);
	printf("{\"seq\": %" PRIu64 ", \"time\": \"%s\", \"event\": \"%s\", "
	       "\"set\": \"%s\", \"index\": %u, \"detail\": \"%s\", "
	       "\"fingerprint\": \"%s\", \"peer\": ",
	       r->seq, when_utc(r->time_s, when), event ? event : "unknown",
	       hex, r->index, detail, nobody ? "" : key);
	json_put_string(stdout,
			nobody ? ""
			       : people_label(&s->people, &r->peer, label));
	fputs(", \"text\": ", stdout);
	json_put_string(stdout, r->text);
	puts("}");
}

static int print_all(struct session *s, bool json)
{
	struct vlog_record r = {0};
	int status = CMD_OK;

	for (uint64_t seq = 0;; seq++) {
		r.seq = seq;
		int err = mounted_ask(s->m.fd, CONTROL_LOG_READ, &r);

		if (err == -ENODATA && seq == 0 && !json &&
		    isatty(STDOUT_FILENO))
			puts("Nothing has been shared yet.");
		if (err == -ENODATA)
			return status;
		if (err && err != -EBADMSG)
			return session_report(s, "read the log", err);
		if (err)
			status = report_as(CMD_FAILED,
					   "entry %" PRIu64 " of the log is "
					   "damaged; 'tgshare log --verify%s' "
					   "says more",
					   seq, report_vault());
		else if (json)
			print_json(s, &r);
		else
			print_record(s, &r);
	}
}

static const char *fault_words(uint32_t fault)
{
	static const char *const words[] = {
		[VLOG_FAULT_RECORD] = "was altered",
		[VLOG_FAULT_CHAIN] = "does not follow the one before it: "
				     "something was taken out or put in",
		[VLOG_FAULT_CUT] = "and what came after it are missing: the "
				   "end was cut off",
		[VLOG_FAULT_HEAD] = "is the last that is there, but the record "
				    "of where the log ends is missing or was "
				    "altered",
		[VLOG_FAULT_EXCESS] = "and those after it are more than the "
				      "record of where the log ends knows",
	};

	return fault < sizeof words / sizeof *words && words[fault]
		       ? words[fault]
		       : "is not as it was written";
}

static int verify(struct session *s)
{
	struct control_log_state state = {0};
	int err = mounted_ask(s->m.fd, CONTROL_LOG_VERIFY, &state);

	if (err && err != -EBADMSG)
		return session_report(s, "check the log", err);
	if (!err && state.fault == VLOG_FAULT_NONE) {
		printf("The log is whole: %" PRIu64 " entries.\n", state.count);
		return CMD_OK;
	}
	return report_as(CMD_FAILED,
			 "the log is not whole: entry %" PRIu64 " %s; compare "
			 "'%s/.frondfs/log' with your backup",
			 state.bad_seq, fault_words(state.fault),
			 s->m.info.backing);
}

int cmd_log(int argc, char **argv)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"verify", no_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *vault = NULL;
	bool json = false, check = false;
	struct session s;
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			vault = optarg;
		else if (c == 'j')
			json = true;
		else if (c == 'c')
			check = true;
		else if (c == 'h')
			return report_help(cmd_log_help);
		else
			return report_bad_option("log", c, argv);
	}
	if (optind < argc)
		return report_usage("log", "log takes no argument '%s'",
				    argv[optind]);
	if (json && check)
		return report_usage("log", "--verify and --json do not go "
					   "together");
	int status = session_open(&s, NULL, 0, vault);

	if (!status)
		status = check ? verify(&s) : print_all(&s, json);
	session_close(&s);
	return status;
}
