#include "status_words.h"
#include "deliver.h"
#include "opened.h"

static const char *const ends[] = {
	[ITEM_REVOKED] = "revoked",   [ITEM_WITHDRAWN] = "withdrawn",
	[ITEM_REPLACED] = "replaced", [ITEM_EXPIRED] = "expired",
	[ITEM_DECLINED] = "declined",
};

const char *status_of_item(const struct item *item, uint64_t now_s)
{
	if (item->end < sizeof ends / sizeof *ends && ends[item->end])
		return ends[item->end];
	/* a copy is theirs, whenever that is heard of; a grant ends */
	if (item->kind == ITEM_SEND && item->recipient_state == ACK_OPENED)
		return "opened";
	if (!item_live(item, now_s))
		return "expired";
	if (item->recipient_state == ACK_OPENED)
		return "opened";
	if (item->recipient_state == ACK_RECEIVED)
		return "received";
	if (item->exported)
		return item_never_left(item) ? "unfinished" : "exported";
	return deliver_waiting(item, now_s) ? "queued" : "sent";
}

bool status_is_waiting(const struct item *item, unsigned i)
{
	/* what the recipient received says nothing of what others keep */
	if (item->exported || item->recipient_state >= ACK_OPENED ||
	    (item->holders[i] == 0 && item->recipient_state) ||
	    item->share_state[i] != 0)
		return false;
	for (size_t j = 0; j < item->message_count; j++) {
		const struct item_message *m = &item->messages[j];

		if ((m->kind == STATEMENT_SHARE ||
		     m->kind == STATEMENT_CUSTODY) &&
		    m->index == i + 1)
			return m->sends == 0;
	}
	return false;
}

const char *status_of_share(const struct item *item, unsigned i)
{
	static const char *const words[] = {
		[ACK_CUSTODY] = "kept",
		[ACK_RELEASED] = "passed on",
		[ACK_DECLINED] = "declined",
	};
	unsigned state = item->share_state[i];

	if (status_is_waiting(item, i))
		return "not delivered";
	if (item->holders[i] == 0)
		return item->recipient_state ? "received" : "sent";
	return state < sizeof words / sizeof *words && words[state]
		       ? words[state]
		       : "sent";
}

const char *status_of_set(const struct inbox_set *set)
{
	static const char *const words[] = {
		[INBOX_WAITING_CARD] = "waiting for a card",
		[INBOX_WAITING_MANIFEST] = "waiting for its description",
		[INBOX_WAITING_SHARES] = "waiting for shares",
		[INBOX_WAITING_CONTENT] = "waiting for content",
		[INBOX_OPEN] = "open",
		[INBOX_GRANTED] = "granted",
		[INBOX_NOT_ATTACHED] = "not attached",
		[INBOX_REVOKED] = "revoked",
		[INBOX_EXPIRED] = "expired",
		[INBOX_CUSTODY] = "kept for another",
		[INBOX_DAMAGED] = "damaged",
	};

	return set->state < sizeof words / sizeof *words && words[set->state]
		       ? words[set->state]
		       : "unknown";
}

const char *status_of_opened(uint8_t state)
{
	static const char *const words[] = {
		[OPENED_STAYS] = "opened",	[OPENED_REMOVED] = "removed",
		[OPENED_EXPIRED] = "expired",	[OPENED_REVOKED] = "revoked",
		[OPENED_REPLACED] = "replaced",
	};

	return words[state];
}

const char *status_of_record(const struct vlog_record *r)
{
	static const char *const words[VLOG_EVENTS] = {
		[VLOG_SENT] = "sent",
		[VLOG_GRANTED] = "granted",
		[VLOG_RECEIVED] = "received",
		[VLOG_OPENED] = "opened",
		[VLOG_CUSTODY] = "kept",
		[VLOG_RELEASED] = "released",
		[VLOG_REFUSED] = "refused",
		[VLOG_REVOKED] = "revoked",
		[VLOG_WITHDRAWN] = "withdrawn",
		[VLOG_KEY_REVOKED] = "key revoked",
		[VLOG_EXPIRED] = "expired",
		[VLOG_REKEYED] = "rekeyed",
		[VLOG_ACKNOWLEDGED] = "acknowledged",
		[VLOG_DECLINED] = "declined",
		[VLOG_VERIFIED] = "verified",
		[VLOG_EXPORTED] = "exported",
	};

	if (r->event == VLOG_VERIFIED && r->detail == VLOG_DIFFERS)
		return "not verified";
	return r->event < VLOG_EVENTS ? words[r->event] : NULL;
}
