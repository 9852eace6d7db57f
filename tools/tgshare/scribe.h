/*
 * A thread that writes to a file what its owner goes on looking at meanwhile:
 * one piece at a time, in their order.
 */
#ifndef TGSHARE_SCRIBE_H
#define TGSHARE_SCRIBE_H

#include "cleanup.h"

#include <stddef.h>

struct scribe;

/* fd stays the caller's, and open until scribe_free(). */
MUST_CHECK int scribe_new(int fd, struct scribe **out);
/* Ends the thread, when the piece at work is written. */
void scribe_free(struct scribe *s);

/* Begin with len bytes of buf, which stay as they are until scribe_wait(). The
 * piece before has been waited for. */
void scribe_begin(struct scribe *s, const void *buf, size_t len);
/* Until it is written: how that ended. */
MUST_CHECK int scribe_wait(struct scribe *s);

#endif
