#include "statement.h"

#include "bytes.h"
#include "slip39.h"

#include <errno.h>
#include <sodium.h>

static const uint8_t context[16] = "frondfs-share-v1";

void statement_encode(const struct statement *s,
		      uint8_t out[static STATEMENT_LEN])
{
	uint8_t *p = out;

	memcpy(p, context, sizeof context);
	p += sizeof context;
	*p++ = s->kind;
	*p++ = s->index;
	memcpy(p, s->set_id, SET_ID_LEN);
	p += SET_ID_LEN;
	memcpy(p, &s->sender, IDENTITY_PUBLIC_LEN);
	p += IDENTITY_PUBLIC_LEN;
	memcpy(p, &s->recipient, IDENTITY_PUBLIC_LEN);
	p += IDENTITY_PUBLIC_LEN;
	be64_store(p, s->created_s);
	memcpy(p + 8, s->digest, STATEMENT_DIGEST_LEN);
}

static bool recipient_is_nobody(const struct statement *s)
{
	return bytes_all_zero(s->recipient.sign, sizeof s->recipient.sign) &&
	       bytes_all_zero(s->recipient.box, sizeof s->recipient.box);
}

int statement_check(const struct statement *s)
{
	bool set_is_zero = bytes_all_zero(s->set_id, SET_ID_LEN);

	switch (s->kind) {
	case STATEMENT_CARD:
		return s->index == 0 && set_is_zero && s->created_s == 0 &&
				       recipient_is_nobody(s)
			       ? 0
			       : -EINVAL;
	case STATEMENT_SHARE:
	case STATEMENT_CUSTODY:
		if (s->index < 1 || s->index > SLIP39_SHARES_MAX)
			return -EINVAL;
		break;
	case STATEMENT_MANIFEST:
	case STATEMENT_ACK:
	case STATEMENT_REVOKE:
		if (s->index != 0)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	return set_is_zero || s->created_s == 0 || recipient_is_nobody(s)
		       ? -EINVAL
		       : 0;
}

int statement_sign(const struct statement *s, const struct identity *id,
		   uint8_t signature[static IDENTITY_SIGNATURE_LEN])
{
	uint8_t bytes[STATEMENT_LEN];

	if (statement_check(s) != 0 ||
	    memcmp(&s->sender, &id->pub, sizeof s->sender) != 0)
		return -EINVAL;
	statement_encode(s, bytes);
	(void)crypto_sign_detached(signature, NULL, bytes, sizeof bytes,
				   id->sign_secret);
	return 0;
}

int statement_verify(const struct statement *s,
		     const uint8_t signature[static IDENTITY_SIGNATURE_LEN])
{
	uint8_t bytes[STATEMENT_LEN];

	statement_encode(s, bytes);
	return crypto_sign_verify_detached(signature, bytes, sizeof bytes,
					   s->sender.sign) == 0
		       ? 0
		       : -EBADMSG;
}

void statement_digest(const void *payload, size_t len,
		      uint8_t digest[static STATEMENT_DIGEST_LEN])
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, STATEMENT_DIGEST_LEN);
	crypto_generichash_update(&state, payload, len);
	crypto_generichash_final(&state, digest, STATEMENT_DIGEST_LEN);
	/* it has the payload's last block, which may be a share */
	sodium_memzero(&state, sizeof state);
}
