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
	BAD_TRIES = 3,
	FILE_ID_MAX = 256,
	FILENAME_MAX_LEN = 200,
};
/* Larger than any part that a server of one's own takes. */
#define DOCUMENT_MAX (UINT64_C(2000) << 20)

/* A document being fetched: some at a time, taken in in their order. */
struct arrival {
	struct arrival *next;
	struct telegram *t;
	size_t at; /* of its update in the batch */
	char file_id[FILE_ID_MAX], filename[FILENAME_MAX_LEN + 1];
	char file_path[BOT_FILE_PATH_MAX + 1]; /* "" before getFile */
	uint64_t len;
	int fd;
	bool under_way;
	bool complete; /* to be handed over when its turn has come */
	char lost[TELEGRAM_REASON_MAX]; /* why it is given up; "": it is not */
	unsigned tries, bad; /* bad: tries that did not just fail on the way */
	int64_t not_before_ms;
};

static void arrival_free(struct arrival *a)
{
	if (a && a->fd >= 0)
		close(a->fd);
	free(a);
}

/* The first one. */
static void drop_arrival(struct telegram *t)
{
	struct arrival *a = t->arrivals;

	t->arrivals = a->next;
	arrival_free(a);
}

void telegram_drop_arrivals(struct telegram *t)
{
	while (t->arrivals)
		drop_arrival(t);
	json_decref(TAKE_PTR(t->batch));
}

/* The update being worked on is durable, or nothing for us. */
static void step(struct telegram *t)
{
	const json_t *update = json_array_get(t->batch, t->batch_at);

	const json_t *id = json_object_get(update, "update_id");

	/* without a number that can be confirmed it would come for ever */
	if (json_integer_value(id) > 0 && json_integer_value(id) < INT64_MAX) {
		t->offset = json_integer_value(id) + 1;
	} else {
		snprintf(t->reason, sizeof t->reason,
			 "what answers at api_base is no Bot API server");
		t->receive_err = -EPROTO;
	}
	t->batch_at++;
}

static void take_batch(struct telegram *t, json_t *updates)
{
	t->poll_tries = 0;
	t->heard = true;
	t->more = json_array_size(updates) > 0;
	t->batch_at = t->batch_seen = 0;
	if (t->more)
		t->batch = json_incref(updates);
}

static void poll_done(void *arg, const struct bot_reply *r)
{
	struct telegram *t = arg;
	int64_t wait_ms = 1000 * (int64_t)r->retry_after_s;
	int err;

	t->polling = false;
	if (r->error_code == 0 && json_is_array(r->result)) {
		take_batch(t, (json_t *)r->result);
		return;
	}
	err = telegram_explain(r, t->username, t->reason);
	if (wait_ms == 0)
		wait_ms = telegram_backoff_ms(++t->poll_tries);
	t->poll_again_ms = telegram_now_ms() + wait_ms;
	if (err != -EAGAIN || t->poll_tries >= TELEGRAM_TRIES ||
	    wait_ms > TELEGRAM_PATIENCE_MS)
		t->receive_err = err;
}

static int start_poll(struct telegram *t, unsigned timeout_s)
{
	const struct bot_callback cb = {.done = poll_done, .arg = t};
	json_t *params = json_pack(
		"{s:i, s:i, s:[s, s]}", "timeout", (int)timeout_s, "limit",
		UPDATES, "allowed_updates", "message", "edited_message");

	if (params && t->offset &&
	    json_object_set_new(params, "offset", json_integer(t->offset))) {
		json_decref(params);
		params = NULL;
	}
	if (!params)
		return -ENOMEM;
	t->polling = true;
	t->poll_waits = timeout_s > 0;
	return bot_api_call(t->api, "getUpdates", params, timeout_s, &cb);
}

