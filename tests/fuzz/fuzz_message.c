/* Small payloads: kind u8, index u8, then what the envelope carried. */
#include "fuzz.h"

#include "message.h"
#include "secret.h"

#include <errno.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return sodium_init() < 0;
}

static void check_share(const struct envelope *e)
{
	struct slip39_share share;
	uint8_t again[SLIP39_PACKED_LEN];

	if (message_parse_share(e, &share) != 0)
		return;
	REQUIRE(share.member_index + 1 == e->st.index);
	REQUIRE(share.iteration_exponent == 0 && share.value_len == 32);
	slip39_pack(&share, again);
	REQUIRE(memcmp(again, e->payload, sizeof again) == 0);
}

static void check_custody(const struct envelope *e)
{
	struct message_custody c;

	if (message_parse_custody(e, &c) != 0)
		return;
	REQUIRE(c.inner >= e->payload &&
		c.inner + c.inner_len == e->payload + e->payload_len);
	REQUIRE(c.inner_len <= ENVELOPE_TEXT_MAX_BYTES);
	REQUIRE(identity_public_check(&c.recipient.pub) == 0);
}

/* What the payload says in its own words goes back to the same bytes. */
static void format_custody(const uint8_t *payload, size_t len)
{
	char card[CARD_TEXT_MAX + 1] = {0};
	size_t card_len, out_len;
	uint8_t *out;

	if (len < 10)
		return;
	card_len = (size_t)payload[8] << 8 | payload[9];
	if (card_len > CARD_TEXT_MAX || card_len > len - 10)
		return;
	if (memchr(payload + 10, '\0', card_len))
		return;
	memcpy(card, payload + 10, card_len);
	if (message_format_custody(0, card, payload + 10 + card_len,
				   len - 10 - card_len, &out, &out_len) != 0)
		return;
	REQUIRE(out_len == len && memcmp(out + 8, payload + 8, len - 8) == 0);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct envelope e = {0};
	struct message_ack ack;
	uint8_t reason;

	if (size < 2)
		return 0;
	e.st.kind = data[0];
	e.st.index = data[1];
	e.payload_len = size - 2;
	e.payload = malloc(size);
	REQUIRE(e.payload);
	memcpy(e.payload, data + 2, size - 2);
	check_share(&e);
	check_custody(&e);
	format_custody(e.payload, e.payload_len);
	if (message_parse_ack(&e, &ack) == 0)
		REQUIRE(ack.state <= ACK_DECLINED && ack.index <= 16);
	if (message_parse_revoke(&e, &reason) == 0)
		REQUIRE(reason == 1 || reason == 2);
	free(e.payload);
	return 0;
}
