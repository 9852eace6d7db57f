#include "cmd.h"
#include "compose.h"
#include "deliver.h"
#include "intake.h"
#include "json.h"
#include "report.h"
#include "tell.h"
#include "text.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char cmd_release_help[] =
	"Usage: tgshare release [SET | --all]\n"
	"\n"
	"Agree: pass on the share that you keep, to whom it is for. Without "
	"SET: list\n"
	"what you keep.\n"
	"  --all          all that you keep\n"
	"  --vault MOUNT  which mounted vault, if there are several\n"
	"  --help         this text\n";

struct release_args {
	const char *vault, *set;
	bool all, help;
};

static int report_release(const struct inbox_set *set, int err)
{
	char hex[2 * SET_ID_LEN + 1];

	hex_encode(set->set_id, SET_ID_LEN, hex);
	if (err == -EKEYEXPIRED)
		return report_as(CMD_FAILED,
				 "the share of the set %.8s has expired; ask "
				 "its sender for another",
				 hex);
	if (err == -EKEYREVOKED || err == -ENOENT)
		return report_as(CMD_FAILED,
				 "the share of the set %.8s was withdrawn by "
				 "its sender",
				 hex);
	return report_as(CMD_FAILED,
			 "cannot pass on the share of the set %.8s: "
			 "%s",
			 hex, strerror(-err));
}

/* The envelope goes to whom the sender's card says. */
static int queue_share(struct session *s, const struct control_release *got)
{
	char id[ITEM_ID_MAX + 1], hex[2 * SET_ID_LEN + 1],
		from[PEOPLE_TAG_LEN + 1];
	struct item_party to = {.pub = got->recipient.pub};
	struct note note = {.id = id,
			    .to = &to,
			    .kind = STATEMENT_SHARE,
			    .index = (uint8_t)got->index,
			    .sender = &got->sender};

	strcpy(to.name, got->recipient.name);
	strcpy(to.address, got->recipient.address);
	memcpy(note.set_id, got->set_id, SET_ID_LEN);
	hex_encode(got->set_id, SET_ID_LEN, hex);
	snprintf(id, sizeof id, "release-%s-%u-%s", hex, got->index & 0xff,
		 people_tag(&got->sender, from));
	return compose_note(s, &note, got->inner, got->inner_len);
}

static int release_one(struct session *s, const struct inbox_set *set)
{
	CLEANUP_FREE struct control_release *got = calloc(1, sizeof *got);
	char label[PEOPLE_LABEL_MAX];
	int err = got ? 0 : -ENOMEM;

	if (!err) {
		memcpy(got->set_id, set->set_id, SET_ID_LEN);
		got->sender = set->sender;
		got->index = set->index;
		err = mounted_ask(s->m.fd, CONTROL_RELEASE, got);
	}
	if (!err && got->inner_len > CONTROL_INNER_MAX)
		err = -EBADMSG;
	if (!err)
		err = queue_share(s, got);
	if (err)
		return report_release(set, err);
	printf("share %u of something from ", set->index);
	json_put_plain(stdout, set->sender_name[0] ? set->sender_name
						   : "somebody unknown");
	printf(" goes to %s\n",
	       people_with_keys(&s->people, &got->recipient.pub)
		       ? people_label(&s->people, &got->recipient.pub, label)
		       : got->recipient.name);
	return CMD_OK;
}

static int deliver_all(struct session *s, struct deliver_result *result)
{
	struct outbox o;
	int err = outbox_load(s, &o);

	if (!err)
		err = deliver_due(s, o.items, o.count, result);
	outbox_free(&o);
	return err ? session_report(s, "send", err) : CMD_OK;
}

/* What was passed on, and then that it was. */
static int deliver(struct session *s)
{
	struct deliver_result first = {0}, second = {0};
	size_t events;
	int status = deliver_all(s, &first);

	if (!status)
		status = intake_log(s, &events);
	if (!status)
		status = deliver_all(s, &second);
	if (!status && (first.failed || second.failed))
		return report_as(CMD_QUEUED,
				 "not all could be delivered; what could not "
				 "waits, and 'tgshare receive%s' tries again",
				 report_vault());
	return status;
}

static int list_kept(const struct session *s, const struct inbox_set *sets,
		     size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (sets[i].state == INBOX_CUSTODY) {
			tell_set(s, &sets[i], false);
			kept++;
		}
	if (!kept)
		puts("You keep no share for anybody.");
	return CMD_OK;
}

static int release(struct session *s, const struct release_args *args)
{
	CLEANUP_FREE struct inbox_set *sets = NULL;
	size_t count = 0, released = 0;
	int status = CMD_OK, err = intake_sets(s, &sets, &count);

	if (err)
		return session_report(s, "look at the inbox", err);
	if (!args->set && !args->all)
		return list_kept(s, sets, count);
	for (size_t i = 0; i < count && !status; i++) {
		if (sets[i].state != INBOX_CUSTODY ||
		    (args->set &&
		     !outbox_set_begins(sets[i].set_id, args->set)))
			continue;
		status = release_one(s, &sets[i]);
		released += !status;
	}
	if (released) {
		int sent = deliver(s);

		return status ? status : sent;
	}
	if (status)
		return status;
	if (args->all) {
		puts("You keep no share for anybody.");
		return CMD_OK;
	}
	return report_as(CMD_UNKNOWN,
			 "you keep no share of a set %s; 'tgshare release%s' "
			 "lists what you keep",
			 args->set, report_vault());
}

static int run(const struct release_args *args)
{
	struct session s;
	int status = session_open(&s, NULL, 0, args->vault);

	if (!status)
		status = session_need_transport(&s);
	if (!status)
		status = session_lock(&s);
	if (!status)
		status = intake_scan(&s);
	if (!status)
		status = release(&s, args);
	session_close(&s);
	return status;
}

static int parse(int argc, char **argv, struct release_args *args)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"all", no_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			args->vault = optarg;
		else if (c == 'a')
			args->all = true;
		else if (c == 'h')
			args->help = true;
		else
			return report_bad_option("release", c, argv);
	}
	if (args->help)
		return CMD_OK;
	if (argc - optind > !args->all)
		return report_usage("release",
				    "release wants one SET, or --all");
	args->set = argv[optind];
	if (args->set && !outbox_is_set_text(args->set))
		return report_usage("release",
				    "'%s' is no set: 8 to 32 digits of 0-9 and "
				    "a-f",
				    args->set);
	return CMD_OK;
}

int cmd_release(int argc, char **argv)
{
	struct release_args args = {0};
	int status = parse(argc, argv, &args);

	if (status || args.help)
		return status ? status : report_help(cmd_release_help);
	return run(&args);
}
