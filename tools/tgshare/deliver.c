#include "deliver.h"
#include "compose.h"
#include "progress.h"
#include "report.h"
#include "when.h"
#include "why.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Documents of their own that are open at a time; what is text takes none,
 * nor do the parts of one sealed copy. */
enum {
	OPEN_MAX = 256,
	BUTTON_URL_MAX = CARD_ADDRESS_MAX + 32,
	BUTTON_MAX = CARD_NAME_MAX + 32,
	WHO_MAX = CARD_NAME_MAX + CARD_ADDRESS_MAX + 4,
};

static const char words[] =
	"A sealed message for tgshare; it is complete as it stands.\n\n";

/* A sealed copy whose parts are under way. */
struct open_copy {
	const struct item *item;
	int fd, err;
	struct open_copy *next;
};

/* A message under way. */
struct sending {
	struct delivery *delivery;
	struct item *item;
	size_t message;
	uint64_t moved; /* bytes, of those that it has */
	char *text;
	char name[ITEM_MESSAGE_NAME_MAX + 1];
	char who[WHO_MAX];
	char button_url[BUTTON_URL_MAX]; /* "" without */
	char button[BUTTON_MAX];
	int fd; /* of its own, or -1 */
	struct sending *next;
};

struct delivery {
	struct session *s;
	uint64_t now_s;
	struct progress progress;
	uint64_t given;		  /* bytes of what was handed over */
	uint64_t expected;	  /* of what will be, as far as is known */
	uint64_t moved;		  /* of those given */
	size_t under_way;	  /* messages */
	struct sending *sendings; /* until end_sending() */
	struct open_copy *copies;
	size_t open_count;
	bool once; /* no copy is for several */
	struct deliver_result result;
	int err; /* of the vault's own */
};

bool deliver_waiting(const struct item *item, uint64_t now_s)
{
	for (size_t i = 0; i < item->message_count; i++)
		if (item->messages[i].sends == 0 &&
		    item_message_due(item, &item->messages[i], now_s))
			return true;
	return false;
}

/*
 * The newest address that we have of them. What a person was asked on the
 * telephone is asked there again, also when they have a vault and a bot by
 * now, which could not make anything of it.
 */
static const char *address_of(const struct session *s, const struct item *item,
			      const struct item_message *m)
{
	const struct item_party *party = &item->parties[m->party];
	const struct person *p = people_with_keys(&s->people, &party->pub);

	if (!item_has_keys(party)) {
		p = people_named(&s->people, party->name);
		return p && p->chat[0] ? p->chat : party->address;
	}
	return p && people_address(p)[0] ? people_address(p) : party->address;
}

/* Once for each address and kind of trouble. */
static void complain(struct delivery *d, const char *address, int err,
		     const char *reason)
{
	char key[SESSION_KEY_MAX];

	snprintf(key, sizeof key, "%d %s", err, address);
	if (!session_is_news(d->s, key))
		return;
	progress_end(&d->progress);
	report("%s", reason);
}

static void progressed(void *arg, uint64_t bytes)
{
	struct sending *sending = arg;
	struct delivery *d = sending->delivery;

	/* fewer than before when it is tried again */
	d->moved += bytes - sending->moved;
	sending->moved = bytes;
	d->progress.total = d->given + d->expected;
	progress_step(&d->progress, d->moved);
}

/* What nobody else is to get is not kept in memory: its pages serve those
 * parts that come. */
static void forget_part(const struct delivery *d, const struct item *item,
			const struct item_message *m)
{
	const struct open_copy *copy = d->copies;

	while (copy && copy->item != item)
		copy = copy->next;
	if (d->once && copy && m->kind == 0)
		(void)posix_fadvise(copy->fd, (off_t)m->offset, (off_t)m->len,
				    POSIX_FADV_DONTNEED);
}

/* It will not pass by itself. */
static bool is_refusal(int err)
{
	return err == -EPERM || err == -EADDRNOTAVAIL || err == -EREMOTEIO ||
	       err == -EFBIG || err == -EPROTO;
}

static void finished(void *arg, int err, const char *reason, const char *ref)
{
	struct sending *sending = arg;
	struct delivery *d = sending->delivery;
	struct item *item = sending->item;
	const struct item_message *m = &item->messages[sending->message];

	d->under_way--;
	progressed(sending, m->len);
	if (err) {
		d->result.failed++;
		complain(d, address_of(d->s, item, m), err, reason);
		why_note(d->s->outbox_fd, item, m->party, reason);
		if (!is_refusal(err))
			return;
		err = item_note_failed(d->s->outbox_fd, item, sending->message,
				       when_now_s());
		if (err && !d->err)
			d->err = err;
		return;
	}
	d->result.sent++;
	forget_part(d, item, m);
	/* only the newest is remembered: the one before it goes now */
	if (m->ref && !m->taken_back && strcmp(m->ref, ref) != 0) {
		struct transport *t = d->s->transport;

		(void)!t->ops->retract(t, address_of(d->s, item, m), m->ref,
				       NULL, NULL);
	}
	err = item_note_sent(d->s->outbox_fd, item, sending->message,
			     when_now_s(), ref);
	if (err && !d->err)
		d->err = err;
}

