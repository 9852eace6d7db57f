/*
 * open_all BACKING: read every file of a vault and open its tokens, with all
 * processors, and nothing else: what check_speed.py measures frondfs check by.
 * The passphrase is the first line of the standard input. Prints bytes and
 * seconds, from when the files are known.
 */
#include "chunk.h"
#include "header.h"
#include "vault.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 256, JOBS_MAX = 256 };

/* So many chunks of a file, in one piece. */
struct piece {
	char *path;
	uint64_t first, size;
};

static struct vault *vault;
static struct piece *pieces;
static size_t piece_count, piece_room;
static atomic_size_t next_piece;
static atomic_ullong bytes;

static _Noreturn void fail(const char *what, const char *path)
{
	fprintf(stderr, "open_all: %s: %s\n", path, what);
	exit(1);
}

static int collect(const char *path, const struct stat *st, int type,
		   struct FTW *ftw)
{
	uint64_t size = (uint64_t)st->st_size, first = 0;
	const char *name = path + ftw->base;
	char *copy;

	if (strcmp(name, ".frondfs") == 0)
		return FTW_SKIP_SUBTREE;
	if (type != FTW_F || name[0] == '.' || strchr(name, '.') ||
	    size < chunk_backing_len(0))
		return FTW_CONTINUE;
	copy = strdup(path);
	/* a last chunk has at least that; less is the padding of a full one */
	for (; copy && chunk_offset(first) + CHUNK_LAST_EXTRA <= size;
	     first += BATCH) {
		if (piece_count == piece_room) {
			piece_room = piece_room ? 2 * piece_room : 1024;
			pieces = reallocarray(pieces, piece_room,
					      sizeof *pieces);
		}
		if (!pieces)
			fail("no memory", path);
		pieces[piece_count++] = (struct piece){copy, first, size};
	}
	return FTW_CONTINUE;
}

struct room {
	struct fernet_ctx *fernet;
	uint8_t stored[BATCH * CHUNK_TOKEN_LEN];
	uint8_t plain[BATCH][FERNET_OPEN_ROOM(CHUNK_TOKEN_LEN)];
	struct fernet_open_job jobs[BATCH];
};

static void open_piece(struct room *r, const struct piece *p)
{
	uint64_t at = chunk_offset(p->first), len = p->size - at;
	int fd = open(p->path, O_RDONLY | O_CLOEXEC);
	uint8_t head[HEADER_LEN];
	struct fernet_key key;
	struct header h;
	size_t n = 0;

	if (len > sizeof r->stored)
		len = sizeof r->stored;
	if (fd < 0 || pread(fd, head, sizeof head, 0) != sizeof head ||
	    pread(fd, r->stored, len, (off_t)at) != (ssize_t)len ||
	    header_parse(head, &vault->keys->file_keys, &h))
		fail("cannot be read", p->path);
	close(fd);
	fernet_key_init(&key, h.file_key);
	for (uint64_t off = 0; off < len; off += CHUNK_TOKEN_LEN, n++) {
		uint64_t left = len - off, token_len = CHUNK_TOKEN_LEN;

		/* of the last one, what is no padding */
		if (at + len == p->size && left <= CHUNK_LAST_MAX)
			token_len = FERNET_TOKEN_LEN(left - CHUNK_LAST_EXTRA +
						     CHUNK_TAG_LEN);
		r->jobs[n] = (struct fernet_open_job){.token = r->stored + off,
						      .token_len = token_len,
						      .plaintext = r->plain[n]};
		if (token_len != CHUNK_TOKEN_LEN || left <= CHUNK_LAST_MAX) {
			n++;
			break;
		}
	}
	if (fernet_open(r->fernet, &key, r->jobs, n) != 0)
		fail("a token does not verify", p->path);
	bytes += len;
}

static void *work(void *arg)
{
	struct room *r = calloc(1, sizeof *r);
	size_t i;

	(void)arg;
	if (!r || !(r->fernet = fernet_ctx_new()))
		fail("no memory", "work");
	while ((i = next_piece++) < piece_count)
		open_piece(r, &pieces[i]);
	return NULL;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	long jobs = sysconf(_SC_NPROCESSORS_ONLN), started = 0;
	struct vault_fault fault = {0};
	pthread_t threads[JOBS_MAX];
	char passphrase[256] = "";
	double began;

	if (argc != 2 || !fgets(passphrase, sizeof passphrase, stdin))
		fail("usage: open_all BACKING < PASSFILE", "");
	passphrase[strcspn(passphrase, "\n")] = '\0';
	if (sodium_init() < 0 || fernet_init(getenv("FRONDFS_CRYPTO")) ||
	    vault_open(argv[1], passphrase, strlen(passphrase), 64, &vault,
		       &fault))
		fail("cannot be opened", argv[1]);
	if (nftw(argv[1], collect, 64, FTW_PHYS | FTW_ACTIONRETVAL) < 0)
		fail("cannot be read", argv[1]);
	began = now_s();
	while (started < jobs && started < JOBS_MAX &&
	       pthread_create(&threads[started], NULL, work, NULL) == 0)
		started++;
	while (started > 0)
		pthread_join(threads[--started], NULL);
	printf("%llu %.4f\n", bytes, now_s() - began);
	vault_close(vault);
	return 0;
}
