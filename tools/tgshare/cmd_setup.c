#include "bot_token.h"
#include "cmd.h"
#include "quote.h"
#include "report.h"
#include "session.h"
#include "transports.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

const char cmd_setup_help[] =
	"Usage: tgshare setup [--vault MOUNT] [--name NAME] [--new-keys]\n"
	"                     [--transport dir:PATH | telegram]\n"
	"                     [--bot-token-file FILE] [--api-base URL] "
	"[--part-size MIB]\n"
	"\n"
	"Make the keys that others know you by, and say how messages travel. "
	"Run it again\n"
	"to change something; the keys stay.\n"
	"  --vault MOUNT         which mounted vault, if there are several\n"
	"  --new-keys            when those that you had are lost; refused "
	"while they are\n"
	"                        there\n"
	"  --name NAME           what your card calls you (your login name)\n"
	"  --transport dir:PATH  messages lie in a folder that all of you can "
	"reach\n"
	"  --transport telegram  they travel between bots; @BotFather makes "
	"one "
	"for you\n"
	"  --bot-token-file FILE what @BotFather gave you; without it you are "
	"asked\n"
	"  --api-base URL        a Bot API server of your own\n"
	"  --part-size MIB       longest document (19: what everybody can "
	"fetch)\n"
	"  --help                this text\n";

/* What a Bot API server of one's own takes. */
enum { PART_MIB_MAX = 2000 };

struct setup {
	const char *vault, *name, *transport, *token_file, *api_base,
		*part_size;
	bool new_keys;
};

/* It stands where anybody may read it, so it is not quoted either. */
static int report_token_told(void)
{
	return report_usage(
		"setup",
		"a bot token does not belong on the command line, where the "
		"shell's history keeps it and others on this machine can see "
		"it: have @BotFather replace it (/revoke), put the new one "
		"into a file, and say --bot-token-file FILE, or let yourself "
		"be asked");
}

static int parse(int argc, char **argv, struct setup *opt, bool *help)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"name", required_argument, NULL, 'n'},
		{"new-keys", no_argument, NULL, 'k'},
		{"transport", required_argument, NULL, 't'},
		{"bot-token-file", required_argument, NULL, 'b'},
		/* what people try, told apart from its abbreviation */
		{"bot-token", required_argument, NULL, 'T'},
		{"token", required_argument, NULL, 'T'},
		{"api-base", required_argument, NULL, 'a'},
		{"part-size", required_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			opt->vault = optarg;
		else if (c == 'b')
			opt->token_file = optarg;
		else if (c == 'k')
			opt->new_keys = true;
		else if (c == 'a')
			opt->api_base = optarg;
		else if (c == 'p')
			opt->part_size = optarg;
		else if (c == 'n')
			opt->name = optarg;
		else if (c == 't')
			opt->transport = optarg;
		else if (c == 'h')
			*help = true;
		else if (c == 'T')
			return report_token_told();
		else
			return report_bad_option("setup", c, argv);
	}
	for (int i = 1; i < argc; i++)
		if (report_has_token(argv[i]))
			return report_token_told();
	if (optind < argc)
		return report_usage("setup", "setup takes no argument '%s'",
				    argv[optind]);
	return CMD_OK;
}

static int choose_name(struct session *s, const char *wanted)
{
	const struct passwd *me = getpwuid(getuid());
	const char *name = wanted		 ? wanted
			   : s->settings.name[0] ? s->settings.name
			   : me			 ? me->pw_name
						 : "";

	if (strcmp(name, s->settings.name) ? contact_name_check_new(name)
					   : contact_name_check(name))
		return report_as(CMD_USAGE,
				 "'%s' cannot be a name: 1 to %d bytes of "
				 "UTF-8, no '/', ',' and control characters, "
				 "no '.' or '-' in front, no blank in front or "
				 "at the end; give another with --name",
				 name, CARD_NAME_MAX);
	if (name != s->settings.name)
		strcpy(s->settings.name, name);
	return CMD_OK;
}