static void give_up_document(struct arrival *a, const char *why)
{
	snprintf(a->lost, sizeof a->lost,
		 "the document '%s' cannot be fetched: %s", a->filename, why);
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
	struct telegram *t = a->t;
	int err = telegram_explain(r, t->username, t->reason);

	if (r->io_err && r->io_err != -EFBIG)
		t->receive_err = r->io_err;
	else if (r->error_code == 401)
		t->receive_err = err;
	else if (r->io_err != -EFBIG && a->tries < TELEGRAM_TRIES &&
		 1000 * (int64_t)r->retry_after_s <= TELEGRAM_PATIENCE_MS &&
		 (err == -EAGAIN || r->error_code == 404))
		retry_document(a, r);
	else if (err == -EAGAIN && r->io_err != -EFBIG)
		t->receive_err = err; /* it stays where it is */
	else
		give_up_document(a, r->description);
}

static void fetched(void *arg, const struct bot_reply *r)
{
	struct arrival *a = arg;

	a->under_way = false;
	a->complete = r->wrote_all;
	if (!r->wrote_all)
		file_failed(a, r);
}

static void located(void *arg, const struct bot_reply *r)
{
	struct arrival *a = arg;
	const char *path =
		json_string_value(json_object_get(r->result, "file_path"));

	a->under_way = false;
	if (r->error_code)
		file_failed(a, r);
	else if (!path || !*path || strlen(path) > BOT_FILE_PATH_MAX)
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

/*
 * A server of one's own that runs with --local serves no files: it says where
 * on this machine they lie. That path has the token in it and is not told.
 */
static int copy_local(struct arrival *a)
{
	CLEANUP_FD int from =
		open(a->file_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	uint64_t at = 0;
	int err = from < 0 ? -errno : fresh_file(a);

	if (!err && (fstat(from, &st) < 0 || !S_ISREG(st.st_mode) ||
		     (uint64_t)st.st_size > a->len))
		err = -EINVAL;
	while (!err) {
		uint8_t block[64 << 10];
		ssize_t n = read(from, block, sizeof block);

		if (n <= 0) {
			err = n < 0 ? -errno : 0;
			break;
		}
		at += (uint64_t)n;
		err = at > a->len ? -EFBIG : xio_write(a->fd, block, (size_t)n);
	}
	if (err)
		snprintf(a->t->reason, sizeof a->t->reason,
			 "the file that our Bot API server has fetched cannot "
			 "be taken from where it put it: %s; see that this "
			 "user may read there",
			 strerror(-err));
	a->complete = !err;
	return err;
}

static int start_fetch(struct arrival *a)
{
	const struct bot_callback find = {.done = located, .arg = a},
				  get = {.done = fetched, .arg = a};
	json_t *params;
	int err;

	if (a->file_path[0] == '/' && a->t->local)
		return copy_local(a);
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

/* Only what tgshare sends: an envelope, or a part named by its hash. */
static bool is_ours(const char *name)
{
	static const char *const suffixes[] = {".env", ".part"};
	size_t len = strlen(name);

	for (size_t i = 0; i < 2; i++) {
		size_t n = strlen(suffixes[i]);

		if (len > n && strcmp(name + len - n, suffixes[i]) == 0)
			return true;
	}
	return false;
}

static const json_t *message_of(const json_t *update)
{
	const json_t *message = json_object_get(update, "message");

	return message ? message : json_object_get(update, "edited_message");
}

/* Begin with the document of the update at; others are passed over. */
static int take_document(struct telegram *t, size_t at)
{
	const json_t *document = json_object_get(
		message_of(json_array_get(t->batch, at)), "document");
	const char *id =
		json_string_value(json_object_get(document, "file_id"));
	const char *name =
		json_string_value(json_object_get(document, "file_name"));
	json_int_t len =
		json_integer_value(json_object_get(document, "file_size"));
	struct arrival *a, **end = &t->arrivals;

	if (!id || strlen(id) >= FILE_ID_MAX || !name || !is_ours(name) ||
	    strlen(name) > FILENAME_MAX_LEN || len <= 0 ||
	    (uint64_t)len > DOCUMENT_MAX)
		return 0;
	a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	a->t = t;
	a->fd = -1;
	a->at = at;
	a->len = (uint64_t)len;
	snprintf(a->file_id, sizeof a->file_id, "%s", id);
	snprintf(a->filename, sizeof a->filename, "%s", name);
	while (*end)
		end = &(*end)->next;
	*end = a;
	return 0;
}

static size_t count_arrivals(const struct telegram *t)
{
	size_t n = 0;

	for (const struct arrival *a = t->arrivals; a; a = a->next)
		n++;
	return n;
}

/* The documents that come next are on their way while others are taken in. */
static int look_ahead(struct telegram *t)
{
	int err = 0;

	while (!err && t->batch_seen < json_array_size(t->batch) &&
	       count_arrivals(t) < TELEGRAM_DOWNLOAD_PARALLEL)
		err = take_document(t, t->batch_seen++);
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

/* The next update's document; *done: nothing more of it will come. */
static int hand_over(struct telegram *t, struct arrival *a, bool *done)
{
	const struct transport_receiver *to = t->receiver;
	const struct bot_reply again = {0};
	int err;

	*done = a->lost[0];
	if (*done && to->lost)
		to->lost(to->arg, a->lost);
	if (*done || !a->complete)
		return 0;
	if (lseek(a->fd, 0, SEEK_SET) < 0)
		return -errno;
	err = to->document(to->arg, a->fd, a->len, a->filename);
	*done = !err;
	if (err != -EBADMSG && err != -EAGAIN)
		return err;
	/* named by its content, and it is not that: wrong on the way */
	a->complete = false;
	if (++a->bad < BAD_TRIES)
		retry_document(a, &again);
	else
		give_up_document(a, "what comes is not what was sent");
	return 0;
}

/* Take in the next update; *done: it is. */
static int take_update(struct telegram *t, bool *done)
{
	struct arrival *a = t->arrivals;
	int err = 0;

	*done = true;
	tell_beginning(t, message_of(json_array_get(t->batch, t->batch_at)));
	if (a && a->at == t->batch_at)
		err = hand_over(t, a, done);
	if (err || !*done)
		return err;
	err = take_words(t);
	if (err)
		return err;
	if (a && a->at == t->batch_at)
		drop_arrival(t);
	step(t);
	if (t->receiver->ends)
		t->receiver->ends(t->receiver->arg);
	return 0;
}

/* Start what may be; *wait_ms: when to look again at the latest. */
static int fetch_more(struct telegram *t, int *wait_ms)
{
	int64_t now = telegram_now_ms();
	int err = 0;

	for (struct arrival *a = t->arrivals; a && !err; a = a->next) {
		int64_t wait = a->not_before_ms - now;

		if (a->under_way || a->complete || a->lost[0])
			continue;
		if (wait <= 0)
			err = start_fetch(a);
		else if (wait < *wait_ms)
			*wait_ms = (int)wait;
	}
	return err;
}

static int work_on_batch(struct telegram *t, int *wait_ms)
{
	bool done = true;
	int err = look_ahead(t);

	while (!err && done && t->batch_at < json_array_size(t->batch)) {
		err = take_update(t, &done);
		if (!err && done)
			err = look_ahead(t);
	}
	if (!err)
		err = fetch_more(t, wait_ms);
	if (t->batch_at >= json_array_size(t->batch))
		json_decref(TAKE_PTR(t->batch));
	return err;
}

bool telegram_receiving(const struct telegram *t)
{
	if (t->batch || !t->heard)
		return true;
	return t->polling && !t->poll_waits;
}

int telegram_receive_more(struct telegram *t, bool at_once, int *wait_ms)
{
	int64_t now = telegram_now_ms();
	int err = t->receive_err;

	t->receive_err = 0;
	if (!err && t->batch)
		err = work_on_batch(t, wait_ms);
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
