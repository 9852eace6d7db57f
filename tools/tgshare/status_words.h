/* How far something is, in a word. */
#ifndef TGSHARE_STATUS_WORDS_H
#define TGSHARE_STATUS_WORDS_H

#include "inbox.h"
#include "item.h"

/* "queued", "sent", "received", "opened", "revoked", ... */
const char *status_of_item(const struct item *item, uint64_t now_s);
/* Is the share with this index (from 0) still here, never delivered? */
bool status_is_waiting(const struct item *item, unsigned i);
/* Of that share: "not delivered", "sent", "kept", "passed on", ... */
const char *status_of_share(const struct item *item, unsigned i);
/* "waiting for shares", ...; names is for programs. */
const char *status_of_set(const struct inbox_set *set);
/* Of what was opened (enum opened_state): "opened", "removed", ... */
const char *status_of_opened(uint8_t state);
/* "sent", "opened"...; NULL: unknown. */
const char *status_of_record(const struct vlog_record *r);

#endif
