#include "bot_api.h"

#include "bot_answer.h"
#include "secret.h"
#include "xio.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

enum {
	/* every byte of a path may have to be escaped */
	PATH_ESCAPED_MAX = 3 * BOT_FILE_PATH_MAX + 1,
	URL_MAX = BOT_BASE_MAX + BOT_TOKEN_MAX + PATH_ESCAPED_MAX + 16,
	BODY_MAX = 8 << 20, /* 100 updates of long texts */
	CONNECT_TIMEOUT_S = 30,
	/* who sends less than this for so long is given up */
	SLOW_BYTES_PER_S = 100,
	SLOW_FOR_S = 30,
	CALL_TIMEOUT_S = 60,
	/* and who drips has not for ever: so much for a document, and a second
	 * for so many of its bytes */
	FILE_TIMEOUT_S = 120,
	FILE_BYTES_PER_S = 4096,
	BUFFER = 512 << 10,
	/* what was fetched goes to the disk while more comes */
	WRITE_BEHIND = 1 << 20,
};

/* In locked memory. */
struct secrets {
	char token[BOT_TOKEN_MAX + 1];
	char url[URL_MAX];
};

struct bot_api {
	CURLM *multi;
	char base[BOT_BASE_MAX + 1];
	struct secrets *secrets;
	struct request *first;
};

struct request {
	struct request *next, **pprev;
	struct bot_api *api;
	CURL *easy;
	curl_mime *mime;
	struct curl_slist *headers;
	struct bot_callback cb;
	char *send; /* a JSON body */
	char *body; /* what came */
	size_t body_len, body_room;
	bool too_long;
	struct bot_upload up;
	uint64_t sent;
	bool is_download;
	int fd;
	uint64_t max, received;
	crypto_generichash_state *hash; /* of what was received */
	int io_err;
};

static bool token_ok(const char *token)
{
	size_t digits = strspn(token, "0123456789");
	size_t len = strlen(token);

	if (digits == 0 || token[digits] != ':' || len > BOT_TOKEN_MAX ||
	    len < digits + 2)
		return false;
	for (const char *c = token + digits + 1; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '-' && *c != '_')
			return false;
	return true;
}

static bool is_local(const char *base)
{
	static const char *const hosts[] = {"http://127.0.0.1", "http://[::1]",
					    "http://localhost"};

	for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
		size_t len = strlen(hosts[i]);

		if (strncmp(base, hosts[i], len) == 0 &&
		    (base[len] == '\0' || base[len] == ':' || base[len] == '/'))
			return true;
	}
	return false;
}

bool bot_api_base_ok(const char *base)
{
	for (const char *c = base; *c; c++)
		if (!isgraph((unsigned char)*c) || strchr("?#@\"\\", *c))
			return false;
	return strlen(base) <= BOT_BASE_MAX &&
	       (strncmp(base, "https://", 8) == 0 || is_local(base));
}

/* libcurl copies the URL again and again: what it gives up is wiped. */
static void wipe_free(void *p)
{
	if (p)
		sodium_memzero(p, malloc_usable_size(p));
	free(p);
}

static void *wipe_realloc(void *p, size_t size)
{
	size_t before = p ? malloc_usable_size(p) : 0;
	void *larger = malloc(size);

	if (!larger)
		return NULL;
	if (p)
		memcpy(larger, p, before < size ? before : size);
	wipe_free(p);
	return larger;
}

static int start_libcurl(void)
{
	/* libcurl would write the keys of all connections there */
	unsetenv("SSLKEYLOGFILE");
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_free,
				    wipe_realloc, strdup, calloc) == CURLE_OK
		       ? 0
		       : -ENOMEM;
}

