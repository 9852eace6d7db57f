#include "compose.h"
#include "letter.h"
#include "report.h"
#include "text.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

/* One set being put together. */
struct composing {
	struct session *s;
	const struct plan *plan;
	struct manifest manifest; /* borrows the cargo's entries */
	struct slip39_share *shares;
	uint8_t (*packed)[SLIP39_PACKED_LEN];
	struct item *item;
	int dir;
};

static int put_letter(struct composing *c, const struct letter *letter,
		      unsigned party)
{
	struct item_message *m = item_add_message(c->item);
	CLEANUP_FREE uint8_t *envelope = NULL;
	size_t len;
	int err = m ? letter_seal(&c->s->m, letter, &envelope, &len) : -ENOMEM;

	if (err)
		return err;
	m->kind = letter->kind;
	m->index = letter->index;
	m->party = (uint8_t)party;
	return item_put_envelope(c->dir, envelope, len, m);
}

static struct letter letter_to(const struct composing *c, unsigned party,
			       uint8_t kind, unsigned index)
{
	struct letter letter = {.kind = kind, .index = (uint8_t)index};

	memcpy(letter.set_id, c->plan->set_id, SET_ID_LEN);
	letter.to = c->plan->parties[party].pub;
	return letter;
}

static int put_manifest(struct composing *c)
{
	struct letter letter = letter_to(c, 0, STATEMENT_MANIFEST, 0);
	CLEANUP_FREE uint8_t *payload = NULL;
	int err = manifest_encode(&c->manifest, &payload, &letter.payload_len);

	letter.payload = payload;
	return err ? err : put_letter(c, &letter, 0);
}

/* What its keeper gets: the envelope for the recipient, in one for them. */
static int put_custody(struct composing *c, const struct letter *share,
		       unsigned party)
{
	struct letter letter =
		letter_to(c, party, STATEMENT_CUSTODY, share->index);
	CLEANUP_FREE uint8_t *inner = NULL, *payload = NULL;
	size_t len;
	int err = letter_seal(&c->s->m, share, &inner, &len);

	if (!err)
		err = message_format_custody(c->plan->expires_s, c->plan->card,
					     inner, len, &payload,
					     &letter.payload_len);
	letter.payload = payload;
	return err ? err : put_letter(c, &letter, party);
}

static int put_share(struct composing *c, unsigned i)
{
	unsigned party = c->plan->holders[i];
	struct letter letter = letter_to(c, 0, STATEMENT_SHARE, i + 1);

	letter.payload = c->packed[i];
	letter.payload_len = SLIP39_PACKED_LEN;
	if (party && item_has_keys(&c->plan->parties[party]))
		return put_custody(c, &letter, party);
	return put_letter(c, &letter, party);
}

static int put_parts(struct composing *c)
{
	uint64_t offset = 0;

	for (size_t i = 0; i < c->manifest.entry_count; i++) {
		const struct manifest_entry *e = &c->manifest.entries[i];

		for (size_t j = 0; j < e->part_count; j++) {
			struct item_message *m = item_add_message(c->item);

			if (!m)
				return -ENOMEM;
			m->offset = offset;
			m->len = e->parts[j].len;
			hex_encode(e->parts[j].hash, MANIFEST_HASH_LEN,
				   m->name);
			strcat(m->name, ".part");
			offset += m->len;
		}
	}
	return 0;
}

static int split(struct composing *c, const uint8_t *secret)
{
	struct manifest *m = &c->manifest;
	const struct plan *plan = c->plan;
	int err = slip39_split(secret, plan->k, plan->n, c->shares);

	if (err)
		return err;
	for (unsigned i = 0; i < plan->n; i++) {
		unsigned party = plan->holders[i];

		slip39_pack(&c->shares[i], c->packed[i]);
		manifest_commit_share(m->nonce, plan->set_id, i + 1,
				      c->packed[i], m->shares[i].commitment);
		strcpy(m->shares[i].holder, plan->parties[party].name);
		m->shares[i].direct = party == 0;
	}
	manifest_commit_secret(m->nonce, plan->set_id, secret,
			       m->secret_commitment);
	return 0;
}

static void fill_manifest(struct composing *c)
{
	const struct plan *plan = c->plan;
	struct manifest *m = &c->manifest;

	m->k = (uint8_t)plan->k;
	m->n = (uint8_t)plan->n;
	randombytes_buf(m->nonce, sizeof m->nonce);
	m->expires_s = plan->expires_s;
	m->no_content = plan->no_content;
	memcpy(m->replaces, plan->replaces, SET_ID_LEN);
	if (plan->note)
		strcpy(m->note, plan->note);
}

