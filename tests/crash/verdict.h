/*
 * Is what lies there after a crash what docs/CRASH.md promises? Compares a
 * vault with what a story says it may hold.
 */
#ifndef FROND_CRASH_VERDICT_H
#define FROND_CRASH_VERDICT_H

#include "states.h"
#include "story.h"

enum { VERDICT_ROOM = 512 };

/* A directory that is none of ours: not looked into. */
#define VERDICT_FOREIGN ".stversions"

/* Where each step of a story begins and ends in a log. */
struct steps {
	size_t *begin, *end; /* SIZE_MAX: it does not */
	long count;
};
void steps_find(struct steps *st, const struct oplog *log);
void steps_fini(struct steps *st);

struct verdict {
	const struct story *story;
	const struct steps *steps;
	const struct plan *plan;
	struct vault *vault; /* mounted */
	bool copied;	     /* nobody knows when its files were made */
	uint8_t life;	     /* it is used to mark its files; or 0 */
	bool *fits; /* per tree: every directory so far is as it was then */
	char what[VERDICT_ROOM];	 /* what is wrong; "": nothing */
	crypto_generichash_state digest; /* of all that was seen */
};

/* False; the first thing that is wrong is what counts. */
__attribute__((format(printf, 2, 3))) bool
verdict_wrong(struct verdict *v, const char *format, ...);

/* A file of which the power failure left a name alone? */
bool verdict_is_nothing(const struct verdict *v, int dirfd, const char *entry);
/* A file of the vault; *f is to be closed. */
MUST_CHECK int verdict_open(struct verdict *v, int dirfd, const char *entry,
			    bool writable, struct vfile **f);

/* verdict_seen.c: does the machine say that somebody has put it back, which
 * nobody has? */
bool verdict_is_ours(struct verdict *v, const uint8_t *parent, int dirfd,
		     const char *entry, const char *path);

/* Nothing in it may be called older; whatever it holds by now. */
bool verdict_is_none_older(struct verdict *v);

/* Look at everything. digest: of what there is. */
bool verdict_look(struct verdict *v, uint8_t digest[static 32]);

/* The vault must go on: make and change things everywhere in it. */
bool verdict_use(struct verdict *v);

/*
 * The same, so that everything stays what it is but for a mark at the beginning
 * of each file, life, and is durable then. life: not 0.
 */
bool verdict_settle(struct verdict *v, uint8_t life);
#define VERDICT_LIFE "mark"
enum { VERDICT_LIFE_LEN = sizeof VERDICT_LIFE };
bool verdict_is_marked(const uint8_t *bytes, size_t len);

#endif
