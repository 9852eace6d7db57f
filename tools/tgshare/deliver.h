/* Sending what is due. */
#ifndef TGSHARE_DELIVER_H
#define TGSHARE_DELIVER_H

#include "outbox.h"

struct deliver_result {
	size_t sent, failed; /* messages */
	size_t left;	     /* that are to be taken back, and were not yet */
};

/*
 * Send all that is due of these items, with a bar if it takes long, and note
 * what was sent. First what is not in the log yet is put there, for what it
 * does not have cannot be acknowledged. Why something was not sent is reported
 * once for each address. A failure is of the vault's own. Notes that were sent
 * are removed.
 */
MUST_CHECK int deliver_due(struct session *s, struct item **items, size_t count,
			   struct deliver_result *result);

/*
 * The same step by step, for who has more to send while some is under way:
 * delivery_end() sends what is due and was not added yet, and waits for
 * everything; delivery_wait() waits for what was added.
 */
struct delivery;
MUST_CHECK int delivery_new(struct session *s, struct delivery **out);
/* What is under way yet is given up. */
void delivery_free(struct delivery *d);
/* So many bytes will be added yet: for the bar. And no sealed copy goes to
 * several. */
void delivery_expect(struct delivery *d, uint64_t bytes);
MUST_CHECK int delivery_add(struct delivery *d, struct item *item,
			    size_t message);
/* Messages that were added and did not end yet; that failed. */
size_t delivery_under_way(const struct delivery *d);
size_t delivery_failed(const struct delivery *d);
/* Move on what is under way, for so long or until it is gone. */
MUST_CHECK int delivery_work(struct delivery *d, int timeout_ms);
MUST_CHECK int delivery_wait(struct delivery *d);
/* The bar goes until there is news, for words to be said. */
void delivery_quiet(struct delivery *d);
MUST_CHECK int delivery_end(struct delivery *d, struct item **items,
			    size_t count, struct deliver_result *result);

/* Is any message of it waiting to be sent for the first time? */
bool deliver_waiting(const struct item *item, uint64_t now_s);

#endif
