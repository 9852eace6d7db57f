/* A set's way: shares are checked, put together, and what they open opened. */
#include "inbox_internal.h"

#include <errno.h>
#include <string.h>

/* What expired is kept for a while: clocks go wrong. */
enum { EXPIRED_GRACE_S = 86400 };

/* Remove envelope number i of the set from the spool. */
static void remove_held(struct inbox *in, struct parcel *p, size_t i)
{
	inbox_spool_remove_(in, p->held[i].hash, ".env");
	inbox_unhold_(in, p, i);
}

static void remove_manifest(struct inbox *in, struct parcel *p)
{
	if (sodium_is_zero(p->manifest_hash, SPOOL_HASH_LEN))
		return;
	inbox_spool_remove_(in, p->manifest_hash, ".env");
	inbox_write_begin_(in);
	memset(p->manifest_hash, 0, SPOOL_HASH_LEN);
	inbox_write_end_(in);
}

/* Parts that no other set needs. */
static void remove_parts(struct inbox *in, const struct manifest *m)
{
	for (size_t i = 0; i < m->entry_count; i++)
		for (size_t k = 0; k < m->entries[i].part_count; k++) {
			struct part *part =
				inbox_part_(in, m->entries[i].parts[k].hash);

			if (!part || part->claims == 0)
				continue;
			if (--part->claims == 0)
				inbox_part_remove_(in, part);
		}
}

/* The manifest goes last: it says which parts there are. */
static void clean_spool(struct inbox *in, struct parcel *p)
{
	if (p->m)
		remove_parts(in, p->m);
	while (p->held_count)
		remove_held(in, p, p->held_count - 1);
	remove_manifest(in, p);
}

void inbox_finish_(struct inbox *in, struct parcel *p)
{
	if (p->m)
		inbox_parts_done_(in, p->m);
	clean_spool(in, p);
	inbox_record_remove_(in, p);
	inbox_drop_(in, p);
}

static int check_share(const struct parcel *p, const struct envelope *e,
		       struct slip39_share *share)
{
	uint8_t packed[SLIP39_PACKED_LEN], found[MANIFEST_HASH_LEN];
	unsigned index = e->st.index;
	int err = message_parse_share(e, share);

	if (err)
		return err;
	if (index < 1 || index > p->m->n || share->member_threshold != p->m->k)
		return -EBADMSG;
	slip39_pack(share, packed);
	manifest_commit_share(p->m->nonce, p->set_id, index, packed, found);
	sodium_memzero(packed, sizeof packed);
	return sodium_memcmp(found, p->m->shares[index - 1].commitment,
			     sizeof found)
		       ? -EBADMSG
		       : 0;
}

/* *good: it stays. */
static int judge_share(struct inbox *in, struct parcel *p, size_t i, bool *good)
{
	CLEANUP_SECRET struct slip39_share *share = secret_alloc(sizeof *share);
	struct envelope e = {0};
	unsigned index = p->held[i].index;
	int err;

	*good = false;
	if (!share)
		return -ENOMEM;
	err = inbox_spool_envelope_(in, p->held[i].hash, &e);
	if (err == -ENOENT)
		return 0;
	if (!err) {
		err = check_share(p, &e, share);
		envelope_fini(&e);
	}
	/* what cannot be read now is none the worse for it */
	if (err && err != -EBADMSG && err != -EPROTONOSUPPORT)
		return err;
	if (err)
		return inbox_refuse_of_(in, p, index,
					"share %u is not the one that was "
					"announced",
					index);
	if (p->have_mask & 1U << (index - 1))
		return inbox_pass_over_(in, p->set_id, &p->sender, index,
					"share %u came again", index);
	*good = true;
	return inbox_log_of_(in, p, VLOG_RECEIVED, index);
}

static int judge_shares(struct inbox *in, struct parcel *p)
{
	for (size_t i = 0; i < p->held_count;) {
		bool good = false;
		int err;

		if (p->held[i].kind != STATEMENT_SHARE || p->held[i].good) {
			i++;
			continue;
		}
		err = judge_share(in, p, i, &good);
		if (err)
			return err;
		if (!good) {
			remove_held(in, p, i);
			continue;
		}
		inbox_write_begin_(in);
		p->held[i].good = true;
		p->have_mask |= (uint16_t)(1U << (p->held[i].index - 1));
		inbox_write_end_(in);
		i++;
	}
	return 0;
}

