#include "outbox.h"
#include "report.h"
#include "text.h"
#include "when.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum {
	KEEP_ENDED_S = 90 * 86400,
	KEEP_NOTES_S = 14 * 86400, /* to somebody who cannot be reached */
	/* what was sent can be deleted for two days */
	KEEP_DRAFTS_S = 36 * 3600,
};

static int by_time(const void *a, const void *b)
{
	const struct item *x = *(struct item *const *)a;
	const struct item *y = *(struct item *const *)b;

	if (x->created_s != y->created_s)
		return x->created_s < y->created_s ? -1 : 1;
	return strcmp(x->id, y->id);
}

static int add(struct outbox *o, struct item *item)
{
	struct item ***list = item->draft ? &o->drafts : &o->items;
	size_t *count = item->draft ? &o->draft_count : &o->count;
	struct item **items = reallocarray(*list, *count + 1, sizeof *items);

	if (!items) {
		item_free(item);
		return -ENOMEM;
	}
	*list = items;
	items[(*count)++] = item;
	return 0;
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), n = strlen(suffix);

	return len >= n && strcmp(name + len - n, suffix) == 0;
}

int outbox_load(const struct session *s, struct outbox *o)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *entry;
	int err = xio_list(s->outbox_fd, &dir);

	memset(o, 0, sizeof *o);
	while (!err && (entry = readdir(dir))) {
		struct item *item;

		if (entry->d_name[0] == '.' ||
		    has_suffix(entry->d_name, ".revoke"))
			continue;
		err = item_load(s->outbox_fd, entry->d_name, &item);
		if (err == -ENOENT) { /* it has just been removed */
			err = 0;
			continue;
		}
		if (err && err != -ENOMEM) {
			report("the record .tgshare/outbox/%s is damaged (%s) "
			       "and left out",
			       entry->d_name, strerror(-err));
			err = 0;
			continue;
		}
		if (!err)
			err = add(o, item);
	}
	if (err)
		outbox_free(o);
	else if (o->count)
		qsort(o->items, o->count, sizeof *o->items, by_time);
	return err;
}

void outbox_free(struct outbox *o)
{
	for (size_t i = 0; i < o->count; i++)
		item_free(o->items[i]);
	for (size_t i = 0; i < o->draft_count; i++)
		item_free(o->drafts[i]);
	free(o->items);
	free(o->drafts);
	memset(o, 0, sizeof *o);
}

struct item *outbox_set(const struct outbox *o,
			const uint8_t set_id[static SET_ID_LEN])
{
	for (size_t i = 0; i < o->count; i++)
		if (o->items[i]->kind != ITEM_NOTE &&
		    memcmp(o->items[i]->set_id, set_id, SET_ID_LEN) == 0)
			return o->items[i];
	return NULL;
}

bool outbox_is_set_text(const char *text)
{
	size_t len = strlen(text);

	return len >= OUTBOX_SHORT && len <= 2 * SET_ID_LEN &&
	       strspn(text, "0123456789abcdef") == len;
}

bool outbox_set_begins(const uint8_t set_id[static SET_ID_LEN],
		       const char *text)
{
	char hex[2 * SET_ID_LEN + 1];

	hex_encode(set_id, SET_ID_LEN, hex);
	return strncmp(hex, text, strlen(text)) == 0;
}

static int remove_beginnings(const struct session *s)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *entry;
	int err = xio_list(s->outbox_fd, &dir);

	while (!err && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, ".tmp-", 5) != 0)
			continue;
		if (unlinkat(s->outbox_fd, entry->d_name, 0) < 0)
			err = item_remove(s->outbox_fd, entry->d_name);
	}
	return err;
}

static bool copy_needed(const struct outbox *o, const char *copy, uint64_t now)
{
	for (size_t i = 0; i < o->count; i++)
		if (strcmp(o->items[i]->copy, copy) == 0 &&
		    item_needs_copy(o->items[i], now))
			return true;
	for (size_t i = 0; i < o->draft_count; i++)
		if (strcmp(o->drafts[i]->copy, copy) == 0)
			return true;
	return false;
}

static int remove_copies(const struct session *s, const struct outbox *o,
			 uint64_t now)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *entry;
	int err = xio_list(s->copies_fd, &dir);

	while (!err && (entry = readdir(dir))) {
		const char *name = entry->d_name;
		uint8_t id[ITEM_COPY_LEN / 2];

		if (hex_decode(name, strlen(name), id, sizeof id) ||
		    copy_needed(o, name, now))
			continue;
		if (unlinkat(s->copies_fd, name, 0) < 0)
			err = -errno;
	}
	return err;
}

/* A grant is kept as long as it may have to be revoked. */
static bool ended_long_ago(const struct item *item, uint64_t now)
{
	bool over =
		!item_live(item, now) || (item->kind == ITEM_SEND &&
					  item->recipient_state >= ACK_OPENED);

	return over && now > item->created_s + KEEP_ENDED_S &&
	       now > item->expires_s + KEEP_ENDED_S;
}

int outbox_drop_draft(struct session *s, const struct item *draft)
{
	struct transport *t = s->transport;
	int err = 0;

	for (size_t i = 0; t && i < draft->message_count; i++)
		/* nobody can do anything with it, wherever it lies */
		if (draft->messages[i].ref)
			(void)t->ops->retract(t, draft->parties[0].address,
					      draft->messages[i].ref, NULL,
					      NULL);
	while (!err && t && !t->ops->idle(t))
		err = t->ops->run(t, NULL, 1000);
	if (!err)
		err = item_remove(s->outbox_fd, draft->id);
	if (!err && unlinkat(s->copies_fd, draft->copy, 0) < 0 &&
	    errno != ENOENT)
		err = -errno;
	return err;
}

static int drop_old_drafts(struct session *s, const struct outbox *o,
			   uint64_t now)
{
	int err = 0;

	for (size_t i = 0; !err && i < o->draft_count; i++)
		if (now > o->drafts[i]->created_s + KEEP_DRAFTS_S)
			err = outbox_drop_draft(s, o->drafts[i]);
	return err;
}

/* Nothing of it is to be sent any more. */
static bool is_told(const struct item *item, uint64_t now)
{
	if (item_live(item, now))
		return item->recipient_state >= ACK_OPENED;
	for (size_t i = 0; i < item->message_count; i++)
		if (item_message_due(item, &item->messages[i], now))
			return false;
	return true;
}

int outbox_tidy(struct session *s, const struct outbox *o)
{
	uint64_t now = when_now_s();
	int err = remove_beginnings(s);

	if (!err && s->transport)
		err = drop_old_drafts(s, o, now);

	for (size_t i = 0; !err && i < o->count; i++) {
		const struct item *item = o->items[i];

		if (item->kind == ITEM_NOTE) {
			if (now > item->created_s + KEEP_NOTES_S)
				err = item_remove(s->outbox_fd, item->id);
		} else if (item_never_left(item) || ended_long_ago(item, now))
			err = item_remove(s->outbox_fd, item->id);
		else if (is_told(item, now))
			err = item_remove_envelopes(s->outbox_fd, item);
	}
	return err ? err : remove_copies(s, o, now);
}
