/*
 * The Telegram transport: envelopes as messages, parts as documents, from our
 * bot to other bots (@username) and to people (chat numbers). Everything on
 * the way may fail and is tried again; only what will not get better by itself
 * ends with an error, in words that say what to press.
 */
#ifndef TGSHARE_TRANSPORT_TELEGRAM_H
#define TGSHARE_TRANSPORT_TELEGRAM_H

#include "bot_api.h"
#include "transport.h"

enum { TELEGRAM_USERNAME_MAX = 40, TELEGRAM_REASON_MAX = 512 };

struct telegram_config {
	const char *api_base; /* BOT_BASE_PUBLIC, or a server of one's own */
	const char *token;    /* secret; copied into locked memory */
	const char *username; /* "@our_bot", as telegram_who_am_i() said */
	unsigned part_mib;    /* of documents; 0: what everybody can fetch */
	int temp_dirfd;	      /* where downloads are kept while they come */
};

/* Errors as bot_api_new() has them. */
MUST_CHECK int transport_telegram_open(const struct telegram_config *cfg,
				       struct transport **out);

/*
 * Ask the server whose token this is: *username gets "@name". On failure a
 * negative errno and a sentence in reason.
 */
MUST_CHECK int
telegram_who_am_i(const char *api_base, const char *token,
		  char username[static TELEGRAM_USERNAME_MAX + 2],
		  char reason[static TELEGRAM_REASON_MAX]);

#endif
