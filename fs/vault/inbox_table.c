#include "inbox_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

struct node {
	struct node *next;
	uint64_t dev, ino;
	int64_t btime_s;
	uint32_t btime_ns, entry;
	uint8_t key[PARCEL_KEY_LEN];
};

struct place_table {
	size_t mask;
	struct node *bucket[];
};

enum { BUCKETS_MIN = 64 };

static struct place_table *table_new(size_t buckets)
{
	struct place_table *t =
		calloc(1, sizeof *t + buckets * sizeof *t->bucket);

	if (t)
		t->mask = buckets - 1;
	return t;
}

static struct node **bucket_of(struct place_table *t, uint64_t ino)
{
	return &t->bucket[(ino * UINT64_C(0x9e3779b97f4a7c15) >> 32) & t->mask];
}

/* Twice as many buckets; with no memory for them the old ones do. */
static void grow(struct inbox *in)
{
	struct place_table *old = in->table, *t;

	t = table_new(2 * (old->mask + 1));
	if (!t)
		return;
	for (size_t i = 0; i <= old->mask; i++)
		while (old->bucket[i]) {
			struct node *n = old->bucket[i];
			struct node **to = bucket_of(t, n->ino);

			old->bucket[i] = n->next;
			n->next = *to;
			*to = n;
		}
	free(old);
	in->table = t;
}

static const struct place *place_of(const struct parcel *p, uint32_t entry)
{
	return entry == PLACE_WHOLE ? &p->whole : &p->places[entry];
}

int inbox_table_put_(struct inbox *in, const struct parcel *p, uint32_t entry)
{
	const struct place *place = place_of(p, entry);
	struct node *n, **to;

	if (!in->table)
		in->table = table_new(BUCKETS_MIN);
	n = calloc(1, sizeof *n);
	if (!in->table || !n) {
		free(n);
		return -ENOMEM;
	}
	inbox_table_forget_(in, p, entry);
	if (atomic_load(&in->table_count) > 2 * in->table->mask)
		grow(in);
	n->dev = place->dev;
	n->ino = place->ino;
	n->btime_s = place->btime_s;
	n->btime_ns = place->btime_ns;
	n->entry = entry;
	memcpy(n->key, p->key, sizeof n->key);
	to = bucket_of(in->table, n->ino);
	n->next = *to;
	*to = n;
	atomic_fetch_add(&in->table_count, 1);
	return 0;
}

void inbox_table_forget_(struct inbox *in, const struct parcel *p,
			 uint32_t entry)
{
	struct node **at;

	if (!in->table)
		return;
	at = bucket_of(in->table, place_of(p, entry)->ino);
	while (*at) {
		struct node *n = *at;

		if (n->entry == entry &&
		    memcmp(n->key, p->key, sizeof n->key) == 0) {
			*at = n->next;
			free(n);
			atomic_fetch_sub(&in->table_count, 1);
		} else {
			at = &n->next;
		}
	}
}

void inbox_table_forget_all_(struct inbox *in, const struct parcel *p)
{
	inbox_table_forget_(in, p, PLACE_WHOLE);
	for (size_t i = 0; i < p->place_count; i++)
		inbox_table_forget_(in, p, (uint32_t)i);
}

bool inbox_table_find_(const struct inbox *in, const struct statx *stx,
		       uint8_t key[static PARCEL_KEY_LEN], uint32_t *entry)
{
	uint64_t dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	bool has_btime = stx->stx_mask & STATX_BTIME;

	if (!in->table)
		return false;
	for (const struct node *n = *bucket_of(in->table, stx->stx_ino); n;
	     n = n->next) {
		if (n->ino != stx->stx_ino || n->dev != dev)
			continue;
		if (has_btime && (n->btime_s != stx->stx_btime.tv_sec ||
				  n->btime_ns != stx->stx_btime.tv_nsec))
			continue;
		memcpy(key, n->key, PARCEL_KEY_LEN);
		*entry = n->entry;
		return true;
	}
	return false;
}

void inbox_table_free_(struct inbox *in)
{
	if (!in->table)
		return;
	for (size_t i = 0; i <= in->table->mask; i++)
		while (in->table->bucket[i]) {
			struct node *n = in->table->bucket[i];

			in->table->bucket[i] = n->next;
			free(n);
		}
	free(in->table);
	in->table = NULL;
	atomic_store(&in->table_count, 0);
}
