/* One state after a crash: made, mounted, looked at, used. */
#ifndef FROND_CRASH_TRIAL_H
#define FROND_CRASH_TRIAL_H

#include "stage.h"
#include "verdict.h"

/* What else is to happen. */
enum trial_more {
	TRIAL_PLAIN,
	TRIAL_TWICE,  /* the mount is crashed, and made again */
	TRIAL_OFTEN,  /* it is killed a dozen times, before it is done */
	TRIAL_ON,     /* killed; it mounts, marks what is there, durably, is
			 killed again, maybe, and the power fails: what none of
			 them had made durable is lost now */
	TRIAL_COPIES, /* files have been copied, into a directory that is not
			 ours, ids and all: they stay as they are */
	TRIAL_FAULT,  /* one call fails when it mounts, which may say so */
	TRIAL_KINDS,
};
const char *trial_more_word(enum trial_more more);

/* A state from a call on, and before another one, which was durable then. */
struct settled {
	uint8_t digest[32]; /* of all that is seen */
	size_t from, until; /* SIZE_MAX: never */
};

struct trial {
	const struct stage *stage;
	const struct recording *recording;
	const struct steps *steps;
	struct plan plan;
	enum trial_more more;
	/* Of the second crash, where wanted; else some at random. */
	struct plan again;
	const struct settled *settled;
	size_t settled_count;
	FILE *explain;
	const char *keep; /* leave the directory, not mounted, here */
	char what[VERDICT_ROOM + 64]; /* out: what is wrong */
};

/* True: as it should be. */
bool trial_run(struct trial *t);

#endif
