#include "faults.h"

#include "random.h"
#include "trial.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* After which of them the power fails, too; and how often where it was an
 * fsync that failed. */
enum { CRASH_EVERY = 3, CRASHES_SYNC = 3 };

/* Every call fails; where each takes long, every so many, others for each kind
 * of fault: what sanitizers find along the way of one, others show as well. */
#ifdef FROND_SANITIZED
enum { STRIDE = 5 };
#else
enum { STRIDE = 1 };
#endif

/* The plan after which all that was told must be there. */
static const struct plan whole = {.kind = PLAN_KILL, .end = 1};

/*
 * The step that met the fault was done again, and so everything must be
 * there, now and after the next mount.
 */
static bool look(const struct stage *stage, const char *path,
		 const struct story *story, char what[VERDICT_ROOM])
{
	struct steps steps = {.count = story->step};
	size_t bytes = ((size_t)story->step + 1) * sizeof *steps.begin;
	struct verdict v = {.story = story, .steps = &steps, .plan = &whole};
	struct vault vault;
	uint8_t digest[32];
	bool good;
	int err;

	steps.begin = image_alloc(NULL, bytes);
	steps.end = image_alloc(NULL, bytes);
	memset(steps.begin, 0, bytes);
	memset(steps.end, 0, bytes);
	stage_open(stage, path, &vault);
	err = story_mount(&vault);
	v.vault = &vault;
	good = !err && verdict_look(&v, digest) && verdict_use(&v);
	snprintf(what, VERDICT_ROOM, "%s", err ? strerror(-err) : v.what);
	err = story_unmount(&vault);
	if (good && err) {
		snprintf(what, VERDICT_ROOM, "unmounting: %s", strerror(-err));
		good = false;
	}
	stage_close(&vault);
	steps_fini(&steps);
	return good;
}

/*
 * Does the power fail, or is the process killed, some time after: what fsync
 * has said to be durable is. Where it was the disk that failed, that holds for
 * what was overwritten only, not for what has grown.
 */
static bool crash_once(struct trial *t, size_t from, uint64_t *rng)
{
	size_t count = t->recording->log.count;

	t->plan = (struct plan){.kind = PLAN_KILL,
				.end = from +
				       random_below(rng, count + 1 - from)};
	if (random_below(rng, 4)) {
		t->plan.kind = PLAN_POWER;
		t->plan.seed = random_next(rng) >> 20;
	}
	return trial_run(t);
}

/* The first fsync that failed; 0: none. */
static size_t failed_at(const struct oplog *log)
{
	for (size_t i = 0; i < log->count; i++)
		if (log->ops[i].kind == OP_UNSYNC)
			return i;
	return 0;
}

static bool crash_after(const struct stage *stage, const struct recording *r,
			const struct stage_fault *f, char what[VERDICT_ROOM])
{
	uint64_t rng = r->seed * 31 + (uint64_t)f->n * 5 + f->kind;
	struct trial t = {.stage = stage, .recording = r};
	size_t from = failed_at(&r->log);
	int times = from ? CRASHES_SYNC : f->n % CRASH_EVERY == 0;
	struct steps steps;
	bool good = true;

	if (from && strcmp(r->plot->name, "overwrite") != 0)
		return true;
	steps_find(&steps, &r->log);
	t.steps = &steps;
	while (good && times-- > 0)
		good = crash_once(&t, from, &rng);
	if (!good) {
		char path[120], args[64];

		stage_saved(r, 0, path);
		snprintf(args, sizeof args, PLAN_FORMAT, (unsigned)t.plan.kind,
			 t.plan.end, (unsigned long long)t.plan.seed);
		recording_save(r, path, t.what, args);
		snprintf(what, VERDICT_ROOM,
			 "crashed after that, again: sh %s: %.300s", path,
			 t.what);
	}
	steps_fini(&steps);
	return good;
}

