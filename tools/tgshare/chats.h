/*
 * Where people are who have Telegram and perhaps no card: the number of their
 * chat with our bot, given or learnt. Telegram tells it when they press Start;
 * a link with a word of ours tells who it was (people.h).
 */
#ifndef TGSHARE_CHATS_H
#define TGSHARE_CHATS_H

#include "session.h"

/* These return an exit status and say what is wrong. */
MUST_CHECK int chats_set(struct session *s, const char *name,
			 const char *chat_id);
MUST_CHECK int chats_print_link(struct session *s, const char *name);

/* Somebody pressed Start. *known: they are a contact of ours, by this word or
 * an earlier one. 0 also for a word that is none of ours; -errno. */
MUST_CHECK int chats_greeted(struct session *s, const char *word,
			     const char *address, bool *known);

#endif
