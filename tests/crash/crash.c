/*
 * crash_states [OPTION...] [WORKLOAD...]: record what a workload does to the
 * backing directory, make what a crash may leave of it, and look whether the
 * vault is as docs/CRASH.md promises.
 *
 *   --list             the workloads
 *   --seed N           of everything that is random (1)
 *   --states N         so many states of each workload (400)
 *   --minutes N        again and again with new seeds, for so long
 *   --faults           instead of crashing, let every call fail once
 *   --older            instead, put something back as it was before, which has
 *                      to be noticed
 *   --unprotected      without a journal: what that keeps has to be missed,
 *                      and missed again by the script that is left of it
 *   --served           with the vault served by fs/mount, and the workload a
 *                      program that uses it; exits with 77 where that cannot be
 *   --format N         of a vault of this version (the newest)
 *   --replay FILE PLAN one state of a recording that was left: FILE is a
 *                      script that does this
 *   --keep DIR         and leave its directory there; "correct horse" opens it
 *   --more WORD        what else happens to it
 */
#include "trial.h"

#include "faults.h"
#include "fernet.h"
#include "older.h"
#include "random.h"
#include "stage_served.h"
#include "unmounter.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SECTOR = 512, VIOLATIONS_MAX = 3, SUBSET_MAX = 4 };

struct options {
	uint64_t seed;
	size_t states;
	double minutes;
	bool faults, list, older, unprotected, served;
	const char *replay, *plan, *keep;
	enum trial_more more;
};

struct count {
	size_t states, violations;
	double seconds;
	bool differs; /* the script of one shows something else */
};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool read_plan(const char *text, struct plan *p)
{
	unsigned long long seed;
	unsigned kind;

	if (sscanf(text, PLAN_FORMAT, &kind, &p->end, &seed) != 3 ||
	    kind >= PLAN_KINDS)
		return false;
	p->kind = (enum plan_kind)kind;
	p->seed = seed;
	return true;
}

/* What shows it again, behind the recording's name. */
static void print_args(const struct trial *t, char args[200])
{
	const struct plan *p = &t->plan, *q = &t->again;
	char second[64] = "";

	if (q->end)
		snprintf(second, sizeof second, "/" PLAN_FORMAT,
			 (unsigned)q->kind, q->end,
			 (unsigned long long)q->seed);
	snprintf(args, 200, PLAN_FORMAT "%s --more %s%s", (unsigned)p->kind,
		 p->end, (unsigned long long)p->seed, second,
		 trial_more_word(t->more),
		 story_unprotected ? " --unprotected" : "");
}

/* The script of the n-th state that shows something. */
static void save_script(const struct trial *t, size_t n, char path[120])
{
	const struct recording *r = t->recording;
	char what[sizeof t->what + 64], args[200];

	stage_saved(r, n, path);
	print_args(t, args);
	snprintf(what, sizeof what, "%s, seed %llu: %s", r->plot->name,
		 (unsigned long long)r->seed, t->what);
	recording_save(r, path, what, args);
}

/* Say what is wrong and how to see it again. */
static void report(struct trial *t, size_t n)
{
	const struct recording *r = t->recording;
	const struct oplog *log = &r->log;
	size_t from = t->plan.end > 12 ? t->plan.end - 12 : 0;
	char path[120];

	save_script(t, n, path);
	printf("VIOLATION %s, seed %llu: %s\n", r->plot->name,
	       (unsigned long long)r->seed, t->what);
	printf("  again: sh %s\n", path);
	printf("  %s before call %zu of %zu; the last ones:\n",
	       t->plan.kind == PLAN_KILL ? "killed" : "the power fails",
	       t->plan.end, log->count);
	for (size_t i = from; i < t->plan.end; i++)
		op_print(stdout, i, &log->ops[i]);
	image_free(state_build(log, &t->plan, stdout));
	fflush(stdout);
}

/* Does the script that is left of it end with the same words? */
static bool shows_again(const struct trial *t, size_t n)
{
	char path[120], command[200], line[VERDICT_ROOM + 128] = "";
	bool same;
	FILE *out;

	save_script(t, n, path);
	snprintf(command, sizeof command, "exec sh '%s'", path);
	fflush(stdout);
	out = popen(command, "re");
	if (!out)
		image_fail("running", path);
	while (fgets(line, sizeof line, out))
		line[strcspn(line, "\n")] = '\0';
	same = WEXITSTATUS(pclose(out)) == 1 && strcmp(line, t->what) == 0;
	printf("seen: %s\n", t->what);
	if (same)
		unlink(path);
	else
		printf("sh %s says: %s\n", path, line);
	return same;
}

