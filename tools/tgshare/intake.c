#include "intake.h"
#include "compose.h"
#include "json.h"
#include "notify.h"
#include "progress.h"
#include "report.h"
#include "text.h"
#include "when.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char cursor_name[] = "log.seen", acked_dir[] = "acked";

static void pause_ms(long ms)
{
	const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

int intake_scan(struct session *s)
{
	struct control_scan scan = {0};
	int err = mounted_ask(s->m.fd, CONTROL_SCAN, &scan);

	for (long ms = 2; !err && !scan.done; ms = ms < 100 ? 2 * ms : 100) {
		pause_ms(ms);
		err = mounted_ask(s->m.fd, CONTROL_SCAN, &scan);
	}
	if (!err)
		err = scan.err;
	if (err == -ENOSPC || err == -EDQUOT)
		return report_as(CMD_QUEUED,
				 "there is no room in the vault on '%s' for "
				 "what came; it waits, make room and 'tgshare "
				 "receive%s' again",
				 s->m.info.mountpoint, report_vault());
	return err ? session_report(s, "take in what came", err) : CMD_OK;
}

int intake_sets(const struct session *s, struct inbox_set **sets, size_t *count)
{
	CLEANUP_FREE struct inbox_set *list = NULL;
	CLEANUP_FREE struct control_set *next = calloc(1, sizeof *next);
	size_t n = 0;
	int err = next ? 0 : -ENOMEM;

	while (!err) {
		struct inbox_set *more;

		err = mounted_ask(s->m.fd, CONTROL_SET_NEXT, next);
		if (err)
			break;
		more = reallocarray(list, n + 1, sizeof *list);
		if (!more)
			return -ENOMEM;
		list = more;
		list[n++] = next->set;
	}
	if (err != -ENODATA)
		return err;
	*sets = TAKE_PTR(list);
	*count = n;
	return 0;
}

static void put_name(const char *name)
{
	json_put_plain(stdout, name[0] ? name : "something");
}

static unsigned have_of(const struct inbox_set *set)
{
	return (unsigned)__builtin_popcount(set->have_mask);
}

/* ", waiting for carol or dave" */
static void print_missing(const struct inbox_set *set)
{
	const char *before = ", waiting for ";

	for (unsigned i = 0; i < set->n && i < SLIP39_SHARES_MAX; i++) {
		if (set->have_mask & 1u << i || !set->holders[i][0])
			continue;
		printf("%s", before);
		json_put_plain(stdout, set->holders[i]);
		before = " or ";
	}
}

static void print_content(const struct inbox_set *set)
{
	uint64_t need = set->content_need ? set->content_need : 1;

	printf("%" PRIu64 "%% of its content is here",
	       set->content_have * 100 / need);
}

static void print_state(const struct inbox_set *set)
{
	char when[WHEN_TEXT_MAX], hex[2 * SET_ID_LEN + 1];

	hex_encode(set->set_id, SET_ID_LEN, hex);
	switch (set->state) {
	case INBOX_WAITING_CARD:
		printf("locked: from somebody unknown; add their card with "
		       "'tgshare contact add NAME CARD%s'",
		       report_vault());
		break;
	case INBOX_WAITING_MANIFEST:
		printf("%u shares, waiting to be told what it is",
		       have_of(set));
		break;
	case INBOX_WAITING_SHARES:
		printf("locked: %u of %u shares", have_of(set), set->k);
		print_missing(set);
		break;
	case INBOX_WAITING_CONTENT:
		print_content(set);
		break;
	case INBOX_OPEN:
		printf("open");
		break;
	case INBOX_GRANTED:
		printf("may be read");
		break;
	case INBOX_NOT_ATTACHED:
		printf("granted; tell where its files lie: 'frondfs attach "
		       "MOUNT %s BACKING'",
		       set->sender_name[0] ? set->sender_name : "NAME");
		break;
	case INBOX_REVOKED:
		printf("revoked");
		break;
	case INBOX_EXPIRED:
		printf("expired %s", when_text(set->expires_s, when));
		break;
	case INBOX_CUSTODY:
		printf("share %u of it is with you, for %s; pass it on with "
		       "'tgshare release %.8s%s'",
		       set->index,
		       set->recipient_name[0] ? set->recipient_name
					      : "somebody",
		       hex, report_vault());
		break;
	default:
		printf("damaged: what came is not what was sent");
	}
}

/* In quotes; each of its lines on one of its own. */
static void print_note(const char *note)
{
	char line[MANIFEST_NOTE_MAX + 1];

	printf("\n          \"");
	for (;;) {
		size_t len = strcspn(note, "\n");

		snprintf(line, sizeof line, "%.*s", (int)len, note);
		json_put_plain(stdout, line);
		note += len;
		if (!*note++)
			break;
		printf("\n           ");
	}
	putchar('"');
}

void intake_print_set(const struct inbox_set *set)
{
	char hex[2 * SET_ID_LEN + 1], when[WHEN_TEXT_MAX];

	hex_encode(set->set_id, SET_ID_LEN, hex);
	printf("%.8s  ", hex);
	put_name(set->name);
	printf(" from ");
	json_put_plain(stdout,
		       set->sender_name[0] ? set->sender_name : "unknown");
	printf(": ");
	print_state(set);
	if (set->code[0] && set->state != INBOX_CUSTODY)
		printf("; verification code %s", set->code);
	if (set->expires_s && set->state != INBOX_EXPIRED)
		printf("; expires %s", when_text(set->expires_s, when));
	if (set->note[0])
		print_note(set->note);
	putchar('\n');
}

static int load_cursor(const struct session *s, uint64_t *seq)
{
	CLEANUP_FD int dir = -1;
	char text[32];
	size_t len;
	int err = settings_open_dir(&s->m, "", &dir);

	*seq = 0;
	if (!err)
		err = xio_read_file(dir, cursor_name, text, sizeof text - 1,
				    &len);
	if (err)
		return err == -ENOENT ? 0 : err;
	text[len] = '\0';
	*seq = strtoull(text, NULL, 10);
	return 0;
}

static int save_cursor(const struct session *s, uint64_t seq)
{
	CLEANUP_FD int dir = -1;
	char text[32];
	int err = settings_open_dir(&s->m, "", &dir);

	snprintf(text, sizeof text, "%" PRIu64 "\n", seq);
	return err ? err
		   : xio_replace_file(dir, cursor_name, text, strlen(text),
				      0600);
}

struct ack {
	const uint8_t *set_id;
	const struct identity_public *to;
	uint8_t state, index;
};

/* with two numbers of up to three digits, and a NUL */
enum { ACK_NAME_MAX = 2 * SET_ID_LEN + PEOPLE_TAG_LEN + 10 };

/* Of one sender's set, and none of another's that has its id. */
static const char *ack_name(const struct ack *ack,
			    char name[static ACK_NAME_MAX])
{
	char hex[2 * SET_ID_LEN + 1], to[PEOPLE_TAG_LEN + 1];

	hex_encode(ack->set_id, SET_ID_LEN, hex);
	snprintf(name, ACK_NAME_MAX, "%s-%u-%u-%s", hex, ack->index, ack->state,
		 people_tag(ack->to, to));
	return name;
}

/* To whoever is known; others have no address. */
static int queue_ack(struct session *s, const struct ack *ack)
{
	const struct person *p = people_with_keys(&s->people, ack->to);
	const uint8_t payload[MESSAGE_ACK_LEN] = {ack->state, ack->index};
	char id[ITEM_ID_MAX + 1], name[ACK_NAME_MAX];
	struct item_party to = {.pub = *ack->to};
	struct note note = {.id = id, .to = &to, .kind = STATEMENT_ACK};

	if (!p)
		return 0;
	strcpy(to.name, p->name);
	strcpy(to.address, people_address(p));
	snprintf(id, sizeof id, "ack-%s", ack_name(ack, name));
	memcpy(note.set_id, ack->set_id, SET_ID_LEN);
	return compose_note_from(s, &note, payload, sizeof payload);
}

/* Things that the inbox shows as long as they are there are acknowledged
 * once: an empty file remembers it. */
static int ack_once(struct session *s, int dir, const struct ack *ack)
{
	char name[ACK_NAME_MAX];
	int err;

	ack_name(ack, name);
	if (faccessat(dir, name, F_OK, 0) == 0 ||
	    !people_with_keys(&s->people, ack->to))
		return 0;
	err = queue_ack(s, ack);
	return err ? err : xio_replace_file(dir, name, "", 0, 0600);
}

static bool is_listed(const char *name, const struct inbox_set *sets,
		      size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char hex[2 * SET_ID_LEN + 1];

		hex_encode(sets[i].set_id, SET_ID_LEN, hex);
		if (strncmp(name, hex, 2 * SET_ID_LEN) == 0)
			return true;
	}
	return false;
}

