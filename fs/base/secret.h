/*
 * Memory for secrets: locked (as far as RLIMIT_MEMLOCK allows), left out of
 * core dumps, between guard pages, wiped when freed. libsodium's allocator
 * costs some 25 us and several pages a call, so many small secrets of one
 * size share a pool.
 */
#ifndef FROND_SECRET_H
#define FROND_SECRET_H

#include "cleanup.h"

#include <sodium.h>
#include <stddef.h>
#include <stdint.h>

/* len_bytes of locked memory, zeroed; NULL with errno ENOMEM. */
MUST_CHECK void *secret_alloc(size_t len_bytes);
/* Wipes and frees; NULL is fine. */
void secret_free(void *p);

static inline void cleanup_secret_(void *p)
{
	secret_free(*(void **)p);
}

#define CLEANUP_SECRET __attribute__((cleanup(cleanup_secret_)))

/*
 * A pool of slot_count slots of slot_bytes each (rounded up to 64, and
 * aligned to 64) in one locked region. Thread-safe.
 */
struct secret_pool;

MUST_CHECK int secret_pool_new(size_t slot_bytes, size_t slot_count,
			       struct secret_pool **out);
void secret_pool_free(struct secret_pool *pool);
/* A slot, its content undefined; NULL when all are taken. */
MUST_CHECK void *secret_pool_get(struct secret_pool *pool);
/* Wipes the slot and gives it back; NULL is fine. */
void secret_pool_put(struct secret_pool *pool, void *slot);

#endif