int bot_api_new(const char *base, const char *token, struct bot_api **out)
{
	struct bot_api *api;
	size_t len;

	if (!token_ok(token))
		return -EINVAL;
	if (!bot_api_base_ok(base))
		return -EPROTO;
	if (start_libcurl())
		return -ENOMEM;
	api = calloc(1, sizeof *api);
	if (!api)
		return -ENOMEM;
	api->multi = curl_multi_init();
	api->secrets = secret_alloc(sizeof *api->secrets);
	if (!api->multi || !api->secrets) {
		bot_api_free(api);
		return -ENOMEM;
	}
	snprintf(api->base, sizeof api->base, "%s", base);
	len = strlen(api->base);
	while (len > 0 && api->base[len - 1] == '/')
		api->base[--len] = '\0';
	memcpy(api->secrets->token, token, strlen(token));
	*out = api;
	return 0;
}

static void request_free(struct request *r)
{
	if (r->pprev) {
		*r->pprev = r->next;
		if (r->next)
			r->next->pprev = r->pprev;
	}
	if (r->easy) {
		curl_multi_remove_handle(r->api->multi, r->easy);
		curl_easy_cleanup(r->easy);
	}
	curl_mime_free(r->mime);
	curl_slist_free_all(r->headers);
	free(r->hash);
	free(r->send);
	free(r->body);
	free(r);
}

void bot_api_free(struct bot_api *api)
{
	if (!api)
		return;
	while (api->first)
		request_free(api->first);
	if (api->multi)
		curl_multi_cleanup(api->multi);
	secret_free(api->secrets);
	free(api);
	curl_global_cleanup();
}

static size_t take_body(char *data, size_t size, size_t n, void *arg)
{
	struct request *r = arg;
	size_t len = size * n;

	r->too_long = r->body_len + len > BODY_MAX;
	if (r->too_long)
		return 0;
	if (r->body_len + len > r->body_room) {
		size_t room = (r->body_len + len) * 2;
		char *larger = realloc(r->body, room);

		if (!larger)
			return 0;
		r->body = larger;
		r->body_room = room;
	}
	memcpy(r->body + r->body_len, data, len);
	r->body_len += len;
	return len;
}

static bool is_ok_status(const struct request *r)
{
	long status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	return status == 200;
}

/* So that little is left to wait for when it has to be durable. */
static void write_behind(const struct request *r, size_t len)
{
	uint64_t done = r->received / WRITE_BEHIND * WRITE_BEHIND;
	uint64_t now = (r->received + len) / WRITE_BEHIND * WRITE_BEHIND;

	if (now > done)
		(void)sync_file_range(r->fd, (off64_t)done,
				      (off64_t)(now - done),
				      SYNC_FILE_RANGE_WRITE);
}

/* A file; what is no file (an error's JSON) is a body as usual. */
static size_t take_file(char *data, size_t size, size_t n, void *arg)
{
	struct request *r = arg;
	size_t len = size * n;

	if (!is_ok_status(r))
		return take_body(data, size, n, arg);
	if (r->received + len > r->max) {
		r->io_err = -EFBIG;
		return 0;
	}
	r->io_err = xio_write(r->fd, data, len);
	if (r->io_err)
		return 0;
	crypto_generichash_update(r->hash, (const uint8_t *)data, len);
	write_behind(r, len);
	r->received += len;
	return len;
}

static size_t give_file(char *buffer, size_t size, size_t n, void *arg)
{
	struct request *r = arg;
	uint64_t left = r->up.len - r->sent;
	size_t len = size * n < left ? size * n : (size_t)left;

	r->io_err = xio_pread(r->up.fd, buffer, len,
			      (off_t)(r->up.offset + r->sent));
	if (r->io_err)
		return CURL_READFUNC_ABORT;
	r->sent += len;
	if (r->up.progress)
		r->up.progress(r->up.progress_arg, r->sent);
	return len;
}

