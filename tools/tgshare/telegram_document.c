/*
 * Documents that came: some are fetched at a time, and taken in in the order of
 * their updates. One that the server wants us to wait for is put aside: what
 * came behind it is taken in meanwhile.
 */
#include "telegram.h"

#include "bot_answer.h"
#include "clock.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
	/* of one that is other than its name says, and another each time */
	BAD_TRIES = 8,
	WAITS_MAX = 60,
	FILE_ID_MAX = 256,
	FILENAME_MAX_LEN = 200,
	/* one for which there is no room is tried again */
	NO_ROOM_MS = 60 * 1000,
	/* then the server has forgotten it anyway */
	ASIDE_MAX_MS = 23 * 3600 * 1000,
};
/* Larger than any part that a server of one's own takes. */
#define DOCUMENT_MAX (UINT64_C(2000) << 20)

struct arrival {
	struct arrival *next;
	struct telegram *t;
	size_t at; /* of its update in the batch */
	json_int_t update_id;
	char file_id[FILE_ID_MAX], filename[FILENAME_MAX_LEN + 1];
	char file_path[BOT_FILE_PATH_MAX + 1]; /* "" before getFile */
	uint64_t len;
	uint8_t hash[BOT_HASH_LEN]; /* of what was fetched last */
	int fd;
	bool under_way;
	bool complete; /* to be handed over when its turn has come */
	bool no_room;  /* it was, the last time */
	char lost[TELEGRAM_REASON_MAX]; /* why it is given up; "": it is not */
	unsigned waits, tries,
		bad; /* bad: what came was not what the name says */
	int64_t not_before_ms, since_ms;
};

static void arrival_free(struct arrival *a)
{
	if (a && a->fd >= 0)
		close(a->fd);
	free(a);
}

/* The first of a list. */
static void drop(struct arrival **list)
{
	struct arrival *a = *list;

	*list = a->next;
	arrival_free(a);
}

void telegram_drop_documents(struct telegram *t)
{
	while (t->arrivals)
		drop(&t->arrivals);
	while (t->aside)
		drop(&t->aside);
}

static void give_up(struct arrival *a, const char *why)
{
	char name[FILENAME_MAX_LEN + 1];

	bot_answer_plain(a->filename, name, sizeof name);
	snprintf(a->lost, sizeof a->lost,
		 "the document '%s' cannot be fetched: %s", name, why);
}

static void retry(struct arrival *a, const struct bot_reply *r)
{
	a->no_room = false;
	/* a download link lasts for an hour at least, and not for ever */
	a->file_path[0] = '\0';
	/* being told to wait is no failure, unless it never ends */
	a->tries += r->retry_after_s == 0 || ++a->waits > WAITS_MAX;
	a->not_before_ms = clock_now_ms() +
			   (r->retry_after_s ? 1000 * (int64_t)r->retry_after_s
					     : telegram_backoff_ms(a->tries));
}

/* What others sent may be small enough. */
static void wait_for_room(struct arrival *a)
{
	a->no_room = true;
	a->file_path[0] = '\0';
	/* nor does it keep the room that others need; and not all at once */
	if (a->fd >= 0)
		close(TAKE_FD(a->fd));
	a->not_before_ms =
		clock_now_ms() + NO_ROOM_MS + randombytes_uniform(NO_ROOM_MS);
}

static void own_trouble(struct arrival *a, int err)
{
	struct telegram *t = a->t;

	snprintf(t->reason, sizeof t->reason, "what came cannot be written: %s",
		 strerror(-err));
	if (err != -ENOSPC && err != -EDQUOT) {
		t->receive_err = err;
		return;
	}
	t->no_room = err;
	wait_for_room(a);
}

static void failed(struct arrival *a, const struct bot_reply *r)
{
	struct telegram *t = a->t;
	int err = telegram_explain(r, t->username, t->reason);

	if (r->io_err && r->io_err != -EFBIG)
		own_trouble(a, r->io_err);
	else if (r->error_code == 401)
		t->receive_err = err;
	else if (r->io_err != -EFBIG && a->tries < TELEGRAM_TRIES &&
		 (err == -EAGAIN || r->error_code == 404))
		retry(a, r);
	else if (err == -EAGAIN && r->io_err != -EFBIG)
		t->receive_err = err; /* it stays where it is */
	else
		give_up(a, r->description);
}

/* A name that begins with a hash has to tell the truth. */
static bool is_what_it_says(const struct arrival *a,
			    const uint8_t hash[static BOT_HASH_LEN])
{
	uint8_t told[BOT_HASH_LEN];

	return strlen(a->filename) < 2 * sizeof told ||
	       hex_decode(a->filename, 2 * sizeof told, told, sizeof told) ||
	       memcmp(told, hash, sizeof told) == 0;
}

/*
 * What differs each time is spoilt on the way and will come right; the same
 * twice is what was sent.
 */
