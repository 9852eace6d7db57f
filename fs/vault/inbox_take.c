/* Envelopes that came: unsealed, verified, given to the set they are of. */
#include "inbox_internal.h"

#include "log.h"

#include <errno.h>
#include <string.h>

enum { CLOCKS_DIFFER_MAX_S = 86400 };

/* How many sets of a sender, or of all unknown ones, wait to be opened? */
static bool has_room(const struct inbox *in, const struct envelope *e)
{
	bool known = contacts_find(&in->contacts, &e->st.sender);
	size_t count = 0;

	for (const struct parcel *p = in->parcels; p; p = p->next) {
		if (p->granted || p->revoked)
			continue;
		if (known ? memcmp(&p->sender, &e->st.sender,
				   sizeof p->sender) == 0
			  : !inbox_known_(p))
			count++;
	}
	return count <
	       (size_t)(known ? INBOX_SETS_PER_SENDER : INBOX_SETS_UNKNOWN);
}

static void name_sender(const struct inbox *in, struct parcel *p)
{
	const struct contact *c = contacts_find(&in->contacts, &p->sender);

	if (c)
		memcpy(p->sender_name, c->name, sizeof p->sender_name);
}

/* Somebody else's set of this id, whose manifest is here. */
static const struct parcel *rival_of(const struct inbox *in,
				     const struct envelope *e)
{
	for (const struct parcel *p = in->parcels; p; p = p->next)
		if (p->m && !p->custody &&
		    memcmp(p->set_id, e->st.set_id, SET_ID_LEN) == 0 &&
		    memcmp(&p->sender, &e->st.sender, sizeof p->sender) != 0)
			return p;
	return NULL;
}

static bool is_contact(const struct inbox *in, const struct envelope *e)
{
	return contacts_find(&in->contacts, &e->st.sender);
}

/*
 * Who keeps a share of a set knows its id, and could announce one of that id
 * before its sender does: what contacts send waits for a manifest of theirs.
 */
static int note_foreign(struct inbox *in, struct parcel *p)
{
	int err;

	if (p->foreign)
		return 0;
	err = inbox_refuse_of_(in, p, p->held_count ? p->held[0].index : 0,
			       "of a set that somebody else sent; it waits "
			       "for a manifest by the same hand");
	p->foreign = !err;
	return err;
}

static void drop_with_held(struct inbox *in, struct parcel *p)
{
	for (size_t i = 0; i < p->held_count; i++)
		inbox_spool_remove_(in, p->held[i].hash, ".env");
	inbox_drop_(in, p);
}

/*
 * Nothing is shown of shares without a manifest, so nobody could remove them:
 * of strangers, the oldest ones make room for a set that is announced.
 */
static int make_room(struct inbox *in, const struct envelope *e)
{
	struct parcel *oldest = NULL;
	int err;

	if (is_contact(in, e) || e->st.kind != STATEMENT_MANIFEST)
		return 0;
	for (struct parcel *p = in->parcels; p; p = p->next)
		if (!inbox_known_(p) && !p->m && !p->recorded && !p->custody)
			oldest = p;
	if (!oldest)
		return 0;
	err = inbox_refuse_of_(in, oldest, 0, "too many sets wait already");
	if (!err)
		drop_with_held(in, oldest);
	return err;
}

/* *keep says whether the envelope stays in the spool. */
static int refuse(struct inbox *in, const struct envelope *e, bool *keep,
		  const char *why)
{
	*keep = false;
	return inbox_refuse_(in, e, "%s", why);
}

/* Of what comes again, or late: repeated commands do that, and so does a
 * network. */
static int pass_over(struct inbox *in, const struct envelope *e, bool *keep,
		     const char *why)
{
	*keep = false;
	return inbox_pass_over_(in, e->st.set_id, &e->st.sender, e->st.index,
				"%s", why);
}

/*
 * What a crash left in the spool after the record was written. The manifest of
 * a withdrawn set is needed once more, to find its parts.
 */
static bool is_leftover(const struct parcel *p, const struct envelope *e)
{
	if (p->granted)
		return e->st.kind != STATEMENT_REVOKE;
	return p->revoked && e->st.kind != STATEMENT_MANIFEST;
}

/* Delivered anew after a crash: what it names has no use any more, either. */
static int forget_parts_of(struct inbox *in, const struct envelope *e)
{
	struct manifest *m = NULL;
	int err = manifest_parse(e->payload, e->payload_len, &m);

	if (err)
		return err == -ENOMEM ? err : 0;
	inbox_parts_done_(in, m);
	manifest_free(m);
	return 0;
}