static unsigned count_bits(unsigned mask)
{
	return (unsigned)__builtin_popcount(mask);
}

/* The first k good shares. */
static int gather(struct inbox *in, const struct parcel *p,
		  struct slip39_share *shares)
{
	size_t have = 0;

	for (size_t i = 0; i < p->held_count && have < p->m->k; i++) {
		struct envelope e = {0};
		int err;

		if (!p->held[i].good)
			continue;
		err = inbox_spool_envelope_(in, p->held[i].hash, &e);
		if (err)
			return err;
		err = check_share(p, &e, &shares[have]);
		envelope_fini(&e);
		if (err)
			return err;
		have++;
	}
	return have == p->m->k ? 0 : -ENOENT;
}

struct combining {
	struct slip39_share shares[SLIP39_SHARES_MAX];
	uint8_t secret[SLIP39_SECRET_MAX_LEN];
};

int inbox_secret_(struct inbox *in, struct parcel *p, uint8_t **secret)
{
	CLEANUP_SECRET struct combining *c = secret_alloc(sizeof *c);
	CLEANUP_SECRET uint8_t *out = secret_alloc(FERNET_KEY_LEN);
	uint8_t found[MANIFEST_HASH_LEN];
	size_t len = 0;
	int err;

	if (!c || !out)
		return -ENOMEM;
	err = gather(in, p, c->shares);
	if (err == -EBADMSG)
		return -ESTALE; /* the spool changed under us */
	if (!err)
		err = slip39_combine(c->shares, p->m->k, "", c->secret, &len);
	if (err == -EINVAL || (!err && len != FERNET_KEY_LEN))
		return -EBADMSG;
	if (err)
		return err;
	manifest_commit_secret(p->m->nonce, p->set_id, c->secret, found);
	if (sodium_memcmp(found, p->m->secret_commitment, sizeof found))
		return -EBADMSG;
	memcpy(out, c->secret, FERNET_KEY_LEN);
	*secret = TAKE_PTR(out);
	return 0;
}

struct token_work {
	struct fernet_key key;
	_Alignas(64) uint8_t plain[FERNET_OPEN_ROOM(HEADER_KEY_TOKEN_LEN)];
};

int inbox_entry_key_(const struct manifest_entry *e,
		     const uint8_t secret[static FERNET_KEY_LEN],
		     uint8_t key[static FERNET_KEY_LEN])
{
	CLEANUP_SECRET struct token_work *w = secret_alloc(sizeof *w);
	struct workspace *ws = workspace_get();
	struct fernet_open_job job = {.token = e->key_token,
				      .token_len = HEADER_KEY_TOKEN_LEN};

	if (!w || !ws)
		return -ENOMEM;
	if (!e->has_key_token) {
		memcpy(key, secret, FERNET_KEY_LEN);
		return 0;
	}
	job.plaintext = w->plain;
	fernet_key_init(&w->key, secret);
	if (fernet_open(ws->fernet, &w->key, &job, 1) ||
	    job.plaintext_len != FILE_ID_LEN + FERNET_KEY_LEN ||
	    memcmp(w->plain, e->file_id, FILE_ID_LEN) != 0)
		return -EBADMSG;
	memcpy(key, w->plain + FILE_ID_LEN, FERNET_KEY_LEN);
	return 0;
}

/* The shares are good, but do not make what they should: so say so, once. */
static int note_damage(struct inbox *in, struct parcel *p)
{
	int err = inbox_refuse_of_(in, p, 0,
				   "%s: the shares do not make the announced "
				   "secret",
				   p->m->name);

	if (err)
		return err;
	inbox_write_begin_(in);
	p->damaged = true;
	inbox_write_end_(in);
	return inbox_record_write_(in, p);
}

/* With k good shares. */
static int open_set(struct inbox *in, struct parcel *p, bool *dropped)
{
	CLEANUP_SECRET uint8_t *secret = NULL;
	size_t done, open;
	int err;

	/* putting shares together takes a while: not at every scan */
	if (p->checked && !inbox_import_is_due_(in, p))
		return 0;
	err = inbox_secret_(in, p, &secret);
	if (err == -EBADMSG)
		return note_damage(in, p);
	if (err)
		return err == -ENOENT || err == -ESTALE ? 0 : err;
	inbox_write_begin_(in);
	p->checked = true;
	inbox_write_end_(in);
	if (p->m->kind == MANIFEST_GRANT)
		return inbox_grant_(in, p, &secret);
	err = inbox_import_(in, p, secret);
	inbox_count_(p, &done, &open);
	if (err || open)
		return err;
	err = inbox_log_of_(in, p, VLOG_OPENED, 0);
	if (err)
		return err;
	inbox_finish_(in, p);
	*dropped = true;
	return 0;
}