/* A folder within the vault is one that nobody else sees. */
static int check_folder(const char *path, char *absolute)
{
	struct mounted inside;

	if (!realpath(path, absolute))
		return report_as(CMD_FAILED,
				 "the folder '%s' for messages cannot be used: "
				 "%s; make it, or name another",
				 path, strerror(errno));
	if (mounted_of_path(absolute, &inside) == 0) {
		mounted_close(&inside);
		return report_as(
			CMD_FAILED,
			"the folder '%s' lies in a vault, where nobody "
			"else can put messages; name one outside",
			path);
	}
	return CMD_OK;
}

static int choose_folder(struct session *s, const char *path)
{
	char absolute[PATH_MAX];
	int status = check_folder(path, absolute);

	if (!status)
		snprintf(s->settings.transport, sizeof s->settings.transport,
			 "dir:%s", absolute);
	return status;
}

static int choose_part_size(struct settings *set, const char *wanted)
{
	char *end;
	unsigned long mib = strtoul(wanted, &end, 10);

	if (wanted[0] < '0' || wanted[0] > '9' || *end || mib < 1 ||
	    mib > PART_MIB_MAX)
		return report_as(CMD_USAGE,
				 "--part-size wants MiB, 1 to %d, not '%s'",
				 PART_MIB_MAX, wanted);
	snprintf(set->part_mib, sizeof set->part_mib, "%lu", mib);
	return CMD_OK;
}

/*
 * A token that works, and the bot that it belongs to. One that was revoked
 * is asked for anew: with what is kept there is no way on.
 */
static int find_bot(struct session *s, const char *token_file,
		    struct bot_token **token)
{
	struct settings *set = &s->settings;
	char reason[TELEGRAM_REASON_MAX];
	bool kept;
	int status = bot_token_get(s, token_file, token, &kept), err;

	if (status)
		return status;
	err = telegram_who_am_i(set->api_base, (*token)->text, set->bot,
				reason);
	if (err == -EKEYREVOKED && kept) {
		report("Telegram does not know the token that is kept; "
		       "@BotFather tells the new one (/mybots, API Token)");
		secret_free(TAKE_PTR(*token));
		status = bot_token_ask(token);
		if (status)
			return status;
		err = telegram_who_am_i(set->api_base, (*token)->text, set->bot,
					reason);
	}
	if (err)
		return report_as(CMD_FAILED, "%s%s", reason,
				 err == -EAGAIN ? "; nothing is changed, run "
						  "this again later"
						: "");
	return CMD_OK;
}

static int choose_bot(struct session *s, const struct setup *opt)
{
	CLEANUP_SECRET struct bot_token *token = NULL;
	struct settings *set = &s->settings;
	int status = CMD_OK, err;

	if (opt->part_size)
		status = choose_part_size(set, opt->part_size);
	if (!status && opt->api_base && !bot_api_base_ok(opt->api_base))
		status = report_usage("setup",
				      "--api-base wants https://HOST, or "
				      "http://localhost:PORT for a server on "
				      "this machine, not '%s'",
				      opt->api_base);
	if (status)
		return status;
	if (opt->api_base)
		strcpy(set->api_base, opt->api_base);
	else if (!set->api_base[0])
		strcpy(set->api_base, BOT_BASE_PUBLIC);
	status = find_bot(s, opt->token_file, &token);
	if (status)
		return status;
	err = bot_token_save(s, token);
	if (err)
		return session_report(s, "keep the bot's token", err);
	strcpy(set->transport, "telegram");
	return CMD_OK;
}

static int choose_transport(struct session *s, const struct setup *opt)
{
	const char *wanted = opt->transport;

	if (!wanted && (opt->token_file || opt->api_base || opt->part_size))
		wanted = "telegram";
	if (!wanted && !s->settings.transport[0])
		return report_as(
			CMD_USAGE,
			"how do messages travel? Say --transport telegram, or "
			"--transport dir:PATH, PATH being a folder that all of "
			"you can reach");
	if (!wanted)
		return CMD_OK;
	if (strncmp(wanted, "dir:", 4) == 0 && wanted[4])
		return choose_folder(s, wanted + 4);
	if (strcmp(wanted, "telegram") == 0)
		return choose_bot(s, opt);
	return report_as(CMD_USAGE,
			 "there is no transport '%s'; use telegram, or "
			 "dir:PATH, PATH being a folder that all of you can "
			 "reach",
			 wanted);
}

