#include "letter.h"
#include "when.h"

#include <string.h>

int letter_seal(const struct mounted *m, const struct letter *letter,
		uint8_t **out, size_t *out_len)
{
	struct control_sign sign = {0};
	int err;

	sign.st.kind = letter->kind;
	sign.st.index = letter->index;
	memcpy(sign.st.set_id, letter->set_id, SET_ID_LEN);
	sign.st.recipient = letter->to;
	sign.st.created_s = when_now_s();
	statement_digest(letter->payload, letter->payload_len, sign.st.digest);
	err = mounted_ask(m->fd, CONTROL_SIGN, &sign);
	return err ? err
		   : envelope_seal(&sign.st, sign.signature, letter->payload,
				   letter->payload_len, out, out_len);
}
