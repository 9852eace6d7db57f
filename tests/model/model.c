/*
 * model --dir-a DIR --dir-b DIR [--threads N] [--ops N] [--seed N]
 * model --dir-a DIR --dir-b DIR --compare
 *
 * Takes the same random steps in both directories from many threads and
 * compares what each step returns and shows; at the end, the whole trees.
 * Every thread has names of its own, some of them in directories that all
 * share. --compare does the last part alone. Exit status: 0 alike, 1 not alike,
 * 2 wrong use.
 */
#include "pair.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SHARED_DIRS = 2, THREADS_MAX = 64, NAMES = 12 };

struct options {
	const char *dir_a, *dir_b;
	unsigned threads;
	unsigned long ops;
	uint64_t seed;
	bool compare_only;
};

struct worker {
	pthread_t thread;
	const struct options *opt;
	unsigned number;
	char own[16];
	struct rng rng;
	struct side a, b;
};

static atomic_bool failed;

uint64_t rng_next(struct rng *rng)
{
	/* splitmix64 */
	uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t rng_below(struct rng *rng, uint64_t below)
{
	return rng_next(rng) % below;
}

void rng_fill(uint64_t seed, uint8_t *out, size_t len)
{
	struct rng rng = {seed};

	for (size_t i = 0; i < len; i += 8) {
		uint64_t v = rng_next(&rng);

		memcpy(out + i, &v, 8);
	}
}

/* A name of this thread: plain, odd, or of the full 255 bytes. */
static void pick_name(struct worker *w, char out[256])
{
	unsigned which = (unsigned)rng_below(&w->rng, NAMES);
	int n = snprintf(out, 256, "%s-%u", w->own, which);

	if (which == 1)
		snprintf(out + n, (size_t)(256 - n), " \n\t\x01\xff\xc3\x28*");
	if (which == 2 || which == 3) {
		memset(out + n, 'L', (size_t)(255 - n));
		out[255] = 0;
	}
}

static void pick_path(struct worker *w, char *out, size_t size)
{
	char name[256], dir[256];
	unsigned where = (unsigned)rng_below(&w->rng, 8);

	pick_name(w, name);
	pick_name(w, dir);
	if (where < SHARED_DIRS)
		snprintf(out, size, "shared%u/%s", where, name);
	else if (where < 6)
		snprintf(out, size, "t%u/%s", w->number, name);
	else
		snprintf(out, size, "t%u/%s/%s", w->number, dir, name);
}

static uint64_t pick_offset(struct rng *rng)
{
	switch (rng_below(rng, 12)) {
	case 0:
		return 0;
	case 1: /* far out: a hole before it */
		return (rng_below(rng, 4) + 1) << 30;
	case 2: /* at a chunk's edge */
		return rng_below(rng, 40) * 4096;
	case 3: /* next to one */
		return rng_below(rng, 40) * 4096 + 4095;
	default:
		return rng_below(rng, 160000);
	}
}

static unsigned pick_operation(struct rng *rng)
{
	unsigned total = 0, at;

	for (size_t i = 0; i < operation_count; i++)
		total += operations[i].weight;
	at = (unsigned)rng_below(rng, total);
	for (unsigned i = 0;; i++) {
		if (at < operations[i].weight)
			return i;
		at -= operations[i].weight;
	}
}

static void decide(struct worker *w, struct step *s)
{
	memset(s, 0, sizeof *s);
	s->op = pick_operation(&w->rng);
	s->own = w->own;
	s->slot = (unsigned)rng_below(&w->rng, PAIR_FDS);
	s->slot2 = (unsigned)rng_below(&w->rng, PAIR_FDS);
	pick_path(w, s->path, sizeof s->path);
	pick_path(w, s->path2, sizeof s->path2);
	s->offset = pick_offset(&w->rng);
	s->offset2 = rng_below(&w->rng, 160000);
	s->len = rng_below(&w->rng, 3) ? rng_below(&w->rng, 5000)
				       : rng_below(&w->rng, 120000);
	s->fill = rng_next(&w->rng);
	s->pick = (unsigned)rng_next(&w->rng) & 0xffffff;
	if (strcmp(operations[s->op].name, "readdir") == 0) {
		unsigned where = s->pick % (SHARED_DIRS + 1);

		if (where < SHARED_DIRS)
			snprintf(s->path, sizeof s->path, "shared%u", where);
		else
			snprintf(s->path, sizeof s->path, "t%u", w->number);
	}
}

static void report(const struct worker *w, unsigned long number,
		   const struct step *s, long a, long b)
{
	printf("seed %llu, thread %u, step %lu: %s\n"
	       "  path %s\n  path2 %s\n"
	       "  slots %u %u, offsets %llu %llu, length %zu, pick %u\n"
	       "  a: %ld (%s), shows %zu bytes\n"
	       "  b: %ld (%s), shows %zu bytes\n",
	       (unsigned long long)w->opt->seed, w->number, number,
	       operations[s->op].name, s->path, s->path2, s->slot, s->slot2,
	       (unsigned long long)s->offset, (unsigned long long)s->offset2,
	       s->len, s->pick, a, a < 0 ? strerror((int)-a) : "fine",
	       w->a.seen_len, b, b < 0 ? strerror((int)-b) : "fine",
	       w->b.seen_len);
	side_print_seen(&w->a, &w->b);
	fflush(stdout);
}

static long run_step(struct side *side, const struct step *s)
{
	side->seen_len = 0;
	return operations[s->op].run(side, s);
}

static bool is_alike(const struct worker *w, long a, long b)
{
	return a == b && side_seen_alike(&w->a, &w->b);
}

static bool take_step(struct worker *w, unsigned long number)
{
	struct step s;
	long a, b;

	decide(w, &s);
	a = run_step(&w->a, &s);
	b = run_step(&w->b, &s);
	if (!is_alike(w, a, b) &&
	    step_may_be_asked_anew(operations[s.op].name, a)) {
		w->a.anew = true;
		a = run_step(&w->a, &s);
		w->a.anew = false;
	}
	if (is_alike(w, a, b))
		return true;
	report(w, number, &s, a, b);
	return false;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned long i = 0; i < w->opt->ops && !failed; i++)
		if (!take_step(w, i))
			failed = true;
	return NULL;
}

