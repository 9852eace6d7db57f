#include "deliver.h"
#include "progress.h"
#include "report.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Documents of their own that are open at a time; what is text takes none,
 * nor do the parts of one sealed copy. */
enum { OPEN_MAX = 256 };

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
	int fd; /* of its own, or -1 */
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

	return p ? p->card.address : party->address;
}

static void complain(struct round *r, const char *address, const char *reason)
{
	if (strcmp(r->complained, address) == 0)
		return;
	snprintf(r->complained, sizeof r->complained, "%s", address);
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

/* As text with a few words around it, where it fits; else as a document. */
static int make_text(int fd, size_t len, char **text)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	CLEANUP_FREE char *bare = NULL;
	int err;

	if (len > ENVELOPE_TEXT_MAX_BYTES)
		return 0;
	bytes = malloc(len);
	if (!bytes)
		return -ENOMEM;
	size_t n = 0;

	while (n < len) {
		ssize_t got = pread(fd, bytes + n, len - n, (off_t)n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EBADMSG;
		n += (size_t)got;
	}
	err = envelope_to_text(bytes, len, &bare);
	if (err == -EMSGSIZE)
		return 0;
	if (err)
		return err;
	const char *before =
		strlen(bare) + strlen(words) <= ENVELOPE_TEXT_MAX_CHARS ? words
									: "";

	return asprintf(text, "%s%s", before, bare) < 0 ? -ENOMEM : 0;
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
		err = make_text(sending->fd, (size_t)m->len, &sending->text);
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

/* A note that is out is done with; a released share is the mount's to
 * forget, too. */
static int end_note(struct session *s, struct item *item)
{
	const struct item_message *m = &item->messages[0];
	struct control_released released = {.index = m->index};
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
	batch_err = end_sending(r);
	progress_end(&r->progress);
	for (size_t i = 0; !err && !batch_err && i < count; i++)
		err = end_note(s, items[i]);
	*result = r->result;
	free(r);
	return err ? err : batch_err;
}
