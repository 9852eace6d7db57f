/*
 * What people and bots wrote to us. Updates are worked on in their order; the
 * next poll confirms those before it, so it names only what is durable. What
 * is not confirmed comes again, also after a crash.
 */
#include "telegram.h"

#include "bot_answer.h"
#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* As long as a document is put aside, its update comes every time. */
enum { ASIDE_POLL_MS = 2000 };

static json_int_t update_id(const json_t *update)
{
	return json_integer_value(json_object_get(update, "update_id"));
}

/* The update being worked on is durable, or nothing for us. */
static int step(struct telegram *t)
{
	json_int_t id = update_id(json_array_get(t->batch, t->batch_at++));

	/* without a number that can be confirmed it would come for ever */
	if (id <= 0 || id == INT64_MAX) {
		snprintf(t->reason, sizeof t->reason, "%s", telegram_no_server);
		return -EPROTO;
	}
	t->offset = id + 1;
	return 0;
}

/* Behind one that is put aside come those that were taken in already. */
static size_t count_known(const struct telegram *t, const json_t *updates)
{
	size_t n = 0;

	while (t->aside && n < json_array_size(updates) &&
	       update_id(json_array_get(updates, n)) < t->offset)
		n++;
	return n;
}

/* What was just confirmed, and would come for ever. */
static bool is_repeated(const struct telegram *t, const json_t *updates)
{
	size_t n = json_array_size(updates);

	return n && t->offset && !t->aside &&
	       update_id(json_array_get(updates, n - 1)) == t->offset - 1;
}

static void take_batch(struct telegram *t, json_t *updates)
{
	size_t known = count_known(t, updates);

	t->poll_tries = 0;
	t->garbled_id = 0;
	t->heard = true;
	t->more = json_array_size(updates) > known;
	t->batch_at = t->batch_seen = known;
	if (t->more)
		t->batch = json_incref(updates);
	else if (t->aside)
		t->poll_again_ms = clock_now_ms() + ASIDE_POLL_MS;
	/* nothing else can be seen behind so many */
	if (known == TELEGRAM_UPDATES)
		telegram_give_up_aside(t);
	t->limit *= 2;
	if (t->limit > TELEGRAM_UPDATES)
		t->limit = TELEGRAM_UPDATES;
}

/*
 * What came cannot be read: perhaps less can, and what makes the trouble is
 * found, and passed over. False: it is nothing of the kind.
 */
static bool narrow_down(struct telegram *t, const struct bot_reply *r)
{
	const struct transport_receiver *to = t->receiver;
	json_int_t id = bot_answer_update_id(r->body, r->body_len);
	bool again = id == t->garbled_id;

	if (!r->garbled || id == 0)
		return false;
	if (t->limit > 1) {
		t->limit /= 2;
		return true;
	}
	t->garbled_id = id;
	if (again) {
		t->offset = id + 1;
		if (to && to->lost)
			to->lost(to->arg, "a message to our bot that cannot be "
					  "understood is passed over");
	}
	return true;
}

static void poll_done(void *arg, const struct bot_reply *r)
{
	struct telegram *t = arg;
	int64_t wait_ms = 1000 * (int64_t)r->retry_after_s;
	int err;

	t->polling = false;
	if (r->error_code == 0 && json_is_array(r->result) &&
	    !is_repeated(t, r->result)) {
		take_batch(t, (json_t *)r->result);
		return;
	}
	if (narrow_down(t, r))
		return;
	if (r->error_code) {
		err = telegram_explain(r, t->username, t->reason);
	} else {
		snprintf(t->reason, sizeof t->reason, "%s", telegram_no_server);
		err = -EPROTO;
	}
	if (wait_ms == 0)
		wait_ms = telegram_backoff_ms(++t->poll_tries);
	t->poll_again_ms = clock_now_ms() + wait_ms;
	if (err != -EAGAIN || t->poll_tries >= TELEGRAM_TRIES ||
	    wait_ms > TELEGRAM_PATIENCE_MS)
		t->receive_err = err;
}

static int start_poll(struct telegram *t, unsigned timeout_s)
{
	const struct bot_callback cb = {.done = poll_done, .arg = t};
	json_int_t aside = telegram_first_aside(t);
	json_int_t offset = aside ? aside : t->offset;
	json_t *params = json_pack(
		"{s:i, s:i, s:[s, s]}", "timeout", (int)timeout_s, "limit",
		(int)t->limit, "allowed_updates", "message", "edited_message");

	if (params && offset &&
	    json_object_set_new(params, "offset", json_integer(offset))) {
		json_decref(params);
		params = NULL;
	}
	if (!params)
		return -ENOMEM;
	t->polling = true;
	t->poll_waits = timeout_s > 0;
	return bot_api_call(t->api, "getUpdates", params, timeout_s, &cb);
}

static const json_t *message_of(const json_t *update)
{
	const json_t *message = json_object_get(update, "message");

	return message ? message : json_object_get(update, "edited_message");
}

/* The documents that come next are on their way while others are taken in. */
static int look_ahead(struct telegram *t)
{
	int err = 0;

	while (!err && t->batch_seen < json_array_size(t->batch) &&
	       telegram_documents(t) < TELEGRAM_DOWNLOAD_PARALLEL) {
		const json_t *update = json_array_get(t->batch, t->batch_seen);

		err = telegram_begin_document(t, message_of(update),
					      t->batch_seen++,
					      update_id(update));
	}
	return err;
}

