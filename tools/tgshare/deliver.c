#include "deliver.h"
#include "progress.h"
#include "report.h"
#include "when.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Documents of their own that are open at a time; what is text takes none,
 * nor do the parts of one sealed copy. */
enum {
	OPEN_MAX = 256,
	BUTTON_URL_MAX = CARD_ADDRESS_MAX + 32,
	REASON_MAX = 512,
};

static const char words[] =
	"A sealed message for tgshare; it is complete as it stands.\n\n";

struct round;

/* A sealed copy whose parts are under way. */
struct open_copy {
	const struct item *item;
	int fd;
	struct open_copy *next;
};

/* A message under way. */
struct sending {
	struct round *round;
	struct item *item;
	size_t message;
	char *text;
	char button_url[BUTTON_URL_MAX]; /* "" without */
	int fd;				 /* of its own, or -1 */
	struct sending *next;
};

struct round {
	struct session *s;
	uint64_t now_s;
	struct progress progress;
	uint64_t done;		   /* bytes of finished messages */
	struct sending *under_way; /* until end_sending() */
	struct open_copy *copies;
	size_t open_count;
	struct deliver_result result;
	int err; /* of the vault's own */
	char complained[TRANSPORT_ADDRESS_MAX + 1];
	char reason[REASON_MAX]; /* the last one that was said */
};

bool deliver_waiting(const struct item *item, uint64_t now_s)
{
	for (size_t i = 0; i < item->message_count; i++)
		if (item->messages[i].sends == 0 &&
		    item_message_due(item, &item->messages[i], now_s))
			return true;
	return false;
}

/* The address on the newest card that we have of them. */
static const char *address_of(const struct session *s, const struct item *item,
			      const struct item_message *m)
{
	const struct item_party *party = &item->parties[m->party];
	const struct person *p = people_with_keys(&s->people, &party->pub);

	if (!p && !item_has_keys(party))
		p = people_named(&s->people, party->name);
	return p && people_address(p)[0] ? people_address(p) : party->address;
}

static void complain(struct round *r, const char *address, const char *reason)
{
	if (strcmp(r->complained, address) == 0 ||
	    strcmp(r->reason, reason) == 0)
		return;
	snprintf(r->complained, sizeof r->complained, "%s", address);
	snprintf(r->reason, sizeof r->reason, "%s", reason);
	progress_end(&r->progress);
	report("%s", reason);
}

static void finished(void *arg, int err, const char *reason, const char *ref)
{
	struct sending *sending = arg;
	struct round *r = sending->round;
	struct item *item = sending->item;

	r->done += item->messages[sending->message].len;
	if (err) {
		r->result.failed++;
		complain(r,
			 address_of(r->s, item,
				    &item->messages[sending->message]),
			 reason);
		return;
	}
	r->result.sent++;
	err = item_note_sent(r->s->outbox_fd, item, sending->message, r->now_s,
			     ref);
	if (err && !r->err)
		r->err = err;
}

static void progressed(void *arg, uint64_t bytes)
{
	struct sending *sending = arg;
	struct round *r = sending->round;

	progress_step(&r->progress, r->done + bytes);
}

/* One descriptor for all parts of an item's copy. */
static int open_copy(struct round *r, const struct item *item, int *fd)
{
	struct open_copy *copy = r->copies;

	while (copy && copy->item != item)
		copy = copy->next;
	if (!copy) {
		copy = calloc(1, sizeof *copy);
		if (!copy)
			return -ENOMEM;
		copy->item = item;
		copy->fd = openat(r->s->copies_fd, item->copy,
				  O_RDONLY | O_CLOEXEC);
		copy->next = r->copies;
		r->copies = copy;
		r->open_count++;
	}
	*fd = copy->fd;
	return copy->fd < 0 ? -ENOENT : 0;
}

static void close_copies(struct round *r)
{
	while (r->copies) {
		struct open_copy *next = r->copies->next;

		if (r->copies->fd >= 0)
			close(r->copies->fd);
		free(r->copies);
		r->copies = next;
	}
}

