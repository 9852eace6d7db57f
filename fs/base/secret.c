#include "secret.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum { SLOT_ALIGN = 64 };

struct secret_pool {
	pthread_mutex_t lock;
	void *free_list; /* lock; a free slot's first bytes point to the next */
	size_t slot_bytes;
	uint8_t *slots;
	void *region;
};

void *secret_alloc(size_t len_bytes)
{
	void *p = sodium_malloc(len_bytes);

	if (!p) {
		errno = ENOMEM;
		return NULL;
	}
	sodium_memzero(p, len_bytes);
	return p;
}

void secret_free(void *p)
{
	sodium_free(p);
}

int secret_pool_new(size_t slot_bytes, size_t slot_count,
		    struct secret_pool **out)
{
	CLEANUP_FREE struct secret_pool *pool = calloc(1, sizeof *pool);

	if (!pool)
		return -ENOMEM;
	pool->slot_bytes = (slot_bytes + SLOT_ALIGN - 1) & ~(SLOT_ALIGN - 1UL);
	pool->region = secret_alloc(pool->slot_bytes * slot_count + SLOT_ALIGN);
	if (!pool->region)
		return -ENOMEM;
	pool->slots = pool->region;
	pool->slots += -(uintptr_t)pool->slots & (SLOT_ALIGN - 1);
	for (size_t i = slot_count; i-- > 0;) {
		void **slot = (void **)(pool->slots + i * pool->slot_bytes);

		*slot = pool->free_list;
		pool->free_list = slot;
	}
	pthread_mutex_init(&pool->lock, NULL);
	*out = TAKE_PTR(pool);
	return 0;
}

void secret_pool_free(struct secret_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_destroy(&pool->lock);
	secret_free(pool->region);
	free(pool);
}

void *secret_pool_get(struct secret_pool *pool)
{
	void **slot;

	pthread_mutex_lock(&pool->lock);
	slot = pool->free_list;
	if (slot)
		pool->free_list = *slot;
	pthread_mutex_unlock(&pool->lock);
	return slot;
}

void secret_pool_put(struct secret_pool *pool, void *slot)
{
	if (!slot)
		return;
	sodium_memzero(slot, pool->slot_bytes);
	pthread_mutex_lock(&pool->lock);
	*(void **)slot = pool->free_list;
	pool->free_list = slot;
	pthread_mutex_unlock(&pool->lock);
}