/* How many bytes to tear off the last write: where disks and pages end. */
static uint64_t random_tear(const struct op *op, uint64_t *rng)
{
	size_t whole = op->len, cut = 1 + random_below(rng, whole - 1);
	size_t unit = random_below(rng, 2) ? 4096 : SECTOR;
	size_t end = op->offset + cut;

	/* odd places, too */
	if (random_below(rng, 4) && end - end % unit > op->offset)
		cut = end - end % unit - op->offset;
	return whole - cut;
}

/* The i-th state of a recording: every prefix first, then at random. */
static struct plan choose(const struct oplog *log, size_t i, size_t states,
			  uint64_t *rng)
{
	struct plan p = {.kind = PLAN_KILL, .end = i};
	size_t pending;

	/* every prefix, if that is not too much */
	if (log->count + 1 <= states / 2 && i <= log->count)
		return p;
	p.end = random_below(rng, log->count + 1);
	if (random_below(rng, 4) == 0) {
		const struct op *last = p.end ? &log->ops[p.end - 1] : NULL;

		if (last && last->kind == OP_WRITE && last->len > 1)
			p.seed = random_tear(last, rng);
		return p;
	}
	pending = state_pending(log, p.end);
	p.kind = pending && random_below(rng, SUBSET_MAX) == 0 ? PLAN_SUBSET
							       : PLAN_POWER;
	p.seed = random_next(rng) >> 8;
	if (p.kind == PLAN_SUBSET && pending < 64)
		p.seed &= (UINT64_C(1) << pending) - 1;
	return p;
}

/* What else is to happen to the i-th state. */
static enum trial_more choose_more(const struct plan *p, size_t i)
{
	switch (i % 16) {
	case 1:
	case 9:
		return p->kind == PLAN_KILL && !p->seed ? TRIAL_ON
							: TRIAL_TWICE;
	case 3:
	case 11:
		return TRIAL_COPIES;
	case 5:
	case 13:
		return TRIAL_FAULT;
	case 7:
		return TRIAL_TWICE;
	case 15:
		return TRIAL_OFTEN;
	default:
		return TRIAL_PLAIN;
	}
}

static void crash_one(const struct stage *stage, const struct story_plot *plot,
		      uint64_t seed, const struct options *opt,
		      struct count *count)
{
	size_t states = opt->states;
	uint64_t rng = seed * 1000003;
	double began = now_s();
	size_t violations = 0;
	struct recording r;
	struct steps steps;

	stage_record(stage, plot, seed, &r);
	steps_find(&steps, &r.log);
	for (size_t i = 0; i < states && violations < VIOLATIONS_MAX; i++) {
		struct trial t = {.stage = stage,
				  .recording = &r,
				  .steps = &steps,
				  .plan = choose(&r.log, i, states, &rng)};

		t.more = choose_more(&t.plan, i + seed);
		count->states++;
		if (trial_run(&t))
			continue;
		if (opt->unprotected)
			count->differs |= !shows_again(&t, violations);
		else
			report(&t, violations);
		violations++;
	}
	count->violations += violations;
	count->seconds += now_s() - began;
	steps_fini(&steps);
	recording_fini(&r);
}

static int replay(const struct options *opt)
{
	struct stage stage = {0};
	struct recording r;
	struct steps steps;
	const char *slash = strchr(opt->plan, '/');
	struct trial t = {.stage = &stage,
			  .recording = &r,
			  .steps = &steps,
			  .explain = stdout,
			  .more = opt->more,
			  .keep = opt->keep};
	bool good;

	if (!read_plan(opt->plan, &t.plan) ||
	    (slash && !read_plan(slash + 1, &t.again)))
		return 2;
	stage_load(&stage, &r, opt->replay);
	steps_find(&steps, &r.log);
	for (size_t i = 0; i < t.plan.end; i++)
		op_print(stdout, i, &r.log.ops[i]);
	good = trial_run(&t);
	printf("%s\n", good ? "as it should be" : t.what);
	steps_fini(&steps);
	recording_fini(&r);
	stage_fini(&stage);
	return good ? 0 : 1;
}