static int make_identity(struct session *s)
{
	int err = mounted_ask(s->m.fd, CONTROL_IDENTITY, &s->m.info.pub);

	if (err)
		return session_report(s, "make your keys", err);
	s->m.info.identity = 1;
	return CMD_OK;
}

static void show_next(const struct session *s)
{
	const char *bot = s->settings.bot, *vault = report_vault();
	CLEANUP_FREE char *name = quote_word(s->settings.name);

	puts("Next:");
	if (strcmp(s->settings.transport, "telegram") == 0)
		printf("- In Telegram, open @BotFather, /mybots, %s, Bot "
		       "Settings, and switch\n"
		       "  'Bot-to-Bot Communication' on; whom you share with "
		       "does that for theirs.\n",
		       bot);
	printf("- Give the card to the other person, who runs 'tgshare contact "
	       "add %s CARD';\n"
	       "  add theirs with 'tgshare contact add NAME CARD%s'.\n"
	       "- Compare fingerprints by telephone: 'tgshare contact verify "
	       "NAME%s'.\n",
	       name ? name : "NAME", vault, vault);
	if (strcmp(s->settings.transport, "telegram") == 0)
		printf("- Who has no vault can keep a share: 'tgshare contact "
		       "chat NAME --link%s'.\n",
		       vault);
	printf("- 'tgshare receive%s' collects what comes; 'tgshare agent%s' "
	       "does so for ever.\n",
	       vault, vault);
}

static int show(struct session *s)
{
	char card[CARD_TEXT_MAX], fingerprint[IDENTITY_FINGERPRINT_LEN + 1];
	int status = session_card(s, card);

	if (status)
		return status;
	identity_fingerprint(&s->m.info.pub, fingerprint);
	printf("Your card (anybody may see it):\n\n%s\n\n", card);
	printf("Your fingerprint: %s\n\n", fingerprint);
	show_next(s);
	return CMD_OK;
}

/* Who asks for new keys must not go on with the old ones unawares: somebody
 * else may have them. They are the owner's to put aside, as what was sealed to
 * them opens with nothing else. */
static int check_keys_lost(const struct session *s)
{
	if (!s->m.info.identity)
		return CMD_OK;
	return report_as(
		CMD_FAILED,
		"the vault on '%s' still has its sharing keys, and --new-keys "
		"makes others only when they are gone: to have others, "
		"unmount, move '%s/.frondfs/identity' to a safe place (what "
		"was sent to your old card opens with nothing else), mount "
		"anew and repeat this; to keep them, leave --new-keys out",
		s->m.info.mountpoint, s->m.info.backing);
}

static int setup(struct session *s, const struct setup *opt)
{
	int status = opt->new_keys ? check_keys_lost(s) : session_keys_lost(s);

	if (!status)
		status = choose_name(s, opt->name);
	if (!status)
		status = choose_transport(s, opt);
	if (!status)
		status = make_identity(s);
	if (!status && !s->transport)
		status = transports_open(s);
	if (status)
		return status;
	int err = settings_save(&s->m, &s->settings);

	if (err)
		return session_report(s, "write .tgshare/settings.ini", err);
	session_stamp(s);
	return show(s);
}

int cmd_setup(int argc, char **argv)
{
	struct setup opt = {0};
	struct session s;
	bool help = false;
	int status = parse(argc, argv, &opt, &help);

	if (status || help)
		return status ? status : report_help(cmd_setup_help);
	status = session_open(&s, NULL, 0, opt.vault);
	if (!status)
		status = setup(&s, &opt);
	session_close(&s);
	return status;
}
