/*
 * What people and bots wrote to us. Updates are worked on in their order; the
 * next poll confirms those before it, so it names only what is durable. What
 * is not confirmed comes again, also after a crash.
 */
#include "telegram.h"

#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	UPDATES = 100,
	BAD_TRIES = 8,
	FILE_ID_MAX = 256,
	FILENAME_MAX_LEN = 200,
};
/* Larger than any part that a server of one's own takes. */
#define DOCUMENT_MAX (UINT64_C(2000) << 20)

/* The document being fetched: one at a time, in order. */
struct arrival {
	struct telegram *t;
	char file_id[FILE_ID_MAX], filename[FILENAME_MAX_LEN + 1];
	char file_path[BOT_FILE_PATH_MAX + 1]; /* "" before getFile */
	uint64_t len;
	int fd;
	bool under_way;
	bool complete, given_up; /* to be handed over when somebody listens */
	unsigned tries, bad; /* bad: tries that did not just fail on the way */
	int64_t not_before_ms;
};

static void arrival_free(struct arrival *a)
{
	if (a && a->fd >= 0)
		close(a->fd);
	free(a);
}

void telegram_drop_arrivals(struct telegram *t)
{
	arrival_free(TAKE_PTR(t->arrival));
	json_decref(TAKE_PTR(t->batch));
}

/* The update being worked on is durable, or nothing for us. */
static void step(struct telegram *t)
{
	const json_t *update = json_array_get(t->batch, t->batch_at);

	t->offset =
		json_integer_value(json_object_get(update, "update_id")) + 1;
	t->batch_at++;
}

static void poll_done(void *arg, const struct bot_reply *r)
{
	struct telegram *t = arg;
	int err;

	t->polling = false;
	t->heard = true;
	if (r->error_code == 0 && json_is_array(r->result)) {
		t->poll_tries = 0;
		t->batch = json_incref((json_t *)r->result);
		t->batch_at = 0;
		return;
	}
	err = telegram_explain(r, t->username, t->reason);
	t->poll_tries++;
	t->poll_again_ms =
		telegram_now_ms() +
		(r->retry_after_s ? 1000 * (int64_t)r->retry_after_s
				  : telegram_backoff_ms(t->poll_tries));
	if (err != -EAGAIN || t->poll_tries >= TELEGRAM_TRIES)
		t->receive_err = err;
}

static int start_poll(struct telegram *t, unsigned timeout_s)
{
	const struct bot_callback cb = {.done = poll_done, .arg = t};
	json_t *params =
		json_pack("{s:i, s:i, s:[s]}", "timeout", (int)timeout_s,
			  "limit", UPDATES, "allowed_updates", "message");

	if (params && t->offset &&
	    json_object_set_new(params, "offset", json_integer(t->offset))) {
		json_decref(params);
		params = NULL;
	}
	if (!params)
		return -ENOMEM;
	t->polling = true;
	return bot_api_call(t->api, "getUpdates", params, timeout_s, &cb);
}

static void give_up_document(struct arrival *a, const char *why)
{
	snprintf(a->t->reason, sizeof a->t->reason,
		 "the document '%s' cannot be fetched and is given up: %s",
		 a->filename, why);
	a->given_up = true;
}

static void retry_document(struct arrival *a, const struct bot_reply *r)
{
	/* a download link lasts for an hour at least, and not for ever */
	a->file_path[0] = '\0';
	a->tries++;
	a->not_before_ms = telegram_now_ms() +
			   (r->retry_after_s ? 1000 * (int64_t)r->retry_after_s
					     : telegram_backoff_ms(a->tries));
}

static void file_failed(struct arrival *a, const struct bot_reply *r)
{
	int err = telegram_explain(r, a->t->username, a->t->reason);

	if (r->io_err && r->io_err != -EFBIG)
		a->t->receive_err = r->io_err;
	if (r->error_code == 401)
		a->t->receive_err = err;
	else if (err == -EAGAIN && r->io_err != -EFBIG)
		retry_document(a, r);
	else if (r->error_code == 404 && ++a->bad < BAD_TRIES)
		retry_document(a, r);
	else
		give_up_document(a, r->description);
}

static void fetched(void *arg, const struct bot_reply *r)
{
	struct arrival *a = arg;

	a->under_way = false;
	a->t->heard = true;
	if (r->wrote_all)
		a->complete = true;
	else
		file_failed(a, r);
}

static void located(void *arg, const struct bot_reply *r)
{
	struct arrival *a = arg;
	const char *path =
		json_string_value(json_object_get(r->result, "file_path"));

	a->under_way = false;
	a->t->heard = true;
	if (r->error_code)
		file_failed(a, r);
	else if (!path || strlen(path) > BOT_FILE_PATH_MAX)
		give_up_document(a, "the server does not say where it lies");
	else
		snprintf(a->file_path, sizeof a->file_path, "%s", path);
}

/* A file without a name; some file systems know none without a trick. */
static int open_nameless(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	char name[64];

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	xio_temp_name("", name, sizeof name - 4);
	strcat(name, ".tmp"); /* what the spool tidies up */
	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		unlinkat(dirfd, name, 0);
	return fd;
}

static int fresh_file(struct arrival *a)
{
	if (a->fd < 0)
		a->fd = open_nameless(a->t->temp_dirfd);
	if (a->fd < 0 || ftruncate(a->fd, 0) < 0 ||
	    lseek(a->fd, 0, SEEK_SET) < 0)
		return -errno;
	return 0;
}

