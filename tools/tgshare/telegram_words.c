/* What Telegram's errors mean, and what somebody has to press. */
#include "telegram.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct meaning {
	int code;	   /* 0: any */
	const char *words; /* in the description */
	int err;
	/* with one %s: the chat */
	const char *sentence;
};

static const struct meaning meanings[] = {
	{401, "", -EKEYREVOKED,
	 "Telegram does not know our bot's token%.0s; it was revoked or "
	 "mistyped: ask @BotFather for it (/mybots, API Token) and run "
	 "'tgshare setup --transport telegram' again"},
	{404, "Not Found", -EKEYREVOKED,
	 "Telegram does not know our bot's token%.0s, or api_base leads to "
	 "something else: run 'tgshare setup --transport telegram' again"},
	{0, "USER_BOT_TO_BOT_DISABLED", -EPERM,
	 "Telegram does not let our bot write to %s: both owners have to open "
	 "@BotFather, /mybots, Bot Settings, and switch 'Bot-to-Bot "
	 "Communication' on"},
	{0, "can't send messages to bots", -EPERM,
	 "Telegram does not let our bot write to %s: both owners have to open "
	 "@BotFather, /mybots, Bot Settings, and switch 'Bot-to-Bot "
	 "Communication' on"},
	{403, "can't initiate conversation", -EPERM,
	 "%s has not pressed Start in the chat with our bot yet: send them "
	 "the link that 'tgshare contact chat NAME --link' prints"},
	{403, "blocked by the user", -EPERM,
	 "%s has blocked our bot: they have to open its chat and press "
	 "Restart"},
	{403, "deactivated", -EPERM,
	 "the Telegram account %s was deleted: ask for another card"},
	{403, "", -EPERM,
	 "Telegram does not let our bot write to %s; is it a member of that "
	 "group, and was it not removed?"},
	{400, "upgraded to a supergroup", -EADDRNOTAVAIL,
	 "the group %s has another number since it became a supergroup: give "
	 "that to 'tgshare contact chat'"},
	{400, "chat not found", -EADDRNOTAVAIL,
	 "Telegram knows no chat %s: compare its number, or what their card "
	 "says, or have them press Start again"},
	{413, "", -EFBIG,
	 "the document for %s is larger than this Bot API server takes"},
	{0, "webhook is active", -EBUSY,
	 "our bot has a webhook%.0s, and Telegram then gives no messages to "
	 "anybody who asks: another program uses this bot; make one of its "
	 "own for tgshare with @BotFather"},
	{409, "", -EBUSY,
	 "another program asks for our bot's messages%.0s at the same time: "
	 "end the other 'tgshare agent' with this bot, or make a bot of its "
	 "own with @BotFather"},
};

const char telegram_no_server[] =
	"what answers at api_base is no Bot API server";

int telegram_explain(const struct bot_reply *r, const char *who,
		     char reason[static TELEGRAM_REASON_MAX])
{
	for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
		const struct meaning *m = &meanings[i];

		if ((m->code && m->code != r->error_code) ||
		    !strstr(r->description, m->words))
			continue;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(reason, TELEGRAM_REASON_MAX, m->sentence, who);
#pragma GCC diagnostic pop
		return m->err;
	}
	if (r->error_code == 429 || r->error_code >= 500) {
		snprintf(reason, TELEGRAM_REASON_MAX,
			 "the Bot API server cannot be reached or is busy "
			 "(%s)",
			 r->description);
		return -EAGAIN;
	}
	snprintf(reason, TELEGRAM_REASON_MAX,
		 "the Bot API server refuses what was sent to %s: %s", who,
		 r->description);
	return -EREMOTEIO;
}