static int side_init(struct side *side, const char *dir)
{
	side->root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	side->seen = malloc(PAIR_SEEN_MAX);
	side->anew = false;
	for (int i = 0; i < PAIR_FDS; i++)
		side->fds[i] = -1;
	return side->root >= 0 && side->seen ? 0 : -errno;
}

static void side_fini(struct side *side)
{
	for (int i = 0; i < PAIR_FDS; i++)
		if (side->fds[i] >= 0)
			close(side->fds[i]);
	close(side->root);
	free(side->seen);
}

static int prepare_dirs(const char *dir, unsigned threads)
{
	char path[4200];

	for (unsigned i = 0; i < threads + SHARED_DIRS; i++) {
		if (i < SHARED_DIRS)
			snprintf(path, sizeof path, "%s/shared%u", dir, i);
		else
			snprintf(path, sizeof path, "%s/t%u", dir,
				 i - SHARED_DIRS);
		if (mkdir(path, 0755) != 0) {
			perror(path);
			return -errno;
		}
	}
	return 0;
}

static int parse(int argc, char **argv, struct options *opt)
{
	static const struct option names[] = {
		{"dir-a", required_argument, NULL, 'a'},
		{"dir-b", required_argument, NULL, 'b'},
		{"threads", required_argument, NULL, 't'},
		{"ops", required_argument, NULL, 'o'},
		{"seed", required_argument, NULL, 's'},
		{"compare", no_argument, NULL, 'c'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) >= 0) {
		if (c == 'a')
			opt->dir_a = optarg;
		else if (c == 'b')
			opt->dir_b = optarg;
		else if (c == 't')
			opt->threads = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'o')
			opt->ops = strtoul(optarg, NULL, 10);
		else if (c == 's')
			opt->seed = strtoull(optarg, NULL, 10);
		else if (c == 'c')
			opt->compare_only = true;
		else
			return -EINVAL;
	}
	if (!opt->dir_a || !opt->dir_b || opt->threads == 0 ||
	    opt->threads > THREADS_MAX)
		return -EINVAL;
	return 0;
}

static int run_workers(const struct options *opt)
{
	static struct worker workers[THREADS_MAX];
	unsigned started = 0;

	for (unsigned i = 0; i < opt->threads; i++) {
		struct worker *w = &workers[i];

		w->opt = opt;
		w->number = i;
		snprintf(w->own, sizeof w->own, "w%02u", i);
		w->rng.state = opt->seed * 1000003 + i;
		if (side_init(&w->a, opt->dir_a) != 0 ||
		    side_init(&w->b, opt->dir_b) != 0 ||
		    pthread_create(&w->thread, NULL, work, w) != 0) {
			perror("model");
			failed = true;
			break;
		}
		started++;
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(workers[i].thread, NULL);
		side_fini(&workers[i].a);
		side_fini(&workers[i].b);
	}
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct options opt = {
		.threads = 8,
		.ops = 5000,
		.seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid(),
	};

	if (parse(argc, argv, &opt) != 0) {
		fprintf(stderr, "usage: model --dir-a DIR --dir-b DIR "
				"[--threads N] [--ops N] [--seed N] | "
				"--compare\n");
		return 2;
	}
	umask(022);
	if (opt.compare_only)
		return tree_compare(opt.dir_a, opt.dir_b) ? 1 : 0;
	printf("seed %llu, %u threads, %lu steps each\n",
	       (unsigned long long)opt.seed, opt.threads, opt.ops);
	fflush(stdout);
	if (prepare_dirs(opt.dir_a, opt.threads) != 0 ||
	    prepare_dirs(opt.dir_b, opt.threads) != 0)
		return 2;
	if (run_workers(&opt) != 0)
		return 1;
	return tree_compare(opt.dir_a, opt.dir_b) ? 1 : 0;
}
