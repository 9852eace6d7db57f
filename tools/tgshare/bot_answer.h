/* What a Bot API server answers: bounded, and fit for people's terminals. */
#ifndef TGSHARE_BOT_ANSWER_H
#define TGSHARE_BOT_ANSWER_H

#include "bot_api.h"

/*
 * Fill in reply (status is set already) from the body that came; NULL: none.
 * *answer is to be freed after use of reply, or NULL.
 */
void bot_answer_read(const char *body, size_t len, struct bot_reply *reply,
		     json_t **answer);

/* Of the first update in an answer that is no JSON; 0: there is none. */
int64_t bot_answer_update_id(const char *body, size_t len);

/* text as it may be shown on a terminal, cut to size. */
void bot_answer_plain(const char *text, char *out, size_t size);

#endif
