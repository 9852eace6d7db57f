/*
 * The randomised model test: the same step is taken in two directories, and
 * all that can be seen of it must be the same. A step is decided by a seed
 * alone, never by what happened before, so that a seed tells a whole run.
 */
#ifndef FROND_MODEL_PAIR_H
#define FROND_MODEL_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	PAIR_FDS = 8,		 /* descriptors that a thread keeps open */
	PAIR_SEEN_MAX = 1 << 18, /* bytes that a step may show */
	PAIR_PATH_MAX = 1024,
};

/* One of the two directories, as one thread has it. */
struct side {
	int root; /* descriptor of the directory */
	int fds[PAIR_FDS];
	uint8_t *seen; /* what the last step showed */
	size_t seen_len;
	bool anew; /* have the kernel ask the file system, whatever it knows */
};

struct step {
	unsigned op;
	unsigned slot, slot2; /* which of the open descriptors */
	char path[PAIR_PATH_MAX], path2[PAIR_PATH_MAX];
	const char *own; /* prefix of this thread's names in shared places */
	uint64_t offset, offset2;
	size_t len;
	uint64_t fill; /* seed of bytes to write */
	unsigned pick; /* which flags, mode, attribute ... */
};

struct rng {
	uint64_t state;
};

uint64_t rng_next(struct rng *rng);
/* 0 to below - 1. */
uint64_t rng_below(struct rng *rng, uint64_t below);
/* len bytes that seed alone decides; len is rounded up to 8. */
void rng_fill(uint64_t seed, uint8_t *out, size_t len);

/*
 * Take the step on one side: what the system call returned (0 for
 * descriptors), or a negative errno.
 */
typedef long (*step_fn)(struct side *side, const struct step *step);

struct operation {
	const char *name;
	step_fn run;
	unsigned weight; /* how often, against the others */
};
extern const struct operation operations[];
extern const size_t operation_count;

/* What some kinds of step are made of: one table entry each. */
long op_open(struct side *side, const struct step *step);
long op_close(struct side *side, const struct step *step);
long op_write(struct side *side, const struct step *step);
long op_append(struct side *side, const struct step *step);
long op_read(struct side *side, const struct step *step);
long op_truncate(struct side *side, const struct step *step);
long op_fallocate(struct side *side, const struct step *step);
long op_fsync(struct side *side, const struct step *step);
long op_mmap(struct side *side, const struct step *step);
long op_copy_range(struct side *side, const struct step *step);
long op_holes(struct side *side, const struct step *step);
long op_fstat(struct side *side, const struct step *step);

/* fstatat(2), as side->anew says. 0 or a negative errno. */
struct stat;
int side_stat(struct side *side, int dirfd, const char *path, int flags,
	      struct stat *st);

/*
 * May the kernel be wrong about what this step returned? Where link(2) or
 * unlink(2) crosses another thread's look, Linux counts the name twice in what
 * it knows of a FUSE file (fuse_entry_unlinked); it tells that to stat(2), and
 * what has no name left it does not link. So what the file system says to it
 * counts.
 */
bool step_may_be_asked_anew(const char *operation, long returned);

/* Add to what the step shows. */
void side_show(struct side *side, const void *bytes, size_t len);
/* Did the last step show the same of both? What it showed, from where they
 * differ. */
bool side_seen_alike(const struct side *a, const struct side *b);
void side_print_seen(const struct side *a, const struct side *b);
/* What fstatat(2) tells that must be alike on both sides. */
void side_show_stat(struct side *side, const struct stat *st);
/* A time long past: set on purpose, so it must be alike to the nanosecond. */
void model_past(uint64_t seed, struct timespec out[2]);

/*
 * Compare two whole trees: types, modes, sizes, times, link counts, names,
 * contents, link targets and attributes. Prints each difference; their number.
 */
unsigned tree_compare(const char *a, const char *b);

#endif