/* A server, or what stands before it, may end early and call it well. */
static bool is_whole(const struct arrival *a)
{
	struct stat st;

	return fstat(a->fd, &st) == 0 && (uint64_t)st.st_size == a->len;
}

static void came(struct arrival *a, const uint8_t hash[static BOT_HASH_LEN])
{
	bool again = a->bad && memcmp(hash, a->hash, BOT_HASH_LEN) == 0;
	bool whole = is_whole(a);

	memcpy(a->hash, hash, BOT_HASH_LEN);
	a->complete = whole && is_what_it_says(a, hash);
	if (a->complete)
		return;
	a->file_path[0] = '\0';
	if (again || ++a->bad >= BAD_TRIES)
		give_up(a, whole ? "it is not what its name says"
				 : "it is shorter than was said");
}

static void fetched(void *arg, const struct bot_reply *r)
{
	struct arrival *a = arg;

	a->under_way = false;
	if (r->wrote_all)
		came(a, r->hash);
	else
		failed(a, r);
}

/* Where a server may say that a file lies: below its own root, or, on this
 * machine, anywhere. */
static bool path_ok(const struct arrival *a, const char *path)
{
	size_t len = path ? strlen(path) : 0;

	if (len == 0 || len > BOT_FILE_PATH_MAX)
		return false;
	if (path[0] == '/')
		return a->t->local;
	return strncmp(path, "../", 3) != 0 && !strstr(path, "/../") &&
	       (len < 3 || strcmp(path + len - 3, "/..") != 0);
}

