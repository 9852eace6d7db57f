/* Which parts are wanted, which are none, which are too much. */
#include "inbox_internal.h"

#include <errno.h>
#include <string.h>

enum {
	UNCLAIMED_COUNT_MAX = 65536,
	/* whose manifest did not come in that time: senders have given up */
	UNCLAIMED_AGE_MAX_S = 30 * 86400,
	DONE_MAX = 65536,
};

static void claim_entry(struct inbox *in, const struct manifest_entry *e,
			bool known)
{
	for (size_t i = 0; i < e->part_count; i++) {
		struct part *part = inbox_part_(in, e->parts[i].hash);

		if (!part)
			continue;
		part->named = true;
		part->claims += known;
	}
}

/* Without memory for it, it goes when it is too old. */
static void remember_done(struct inbox *in, const uint8_t *hash)
{
	if (in->done_count == in->done_room && in->done_room < DONE_MAX) {
		size_t room = in->done_room ? 2 * in->done_room : 64;
		void *list = reallocarray(in->done, room, SPOOL_HASH_LEN);

		if (!list)
			return;
		in->done = list;
		in->done_room = room;
	}
	if (in->done_count < in->done_room) {
		memcpy(in->done[in->done_count++], hash, SPOOL_HASH_LEN);
		return;
	}
	memcpy(in->done[in->done_next++ % DONE_MAX], hash, SPOOL_HASH_LEN);
}

void inbox_parts_done_(struct inbox *in, const struct manifest *m)
{
	for (size_t i = 0; i < m->entry_count; i++)
		for (size_t k = 0; k < m->entries[i].part_count; k++)
			remember_done(in, m->entries[i].parts[k].hash);
}

/*
 * A part of another length than the manifest says: it is not what its name
 * says, and goes; or the manifest lies, and its file will never open. Unless it
 * has come anew since the spool was listed.
 */
static int judge_misfit(struct inbox *in, struct parcel *p, size_t entry,
			struct part *part, uint64_t announced)
{
	const char *path = p->m->entries[entry].path;
	struct part_look look;
	int err;

	if (p->places && p->places[entry].damaged)
		return 0;
	err = inbox_check_part_(in, part, &look);
	if (err)
		return err == -ENOENT ? 0 : err;
	if (!look.same) {
		err = inbox_refuse_of_(
			in, p, 0, "%s: a part is not what its name says", path);
		if (!err)
			inbox_part_remove_altered_(in, part, &look);
		return err;
	}
	in->spool_bytes += look.size - part->size;
	part->size = look.size;
	if (look.size == announced)
		return 0;
	err = inbox_make_places_(in, p);
	if (!err)
		err = inbox_refuse_of_(in, p, 0,
				       "%s: a part has another length than "
				       "announced",
				       path);
	if (err)
		return err;
	inbox_write_begin_(in);
	p->places[entry].damaged = true;
	p->dirty = true;
	inbox_write_end_(in);
	return 0;
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
			uint64_t len = e->parts[k].len;
			int err = 0;

			need += len;
			if (!done && part && part->size != len)
				err = judge_misfit(in, p, i, part, len);
			if (err)
				return err;
			if (done || (part && !part->gone && part->size == len))
				have += len;
		}
	}
	inbox_write_begin_(in);
	p->content_have = have;
	p->content_need = need;
	inbox_write_end_(in);
	return 0;
}

bool inbox_entry_is_here_(const struct inbox *in,
			  const struct manifest_entry *e)
{
	for (size_t i = 0; i < e->part_count; i++) {
		const struct part *part = inbox_part_(in, e->parts[i].hash);

		if (!part || part->size != e->parts[i].len)
			return false;
	}
	return true;
}

static int by_age(const void *a, const void *b)
{
	const struct part *x = *(struct part *const *)a;
	const struct part *y = *(struct part *const *)b;

	return (x->mtime_s > y->mtime_s) - (x->mtime_s < y->mtime_s);
}

/* Parts that are claimed, or are not; the oldest first. */
static size_t select_parts(struct inbox *in, bool claimed, struct part **list,
			   uint64_t *bytes)
{
	size_t count = 0;

	*bytes = 0;
	for (size_t i = 0; i < in->part_count; i++) {
		struct part *part = &in->parts[i];

		if (part->gone || (part->claims > 0) != claimed)
			continue;
		*bytes += part->size;
		list[count++] = part;
	}
	if (count)
		qsort(list, count, sizeof(struct part *), by_age);
	return count;
}

static int refuse_part(struct inbox *in, struct part *part, const char *why)
{
	int err = inbox_refuse_(in, NULL, "%s", why);

	if (!err)
		inbox_part_remove_(in, part);
	return err;
}

/*
 * A part that comes again after its set opened (an answer got lost on the way,
 * so it was sent twice) belongs to nothing any more; nor does one whose
 * manifest never came.
 */
static int drop_needless(struct inbox *in)
{
	int64_t now = (int64_t)inbox_now_();

	for (size_t i = 0; i < in->done_count; i++) {
		struct part *part = inbox_part_(in, in->done[i]);

		if (part && !part->named)
			inbox_part_remove_(in, part);
	}
	for (size_t i = 0; i < in->part_count; i++) {
		struct part *part = &in->parts[i];
		int err;

		if (part->gone || part->named ||
		    now - part->mtime_s < UNCLAIMED_AGE_MAX_S)
			continue;
		err = refuse_part(in, part,
				  "a part that nobody announced: it has waited "
				  "too long");
		if (err)
			return err;
	}
	return 0;
}

static int enforce_quotas(struct inbox *in)
{
	CLEANUP_FREE struct part **list =
		calloc(in->part_count + 1, sizeof(struct part *));
	uint64_t bytes;
	size_t count;

	if (!list)
		return -ENOMEM;
	count = select_parts(in, false, list, &bytes);
	for (size_t i = 0; i < count && (bytes > INBOX_BYTES_UNCLAIMED ||
					 count - i > UNCLAIMED_COUNT_MAX ||
					 in->spool_bytes > INBOX_BYTES_MAX);
	     i++) {
		int err;

		bytes -= list[i]->size;
		err = refuse_part(in, list[i],
				  "a part that nobody announced: there are too "
				  "many");
		if (err)
			return err;
	}
	/* the youngest came when it was full already */
	count = select_parts(in, true, list, &bytes);
	while (count-- > 0 && in->spool_bytes > INBOX_BYTES_MAX) {
		int err = refuse_part(in, list[count],
				      "a part for which there is no room left");

		if (err)
			return err;
	}
	return 0;
}

int inbox_claim_parts_(struct inbox *in)
{
	int err = 0;

	for (size_t i = 0; i < in->part_count; i++) {
		in->parts[i].claims = 0;
		in->parts[i].named = false;
	}
	/* what strangers announce must not hurt what contacts do */
	for (struct parcel *p = in->parcels; p; p = p->next)
		for (size_t i = 0; p->m && i < p->m->entry_count; i++)
			claim_entry(in, &p->m->entries[i], inbox_known_(p));
	for (struct parcel *p = in->parcels; p && !err; p = p->next)
		if (p->m && p->m->kind == MANIFEST_SEND && inbox_known_(p))
			err = count_content(in, p);
	if (!err)
		err = drop_needless(in);
	return err ? err : enforce_quotas(in);
}