/* The sender takes back what was not opened yet. */
static int withdraw(struct inbox *in, struct parcel *p)
{
	int err = 0;

	if (!p->revoked) {
		inbox_write_begin_(in);
		p->revoked = true;
		inbox_write_end_(in);
		err = inbox_record_write_(in, p);
		if (err)
			p->revoked = false;
	}
	if (!err)
		err = inbox_log_of_(in, p, VLOG_WITHDRAWN, 0);
	if (err)
		return err;
	if (p->base)
		inbox_changed_(in, p->base);
	clean_spool(in, p);
	return 0;
}

static bool holds_revocation(const struct parcel *p)
{
	for (size_t i = 0; i < p->held_count; i++)
		if (p->held[i].kind == STATEMENT_REVOKE)
			return true;
	return false;
}

static int note_expiry(struct inbox *in, struct parcel *p)
{
	int err;

	if (!inbox_is_logged_(in, p, VLOG_EXPIRED)) {
		err = inbox_log_of_(in, p, VLOG_EXPIRED, 0);
		if (err)
			return err;
		if (p->base)
			inbox_changed_(in, p->base);
	}
	if (inbox_now_() < p->expires_s + EXPIRED_GRACE_S)
		return 0;
	for (size_t i = p->held_count; i-- > 0;)
		if (p->held[i].kind == STATEMENT_SHARE)
			remove_held(in, p, i);
	inbox_write_begin_(in);
	p->have_mask = 0;
	inbox_write_end_(in);
	remove_parts(in, p->m);
	return 0;
}

/* Its place in the tree, as far as its sender is known. */
static int settle(struct inbox *in, struct parcel *p)
{
	int err;

	if (p->base && p->numbered && inbox_known_(p)) {
		err = inbox_unnumber_(in, p);
		if (err)
			return err;
	}
	if (p->base)
		return 0;
	err = inbox_place_(in, p);
	if (err != -EFBIG)
		return err;
	/* longer than any file here can be */
	inbox_write_begin_(in);
	p->damaged = true;
	inbox_write_end_(in);
	return inbox_refuse_of_(in, p, 0, "%s: longer than can be", p->m->name);
}

static int advance_custody(struct inbox *in, struct parcel *p, bool *dropped)
{
	bool over = p->released || inbox_is_finished_(in, p);
	int err;

	if (!over && !inbox_expired_(p))
		return 0;
	if (!over) {
		err = inbox_log_of_(in, p, VLOG_EXPIRED, p->custody);
		if (err || inbox_now_() < p->expires_s + EXPIRED_GRACE_S)
			return err;
	}
	clean_spool(in, p);
	inbox_drop_(in, p);
	*dropped = true;
	return 0;
}

static int advance_waiting(struct inbox *in, struct parcel *p, bool *dropped)
{
	int err;

	if (p->revoked) /* and what should follow did not, before a crash */
		return withdraw(in, p);
	if (inbox_is_superseded_(in, p))
		return 0;
	err = inbox_refuse_foreign_(in, p);
	if (err)
		return err;
	/* the new set takes the place of the one that it replaces */
	if (!inbox_waits_for_stub_(in, p)) {
		err = settle(in, p);
		if (err)
			return err;
	}
	if (holds_revocation(p))
		return withdraw(in, p);
	if (inbox_expired_(p))
		return note_expiry(in, p);
	err = judge_shares(in, p);
	if (err || !inbox_known_(p) || p->damaged)
		return err;
	if (count_bits(p->have_mask) < p->m->k)
		return 0;
	return open_set(in, p, dropped);
}

int inbox_advance_(struct inbox *in, struct parcel *p, bool *dropped)
{
	*dropped = false;
	if (p->custody)
		return advance_custody(in, p, dropped);
	if (p->granted)
		return inbox_advance_grant_(in, p, dropped);
	if (inbox_is_logged_(in, p, VLOG_OPENED) ||
	    inbox_is_logged_(in, p, VLOG_DECLINED)) {
		inbox_finish_(in, p);
		*dropped = true;
		return 0;
	}
	if (!p->m)
		return 0;
	return advance_waiting(in, p, dropped);
}