/* One descriptor for all parts of an item's copy. */
static int open_copy(struct delivery *d, const struct item *item, int *fd)
{
	struct open_copy *copy = d->copies;

	while (copy && copy->item != item)
		copy = copy->next;
	if (!copy) {
		copy = calloc(1, sizeof *copy);
		if (!copy)
			return -ENOMEM;
		copy->item = item;
		copy->fd = -1;
		copy->err = session_open_copy(d->s, item->copy, O_RDONLY,
					      &copy->fd);
		copy->next = d->copies;
		d->copies = copy;
		d->open_count++;
	}
	*fd = copy->fd;
	return copy->err;
}

static void close_copies(struct delivery *d)
{
	while (d->copies) {
		struct open_copy *next = d->copies->next;

		if (d->copies->fd >= 0)
			close(d->copies->fd);
		free(d->copies);
		d->copies = next;
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
	const char *me = sending->delivery->s->settings.name;
	bool bot = to->address[0] == '@';

	if (bot) {
		snprintf(sending->button_url, sizeof sending->button_url,
			 "https://t.me/%s", to->address + 1);
		snprintf(sending->button, sizeof sending->button,
			 "Open the chat with %s's bot", to->name);
	}
	return asprintf(&sending->text,
			"%s%s%s asks you to keep this sealed message, which "
			"only %s can read, and to forward all of it to "
			"%s%s%s%s when you agree that %s may open it."
			"\n\n%s",
			item->note, item->note[0] ? "\n\n" : "", me, to->name,
			to->name, bot ? "'s bot, " : "", bot ? to->address : "",
			bot ? "," : "", to->name, bare) < 0
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
static int prepare(struct delivery *d, struct sending *sending, int *fd)
{
	const struct item *item = sending->item;
	const struct item_message *m = &item->messages[sending->message];
	int err;

	if (m->kind == 0)
		return open_copy(d, item, fd);
	err = open_envelope(d->s, item, m, &sending->fd);
	if (!err)
		err = make_text(sending, m);
	if (!err && sending->text) {
		close(sending->fd);
		sending->fd = -1;
	}
	d->open_count += sending->fd >= 0;
	*fd = sending->fd;
	return err;
}

/* One that cannot be read must not keep the others back. */
static int lost(struct delivery *d, const struct item *item,
		const struct item_message *m, int err)
{
	d->result.failed++;
	progress_end(&d->progress);
	report("cannot read the message %.8s of the set %.8s: %s", m->name,
	       item->id, strerror(-err));
	return err == -ENOMEM ? err : 0;
}

static int submit(struct delivery *d, struct item *item, size_t message)
{
	struct sending *sending = calloc(1, sizeof *sending);
	const struct item_message *m = &item->messages[message];
	struct transport_message out = {
		.done = finished, .progress = progressed, .arg = sending};
	int err;

	if (!sending)
		return -ENOMEM;
	*sending = (struct sending){.delivery = d,
				    .item = item,
				    .message = message,
				    .fd = -1,
				    .next = d->sendings};
	strcpy(sending->name, m->name);
	item->messages[message].tried = true;
	d->sendings = sending;
	d->given += m->len;
	err = prepare(d, sending, &out.fd);
	if (err)
		return lost(d, item, m, err);
	out.address = address_of(d->s, item, m);
	out.who = sending->who;
	/* the number of a chat says nothing to anybody */
	snprintf(sending->who, sizeof sending->who,
		 out.address[0] == '@' ? "%s (%s)" : "%s",
		 item->parties[m->party].name, out.address);
	out.text = (const uint8_t *)sending->text;
	out.text_len = sending->text ? strlen(sending->text) : 0;
	if (sending->button_url[0]) {
		out.button = sending->button;
		out.button_url = sending->button_url;
	}
	out.offset = m->offset;
	out.len = m->len;
	out.filename = sending->name;
	d->under_way++;
	err = d->s->transport->ops->submit(d->s->transport, &out);
	d->under_way -= err != 0;
	return err;
}

/* Nothing may be under way that refers to them. */
static void free_sendings(struct delivery *d)
{
	while (d->sendings) {
		struct sending *next = d->sendings->next;

		if (d->sendings->fd >= 0)
			close(d->sendings->fd);
		free(d->sendings->text);
		free(d->sendings);
		d->sendings = next;
	}
	close_copies(d);
	d->open_count = 0;
}

/* Waits for what is under way. */
static int end_sending(struct delivery *d)
{
	struct transport *t = d->s->transport;
	int err = 0;

	while (!err && !t->ops->idle(t))
		err = t->ops->run(t, NULL, 1000);
	if (err)
		t->ops->give_up(t);
	free_sendings(d);
	return err ? err : d->err;
}

static bool is_wanted(const struct delivery *d, const struct item *item,
		      const struct item_message *m)
{
	return !m->tried && item_message_due(item, m, d->now_s) &&
	       !(d->s->patient &&
		 item_message_put_off_s(m, d->now_s) > d->now_s);
}

static uint64_t bytes_wanted(const struct delivery *d,
			     struct item *const *items, size_t count)
{
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < items[i]->message_count; j++)
			if (is_wanted(d, items[i], &items[i]->messages[j]))
				total += items[i]->messages[j].len;
	return total;
}

int delivery_add(struct delivery *d, struct item *item, size_t message)
{
	uint64_t len = item->messages[message].len;
	int err = d->open_count >= OPEN_MAX ? end_sending(d) : 0;

	d->expected -= len < d->expected ? len : d->expected;
	return err ? err : submit(d, item, message);
}

/* What tells of the content goes before the content. */
static int deliver_item(struct delivery *d, struct item *item)
{
	int err = 0;

	for (unsigned parts = 0; parts <= 1; parts++)
		for (size_t i = 0; !err && i < item->message_count; i++)
			if ((item->messages[i].kind == 0) == parts &&
			    is_wanted(d, item, &item->messages[i]))
				err = delivery_add(d, item, i);
	return err;
}

/* Has this message no more to do where it lies? */
static bool is_spent(const struct item *item, const struct item_message *m)
{
	if (!m->ref || m->taken_back || item->kind == ITEM_NOTE)
		return false;
	return item->end == ITEM_WITHDRAWN || item->end == ITEM_REVOKED ||
	       (item->end == ITEM_REPLACED && !item_message_links(item, m)) ||
	       item->recipient_state >= ACK_OPENED ||
	       (item_has_keys(&item->parties[m->party]) &&
		item_message_done(item, m));
}

/* What is to be tried again is not noted; else it does not matter whether it
 * is still there. */
static void taken_back(void *arg, int err)
{
	struct sending *sending = arg;
	struct delivery *d = sending->delivery;

	if (err == -EAGAIN || err == -EKEYREVOKED || err == -ENOMEM) {
		d->result.left++;
		return;
	}
	err = item_note_taken_back(d->s->outbox_fd, sending->item,
				   sending->message);
	if (err && !d->err)
		d->err = err;
}

/* What was taken in is deleted where it was carried. */
static int take_back_spent(struct delivery *d, struct item *item)
{
	struct transport *t = d->s->transport;
	int err = 0;

	for (size_t i = 0; !err && i < item->message_count; i++) {
		const struct item_message *m = &item->messages[i];

		if (!is_spent(item, m))
			continue;
		struct sending *sending = calloc(1, sizeof *sending);

		if (!sending)
			return -ENOMEM;
		*sending = (struct sending){.delivery = d,
					    .item = item,
					    .message = i,
					    .fd = -1,
					    .next = d->sendings};
		d->sendings = sending;
		err = t->ops->retract(t, item->parties[m->party].address,
				      m->ref, taken_back, sending);
		if (err) {
			taken_back(sending, err);
			err = 0;
		}
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

int delivery_new(struct session *s, struct delivery **out)
{
	struct delivery *d = calloc(1, sizeof *d);

	if (!d)
		return -ENOMEM;
	d->s = s;
	d->now_s = when_now_s();
	progress_begin(&d->progress, "sending", 0);
	*out = d;
	return 0;
}

void delivery_expect(struct delivery *d, uint64_t bytes)
{
	d->expected = bytes;
	d->once = true;
}

size_t delivery_under_way(const struct delivery *d)
{
	return d->under_way;
}

size_t delivery_failed(const struct delivery *d)
{
	return d->result.failed;
}

int delivery_work(struct delivery *d, int timeout_ms)
{
	struct transport *t = d->s->transport;
	int err = t->ops->run(t, NULL, timeout_ms);

	return err ? err : d->err;
}

void delivery_quiet(struct delivery *d)
{
	progress_end(&d->progress);
}

int delivery_wait(struct delivery *d)
{
	int err = end_sending(d);

	progress_end(&d->progress);
	return err;
}

int delivery_end(struct delivery *d, struct item **items, size_t count,
		 struct deliver_result *result)
{
	int err = 0, batch_err;

	d->expected = bytes_wanted(d, items, count);
	for (size_t i = 0; !err && i < count; i++)
		err = deliver_item(d, items[i]);
	for (size_t i = 0; !err && i < count; i++)
		err = take_back_spent(d, items[i]);
	batch_err = delivery_wait(d);
	for (size_t i = 0; !err && !batch_err && i < count; i++)
		err = end_note(d->s, items[i]);
	*result = d->result;
	return err ? err : batch_err;
}

void delivery_free(struct delivery *d)
{
	if (d->sendings)
		d->s->transport->ops->give_up(d->s->transport);
	free_sendings(d);
	free(d);
}

int deliver_due(struct session *s, struct item **items, size_t count,
		struct deliver_result *result)
{
	struct delivery *d;
	int err = compose_log_all(s, items, count);

	if (!err)
		err = delivery_new(s, &d);
	if (err)
		return err;
	err = delivery_end(d, items, count, result);
	delivery_free(d);
	return err;
}
