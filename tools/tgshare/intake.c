#include "intake.h"
#include "compose.h"
#include "notify.h"
#include "report.h"
#include "tell.h"
#include "text.h"
#include "told.h"
#include "when.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* So many records from one that is told, what follows on it is looked for. */
enum { LOOK_AHEAD = 64 };

static const char acked_dir[] = "acked";

static void pause_ms(long ms)
{
	const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

int intake_other_log(struct session *s)
{
	struct outbox o = {0};
	struct told told;
	int err = told_load(s, &told), status = CMD_OK;

	if (!err && told.other)
		status = session_open_spool(s);
	if (!err && told.other && !status)
		err = outbox_load(s, &o);
	for (size_t i = 0; i < o.count && !err; i++)
		if (o.items[i]->logged && item_live(o.items[i], when_now_s()))
			err = compose_log_sent(s, o.items[i]);
	outbox_free(&o);
	told_free(&told);
	return err ? session_report(s, "write to the log", err) : status;
}

int intake_scan(struct session *s)
{
	struct control_scan scan = {0};
	int status = intake_other_log(s);

	if (status)
		return status;
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

/* The state of the set, 0: the inbox has done with it. */
static uint8_t in_inbox(const struct taking *t)
{
	for (size_t i = 0; i < t->set_count; i++)
		if (memcmp(t->sets[i].set_id, t->r.set_id, SET_ID_LEN) == 0 &&
		    people_same_keys(&t->sets[i].sender, &t->r.peer))
			return t->sets[i].state;
	return 0;
}

/* On the desktop: what can be read now, and what somebody is asked for. */
static void notify(const struct taking *t)
{
	const struct vlog_record *r = &t->r;
	const char *slash = strrchr(r->text, '/');
	char label[PEOPLE_LABEL_MAX];
	const char *who = people_label(&t->s->people, &r->peer, label);

	if (r->event == VLOG_OPENED)
		notify_opened(slash ? slash + 1 : r->text, who);
	else if (r->event == VLOG_CUSTODY)
		notify_asked(r->text, who);
}

/* One that took its place, and has it, is open, too: that is told. */
static bool was_replaced(const struct taking *t)
{
	struct vlog_record r = {.seq = t->r.seq + 1};
	int err = 0;

	for (; !err && r.seq <= t->r.seq + LOOK_AHEAD; r.seq++) {
		err = mounted_ask(t->s->m.fd, CONTROL_LOG_READ, &r);
		if (!err && r.event == VLOG_WITHDRAWN &&
		    r.detail == VLOG_REPLACED &&
		    memcmp(r.set_id, t->r.set_id, SET_ID_LEN) == 0 &&
		    people_same_keys(&r.peer, &t->r.peer))
			return true;
	}
	return false;
}

/* Does the log have one of these events (bits) of the set in front of this? */
static int is_before(const struct taking *t, uint32_t events, bool *found)
{
	struct vlog_record r = {0};

	*found = false;
	for (uint64_t seq = 0; seq < t->r.seq && !*found; seq++) {
		int err;

		r.seq = seq;
		err = mounted_ask(t->s->m.fd, CONTROL_LOG_READ, &r);
		if (err && err != -EBADMSG)
			return err;
		*found = !err && (events & 1U << r.event) &&
			 memcmp(r.set_id, t->r.set_id, SET_ID_LEN) == 0 &&
			 people_same_keys(&r.peer, &t->r.peer);
	}
	return 0;
}

/* Withdrawn before anything of it came. */
static bool is_unheard_of(const struct taking *t)
{
	const uint32_t came = 1U << VLOG_RECEIVED | 1U << VLOG_CUSTODY;
	bool before = true;

	return t->r.event == VLOG_WITHDRAWN && !t->r.text[0] &&
	       is_before(t, came, &before) == 0 && !before;
}

/* Only what somebody else did: our own doing was told when we did it. */
static void tell(const struct taking *t)
{
	const struct item *item =
		t->r.event == VLOG_ACKNOWLEDGED ? acknowledged(t) : NULL;

	/* of one that cannot be read yet, its line tells what to do */
	if (t->r.event == VLOG_OPENED && in_inbox(t) == INBOX_NOT_ATTACHED)
		return;
	/* who had looked at the file saw that its key had changed */
	if ((t->r.event == VLOG_OPENED || t->r.event == VLOG_KEY_REVOKED) &&
	    was_replaced(t))
		return;
	if (is_unheard_of(t))
		return;
	if (t->s->notify)
		notify(t);
	*t->events += tell_record(t->s, &t->r, item);
}

/* Who clears away what had ended says nothing by that. */
static int take_declined(const struct taking *t)
{
	const struct ack ack = {.set_id = t->r.set_id,
				.to = &t->r.peer,
				.state = ACK_DECLINED,
				.index = t->r.index};
	/* by itself, or by its sender */
	const uint32_t ends = 1U << VLOG_EXPIRED | 1U << VLOG_KEY_REVOKED |
			      1U << VLOG_WITHDRAWN;
	bool over;
	int err = is_before(t, ends, &over);

	return err || over ? err : queue_ack(t->s, &ack);
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
		return take_declined(t);
	default:
		return 0;
	}
}

/* Did shares or news of it come? That it has expired is told by itself. */
static bool has_news(const struct session *s, const struct inbox_set *set,
		     uint64_t from, uint64_t to)
{
	bool news = false;

	for (struct vlog_record r = {.seq = from}; r.seq < to; r.seq++) {
		if (mounted_ask(s->m.fd, CONTROL_LOG_READ, &r) ||
		    memcmp(r.set_id, set->set_id, SET_ID_LEN) != 0)
			continue;
		if (r.event == VLOG_EXPIRED)
			return false;
		news |= r.event == VLOG_RECEIVED || r.event == VLOG_CUSTODY ||
			(r.event == VLOG_OPENED &&
			 set->state == INBOX_NOT_ATTACHED);
	}
	return news;
}

/* How far the sets that something came of are now. */
static int tell_sets(const struct session *s, uint64_t from, uint64_t to,
		     size_t *events)
{
	CLEANUP_FREE struct inbox_set *sets = NULL;
	size_t count = 0;
	int err = intake_sets(s, &sets, &count);

	for (size_t i = 0; i < count && !err; i++) {
		if (sets[i].state == INBOX_OPEN ||
		    !has_news(s, &sets[i], from, to))
			continue;
		tell_set(s, &sets[i], false);
		(*events)++;
	}
	return err;
}

/* Until there are no more. */
static int take_records(struct taking *t, struct told *told)
{
	int err;

	for (;;) {
		t->r.seq = told->count;
		err = mounted_ask(t->s->m.fd, CONTROL_LOG_READ, &t->r);
		if (err == -EBADMSG)
			report("entry %zu of the log is damaged; "
			       "'tgshare log --verify%s' says more",
			       told->count, report_vault());
		else if (!err)
			err = take(t);
		else
			return err == -ENODATA ? 0 : err;
		if (err && err != -EBADMSG)
			return err;
		err = told_add(told, err ? NULL : &t->r);
		if (err)
			return err;
	}
}

static int take_all(struct session *s, const struct outbox *o,
		    struct told *told, size_t *events)
{
	CLEANUP_FREE struct inbox_set *sets = NULL;
	struct taking t = {.s = s, .outbox = o, .events = events};
	size_t first = told->count;
	int err = intake_sets(s, &sets, &t.set_count);

	t.sets = sets;
	if (!err)
		err = take_records(&t, told);
	if (!err)
		err = tell_sets(s, first, told->count, events);
	if (!err)
		err = ack_sets(s);
	return !err && (told->other || told->count != first)
		       ? told_save(s, told)
		       : err;
}

int intake_log(struct session *s, size_t *events)
{
	struct outbox o = {0};
	struct told told;
	int err = told_load(s, &told);

	*events = 0;
	if (!err)
		err = outbox_load(s, &o);
	if (!err)
		err = take_all(s, &o, &told, events);
	outbox_free(&o);
	told_free(&told);
	return err ? session_report(s, "take in what the log has", err)
		   : CMD_OK;
}
