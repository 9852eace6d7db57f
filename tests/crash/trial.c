#include "trial.h"

#include "random.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many of the states that a crash while mounting leaves are looked at. */
enum { AGAIN_MAX = 4 };

static bool wrong(struct trial *t, const char *where, const char *what)
{
	snprintf(t->what, sizeof t->what, "%.60s: %s", where, what);
	return false;
}

/* Mount what is at path; keep what that did in log, if there is one. */
static bool mount(struct trial *t, const char *path, struct vault *v,
		  struct oplog *log)
{
	int err;

	stage_open(t->stage, path, v);
	if (log)
		recorder_begin(path, log);
	err = story_mount(v);
	if (log)
		recorder_end(path);
	return !err || wrong(t, "mounting", strerror(-err));
}

static bool unmount(struct trial *t, struct vault *v)
{
	int err = story_unmount(v);

	stage_close(v);
	return !err || wrong(t, "unmounting", strerror(-err));
}

static bool look(struct trial *t, struct vault *v, const char *when,
		 uint8_t digest[32])
{
	struct verdict verdict = {.story = &t->recording->story,
				  .steps = t->steps,
				  .plan = &t->plan,
				  .vault = v};

	return verdict_look(&verdict, digest) || wrong(t, when, verdict.what);
}

static bool use(struct trial *t, struct vault *v)
{
	struct verdict verdict = {.story = &t->recording->story,
				  .steps = t->steps,
				  .plan = &t->plan,
				  .vault = v};

	return verdict_use(&verdict) || wrong(t, "using it", verdict.what);
}

/*
 * Mount, look, unmount; the same once more, which must find the same; then
 * use it, and mount a third time.
 */
static bool play(struct trial *t, const char *path, const char *when,
		 struct oplog *log)
{
	uint8_t first[32], second[32];
	struct vault v;
	bool good = mount(t, path, &v, log) && look(t, &v, when, first);

	good = unmount(t, &v) && good;
	if (!good)
		return false;
	good = mount(t, path, &v, NULL) &&
	       look(t, &v, "mounted a second time", second);
	if (good && memcmp(first, second, sizeof first) != 0)
		good = wrong(t, when, "the second mount shows something else");
	good = good && use(t, &v);
	good = unmount(t, &v) && good;
	if (!good)
		return false;
	good = mount(t, path, &v, NULL);
	return unmount(t, &v) && good;
}

static void store(struct trial *t, struct image *im, const char *path)
{
	image_remove_tree(path);
	/* a real disk keeps inode numbers, a copy does not */
	shown_inos_of(im);
	image_store(im, path, t->plan.end % 2 ? shown_ino : NULL, NULL);
	image_free(im);
}

static struct plan random_plan(const struct oplog *log, uint64_t *rng)
{
	struct plan p = {.kind = random_below(rng, 2) ? PLAN_KILL : PLAN_POWER,
			 .end = random_below(rng, log->count + 1)};

	if (p.kind == PLAN_POWER)
		p.seed = random_next(rng) >> 20;
	return p;
}

/* The mount itself is crashed, and made again. */
static bool play_again(struct trial *t, const struct oplog *log)
{
	unsigned first = t->plan.kind != PLAN_KILL;
	uint64_t rng = t->plan.seed + t->plan.end;
	bool good = true;
	char path[96];

	stage_path(t->stage, "again", path);
	for (int i = 0; i < (t->again.end ? 1 : AGAIN_MAX) && good; i++) {
		struct plan p =
			t->again.end ? t->again : random_plan(log, &rng);

		if (t->explain)
			fprintf(t->explain, "mounting it, crashed:\n");
		shown_boots(first + (p.kind != PLAN_KILL));
		store(t, state_build(log, &p, t->explain), path);
		good = play(t, path, "after a crash while mounting", NULL);
		if (!good)
			t->again = p;
	}
	image_remove_tree(path);
	return good;
}

bool trial_run(struct trial *t)
{
	struct oplog log = {0};
	bool good;
	char path[96];

	stage_path(t->stage, "state", path);
	shown_boots(t->plan.kind != PLAN_KILL);
	store(t, state_build(&t->recording->log, &t->plan, t->explain), path);
	if (t->keep) {
		image_store(state_build(&t->recording->log, &t->plan, NULL),
			    t->keep, NULL, NULL);
		t->keep = NULL;
	}
	good = play(t, path, "after the crash", t->twice ? &log : NULL);
	if (good && t->twice)
		good = play_again(t, &log);
	oplog_fini(&log);
	shown_boots(0);
	shown_inos_forget();
	image_remove_tree(path);
	return good;
}
