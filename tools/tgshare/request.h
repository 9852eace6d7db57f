/* What send, grant and export are asked: whom, and how the key is split. */
#ifndef TGSHARE_REQUEST_H
#define TGSHARE_REQUEST_H

#include "compose.h"

enum { REQUEST_TO_MAX = 64 };

struct request {
	const char *command, *vault, *note, *expires, *shares, *threshold;
	const char *output; /* export's -o */
	bool no_content, help;
	char **files;
	int file_count;
	/* names, until request_resolve() */
	char *to_names, *via_names; /* comma-separated */
	const struct person *to[REQUEST_TO_MAX];
	size_t to_count;
	const struct person *via[SLIP39_SHARES_MAX];
	size_t via_count;
	unsigned k, n;
	uint64_t expires_s;
};

/* These return an exit status. allowed: the letters of the options that the
 * command has, of "tskVneoc" (to, shares, threshold, via, note, expires, -o,
 * no-content). */
MUST_CHECK int request_parse(struct request *r, int argc, char **argv,
			     const char *allowed);
/* Names become people, numbers are checked. */
MUST_CHECK int request_resolve(struct request *r, const struct session *s);
void request_free(struct request *r);

/* The plan for one of the recipients, with a fresh set id. */
void request_plan(const struct request *r, const struct person *to,
		  struct plan *plan);

#endif
