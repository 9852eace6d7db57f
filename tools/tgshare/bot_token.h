/*
 * The token of our Telegram bot: .tgshare/telegram/token within the vault,
 * encrypted like everything else there. Whoever has it is the bot.
 */
#ifndef TGSHARE_BOT_TOKEN_H
#define TGSHARE_BOT_TOKEN_H

#include "secret.h"
#include "session.h"

/* In locked memory. */
struct bot_token {
	char text[BOT_TOKEN_MAX + 1];
};

/*
 * From a file's first line; without a file the one that is kept, else asked
 * for on the terminal. *kept: it is the one that was kept. Returns an exit
 * status, having said what is wrong.
 */
MUST_CHECK int bot_token_get(struct session *s, const char *file,
			     struct bot_token **out, bool *kept);
/* From the terminal. */
MUST_CHECK int bot_token_ask(struct bot_token **out);
/* The one that is kept. */
MUST_CHECK int bot_token_load(struct session *s, struct bot_token **out);
MUST_CHECK int bot_token_save(struct session *s, const struct bot_token *t);

#endif
