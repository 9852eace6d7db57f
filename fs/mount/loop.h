/*
 * The threads that answer requests. A request costs less when the thread that
 * takes it is the one that answered the last: it is still in the caches, and
 * the kernel runs it where the asking process sleeps. So one thread takes what
 * is soon done, one after the other; as soon as more waits to be taken, or
 * what is being done may take long, others take requests as well.
 */
#ifndef FROND_LOOP_H
#define FROND_LOOP_H

#include "cleanup.h"

#include <fuse_lowlevel.h>
#include <stdatomic.h>

/*
 * Answer the session's requests until it ends, with up to threads_max
 * threads. A thread that sleeps in here looks whether the session was told to
 * end when it is interrupted by a signal. *answering: how many are answering
 * one. Returns 0 or a negative errno.
 */
MUST_CHECK int loop_run(struct fuse_session *session, unsigned threads_max,
			atomic_uint *answering);

#endif
