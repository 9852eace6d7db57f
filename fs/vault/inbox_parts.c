/* Which parts are wanted, which are too much. */
#include "inbox_internal.h"

#include <errno.h>
#include <string.h>

static void claim_entry(struct inbox *in, const struct manifest_entry *e)
{
	for (size_t i = 0; i < e->part_count; i++) {
		struct part *part = inbox_part_(in, e->parts[i].hash);

		if (part)
			part->claims++;
	}
}

/* A part that does not even have the length that its sender announced. */
static int drop_misfit(struct inbox *in, const struct parcel *p,
		       const struct manifest_part *want, struct part *part)
{
	int err = inbox_refuse_of_(in, p, 0,
				   "%s: a part has another length than "
				   "announced",
				   p->m->name);

	if (!err && part->claims <= 1)
		inbox_part_remove_(in, part);
	(void)want;
	return err;
}

/* How much of the content is here, in bytes of the sealed copies. */
static int count_content(struct inbox *in, struct parcel *p)
{
	uint64_t have = 0, need = 0;

	for (size_t i = 0; i < p->m->entry_count; i++) {
		const struct manifest_entry *e = &p->m->entries[i];
		bool done = p->places && p->places[i].state >= PLACE_DONE;

		for (size_t k = 0; k < e->part_count; k++) {
			struct part *part = inbox_part_(in, e->parts[k].hash);

			need += e->parts[k].len;
			if (!done && part && part->size != e->parts[k].len) {
				int err =
					drop_misfit(in, p, &e->parts[k], part);

				if (err)
					return err;
			} else if (done || part) {
				have += e->parts[k].len;
			}
		}
	}
	inbox_write_begin_(in);
	p->content_have = have;
	p->content_need = need;
	inbox_write_end_(in);
	return 0;
}

static int refuse_part(struct inbox *in, struct part *part, const char *why)
{
	int err = inbox_refuse_(in, NULL, "%s", why);

	if (!err)
		inbox_part_remove_(in, part);
	return err;
}

static struct part *oldest_unclaimed(struct inbox *in, uint64_t *total)
{
	struct part *oldest = NULL;

	*total = 0;
	for (size_t i = 0; i < in->part_count; i++) {
		struct part *part = &in->parts[i];

		if (part->gone || part->claims)
			continue;
		*total += part->size;
		if (!oldest || part->mtime_s < oldest->mtime_s)
			oldest = part;
	}
	return oldest;
}

static int enforce_quotas(struct inbox *in)
{
	for (;;) {
		uint64_t total = 0;
		struct part *oldest = oldest_unclaimed(in, &total);
		int err;

		if (!oldest || (total <= INBOX_BYTES_UNCLAIMED &&
				in->spool_bytes <= INBOX_BYTES_MAX))
			return 0;
		err = refuse_part(in, oldest,
				  "a part that nobody announced: there are too "
				  "many");
		if (err)
			return err;
	}
}

int inbox_claim_parts_(struct inbox *in)
{
	int err = 0;

	for (size_t i = 0; i < in->part_count; i++)
		in->parts[i].claims = 0;
	for (struct parcel *p = in->parcels; p; p = p->next)
		if (p->m && inbox_known_(p))
			for (size_t i = 0; i < p->m->entry_count; i++)
				claim_entry(in, &p->m->entries[i]);
	for (struct parcel *p = in->parcels; p && !err; p = p->next)
		if (p->m && p->m->kind == MANIFEST_SEND)
			err = count_content(in, p);
	return err ? err : enforce_quotas(in);
}