/* What the inbox has forgotten need not be remembered here. */
static void forget_acked(int fd, const struct inbox_set *sets, size_t count)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_DIR DIR *dir = again < 0 ? NULL : fdopendir(again);
	const struct dirent *entry;

	if (!dir && again >= 0)
		close(again);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' &&
		    !is_listed(entry->d_name, sets, count))
			unlinkat(fd, entry->d_name, 0);
}

static int ack_sets(struct session *s)
{
	CLEANUP_FREE struct inbox_set *sets = NULL;
	CLEANUP_FD int dir = -1;
	size_t count = 0;
	int err = intake_sets(s, &sets, &count);

	if (!err)
		err = settings_open_dir(&s->m, acked_dir, &dir);
	for (size_t i = 0; i < count && !err; i++) {
		struct ack ack = {.set_id = sets[i].set_id,
				  .to = &sets[i].sender};

		if (sets[i].state == INBOX_CUSTODY) {
			ack.state = ACK_CUSTODY;
			ack.index = sets[i].index;
		} else if (sets[i].state == INBOX_GRANTED) {
			ack.state = ACK_OPENED;
		} else if (sets[i].ack_due) {
			ack.state = ACK_RECEIVED;
		} else {
			continue;
		}
		err = ack_once(s, dir, &ack);
	}
	if (!err)
		forget_acked(dir, sets, count);
	return err;
}

