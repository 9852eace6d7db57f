/* What malloc() keeps for later. */
#ifndef FROND_HEAP_H
#define FROND_HEAP_H

/*
 * Blocks of 128 KiB and more are mapped, and go back to the system when they
 * are freed; all others share a few arenas. Before there are any threads.
 */
void heap_bound(void);

#endif
