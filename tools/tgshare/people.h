/*
 * The people whom this vault's owner knows: .tgshare/contacts/NAME.card
 * (contacts.h; the mount reads it), NAME.ini, which tells when their
 * fingerprint was compared, and which, and NAME.chat, where they can be
 * written to by a bot. Who has no card can keep shares and pass them on, no
 * more.
 */
#ifndef TGSHARE_PEOPLE_H
#define TGSHARE_PEOPLE_H

#include "contacts.h"
#include "mounted.h"

/* Where the words of links lie that wait: .tgshare/links/WORD, each with a
 * contact's name. */
#define PEOPLE_LINKS "links"

enum { PEOPLE_CHAT_MAX = 32, PEOPLE_WORD_MAX = 64 };

struct person {
	char name[CARD_NAME_MAX + 1]; /* as we call them */
	bool has_card;
	struct card card;	    /* zeros without */
	char chat[PEOPLE_CHAT_MAX]; /* "chat:123", or "" */
	char card_text[CARD_TEXT_MAX];
	char fingerprint[IDENTITY_FINGERPRINT_LEN + 1];
	uint64_t verified_s; /* when that fingerprint was compared; 0: not */
};

/* Somebody who was given a link to our bot and has not come by it yet. */
struct invited {
	char name[CARD_NAME_MAX + 1];
	char word[PEOPLE_WORD_MAX + 1]; /* of the link */
};

struct people {
	struct person *list;
	size_t count;
	struct invited *invited;
	size_t invited_count;
};

/* Sorted by name, the invited, too. Unreadable cards are left out and reported.
 */
MUST_CHECK int people_load(const struct mounted *m, struct people *p);
void people_free(struct people *p);

/* NULL: unknown. */
const struct person *people_named(const struct people *p, const char *name);
const struct person *people_with_keys(const struct people *p,
				      const struct identity_public *pub);
/* Whose chat this is. NULL: nobody's. */
const struct person *people_in_chat(const struct people *p, const char *chat);
/* Who was given a link and has not come by it; NULL: not so. */
const struct invited *people_invited(const struct people *p, const char *name);
/* The name for keys: the contact's, else the first group of the fingerprint
 * with "unknown " before it. text has PEOPLE_LABEL_MAX bytes. */
enum { PEOPLE_LABEL_MAX = CARD_NAME_MAX + 16 };
const char *people_label(const struct people *p,
			 const struct identity_public *pub, char *text);
/* As people_named, saying when there is nobody; the one that was perhaps
 * meant, too. */
const struct person *people_wanted(const struct people *p, const char *name);
/* Where messages to them go: what the card says, else the chat. */
const char *people_address(const struct person *person);

/* Durable before it returns 0, and known to the mount. */
MUST_CHECK int people_put(const struct mounted *m, const char *name,
			  const char *card_text);
MUST_CHECK int people_put_chat(const struct mounted *m, const char *name,
			       const char *chat);
MUST_CHECK int people_put_verified(const struct mounted *m,
				   const struct person *person,
				   uint64_t time_s);
/* They count as not verified again. */
MUST_CHECK int people_take_back_verified(const struct mounted *m,
					 const struct person *person);
/* Links of theirs lead nobody here any more. */
MUST_CHECK int people_remove(const struct mounted *m, const char *name);
/* Forget what links there are for name; -errno. */
MUST_CHECK int people_uninvite(const struct mounted *m, const char *name);

/* In names of files: digits that tell people apart. */
enum { PEOPLE_TAG_LEN = 16 };
const char *people_tag(const struct identity_public *pub,
		       char text[static PEOPLE_TAG_LEN + 1]);

bool people_same_keys(const struct identity_public *a,
		      const struct identity_public *b);

#endif
