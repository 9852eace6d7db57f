#include "pace.h"

#include "clock.h"

#include <sys/resource.h>

/* How often this thread has waited for something of its own accord. */
static long sleeps(void)
{
	struct rusage use;

	return getrusage(RUSAGE_THREAD, &use) == 0 ? use.ru_nvcsw : 0;
}

void pace_begin(struct pace *p)
{
	p->begin_us = clock_now_us();
	p->sleeps = sleeps();
}

int64_t pace_end(const struct pace *p)
{
	return sleeps() == p->sleeps ? 0 : clock_now_us() - p->begin_us;
}