static int open_envelope(const struct session *s, const struct item *item,
			 const struct item_message *m, int *fd)
{
	char path[ITEM_ID_MAX + ITEM_MESSAGE_NAME_MAX + 2];

	snprintf(path, sizeof path, "%s/%s", item->id, m->name);
	*fd = openat(s->outbox_fd, path, O_RDONLY | O_CLOEXEC);
	return *fd < 0 ? -errno : 0;
}

/* The envelope in armour, or NULL where it does not fit a message. */
static int armour(int fd, size_t len, char **bare)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	int err;

	if (len > ENVELOPE_TEXT_MAX_BYTES)
		return 0;
	bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	err = xio_pread(fd, bytes, len, 0);
	if (!err)
		err = envelope_to_text(bytes, len, bare);
	return err == -EMSGSIZE ? 0 : err;
}

/*
 * To somebody without keys: what it is, in a sentence, and what to do. The
 * sender's note is for everybody who is asked.
 */
static int ask_person(struct sending *sending, const char *bare)
{
	const struct item *item = sending->item;
	const struct item_party *to = &item->parties[0];
	const char *me = sending->round->s->settings.name;
	bool bot = to->address[0] == '@';

	if (bot)
		snprintf(sending->button_url, sizeof sending->button_url,
			 "https://t.me/%s", to->address + 1);
	return asprintf(&sending->text,
			"%s%s%s asks you to keep this sealed message for %s. "
			"When you agree that %s may open it, forward this "
			"whole message to %s%s%s. You cannot read it, and "
			"nobody else can.\n\n%s",
			item->note, item->note[0] ? "\n\n" : "", me, to->name,
			to->name, to->name, bot ? "'s bot, " : "",
			bot ? to->address : "", bare) < 0
		       ? -ENOMEM
		       : 0;
}

/* As text with a few words around it, where it fits; else as a document. */
static int make_text(struct sending *sending, const struct item_message *m)
{
	const struct item_party *party = &sending->item->parties[m->party];
	CLEANUP_FREE char *bare = NULL;
	const char *before;
	int err = armour(sending->fd, (size_t)m->len, &bare);

	if (err || !bare)
		return err;
	if (sending->item->kind != ITEM_NOTE && !item_has_keys(party))
		return ask_person(sending, bare);
	before = strlen(bare) + strlen(words) <= ENVELOPE_TEXT_MAX_CHARS ? words
									 : "";
	return asprintf(&sending->text, "%s%s", before, bare) < 0 ? -ENOMEM : 0;
}

/* *fd: where a document's bytes are. */
static int prepare(struct round *r, struct sending *sending, int *fd)
{
	const struct item *item = sending->item;
	const struct item_message *m = &item->messages[sending->message];
	int err;

	if (m->kind == 0)
		return open_copy(r, item, fd);
	err = open_envelope(r->s, item, m, &sending->fd);
	if (!err)
		err = make_text(sending, m);
	if (!err && sending->text) {
		close(sending->fd);
		sending->fd = -1;
	}
	r->open_count += sending->fd >= 0;
	*fd = sending->fd;
	return err;
}

/* One that cannot be read must not keep the others back. */
static int lost(struct round *r, const struct item *item,
		const struct item_message *m, int err)
{
	r->result.failed++;
	progress_end(&r->progress);
	report("cannot read the message %.8s of the set %.8s: %s", m->name,
	       item->id, strerror(-err));
	return err == -ENOMEM ? err : 0;
}

static int submit(struct round *r, struct item *item, size_t message)
{
	struct sending *sending = calloc(1, sizeof *sending);
	const struct item_message *m = &item->messages[message];
	struct transport_message out = {
		.done = finished, .progress = progressed, .arg = sending};
	int err;

	if (!sending)
		return -ENOMEM;
	*sending = (struct sending){.round = r,
				    .item = item,
				    .message = message,
				    .fd = -1,
				    .next = r->under_way};
	r->under_way = sending;
	err = prepare(r, sending, &out.fd);
	if (err)
		return lost(r, item, m, err);
	out.address = address_of(r->s, item, m);
	out.text = (const uint8_t *)sending->text;
	out.text_len = sending->text ? strlen(sending->text) : 0;
	if (sending->button_url[0]) {
		out.button = "Open the bot to forward it to";
		out.button_url = sending->button_url;
	}
	out.offset = m->offset;
	out.len = m->len;
	out.filename = m->name;
	return r->s->transport->ops->submit(r->s->transport, &out);
}

