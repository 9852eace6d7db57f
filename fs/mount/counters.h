/*
 * What the kernel asked of a mount, counted by kind. Requests cost more than
 * cipher text does here, so their number tells what a workload is made of.
 */
#ifndef FROND_COUNTERS_H
#define FROND_COUNTERS_H

#include "control.h"

#include <stdatomic.h>

struct counters {
	_Atomic uint64_t requests[CONTROL_REQUEST_KINDS];
	_Atomic uint64_t read_bytes, written_bytes, ready_reads, joined_writes;
};

static inline void counters_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* A request of this opcode (linux/fuse.h) has come. */
void counters_request(struct counters *c, uint32_t opcode);

/* What has been counted so far, the chunks of all vaults included. */
void counters_tell(struct counters *c, struct control_counters *out);

#endif
