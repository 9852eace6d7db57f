#include "renewal.h"
#include "source.h"
#include "when.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>

enum { OPEN_MAX = 16 };

bool renewal_same_parties(const struct item *item, const struct plan *plan)
{
	if (item->party_count != plan->party_count || item->k != plan->k ||
	    item->n != plan->n ||
	    memcmp(item->holders, plan->holders, item->n) != 0)
		return false;
	for (size_t i = 0; i < item->party_count; i++)
		if (!people_same_keys(&item->parties[i].pub,
				      &plan->parties[i].pub))
			return false;
	return true;
}

/* For nftw(3), which has no argument to pass. */
static struct {
	const struct item *item;
	const struct cargo *but; /* not these */
} wanted;

/* What cannot be looked at may be one of them. */
static int visit(const char *path, const struct stat *st, int type,
		 struct FTW *where)
{
	uint8_t id[FILE_ID_LEN];

	(void)st;
	(void)where;
	if (type == FTW_DNR || type == FTW_NS)
		return 1;
	return type == FTW_F && !source_path_id(path, id) &&
	       item_files_have(wanted.item->files, wanted.item->file_count,
			       id) &&
	       !item_files_have(wanted.but->files, wanted.but->file_count, id);
}

/* What was moved stays granted, wherever it is now. */
static bool is_elsewhere(const struct session *s, const struct item *item,
			 const struct cargo *c)
{
	wanted.item = item;
	wanted.but = c;
	return nftw(s->m.info.mountpoint, visit, OPEN_MAX,
		    FTW_PHYS | FTW_MOUNT) != 0;
}

static bool shares_a_file(const struct item *item, const struct cargo *c)
{
	for (size_t i = 0; i < item->file_count; i++)
		if (item_files_have(c->files, c->file_count, item->files[i].id))
			return true;
	return false;
}

/* By one whose making was interrupted before it was noted here. */
static bool was_replaced(const struct outbox *o, const struct item *item)
{
	for (size_t i = 0; i < o->count; i++)
		if (o->items[i] != item && o->items[i]->kind == ITEM_GRANT &&
		    memcmp(o->items[i]->replaces, item->set_id, SET_ID_LEN) ==
			    0)
			return true;
	return false;
}

const struct item *renewal_find(const struct session *s, const struct outbox *o,
				const struct source *from,
				const struct cargo *c, const struct plan *plan)
{
	for (size_t i = 0; i < o->count; i++) {
		const struct item *item = o->items[i];

		if (item->kind != ITEM_GRANT ||
		    !item_live(item, when_now_s()) || was_replaced(o, item) ||
		    item->folder != from->folder ||
		    strcmp(item->path, from->relative) != 0 ||
		    !people_same_keys(&item->parties[0].pub,
				      &plan->parties[0].pub))
			continue;
		if (shares_a_file(item, c) &&
		    (!renewal_same_parties(item, plan) ||
		     !item->expires_s != !plan->expires_s))
			continue;
		if (!is_elsewhere(s, item, c))
			return item;
	}
	return NULL;
}

int renewal_end(const struct session *s, struct outbox *o,
		const struct item *item)
{
	int err = 0;

	for (size_t i = 0; i < o->count && !err; i++) {
		struct item *old = outbox_set(o, item->replaces);

		if (!old)
			break;
		if (old->end == ITEM_LIVE)
			err = item_note_end(s->outbox_fd, old, ITEM_REPLACED,
					    when_now_s());
		item = old;
	}
	return err;
}
