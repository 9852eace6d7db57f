#include "counters.h"

#include "workspace.h"

void counters_request(struct counters *c, uint32_t opcode)
{
	if (opcode < CONTROL_REQUEST_KINDS)
		counters_add(&c->requests[opcode], 1);
}

static uint64_t value(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void counters_tell(struct counters *c, struct control_counters *out)
{
	for (size_t k = 0; k < CONTROL_REQUEST_KINDS; k++)
		out->requests[k] = value(&c->requests[k]);
	out->read_bytes = value(&c->read_bytes);
	out->written_bytes = value(&c->written_bytes);
	out->ready_reads = value(&c->ready_reads);
	out->joined_writes = value(&c->joined_writes);
	workspace_counts(&out->chunks_opened, &out->chunks_sealed);
}
