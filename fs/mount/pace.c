#include "pace.h"

#include <sys/resource.h>
#include <time.h>

static int64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* How often this thread has waited for something of its own accord. */
static long sleeps(void)
{
	struct rusage use;

	return getrusage(RUSAGE_THREAD, &use) == 0 ? use.ru_nvcsw : 0;
}

void pace_begin(struct pace *p)
{
	p->begin_us = now_us();
	p->sleeps = sleeps();
}

int64_t pace_end(const struct pace *p)
{
	return sleeps() == p->sleeps ? 0 : now_us() - p->begin_us;
}