/* Shares that nobody needed any more are nothing suspicious. */
static const char *why_finished(const struct inbox *in,
				const struct envelope *e)
{
	const struct log_line before = {.event = e->st.kind == STATEMENT_CUSTODY
							 ? VLOG_CUSTODY
							 : VLOG_RECEIVED,
					.index = e->st.index,
					.set_id = e->st.set_id,
					.peer = &e->st.sender};

	if (e->st.kind == STATEMENT_REVOKE)
		return "too late: of a set that is over";
	return inbox_has_logged_(in, &before)
		       ? "of a set that was finished before"
		       : "it came after the set had ended";
}

static int refuse_finished(struct inbox *in, const struct parcel *p,
			   const struct envelope *e, bool *keep)
{
	int err = 0;

	if (e->st.kind == STATEMENT_MANIFEST)
		err = forget_parts_of(in, e);
	*keep = false;
	/* messages overtake one another: nobody is to blame */
	if (!err && inbox_is_replaced_(in, p))
		return 0;
	return err ? err : pass_over(in, e, keep, why_finished(in, e));
}

/*
 * The set that an envelope is of, made when it is new. NULL in *out: refused
 * and logged.
 */
static int parcel_for(struct inbox *in, const struct envelope *e,
		      struct parcel **out, bool *keep)
{
	uint8_t custody = e->st.kind == STATEMENT_CUSTODY ? e->st.index : 0;
	uint8_t key[PARCEL_KEY_LEN];
	bool foreign = false;
	struct parcel *p;
	int err;

	*out = NULL;
	inbox_key_(e->st.set_id, &e->st.sender, custody, key);
	p = inbox_find_(in, key);
	if (p && !in->looked && is_leftover(p, e)) {
		*keep = false;
		return 0;
	}
	if (p && in->looked && p->revoked && !p->granted &&
	    inbox_is_finished_(in, p))
		return pass_over(in, e, keep, "of a set that was withdrawn");
	if (p) {
		*out = p;
		return 0;
	}
	if (e->st.kind != STATEMENT_MANIFEST && !custody)
		foreign = rival_of(in, e);
	if (foreign && !is_contact(in, e))
		return refuse(in, e, keep, "of a set that somebody else sent");
	p = inbox_parcel_new_(e->st.set_id, &e->st.sender, custody);
	if (!p)
		return -ENOMEM;
	name_sender(in, p);
	if (inbox_is_finished_(in, p)) {
		err = refuse_finished(in, p, e, keep);
		inbox_parcel_free_(p);
		return err;
	}
	err = has_room(in, e) ? 0 : make_room(in, e);
	if (err) {
		inbox_parcel_free_(p);
		return err;
	}
	if (!has_room(in, e)) {
		inbox_parcel_free_(p);
		return refuse(in, e, keep, "too many sets wait already");
	}
	inbox_adopt_(in, p);
	*out = p;
	return foreign ? note_foreign(in, p) : 0;
}

int inbox_refuse_foreign_(struct inbox *in, const struct parcel *owner)
{
	struct parcel *p, *next;

	for (p = in->parcels; p; p = next) {
		next = p->next;
		if (p == owner || p->m || p->recorded || p->custody ||
		    memcmp(p->set_id, owner->set_id, SET_ID_LEN) != 0)
			continue;
		if (inbox_known_(p)) {
			int err = note_foreign(in, p);

			if (err)
				return err;
			continue;
		}
		for (size_t i = 0; i < p->held_count; i++) {
			int err = inbox_refuse_of_(
				in, p, p->held[i].index,
				"of a set that somebody else sent");

			if (err)
				return err;
		}
		drop_with_held(in, p);
	}
	return 0;
}

static void adopt_manifest(struct inbox *in, struct parcel *p,
			   struct manifest *m, const uint8_t *hash)
{
	inbox_write_begin_(in);
	p->m = m;
	p->expires_s = m->expires_s;
	memcpy(p->manifest_hash, hash, SPOOL_HASH_LEN);
	inbox_write_end_(in);
}

static int take_manifest(struct inbox *in, struct parcel *p,
			 const struct envelope *e, const uint8_t *hash,
			 bool *keep)
{
	struct log_line l = {.event = VLOG_RECEIVED,
			     .set_id = p->set_id,
			     .peer = &p->sender};
	struct manifest *m = NULL;
	int err;

	if (p->m)
		return pass_over(in, e, keep, "a manifest that came again");
	err = manifest_parse(e->payload, e->payload_len, &m);
	if (err == -ENOMEM)
		return err;
	if (err)
		return refuse(in, e, keep,
			      err == -EPROTONOSUPPORT
				      ? "a manifest of a newer version"
				      : "a manifest that cannot be");
	/* does it go with the record that is there from before? */
	if (p->places && p->place_count != m->entry_count) {
		manifest_free(m);
		return refuse(in, e, keep, "a manifest unlike the one before");
	}
	l.text = m->name;
	err = inbox_log_once_(in, &l);
	if (err)
		manifest_free(m);
	else
		adopt_manifest(in, p, m, hash);
	return err;
}

