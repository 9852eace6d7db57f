/* What the inbox says of itself: sets, entries, words. */
#include "inbox_internal.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int inbox_error_(const struct parcel *p, uint32_t entry)
{
	if (p->revoked)
		return -EKEYREVOKED;
	if (inbox_expired_(p))
		return -EKEYEXPIRED;
	if (p->granted)
		return p->attached_now ? 0 : -ENOMEDIUM;
	if (p->damaged || (entry != PLACE_WHOLE && p->places[entry].damaged))
		return -EKEYREJECTED;
	return -ENOKEY;
}

bool inbox_has_entries(const struct inbox *in)
{
	return atomic_load_explicit(&in->table_count, memory_order_acquire) > 0;
}

int inbox_entry_of(struct inbox *in, const struct statx *stx,
		   struct inbox_entry *e)
{
	struct inbox_entry found = {0};
	const struct parcel *p;
	int err = -ENOENT;

	if (!inbox_has_entries(in))
		return -ENOENT;
	pthread_rwlock_rdlock(&in->lock);
	if (inbox_table_find_(in, stx, found.key, &found.entry)) {
		p = inbox_find_(in, found.key);
		if (p && (found.entry == PLACE_WHOLE ||
			  found.entry < p->place_count)) {
			found.granted = p->granted;
			found.error = inbox_error_(p, found.entry);
			memcpy(found.set_id, p->set_id, SET_ID_LEN);
			err = 0;
		}
	}
	pthread_rwlock_unlock(&in->lock);
	if (!err)
		*e = found;
	return err;
}

static bool any_damaged(const struct parcel *p)
{
	bool any = p->damaged;

	for (size_t i = 0; i < p->place_count; i++)
		any |= p->places[i].damaged;
	return any;
}

static enum inbox_state state_of(const struct parcel *p)
{
	if (p->custody)
		return inbox_expired_(p) ? INBOX_EXPIRED : INBOX_CUSTODY;
	if (p->revoked)
		return INBOX_REVOKED;
	if (inbox_expired_(p))
		return INBOX_EXPIRED;
	if (p->granted)
		return p->attached_now ? INBOX_GRANTED : INBOX_NOT_ATTACHED;
	if (any_damaged(p))
		return INBOX_DAMAGED;
	if (!inbox_known_(p))
		return INBOX_WAITING_CARD;
	if (!p->m)
		return INBOX_WAITING_MANIFEST;
	if (__builtin_popcount(p->have_mask) < p->m->k)
		return INBOX_WAITING_SHARES;
	return INBOX_WAITING_CONTENT;
}

/* For a sender's manifest: k, n, who has which share. */
static void tell_shares(const struct parcel *p, struct inbox_set *set)
{
	uint16_t direct = 0;

	set->k = p->m->k;
	set->n = p->m->n;
	set->have_mask = p->have_mask;
	for (unsigned i = 0; i < p->m->n; i++) {
		snprintf(set->holders[i], sizeof set->holders[i], "%s",
			 p->m->shares[i].holder);
		if (p->m->shares[i].direct)
			direct |= (uint16_t)(1U << i);
		else
			set->asked_mask |= (uint16_t)(1U << i);
	}
	set->ack_due = p->granted ||
		       (!p->revoked && inbox_known_(p) &&
			(direct & ~p->have_mask) == 0 &&
			(p->m->no_content || p->m->kind == MANIFEST_GRANT ||
			 p->content_have == p->content_need));
}

static void tell_manifest(const struct inbox *in, const struct parcel *p,
			  struct inbox_set *set)
{
	set->kind = p->m->kind;
	snprintf(set->name, sizeof set->name, "%s", p->m->name);
	snprintf(set->note, sizeof set->note, "%s", p->m->note);
	if (in->me)
		manifest_code(p->m, p->set_id, &p->sender, &in->me->pub,
			      set->code);
	set->entries = (uint32_t)p->m->entry_count;
	for (size_t i = 0; i < p->m->entry_count; i++)
		set->size += p->m->entries[i].size;
	tell_shares(p, set);
}

static void tell(const struct inbox *in, const struct parcel *p,
		 struct inbox_set *set)
{
	const char *slash = p->base ? strrchr(p->base, '/') : NULL;

	memset(set, 0, sizeof *set);
	memcpy(set->set_id, p->set_id, SET_ID_LEN);
	set->state = (uint8_t)state_of(p);
	set->index = p->custody;
	set->sender = p->sender;
	memcpy(set->sender_name, p->sender_name, sizeof set->sender_name);
	set->expires_s = p->expires_s;
	set->first_seen_s = p->first_seen_s;
	set->content_have = p->content_have;
	set->content_need = p->content_need;
	if (p->base && strlen(p->base) < sizeof set->path)
		strcpy(set->path, p->base);
	if (slash) /* withdrawn: the manifest is gone */
		snprintf(set->name, sizeof set->name, "%s", slash + 1);
	if (p->for_whom) {
		const struct contact *c =
			contacts_find(&in->contacts, &p->for_whom->pub);

		/* as we call them, where we do */
		snprintf(set->recipient_name, sizeof set->recipient_name, "%s",
			 c ? c->name : p->for_whom->name);
		set->ack_due = !inbox_expired_(p);
	}
	if (p->m)
		tell_manifest(in, p, set);
	else
		for (size_t i = 0; i < p->held_count; i++)
			if (p->held[i].kind == STATEMENT_SHARE &&
			    p->held[i].index)
				set->have_mask |=
					(uint16_t)(1U
						   << (p->held[i].index - 1));
}