/* Waits for what is under way. */
static int end_sending(struct round *r)
{
	struct transport *t = r->s->transport;
	int err = 0;

	while (!err && !t->ops->idle(t))
		err = t->ops->run(t, NULL, 1000);
	while (r->under_way) {
		struct sending *next = r->under_way->next;

		if (r->under_way->fd >= 0)
			close(r->under_way->fd);
		free(r->under_way->text);
		free(r->under_way);
		r->under_way = next;
	}
	close_copies(r);
	r->open_count = 0;
	return err ? err : r->err;
}

static uint64_t bytes_due(struct item *const *items, size_t count,
			  uint64_t now_s)
{
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < items[i]->message_count; j++)
			if (item_message_due(items[i], &items[i]->messages[j],
					     now_s))
				total += items[i]->messages[j].len;
	return total;
}

static int deliver_item(struct round *r, struct item *item)
{
	int err = 0;

	for (size_t i = 0; !err && i < item->message_count; i++) {
		if (!item_message_due(item, &item->messages[i], r->now_s))
			continue;
		if (r->open_count >= OPEN_MAX)
			err = end_sending(r);
		if (!err)
			err = submit(r, item, i);
	}
	return err;
}

/* Has this message no more to do where it lies? */
static bool is_spent(const struct item *item, const struct item_message *m)
{
	if (!m->ref || m->taken_back || item->kind == ITEM_NOTE)
		return false;
	return item->recipient_state >= ACK_OPENED ||
	       (item_has_keys(&item->parties[m->party]) &&
		item_message_done(item, m));
}

/* What was taken in is deleted where it was carried. */
static int take_back_spent(struct session *s, struct item *item)
{
	struct transport *t = s->transport;
	int err = 0;

	for (size_t i = 0; !err && i < item->message_count; i++) {
		const struct item_message *m = &item->messages[i];

		if (!is_spent(item, m))
			continue;
		/* it does not matter whether it is still there */
		(void)!t->ops->retract(t, item->parties[m->party].address,
				       m->ref);
		err = item_note_taken_back(s->outbox_fd, item, i);
	}
	return err;
}

/* A note that is out is done with; a released share is the mount's to
 * forget, too. */
static int end_note(struct session *s, struct item *item)
{
	const struct item_message *m = &item->messages[0];
	/* the set's sender */
	struct control_released released = {.sender = item->parties[1].pub,
					    .index = m->index};
	int err = 0;

	if (item->kind != ITEM_NOTE || item->message_count == 0 || !m->sends)
		return 0;
	if (m->kind == STATEMENT_SHARE) {
		memcpy(released.set_id, item->set_id, SET_ID_LEN);
		err = mounted_ask(s->m.fd, CONTROL_RELEASED, &released);
		if (err == -ENOENT || err == -ENODATA)
			err = 0;
	}
	return err ? err : item_remove(s->outbox_fd, item->id);
}

int deliver_due(struct session *s, struct item **items, size_t count,
		struct deliver_result *result)
{
	struct round *r = calloc(1, sizeof *r);
	int err = r ? 0 : -ENOMEM, batch_err;

	if (err)
		return err;
	r->s = s;
	r->now_s = when_now_s();
	progress_begin(&r->progress, "sending",
		       bytes_due(items, count, r->now_s));
	for (size_t i = 0; !err && i < count; i++)
		err = deliver_item(r, items[i]);
	for (size_t i = 0; !err && i < count; i++)
		err = take_back_spent(s, items[i]);
	batch_err = end_sending(r);
	progress_end(&r->progress);
	for (size_t i = 0; !err && !batch_err && i < count; i++)
		err = end_note(s, items[i]);
	*result = r->result;
	free(r);
	return err ? err : batch_err;
}
