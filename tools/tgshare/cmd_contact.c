#include "chats.h"
#include "cmd.h"
#include "compare.h"
#include "json.h"
#include "report.h"
#include "session.h"
#include "text.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const char cmd_contact_help[] =
	"Usage: tgshare contact add NAME CARD|FILE|-\n"
	"       tgshare contact list\n"
	"       tgshare contact show NAME\n"
	"       tgshare contact verify NAME [--fingerprint DIGITS]\n"
	"       tgshare contact chat NAME CHAT_ID | --link\n"
	"       tgshare contact remove NAME\n"
	"\n"
	"The people whom you share with. 'verify' shows both fingerprints, to "
	"be compared\n"
	"over the telephone or face to face, and records that they were; that "
	"they differ\n"
	"takes an earlier record back. 'chat' is for people who have Telegram "
	"and perhaps no\n"
	"vault: they can keep a share and forward it.\n"
	"  --vault MOUNT         which mounted vault, if there are several\n"
	"  --fingerprint DIGITS  what the other one read out: compared without "
	"asking\n"
	"  --link                print a link; who opens it and presses Start "
	"is NAME,\n"
	"                        as soon as 'tgshare receive' or the agent has "
	"looked\n"
	"  --help                this text\n";

struct contact_args {
	const char *vault, *fingerprint;
	bool link;
	char **argv; /* NAME and so on */
	int argc;
};

enum { CARD_FILE_MAX = 65536 };

/* A card itself, a file with one, or "-". */
static int read_text(const char *from, char *text, size_t *len)
{
	if (strstr(from, CARD_TEXT_PREFIX)) {
		*len = strlen(from);
		if (*len > CARD_FILE_MAX)
			return -EFBIG;
		memcpy(text, from, *len);
		return 0;
	}
	FILE *file = strcmp(from, "-") ? fopen(from, "re") : stdin;

	if (!file)
		return -errno;
	*len = fread(text, 1, CARD_FILE_MAX, file);
	int err = ferror(file) ? -EIO : 0;

	if (file != stdin)
		fclose(file);
	return err;
}

static int report_card(int err, const char *from)
{
	if (err == -ENOENT)
		return report_as(CMD_FAILED,
				 "there is no card in '%s'; a card is the line "
				 "beginning with tgcard1. that 'tgshare card' "
				 "prints",
				 from);
	return report_as(CMD_FAILED,
			 "the card '%.40s%s' is damaged or not whole; copy it "
			 "anew from the other one's 'tgshare card'",
			 from, strlen(from) > 40 ? "..." : "");
}

/* On one line, without the line ends and quoting marks that mail puts in. */
static int cut_card(const char *begin, const struct card *card, char *text)
{
	size_t bytes = 2 + strlen(card->name) + strlen(card->address) +
		       IDENTITY_PUBLIC_LEN + IDENTITY_SIGNATURE_LEN;
	size_t n = strlen(CARD_TEXT_PREFIX), whole = n + BASE64URL_LEN(bytes);
	struct card same;

	memcpy(text, begin, n);
	for (const char *in = begin + n; *in && n < whole; in++)
		if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "abcdefghijklmnopqrstuvwxyz0123456789-_",
			   *in))
			text[n++] = *in;
	text[n] = '\0';
	return card_parse(text, n, &same);
}

static int read_card(const char *from, struct card *card, char *text)
{
	CLEANUP_FREE char *raw = malloc(CARD_FILE_MAX + 1);
	size_t len = 0;
	int err = raw ? read_text(from, raw, &len) : -ENOMEM;

	if (err == -ENOENT || err == -ENOTDIR)
		return report_as(CMD_UNKNOWN,
				 "there is no file '%s' with a card, and it is "
				 "no card itself: that is the line beginning "
				 "with tgcard1. that 'tgshare card' prints",
				 from);
	if (err)
		return report_as(CMD_FAILED,
				 "cannot read the card from '%s': %s", from,
				 strerror(-err));
	raw[len] = '\0';
	err = card_parse(raw, len, card);
	if (err)
		return report_card(err, from);
	for (const char *at = raw; (at = strstr(at, CARD_TEXT_PREFIX)); at++)
		if (cut_card(at, card, text) == 0)
			return CMD_OK;
	return report_card(-EBADMSG, from);
}

