/* Memory and threads that are not to be had. */
#include "recorder_internal.h"

#include <errno.h>

/* Each place that asks fails once: the first time that it does. */
#define FAILS(name) fault_no_memory(name, __builtin_return_address(0))

void *__wrap_malloc(size_t size)
{
	return FAILS("malloc") ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return FAILS("calloc") ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return FAILS("realloc") ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	return FAILS("reallocarray") ? NULL
				     : __real_reallocarray(old, count, size);
}

char *__wrap_strdup(const char *text)
{
	return FAILS("strdup") ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len)
{
	return FAILS("strndup") ? NULL : __real_strndup(text, len);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return FAILS("aligned_alloc") ? NULL
				      : __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
	return FAILS("posix_memalign")
		       ? ENOMEM
		       : __real_posix_memalign(out, alignment, size);
}

void *__wrap_secret_alloc(size_t len_bytes)
{
	return FAILS("secret_alloc") ? NULL : __real_secret_alloc(len_bytes);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg)
{
	return FAILS("pthread_create")
		       ? EAGAIN
		       : __real_pthread_create(thread, attr, run, arg);
}