static int start_fetch(struct arrival *a)
{
	const struct bot_callback find = {.done = located, .arg = a},
				  get = {.done = fetched, .arg = a};
	json_t *params;
	int err;

	a->under_way = true;
	if (a->file_path[0]) {
		err = fresh_file(a);
		if (!err)
			err = bot_api_download(a->t->api, a->file_path, a->fd,
					       a->len, &get);
	} else {
		params = json_pack("{s:s}", "file_id", a->file_id);
		err = params ? bot_api_call(a->t->api, "getFile", params, 0,
					    &find)
			     : -ENOMEM;
	}
	if (err)
		a->under_way = false;
	return err;
}

/* Begin with a document; one that nobody of ours sent is passed over. */
static int take_document(struct telegram *t, const json_t *document)
{
	const char *id =
		json_string_value(json_object_get(document, "file_id"));
	const char *name =
		json_string_value(json_object_get(document, "file_name"));
	json_int_t len =
		json_integer_value(json_object_get(document, "file_size"));
	struct arrival *a;

	if (!id || strlen(id) >= FILE_ID_MAX || !name ||
	    strlen(name) > FILENAME_MAX_LEN || len <= 0 ||
	    (uint64_t)len > DOCUMENT_MAX) {
		step(t);
		return 0;
	}
	a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	a->t = t;
	a->fd = -1;
	a->len = (uint64_t)len;
	snprintf(a->file_id, sizeof a->file_id, "%s", id);
	snprintf(a->filename, sizeof a->filename, "%s", name);
	t->arrival = a;
	return 0;
}

/* "/start WORD", or a text. */
static int take_text(struct telegram *t, const json_t *message,
		     const json_t *json_text)
{
	static const char command[] = "/start";
	const struct transport_receiver *to = t->receiver;
	const json_t *chat = json_object_get(message, "chat");
	const char *text = json_string_value(json_text);
	size_t n = sizeof command - 1;
	char address[32];

	snprintf(address, sizeof address, "chat:%lld",
		 (long long)json_integer_value(json_object_get(chat, "id")));
	if (strncmp(text, command, n) != 0 || (text[n] && text[n] != ' '))
		return to->text(to->arg, address, text,
				json_string_length(json_text));
	if (!to->started)
		return 0;
	return to->started(to->arg, text[n] ? text + n + 1 : "", address);
}

/* Take in the next update, unless it has to be fetched first. */
static int take_update(struct telegram *t)
{
	const json_t *update = json_array_get(t->batch, t->batch_at);
	const json_t *message = json_object_get(update, "message");
	const json_t *text = json_object_get(message, "text");
	const json_t *document = json_object_get(message, "document");
	int err = 0;

	if (document)
		return take_document(t, document);
	if (json_is_string(text))
		err = take_text(t, message, text);
	if (!err)
		step(t);
	return err;
}

/* Somebody listens: what was fetched, or cannot be, is told. */
static int hand_over(struct telegram *t)
{
	const struct transport_receiver *to = t->receiver;
	struct arrival *a = t->arrival;
	int err = 0;

	if (a->given_up) {
		if (to->lost)
			to->lost(to->arg, t->reason);
	} else {
		if (lseek(a->fd, 0, SEEK_SET) < 0)
			return -errno;
		err = to->document(to->arg, a->fd, a->len, a->filename);
	}
	/* named by its content, and it is not that: wrong on the way */
	if ((err == -EBADMSG || err == -EAGAIN) && ++a->bad < BAD_TRIES) {
		const struct bot_reply again = {0};

		a->complete = false;
		retry_document(a, &again);
		return 0;
	}
	if (err && err != -EBADMSG && err != -EAGAIN)
		return err;
	arrival_free(TAKE_PTR(t->arrival));
	step(t);
	return 0;
}

static int work_on_batch(struct telegram *t, int *wait_ms)
{
	int64_t now = telegram_now_ms();
	int err = 0;

	if (t->arrival && (t->arrival->complete || t->arrival->given_up))
		err = hand_over(t);
	while (!err && !t->arrival && t->batch_at < json_array_size(t->batch))
		err = take_update(t);
	if (!err && t->arrival && !t->arrival->under_way) {
		int64_t wait = t->arrival->not_before_ms - now;

		if (wait <= 0)
			err = start_fetch(t->arrival);
		else if (wait < *wait_ms)
			*wait_ms = (int)wait;
	}
	if (!t->arrival && t->batch_at >= json_array_size(t->batch))
		json_decref(TAKE_PTR(t->batch));
	return err;
}

int telegram_receive_more(struct telegram *t, int timeout_ms, int *wait_ms)
{
	int64_t now = telegram_now_ms();
	int seconds = timeout_ms / 1000;
	int err = t->receive_err;

	t->receive_err = 0;
	if (!err && t->batch)
		err = work_on_batch(t, wait_ms);
	if (err || t->batch || t->polling)
		return err;
	if (t->poll_again_ms > now) {
		if (t->poll_again_ms - now < *wait_ms)
			*wait_ms = (int)(t->poll_again_ms - now);
		return 0;
	}
	if (seconds > TELEGRAM_POLL_MAX_S)
		seconds = TELEGRAM_POLL_MAX_S;
	return start_poll(t, (unsigned)seconds);
}
