/* How far something is, in a word. */
#ifndef TGSHARE_STATUS_WORDS_H
#define TGSHARE_STATUS_WORDS_H

#include "inbox.h"
#include "item.h"

/* "queued", "sent", "received", "opened", "revoked", ... */
const char *status_of_item(const struct item *item, uint64_t now_s);
/* Of the share with this index (from 0): "sent", "kept", "passed on", ... */
const char *status_of_share(const struct item *item, unsigned i);
/* "waiting for shares", ...; names is for programs. */
const char *status_of_set(const struct inbox_set *set);
/* "sent", "opened"...; NULL: unknown. */
const char *status_of_event(unsigned event);

#endif
