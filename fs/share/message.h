/*
 * The small payloads: shares, acknowledgements, revocations, custody.
 */
#ifndef FROND_MESSAGE_H
#define FROND_MESSAGE_H

#include "envelope.h"
#include "slip39.h"

/* STATEMENT_SHARE: the packed share, 42 bytes. statement.index is its member
 * index plus 1; a parser checks both. */
MUST_CHECK int message_parse_share(const struct envelope *e,
				   struct slip39_share *share);

/* STATEMENT_ACK: state u8. The set id is the acknowledged one. */
enum ack_state {
	ACK_RECEIVED = 1, /* all that was sent directly is here */
	ACK_OPENED = 2,
	ACK_CUSTODY = 3,  /* a custodian has the share of statement.index... */
	ACK_RELEASED = 4, /* ...and passed it on */
	ACK_DECLINED = 5,
};
/* Payload: state u8 | share index u8 (0 unless custody). */
enum { MESSAGE_ACK_LEN = 2, MESSAGE_REVOKE_LEN = 1 };
struct message_ack {
	uint8_t state, index;
};
MUST_CHECK int message_parse_ack(const struct envelope *e,
				 struct message_ack *ack);

/* STATEMENT_REVOKE: reason u8 (1 revoked, 2 withdrawn). */
enum revoke_reason { REVOKE_REVOKED = 1, REVOKE_WITHDRAWN = 2 };
MUST_CHECK int message_parse_revoke(const struct envelope *e, uint8_t *reason);

/*
 * STATEMENT_CUSTODY: expires u64 | card length u16 | the recipient's card as
 * text | the complete envelope for the recipient.
 */
struct message_custody {
	uint64_t expires_s; /* 0: never */
	struct card recipient;
	const uint8_t *inner; /* within e->payload */
	size_t inner_len;
};
MUST_CHECK int message_parse_custody(const struct envelope *e,
				     struct message_custody *c);
/* *out is malloced. */
MUST_CHECK int message_format_custody(uint64_t expires_s, const char *card_text,
				      const uint8_t *inner, size_t inner_len,
				      uint8_t **out, size_t *out_len);

#endif
