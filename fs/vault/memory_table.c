/* A hash table. Its keys are random, or hashes that nobody else can make. */
#include "memory_internal.h"

#include <errno.h>
#include <string.h>

enum { ROOM_FIRST = 64 };

static struct memory_entry **bucket(const struct memory_table *t,
				    const uint8_t *key)
{
	uint64_t hash;

	memcpy(&hash, key, sizeof hash);
	return &t->buckets[hash & (t->room - 1)];
}

void memory_table_fini_(struct memory_table *t,
			void (*free_one)(struct memory_entry *e))
{
	for (size_t i = 0; i < t->room; i++)
		while (t->buckets[i]) {
			struct memory_entry *e = t->buckets[i];

			t->buckets[i] = e->next;
			free_one(e);
		}
	free(t->buckets);
	*t = (struct memory_table){0};
}

struct memory_entry *memory_table_find_(const struct memory_table *t,
					const uint8_t *key)
{
	struct memory_entry *e = t->room ? *bucket(t, key) : NULL;

	while (e && memcmp(e->key, key, MEMORY_KEY_LEN) != 0)
		e = e->next;
	return e;
}

static void link_in(struct memory_table *t, struct memory_entry *e)
{
	struct memory_entry **at = bucket(t, e->key);

	e->next = *at;
	*at = e;
}

/* Where that cannot be had, the lists in it become longer. */
static void grow(struct memory_table *t)
{
	struct memory_table wider = {.room = t->room ? 2 * t->room
						     : ROOM_FIRST};

	wider.buckets = calloc(wider.room, sizeof *wider.buckets);
	if (!wider.buckets)
		return;
	for (size_t i = 0; i < t->room; i++)
		while (t->buckets[i]) {
			struct memory_entry *e = t->buckets[i];

			t->buckets[i] = e->next;
			link_in(&wider, e);
		}
	free(t->buckets);
	wider.count = t->count;
	*t = wider;
}

int memory_table_add_(struct memory_table *t, struct memory_entry *e)
{
	if (t->count >= t->room)
		grow(t);
	if (!t->room)
		return -ENOMEM;
	link_in(t, e);
	t->count++;
	return 0;
}

void memory_table_remove_(struct memory_table *t, struct memory_entry *e)
{
	struct memory_entry **at = bucket(t, e->key);

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	t->count--;
}

void memory_table_each_(struct memory_table *t,
			void (*fn)(void *arg, struct memory_entry *e),
			void *arg)
{
	for (size_t i = 0; i < t->room; i++)
		for (struct memory_entry *e = t->buckets[i], *next; e;
		     e = next) {
			next = e->next;
			fn(arg, e);
		}
}
