/*
 * Granted files: the key came, the file stays where its owner has it. In this
 * order: <key>.grant with manifest and key is durable; the log says so; the
 * spool is cleaned.
 */
#include "inbox_internal.h"

#include <errno.h>
#include <string.h>

static bool replaces_any(const struct parcel *p)
{
	return p->m && p->m->kind == MANIFEST_GRANT &&
	       !sodium_is_zero(p->m->replaces, SET_ID_LEN);
}

static struct parcel *replaced_by(const struct inbox *in,
				  const struct parcel *p)
{
	uint8_t key[PARCEL_KEY_LEN];
	struct parcel *old;

	if (!replaces_any(p))
		return NULL;
	inbox_key_(p->m->replaces, &p->sender, 0, key);
	old = inbox_find_(in, key);
	/* of what was withdrawn the manifest is gone: it stays as it is */
	if (!old || (old->m ? old->m->kind != MANIFEST_GRANT : old->recorded))
		return NULL;
	return old;
}

/*
 * What p replaces, and what that does, which may all have come at once: the
 * next one that fits. A sender may have made a ring of them.
 */
static struct parcel *next_before(const struct inbox *in,
				  const struct parcel *p, bool with_place)
{
	struct parcel *old = replaced_by(in, p);

	for (unsigned n = 0; n < INBOX_SETS_PER_SENDER; n++) {
		if (!old || old == p)
			return NULL;
		if (!with_place || (old->base && !old->numbered))
			return old;
		old = replaced_by(in, old);
	}
	return NULL;
}

bool inbox_waits_for_stub_(const struct inbox *in, const struct parcel *p)
{
	return !p->base && next_before(in, p, true);
}

bool inbox_is_superseded_(const struct inbox *in, const struct parcel *p)
{
	if (p->m->kind != MANIFEST_GRANT)
		return false;
	for (const struct parcel *q = in->parcels; q; q = q->next)
		if (q != p && replaces_any(q) && !q->revoked && !q->damaged &&
		    !inbox_expired_(q) &&
		    memcmp(q->m->replaces, p->set_id, SET_ID_LEN) == 0 &&
		    memcmp(&q->sender, &p->sender, sizeof q->sender) == 0)
			return true;
	return false;
}

static bool has_file(const struct parcel *p, const uint8_t *file_id)
{
	for (size_t i = 0; i < p->m->entry_count; i++)
		if (p->m->entries[i].type == MANIFEST_FILE &&
		    memcmp(p->m->entries[i].file_id, file_id, FILE_ID_LEN) == 0)
			return true;
	return false;
}

/*
 * Where an entry of p stands already: as the same file, or as one that the
 * owner put it in the place of, and that p does not have any more.
 */
static const struct place *place_before(const struct parcel *old,
					const struct parcel *p, size_t entry)
{
	const struct manifest_entry *want = &p->m->entries[entry];
	const struct place *of_name = NULL;

	if (want->type != MANIFEST_FILE)
		return NULL;
	for (size_t i = 0; i < old->place_count; i++) {
		const struct manifest_entry *e = &old->m->entries[i];

		if (e->type != MANIFEST_FILE ||
		    old->places[i].state != PLACE_STANDS)
			continue;
		if (memcmp(e->file_id, want->file_id, FILE_ID_LEN) == 0)
			return &old->places[i];
		if (strcmp(e->path, want->path) == 0 &&
		    !has_file(p, e->file_id))
			of_name = &old->places[i];
	}
	return of_name;
}

/* The new set's entries stand where the old one's stand. */
static int take_stubs(struct inbox *in, struct parcel *p,
		      const struct parcel *old)
{
	char *base = strdup(old->base);
	int err = base ? inbox_make_places_(in, p) : -ENOMEM;

	if (err) {
		free(base);
		return err;
	}
	inbox_write_begin_(in);
	free(p->base);
	p->base = base;
	for (size_t i = 0; i < p->place_count; i++) {
		const struct place *from = place_before(old, p, i);

		if (!from)
			continue;
		p->places[i] = *from;
		p->places[i].moved_to = NULL;
		memset(p->places[i].digest, 0, sizeof p->places[i].digest);
	}
	inbox_write_end_(in);
	return 0;
}

static bool has_place(const struct parcel *p, const uint8_t *id)
{
	for (size_t i = 0; i < p->place_count; i++)
		if (memcmp(p->places[i].id, id, FILE_ID_LEN) == 0)
			return true;
	return false;
}

/* What comes late of the set that p replaces is of no use any more. */
static int log_replaced(struct inbox *in, const struct parcel *p)
{
	const struct log_line l = {.event = VLOG_WITHDRAWN,
				   .detail = VLOG_REPLACED,
				   .set_id = p->m ? p->m->replaces : NULL,
				   .peer = &p->sender,
				   .text = p->m ? p->m->name : ""};

	return replaces_any(p) ? inbox_log_once_(in, &l) : 0;
}

/* The old set's record goes; stubs that the new one did not take, too. */
static int forget_one(struct inbox *in, struct parcel *p, struct parcel *old)
{
	int err = inbox_unplace_(in, old, PLACE_WHOLE);

	for (size_t i = 0; i < old->place_count && !err; i++)
		if (!has_place(p, old->places[i].id))
			err = inbox_unplace_(in, old, (uint32_t)i);
	if (!err)
		inbox_finish_(in, old);
	return err;
}

static int forget_replaced(struct inbox *in, struct parcel *p)
{
	struct parcel *old = next_before(in, p, false), *before;
	int err = log_replaced(in, p);

	if (!old)
		return err;
	for (; old && !err; old = before) {
		before = next_before(in, old, false);
		if (before == p)
			before = NULL;
		err = log_replaced(in, old);
		if (!err)
			err = forget_one(in, p, old);
	}
	return err ? err : inbox_enter_table_(in, p);
}