static int copy_files(const struct cargo *from, struct item *item)
{
	if (from->file_count == 0)
		return 0;
	item->files = calloc(from->file_count, sizeof *item->files);
	if (!item->files)
		return -ENOMEM;
	for (size_t i = 0; i < from->file_count; i++) {
		item->files[i] = from->files[i];
		item->files[i].path = strdup(from->files[i].path);
		if (!item->files[i].path)
			return -ENOMEM;
		item->file_count++;
	}
	return 0;
}

static int fill_item(struct item *item, const struct source *from,
		     const struct cargo *c, const struct plan *plan)
{
	hex_encode(plan->set_id, SET_ID_LEN, item->id);
	item->kind = c->manifest.kind == MANIFEST_SEND ? ITEM_SEND : ITEM_GRANT;
	memcpy(item->set_id, plan->set_id, SET_ID_LEN);
	memcpy(item->replaces, plan->replaces, SET_ID_LEN);
	item->created_s = when_now_s();
	item->expires_s = plan->expires_s;
	item->path = strdup(from->relative);
	item->name = strdup(from->name);
	item->note = strdup(plan->note ? plan->note : "");
	if (!item->path || !item->name || !item->note)
		return -ENOMEM;
	item->folder = from->folder;
	item->no_content = plan->no_content;
	item->exported = plan->exported;
	item->size = from->total;
	item->mtime_ns = from->mtime_ns;
	item->k = (uint8_t)plan->k;
	item->n = (uint8_t)plan->n;
	strcpy(item->copy, c->copy);
	strcpy(item->card, plan->card);
	memcpy(item->parties, plan->parties, sizeof item->parties);
	item->party_count = plan->party_count;
	memcpy(item->holders, plan->holders, sizeof item->holders);
	return copy_files(c, item);
}

/* A draft has its parts already. */
static int put_all(struct composing *c)
{
	int err = put_manifest(c);

	for (unsigned i = 0; !err && i < c->plan->n; i++)
		err = put_share(c, i);
	if (!err && c->manifest.kind == MANIFEST_SEND && !c->item->draft)
		err = put_parts(c);
	if (!err)
		manifest_code(&c->manifest, c->plan->set_id, &c->s->m.info.pub,
			      &c->plan->parties[0].pub, c->item->code);
	return err;
}

/* A new item, in a directory that has nothing but what put() puts there. */
static int build(struct composing *c, const struct source *from,
		 const struct cargo *cargo,
		 int (*put)(struct composing *c, const struct cargo *cargo))
{
	char temp[64];
	CLEANUP_FD int dir = -1;
	int err = fill_item(c->item, from, cargo, c->plan);

	if (!err)
		err = item_begin(c->s->outbox_fd, temp, &dir);
	if (err)
		return err;
	c->dir = dir;
	err = put(c, cargo);
	if (!err)
		return item_commit(c->s->outbox_fd, temp, dir, c->item);
	int ignored = item_remove(c->s->outbox_fd, temp);

	(void)ignored; /* the next tgshare removes what this left */
	return err;
}

static int put_letters(struct composing *c, const struct cargo *cargo)
{
	CLEANUP_SECRET struct slip39_share *shares =
		secret_alloc(SLIP39_SHARES_MAX * sizeof *shares);
	CLEANUP_SECRET void *packed =
		secret_alloc((size_t)SLIP39_SHARES_MAX * SLIP39_PACKED_LEN);
	int err;

	if (!shares || !packed)
		return -ENOMEM;
	c->shares = shares;
	c->packed = packed;
	fill_manifest(c);
	err = split(c, cargo->keys->secret);
	return err ? err : put_all(c);
}

static int put_keys(struct composing *c, const struct cargo *cargo)
{
	c->item->draft = true;
	return item_put_keys(c->dir, cargo->keys);
}

static int compose_new(struct composing *c, const struct source *from,
		       const struct cargo *cargo,
		       int (*put)(struct composing *c,
				  const struct cargo *cargo),
		       struct item **out)
{
	struct item *item = item_new();
	int err;

	c->item = item;
	err = item ? build(c, from, cargo, put) : -ENOMEM;
	if (err)
		item_free(item);
	else
		*out = item;
	return err;
}

int compose(struct session *s, const struct source *from, const struct cargo *c,
	    const struct plan *plan, struct item **out)
{
	struct composing work = {.s = s, .plan = plan, .manifest = c->manifest};

	return compose_new(&work, from, c, put_letters, out);
}

int compose_draft(struct session *s, const struct source *from,
		  const struct cargo *c, const struct plan *plan,
		  struct item **out)
{
	struct composing work = {.s = s, .plan = plan, .manifest = c->manifest};

	return compose_new(&work, from, c, put_keys, out);
}

