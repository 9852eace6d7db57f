/* What passes between libfuse and the kernel, and libfuse 3.14 is silent on. */
#ifndef FROND_WIRE_H
#define FROND_WIRE_H

#include "fs.h"

/*
 * Who is told, once, when the kernel's INIT has been answered. Set before the
 * session's loop starts.
 */
struct wire {
	void (*ready)(void *arg);
	void *arg;
};

#endif
