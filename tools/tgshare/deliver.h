/* Sending what is due. */
#ifndef TGSHARE_DELIVER_H
#define TGSHARE_DELIVER_H

#include "outbox.h"

struct deliver_result {
	size_t sent, failed; /* messages */
};

/*
 * Send all that is due of these items, with a bar if it takes long, and note
 * what was sent. Why something was not is reported once for each address. A
 * failure is of the vault's own. Notes that were sent are removed.
 */
MUST_CHECK int deliver_due(struct session *s, struct item **items, size_t count,
			   struct deliver_result *result);

/* Is any message of it waiting to be sent for the first time? */
bool deliver_waiting(const struct item *item, uint64_t now_s);

#endif