static void tell_all(struct inbox *in, const struct parcel *p)
{
	for (size_t i = 0; i < p->place_count; i++) {
		CLEANUP_FREE char *path =
			p->places[i].state == PLACE_STANDS
				? inbox_path_of_(p, (uint32_t)i)
				: NULL;

		if (path)
			inbox_changed_(in, path);
	}
}

/* What follows once the record is durable; done again after a crash. */
static int settle_grant(struct inbox *in, struct parcel *p)
{
	int err = inbox_log_of_(in, p, VLOG_OPENED, 0);
	char name[SPOOL_NAME_MAX];

	if (err)
		return err;
	inbox_key_name_(p, RECORD_SET, name);
	unlinkat(in->dir_fd, name, 0);
	while (p->held_count) {
		inbox_spool_remove_(in, p->held[p->held_count - 1].hash,
				    ".env");
		inbox_unhold_(in, p, p->held_count - 1);
	}
	if (!sodium_is_zero(p->manifest_hash, SPOOL_HASH_LEN))
		inbox_spool_remove_(in, p->manifest_hash, ".env");
	inbox_write_begin_(in);
	memset(p->manifest_hash, 0, SPOOL_HASH_LEN);
	inbox_write_end_(in);
	return forget_replaced(in, p);
}

/* Does it stand where the old one stands, since the last time? */
static bool has_stub_of(const struct parcel *p, const struct parcel *old)
{
	const struct place *from = place_before(old, p, 0);

	return p->place_count > 0 && from &&
	       memcmp(from->id, p->places[0].id, FILE_ID_LEN) == 0;
}

/* It may have been shown, locked, before it was known what it replaces. */
static int take_place(struct inbox *in, struct parcel *p)
{
	struct parcel *old = next_before(in, p, true);
	int err = 0;

	if (!old || (p->base && (p->m->folder || has_stub_of(p, old))))
		return 0;
	if (p->base)
		err = inbox_unplace_(in, p, 0);
	return err ? err : take_stubs(in, p, old);
}

int inbox_grant_(struct inbox *in, struct parcel *p, uint8_t **secret)
{
	int err = take_place(in, p);

	if (err)
		return err;
	inbox_write_begin_(in);
	p->secret = TAKE_PTR(*secret);
	p->granted = true;
	inbox_write_end_(in);
	err = inbox_record_write_(in, p);
	if (err) {
		inbox_write_begin_(in);
		p->granted = false;
		*secret = TAKE_PTR(p->secret);
		inbox_write_end_(in);
		return err;
	}
	err = settle_grant(in, p);
	tell_all(in, p);
	return err;
}

static int note_revocation(struct inbox *in, struct parcel *p)
{
	int err;

	inbox_write_begin_(in);
	p->revoked = true;
	inbox_write_end_(in);
	err = inbox_record_write_(in, p);
	if (!err)
		err = inbox_log_of_(in, p, VLOG_KEY_REVOKED, 0);
	if (!err)
		tell_all(in, p);
	return err;
}

/* Stubs that are gone without having been removed here come back. */
static int restore_stubs(struct inbox *in, struct parcel *p)
{
	if (!p->base)
		return inbox_place_(in, p);
	for (size_t i = 0; i < p->place_count; i++) {
		int err;

		if (p->m->entries[i].type != MANIFEST_FILE ||
		    p->places[i].state != PLACE_NONE)
			continue;
		err = inbox_place_again_(in, p, (uint32_t)i);
		if (err)
			return err;
	}
	return 0;
}

static bool is_wanted(const struct parcel *p)
{
	for (size_t i = 0; i < p->place_count; i++)
		if (p->m->entries[i].type == MANIFEST_FILE &&
		    p->places[i].state != PLACE_DECLINED)
			return true;
	return false;
}

int inbox_advance_grant_(struct inbox *in, struct parcel *p, bool *dropped)
{
	bool taken_back = p->revoked;
	int err;

	if (!is_wanted(p)) {
		err = inbox_log_declined_(in, p);
		if (err)
			return err;
		inbox_finish_(in, p);
		*dropped = true;
		return 0;
	}
	for (size_t i = 0; i < p->held_count; i++)
		taken_back |= p->held[i].kind == STATEMENT_REVOKE;
	if (taken_back && !inbox_is_logged_(in, p, VLOG_KEY_REVOKED)) {
		err = note_revocation(in, p);
		if (err)
			return err;
	}
	if (inbox_expired_(p) && !inbox_is_logged_(in, p, VLOG_EXPIRED)) {
		err = inbox_log_of_(in, p, VLOG_EXPIRED, 0);
		if (err)
			return err;
		tell_all(in, p);
	}
	err = restore_stubs(in, p);
	if (!err)
		err = settle_grant(in, p);
	if (!err && p->dirty)
		err = inbox_record_write_(in, p);
	return err;
}

void inbox_note_header(struct inbox *in, const struct inbox_entry *e,
		       const uint8_t digest[static 32])
{
	struct parcel *p;

	inbox_write_begin_(in);
	p = inbox_find_(in, e->key);
	if (p && p->granted && e->entry < p->place_count &&
	    memcmp(p->places[e->entry].digest, digest, 32) != 0) {
		memcpy(p->places[e->entry].digest, digest, 32);
		p->dirty = true;
	}
	inbox_write_end_(in);
}

void inbox_note_revoked(struct inbox *in, const struct inbox_entry *e)
{
	struct parcel *p;

	inbox_write_begin_(in);
	p = inbox_find_(in, e->key);
	if (p && p->granted && !p->revoked) {
		p->revoked = true;
		p->dirty = true;
	}
	inbox_write_end_(in);
}
