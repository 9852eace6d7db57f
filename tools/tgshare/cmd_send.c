#include "cmd.h"
#include "json.h"
#include "pipeline.h"
#include "renewal.h"
#include "report.h"
#include "request.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define SPLIT_HELP                                                             \
	"  --to NAME,...    who gets it\n"                                     \
	"  --shares N       split the key into N shares (1)...\n"              \
	"  --threshold K    ...any K of which open it\n"                       \
	"  --via NAME,...   give the shares to these in turn, to be passed "   \
	"on; those of the\n"                                                   \
	"                   recipient go straight to him or her\n"             \
	"  --expires WHEN   not readable after 30m, 12h, 7d, 2w from now, or " \
	"a date\n"

/* FILE tells it; a script may want to be sure. */
#define END_HELP                                                               \
	"  --vault MOUNT    the mounted vault that FILE has to be in\n"        \
	"  --help           this text\n"

const char cmd_send_help[] =
	"Usage: tgshare send FILE... --to NAME[,NAME...] [--shares N "
	"--threshold K]\n"
	"                    [--via NAME,...] [--no-content] [--expires 7d] "
	"[--note TEXT]\n"
	"\n"
	"Give a copy of files or folders of a vault. May be interrupted and "
	"repeated.\n"
	"Symbolic links in a folder are left out.\n" SPLIT_HELP
	"  --no-content     send the key only; the content goes another way "
	"(export)\n"
	"  --note TEXT      words for the recipient, sealed as well; but "
	"whoever keeps a\n"
	"                   share without a card reads them in the chat, as "
	"Telegram does\n" END_HELP;

const char cmd_grant_help[] =
	"Usage: tgshare grant FILE... --to NAME[,NAME...] [--shares N "
	"--threshold K]\n"
	"                     [--via NAME,...] [--expires 7d]\n"
	"\n"
	"Let somebody read these very files, as they are and will be, from "
	"the backing\n"
	"directory that both of you have. 'tgshare revoke' ends "
	"it.\n" SPLIT_HELP END_HELP;

/* One run of the command. */
struct sending {
	struct session *s;
	const struct request *r;
	enum item_kind kind;
	struct outbox outbox;
	struct delivery *delivery;
	uint64_t began_s;
	struct item **made;   /* new or resumed ones; owned */
	size_t count, failed; /* messages */
};

static bool says_the_same(const struct item *item, const struct source *from,
			  const struct plan *plan)
{
	return !item->exported && item_live(item, when_now_s()) &&
	       renewal_same_parties(item, plan) &&
	       strcmp(item->path, from->relative) == 0 &&
	       strcmp(item->note, plan->note ? plan->note : "") == 0 &&
	       item->no_content == plan->no_content &&
	       !item->expires_s == !plan->expires_s;
}

/* A grant of a file that has been replaced by another since is another. */
static bool same_files(const struct item *item, const struct source *from)
{
	size_t files = 0;

	for (size_t i = 0; i < from->count; i++) {
		CLEANUP_FD int fd = -1;
		uint8_t id[FILE_ID_LEN];

		if (!S_ISREG(from->entries[i].st.st_mode))
			continue;
		files++;
		if (source_open(from, &from->entries[i], O_RDONLY, &fd) ||
		    source_file_id(fd, id))
			return false;
		if (!item_files_have(item->files, item->file_count, id))
			return false;
	}
	return files == item->file_count;
}

/* An earlier set that says the same, and can still be gone on with. */
static struct item *find_same(const struct sending *w,
			      const struct source *from,
			      const struct plan *plan)
{
	for (size_t i = 0; i < w->outbox.count; i++) {
		struct item *item = w->outbox.items[i];
		bool over = w->kind == ITEM_SEND &&
			    item->recipient_state >= ACK_OPENED;

		if (item->kind != w->kind || over ||
		    !says_the_same(item, from, plan))
			continue;
		/* a grant is of what the file is, whatever it becomes */
		if (w->kind == ITEM_GRANT
			    ? same_files(item, from)
			    : item->size == from->total &&
				      item->mtime_ns == from->mtime_ns)
			return item;
	}
	return NULL;
}

/* One that was being sealed; whether of the same bytes is to be seen. */
static const struct item *find_draft(const struct sending *w,
				     const struct source *from,
				     const struct plan *plan)
{
	for (size_t i = 0; i < w->outbox.draft_count; i++)
		if (says_the_same(w->outbox.drafts[i], from, plan))
			return w->outbox.drafts[i];
	return NULL;
}

