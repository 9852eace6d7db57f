#include "cmd.h"
#include "gone.h"
#include "intake.h"
#include "json.h"
#include "opened.h"
#include "report.h"
#include "status_words.h"
#include "tell.h"
#include "text.h"
#include "when.h"
#include "why.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RECENT_S = 7 * 86400 };

const char cmd_status_help[] =
	"Usage: tgshare status [--vault MOUNT] [--all] [--json]\n"
	"\n"
	"What you sent and granted, what you wait for, which shares are "
	"missing and from whom;\n"
	"below, what was opened or ended in the last 7 days.\n"
	"  --vault MOUNT  which mounted vault, if there are several\n"
	"  --all          what ended earlier, too\n"
	"  --json         the same as one JSON object\n"
	"  --help         this text\n";

static void put_text(const char *key, const char *text)
{
	printf("\"%s\": ", key);
	json_put_string(stdout, text ? text : "");
}

static void put_time(const char *key, uint64_t time_s)
{
	char text[WHEN_TEXT_MAX];

	if (time_s)
		printf(", \"%s\": \"%s\"", key, when_utc(time_s, text));
	else
		printf(", \"%s\": null", key);
}

static void print_shares(const struct item *item)
{
	if (item->n == 1 && item->holders[0] == 0)
		return;
	printf("          any %u of these %s:", item->k,
	       item->k == 1 ? "opens it" : "open it");
	for (unsigned i = 0; i < item->n; i++)
		printf("%s %s (%s)", i ? "," : "",
		       item->parties[item->holders[i]].name,
		       status_of_share(item, i));
	putchar('\n');
}

/* Once for each of them, and for what is not a share, too. */
static void print_reasons(const struct session *s, const struct item *item,
			  uint64_t now)
{
	char why[WHY_MAX];

	for (unsigned party = 0; party < item->party_count; party++) {
		bool waits = false;

		for (size_t i = 0; i < item->message_count; i++)
			waits |= item->messages[i].party == party &&
				 item->messages[i].sends == 0 &&
				 item_message_due_s(item, &item->messages[i],
						    now) != UINT64_MAX;
		if (!waits)
			continue;
		printf("          not delivered to %s",
		       item->parties[party].name);
		if (why_of(s->outbox_fd, item, party, why)[0]) {
			fputs(": ", stdout);
			json_put_plain(stdout, why);
		}
		putchar('\n');
	}
}

/* "          plan.odt and 2 more " */
static void print_gone(const struct gone *gone, size_t count)
{
	fputs("          ", stdout);
	json_put_plain(stdout, gone->path);
	if (count > 1)
		printf(" and %zu more", count - 1);
}

static void print_gone_given(const struct session *s, const struct outbox *o,
			     const struct item *item)
{
	struct gone gone;

	gone_given(s, o, item, &gone);
	if (gone.replaced) {
		print_gone(&gone, gone.replaced + gone.missing);
		puts(": a new file is in its place, which is not granted; "
		     "'tgshare grant' it again");
	} else if (gone.missing) {
		print_gone(&gone, gone.missing);
		puts(": not there any more; what was moved stays granted");
	}
}

static void print_gone_came(const struct inbox_set *set,
			    const struct gone *gone)
{
	if (!gone->missing)
		return;
	print_gone(gone, gone->missing);
	fputs(": not in the vault of ", stdout);
	json_put_plain(stdout, set->sender_name);
	puts(" any more, where it was removed, or replaced by a new file when "
	     "it was saved; ask to be granted it again");
}

static void print_item(const struct session *s, const struct outbox *o,
		       const struct item *item, uint64_t now)
{
	char when[WHEN_TEXT_MAX];

	printf("%.8s  %-10s ", item->id, status_of_item(item, now));
	json_put_plain(stdout, item->name);
	printf(" %s %s, %s, code %s",
	       item->kind == ITEM_SEND ? "to" : "granted to",
	       item->parties[0].name, when_text(item->created_s, when),
	       item->code);
	if (item->expires_s)
		printf(", expires %s", when_text(item->expires_s, when));
	putchar('\n');
	if (item_live(item, now) && item->recipient_state < ACK_OPENED) {
		print_shares(item);
		print_reasons(s, item, now);
	}
	if (item_live(item, now))
		print_gone_given(s, o, item);
	if (item_never_left(item))
		puts("          its bundle has not been written; 'tgshare "
		     "export' it again, unless that is under way");
	tell_note(item->note);
}

/* What is told, and how much of it so far. */
struct telling {
	uint64_t now, since; /* what was over before is left out */
	size_t shown, under; /* lines, and those below the heading */
};

static void head(struct telling *t, const char *heading)
{
	if (t->under++ == 0)
		printf("%s%s:\n", t->shown ? "\n" : "", heading);
	t->shown++;
}

static bool is_over(const struct item *item, uint64_t now)
{
	return !item_live(item, now) ||
	       (item->kind == ITEM_SEND && item->recipient_state == ACK_OPENED);
}

static uint64_t over_s(const struct item *item)
{
	return item->news_s	 ? item->news_s
	       : item->expires_s ? item->expires_s
				 : item->created_s;
}

