#include "bot_api.h"

#include "secret.h"
#include "xio.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

enum {
	URL_MAX = BOT_BASE_MAX + BOT_TOKEN_MAX + BOT_FILE_PATH_MAX + 16,
	BODY_MAX = 16 << 20, /* 100 updates of the longest texts, and more */
	CONNECT_TIMEOUT_S = 30,
	/* who sends less than this for so long is given up */
	SLOW_BYTES_PER_S = 100,
	SLOW_FOR_S = 30,
	CALL_TIMEOUT_S = 60,
	UPLOAD_BUFFER = 512 << 10,
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
	struct bot_upload up;
	uint64_t sent;
	bool is_download;
	int fd;
	uint64_t max, received;
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

static bool base_ok(const char *base)
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
	if (!base_ok(base))
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

	if (r->body_len + len > BODY_MAX)
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

static void give_up_when_slow(struct request *r)
{
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
	curl_easy_setopt(r->easy, CURLOPT_UPLOAD_BUFFERSIZE,
			 (long)UPLOAD_BUFFER);
	/* do not wait for "100 Continue" before the bytes */
	r->headers = curl_slist_append(NULL, "Expect:");
	curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
	give_up_when_slow(r);
	return start(r);
}

int bot_api_download(struct bot_api *api, const char *file_path, int fd,
		     uint64_t max, const struct bot_callback *cb)
{
	struct request *r;

	if (strlen(file_path) > BOT_FILE_PATH_MAX)
		return -EINVAL;
	r = request_new(api, "/file/bot", file_path, cb);
	if (!r)
		return -ENOMEM;
	r->is_download = true;
	r->fd = fd;
	r->max = max;
	curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, take_file);
	give_up_when_slow(r);
	return start(r);
}

static void read_error(const json_t *answer, struct bot_reply *reply)
{
	const json_t *parameters = json_object_get(answer, "parameters");
	const char *words =
		json_string_value(json_object_get(answer, "description"));
	json_int_t wait =
		json_integer_value(json_object_get(parameters, "retry_after"));
	json_int_t code =
		json_integer_value(json_object_get(answer, "error_code"));

	reply->error_code = code > 0 && code < 1000 ? (int)code : reply->status;
	if (words)
		snprintf(reply->description, sizeof reply->description, "%s",
			 words);
	if (wait > 0)
		reply->retry_after_s = wait < 86400 ? (unsigned)wait : 86400;
}

/* The JSON that came, to be freed; NULL: it is none of the API's. */
static json_t *read_answer(const struct request *r, struct bot_reply *reply)
{
	json_t *answer =
		r->body ? json_loadb(r->body, r->body_len, 0, NULL) : NULL;

	if (!json_is_object(answer)) {
		json_decref(answer);
		reply->error_code = reply->status >= 400 ? reply->status : 502;
		snprintf(reply->description, sizeof reply->description,
			 "what the server answered (HTTP status %d) cannot be "
			 "understood",
			 reply->status);
		return NULL;
	}
	if (json_is_true(json_object_get(answer, "ok")))
		reply->result = json_object_get(answer, "result");
	else
		read_error(answer, reply);
	return answer;
}

static void finish(struct request *r, CURLcode result)
{
	struct bot_reply reply = {.io_err = r->io_err};
	json_t *answer = NULL;
	long status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	if (result != CURLE_OK) {
		reply.error_code = 502;
		snprintf(reply.description, sizeof reply.description, "%s",
			 curl_easy_strerror(result));
	} else {
		reply.status = (int)status;
		reply.wrote_all = r->is_download && status == 200;
		if (!reply.wrote_all)
			answer = read_answer(r, &reply);
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