/* A record of the log being taken in. */
struct taking {
	struct session *s;
	const struct outbox *outbox;
	const struct inbox_set *sets;
	size_t set_count;
	struct vlog_record r;
	size_t *events;
};

/* Only who was sent it says something of a set or share; else NULL. */
static struct item *acknowledged(const struct taking *t)
{
	const struct vlog_record *r = &t->r;
	struct item *item = outbox_set(t->outbox, r->set_id);
	unsigned party;

	if (!item || r->index > item->n)
		return NULL;
	party = r->index ? item->holders[r->index - 1] : 0;
	return people_same_keys(&item->parties[party].pub, &r->peer) ? item
								     : NULL;
}

static int take_acknowledged(const struct taking *t)
{
	const struct vlog_record *r = &t->r;
	struct item *item = acknowledged(t);

	return item ? item_note_ack(t->s->outbox_fd, item, r->index, r->detail,
				    r->time_s)
		    : 0;
}

static const char *ack_words(unsigned state)
{
	static const char *const words[] = {
		[ACK_RECEIVED] = "has received",
		[ACK_OPENED] = "has opened",
		[ACK_CUSTODY] = "keeps a share of",
		[ACK_RELEASED] = "has passed on a share of",
		[ACK_DECLINED] = "does not want",
	};

	return state < sizeof words / sizeof *words && words[state]
		       ? words[state]
		       : "says something new about";
}

static void tell_acknowledged(const struct taking *t, const char *who)
{
	const struct item *item = acknowledged(t);

	if (!item) {
		printf("%s acknowledged what they were not sent, or what is "
		       "forgotten\n",
		       who);
		return;
	}
	printf("%s %s ", who, ack_words(t->r.detail));
	put_name(item->name);
	putchar('\n');
}

/* The state of the set, 0: the inbox has done with it. */
static uint8_t in_inbox(const struct taking *t)
{
	for (size_t i = 0; i < t->set_count; i++)
		if (memcmp(t->sets[i].set_id, t->r.set_id, SET_ID_LEN) == 0 &&
		    people_same_keys(&t->sets[i].sender, &t->r.peer))
			return t->sets[i].state;
	return 0;
}

static void tell_opened(const struct taking *t, const char *who)
{
	const char *path = t->r.text, *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	if (t->s->notify)
		notify_opened(name, who);
	put_name(name);
	printf(" is open, from %s", who);
	if (slash) {
		fputs(": ", stdout);
		json_put_plain(stdout, path);
	}
	putchar('\n');
}

