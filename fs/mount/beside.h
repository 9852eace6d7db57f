/*
 * A thread beside the one who asks. Who waits for each answer before he asks
 * again keeps one processor busy, he himself or the thread that answers. On
 * two, each has to wake the other's from its sleep with every request, which
 * takes longer than most answers take. So the thread moves to where he is, as
 * long as he is the only one who asks.
 */
#ifndef FROND_BESIDE_H
#define FROND_BESIDE_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* One for each thread, which alone uses it; zeroed, it is nowhere. */
struct beside {
	uint32_t pid;	    /* who asks */
	unsigned requests;  /* of his in a row */
	unsigned looked_at; /* at which of them his processor was looked up */
	unsigned patience;  /* how many he makes before the thread moves */
	unsigned stayed;    /* requests since it moved */
	int64_t last_ns;
	cpu_set_t before; /* where the thread may run otherwise */
	int cpu;
	bool moved;
};

/*
 * The calling thread has taken a request of the process (0: of the kernel's
 * own), which waits for the answer; nobody else asks.
 */
void beside_follow(struct beside *b, uint32_t pid);

/* It is no longer so: the thread may run anywhere. Costs nothing if it may. */
void beside_leave(struct beside *b);

#endif