static int make_room(struct sending *w)
{
	struct item **made = reallocarray(w->made, w->count + 1, sizeof *made);

	if (!made)
		return report_as(CMD_FAILED, "memory is short");
	w->made = made;
	return CMD_OK;
}

static int keep(struct sending *w, struct item *item)
{
	int status = make_room(w);

	if (status)
		item_free(item);
	else
		w->made[w->count++] = item;
	return status;
}

static bool is_due(const struct item *item)
{
	uint64_t now = when_now_s();

	for (size_t i = 0; i < item->message_count; i++)
		if (item_message_due(item, &item->messages[i], now))
			return true;
	return false;
}

/* Another tgshare has just done what we were told to. */
static bool sent_meanwhile(const struct sending *w, const struct item *item)
{
	uint64_t last_s = 0;

	for (size_t i = 0; i < item->message_count; i++)
		if (item->messages[i].sent_s > last_s)
			last_s = item->messages[i].sent_s;
	return last_s > w->began_s || (w->s->waited && last_s == w->began_s);
}

/* Of a grant; a copy that was opened is not gone on with. */
static bool is_there(const struct item *item)
{
	return item->recipient_state >= ACK_OPENED;
}

/* It keeps its own time, whatever is said now. */
static void report_resumed(const struct item *item)
{
	const char *to = item->parties[0].name;
	char when[WHEN_TEXT_MAX];

	if (!item->recipient_state)
		report("going on with the set %.8s, which was made before of "
		       "the same%s%s",
		       item->id, item->expires_s ? " and expires " : "",
		       item->expires_s ? when_text(item->expires_s, when) : "");
	else if (is_there(item))
		report("%s has the set %.8s of the same already, and nothing "
		       "is sent; if %s removed it, 'tgshare receive' there, "
		       "'tgshare receive%s' here, and repeat this",
		       to, item->id, to, report_vault());
}

static int resume(struct sending *w, const struct item *earlier)
{
	struct item *item;
	int err = item_load(w->s->outbox_fd, earlier->id, &item);

	if (err)
		return session_report(w->s, "read .tgshare/outbox", err);
	report_resumed(item);
	/* what was interrupted is finished, and said to be; only who has been
	 * told so before means that it was lost on its way */
	item->again = item->told && !deliver_waiting(item, when_now_s()) &&
		      !sent_meanwhile(w, item);
	item->again = item->again && is_due(item);
	return keep(w, item);
}

static int make(struct sending *w, const struct source *from,
		const struct cargo *c, const struct plan *plan)
{
	struct item *item;
	int err = compose(w->s, from, c, plan, &item);

	return err ? compose_report(w->s, from, err) : keep(w, item);
}

static int load_cargo(struct sending *w, const struct source *from,
		      struct cargo *c)
{
	if (c->keys)
		return CMD_OK;
	return w->kind == ITEM_GRANT
		       ? cargo_grant(w->s, from, c)
		       : cargo_seal(w->s, from,
				    w->s->transport->ops->part_max(
					    w->s->transport),
				    c);
}

static int send_sealing(struct sending *w, const struct source *from,
			const struct plan *plan)
{
	const struct item *draft = find_draft(w, from, plan);
	struct item *item;
	int status = make_room(w);

	if (status)
		return status;
	status = pipeline_send(w->s, w->delivery, from, plan, draft, &item);
	if (!status)
		w->made[w->count++] = item;
	return status;
}

static int share_with(struct sending *w, const struct source *from,
		      const struct person *to, struct cargo *c)
{
	struct plan plan;
	struct item *earlier;
	const struct item *old = NULL;
	int status;

	request_plan(w->r, to, &plan);
	earlier = find_same(w, from, &plan);
	if (earlier)
		return resume(w, earlier);
	if (w->kind == ITEM_SEND && w->r->to_count == 1 &&
	    pipeline_fits(w->s, from, &plan))
		return send_sealing(w, from, &plan);
	status = load_cargo(w, from, c);
	if (status)
		return status;
	if (w->kind == ITEM_GRANT)
		old = renewal_find(w->s, &w->outbox, from, c, &plan);
	if (old)
		memcpy(plan.replaces, old->set_id, SET_ID_LEN);
	return make(w, from, c, &plan);
}

