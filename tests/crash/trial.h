/* One state after a crash: made, mounted, looked at, used. */
#ifndef FROND_CRASH_TRIAL_H
#define FROND_CRASH_TRIAL_H

#include "stage.h"
#include "verdict.h"

struct trial {
	const struct stage *stage;
	const struct recording *recording;
	const struct steps *steps;
	struct plan plan;
	/* What a crash of the mount after that one leaves, where wanted. */
	struct plan again;
	bool twice;
	FILE *explain;
	const char *keep; /* leave the directory, not mounted, here */
	char what[VERDICT_ROOM + 64]; /* out: what is wrong */
};

/* True: as it should be. */
bool trial_run(struct trial *t);

#endif
