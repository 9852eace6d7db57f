/* Asking for a secret on the terminal. */
#ifndef FROND_TTY_H
#define FROND_TTY_H

#include "cleanup.h"

#include <stddef.h>

/*
 * Show prompt on the controlling terminal and read a line from it without
 * echo. line has room for max bytes, *len_out of which are used (no newline,
 * no NUL). The terminal is as it was whenever a signal ends or stops the
 * process meanwhile; after a stop the question is asked again.
 * -ENXIO: there is no terminal; -EMSGSIZE: longer than max; -ENODATA: end of
 * file instead of a line; -EINTR: a signal came that the process survived.
 */
MUST_CHECK int tty_ask(const char *prompt, char *line, size_t max,
		       size_t *len_out);

#endif
