/*
 * Random bytes for what needs few of them, often: ids, keys, IVs, names. They
 * come from the kernel, a page at a time for each thread.
 */
#ifndef FROND_RANDOM_H
#define FROND_RANDOM_H

#include <stddef.h>

/*
 * Fit for keys: no byte is given out twice, none is left behind in memory, and
 * a child after fork(2) gets others than its parent. Ends the process if the
 * kernel has none to give.
 */
void random_bytes(void *buf, size_t len);

#endif
