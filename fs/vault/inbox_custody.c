/* Shares that we keep for others, until their owner has us pass them on. */
#include "inbox_internal.h"

#include <errno.h>
#include <string.h>

/* Needs the lock. */
static struct parcel *find_kept(const struct inbox *in,
				const struct inbox_kept *kept)
{
	uint8_t key[PARCEL_KEY_LEN];
	struct parcel *p;

	inbox_key_(kept->set_id, &kept->sender, kept->index, key);
	p = inbox_find_(in, key);
	return p && p->custody && !p->released && p->held_count ? p : NULL;
}

static int copy_inner(const struct envelope *e, uint8_t **inner, size_t *len,
		      struct card *recipient)
{
	struct message_custody c;
	uint8_t *copy;
	int err = message_parse_custody(e, &c);

	if (err)
		return err;
	copy = malloc(c.inner_len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, c.inner, c.inner_len);
	*recipient = c.recipient;
	*inner = copy;
	*len = c.inner_len;
	return 0;
}

int inbox_release(struct inbox *in, const struct inbox_kept *kept,
		  uint8_t **inner, size_t *len, struct card *recipient)
{
	uint8_t hash[SPOOL_HASH_LEN];
	struct envelope e = {0};
	const struct parcel *p;
	bool expired = false;
	int err;

	pthread_rwlock_rdlock(&in->lock);
	p = find_kept(in, kept);
	if (p) {
		memcpy(hash, p->held[0].hash, sizeof hash);
		expired = inbox_expired_(p);
	}
	pthread_rwlock_unlock(&in->lock);
	if (!p)
		return -ENOENT;
	if (expired)
		return -EKEYEXPIRED;
	err = inbox_spool_envelope_(in, hash, &e);
	if (err)
		return err;
	err = copy_inner(&e, inner, len, recipient);
	envelope_fini(&e);
	return err;
}

int inbox_released(struct inbox *in, const struct inbox_kept *kept)
{
	struct vlog_record r = {.event = VLOG_RELEASED,
				.index = kept->index,
				.peer = kept->sender};
	uint8_t hash[SPOOL_HASH_LEN];
	struct parcel *p;
	int err;

	pthread_rwlock_rdlock(&in->lock);
	p = find_kept(in, kept);
	if (p) {
		memcpy(hash, p->held[0].hash, sizeof hash);
		memcpy(r.text, p->for_whom->name, sizeof p->for_whom->name);
	}
	pthread_rwlock_unlock(&in->lock);
	if (!p)
		return -ENOENT;
	memcpy(r.set_id, kept->set_id, SET_ID_LEN);
	err = vlog_append(in->log, &r);
	if (err)
		return err;
	/* A scan drops it from the list. */
	inbox_spool_remove_(in, hash, ".env");
	inbox_write_begin_(in);
	/* a scan may have dropped it meanwhile */
	p = find_kept(in, kept);
	if (p)
		p->released = true;
	inbox_write_end_(in);
	return 0;
}
