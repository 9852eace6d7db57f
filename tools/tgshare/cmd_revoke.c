#include "cmd.h"
#include "deliver.h"
#include "json.h"
#include "report.h"
#include "revoke.h"
#include "source.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char cmd_revoke_help[] =
	"Usage: tgshare revoke FILE|SET [--from NAME]\n"
	"\n"
	"Take back a grant: the file gets a new key, everybody else who may "
	"read it gets that;\n"
	"or withdraw what was sent and not opened yet. What was read stays "
	"read.\n"
	"  --from NAME    only from NAME\n"
	"  --vault MOUNT  which mounted vault, if SET is given and there are "
	"several\n"
	"  --help         this text\n";

struct revoke_args {
	const char *vault, *from;
	char *what[1];
	bool is_set, help;
};

/* What is to end, and why something else does not. */
struct choice {
	struct item **victims;
	size_t count;
	const struct item *opened, *within;
};

static bool is_from(const struct session *s, const struct item *item,
		    const char *from)
{
	char label[PEOPLE_LABEL_MAX];

	return !from || strcmp(item->parties[0].name, from) == 0 ||
	       strcmp(people_label(&s->people, &item->parties[0].pub, label),
		      from) == 0;
}

struct target {
	const char *set;      /* hex digits, or NULL */
	const char *relative; /* FILE's path, or NULL */
	const uint8_t *id;    /* FILE's, or NULL */
};

static bool is_target(const struct item *item, const struct target *t)
{
	if (t->set)
		return outbox_set_begins(item->set_id, t->set);
	return strcmp(item->path, t->relative) == 0 ||
	       (!item->folder &&
		item_files_have(item->files, item->file_count, t->id));
}

static void choose(const struct session *s, const struct outbox *o,
		   const struct target *t, const char *from, struct choice *c)
{
	uint64_t now = when_now_s();

	for (size_t i = 0; i < o->count; i++) {
		struct item *item = o->items[i];

		if (item->kind == ITEM_NOTE || item->end != ITEM_LIVE ||
		    !is_from(s, item, from))
			continue;
		if (item->folder && item->kind == ITEM_GRANT &&
		    item_live(item, now) &&
		    item_files_have(item->files, item->file_count, t->id))
			c->within = item;
		if (!is_target(item, t))
			continue;
		if (item->kind == ITEM_SEND &&
		    item->recipient_state >= ACK_OPENED)
			c->opened = item;
		else
			c->victims[c->count++] = item;
	}
}

static int report_nothing(const struct choice *c, const char *what,
			  const char *from)
{
	if (c->opened)
		return report_as(CMD_UNKNOWN,
				 "%s has opened '%s': that copy is theirs now, "
				 "and nothing can take it back",
				 c->opened->parties[0].name, c->opened->name);
	if (c->within)
		return report_as(CMD_FAILED,
				 "'%s' was granted to %s as part of the folder "
				 "'%s'; revoke that folder, or the set %.8s",
				 what, c->within->parties[0].name,
				 c->within->path, c->within->id);
	return report_as(
		CMD_UNKNOWN,
		"nothing that can be taken back is shared of '%s'%s%s; "
		"see 'tgshare status%s'",
		what, from ? " with " : "", from ? from : "", report_vault());
}

static bool was_delivered(const struct item *item)
{
	for (size_t i = 0; i < item->message_count; i++)
		if (item->messages[i].sends)
			return true;
	return item->exported && !item_never_left(item);
}

static void tell(const struct item *item)
{
	fputs(item->kind == ITEM_GRANT ? "revoked " : "withdrew ", stdout);
	json_put_plain(stdout, item->name);
	printf(" from %s (set %.8s)", item->parties[0].name, item->id);
	if (item->kind == ITEM_GRANT)
		printf("; the file has a new key. What was read already stays "
		       "read.\n");
	else if (!was_delivered(item))
		printf("; it had not been delivered.\n");
	else if (item->recipient_state == 0)
		printf("; if it has been opened in the meantime, that copy is "
		       "theirs.\n");
	else
		printf("; it had arrived, but was not opened.\n");
}