static int take_held(struct inbox *in, struct parcel *p,
		     const struct envelope *e, const uint8_t *hash, bool *keep)
{
	struct held h = {.kind = e->st.kind, .index = e->st.index};
	struct slip39_share share;
	uint8_t reason;
	int err;

	if (e->st.kind == STATEMENT_SHARE) {
		err = message_parse_share(e, &share);
		sodium_memzero(&share, sizeof share);
	} else {
		err = message_parse_revoke(e, &reason);
	}
	if (err)
		return refuse(in, e, keep, "a message that cannot be");
	if (p->granted && e->st.kind == STATEMENT_SHARE)
		return pass_over(in, e, keep, "a share that came again");
	if (p->held_count >= INBOX_ENVELOPES_PER_SET)
		return refuse(in, e, keep, "too many messages about one set");
	memcpy(h.hash, hash, sizeof h.hash);
	return inbox_hold_(in, p, &h);
}

/* Acknowledgements overtake one another: does the log have what follows on
 * this one already? */
static bool is_old_news(const struct inbox *in, const struct log_line *l)
{
	static const uint8_t next[] = {
		[ACK_RECEIVED] = ACK_OPENED, [ACK_CUSTODY] = ACK_RELEASED};
	struct log_line later = *l;

	later.detail = l->detail < sizeof next ? next[l->detail] : 0;
	return later.detail && inbox_has_logged_(in, &later);
}

static int take_ack(struct inbox *in, const struct envelope *e, bool *keep)
{
	struct message_ack ack;
	struct log_line l = {.event = VLOG_ACKNOWLEDGED,
			     .set_id = e->st.set_id,
			     .peer = &e->st.sender,
			     .text = ""};

	*keep = false;
	if (message_parse_ack(e, &ack))
		return inbox_refuse_(in, e, "a message that cannot be");
	if (!is_contact(in, e))
		return inbox_refuse_(in, e, "an acknowledgement by a stranger");
	/* custodians are not in the log: tgshare knows who has which share */
	if (ack.index ? !inbox_was_sent_to_any_(in, e->st.set_id)
		      : !inbox_was_sent_(in, e->st.set_id, &e->st.sender))
		return inbox_refuse_(in, e,
				     "an acknowledgement of what they were not "
				     "sent");
	l.index = ack.index;
	l.detail = ack.state;
	return is_old_news(in, &l) ? 0 : inbox_log_once_(in, &l);
}

static int take_custody(struct inbox *in, struct parcel *p,
			const struct envelope *e, const uint8_t *hash,
			bool *keep)
{
	struct held h = {.kind = e->st.kind, .index = e->st.index};
	struct message_custody c;
	struct log_line l = {.event = VLOG_CUSTODY,
			     .set_id = p->set_id,
			     .peer = &p->sender,
			     .index = e->st.index};
	struct card *card;
	int err;

	if (p->for_whom)
		return pass_over(in, e, keep,
				 "a share to keep that came again");
	if (message_parse_custody(e, &c))
		return refuse(in, e, keep, "a message that cannot be");
	l.text = c.recipient.name;
	err = inbox_log_once_(in, &l);
	if (err)
		return err;
	card = malloc(sizeof *card);
	if (!card)
		return -ENOMEM;
	*card = c.recipient;
	inbox_write_begin_(in);
	p->for_whom = card;
	p->expires_s = c.expires_s;
	inbox_write_end_(in);
	memcpy(h.hash, hash, sizeof h.hash);
	return inbox_hold_(in, p, &h);
}

/* Was this set, for us, opened or declined or withdrawn before? */
static bool is_over(const struct inbox *in, const struct envelope *e)
{
	struct parcel like = {.sender = e->st.sender};

	memcpy(like.set_id, e->st.set_id, SET_ID_LEN);
	return inbox_is_finished_(in, &like);
}

/* Is nothing known of the set but, at most, that others hold shares of it? */
static bool is_unseen(const struct parcel *p)
{
	return !p || (!p->m && !p->recorded);
}

/* Every share of the set that waits here: kept for somebody, or for us. */
static void drop_unseen(struct inbox *in, const struct envelope *e)
{
	struct parcel *p, *next;

	for (p = in->parcels; p; p = next) {
		next = p->next;
		if (memcmp(p->set_id, e->st.set_id, SET_ID_LEN) != 0 ||
		    memcmp(&p->sender, &e->st.sender, sizeof p->sender) != 0 ||
		    !is_unseen(p))
			continue;
		drop_with_held(in, p);
	}
}

/*
 * A sender withdraws a set. What is not shown yet will not be: the log
 * remembers, and the shares go. *done: that is all.
 */
