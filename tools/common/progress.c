#include "progress.h"
#include "clock.h"
#include "json.h"
#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR = 24, FIRST_MS = 1000, EVERY_MS = 200 };

void progress_begin(struct progress *p, const char *what, uint64_t total)
{
	memset(p, 0, sizeof *p);
	p->what = what;
	p->total = total;
	p->began_ms = clock_now_ms();
	p->terminal = isatty(STDERR_FILENO);
}

static void draw(struct progress *p, int64_t ms)
{
	double share = p->total ? (double)p->done / (double)p->total : 1;
	double rate = (double)p->done * 1000 / (double)(ms ? ms : 1);
	double left_s = rate > 0 ? (double)(p->total - p->done) / rate : 0;
	char size[WHEN_TEXT_MAX], bar[BAR + 1];
	unsigned left = left_s < 359999 ? (unsigned)left_s : 359999;

	memset(bar, ' ', BAR);
	memset(bar, '#', (size_t)(share * BAR));
	bar[BAR] = '\0';
	fputs("\r\033[K", stderr);
	json_put_plain(stderr, p->what);
	fprintf(stderr, " [%s] %3.0f%%  %s/s  %u:%02u:%02u left", bar,
		share * 100, when_size((uint64_t)rate, size), left / 3600,
		left / 60 % 60, left % 60);
	fflush(stderr);
	p->shown = true;
}

void progress_step(struct progress *p, uint64_t done)
{
	int64_t ms = clock_now_ms() - p->began_ms;

	p->done = done < p->total ? done : p->total;
	if (!p->terminal || ms < FIRST_MS || ms < p->shown_ms + EVERY_MS)
		return;
	p->shown_ms = ms;
	draw(p, ms);
}

void progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
