/*
 * What a Bot API server answers, all the way through the Telegram transport:
 * updates, where documents are, documents, what became of messages. Each line
 * of the input answers one request; its first byte says how: "2" well, "4"
 * (HTTP status 429) and "5" (502) badly, another one not at all. Time passes
 * where something is waited for.
 */
#include "fuzz.h"

#include "bot_answer.h"
#include "transport_telegram.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ASKED_MAX = 64, RUNS = 4 };

struct asked {
	struct bot_callback cb;
	int fd; /* of a download, or -1 */
	uint64_t max;
	bool poll;
};

struct bot_api {
	struct asked asked[ASKED_MAX];
	size_t count;
};

static const char *at, *end; /* of the answers that are left */
static long long later_ns;
static int ended, temp_fd;

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	int ret = __real_clock_gettime(clock, t);

	if (clock == CLOCK_MONOTONIC) {
		t->tv_nsec += later_ns % 1000000000;
		t->tv_sec += later_ns / 1000000000 + t->tv_nsec / 1000000000;
		t->tv_nsec %= 1000000000;
	}
	return ret;
}

/* In the place of bot_api.c. */

int bot_api_new(const char *base, const char *token, struct bot_api **out)
{
	(void)base;
	(void)token;
	*out = calloc(1, sizeof **out);
	return *out ? 0 : -ENOMEM;
}

void bot_api_free(struct bot_api *api)
{
	free(api);
}

static int ask(struct bot_api *api, const struct bot_callback *cb, int fd,
	       uint64_t max, bool poll)
{
	REQUIRE(api->count < ASKED_MAX);
	api->asked[api->count++] =
		(struct asked){.cb = *cb, .fd = fd, .max = max, .poll = poll};
	return 0;
}

int bot_api_call(struct bot_api *api, const char *method, json_t *params,
		 unsigned timeout_s, const struct bot_callback *cb)
{
	(void)timeout_s;
	REQUIRE(json_is_object(params));
	json_decref(params);
	return ask(api, cb, -1, 0, strcmp(method, "getUpdates") == 0);
}

int bot_api_upload(struct bot_api *api, const struct bot_upload *up,
		   const struct bot_callback *cb)
{
	REQUIRE(up->chat_id && up->filename);
	return ask(api, cb, -1, 0, false);
}

int bot_api_download(struct bot_api *api, const char *file_path, int fd,
		     uint64_t max, const struct bot_callback *cb)
{
	REQUIRE(file_path[0] && strlen(file_path) <= BOT_FILE_PATH_MAX);
	return ask(api, cb, fd, max, false);
}

void bot_api_forget(struct bot_api *api, const void *arg)
{
	for (size_t i = api->count; i-- > 0;)
		if (api->asked[i].cb.arg == arg) {
			api->count--;
			memmove(&api->asked[i], &api->asked[i + 1],
				(api->count - i) * sizeof api->asked[i]);
		}
}

static void take_bytes(const struct asked *a, const char *body, size_t len,
		       struct bot_reply *r)
{
	if (len > a->max)
		len = (size_t)a->max;
	REQUIRE(xio_pwrite(a->fd, body, len, 0) == 0);
	crypto_generichash(r->hash, sizeof r->hash, (const uint8_t *)body, len,
			   NULL, 0);
	r->wrote_all = true;
}

static void answer(const struct asked *a)
{
	static const char nothing[] = "2{\"ok\":true,\"result\":[]}",
			  refused[] = "4{\"ok\":false,\"error_code\":400}";
	const char *line = at,
		   *stop = end > at ? memchr(at, '\n', (size_t)(end - at))
				    : NULL;
	struct bot_reply r = {0};
	json_t *json = NULL;

	stop = stop ? stop : end;
	at = stop < end ? stop + 1 : end;
	if (line == stop) {
		line = a->poll ? nothing : refused;
		stop = line + strlen(line);
	}
	r.status = *line == '2' ? 200 : *line == '4' ? 429 : 502;
	r.body = line + 1;
	r.body_len = (size_t)(stop - r.body);
	if (*line != '2' && *line != '4' && *line != '5') {
		r.status = 0;
		r.error_code = 502;
		strcpy(r.description, "nobody is there");
	} else if (a->fd >= 0 && r.status == 200) {
		take_bytes(a, r.body, r.body_len, &r);
	} else {
		bot_answer_read(r.body, r.body_len, &r, &json);
	}
	a->cb.done(a->cb.arg, &r);
	json_decref(json);
}

