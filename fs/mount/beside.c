#include "beside.h"

#include "cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	PATIENCE_MIN = 32,
	PATIENCE_MAX = 4096,
	STAY_MIN = 256, /* moving for fewer requests than this was of no use */
	LOOK_EVERY = 64,
	PAUSE_NS = 1000000, /* after which he may have been moved elsewhere */
	FIELDS_BEFORE = 36, /* in proc(5)'s stat, from the state to processor */
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The processor that a thread ran on last, -1: unknown. */
static int cpu_of(uint32_t pid)
{
	CLEANUP_FD int fd = -1;
	char path[32], text[1024], *field;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%u/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	/* behind the name, which may hold anything */
	field = strrchr(text, ')');
	for (int i = 0; field && i <= FIELDS_BEFORE; i++)
		field = strchr(field + 1, ' ');
	return field ? atoi(field + 1) : -1;
}

static bool may_run_on(const cpu_set_t *set, int cpu)
{
	return cpu >= 0 && cpu < CPU_SETSIZE && CPU_COUNT(set) > 1 &&
	       CPU_ISSET((size_t)cpu, set);
}

static void move(struct beside *b, int cpu)
{
	cpu_set_t there;

	if (!b->moved && sched_getaffinity(0, sizeof b->before, &b->before) < 0)
		return;
	if (!may_run_on(&b->before, cpu))
		return;
	CPU_ZERO(&there);
	CPU_SET((size_t)cpu, &there);
	if (sched_setaffinity(0, sizeof there, &there) < 0)
		return;
	if (!b->moved)
		b->stayed = 0;
	b->cpu = cpu;
	b->moved = true;
}

void beside_leave(struct beside *b)
{
	b->requests = 0;
	b->looked_at = 0;
	if (!b->moved)
		return;
	(void)sched_setaffinity(0, sizeof b->before, &b->before);
	b->moved = false;
	if (b->stayed >= STAY_MIN)
		b->patience = PATIENCE_MIN;
	else if (b->patience < PATIENCE_MAX)
		b->patience *= 2;
}

void beside_follow(struct beside *b, uint32_t pid)
{
	int64_t ns, pause_ns;
	int cpu;

	if (b->patience == 0)
		b->patience = PATIENCE_MIN;
	if (pid == 0)
		return;
	if (pid != b->pid)
		beside_leave(b);
	b->pid = pid;
	b->requests++;
	b->stayed++;
	if (b->requests < b->patience)
		return;
	ns = now_ns();
	pause_ns = ns - b->last_ns;
	b->last_ns = ns;
	if (b->looked_at && b->requests - b->looked_at < LOOK_EVERY &&
	    pause_ns < PAUSE_NS)
		return;
	b->looked_at = b->requests;
	cpu = cpu_of(pid);
	if (!b->moved || cpu != b->cpu)
		move(b, cpu);
}
