/* What the kernel holds back of writes to a mount. */
#ifndef FROND_FLUSH_H
#define FROND_FLUSH_H

#include "fs.h"

/*
 * Have all that has been written to this mount so far handed to the session,
 * whose threads must go on answering meanwhile. Whatever becomes of this
 * process, no thread of it waits in the kernel for those answers.
 * -ETIMEDOUT: not all of it came within a minute.
 */
MUST_CHECK int flush_mount(struct fs *fs);

#endif
