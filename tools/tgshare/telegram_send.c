/* Parcels: messages and documents on their way out, and what is taken back. */
#include "clock.h"
#include "telegram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAITS_MAX = 60 }; /* then they count as failures */

struct parcel {
	struct parcel *next;
	struct telegram *t;
	struct transport_message message;
	char chat[TELEGRAM_CHAT_MAX + 1];
	json_int_t retract_id; /* of the message to be taken back, or 0 */
	void (*retracted)(void *arg, int err);
	void *retracted_arg;
	bool tombstone; /* it is too old to be deleted */
	bool under_way;
	unsigned tries, told_to_wait;
	int64_t not_before_ms;
};

static const char tombstone_text[] =
	"This was taken back by its sender and cannot be used any more.";

static struct telegram *of(struct transport *t)
{
	return (struct telegram *)t;
}

bool telegram_idle(const struct transport *t)
{
	return !((const struct telegram *)t)->parcels;
}

static struct parcel *parcel_new(struct telegram *t, const char *chat)
{
	struct parcel *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->t = t;
	strncpy(p->chat, chat, TELEGRAM_CHAT_MAX);
	*t->parcels_end = p;
	t->parcels_end = &p->next;
	return p;
}

static void parcel_free(struct parcel *p)
{
	struct parcel **at = &p->t->parcels;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	if (!*at)
		p->t->parcels_end = at;
	free(p);
}

void telegram_drop_parcels(struct telegram *t)
{
	while (t->parcels)
		parcel_free(t->parcels);
}

/* "chat:" and a number, "@bot", or a number as it is. */
static const char *chat_of(const char *address)
{
	return strncmp(address, "chat:", 5) == 0 ? address + 5 : address;
}

int telegram_submit(struct transport *t, const struct transport_message *m)
{
	struct parcel *p = parcel_new(of(t), chat_of(m->address));

	if (!p)
		return -ENOMEM;
	p->message = *m;
	return 0;
}

int telegram_retract(struct transport *t, const char *address, const char *ref,
		     void (*done)(void *arg, int err), void *arg)
{
	char *rest;
	long long chat = strtoll(ref, &rest, 10), id;
	char number[24];
	struct parcel *p;

	(void)address;
	if (*rest != ':')
		return -EINVAL;
	id = strtoll(rest + 1, &rest, 10);
	if (*rest || id <= 0)
		return -EINVAL;
	snprintf(number, sizeof number, "%lld", chat);
	p = parcel_new(of(t), number);
	if (!p)
		return -ENOMEM;
	p->retract_id = id;
	p->retracted = done;
	p->retracted_arg = arg;
	return 0;
}

/* Where it lies now: the numbers of chat and message; false: it says not. */
static bool write_ref(const json_t *message, char ref[static TRANSPORT_REF_MAX])
{
	const json_t *chat = json_object_get(message, "chat");
	long long id = json_integer_value(json_object_get(chat, "id"));
	long long number =
		json_integer_value(json_object_get(message, "message_id"));

	snprintf(ref, TRANSPORT_REF_MAX, "%lld:%lld", id, number);
	return id != 0 && number > 0;
}

static void end_parcel(struct parcel *p, int err, const char *reason,
		       const char *ref)
{
	const struct parcel was = *p;
	const struct transport_message *m = &was.message;

	parcel_free(p);
	if (was.retracted)
		was.retracted(was.retracted_arg, err);
	if (m->done)
		m->done(m->arg, err, reason, ref);
}

static const char *who(const struct parcel *p)
{
	return p->message.who ? p->message.who : p->chat;
}

/* The next try, or the end of trying. */
static void try_again(struct parcel *p, const struct bot_reply *r)
{
	int64_t now = clock_now_ms();

	if (r->error_code == 429 && ++p->told_to_wait < WAITS_MAX) {
		/* being told to wait is no failure */
		pace_slow_down(p->t->pace, p->chat, r->retry_after_s, now);
		return;
	}
	p->tries++;
	p->not_before_ms = now + telegram_backoff_ms(p->tries);
}

static bool is_document(const struct parcel *p)
{
	return !p->retract_id && !p->message.text;
}

static void began(struct parcel *p)
{
	p->under_way = true;
	p->t->sending++;
	if (is_document(p))
		pace_load(p->t->pace, p->chat, p->message.len);
}

static void ended(struct parcel *p)
{
	p->under_way = false;
	p->t->sending--;
	if (is_document(p))
		pace_unload(p->t->pace, p->chat, p->message.len);
}

