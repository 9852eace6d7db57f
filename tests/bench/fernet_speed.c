/*
 * How fast one core seals and opens 4 KiB chunks: OpenSSL one token per call
 * against batches on each backend. Times are CPU times of the thread; every
 * line is measured once a round, and its best round counts, so that a busy
 * machine disturbs little and all lines alike.
 *
 *   fernet_speed [SECONDS-PER-LINE]
 */
#include "fernet.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TAG = 8, CHUNK = 4096, COUNT = 256, ROUNDS = 5 };
enum { TOKEN = FERNET_TOKEN_LEN(TAG + CHUNK) };

struct bench {
	struct fernet_ctx *ctx;
	struct fernet_key key;
	uint8_t tag[TAG];
	uint8_t *chunks, *tokens, *plaintexts;
	struct fernet_seal_job seal[COUNT];
	struct fernet_open_job open[COUNT];
	double seconds;
};

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* All COUNT tokens, batch of them a call; false when anything failed. */
static bool run_once(struct bench *bench, bool sealing, size_t batch)
{
	for (size_t i = 0; i < COUNT; i += batch) {
		if (sealing && fernet_seal(bench->ctx, &bench->key, 1,
					   bench->seal + i, batch) != 0)
			return false;
		if (!sealing && fernet_open(bench->ctx, &bench->key,
					    bench->open + i, batch) != 0)
			return false;
	}
	return true;
}

static double round_speed(struct bench *bench, bool sealing, size_t batch)
{
	double begin = cpu_seconds(), took;
	double bytes = 0;

	do {
		if (!run_once(bench, sealing, batch)) {
			fprintf(stderr, "fernet_speed: a token failed\n");
			exit(1);
		}
		bytes += (double)COUNT * CHUNK;
		took = cpu_seconds() - begin;
	} while (took < bench->seconds / ROUNDS);
	return bytes / took / 1e9;
}

static void measure(struct bench *bench, bool sealing, size_t batch,
		    double *best)
{
	double now = round_speed(bench, sealing, batch);

	*best = now > *best ? now : *best;
}

static void set_up(struct bench *bench)
{
	bench->chunks = malloc((size_t)COUNT * CHUNK);
	bench->tokens = malloc((size_t)COUNT * TOKEN);
	bench->plaintexts = malloc((size_t)COUNT * FERNET_OPEN_ROOM(TOKEN));
	if (!bench->chunks || !bench->tokens || !bench->plaintexts)
		exit(1);
	memset(bench->chunks, 7, (size_t)COUNT * CHUNK);
	for (size_t i = 0; i < COUNT; i++) {
		bench->seal[i] = (struct fernet_seal_job){
			.head = bench->tag,
			.head_len = TAG,
			.body = bench->chunks + i * CHUNK,
			.body_len = CHUNK,
			.token = bench->tokens + i * TOKEN,
		};
		bench->open[i] = (struct fernet_open_job){
			.token = bench->tokens + i * TOKEN,
			.token_len = TOKEN,
			.plaintext =
				bench->plaintexts + i * FERNET_OPEN_ROOM(TOKEN),
		};
	}
}

static bool use_backend(struct bench *bench, const char *name)
{
	const uint8_t raw[FERNET_KEY_LEN] = {1, 2, 3};

	if (fernet_init(name) != 0)
		return false;
	fernet_ctx_free(bench->ctx);
	bench->ctx = fernet_ctx_new();
	if (!bench->ctx)
		exit(1);
	fernet_key_init(&bench->key, raw);
	return true;
}

static const char *const names[] = {"openssl", "ipsecmb"};
static const size_t batches[] = {1, 2, 8, 16, 32, 256};
enum { NAMES = sizeof names / sizeof *names };
enum { BATCHES = sizeof batches / sizeof *batches };

/* GB/s; 0 where the backend is not here. */
struct line {
	double seal, open;
};

static void run_round(struct bench *bench, struct line lines[NAMES][BATCHES])
{
	for (size_t b = 0; b < NAMES; b++) {
		if (!use_backend(bench, names[b]))
			continue;
		for (size_t i = 0; i < BATCHES; i++) {
			measure(bench, true, batches[i], &lines[b][i].seal);
			measure(bench, false, batches[i], &lines[b][i].open);
		}
	}
}

static void print_lines(const struct line lines[NAMES][BATCHES])
{
	const struct line *base = &lines[0][0];

	printf("%-9s%6s%12s%8s%12s%8s\n", "backend", "batch", "seal GB/s",
	       "ratio", "open GB/s", "ratio");
	for (size_t b = 0; b < NAMES; b++) {
		if (lines[b][0].seal == 0) {
			printf("%-9s not here\n", names[b]);
			continue;
		}
		for (size_t i = 0; i < BATCHES; i++) {
			const struct line *l = &lines[b][i];

			printf("%-9s%6zu%12.2f%8.2f%12.2f%8.2f\n", names[b],
			       batches[i], l->seal, l->seal / base->seal,
			       l->open, l->open / base->open);
		}
	}
}

int main(int argc, char **argv)
{
	static struct bench bench;
	static struct line lines[NAMES][BATCHES];

	bench.seconds = argc > 1 ? atof(argv[1]) : 0.6;
	set_up(&bench);
	for (int i = 0; i < ROUNDS; i++)
		run_round(&bench, lines);
	print_lines(lines);
	fernet_ctx_free(bench.ctx);
	free(bench.chunks);
	free(bench.tokens);
	free(bench.plaintexts);
	return 0;
}