static int seek_file(void *arg, curl_off_t offset, int whence)
{
	struct request *r = arg;

	if (whence != SEEK_SET || offset < 0 || (uint64_t)offset > r->up.len)
		return CURL_SEEKFUNC_FAIL;
	r->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

/* What all requests have in common. NULL: memory is short. */
static struct request *request_new(struct bot_api *api, const char *prefix,
				   const char *rest,
				   const struct bot_callback *cb)
{
	struct request *r = calloc(1, sizeof *r);
	bool local = is_local(api->base);

	if (!r)
		return NULL;
	r->api = api;
	r->cb = *cb;
	r->easy = curl_easy_init();
	if (!r->easy) {
		free(r);
		return NULL;
	}
	snprintf(api->secrets->url, URL_MAX, "%s%s%s/%s", api->base, prefix,
		 api->secrets->token, rest);
	curl_easy_setopt(r->easy, CURLOPT_URL, api->secrets->url);
	sodium_memzero(api->secrets->url, URL_MAX);
	curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR,
			 local ? "http" : "https");
	if (local)
		curl_easy_setopt(r->easy, CURLOPT_PROXY, "");
	curl_easy_setopt(r->easy, CURLOPT_PRIVATE, r);
	curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT,
			 (long)CONNECT_TIMEOUT_S);
	curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
	r->next = api->first;
	r->pprev = &api->first;
	if (r->next)
		r->next->pprev = &r->next;
	api->first = r;
	return r;
}

static void give_up_when_slow(struct request *r, uint64_t len)
{
	curl_easy_setopt(r->easy, CURLOPT_TIMEOUT,
			 (long)(FILE_TIMEOUT_S + len / FILE_BYTES_PER_S));
	curl_easy_setopt(r->easy, CURLOPT_LOW_SPEED_LIMIT,
			 (long)SLOW_BYTES_PER_S);
	curl_easy_setopt(r->easy, CURLOPT_LOW_SPEED_TIME, (long)SLOW_FOR_S);
}

static int start(struct request *r)
{
	if (curl_multi_add_handle(r->api->multi, r->easy) == CURLM_OK)
		return 0;
	request_free(r);
	return -ENOMEM;
}

int bot_api_call(struct bot_api *api, const char *method, json_t *params,
		 unsigned timeout_s, const struct bot_callback *cb)
{
	char *text = json_dumps(params, JSON_COMPACT);
	struct request *r = NULL;

	json_decref(params);
	if (text)
		r = request_new(api, "/bot", method, cb);
	if (!r) {
		free(text);
		return -ENOMEM;
	}
	r->send = text;
	r->headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!r->headers) {
		request_free(r);
		return -ENOMEM;
	}
	curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
	curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, r->send);
	curl_easy_setopt(r->easy, CURLOPT_TIMEOUT,
			 (long)timeout_s + CALL_TIMEOUT_S);
	return start(r);
}

static int add_field(struct request *r, const char *name, const char *value)
{
	curl_mimepart *part = curl_mime_addpart(r->mime);

	if (!part || curl_mime_name(part, name) != CURLE_OK)
		return -ENOMEM;
	return curl_mime_data(part, value, CURL_ZERO_TERMINATED) == CURLE_OK
		       ? 0
		       : -ENOMEM;
}

static int add_file(struct request *r)
{
	curl_mimepart *part = curl_mime_addpart(r->mime);

	if (!part || curl_mime_name(part, "document") != CURLE_OK ||
	    curl_mime_filename(part, r->up.filename) != CURLE_OK ||
	    curl_mime_type(part, "application/octet-stream") != CURLE_OK)
		return -ENOMEM;
	return curl_mime_data_cb(part, (curl_off_t)r->up.len, give_file,
				 seek_file, NULL, r) == CURLE_OK
		       ? 0
		       : -ENOMEM;
}

int bot_api_upload(struct bot_api *api, const struct bot_upload *up,
		   const struct bot_callback *cb)
{
	struct request *r = request_new(api, "/bot", "sendDocument", cb);
	int err;

	if (!r)
		return -ENOMEM;
	r->up = *up;
	r->mime = curl_mime_init(r->easy);
	err = r->mime ? add_field(r, "chat_id", up->chat_id) : -ENOMEM;
	/* the server would look into it, and take some for stickers */
	if (!err)
		err = add_field(r, "disable_content_type_detection", "true");
	if (!err)
		err = add_file(r);
	if (err) {
		request_free(r);
		return err;
	}
	curl_easy_setopt(r->easy, CURLOPT_MIMEPOST, r->mime);
	curl_easy_setopt(r->easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER);
	/* do not wait for "100 Continue" before the bytes */
	r->headers = curl_slist_append(NULL, "Expect:");
	curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
	give_up_when_slow(r, up->len);
	return start(r);
}

