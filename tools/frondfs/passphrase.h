/*
 * Where passphrases come from: the terminal, a file's first line, or the
 * first line that a command prints. Never from arguments or the environment.
 */
#ifndef FROND_PASSPHRASE_H
#define FROND_PASSPHRASE_H

#include "secret.h"

enum { PASSPHRASE_MAX = 4096 };

/* Both NULL: the terminal. At most one is set. */
struct passphrase_source {
	const char *passfile, *extpass;
	const char *instead; /* what to give where there is no terminal; NULL:
				either of these */
};

struct passphrase {
	char *text; /* in locked memory; not NUL-terminated */
	size_t len;
};

/*
 * Get a passphrase; prompt is for the terminal. 0, or the exit status, after
 * saying why.
 */
MUST_CHECK int passphrase_get(const struct passphrase_source *source,
			      const char *prompt, struct passphrase *out);

/* The same for a passphrase that is to be: on the terminal asked twice. */
MUST_CHECK int passphrase_get_new(const struct passphrase_source *source,
				  const char *prompt, struct passphrase *out);

void passphrase_free(struct passphrase *p);

#define CLEANUP_PASSPHRASE __attribute__((cleanup(passphrase_free)))

#endif
