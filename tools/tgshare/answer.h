/*
 * What people are told who write to our bot: they see a chat, and nobody but a
 * program reads it. One sentence for all that came at a time; never more than
 * three to a chat within ten minutes, and none of them twice, whatever comes
 * and however often this is killed: what is said is noted (.tgshare/answered)
 * before. Nothing here fails anything else.
 */
#ifndef TGSHARE_ANSWER_H
#define TGSHARE_ANSWER_H

#include "session.h"

enum answer {
	ANSWER_NONE,
	ANSWER_WORDS,	 /* it is nothing that a program understands */
	ANSWER_HELLO,	 /* they pressed Start */
	ANSWER_BAD_LINK, /* by a link that is none, or none any more */
	ANSWER_WELCOME,	 /* by the one that we gave them */
	ANSWER_PART,	 /* a sealed message, but not all of it */
	ANSWER_NOT_OURS, /* one for somebody else */
	ANSWER_ARRIVED,	 /* one for us, and whole */
};

/* Which one goes for both, of two in a row. */
enum answer answer_for_both(enum answer before, enum answer what);

/* Tell them, unless it was said enough. address: as the transport has it. The
 * mount is awake. */
void answer_person(struct session *s, const char *address, enum answer what);

/* For who ends: what is under way is waited for. */
void answer_finish(struct session *s);

/* Those under way; after the transport is gone. */
struct answering;
void answering_free(struct answering *list);

#endif