/* No byte of it means anything in a URL; "/" stays. */
static void escape_path(const char *path, char out[static PATH_ESCAPED_MAX])
{
	for (; *path; path++) {
		if (isalnum((unsigned char)*path) || strchr("-._~/", *path))
			*out++ = *path;
		else
			out += sprintf(out, "%%%02X", (unsigned char)*path);
	}
	*out = '\0';
}

static int begin_hash(struct request *r)
{
	/* it wants to lie at a multiple of 64 */
	r->hash = aligned_alloc(64, sizeof *r->hash);
	return r->hash ? crypto_generichash_init(r->hash, NULL, 0, BOT_HASH_LEN)
		       : -ENOMEM;
}

int bot_api_download(struct bot_api *api, const char *file_path, int fd,
		     uint64_t max, const struct bot_callback *cb)
{
	char path[PATH_ESCAPED_MAX];
	struct request *r;

	if (strlen(file_path) > BOT_FILE_PATH_MAX)
		return -EINVAL;
	escape_path(file_path, path);
	r = request_new(api, "/file/bot", path, cb);
	if (!r)
		return -ENOMEM;
	if (begin_hash(r)) {
		request_free(r);
		return -ENOMEM;
	}
	r->is_download = true;
	r->fd = fd;
	r->max = max;
	curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, take_file);
	curl_easy_setopt(r->easy, CURLOPT_BUFFERSIZE, (long)BUFFER);
	give_up_when_slow(r, max);
	return start(r);
}

void bot_api_forget(struct bot_api *api, const void *arg)
{
	for (struct request *r = api->first, *next; r; r = next) {
		next = r->next;
		if (r->cb.arg == arg)
			request_free(r);
	}
}

/* It did not come to an answer. */
static void read_failure(const struct request *r, CURLcode result,
			 struct bot_reply *reply)
{
	/* that does not get better by itself */
	bool final = result == CURLE_URL_MALFORMAT ||
		     result == CURLE_UNSUPPORTED_PROTOCOL;

	reply->error_code = final ? 400 : 502;
	reply->garbled = r->too_long;
	snprintf(reply->description, sizeof reply->description, "%s",
		 r->too_long ? "what the server answers is too long"
			     : curl_easy_strerror(result));
}

static void finish(struct request *r, CURLcode result)
{
	struct bot_reply reply = {
		.io_err = r->io_err, .body = r->body, .body_len = r->body_len};
	json_t *answer = NULL;
	long status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	if (result != CURLE_OK) {
		read_failure(r, result, &reply);
	} else {
		reply.status = (int)status;
		reply.wrote_all = r->is_download && status == 200;
		if (reply.wrote_all)
			crypto_generichash_final(r->hash, reply.hash,
						 BOT_HASH_LEN);
		else
			bot_answer_read(r->body, r->body_len, &reply, &answer);
	}
	r->cb.done(r->cb.arg, &reply);
	json_decref(answer);
	request_free(r);
}

/* Move everything on, and end what is over; *ended: how many were. */
static int perform(struct bot_api *api, unsigned *ended)
{
	int running, left;
	CURLMsg *message;

	*ended = 0;
	if (curl_multi_perform(api->multi, &running) != CURLM_OK)
		return -EIO;
	while ((message = curl_multi_info_read(api->multi, &left))) {
		CURLcode result = message->data.result;
		char *private = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE,
				  &private);
		finish((struct request *)private, result);
		++*ended;
	}
	return 0;
}

int bot_api_run(struct bot_api *api, int timeout_ms)
{
	unsigned ended;
	int err = perform(api, &ended);

	if (err || ended)
		return err;
	if (curl_multi_poll(api->multi, NULL, 0, timeout_ms, NULL) != CURLM_OK)
		return -EIO;
	return perform(api, &ended);
}