/* Only what somebody else did: our own doing was told when we did it. */
static void tell(const struct taking *t)
{
	static const char *const words[VLOG_EVENTS] = {
		[VLOG_REFUSED] = "refused, from",
		[VLOG_WITHDRAWN] = "was withdrawn by",
		[VLOG_KEY_REVOKED] = "was revoked by",
		[VLOG_EXPIRED] = "has expired, from",
	};
	const struct vlog_record *r = &t->r;
	char label[PEOPLE_LABEL_MAX];
	const char *who =
		sodium_is_zero((const uint8_t *)&r->peer, sizeof r->peer)
			? "nobody knows whom"
			: people_label(&t->s->people, &r->peer, label);

	if (r->event == VLOG_OPENED) {
		/* of one that cannot be read yet, its line tells what to do */
		if (in_inbox(t) == INBOX_NOT_ATTACHED)
			return;
		tell_opened(t, who);
	} else if (r->event == VLOG_ACKNOWLEDGED) {
		tell_acknowledged(t, who);
	} else if (r->event < VLOG_EVENTS && words[r->event]) {
		put_name(r->text);
		printf(" %s %s\n", words[r->event], who);
	} else {
		return;
	}
	(*t->events)++;
}

/* Nothing here does harm when a crash makes it happen twice. */
static int take(const struct taking *t)
{
	const struct vlog_record *r = &t->r;
	struct ack ack = {.set_id = r->set_id, .to = &r->peer};

	tell(t);
	switch (r->event) {
	case VLOG_ACKNOWLEDGED:
		return take_acknowledged(t);
	case VLOG_OPENED:
		/* what the inbox goes on to show is acknowledged with that */
		if (in_inbox(t))
			return 0;
		ack.state = ACK_OPENED;
		return queue_ack(t->s, &ack);
	case VLOG_RELEASED:
		ack.state = ACK_RELEASED;
		ack.index = r->index;
		return queue_ack(t->s, &ack);
	case VLOG_DECLINED:
		ack.state = ACK_DECLINED;
		ack.index = r->index;
		return queue_ack(t->s, &ack);
	default:
		return 0;
	}
}

/* Sets that shares or news came for: how far they are now. */
static int tell_sets(const struct session *s, uint64_t from, uint64_t to,
		     size_t *events)
{
	CLEANUP_FREE struct inbox_set *sets = NULL;
	size_t count = 0;
	int err = intake_sets(s, &sets, &count);

	for (size_t i = 0; i < count && !err; i++) {
		struct vlog_record r = {.seq = from};

		for (; r.seq < to; r.seq++) {
			if (mounted_ask(s->m.fd, CONTROL_LOG_READ, &r) == 0 &&
			    (r.event == VLOG_RECEIVED ||
			     r.event == VLOG_CUSTODY ||
			     (r.event == VLOG_OPENED &&
			      sets[i].state == INBOX_NOT_ATTACHED)) &&
			    memcmp(r.set_id, sets[i].set_id, SET_ID_LEN) == 0 &&
			    sets[i].state != INBOX_OPEN)
				break;
		}
		if (r.seq == to)
			continue;
		intake_print_set(&sets[i]);
		(*events)++;
	}
	return err;
}

static int take_all(struct session *s, const struct outbox *o, size_t *events)
{
	CLEANUP_FREE struct inbox_set *sets = NULL;
	struct taking t = {.s = s, .outbox = o, .events = events};
	uint64_t first = 0, seq;
	int err = load_cursor(s, &first);

	if (!err)
		err = intake_sets(s, &sets, &t.set_count);
	t.sets = sets;

	for (seq = first; !err; seq += !err) {
		t.r.seq = seq;
		err = mounted_ask(s->m.fd, CONTROL_LOG_READ, &t.r);
		if (err == -ENODATA)
			break;
		if (err == -EBADMSG) {
			report("entry %" PRIu64 " of the log is damaged; "
			       "'tgshare log --verify%s' says more",
			       seq, report_vault());
			err = 0;
		} else if (!err) {
			err = take(&t);
		}
	}
	if (err && err != -ENODATA)
		return err;
	err = tell_sets(s, first, seq, events);
	if (!err)
		err = ack_sets(s);
	return !err && seq != first ? save_cursor(s, seq) : err;
}

int intake_log(struct session *s, size_t *events)
{
	struct outbox o;
	int err = outbox_load(s, &o);

	*events = 0;
	if (!err) {
		err = take_all(s, &o, events);
		outbox_free(&o);
	}
	return err ? session_report(s, "take in what the log has", err)
		   : CMD_OK;
}
