/*
 * A bar with rate and time left, on standard error if that is a terminal, and
 * only for what takes longer than a second.
 */
#ifndef FROND_PROGRESS_H
#define FROND_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what; /* "sealing report.pdf" */
	uint64_t total, done;
	int64_t began_ms, shown_ms;
	bool terminal, shown;
};

void progress_begin(struct progress *p, const char *what, uint64_t total);
/* done: bytes so far. total may be changed before, when more is known. */
void progress_step(struct progress *p, uint64_t done);
/* Takes the bar away. */
void progress_end(struct progress *p);

#endif
