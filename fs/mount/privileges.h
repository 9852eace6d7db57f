/*
 * What the daemon gives up once the file system is mounted. From then on it
 * opens, reads and writes files for others, and nothing else.
 */
#ifndef FROND_PRIVILEGES_H
#define FROND_PRIVILEGES_H

#include "cleanup.h"

/*
 * For good, and for what it starts from now on: set-id programs and file
 * capabilities, capabilities that no request needs, system calls that no
 * request leads to. What cannot be given up is said in the log: a kernel
 * without filters mounts as well. Call it before there are threads: filters
 * reach those, capabilities do not.
 */
void privileges_drop(void);

/* The same one by one, for tests: 0 or a negative errno. */
MUST_CHECK int privileges_drop_capabilities(void);
MUST_CHECK int privileges_filter_calls(void);

#endif