int bot_api_run(struct bot_api *api, int timeout_ms)
{
	size_t count = api->count;

	if (count == 0)
		later_ns += (timeout_ms > 0 ? timeout_ms : 1) * 1000000LL;
	/* those that come meanwhile wait */
	for (; count > 0 && api->count > 0; count--) {
		struct asked first = api->asked[0];

		api->count--;
		memmove(&api->asked[0], &api->asked[1],
			api->count * sizeof first);
		answer(&first);
	}
	return 0;
}

/* What comes out of it. */

static void check_words(const char *words)
{
	for (; *words; words++)
		REQUIRE((unsigned char)*words >= 0x20 && *words != 0x7f);
}

static int on_text(void *arg, const char *from, const char *text, size_t len)
{
	(void)arg;
	REQUIRE(strncmp(from, "chat:", 5) == 0 && strlen(text) == len);
	return 0;
}

static int on_document(void *arg, int fd, uint64_t len, const char *filename,
		       const uint8_t *hash)
{
	uint8_t bytes[4096], real[BOT_HASH_LEN];
	size_t n = len < sizeof bytes ? (size_t)len : sizeof bytes;

	(void)arg;
	REQUIRE(filename && xio_pread(fd, bytes, n, 0) == 0);
	if (hash && n == len) {
		crypto_generichash(real, sizeof real, bytes, n, NULL, 0);
		REQUIRE(memcmp(real, hash, sizeof real) == 0);
	}
	return 0;
}

static int on_started(void *arg, const char *word, const char *address)
{
	(void)arg;
	REQUIRE(word && strncmp(address, "chat:", 5) == 0);
	return 0;
}

static void on_lost(void *arg, const char *reason)
{
	(void)arg;
	check_words(reason);
}

static void on_begins(void *arg, const char *answer_to)
{
	(void)arg;
	REQUIRE(!*answer_to || strncmp(answer_to, "chat:", 5) == 0);
}

static void on_done(void *arg, int err, const char *reason, const char *ref)
{
	(void)arg;
	ended++;
	REQUIRE(err <= 0 && (err == 0) == (*reason == '\0'));
	REQUIRE(strlen(ref) <= TRANSPORT_REF_MAX);
	check_words(reason);
	check_words(ref);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	temp_fd = open(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
		       O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return sodium_init() < 0 || temp_fd < 0;
}

static void submit(struct transport *t, int fd)
{
	struct transport_message text = {.address = "chat:7",
					 .text = (const uint8_t *)"words",
					 .text_len = 5,
					 .fd = -1,
					 .done = on_done};
	struct transport_message document = {.address = "@other_bot",
					     .fd = fd,
					     .len = 100,
					     .filename = "a.part",
					     .done = on_done};

	REQUIRE(t->ops->submit(t, &text) == 0);
	REQUIRE(t->ops->submit(t, &document) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct telegram_config cfg = {.api_base = BOT_BASE_PUBLIC,
					    .token = "1:x",
					    .username = "@our_bot",
					    .temp_dirfd = temp_fd};
	const struct transport_receiver to = {.text = on_text,
					      .document = on_document,
					      .started = on_started,
					      .lost = on_lost,
					      .begins = on_begins};
	CLEANUP_FD int fd = memfd_create("sent", MFD_CLOEXEC);
	struct transport *t;
	bool sending = size > 0 && data[0] & 1;

	at = (const char *)data + (size > 0);
	end = (const char *)data + size;
	ended = 0;
	REQUIRE(fd >= 0 && ftruncate(fd, 100) == 0);
	REQUIRE(transport_telegram_open(&cfg, &t) == 0);
	if (sending)
		submit(t, fd);
	for (int i = 0; i < RUNS; i++) {
		int err = t->ops->run(t, &to, 0);

		REQUIRE(err <= 0);
		check_words(t->ops->reason(t));
	}
	t->ops->give_up(t);
	REQUIRE(ended == (sending ? 2 : 0));
	t->ops->free(t);
	return 0;
}