static bool is_wanted(const struct story_plot *plot, char **names, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(names[i], plot->name) == 0)
			return true;
	return count == 0;
}

static void older_one(const struct stage *stage, const struct story_plot *plot,
		      uint64_t seed, const struct options *opt,
		      struct count *count)
{
	double began = now_s();

	count->states = opt->states;
	count->violations = older_run(stage, plot, seed, &count->states);
	/* what can find nothing says nothing */
	count->violations += count->states == 0;
	count->seconds = now_s() - began;
}

static int run(const struct options *opt, char **names, int name_count)
{
	double end = now_s() + opt->minutes * 60;
	struct stage stage = {.served = opt->served};
	size_t violations = 0;
	bool differs = false;
	uint64_t seed = opt->seed;

	stage_init(&stage);
	do {
		for (const struct story_plot *p = story_plots; p->name; p++) {
			struct count c = {0};

			if (!is_wanted(p, names, name_count) ||
			    (p->served && !opt->served))
				continue;
			if (opt->faults)
				c.violations = (opt->served ? faults_served
							    : faults_run)(
					&stage, p, seed, &c.states);
			else if (opt->older)
				older_one(&stage, p, seed, opt, &c);
			else
				crash_one(&stage, p, seed, opt, &c);
			differs |= c.differs;
			violations += c.violations;
			printf("%s: %zu %s, %zu violations, %.2f s\n", p->name,
			       c.states, opt->faults ? "faults" : "states",
			       c.violations, c.seconds);
			fflush(stdout);
		}
		seed++;
	} while (now_s() < end);
	stage_fini(&stage);
	return (violations > 0) == opt->unprotected && !differs ? 0 : 1;
}

static bool parse(int argc, char **argv, struct options *opt)
{
	static const struct option longs[] = {
		{"list", no_argument, NULL, 'l'},
		{"seed", required_argument, NULL, 's'},
		{"states", required_argument, NULL, 'n'},
		{"minutes", required_argument, NULL, 'm'},
		{"faults", no_argument, NULL, 'f'},
		{"older", no_argument, NULL, 'd'},
		{"unprotected", no_argument, NULL, 'u'},
		{"served", no_argument, NULL, 'v'},
		{"format", required_argument, NULL, 'a'},
		{"replay", required_argument, NULL, 'r'},
		{"keep", required_argument, NULL, 'k'},
		{"more", required_argument, NULL, 'o'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0)
		switch (c) {
		case 'l':
			opt->list = true;
			break;
		case 's':
			opt->seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			opt->states = strtoul(optarg, NULL, 10);
			break;
		case 'm':
			opt->minutes = strtod(optarg, NULL);
			break;
		case 'f':
			opt->faults = true;
			break;
		case 'd':
			opt->older = true;
			break;
		case 'u':
			opt->unprotected = story_unprotected = true;
			break;
		case 'v':
			opt->served = true;
			break;
		case 'a':
			stage_version = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			opt->replay = optarg;
			break;
		case 'k':
			opt->keep = optarg;
			break;
		case 'o':
			while (opt->more < TRIAL_KINDS &&
			       strcmp(trial_more_word(opt->more), optarg) != 0)
				opt->more++;
			if (opt->more == TRIAL_KINDS)
				return false;
			break;
		default:
			return false;
		}
	if (opt->replay)
		opt->plan = argv[optind++];
	return !opt->replay || opt->plan;
}

int main(int argc, char **argv)
{
	const char *minutes = getenv("FROND_CRASH_MINUTES");
	struct options opt = {.seed = 1, .states = 400};

	/* as fs/mount starts its own program again */
	if (argc == 1 && strcmp(argv[0], UNMOUNTER_NAME) == 0)
		return unmounter_main();
	umask(022);
	if (minutes) {
		opt.minutes = strtod(minutes, NULL);
		opt.seed = (uint64_t)time(NULL);
		opt.states = 2000;
	}
	if (!parse(argc, argv, &opt)) {
		fprintf(stderr, "usage: see the top of crash.c\n");
		return 2;
	}
	for (const struct story_plot *p = story_plots; opt.list && p->name; p++)
		puts(p->name);
	if (opt.list)
		return 0;
	if (opt.served && !served_possible())
		return 77;
	if (sodium_init() < 0 || fernet_init(NULL))
		return 1;
	return opt.replay ? replay(&opt)
			  : run(&opt, argv + optind, argc - optind);
}