/* Sets with one id (of several senders, or kept shares) are told apart by
 * their key, in the order of which the cursor counts them, from 1. */
static int compare(const struct parcel *a, const struct parcel *b)
{
	int order = memcmp(a->set_id, b->set_id, SET_ID_LEN);

	return order ? order : memcmp(a->key, b->key, PARCEL_KEY_LEN);
}

static unsigned ordinal(const struct inbox *in, const struct parcel *p)
{
	unsigned n = 1;

	for (const struct parcel *o = in->parcels; o; o = o->next)
		n += o != p && memcmp(o->set_id, p->set_id, SET_ID_LEN) == 0 &&
		     compare(o, p) < 0;
	return n;
}

static bool is_after(const struct inbox *in, const struct parcel *p,
		     const uint8_t *cursor, uint8_t cursor_index)
{
	int order = memcmp(p->set_id, cursor, SET_ID_LEN);

	return order > 0 || (order == 0 && ordinal(in, p) > cursor_index);
}

int inbox_next(struct inbox *in, uint8_t cursor[static SET_ID_LEN],
	       uint8_t *cursor_index, struct inbox_set *set)
{
	const struct parcel *next = NULL;

	pthread_rwlock_rdlock(&in->lock);
	for (const struct parcel *p = in->parcels; p; p = p->next)
		if (!p->released && is_after(in, p, cursor, *cursor_index) &&
		    (!next || compare(p, next) < 0))
			next = p;
	if (next) {
		tell(in, next, set);
		memcpy(cursor, next->set_id, SET_ID_LEN);
		*cursor_index = (uint8_t)ordinal(in, next);
	}
	pthread_rwlock_unlock(&in->lock);
	return next ? 0 : -ENODATA;
}

static const char *word_of(uint8_t state)
{
	static const char *const words[] = {
		[INBOX_WAITING_CARD] = "waiting for the sender's card",
		[INBOX_WAITING_MANIFEST] = "waiting for the manifest",
		[INBOX_WAITING_SHARES] = "waiting for shares",
		[INBOX_WAITING_CONTENT] = "waiting for the content",
		[INBOX_OPEN] = "open",
		[INBOX_GRANTED] = "granted",
		[INBOX_NOT_ATTACHED] = "granted, but not attached",
		[INBOX_REVOKED] = "revoked",
		[INBOX_EXPIRED] = "expired",
		[INBOX_CUSTODY] = "kept for somebody else",
		[INBOX_DAMAGED] = "damaged",
	};

	return words[state];
}

static void print_time(FILE *out, const char *what, uint64_t time_s)
{
	time_t t = (time_t)time_s;
	char text[32];
	struct tm utc;

	if (gmtime_r(&t, &utc) &&
	    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc))
		fprintf(out, "%s=%s\n", what, text);
}

/* "missing=2 carol, 3 dave" */
static void print_missing(FILE *out, const struct inbox_set *set)
{
	const char *before = "missing=";

	for (unsigned i = 0; i < set->n; i++) {
		if (set->have_mask & 1U << i)
			continue;
		fprintf(out, "%s%u%s%s", before, i + 1,
			set->holders[i][0] ? " " : "", set->holders[i]);
		before = ", ";
	}
	if (before[0] == ',')
		fputc('\n', out);
}

static void print_set(FILE *out, const struct inbox_set *set)
{
	char id[2 * SET_ID_LEN + 1], from[IDENTITY_FINGERPRINT_LEN + 1];

	hex_encode(set->set_id, SET_ID_LEN, id);
	identity_fingerprint(&set->sender, from);
	fprintf(out, "state=%s\nset=%s\n", word_of(set->state), id);
	if (set->sender_name[0])
		fprintf(out, "from=%s\n", set->sender_name);
	fprintf(out, "fingerprint=%s\n", from);
	if (set->k) {
		fprintf(out, "have=%d\nneed=%u\nof=%u\n",
			__builtin_popcount(set->have_mask), set->k, set->n);
		if (set->state == INBOX_WAITING_CARD ||
		    set->state == INBOX_WAITING_SHARES)
			print_missing(out, set);
		fprintf(out, "code=%s\n", set->code);
	}
	if (set->content_need)
		fprintf(out, "content=%llu/%llu\n",
			(unsigned long long)set->content_have,
			(unsigned long long)set->content_need);
	if (set->expires_s)
		print_time(out, "expires", set->expires_s);
	if (set->first_seen_s)
		print_time(out, "since", set->first_seen_s);
}

int inbox_describe(struct inbox *in, const struct inbox_entry *e, char **text)
{
	CLEANUP_FREE struct inbox_set *set = calloc(1, sizeof *set);
	const struct parcel *p;
	char *buf = NULL;
	size_t len = 0;
	FILE *out;

	if (!set)
		return -ENOMEM;
	pthread_rwlock_rdlock(&in->lock);
	p = inbox_find_(in, e->key);
	if (p)
		tell(in, p, set);
	pthread_rwlock_unlock(&in->lock);
	if (!p)
		return -ENOENT;
	out = open_memstream(&buf, &len);
	if (!out)
		return -ENOMEM;
	print_set(out, set);
	if (fclose(out) != 0) {
		free(buf);
		return -ENOMEM;
	}
	*text = buf;
	return 0;
}