/* One fault. False: *f fired, and something is wrong. */
static bool fault_once(const struct stage *stage, const struct story_plot *plot,
		       uint64_t seed, struct stage_fault *f)
{
	char path[96], what[VERDICT_ROOM];
	struct recording r;
	bool good;

	stage_path(stage, "fault", path);
	stage_fail(stage, plot, seed, path, f, &r);
	good = look(stage, path, &r.story, what);
	/* whoever asks for durability must hear that there is none */
	if (good && r.story.untold) {
		snprintf(what, sizeof what, "fsync did not say so");
		good = false;
	}
	if (good && f->fired)
		good = crash_after(stage, &r, f, what);
	if (!good) {
		printf("VIOLATION %s, seed %llu, %s at call %ld (%s): %s; "
		       "%d steps failed, the last with \"%s\"\n",
		       plot->name, (unsigned long long)seed,
		       fault_word(f->kind), f->n, f->fired, what,
		       r.story.failures, strerror(-r.story.last_error));
		fflush(stdout);
	}
	recording_fini(&r);
	image_remove_tree(path);
	seen_forget(path);
	return good;
}

/*
 * Where what the machine remembers cannot be written, or read: nobody who uses
 * the vault hears of it, and no more is known than is so.
 */
static bool seen_fault(const struct stage *stage, const struct story_plot *plot,
		       uint64_t seed, long n, bool *fired)
{
	struct stage_fault f = {.n = LONG_MAX}; /* none in the vault */
	char path[96], what[VERDICT_ROOM];
	struct recording r;
	bool good;

	stage_path(stage, "fault", path);
	seen_disk_fails(n);
	stage_fail(stage, plot, seed, path, &f, &r);
	*fired = seen_disk_failed();
	good = look(stage, path, &r.story, what);
	if (good && (r.story.failures || f.mount_error || f.unmount_error)) {
		snprintf(what, sizeof what, "a step failed");
		good = false;
	}
	f.n = n;
	if (good && *fired)
		good = crash_after(stage, &r, &f, what);
	if (!good)
		printf("VIOLATION %s, seed %llu, call %ld of the state "
		       "directory fails: %s\n",
		       plot->name, (unsigned long long)seed, n, what);
	recording_fini(&r);
	image_remove_tree(path);
	seen_forget(path);
	return good;
}

size_t faults_run(const struct stage *stage, const struct story_plot *plot,
		  uint64_t seed, size_t *count)
{
	size_t violations = 0;
	bool fired = true;

	for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
		struct stage_fault f = {.kind = (enum fault_kind)kind, .n = -1};

		if (!fault_once(stage, plot, seed, &f))
			violations++;
		for (f.n = kind % STRIDE;; f.n += STRIDE, ++*count) {
			f.mount_error = f.unmount_error = 0;
			if (!fault_once(stage, plot, seed, &f))
				violations++;
			if (!f.fired)
				break;
		}
	}
	seen_disk_begin();
	for (long n = 0; fired; n += STRIDE, ++*count)
		violations += !seen_fault(stage, plot, seed, n, &fired);
	return violations;
}

size_t faults_served(const struct stage *stage, const struct story_plot *plot,
		     uint64_t seed, size_t *count)
{
	size_t violations = 0;
	char path[96], what[VERDICT_ROOM];

	stage_path(stage, "fault", path);
	for (unsigned kind = 0; kind <= FAULT_LOOK; kind++) {
		struct stage_fault f = {.kind = (enum fault_kind)kind};
		struct recording r;

		if (kind == FAULT_ACCESS)
			continue;
		stage_fail_everywhere(stage, plot, seed, path, &f, &r);
		*count += (size_t)f.count;
		if (!look(stage, path, &r.story, what)) {
			printf("VIOLATION %s, served, seed %llu, %s at each of "
			       "%ld places: %s\n",
			       plot->name, (unsigned long long)seed,
			       fault_word(f.kind), f.count, what);
			violations++;
		}
		recording_fini(&r);
		image_remove_tree(path);
		seen_forget(path);
	}
	return violations;
}
