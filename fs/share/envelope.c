#include "envelope.h"

#include "reader.h"
#include "secret.h"

#include <assert.h>
#include <errno.h>

enum {
	OUTER_HEAD_LEN = 1 + ENVELOPE_ROUTING_LEN,
	INNER_OVERHEAD = ENVELOPE_INNER_HEAD_LEN + IDENTITY_SIGNATURE_LEN,
};
static_assert(crypto_box_SEALBYTES == 48 &&
		      ENVELOPE_OVERHEAD == OUTER_HEAD_LEN +
						   crypto_box_SEALBYTES +
						   INNER_OVERHEAD,
	      "what a sealed box adds");

static int
check_sealable(const struct statement *s,
	       const uint8_t signature[static IDENTITY_SIGNATURE_LEN],
	       const uint8_t *payload, size_t payload_len)
{
	uint8_t digest[STATEMENT_DIGEST_LEN];

	if (s->kind == STATEMENT_CARD || statement_check(s) != 0 ||
	    identity_public_check(&s->recipient) != 0)
		return -EINVAL;
	if (payload_len > ENVELOPE_MAX_LEN - ENVELOPE_OVERHEAD)
		return -EMSGSIZE;
	statement_digest(payload, payload_len, digest);
	if (memcmp(digest, s->digest, sizeof digest) != 0 ||
	    statement_verify(s, signature) != 0)
		return -EINVAL;
	return 0;
}

/* inner has INNER_OVERHEAD + payload_len bytes. */
static void write_inner(const struct statement *s,
			const uint8_t signature[static IDENTITY_SIGNATURE_LEN],
			const uint8_t *payload, size_t payload_len,
			uint8_t *inner)
{
	uint8_t *p = inner;

	*p++ = s->kind;
	*p++ = s->index;
	memcpy(p, s->set_id, SET_ID_LEN);
	p += SET_ID_LEN;
	memcpy(p, &s->sender, IDENTITY_PUBLIC_LEN);
	p += IDENTITY_PUBLIC_LEN;
	be64_store(p, s->created_s);
	p += 8;
	if (payload_len)
		memcpy(p, payload, payload_len);
	memcpy(p + payload_len, signature, IDENTITY_SIGNATURE_LEN);
}

int envelope_seal(const struct statement *s,
		  const uint8_t signature[static IDENTITY_SIGNATURE_LEN],
		  const uint8_t *payload, size_t payload_len, uint8_t **out,
		  size_t *out_len)
{
	CLEANUP_SECRET uint8_t *inner = NULL;
	CLEANUP_FREE uint8_t *bytes = NULL;
	size_t inner_len = INNER_OVERHEAD + payload_len;
	int err = check_sealable(s, signature, payload, payload_len);

	if (err)
		return err;
	inner = secret_alloc(inner_len);
	bytes = malloc(ENVELOPE_OVERHEAD + payload_len);
	if (!inner || !bytes)
		return -ENOMEM;
	write_inner(s, signature, payload, payload_len, inner);
	bytes[0] = ENVELOPE_VERSION;
	randombytes_buf(bytes + 1, ENVELOPE_ROUTING_LEN);
	if (crypto_box_seal(bytes + OUTER_HEAD_LEN, inner, inner_len,
			    s->recipient.box) != 0)
		return -EINVAL;
	*out = TAKE_PTR(bytes);
	*out_len = ENVELOPE_OVERHEAD + payload_len;
	return 0;
}

static bool is_known(uint8_t kind)
{
	return kind >= STATEMENT_CARD && kind <= STATEMENT_CUSTODY;
}

/* What was sealed to me: read, believe. The payload stays in inner. */
static int read_inner(const struct identity *me, const uint8_t *inner,
		      size_t len, struct statement *s, const uint8_t **payload,
		      size_t *payload_len)
{
	struct reader r = {inner, len, false};
	const uint8_t *signature;

	*s = (struct statement){.recipient = me->pub};
	s->kind = reader_u8(&r);
	s->index = reader_u8(&r);
	reader_copy(&r, s->set_id, SET_ID_LEN);
	reader_copy(&r, &s->sender, IDENTITY_PUBLIC_LEN);
	s->created_s = reader_u64(&r);
	if (r.bad || r.left < IDENTITY_SIGNATURE_LEN)
		return -EBADMSG;
	*payload_len = r.left - IDENTITY_SIGNATURE_LEN;
	*payload = reader_take(&r, *payload_len);
	signature = reader_take(&r, IDENTITY_SIGNATURE_LEN);
	statement_digest(*payload, *payload_len, s->digest);
	if (statement_verify(s, signature) != 0 ||
	    identity_public_check(&s->sender) != 0)
		return -EBADMSG;
	if (s->kind == STATEMENT_CARD ||
	    (is_known(s->kind) && statement_check(s) != 0))
		return -EBADMSG;
	return 0;
}

int envelope_open(const struct identity *me, const uint8_t *bytes, size_t len,
		  struct envelope *e)
{
	CLEANUP_SECRET uint8_t *inner = NULL;
	struct envelope found = {0};
	const uint8_t *payload;
	int err;

	if (len > 0 && bytes[0] > ENVELOPE_VERSION)
		return -EPROTONOSUPPORT;
	if (len < ENVELOPE_OVERHEAD || len > ENVELOPE_MAX_LEN ||
	    bytes[0] != ENVELOPE_VERSION)
		return -EBADMSG;
	inner = secret_alloc(len - OUTER_HEAD_LEN - crypto_box_SEALBYTES);
	if (!inner)
		return -ENOMEM;
	if (crypto_box_seal_open(inner, bytes + OUTER_HEAD_LEN,
				 len - OUTER_HEAD_LEN, me->pub.box,
				 me->box_secret) != 0)
		return -EBADMSG;
	err = read_inner(me, inner, len - OUTER_HEAD_LEN - crypto_box_SEALBYTES,
			 &found.st, &payload, &found.payload_len);
	if (err)
		return err;
	found.payload = secret_alloc(found.payload_len);
	if (!found.payload)
		return -ENOMEM;
	memcpy(found.payload, payload, found.payload_len);
	*e = found;
	return 0;
}

void envelope_fini(struct envelope *e)
{
	secret_free(e->payload);
	*e = (struct envelope){0};
}

void envelope_hash(const uint8_t *bytes, size_t len,
		   uint8_t hash[static ENVELOPE_HASH_LEN])
{
	crypto_generichash(hash, ENVELOPE_HASH_LEN, bytes, len, NULL, 0);
}