static int deliver_all(struct session *s)
{
	struct deliver_result result = {0};
	struct outbox o;
	int err = outbox_load(s, &o);

	if (!err)
		err = deliver_due(s, o.items, o.count, &result);
	if (!err)
		err = outbox_tidy(s, &o);
	outbox_free(&o);
	if (err)
		return session_report(s, "send", err);
	if (result.failed)
		return report_as(CMD_QUEUED,
				 "not everybody could be told yet; 'tgshare "
				 "receive%s' tries again",
				 report_vault());
	if (result.left)
		return report_as(CMD_QUEUED,
				 "%zu message%s that can be taken back %s in a "
				 "chat yet; 'tgshare receive%s' tries again",
				 result.left, result.left == 1 ? "" : "s",
				 result.left == 1 ? "lies" : "lie",
				 report_vault());
	return CMD_OK;
}

static int revoke_chosen(struct session *s, const struct outbox *o,
			 const struct choice *c)
{
	int err = revoke_begin(s, o, c->victims, c->count);
	int status;

	if (err)
		return session_report(s, "write .tgshare/outbox", err);
	status = revoke_finish(s);
	for (size_t i = 0; i < c->count && !status; i++)
		tell(c->victims[i]);
	if (!status && c->opened)
		printf("%s had opened '%s' before: that copy is theirs.\n",
		       c->opened->parties[0].name, c->opened->name);
	return status ? status : deliver_all(s);
}

static int check_unique(const struct choice *c, const char *set)
{
	if (!set || c->count < 2)
		return CMD_OK;
	return report_as(CMD_UNKNOWN,
			 "several sets begin with %s; write more of it", set);
}

static int take_back(struct session *s, const struct target *t,
		     const struct revoke_args *args)
{
	struct choice c = {0};
	struct outbox o;
	bool finished = revoke_pending(s);
	int status = revoke_finish(s), err;

	if (status)
		return status;
	err = outbox_load(s, &o);
	c.victims = calloc(o.count + 1, sizeof(struct item *));
	if (err || !c.victims)
		return session_report(s, "read .tgshare/outbox",
				      err ? err : -ENOMEM);
	choose(s, &o, t, args->from, &c);
	status = check_unique(&c, t->set);
	if (!status && c.count)
		status = revoke_chosen(s, &o, &c);
	else if (!status && finished)
		status = deliver_all(s);
	else if (!status)
		status = report_nothing(&c, args->what[0], args->from);
	if (!status && finished)
		puts("What an earlier revoke began is finished.");
	free(c.victims);
	outbox_free(&o);
	return status;
}

static int revoke_path(struct session *s, const struct revoke_args *args)
{
	CLEANUP_FREE char *real = realpath(args->what[0], NULL);
	CLEANUP_FREE char *relative = NULL;
	uint8_t id[FILE_ID_LEN];
	struct target t = {0};
	int err = real ? mounted_relative(&s->m, real, &relative) : -errno;

	if (err)
		return report_as(CMD_FAILED,
				 "cannot find '%s' in the vault: %s",
				 args->what[0], strerror(-err));
	CLEANUP_FD int fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	t.relative = relative;
	if (fd >= 0 && source_file_id(fd, id) == 0)
		t.id = id;
	return take_back(s, &t, args);
}

static int run(struct revoke_args *args)
{
	struct target t = {.set = args->what[0]};
	struct session s;
	int status =
		session_open(&s, args->what, args->is_set ? 0 : 1, args->vault);

	if (!status)
		status = session_need_transport(&s);
	if (!status)
		status = session_lock(&s);
	if (!status)
		status = args->is_set ? take_back(&s, &t, args)
				      : revoke_path(&s, args);
	session_close(&s);
	return status;
}

/* What is no file, and too short for a set, which it looks like. */
static bool is_short_set(const char *what)
{
	size_t len = strlen(what);

	return len >= OUTBOX_SHORT / 2 && len < OUTBOX_SHORT &&
	       strspn(what, "0123456789abcdef") == len &&
	       access(what, F_OK) < 0;
}

int cmd_revoke(int argc, char **argv)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"from", required_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct revoke_args args = {0};
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			args.vault = optarg;
		else if (c == 'f')
			args.from = optarg;
		else if (c == 'h')
			return report_help(cmd_revoke_help);
		else
			return report_bad_option("revoke", c, argv);
	}
	if (argc - optind != 1)
		return report_usage("revoke", "revoke wants one FILE or SET");
	args.what[0] = argv[optind];
	if (is_short_set(args.what[0]))
		return report_as(CMD_UNKNOWN,
				 "there is no file '%s', and the number of a "
				 "set has to be given with %d digits or more",
				 args.what[0], OUTBOX_SHORT);
	/* what exists as a file is one */
	args.is_set = outbox_is_set_text(args.what[0]) &&
		      access(args.what[0], F_OK) < 0;
	return run(&args);
}