/* "/start WORD" from somebody alone with us, or "/start@ourbot WORD" */
static const char *greeting_of(const struct telegram *t, const char *text)
{
	static const char command[] = "/start";
	size_t n = sizeof command - 1, name = strlen(t->username);

	if (strncmp(text, command, n) != 0)
		return NULL;
	text += n;
	if (strncasecmp(text, t->username, name) == 0)
		text += name;
	if (*text && *text != ' ')
		return NULL;
	return *text ? text + 1 : text;
}

/* A greeting, or words that may have an envelope in them. */
static int take_text(struct telegram *t, const json_t *message,
		     const json_t *json_text)
{
	const struct transport_receiver *to = t->receiver;
	const json_t *chat = json_object_get(message, "chat"),
		     *sender = json_object_get(message, "from");
	const char *type = json_string_value(json_object_get(chat, "type"));
	const char *text = json_string_value(json_text);
	const char *word = greeting_of(t, text);
	long long id = json_integer_value(json_object_get(chat, "id"));
	char address[32], from[64];

	snprintf(address, sizeof address, "chat:%lld", id);
	/* several people write to a group */
	snprintf(from, sizeof from, "%s %lld", address,
		 (long long)json_integer_value(json_object_get(sender, "id")));
	if (!word)
		return to->text(to->arg, from, text,
				json_string_length(json_text));
	/* a group is nobody in particular */
	if (!to->started || !type || strcmp(type, "private") != 0)
		return 0;
	return to->started(to->arg, word, address);
}

/* The words of the next update. */
static int take_words(struct telegram *t)
{
	const json_t *message =
		message_of(json_array_get(t->batch, t->batch_at));
	const json_t *text = json_object_get(message, "text");

	if (!text)
		text = json_object_get(message, "caption");
	return json_is_string(text) ? take_text(t, message, text) : 0;
}

/* Did somebody say this? There are notices, too: of what was pinned... */
static bool is_said(const json_t *message)
{
	static const char *const kinds[] = {
		"text",	 "caption", "document",	  "photo", "sticker",
		"voice", "video",   "video_note", "audio", "animation",
		"poll",	 "contact", "location",	  "story",
	};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (json_object_get(message, kinds[i]))
			return true;
	return false;
}

/* A person alone with us is answered. */
static void tell_beginning(const struct telegram *t, const json_t *message)
{
	const struct transport_receiver *to = t->receiver;
	const json_t *chat = json_object_get(message, "chat"),
		     *sender = json_object_get(message, "from");
	const char *type = json_string_value(json_object_get(chat, "type"));
	json_int_t id = json_integer_value(json_object_get(chat, "id"));
	char address[32] = "";

	if (!to->begins)
		return;
	if (type && strcmp(type, "private") == 0 && id > 0 &&
	    json_integer_value(json_object_get(sender, "id")) == id &&
	    json_is_false(json_object_get(sender, "is_bot")) &&
	    is_said(message))
		snprintf(address, sizeof address, "chat:%lld", (long long)id);
	to->begins(to->arg, address);
}

/* Take in the next update; *done: it is. */
static int take_update(struct telegram *t, bool *done)
{
	int err;

	tell_beginning(t, message_of(json_array_get(t->batch, t->batch_at)));
	err = telegram_hand_over(t, t->batch_at, done);
	if (err || !*done)
		return err;
	err = take_words(t);
	if (err)
		return err;
	telegram_end_document(t, t->batch_at);
	if (t->receiver->ends)
		t->receiver->ends(t->receiver->arg);
	return step(t);
}

static int work_on_batch(struct telegram *t)
{
	bool done = true;
	int err = look_ahead(t);

	while (!err && done && t->batch_at < json_array_size(t->batch)) {
		err = take_update(t, &done);
		if (!err && done)
			err = look_ahead(t);
	}
	if (t->batch_at >= json_array_size(t->batch))
		json_decref(TAKE_PTR(t->batch));
	return err;
}

void telegram_drop_arrivals(struct telegram *t)
{
	telegram_drop_documents(t);
	json_decref(TAKE_PTR(t->batch));
}

bool telegram_receiving(const struct telegram *t)
{
	if (t->batch || !t->heard)
		return true;
	return t->polling && !t->poll_waits;
}

int telegram_receive_more(struct telegram *t, bool at_once, int *wait_ms)
{
	int64_t now = clock_now_ms();
	int err = t->receive_err;

	t->receive_err = 0;
	if (!err && t->batch)
		err = work_on_batch(t);
	if (!err)
		err = telegram_hand_over_aside(t);
	if (!err)
		err = telegram_fetch_more(t, wait_ms);
	if (err || t->batch || t->polling)
		return err;
	if (at_once && t->heard && !t->more)
		return 0;
	if (t->poll_again_ms > now) {
		if (t->poll_again_ms - now < *wait_ms)
			*wait_ms = (int)(t->poll_again_ms - now);
		return 0;
	}
	/* what was taken in is confirmed before anything is waited for */
	return start_poll(t, at_once || t->more ? 0 : TELEGRAM_POLL_MAX_S);
}
