/*
 * Requests to a Telegram Bot API server, many at a time, over one curl multi
 * handle. The bot token stands in every URL: it is kept in locked memory and
 * never printed; what libcurl copies of it is wiped when it lets go of it, and
 * the process makes no core dumps. SSLKEYLOGFILE is taken out of the
 * environment. Single-threaded.
 */
#ifndef TGSHARE_BOT_API_H
#define TGSHARE_BOT_API_H

#include "cleanup.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	BOT_TOKEN_MAX = 128,
	BOT_BASE_MAX = 180, /* a line of settings.ini holds it and its name */
	BOT_DESCRIPTION_MAX = 256,
	BOT_FILE_PATH_MAX = 512,
	BOT_HASH_LEN = 32,
};
#define BOT_BASE_PUBLIC "https://api.telegram.org"

struct bot_api;

/* How a request ended. */
struct bot_reply {
	int status;	/* HTTP's; 0: no answer came */
	int error_code; /* the API's; 0: ok, result is set */
	/* in words: the API's, or what happened on the way */
	char description[BOT_DESCRIPTION_MAX];
	unsigned retry_after_s;	    /* with 429 */
	const json_t *result;	    /* borrowed */
	bool wrote_all;		    /* downloads: the bytes are in the file */
	uint8_t hash[BOT_HASH_LEN]; /* then: BLAKE2b of them */
	int io_err; /* a negative errno of the file sent or fetched */
	/* it worked, but what came is more than we take, or no JSON: these
	 * bytes, or their beginning; borrowed */
	bool garbled;
	const char *body;
	size_t body_len;
};

/* Called once for every request, from bot_api_run(). */
struct bot_callback {
	void (*done)(void *arg, const struct bot_reply *r);
	void *arg;
};

/* Can a server's address be this? https, or http on this machine only. */
bool bot_api_base_ok(const char *base);

/*
 * A token looks like "123456:letters, digits, - and _". -EINVAL:
 * token; -EPROTO: base.
 */
MUST_CHECK int bot_api_new(const char *base, const char *token,
			   struct bot_api **out);
/* What is under way is given up, without callbacks. */
void bot_api_free(struct bot_api *api);

/* Call a method; params (an object) is taken over. -ENOMEM. */
MUST_CHECK int bot_api_call(struct bot_api *api, const char *method,
			    json_t *params, unsigned timeout_s,
			    const struct bot_callback *cb);

/* sendDocument: len bytes of fd from offset on, never all in memory. */
struct bot_upload {
	const char *chat_id, *filename;
	int fd;
	uint64_t offset, len;
	void (*progress)(void *arg, uint64_t bytes); /* or NULL */
	void *progress_arg;
};
MUST_CHECK int bot_api_upload(struct bot_api *api, const struct bot_upload *up,
			      const struct bot_callback *cb);

/* A file's bytes (file_path of getFile) into fd, at most max of them. */
MUST_CHECK int bot_api_download(struct bot_api *api, const char *file_path,
				int fd, uint64_t max,
				const struct bot_callback *cb);

/* Requests whose callback has this argument end without it. */
void bot_api_forget(struct bot_api *api, const void *arg);

/* Move everything on; with nothing to move wait at most timeout_ms. */
MUST_CHECK int bot_api_run(struct bot_api *api, int timeout_ms);

#endif