static int check_new(const struct session *s, const char *name,
		     const struct card *card)
{
	const struct person *known = people_named(&s->people, name);
	const struct person *same = people_with_keys(&s->people, &card->pub);

	if (people_same_keys(&s->m.info.pub, &card->pub))
		return report_as(CMD_FAILED,
				 "that is your own card; ask %s for theirs",
				 name);
	if (same && same != known)
		return report_as(CMD_FAILED,
				 "that card is of '%s', whom you know already; "
				 "remove that contact first to call them '%s'",
				 same->name, name);
	if (known && known->has_card && !same)
		return report_as(CMD_FAILED,
				 "this card has other keys than the '%s' you "
				 "know (%s): someone else may have made it; "
				 "ask them, and only then 'tgshare contact "
				 "remove %s%s' and add it",
				 name, known->fingerprint, name,
				 report_vault());
	return CMD_OK;
}

static int report_bad_name(const char *name)
{
	return report_as(CMD_USAGE,
			 "'%s' cannot be a contact's name: 1 to %d bytes of "
			 "UTF-8, no '/', ',' and control characters, no '.' or "
			 "'-' in front, no blank in front or at the end",
			 name, CARD_NAME_MAX);
}

/* Of somebody who is known by that name it is no question any more. */
static bool is_good_name(const struct session *s, const char *name)
{
	return contact_name_check_new(name) == 0 ||
	       people_named(&s->people, name) ||
	       people_invited(&s->people, name);
}

static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Is it the other way round? People write what they have at hand first. */
static int check_order(const struct contact_args *args)
{
	const char *name = args->argv[0], *card = args->argv[1];
	bool has_card = strstr(card, CARD_TEXT_PREFIX) ||
			strcmp(card, "-") == 0 || is_file(card);
	bool swapped =
		strstr(name, CARD_TEXT_PREFIX) || strcmp(name, "-") == 0 ||
		(is_file(name) && !has_card && contact_name_check(card) == 0);

	if (!swapped)
		return CMD_OK;
	return report_usage("contact",
			    "the name comes first: 'tgshare contact add %s "
			    "CARD%s'",
			    contact_name_check(card) ? "NAME" : card,
			    report_vault());
}

static int add(struct session *s, const struct contact_args *args)
{
	char text[CARD_TEXT_MAX], fingerprint[IDENTITY_FINGERPRINT_LEN + 1];
	const char *name = args->argv[0];
	struct card card;
	int status;

	status = check_order(args);
	if (status)
		return status;
	if (!is_good_name(s, name))
		return report_bad_name(name);
	status = read_card(args->argv[1], &card, text);
	if (!status)
		status = check_new(s, name, &card);
	if (status)
		return status;
	const struct person *known = people_named(&s->people, name);
	bool same = known && strcmp(known->card_text, text) == 0;
	int err = same ? 0 : people_put(&s->m, name, text);

	if (err)
		return session_report(s, "write the contact", err);
	identity_fingerprint(&card.pub, fingerprint);
	printf("%s is %s (calls themselves %s, reached at %s).\n"
	       "Fingerprint: %s\n",
	       name,
	       same    ? "known already"
	       : known ? "updated: same keys, new card"
		       : "added",
	       card.name, card.address[0] ? card.address : "no address",
	       fingerprint);
	if (!known || !known->verified_s)
		printf("Compare it with them: 'tgshare contact verify %s%s'.\n",
		       name, report_vault());
	return CMD_OK;
}

/* Each of them once, and only who has no other way yet. */
static void list_invited(const struct people *p)
{
	const char *last = "";

	for (size_t i = 0; i < p->invited_count; i++) {
		const char *name = p->invited[i].name;

		if (!people_named(p, name) && strcmp(name, last) != 0)
			printf("%-16s  link pending: has not pressed Start\n",
			       name);
		last = name;
	}
}

static int list(struct session *s, const struct contact_args *args)
{
	char when[WHEN_TEXT_MAX];

	(void)args;
	if (s->people.count + s->people.invited_count == 0 &&
	    isatty(STDOUT_FILENO))
		printf("You have no contacts yet; 'tgshare contact add NAME "
		       "CARD%s' adds one.\n",
		       report_vault());
	for (size_t i = 0; i < s->people.count; i++) {
		const struct person *p = &s->people.list[i];

		if (!p->has_card) {
			printf("%-16s  no card; can keep shares, %s%s\n",
			       p->name, p->chat,
			       people_invited(&s->people, p->name)
				       ? "; a new link is pending"
				       : "");
			continue;
		}
		printf("%-16s  %s  %s%s\n", p->name, p->fingerprint,
		       p->verified_s ? "verified " : "not verified",
		       p->verified_s ? when_text(p->verified_s, when) : "");
	}
	list_invited(&s->people);
	return CMD_OK;
}

