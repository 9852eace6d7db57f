/*
 * Where stories are played: one vault, unlocked once, and copies of it under
 * a temporary directory in memory.
 */
#ifndef FROND_CRASH_STAGE_H
#define FROND_CRASH_STAGE_H

#include "story.h"

#define STAGE_PASS "correct horse"

struct stage {
	char top[64];
	bool served;		/* by fs/mount, where stories are recorded */
	struct vault *unlocked; /* its keys are everybody's */
	struct image *empty;	/* the vault as it was made */
};

/* A story that was played, and what it did. */
struct recording {
	const struct story_plot *plot;
	uint64_t seed;
	struct story story; /* closed: the model */
	struct oplog log;
};

/* Of the vaults' format; 0: the newest. */
extern unsigned stage_version;
void stage_init(struct stage *st);
void stage_fini(struct stage *st);
/* The path of something below top. */
void stage_path(const struct stage *st, const char *name, char path[96]);

/* A copy of the unlocked vault, for the directory at path; not mounted. */
void stage_open(const struct stage *st, const char *path, struct vault *v);
void stage_close(struct vault *v);

/* Play it in a fresh vault, and write down what it does. */
void stage_record(const struct stage *st, const struct story_plot *plot,
		  uint64_t seed, struct recording *r);
void recording_fini(struct recording *r);

/*
 * Play it, from story_begin() on with one call failing, till it is unmounted,
 * and write it down. The vault is left at path.
 */
struct stage_fault {
	enum fault_kind kind;
	long n;		   /* < 0: none fails */
	long count;	   /* out: how many could */
	const char *fired; /* out */
	int mount_error, unmount_error;
};
void stage_fail(const struct stage *st, const struct story_plot *plot,
		uint64_t seed, const char *path, struct stage_fault *f,
		struct recording *r);

/*
 * The same of a served one, with each place in the code failing once, from
 * mounting to unmounting: f->count of them. f->n does not matter.
 */
void stage_fail_everywhere(const struct stage *st,
			   const struct story_plot *plot, uint64_t seed,
			   const char *path, struct stage_fault *f,
			   struct recording *r);

/* Where the n-th state of it that shows something is to be saved. */
void stage_saved(const struct recording *r, size_t n, char path[120]);
/*
 * As a script that is the recording as well: run by sh, it shows that state
 * again. what: what is wrong, for who reads it; args: for this program, behind
 * the file's name. And back, where keys are those of the file's vault.
 */
void recording_save(const struct recording *r, const char *path,
		    const char *what, const char *args);
void stage_load(struct stage *st, struct recording *r, const char *path);

#endif
