#include "inbox_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

uint64_t inbox_now_(void)
{
	return (uint64_t)time(NULL);
}

void inbox_key_(const uint8_t set_id[static SET_ID_LEN],
		const struct identity_public *sender, uint8_t custody,
		uint8_t key[static PARCEL_KEY_LEN])
{
	crypto_generichash_state h;

	/* Two senders that use one set id never meet. */
	crypto_generichash_init(&h, NULL, 0, PARCEL_KEY_LEN);
	crypto_generichash_update(&h, set_id, SET_ID_LEN);
	crypto_generichash_update(&h, sender->sign, sizeof sender->sign);
	crypto_generichash_update(&h, sender->box, sizeof sender->box);
	crypto_generichash_update(&h, &custody, 1);
	crypto_generichash_final(&h, key, PARCEL_KEY_LEN);
}

struct parcel *inbox_find_(const struct inbox *in,
			   const uint8_t key[static PARCEL_KEY_LEN])
{
	for (struct parcel *p = in->parcels; p; p = p->next)
		if (memcmp(p->key, key, PARCEL_KEY_LEN) == 0)
			return p;
	return NULL;
}

struct parcel *inbox_parcel_new_(const uint8_t *set_id,
				 const struct identity_public *from,
				 uint8_t custody)
{
	struct parcel *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	memcpy(p->set_id, set_id, SET_ID_LEN);
	p->sender = *from;
	p->custody = custody;
	p->first_seen_s = inbox_now_();
	inbox_key_(set_id, from, custody, p->key);
	return p;
}

void inbox_parcel_free_(struct parcel *p)
{
	if (!p)
		return;
	manifest_free(p->m);
	for (size_t i = 0; i < p->place_count; i++)
		free(p->places[i].moved_to);
	free(p->places);
	free(p->held);
	free(p->base);
	free(p->attached);
	free(p->for_whom);
	secret_free(p->secret);
	free(p);
}

void inbox_adopt_(struct inbox *in, struct parcel *p)
{
	inbox_write_begin_(in);
	p->next = in->parcels;
	in->parcels = p;
	inbox_write_end_(in);
}

void inbox_unlink_(struct inbox *in, struct parcel *p)
{
	struct parcel **at = &in->parcels;

	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	inbox_table_forget_all_(in, p);
}

void inbox_drop_(struct inbox *in, struct parcel *p)
{
	inbox_write_begin_(in);
	inbox_unlink_(in, p);
	inbox_write_end_(in);
	inbox_parcel_free_(p);
}

int inbox_hold_(struct inbox *in, struct parcel *p, const struct held *h)
{
	struct held *list;

	inbox_write_begin_(in);
	list = reallocarray(p->held, p->held_count + 1, sizeof *list);
	if (list) {
		p->held = list;
		list[p->held_count++] = *h;
	}
	inbox_write_end_(in);
	return list ? 0 : -ENOMEM;
}

void inbox_unhold_(struct inbox *in, struct parcel *p, size_t index)
{
	inbox_write_begin_(in);
	p->held_count--;
	memmove(p->held + index, p->held + index + 1,
		(p->held_count - index) * sizeof *p->held);
	inbox_write_end_(in);
}

int inbox_make_places_(struct inbox *in, struct parcel *p)
{
	size_t count = p->m->entry_count;
	struct place *places;

	if (p->places && p->place_count == count)
		return 0;
	places = calloc(count ? count : 1, sizeof *places);
	if (!places)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		randombytes_buf(places[i].id, FILE_ID_LEN);
		if (p->m->entries[i].type == MANIFEST_DIR)
			places[i].state = PLACE_DONE;
	}
	inbox_write_begin_(in);
	free(p->places);
	p->places = places;
	p->place_count = count;
	randombytes_buf(p->whole.id, FILE_ID_LEN);
	inbox_write_end_(in);
	return 0;
}