static void located(void *arg, const struct bot_reply *r)
{
	struct arrival *a = arg;
	const char *path =
		json_string_value(json_object_get(r->result, "file_path"));

	a->under_way = false;
	if (r->error_code)
		failed(a, r);
	else if (!path_ok(a, path))
		give_up(a, "the server does not say where it lies");
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

/* *ours: what failed is not the reading. */
static int copy(struct arrival *a, int from, uint8_t hash[static BOT_HASH_LEN],
		bool *ours)
{
	CLEANUP_FREE uint8_t *block = malloc(1 << 20);
	crypto_generichash_state state;
	uint64_t at = 0;

	crypto_generichash_init(&state, NULL, 0, BOT_HASH_LEN);
	for (int err; block;) {
		ssize_t n = read(from, block, 1 << 20);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		at += (uint64_t)n;
		if (at > a->len)
			return -EFBIG;
		crypto_generichash_update(&state, block, (size_t)n);
		err = xio_write(a->fd, block, (size_t)n);
		*ours = err;
		if (err)
			return err;
	}
	crypto_generichash_final(&state, hash, BOT_HASH_LEN);
	return block ? 0 : -ENOMEM;
}

/*
 * A server of one's own that runs with --local serves no files: it says where
 * on this machine they lie. That path has the token in it and is not told.
 */
static int copy_local(struct arrival *a)
{
	const struct bot_reply again = {0};
	CLEANUP_FD int from =
		open(a->file_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	uint8_t hash[BOT_HASH_LEN];
	bool ours = false;
	struct stat st;
	int err = from < 0 || fstat(from, &st) < 0 ? -errno
		  : S_ISREG(st.st_mode)		   ? 0
						   : -EINVAL;

	if (!err) {
		err = fresh_file(a);
		ours = err;
	}
	if (!err)
		err = copy(a, from, hash, &ours);
	if (!err) {
		came(a, hash);
	} else if (ours) {
		own_trouble(a, err);
	} else if (err == -EACCES || err == -EPERM) {
		snprintf(a->t->reason, sizeof a->t->reason,
			 "our Bot API server puts what it fetched where this "
			 "user may not read it (%s): run it as the same user, "
			 "or let this one read its files",
			 strerror(-err));
		return err;
	} else if (++a->tries < TELEGRAM_TRIES) {
		retry(a, &again);
	} else {
		give_up(a, strerror(-err));
	}
	return a->t->receive_err;
}

static int ask_where(struct arrival *a)
{
	const struct bot_callback find = {.done = located, .arg = a};
	json_t *params = json_pack("{s:s}", "file_id", a->file_id);

	return params ? bot_api_call(a->t->api, "getFile", params, 0, &find)
		      : -ENOMEM;
}

static int start_fetch(struct arrival *a)
{
	const struct bot_callback get = {.done = fetched, .arg = a};
	int err;

	if (a->file_path[0] == '/')
		return copy_local(a);
	if (!a->file_path[0]) {
		err = ask_where(a);
	} else {
		err = fresh_file(a);
		if (err) {
			own_trouble(a, err);
			return a->t->receive_err;
		}
		err = bot_api_download(a->t->api, a->file_path, a->fd, a->len,
				       &get);
	}
	a->under_way = !err;
	return err;
}

static int fetch_list(struct arrival *list, int64_t now, int *wait_ms)
{
	int err = 0;

	for (struct arrival *a = list; a && !err; a = a->next) {
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

int telegram_fetch_more(struct telegram *t, int *wait_ms)
{
	int64_t now = clock_now_ms();
	int err = fetch_list(t->arrivals, now, wait_ms);

	return err ? err : fetch_list(t->aside, now, wait_ms);
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

/*
 * The spool calls a part by its hash. What was sent again because nobody
 * acknowledged it for a while need not be fetched again.
 */
static bool is_here(const struct telegram *t, const char *name, json_int_t len)
{
	uint8_t hash[BOT_HASH_LEN];
	struct stat st;

	return strlen(name) == 2 * sizeof hash + strlen(".part") &&
	       strcmp(name + 2 * sizeof hash, ".part") == 0 &&
	       hex_decode(name, 2 * sizeof hash, hash, sizeof hash) == 0 &&
	       fstatat(t->temp_dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(st.st_mode) && st.st_size == len;
}

static void append(struct arrival **list, struct arrival *a)
{
	while (*list)
		list = &(*list)->next;
	*list = a;
	a->next = NULL;
}

int telegram_begin_document(struct telegram *t, const json_t *message,
			    size_t at, json_int_t update_id)
{
	const json_t *document = json_object_get(message, "document");
	const char *id =
		json_string_value(json_object_get(document, "file_id"));
	const char *name =
		json_string_value(json_object_get(document, "file_name"));
	json_int_t len =
		json_integer_value(json_object_get(document, "file_size"));
	struct arrival *a;

	if (!id || strlen(id) >= FILE_ID_MAX || !name || !is_ours(name) ||
	    strlen(name) > FILENAME_MAX_LEN || len <= 0 ||
	    (uint64_t)len > DOCUMENT_MAX || is_here(t, name, len))
		return 0;
	a = calloc(1, sizeof *a);
	if (!a)
		return -ENOMEM;
	a->t = t;
	a->fd = -1;
	a->at = at;
	a->update_id = update_id;
	a->len = (uint64_t)len;
	a->since_ms = clock_now_ms();
	snprintf(a->file_id, sizeof a->file_id, "%s", id);
	snprintf(a->filename, sizeof a->filename, "%s", name);
	append(&t->arrivals, a);
	return 0;
}

size_t telegram_documents(const struct telegram *t)
{
	size_t n = 0;

	for (const struct arrival *a = t->arrivals; a; a = a->next)
		n++;
	return n;
}

/* *done: nothing more of it will come. */
static int hand_over(struct arrival *a, bool *done)
{
	const struct transport_receiver *to = a->t->receiver;
	int err;

	*done = a->lost[0];
	if (*done && to->lost)
		to->lost(to->arg, a->lost);
	if (*done || !a->complete)
		return 0;
	if (lseek(a->fd, 0, SEEK_SET) < 0)
		return -errno;
	err = to->document(to->arg, a->fd, a->len, a->filename, a->hash);
	*done = !err;
	return err;
}

/* Is it one that there is to be a long wait for? */
static bool is_far_off(const struct arrival *a)
{
	return !a->under_way &&
	       a->not_before_ms - clock_now_ms() > TELEGRAM_PATIENCE_MS;
}

static void put_aside(struct telegram *t)
{
	struct arrival *a = t->arrivals;
	long long wait_s = (a->not_before_ms - clock_now_ms()) / 1000;

	if (!a->no_room)
		snprintf(t->reason, sizeof t->reason,
			 "Telegram asks to wait %lld seconds before more "
			 "documents are fetched; it will be tried again",
			 wait_s);
	t->arrivals = a->next;
	append(&t->aside, a);
}

int telegram_hand_over(struct telegram *t, size_t at, bool *done)
{
	struct arrival *a = t->arrivals;
	int err;

	*done = true;
	if (!a || a->at != at)
		return 0;
	err = hand_over(a, done);
	if (!err && !*done && is_far_off(a)) {
		put_aside(t);
		*done = true;
	}
	return err;
}

void telegram_end_document(struct telegram *t, size_t at)
{
	if (t->arrivals && t->arrivals->at == at)
		drop(&t->arrivals);
}

int telegram_hand_over_aside(struct telegram *t)
{
	struct arrival **at = &t->aside;
	int err = 0;

	while (*at && !err) {
		struct arrival *a = *at;
		bool done;

		if (!a->lost[0] && !a->complete && !a->under_way &&
		    clock_now_ms() - a->since_ms > ASIDE_MAX_MS)
			give_up(a, a->no_room
					   ? "there was no room for it"
					   : "the server does not let us have "
					     "it");
		err = hand_over(a, &done);
		if (done)
			drop(at);
		else
			at = &a->next;
	}
	return err;
}

json_int_t telegram_first_aside(const struct telegram *t)
{
	json_int_t first = 0;

	for (const struct arrival *a = t->aside; a; a = a->next)
		if (!first || a->update_id < first)
			first = a->update_id;
	return first;
}

void telegram_give_up_aside(struct telegram *t)
{
	if (t->aside && !t->aside->under_way && !t->aside->complete)
		give_up(t->aside, "too much has come since");
}
