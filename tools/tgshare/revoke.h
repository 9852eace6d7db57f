/*
 * Taking back what was granted or sent. What is to be done is first written
 * down as .tgshare/outbox/<hex>.revoke, and every step of it can be done
 * again, so that a crash in the middle only delays it. Under session_lock(),
 * with a transport.
 */
#ifndef TGSHARE_REVOKE_H
#define TGSHARE_REVOKE_H

#include "outbox.h"

struct revocation {
	char id[ITEM_COPY_LEN + 1];
	unsigned stage;			/* 1: keys to change; 2: to tell */
	uint8_t (*victims)[SET_ID_LEN]; /* sets that end */
	size_t victim_count;
	uint8_t (*kept)[2][SET_ID_LEN]; /* sets to be replaced, and by which */
	size_t kept_count;
	struct item_file *files; /* to get new keys */
	size_t file_count;
};

/*
 * Write down that these sets (live ones of o) end. 0 or a negative errno.
 * revoke_finish() then does it.
 */
MUST_CHECK int revoke_begin(struct session *s, const struct outbox *o,
			    struct item *const *victims, size_t count);
/* Do what is written down. Returns an exit status. */
MUST_CHECK int revoke_finish(struct session *s);
/* Is anything? */
bool revoke_pending(const struct session *s);

/* Its JSON. */
MUST_CHECK int revoke_format(const struct revocation *r, char **text);
MUST_CHECK int revoke_parse(const char *text, size_t len, struct revocation *r);
void revoke_fini(struct revocation *r);

#endif
