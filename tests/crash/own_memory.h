/*
 * What the program itself needs is always there: only fs/ meets what
 * recorder_memory.c does. Included before everything else.
 */
#ifndef FROND_CRASH_OWN_MEMORY_H
#define FROND_CRASH_OWN_MEMORY_H

#include "recorder_calls.h"

#include <stdlib.h>
#include <string.h>

#define malloc(size) __real_malloc(size)
#define calloc(count, size) __real_calloc(count, size)
#define realloc(old, size) __real_realloc(old, size)
#define strdup(text) __real_strdup(text)
#define pthread_create(thread, attr, run, arg)                                 \
	__real_pthread_create(thread, attr, run, arg)

#endif