static int take_withdrawal(struct inbox *in, const struct envelope *e,
			   bool *keep, bool *done)
{
	struct log_line l = {.event = VLOG_WITHDRAWN,
			     .set_id = e->st.set_id,
			     .peer = &e->st.sender,
			     .text = ""};
	uint8_t key[PARCEL_KEY_LEN], reason;
	struct parcel *p;
	int err;

	*done = true;
	if (message_parse_revoke(e, &reason))
		return refuse(in, e, keep, "a message that cannot be");
	inbox_key_(e->st.set_id, &e->st.sender, 0, key);
	p = inbox_find_(in, key);
	if (!p && rival_of(in, e)) {
		*done = !is_contact(in, e);
		return *done ? refuse(in, e, keep,
				      "of a set that somebody else sent")
			     : 0;
	}
	if (!is_contact(in, e)) {
		*done = !p;
		*keep = p;
		/* strangers fill no log */
		return p ? 0
			 : inbox_refuse_(in, NULL,
					 "a stranger withdraws what is not "
					 "here");
	}
	if (is_unseen(p) && !is_over(in, e)) {
		*keep = false;
		err = inbox_log_once_(in, &l);
		if (!err)
			drop_unseen(in, e);
		return err;
	}
	*done = false;
	return 0;
}

static int take_known_kind(struct inbox *in, const struct envelope *e,
			   const uint8_t *hash, bool *keep)
{
	struct parcel *p = NULL;
	int err;

	if (e->st.created_s > inbox_now_() + CLOCKS_DIFFER_MAX_S)
		return refuse(in, e, keep, "written in the future");
	if (e->st.kind == STATEMENT_ACK)
		return take_ack(in, e, keep);
	if (e->st.kind == STATEMENT_CUSTODY &&
	    (e->st.index < 1 || e->st.index > SLIP39_SHARES_MAX))
		return refuse(in, e, keep, "a message that cannot be");
	if (e->st.kind == STATEMENT_REVOKE) {
		bool done = false;

		err = take_withdrawal(in, e, keep, &done);
		if (err || done)
			return err;
	}
	err = parcel_for(in, e, &p, keep);
	if (err || !p)
		return err;
	if (e->st.kind == STATEMENT_MANIFEST)
		err = take_manifest(in, p, e, hash, keep);
	else if (e->st.kind == STATEMENT_CUSTODY)
		err = take_custody(in, p, e, hash, keep);
	else
		err = take_held(in, p, e, hash, keep);
	/* made for a message that was refused */
	if (!p->m && !p->held_count && !p->recorded)
		inbox_drop_(in, p);
	return err;
}

static int take(struct inbox *in, const struct envelope *e, const uint8_t *hash,
		bool *keep)
{
	switch (e->st.kind) {
	case STATEMENT_SHARE:
	case STATEMENT_MANIFEST:
	case STATEMENT_ACK:
	case STATEMENT_REVOKE:
	case STATEMENT_CUSTODY:
		return take_known_kind(in, e, hash, keep);
	default:
		*keep = false; /* of a version to come */
		return 0;
	}
}

static int take_one(struct inbox *in, const uint8_t *hash)
{
	struct envelope e = {0};
	bool keep = true;
	int err = inbox_spool_envelope_(in, hash, &e);

	if (err == -ENOENT)
		return 0;
	if (err == -EPROTONOSUPPORT || err == -EBADMSG) {
		err = inbox_refuse_(in, NULL,
				    err == -EBADMSG
					    ? "a message that is not for us, "
					      "or altered"
					    : "a message of a newer version");
		keep = false;
	} else if (!err) {
		err = take(in, &e, hash, &keep);
		envelope_fini(&e);
	}
	/* What refused it is durable in the log; what is kept, stays. */
	if (!err && !keep)
		inbox_spool_remove_(in, hash, ".env");
	return err;
}

static bool is_taken(const struct inbox *in, const uint8_t *hash)
{
	for (const struct parcel *p = in->parcels; p; p = p->next) {
		if (memcmp(p->manifest_hash, hash, SPOOL_HASH_LEN) == 0)
			return true;
		for (size_t i = 0; i < p->held_count; i++)
			if (memcmp(p->held[i].hash, hash, SPOOL_HASH_LEN) == 0)
				return true;
	}
	return false;
}

int inbox_take_all_(struct inbox *in)
{
	int first_err = 0;

	for (size_t i = 0; i < in->envelope_count; i++) {
		int err;

		if (inbox_stopped_(in))
			return -EINTR;
		if (is_taken(in, in->envelopes[i]))
			continue;
		err = take_one(in, in->envelopes[i]);
		if (!first_err)
			first_err = err;
	}
	return first_err;
}