static void print_items(struct telling *t, const struct session *s,
			const struct outbox *o, bool over)
{
	t->under = 0;
	for (size_t i = 0; i < o->count; i++) {
		const struct item *item = o->items[i];

		if (item->kind == ITEM_NOTE || is_over(item, t->now) != over ||
		    (over && over_s(item) < t->since))
			continue;
		head(t, over ? "What you gave, and is over" : "What you gave");
		print_item(s, o, item, t->now);
	}
}

static void print_sets(struct telling *t, const struct session *s,
		       const struct inbox_set *sets, size_t count)
{
	CLEANUP_FREE struct gone *gone = gone_came(s, sets, count);

	t->under = 0;
	for (size_t i = 0; i < count; i++) {
		head(t, "What came");
		tell_set(s, &sets[i],
			 gone && gone[i].missing >= sets[i].entries);
		if (gone)
			print_gone_came(&sets[i], &gone[i]);
	}
}

static void print_opened(const struct session *s, const struct opened *o)
{
	char hex[2 * SET_ID_LEN + 1], label[PEOPLE_LABEL_MAX];
	char note[TELL_NOTE_SIZE];
	const char *slash = strrchr(o->r.text, '/');

	hex_encode(o->r.set_id, SET_ID_LEN, hex);
	printf("%.8s  %-10s ", hex, status_of_opened(o->state));
	json_put_plain(stdout, slash ? slash + 1 : o->r.text);
	printf(" from %s", people_label(&s->people, &o->r.peer, label));
	if (slash && o->state == OPENED_STAYS) {
		fputs(o->there ? ", in " : ", not any more in ", stdout);
		json_put_plain(stdout, o->r.text);
	}
	putchar('\n');
	if (!o->there)
		return;
	tell_note_of(s, o->r.text, note);
	tell_note(note);
}

static bool is_listed(const struct inbox_set *sets, size_t count,
		      const uint8_t *set_id)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(sets[i].set_id, set_id, SET_ID_LEN) == 0)
			return true;
	return false;
}

/* What the log has and the inbox does not. */
struct past {
	const struct session *s;
	const struct inbox_set *sets;
	size_t count;
	uint64_t since;
	void (*each)(void *arg, const struct session *s,
		     const struct opened *o);
	void *arg;
};

static int visit_opened(const struct past *p)
{
	CLEANUP_FREE struct opened *list = NULL;
	size_t count = 0;
	int err = opened_load(p->s, &list, &count);

	for (size_t i = 0; i < count; i++)
		if (list[i].r.time_s >= p->since &&
		    list[i].state != OPENED_REPLACED &&
		    !is_listed(p->sets, p->count, list[i].r.set_id))
			p->each(p->arg, p->s, &list[i]);
	return err;
}

static void print_one_opened(void *arg, const struct session *s,
			     const struct opened *o)
{
	head(arg, "What came, and was opened");
	print_opened(s, o);
}

static uint64_t since_s(bool all)
{
	uint64_t now = when_now_s();

	return all || now < RECENT_S ? 0 : now - RECENT_S;
}

static int print_text(struct session *s, const struct outbox *o,
		      const struct inbox_set *sets, size_t count, bool all)
{
	struct telling t = {.now = when_now_s(), .since = since_s(all)};
	int err;

	print_items(&t, s, o, false);
	print_sets(&t, s, sets, count);
	if (t.shown == 0) {
		puts("Nothing is under way.");
		t.shown = 1;
	}
	t.under = 0;
	err = visit_opened(&(struct past){.s = s,
					  .sets = sets,
					  .count = count,
					  .since = t.since,
					  .each = print_one_opened,
					  .arg = &t});
	print_items(&t, s, o, true);
	return err;
}

static void json_item(const struct session *s, const struct outbox *o,
		      const struct item *item, uint64_t now)
{
	struct gone gone = {0};
	char why[WHY_MAX];

	if (item_live(item, now))
		gone_given(s, o, item, &gone);

	printf("{\"set\": \"%s\", \"kind\": \"%s\", ", item->id,
	       item->kind == ITEM_SEND ? "send" : "grant");
	put_text("name", item->name);
	printf(", ");
	put_text("path", item->path);
	printf(", ");
	put_text("to", item->parties[0].name);
	printf(", ");
	put_text("note", item->note);
	printf(", \"state\": \"%s\", \"code\": \"%s\", \"threshold\": %u, "
	       "\"gone\": %zu",
	       status_of_item(item, now), item->code, item->k,
	       gone.replaced + gone.missing);
	put_time("created", item->created_s);
	put_time("expires", item->expires_s);
	printf(", \"shares\": [");
	for (unsigned i = 0; i < item->n; i++) {
		printf("%s{\"index\": %u, ", i ? ", " : "", i + 1);
		put_text("holder", item->parties[item->holders[i]].name);
		printf(", \"direct\": %s, \"state\": \"%s\", ",
		       item->holders[i] ? "false" : "true",
		       status_of_share(item, i));
		put_text("reason", status_is_waiting(item, i)
					   ? why_of(s->outbox_fd, item,
						    item->holders[i], why)
					   : "");
		putchar('}');
	}
	printf("]}");
}

