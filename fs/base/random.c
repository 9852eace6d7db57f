#include "random.h"

#include "secret.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* One page of a thread; in a child it is all zeros, and so empty. */
struct stock {
	size_t left;
	uint8_t bytes[];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t stock_key;
static atomic_bool without; /* memory cannot be had that is wiped by fork */
static size_t page_bytes;

static void free_stock(void *s)
{
	secret_free(s);
}

static void prepare(void)
{
	long page = sysconf(_SC_PAGESIZE);

	page_bytes = page > 0 ? (size_t)page : 4096;
	if (sodium_init() < 0 ||
	    pthread_key_create(&stock_key, free_stock) != 0)
		without = true;
}

static struct stock *stock_new(void)
{
	struct stock *s = secret_alloc(page_bytes);

	if (s && madvise(s, page_bytes, MADV_WIPEONFORK) == 0 &&
	    pthread_setspecific(stock_key, s) == 0)
		return s;
	secret_free(s);
	without = true;
	return NULL;
}

static struct stock *own_stock(void)
{
	struct stock *s;

	pthread_once(&once, prepare);
	if (without)
		return NULL;
	s = pthread_getspecific(stock_key);
	return s ? s : stock_new();
}

/* False: the kernel gave none. */
static bool fill(struct stock *s)
{
	size_t room = page_bytes - sizeof *s, got = 0;

	while (got < room) {
		ssize_t n = getrandom(s->bytes + got, room - got, 0);

		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0)
			got += (size_t)n;
	}
	s->left = room;
	return true;
}

void random_bytes(void *buf, size_t len)
{
	struct stock *s = own_stock();
	uint8_t *out = buf;

	while (s && len > 0 && (s->left > 0 || fill(s))) {
		size_t part = len < s->left ? len : s->left;

		s->left -= part;
		memcpy(out, s->bytes + s->left, part);
		sodium_memzero(s->bytes + s->left, part);
		out += part;
		len -= part;
	}
	if (len > 0)
		randombytes_buf(out, len);
}