static int share_file(struct sending *w, const char *path)
{
	struct source from;
	struct cargo c = {0};
	int status = source_look(&w->s->m, path, &from);

	if (status)
		return status;
	for (size_t i = 0; i < w->r->to_count && !status; i++)
		status = share_with(w, &from, w->r->to[i], &c);
	cargo_free(&c);
	source_free(&from);
	return status;
}

/* People without keys are asked in words, and the note is among these. */
static void warn_note(const struct request *r)
{
	const char *before = "";
	bool any = false;

	for (size_t i = 0; r->note && r->note[0] && i < r->via_count; i++)
		any |= !r->via[i]->has_card;
	if (!any)
		return;
	fputs("tgshare: the note is sealed for whoever gets the file, but "
	      "stands readable in the chat with ",
	      stderr);
	for (size_t i = 0; i < r->via_count; i++) {
		if (r->via[i]->has_card)
			continue;
		fprintf(stderr, "%s%s", before, r->via[i]->name);
		before = ", ";
	}
	fputs(", for Telegram too\n", stderr);
}

/* Several shares in one hand go all at once. */
static void warn_one_keeper(const struct request *r)
{
	if (r->via_count != 1 || r->n == 1 ||
	    (r->to_count == 1 && r->via[0] == r->to[0]))
		return;
	report("%s keeps all %u shares, so %s alone decides, as with one; to "
	       "need several people, name them with --via",
	       r->via[0]->name, r->n, r->via[0]->name);
}

static bool all_direct(const struct item *item)
{
	for (unsigned i = 0; i < item->n; i++)
		if (item->holders[i] != 0)
			return false;
	return true;
}

static void warn_direct(const struct item *item)
{
	if (item->n > 1 && all_direct(item))
		fputs("tgshare: all shares go to one person: that protects "
		      "against loss only; to need the consent of others, name "
		      "them with --via\n",
		      stderr);
}

static void print_holders(const struct item *item)
{
	if (item->n == 1 && all_direct(item))
		return;
	for (unsigned i = 0; i < item->n; i++) {
		const char *name = item->parties[item->holders[i]].name;

		printf("%s share %u %s %s", i ? "," : " ", i + 1,
		       item->holders[i] ? "by way of" : "to", name);
	}
	printf("; any %u open%s it\n", item->k, item->k == 1 ? "s" : "");
}

/* Of two files of one name, the path tells which is meant. */
static bool has_namesake(const struct sending *w, const struct item *item)
{
	for (size_t i = 0; i < w->count; i++)
		if (strcmp(w->made[i]->name, item->name) == 0 &&
		    strcmp(w->made[i]->path, item->path) != 0)
			return true;
	return false;
}

static void print_item(const struct sending *w, const struct item *item)
{
	bool waiting = deliver_waiting(item, when_now_s()) ||
		       (item->again && w->failed);
	bool terminal = isatty(STDOUT_FILENO);
	const char *name = has_namesake(w, item) ? item->path : item->name;
	const char *how = waiting	   ? "queued"
			  : item->again	   ? "sent again"
			  : is_there(item) ? "there already"
					   : "sent";

	if (!terminal) {
		printf("%s\t%s\t", item->id, how);
		json_put_plain(stdout, name);
		printf("\t%s\t%s\n", item->parties[0].name, item->code);
		return;
	}
	printf("%s%s ", w->kind == ITEM_GRANT ? "granted" : "sent",
	       item->again ? " again" : "");
	json_put_plain(stdout, name);
	printf(" to %s: set %.8s, verification code %s%s\n",
	       item->parties[0].name, item->id, item->code,
	       waiting		? " (waiting to be delivered)"
	       : is_there(item) ? " (there already)"
				: "");
	print_holders(item);
	if (item->no_content)
		printf("  The content is to come another way: 'tgshare export "
		       "%.8s -o BUNDLE%s'.\n",
		       item->id, report_vault());
}

/* What a set replaces ends with it, also when that was interrupted. */
static int log_all(struct sending *w)
{
	int err = 0;

	for (size_t i = 0; i < w->count && !err; i++) {
		err = compose_log(w->s, w->made[i]);
		if (!err)
			err = renewal_end(w->s, &w->outbox, w->made[i]);
	}
	return err ? session_report(w->s, "write to the log", err) : CMD_OK;
}