static void parcel_done(void *arg, const struct bot_reply *r)
{
	struct parcel *p = arg;
	char ref[TRANSPORT_REF_MAX] = "", reason[TELEGRAM_REASON_MAX];
	int err;

	ended(p);
	if (r->error_code == 0) {
		if (p->retract_id || write_ref(r->result, ref))
			end_parcel(p, 0, "", ref);
		else
			end_parcel(p, -EPROTO, telegram_no_server, "");
		return;
	}
	if (r->io_err) {
		snprintf(reason, sizeof reason,
			 "what was to be sent cannot be read: %s",
			 strerror(-r->io_err));
		end_parcel(p, r->io_err, reason, "");
		return;
	}
	err = telegram_explain(r, who(p), reason);
	if (p->retract_id && !p->tombstone && r->error_code == 400 &&
	    strstr(r->description, "can't be deleted")) {
		p->tombstone = true;
		return;
	}
	if (err == -EAGAIN && p->tries + 1 < TELEGRAM_TRIES)
		try_again(p, r);
	else
		end_parcel(p, err, reason, "");
}

/* An id as the API wants it: a number where it is one. */
static json_t *chat_json(const char *chat)
{
	char *rest;
	long long number = strtoll(chat, &rest, 10);

	return *chat && !*rest ? json_integer(number) : json_string(chat);
}

static int add_button(json_t *params, const struct transport_message *m)
{
	json_t *keyboard = json_pack("{s:[[{s:s, s:s}]]}", "inline_keyboard",
				     "text", m->button, "url", m->button_url);

	return keyboard ? json_object_set_new(params, "reply_markup", keyboard)
			: -1;
}

static int start_text(struct parcel *p, const struct bot_callback *cb)
{
	const struct transport_message *m = &p->message;
	json_t *params =
		json_pack("{s:o, s:s%, s:{s:b}}", "chat_id", chat_json(p->chat),
			  "text", (const char *)m->text, m->text_len,
			  "link_preview_options", "is_disabled", 1);

	if (params && m->button && add_button(params, m)) {
		json_decref(params);
		params = NULL;
	}
	return params ? bot_api_call(p->t->api, "sendMessage", params, 0, cb)
		      : -ENOMEM;
}

static int start_document(struct parcel *p, const struct bot_callback *cb)
{
	const struct transport_message *m = &p->message;
	const struct bot_upload up = {.chat_id = p->chat,
				      .filename = m->filename,
				      .fd = m->fd,
				      .offset = m->offset,
				      .len = m->len,
				      .progress = m->progress,
				      .progress_arg = m->arg};

	return bot_api_upload(p->t->api, &up, cb);
}

static int start_retraction(struct parcel *p, const struct bot_callback *cb)
{
	json_t *params = json_pack("{s:o, s:I}", "chat_id", chat_json(p->chat),
				   "message_id", p->retract_id);

	if (!params)
		return -ENOMEM;
	if (p->tombstone &&
	    json_object_set_new(params, "text", json_string(tombstone_text))) {
		json_decref(params);
		return -ENOMEM;
	}
	return bot_api_call(p->t->api,
			    p->tombstone ? "editMessageText" : "deleteMessage",
			    params, 0, cb);
}

static void start(struct parcel *p)
{
	const struct bot_callback cb = {.done = parcel_done, .arg = p};
	int err;

	began(p);
	if (p->retract_id)
		err = start_retraction(p, &cb);
	else if (p->message.text)
		err = start_text(p, &cb);
	else
		err = start_document(p, &cb);
	if (!err)
		return;
	ended(p);
	end_parcel(p, err, strerror(-err), "");
}

void telegram_give_up(struct transport *base)
{
	struct telegram *t = of(base);

	while (t->parcels) {
		struct parcel *p = t->parcels;

		if (p->under_way) {
			bot_api_forget(t->api, p);
			ended(p);
		}
		end_parcel(p, -EAGAIN, "it was given up for now", "");
	}
}

static void put_off(struct parcel *p, int64_t wait_ms)
{
	char reason[TELEGRAM_REASON_MAX];

	snprintf(
		reason, sizeof reason,
		"Telegram asks not to write to %s for %lld seconds; it will be "
		"tried again",
		who(p), (long long)(wait_ms / 1000));
	end_parcel(p, -EAGAIN, reason, "");
}

void telegram_send_more(struct telegram *t, int *wait_ms)
{
	int64_t now = clock_now_ms();

	for (struct parcel *p = t->parcels, *next; p; p = next) {
		int64_t wait;

		next = p->next;
		if (p->under_way ||
		    (is_document(p) &&
		     !pace_has_room(t->pace, p->chat, p->message.len)))
			continue;
		if (t->sending >= TELEGRAM_PARALLEL)
			return;
		wait = pace_wait_ms(t->pace, p->chat, now);
		if (p->not_before_ms - now > wait)
			wait = p->not_before_ms - now;
		if (wait > TELEGRAM_PATIENCE_MS) {
			put_off(p, wait);
			continue;
		}
		if (wait > 0) {
			if (wait < *wait_ms)
				*wait_ms = (int)wait;
			continue;
		}
		pace_took(t->pace, p->chat, now);
		start(p);
	}
}
