/* What the user removed before it opened is not wanted. */
#include "inbox_internal.h"

#include <errno.h>
#include <string.h>

void inbox_count_(const struct parcel *p, size_t *done, size_t *open)
{
	*done = *open = 0;
	for (size_t i = 0; i < p->place_count; i++) {
		if (p->m && p->m->entries[i].type != MANIFEST_FILE)
			continue;
		*done += p->places[i].state == PLACE_DONE;
		*open += p->places[i].state < PLACE_DONE;
	}
}

/* What expired is cleared away, not refused. */
int inbox_log_declined_(struct inbox *in, const struct parcel *p)
{
	int err = inbox_expired_(p) && !p->revoked
			  ? inbox_log_of_(in, p, VLOG_EXPIRED, p->custody)
			  : 0;

	return err ? err : inbox_log_of_(in, p, VLOG_DECLINED, 0);
}

/* The record first: a crash in between must not bring the file back. */
static int decline_file(struct inbox *in, struct parcel *p, uint32_t entry)
{
	size_t done, open;
	int err;

	inbox_write_begin_(in);
	p->places[entry].state = PLACE_DECLINED;
	inbox_write_end_(in);
	err = inbox_record_write_(in, p);
	/* advancing a grant sees whether any of it is still wanted */
	if (err || p->granted)
		return err;
	inbox_count_(p, &done, &open);
	if (open)
		return 0;
	if (!p->revoked)
		err = done ? inbox_log_of_(in, p, VLOG_OPENED, 0)
			   : inbox_log_declined_(in, p);
	if (!err)
		inbox_finish_(in, p);
	return err;
}

static int decline(struct inbox *in, const struct declined *d)
{
	struct parcel *p = inbox_find_(in, d->key);
	int err;

	if (!p)
		return 0;
	if (d->entry != PLACE_WHOLE && p->place_count > 1)
		return d->entry < p->place_count ? decline_file(in, p, d->entry)
						 : 0;
	err = inbox_log_declined_(in, p);
	if (!err)
		inbox_finish_(in, p);
	return err;
}

static bool pop(struct inbox *in, struct declined *d)
{
	bool any;

	inbox_write_begin_(in);
	any = in->decline_count > 0;
	if (any)
		*d = in->declines[--in->decline_count];
	inbox_write_end_(in);
	return any;
}

static void push(struct inbox *in, const struct declined *d)
{
	struct declined *list =
		reallocarray(in->declines, in->decline_count + 1, sizeof *list);

	if (!list)
		return;
	in->declines = list;
	list[in->decline_count++] = *d;
}

int inbox_drain_declines_(struct inbox *in)
{
	struct declined d;

	while (pop(in, &d)) {
		int err = decline(in, &d);

		if (!err)
			continue;
		inbox_write_begin_(in);
		push(in, &d);
		inbox_write_end_(in);
		return err;
	}
	return 0;
}

static bool is_pending(struct inbox *in)
{
	bool any;

	pthread_rwlock_rdlock(&in->lock);
	any = in->decline_count > 0;
	pthread_rwlock_unlock(&in->lock);
	return any;
}

void inbox_settle_declines_(struct inbox *in)
{
	int err = 0;

	while (!err && is_pending(in) && !pthread_mutex_trylock(&in->work)) {
		err = in->dir_fd >= 0 && in->swept ? inbox_drain_declines_(in)
						   : -EAGAIN;
		pthread_mutex_unlock(&in->work);
	}
}

void inbox_declined(struct inbox *in, const struct statx *stx)
{
	struct declined d;
	bool found;

	if (!inbox_has_entries(in))
		return;
	inbox_write_begin_(in);
	found = inbox_table_find_(in, stx, d.key, &d.entry);
	if (found) {
		const struct parcel *p = inbox_find_(in, d.key);

		if (p)
			inbox_table_forget_(in, p, d.entry);
		push(in, &d);
	}
	inbox_write_end_(in);
	/* whoever is at work now does it when that is done */
	if (found)
		inbox_settle_declines_(in);
}