static int show(struct session *s, const struct contact_args *args)
{
	const struct person *p = people_wanted(&s->people, args->argv[0]);
	char when[WHEN_TEXT_MAX];

	if (!p)
		return CMD_UNKNOWN;
	printf("name:         %s\n", p->name);
	if (p->chat[0])
		printf("chat:         %s\n", p->chat);
	if (!p->has_card) {
		puts("card:         none; they can keep shares and forward "
		     "them");
		return CMD_OK;
	}
	fputs("calls self:   ", stdout);
	json_put_plain(stdout, p->card.name);
	fputs("\naddress:      ", stdout);
	json_put_plain(stdout, p->card.address[0] ? p->card.address : "-");
	printf("\nfingerprint:  %s\n", p->fingerprint);
	printf("verified:     %s\n",
	       p->verified_s ? when_text(p->verified_s, when) : "no");
	printf("card:         %s\n", p->card_text);
	return CMD_OK;
}

static int verify(struct session *s, const struct contact_args *args)
{
	return compare_fingerprints(s, args->argv[0], args->fingerprint);
}

static int remove_contact(struct session *s, const struct contact_args *args)
{
	const char *name = args->argv[0];
	bool invited = !people_named(&s->people, name) &&
		       people_invited(&s->people, name);
	int err;

	if (!invited && !people_wanted(&s->people, name))
		return CMD_UNKNOWN;
	err = people_remove(&s->m, name);
	if (err)
		return session_report(s, "remove the contact", err);
	if (invited)
		printf("%s is removed: the link leads nowhere now.\n", name);
	else
		printf("%s is removed. What you granted them stays granted: "
		       "see 'tgshare status%s' and 'tgshare revoke%s'.\n",
		       name, report_vault(), report_vault());
	return CMD_OK;
}

/* Where our bot can write to somebody, or a link that finds that out. */
static int chat(struct session *s, const struct contact_args *args)
{
	const char *name = args->argv[0];

	if (!is_good_name(s, name))
		return report_bad_name(name);
	return args->link ? chats_print_link(s, name)
			  : chats_set(s, name, args->argv[1]);
}

static const struct action {
	const char *name;
	int args;
	int (*run)(struct session *s, const struct contact_args *args);
} actions[] = {
	{"add", 2, add},
	{"list", 0, list},
	{"show", 1, show},
	{"verify", 1, verify},
	{"remove", 1, remove_contact},
	{"chat", 2, chat},
};

static const struct action *find_action(const char *name)
{
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
	return NULL;
}

/* The number of a group looks like an option: it goes to the end, where
 * getopt does not see it. Returns how many arguments are left for it. */
static int put_group_last(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *number = argv[i];

		if (number[0] != '-' || !number[1] ||
		    number[1 + strspn(number + 1, "0123456789")])
			continue;
		memmove(argv + i, argv + i + 1,
			(size_t)(argc - i - 1) * sizeof *argv);
		argv[argc - 1] = number;
		return argc - 1;
	}
	return argc;
}

static int parse(int argc, char **argv, struct contact_args *args, bool *help)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"fingerprint", required_argument, NULL, 'f'},
		{"link", no_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, all = argc;

	argc = put_group_last(argc, argv);
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			args->vault = optarg;
		else if (c == 'f')
			args->fingerprint = optarg;
		else if (c == 'l')
			args->link = true;
		else if (c == 'h')
			*help = true;
		else
			return report_bad_option("contact", c, argv);
	}
	args->argv = argv + optind;
	args->argc = all - optind;
	return CMD_OK;
}

int cmd_contact(int argc, char **argv)
{
	struct contact_args args = {0};
	const struct action *action;
	struct session s;
	bool help = false;
	int status = parse(argc, argv, &args, &help);

	if (status || help)
		return status ? status : report_help(cmd_contact_help);
	if (args.argc == 0)
		return report_usage("contact", "contact wants to be told what "
					       "to do: add, list, show, "
					       "verify, chat or remove");
	action = find_action(args.argv[0]);
	if (!action)
		return report_usage("contact",
				    "contact cannot do '%s': it can add, list, "
				    "show, verify, chat and remove",
				    args.argv[0]);
	if (args.link && action->run != chat)
		return report_usage("contact", "--link is for chat only");
	if (args.argc - 1 != action->args - args.link)
		return report_usage("contact",
				    "contact %s wants %d argument%s, not %d",
				    action->name, action->args - args.link,
				    action->args - args.link == 1 ? "" : "s",
				    args.argc - 1);
	args.argv++;
	if (args.fingerprint && action->run != verify)
		return report_usage("contact",
				    "--fingerprint is for verify only");
	status = session_open(&s, NULL, 0, args.vault);
	if (!status)
		status = action->run(&s, &args);
	session_close(&s);
	return status;
}