int compose_rest(struct session *s, const struct cargo *c,
		 const struct plan *plan, struct item *draft)
{
	struct composing work = {
		.s = s, .plan = plan, .manifest = c->manifest, .item = draft};
	size_t parts = draft->message_count;
	CLEANUP_FD int dir = openat(s->outbox_fd, draft->id,
				    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = dir < 0 ? -errno : 0;

	work.dir = dir;
	draft->expires_s = plan->expires_s;
	if (!err)
		err = put_letters(&work, c);
	if (!err)
		err = item_complete(dir, draft);
	if (err)
		draft->message_count = parts;
	return err;
}

int compose_report(const struct session *s, const struct source *from, int err)
{
	if (err == -EINVAL)
		return report_as(CMD_FAILED,
				 "'%s' cannot be shared as it is: a name in it "
				 "is not one that others can have, or the note "
				 "has control characters",
				 from->given);
	if (err == -EMSGSIZE)
		return report_as(CMD_FAILED,
				 "'%s' has too many files for one set; share "
				 "parts of it",
				 from->given);
	return session_report(s, "write .tgshare/outbox", err);
}

static int find_in_log(const struct session *s, const struct item *item,
		       uint8_t event)
{
	struct vlog_record r = {0};
	int err;

	for (uint64_t seq = 0;; seq++) {
		r.seq = seq;
		err = mounted_ask(s->m.fd, CONTROL_LOG_READ, &r);
		if (err && err != -EBADMSG)
			return err; /* -ENODATA: not there */
		if (!err && r.event == event &&
		    memcmp(r.set_id, item->set_id, SET_ID_LEN) == 0)
			return 0;
	}
}

int compose_log_event(struct session *s, const struct item *item, uint8_t event)
{
	struct vlog_record r = {.peer = item->parties[0].pub, .event = event};
	int err = find_in_log(s, item, event);

	if (err != -ENODATA)
		return err;
	memcpy(r.set_id, item->set_id, SET_ID_LEN);
	snprintf(r.text, sizeof r.text, "%s", item->name);
	return mounted_ask(s->m.fd, CONTROL_LOG_APPEND, &r);
}

int compose_log_sent(struct session *s, const struct item *item)
{
	return compose_log_event(s, item,
				 item->exported		   ? VLOG_EXPORTED
				 : item->kind == ITEM_SEND ? VLOG_SENT
							   : VLOG_GRANTED);
}

int compose_log(struct session *s, struct item *item)
{
	int err;

	if (item->logged)
		return 0;
	/* a draft that was completed */
	err = item->kind == ITEM_SEND ? item_drop_keys(s->outbox_fd, item) : 0;
	if (!err)
		err = compose_log_sent(s, item);
	return err ? err : item_note_logged(s->outbox_fd, item);
}

int compose_log_all(struct session *s, struct item **items, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		if (items[i]->kind != ITEM_NOTE && !item_never_left(items[i]))
			err = compose_log(s, items[i]);
	return err;
}

static int fill_note(struct item *item, const struct note *note)
{
	struct item_message *m = item_add_message(item);

	item->path = strdup("");
	item->name = strdup("");
	item->note = strdup("");
	if (!m || !item->path || !item->name || !item->note)
		return -ENOMEM;
	snprintf(item->id, sizeof item->id, "%s", note->id);
	item->kind = ITEM_NOTE;
	item->created_s = when_now_s();
	memcpy(item->set_id, note->set_id, SET_ID_LEN);
	item->parties[0] = *note->to;
	item->party_count = 1;
	if (note->sender)
		item->parties[item->party_count++].pub = *note->sender;
	m->kind = note->kind;
	m->index = note->index;
	return 0;
}

int compose_note(struct session *s, const struct note *note,
		 const uint8_t *envelope, size_t len)
{
	struct item *item = item_new();
	char temp[64];
	CLEANUP_FD int dir = -1;
	int err = item ? fill_note(item, note) : -ENOMEM;

	if (!err)
		err = item_begin(s->outbox_fd, temp, &dir);
	if (!err)
		err = item_put_envelope(dir, envelope, len, item->messages);
	if (!err)
		err = item_commit(s->outbox_fd, temp, dir, item);
	item_free(item);
	return err;
}

int compose_note_from(struct session *s, const struct note *note,
		      const uint8_t *payload, size_t len)
{
	struct letter letter = {.kind = note->kind,
				.index = note->index,
				.to = note->to->pub,
				.payload = payload,
				.payload_len = len};
	CLEANUP_FREE uint8_t *envelope = NULL;
	size_t envelope_len;
	int err;

	memcpy(letter.set_id, note->set_id, SET_ID_LEN);
	err = letter_seal(&s->m, &letter, &envelope, &envelope_len);
	return err ? err : compose_note(s, note, envelope, envelope_len);
}