static void json_missing(const struct inbox_set *set)
{
	const char *before = "";

	printf(", \"missing\": [");
	for (unsigned i = 0; i < set->n && i < SLIP39_SHARES_MAX; i++) {
		if (set->have_mask & 1u << i)
			continue;
		printf("%s{\"index\": %u, ", before, i + 1);
		put_text("holder", set->holders[i]);
		putchar('}');
		before = ", ";
	}
	putchar(']');
}

static void json_set(const struct session *s, const struct inbox_set *set,
		     size_t gone)
{
	char hex[2 * SET_ID_LEN + 1];

	hex_encode(set->set_id, SET_ID_LEN, hex);
	printf("{\"set\": \"%s\", \"state\": \"%s\", ", hex,
	       status_of_set(set));
	put_text("name", set->name);
	printf(", ");
	put_text("from", set->sender_name);
	printf(", ");
	put_text("note", set->note);
	printf(", ");
	put_text("path", tell_place(s, set));
	printf(", ");
	put_text("for", set->recipient_name);
	printf(", \"code\": \"%s\", \"index\": %u, \"have\": %d, \"need\": %u, "
	       "\"size\": %" PRIu64 ", \"entries\": %" PRIu32 ", \"gone\": %zu",
	       set->code, set->index, __builtin_popcount(set->have_mask),
	       set->k, set->size, set->entries, gone);
	printf(", \"content_have\": %" PRIu64 ", \"content_need\": %" PRIu64,
	       set->content_have, set->content_need);
	put_time("first_seen", set->first_seen_s);
	put_time("expires", set->expires_s);
	json_missing(set);
	putchar('}');
}

static void json_opened(void *arg, const struct session *s,
			const struct opened *o)
{
	char hex[2 * SET_ID_LEN + 1], label[PEOPLE_LABEL_MAX];
	const char **before = arg, *slash = strrchr(o->r.text, '/');
	char note[TELL_NOTE_SIZE] = "";

	hex_encode(o->r.set_id, SET_ID_LEN, hex);
	if (o->there)
		tell_note_of(s, o->r.text, note);
	printf("%s{\"set\": \"%s\", \"state\": \"%s\", ", *before, hex,
	       o->state == OPENED_STAYS ? "open" : status_of_opened(o->state));
	put_text("name", slash ? slash + 1 : o->r.text);
	printf(", ");
	put_text("from", people_label(&s->people, &o->r.peer, label));
	printf(", ");
	put_text("note", note);
	printf(", ");
	put_text("path", o->there ? o->r.text : "");
	put_time("opened", o->r.time_s);
	putchar('}');
	*before = ", ";
}

static int print_json(const struct session *s, const struct outbox *o,
		      const struct inbox_set *sets, size_t count, bool all)
{
	CLEANUP_FREE struct gone *gone = gone_came(s, sets, count);
	uint64_t now = when_now_s();
	const char *before = "";
	int err;

	printf("{\"given\": [");
	for (size_t i = 0; i < o->count; i++) {
		if (o->items[i]->kind == ITEM_NOTE)
			continue;
		fputs(before, stdout);
		json_item(s, o, o->items[i], now);
		before = ", ";
	}
	printf("], \"came\": [");
	before = "";
	for (size_t i = 0; i < count; i++) {
		fputs(before, stdout);
		json_set(s, &sets[i], gone ? gone[i].missing : 0);
		before = ", ";
	}
	err = visit_opened(&(struct past){.s = s,
					  .sets = sets,
					  .count = count,
					  .since = since_s(all),
					  .each = json_opened,
					  .arg = &before});
	puts("]}");
	return err;
}

static int show(struct session *s, bool json, bool all)
{
	CLEANUP_FREE struct inbox_set *sets = NULL;
	size_t count = 0;
	struct outbox o = {0};
	int err = outbox_load(s, &o);

	if (!err)
		err = intake_sets(s, &sets, &count);
	if (!err && json)
		err = print_json(s, &o, sets, count, all);
	else if (!err)
		err = print_text(s, &o, sets, count, all);
	outbox_free(&o);
	return err ? session_report(s, "read what is shared", err) : CMD_OK;
}

int cmd_status(int argc, char **argv)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"all", no_argument, NULL, 'a'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *vault = NULL;
	bool json = false, all = false;
	struct session s;
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			vault = optarg;
		else if (c == 'j')
			json = true;
		else if (c == 'a')
			all = true;
		else if (c == 'h')
			return report_help(cmd_status_help);
		else
			return report_bad_option("status", c, argv);
	}
	if (optind < argc)
		return report_usage("status", "status takes no argument '%s'",
				    argv[optind]);
	int status = session_open(&s, NULL, 0, vault);

	if (!status)
		status = session_need_identity(&s);
	/* without the lock: somebody may be sending for hours */
	if (!status)
		status = session_open_spool(&s);
	if (!status)
		status = show(&s, json, all);
	session_close(&s);
	return status;
}