static int send_all(struct sending *w)
{
	struct deliver_result result = {0};
	int status = log_all(w), err;

	if (status)
		return status;
	err = delivery_end(w->delivery, w->made, w->count, &result);
	if (err)
		return session_report(w->s, "send", err);
	w->failed = result.failed;
	for (size_t i = 0; i < w->count && !err; i++) {
		print_item(w, w->made[i]);
		warn_direct(w->made[i]);
		err = item_note_told(w->s->outbox_fd, w->made[i]);
	}
	if (err)
		return session_report(w->s, "write to .tgshare/outbox", err);
	if (!result.failed)
		return CMD_OK;
	if (result.failed == 1)
		return report_as(CMD_QUEUED,
				 "1 message is not delivered yet; it waits, "
				 "and 'tgshare receive%s' or 'tgshare agent%s' "
				 "sends it",
				 report_vault(), report_vault());
	return report_as(CMD_QUEUED,
			 "%zu messages are not delivered yet; they wait, and "
			 "'tgshare receive%s' or 'tgshare agent%s' sends them",
			 result.failed, report_vault(), report_vault());
}

/* What was made before a later FILE failed is sent nevertheless. */
static int share_all(struct sending *w)
{
	int status = CMD_OK, sent;
	int err = outbox_load(w->s, &w->outbox);

	if (!err)
		err = outbox_tidy(w->s, &w->outbox);
	if (err)
		return session_report(w->s, "read .tgshare/outbox", err);
	err = delivery_new(w->s, &w->delivery);
	if (err)
		return session_report(w->s, "send", err);
	/* one that cannot be shared keeps no other back */
	for (int i = 0; i < w->r->file_count; i++) {
		int one = share_file(w, w->r->files[i]);

		status = status ? status : one;
	}
	sent = w->count ? send_all(w) : CMD_OK;
	delivery_free(w->delivery);
	return status ? status : sent;
}

/* However they are spelt; two hard links are two names to share. */
static bool same_file(const char *a, const char *b)
{
	CLEANUP_FREE char *real_a = realpath(a, NULL);
	CLEANUP_FREE char *real_b = realpath(b, NULL);

	return strcmp(a, b) == 0 ||
	       (real_a && real_b && strcmp(real_a, real_b) == 0);
}

static int check_request(const struct request *r)
{
	if (r->file_count == 0)
		return report_usage(r->command, "%s wants a file or folder",
				    r->command);
	if (!r->to_names)
		return report_usage(r->command,
				    "to whom? Name somebody with --to");
	for (int i = 0; i < r->file_count; i++)
		for (int j = 0; j < i; j++)
			if (same_file(r->files[i], r->files[j]))
				return report_usage(r->command,
						    "'%s' is named twice",
						    r->files[i]);
	return CMD_OK;
}

/* The vault is that of the files which are there: what is wrong with another is
 * said when its turn comes. */
static int open_session(struct session *s, const struct request *r)
{
	CLEANUP_FREE char **there =
		calloc((size_t)r->file_count + 1, sizeof *there);
	int count = 0;

	if (!there)
		return report_as(CMD_FAILED, "memory is short");
	for (int i = 0; i < r->file_count; i++)
		if (faccessat(AT_FDCWD, r->files[i], F_OK,
			      AT_SYMLINK_NOFOLLOW) == 0)
			there[count++] = r->files[i];
	return count ? session_open(s, there, count, r->vault)
		     : session_open(s, r->files, r->file_count, r->vault);
}

static int run(struct request *r, enum item_kind kind)
{
	struct session s;
	struct sending w = {
		.s = &s, .r = r, .kind = kind, .began_s = when_now_s()};
	int status = open_session(&s, r);

	if (!status)
		status = session_need_transport(&s);
	if (!status)
		status = request_resolve(r, &s);
	if (!status) {
		warn_note(r);
		warn_one_keeper(r);
		status = session_lock(&s);
	}
	if (!status)
		status = share_all(&w);
	for (size_t i = 0; i < w.count; i++)
		item_free(w.made[i]);
	free(w.made);
	outbox_free(&w.outbox);
	session_close(&s);
	return status;
}

static int share(int argc, char **argv, enum item_kind kind,
		 const char *allowed, const char *help)
{
	struct request r = {0};
	int status = request_parse(&r, argc, argv, allowed);

	if (!status && r.help)
		status = report_help(help);
	else if (!status)
		status = check_request(&r);
	if (!status && !r.help)
		status = run(&r, kind);
	request_free(&r);
	return status;
}

int cmd_send(int argc, char **argv)
{
	return share(argc, argv, ITEM_SEND, "tskVnec", cmd_send_help);
}

int cmd_grant(int argc, char **argv)
{
	return share(argc, argv, ITEM_GRANT, "tskVe", cmd_grant_help);
}
