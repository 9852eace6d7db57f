#include "trial.h"

#include "random.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	/* how many of the states that a second crash leaves are looked at */
	AGAIN_MAX = 4,
	OFTEN = 12,
	KILLS_MAX = 3,
	CLOCK_BACK_S = 5000,
	FAULT_CALLS = 60, /* in a mount that has something to recover */
};

static bool wrong(struct trial *t, const char *where, const char *what)
{
	snprintf(t->what, sizeof t->what, "%.60s: %.500s", where, what);
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
	if (!err && log)
		story_settle(v);
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

/* odd: a real disk keeps inode numbers and times, a copy does not */
static bool keeps_numbers(const struct trial *t)
{
	return t->plan.end % 2 || t->more == TRIAL_ON ||
	       t->more == TRIAL_COPIES;
}

static bool look(struct trial *t, struct vault *v, const char *when,
		 uint8_t digest[32])
{
	struct verdict verdict = {.story = &t->recording->story,
				  .steps = t->steps,
				  .plan = &t->plan,
				  .copied = !keeps_numbers(t),
				  .vault = v};

	return verdict_look(&verdict, digest) || wrong(t, when, verdict.what);
}

static bool is_settled(struct trial *t, const uint8_t digest[32])
{
	for (size_t i = 0; i < t->settled_count; i++) {
		const struct settled *s = &t->settled[i];

		if (t->plan.end >= s->from && t->plan.end <= s->until &&
		    memcmp(digest, s->digest, sizeof s->digest) != 0)
			return wrong(t, "durable after a kill",
				     "it shows something else");
	}
	return true;
}

static bool is_none_older(struct trial *t, struct vault *v)
{
	struct verdict verdict = {.vault = v};

	return verdict_is_none_older(&verdict) ||
	       wrong(t, "in the end", verdict.what);
}

static bool use(struct trial *t, struct vault *v)
{
	struct verdict verdict = {.story = &t->recording->story,
				  .steps = t->steps,
				  .plan = &t->plan,
				  .copied = !keeps_numbers(t),
				  .vault = v};

	return verdict_use(&verdict) || wrong(t, "using it", verdict.what);
}

static uint64_t seed_of(const struct trial *t)
{
	return t->plan.seed + t->plan.end;
}

/* Does a clock go wrong, for what is sealed? */
static void set_clock(const struct trial *t, bool back)
{
	shown_past(back && t->more == TRIAL_PLAIN && seed_of(t) % 3 == 0
			   ? CLOCK_BACK_S
			   : 0);
}

/*
 * Mount, look, unmount; the same once more, which must find the same; then
 * use it, and mount a third time, when the clock is right in any case.
 */
static bool play(struct trial *t, const char *path, const char *when,
		 struct oplog *log)
{
	uint8_t first[32], second[32];
	struct vault v;
	bool good;

	set_clock(t, true);
	good = mount(t, path, &v, log) && look(t, &v, when, first) &&
	       is_settled(t, first);
	good = unmount(t, &v) && good;
	if (!good) {
		set_clock(t, false);
		return false;
	}
	good = mount(t, path, &v, NULL) &&
	       look(t, &v, "mounted a second time", second);
	if (good && memcmp(first, second, sizeof first) != 0)
		good = wrong(t, when, "the second mount shows something else");
	good = good && use(t, &v);
	good = unmount(t, &v) && good;
	set_clock(t, false);
	if (!good)
		return false;
	good = mount(t, path, &v, NULL) && is_none_older(t, &v);
	return unmount(t, &v) && good;
}

/* What a crash leaves of what log says, with what the machine remembers. */
static void store(struct trial *t, const struct oplog *log,
		  const struct plan *p, const char *path)
{
	bool lazy = t->plan.kind != PLAN_KILL && t->plan.seed % 2;
	struct image *im = state_build(log, p, t->explain);

	image_remove_tree(path);
	seen_store(log, p->end, path);
	shown_inos_of(im, t->recording->log.base, lazy);
	image_store(im, path, keeps_numbers(t) ? shown_ino : NULL, NULL);
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
	uint64_t rng = seed_of(t);
	bool good = true;
	char path[96];

	stage_path(t->stage, "again", path);
	for (int i = 0; i < (t->again.end ? 1 : AGAIN_MAX) && good; i++) {
		struct plan p =
			t->again.end ? t->again : random_plan(log, &rng);

		if (t->explain)
			fprintf(t->explain, "mounting it, crashed:\n");
		shown_boots(first + (p.kind != PLAN_KILL));
		store(t, log, &p, path);
		good = play(t, path, "after a crash while mounting", NULL);
		if (!good)
			t->again = p;
	}
	image_remove_tree(path);
	seen_forget(path);
	return good;
}

/* So many calls has the mount made when it was done with the former session. */
static size_t recovered_at(const struct oplog *log)
{
	for (size_t i = 0; i < log->count; i++)
		if (log->ops[i].kind == OP_LEAVE &&
		    strcmp(log->ops[i].name, "session") == 0)
			return i;
	return log->count;
}

static bool play_often(struct trial *t, const char *path)
{
	uint64_t rng = seed_of(t);
	bool good = true;

	for (int i = 0; i < OFTEN && good; i++) {
		struct oplog log = {0};
		struct plan p = {.kind = PLAN_KILL};
		struct vault v;

		good = mount(t, path, &v, &log);
		good = unmount(t, &v) && good;
		p.end = recovered_at(&log);
		/* most of the way, as a rule */
		if (random_below(&rng, 4) == 0)
			p.end = random_below(&rng, p.end + 1);
		if (good)
			store(t, &log, &p, path);
		oplog_fini(&log);
	}
	return good && play(t, path, "killed again and again", NULL);
}

/* What several mounts did of which each was killed, as one story. */
struct lives {
	struct oplog *log;
	size_t began; /* the present one, at this call */
	struct settled settled[KILLS_MAX + 1];
	size_t count;
};

/* What was durable when the last one was killed is there, as it was. */
static bool is_as_left(struct trial *t, const struct lives *l,
		       const uint8_t digest[32])
{
	const struct settled *last =
		l->count ? &l->settled[l->count - 1] : NULL;

	return !last || last->from > l->began ||
	       memcmp(digest, last->digest, sizeof last->digest) == 0 ||
	       wrong(t, "killed again", "it shows something else");
}

/* Mark all that is there. */
static bool settle(struct trial *t, struct vault *v, struct lives *l)
{
	struct verdict all = {.story = &t->recording->story, .vault = v};
	struct settled *now = &l->settled[l->count];

	if (l->count)
		now[-1].until = recorder_count();
	now->from = now->until = SIZE_MAX;
	if (!verdict_settle(&all, (uint8_t)++l->count))
		return wrong(t, "marking it", all.what);
	now->from = recorder_count();
	return look(t, v, "marked", now->digest);
}

/* Mount what the last kill has left, and go on. */
static bool live(struct trial *t, const char *path, struct lives *l)
{
	uint8_t digest[32];
	struct vault v;
	bool good;

	l->began = l->log->count;
	stage_open(t->stage, path, &v);
	recorder_go_on(path, l->log);
	good = story_mount(&v) == 0 || wrong(t, "mounting", "it fails");
	good = good && look(t, &v, "killed", digest) &&
	       is_as_left(t, l, digest) && settle(t, &v, l);
	good = unmount(t, &v) && good;
	recorder_end(path);
	return good;
}

/* It is killed at one of its calls; the log ends there. */
static void die(struct trial *t, const char *path, struct lives *l,
		uint64_t *rng)
{
	struct oplog all = *l->log;
	struct plan p = {.kind = PLAN_KILL};
	struct op *last;

	p.end = l->began + random_below(rng, all.count - l->began + 1);
	oplog_copy(l->log, &all, p.end);
	oplog_fini(&all);
	last = p.end > l->began ? &l->log->ops[p.end - 1] : NULL;
	if (last && last->kind == OP_WRITE && last->len > 1)
		last->len -= random_below(rng, last->len);
	for (size_t i = 0; i < l->count; i++)
		if (l->settled[i].from > p.end)
			l->settled[i].from = SIZE_MAX;
	if (t->explain)
		fprintf(t->explain, "killed again, at call %zu\n", p.end);
	store(t, l->log, &p, path);
}

static bool live_on(struct trial *t, const char *path, struct lives *l,
		    uint64_t *rng)
{
	size_t kills = random_below(rng, KILLS_MAX + 1);
	bool good;

	oplog_copy(l->log, &t->recording->log, t->plan.end);
	good = live(t, path, l);
	for (size_t i = 0; i < kills && good; i++) {
		die(t, path, l, rng);
		good = live(t, path, l);
	}
	return good;
}

/* The power fails at this call; as often as not something is durable then. */
static size_t end_of_lives(const struct trial *t, const struct lives *l,
			   uint64_t *rng)
{
	size_t from = t->plan.end, until = l->log->count;
	const struct settled *s = &l->settled[random_below(rng, l->count)];

	if (s->from != SIZE_MAX && random_below(rng, 2)) {
		from = s->from;
		until = s->until < until ? s->until : until;
	}
	return from + random_below(rng, until - from + 1);
}

/* What was done, and what is done now, as one story that the power ends. */
static bool play_on(struct trial *t, const char *path)
{
	struct recording both = *t->recording;
	uint64_t rng = seed_of(t);
	struct lives lives = {.log = &both.log};
	struct steps steps;
	bool good = live_on(t, path, &lives, &rng);

	steps_find(&steps, &both.log);
	for (int i = 0; i < (t->again.end ? 1 : AGAIN_MAX) && good; i++) {
		struct trial on = {.stage = t->stage,
				   .recording = &both,
				   .steps = &steps,
				   .explain = t->explain,
				   .settled = lives.settled,
				   .settled_count = lives.count,
				   .plan = {.kind = PLAN_POWER}};

		on.plan.end = end_of_lives(t, &lives, &rng);
		on.plan.seed = random_next(&rng) >> 20;
		if (t->again.end)
			on.plan = t->again;
		good = trial_run(&on);
		if (!good) {
			t->again = on.plan;
			wrong(t, "killed, mounted, and no power", on.what);
		}
	}
	steps_fini(&steps);
	oplog_fini(&both.log);
	return good;
}

static bool play_with_copies(struct trial *t, const char *path)
{
	struct image *before, *after;
	char aside[128], *where = NULL;
	bool good;

	snprintf(aside, sizeof aside, "%s/" VERDICT_FOREIGN, path);
	image_copy_files(path, aside);
	before = image_scan(aside);
	good = play(t, path, "with copies", NULL);
	after = image_scan(aside);
	if (good && !image_same(before, after, &where))
		good = wrong(t, "a copy was changed", where);
	free(where);
	image_free(before);
	image_free(after);
	return good;
}

/* What could not be finished is kept for whoever can see to it. */
static bool is_kept(const char *path)
{
	struct image *im;
	char journal[128];
	bool kept = false;

	snprintf(journal, sizeof journal, "%s/.frondfs/journal", path);
	if (access(journal, F_OK) != 0)
		return false;
	im = image_scan(journal);
	for (size_t i = 0; i < im->objects[0].entry_count; i++)
		kept |= strstr(im->objects[0].entries[i].name, ".kept") != NULL;
	image_free(im);
	return kept;
}

static bool play_failing(struct trial *t, const char *path)
{
	uint64_t rng = seed_of(t);
	enum fault_kind kind = (enum fault_kind)random_below(&rng, FAULT_ALL);
	long n = (long)random_below(&rng, FAULT_CALLS);
	struct vault v;
	bool good = true;
	int err;

	stage_open(t->stage, path, &v);
	fault_arm(path, kind, n);
	err = story_mount(&v);
	fault_disarm();
	if (t->explain)
		fprintf(t->explain, "%s at call %ld (%s): %s\n",
			fault_word(kind), n,
			fault_fired() ? fault_fired() : "none", strerror(-err));
	if (err)
		stage_close(&v);
	else
		good = unmount(t, &v);
	return good &&
	       (is_kept(path) ||
		play(t, path, "a call failed when it was mounted", NULL));
}

static bool play_more(struct trial *t, const char *path)
{
	struct oplog log = {0};
	bool good;

	switch (t->more) {
	case TRIAL_TWICE:
		good = play(t, path, "after the crash", &log) &&
		       play_again(t, &log);
		oplog_fini(&log);
		return good;
	case TRIAL_OFTEN:
		return play_often(t, path);
	case TRIAL_ON:
		return play_on(t, path);
	case TRIAL_COPIES:
		return play_with_copies(t, path);
	case TRIAL_FAULT:
		return play_failing(t, path);
	default:
		return play(t, path, "after the crash", NULL);
	}
}

const char *trial_more_word(enum trial_more more)
{
	static const char *const words[] = {"plain", "twice",  "often",
					    "on",    "copies", "fault"};

	return words[more];
}

bool trial_run(struct trial *t)
{
	bool good;
	char path[96];

	stage_path(t->stage, "state", path);
	shown_boots(t->plan.kind != PLAN_KILL);
	store(t, &t->recording->log, &t->plan, path);
	if (t->keep) {
		image_store(state_build(&t->recording->log, &t->plan, NULL),
			    t->keep, NULL, NULL);
		t->keep = NULL;
	}
	good = play_more(t, path);
	shown_boots(0);
	shown_inos_forget();
	image_remove_tree(path);
	seen_forget(path);
	return good;
}
