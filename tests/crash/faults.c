#include "faults.h"

#include "verdict.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* One fault. False: *f fired, and something is wrong. */
static bool fault_once(const struct stage *stage, const struct story_plot *plot,
		       uint64_t seed, struct stage_fault *f)
{
	char path[96], what[VERDICT_ROOM];
	struct story story = {0};
	bool good;

	stage_path(stage, "fault", path);
	stage_fail(stage, plot, seed, path, f, &story);
	good = look(stage, path, &story, what);
	/* whoever asks for durability must hear that there is none */
	if (good && story.untold) {
		snprintf(what, sizeof what, "fsync did not say so");
		good = false;
	}
	if (!good)
		printf("VIOLATION %s, seed %llu, %s at call %ld (%s): %s; "
		       "%d steps failed, the last with \"%s\"\n",
		       plot->name, (unsigned long long)seed,
		       fault_word(f->kind), f->n, f->fired, what,
		       story.failures, strerror(-story.last_error));
	story_fini(&story);
	image_remove_tree(path);
	return good;
}

size_t faults_run(const struct stage *stage, const struct story_plot *plot,
		  uint64_t seed, size_t *count)
{
	size_t violations = 0;

	for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
		struct stage_fault f = {.kind = (enum fault_kind)kind, .n = -1};

		if (!fault_once(stage, plot, seed, &f))
			violations++;
		for (f.n = 0;; f.n++, ++*count) {
			f.mount_error = f.unmount_error = 0;
			if (!fault_once(stage, plot, seed, &f))
				violations++;
			if (!f.fired)
				break;
		}
	}
	return violations;
}
