#include "message.h"

#include "reader.h"
#include "secret.h"
#include "text.h"

#include <errno.h>

enum { CUSTODY_HEAD_LEN = 8 + 2 };

/* One group, and no key stretching: a high exponent would cost hours. */
static bool is_ours(const struct slip39_share *s)
{
	return s->iteration_exponent == 0 && s->group_index == 0 &&
	       s->group_threshold == 1 && s->group_count == 1 &&
	       s->value_len == SLIP39_SECRET_LEN;
}

int message_parse_share(const struct envelope *e, struct slip39_share *share)
{
	struct slip39_share found;
	int err = 0;

	if (e->st.kind != STATEMENT_SHARE ||
	    e->payload_len != SLIP39_PACKED_LEN ||
	    slip39_unpack(e->payload, &found) != 0)
		return -EBADMSG;
	if (is_ours(&found) && found.member_index + 1 == e->st.index)
		*share = found;
	else
		err = -EBADMSG;
	sodium_memzero(&found, sizeof found);
	return err;
}

static bool ack_index_fits(const struct message_ack *ack)
{
	switch (ack->state) {
	case ACK_RECEIVED:
	case ACK_OPENED:
		return ack->index == 0;
	case ACK_CUSTODY:
	case ACK_RELEASED:
		return ack->index >= 1 && ack->index <= SLIP39_SHARES_MAX;
	case ACK_DECLINED: /* of a recipient, or of a custodian */
		return ack->index <= SLIP39_SHARES_MAX;
	default:
		return false;
	}
}

int message_parse_ack(const struct envelope *e, struct message_ack *ack)
{
	struct message_ack found;

	if (e->st.kind != STATEMENT_ACK || e->payload_len != MESSAGE_ACK_LEN)
		return -EBADMSG;
	found.state = e->payload[0];
	found.index = e->payload[1];
	if (!ack_index_fits(&found))
		return -EBADMSG;
	*ack = found;
	return 0;
}

int message_parse_revoke(const struct envelope *e, uint8_t *reason)
{
	if (e->st.kind != STATEMENT_REVOKE ||
	    e->payload_len != MESSAGE_REVOKE_LEN ||
	    (e->payload[0] != REVOKE_REVOKED &&
	     e->payload[0] != REVOKE_WITHDRAWN))
		return -EBADMSG;
	*reason = e->payload[0];
	return 0;
}

/* The card, and nothing but the card. */
static int parse_whole_card(const char *text, size_t len, struct card *card)
{
	struct card found;
	size_t bytes;

	if (card_parse(text, len, &found) != 0)
		return -EINVAL;
	bytes = 2 + strlen(found.name) + strlen(found.address) +
		IDENTITY_PUBLIC_LEN + IDENTITY_SIGNATURE_LEN;
	if (len != sizeof CARD_TEXT_PREFIX - 1 + BASE64URL_LEN(bytes))
		return -EINVAL;
	*card = found;
	return 0;
}

/* It has to fit a message again when it is passed on. */
static bool inner_fits(size_t len)
{
	return len >= ENVELOPE_OVERHEAD && len <= ENVELOPE_TEXT_MAX_BYTES;
}

int message_parse_custody(const struct envelope *e, struct message_custody *c)
{
	struct reader r = {e->payload, e->payload_len, false};
	struct message_custody found = {0};
	const uint8_t *card;
	size_t card_len;

	if (e->st.kind != STATEMENT_CUSTODY)
		return -EBADMSG;
	found.expires_s = reader_u64(&r);
	card_len = reader_u16(&r);
	card = reader_take(&r, card_len);
	if (!card || card_len >= CARD_TEXT_MAX || !inner_fits(r.left) ||
	    parse_whole_card((const char *)card, card_len, &found.recipient))
		return -EBADMSG;
	found.inner = r.p;
	found.inner_len = r.left;
	*c = found;
	return 0;
}

int message_format_custody(uint64_t expires_s, const char *card_text,
			   const uint8_t *inner, size_t inner_len,
			   uint8_t **out, size_t *out_len)
{
	size_t card_len = strnlen(card_text, CARD_TEXT_MAX);
	struct card card;
	uint8_t *bytes;

	if (card_len == CARD_TEXT_MAX || !inner_fits(inner_len) ||
	    parse_whole_card(card_text, card_len, &card) != 0)
		return -EINVAL;
	bytes = malloc(CUSTODY_HEAD_LEN + card_len + inner_len);
	if (!bytes)
		return -ENOMEM;
	be64_store(bytes, expires_s);
	be16_store(bytes + 8, (uint16_t)card_len);
	memcpy(bytes + CUSTODY_HEAD_LEN, card_text, card_len);
	memcpy(bytes + CUSTODY_HEAD_LEN + card_len, inner, inner_len);
	*out = bytes;
	*out_len = CUSTODY_HEAD_LEN + card_len + inner_len;
	return 0;
}
