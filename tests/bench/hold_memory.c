/*
 * hold_memory: keep the hypervisor from taking back what memory is free. Where
 * it does (virtio-balloon's free page reporting), each page that a benchmark
 * touches for the first time costs a fault in the hypervisor, so that the same
 * work takes once twice as long as another time, and more files cost more each
 * only because they touch more memory. What is reported are blocks of pages
 * that are free in one piece; so this takes nearly all memory, and gives back
 * all of it but one page of sixteen. Says "ready", and waits to be killed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KEPT_OF = 16 };
/* For those who run meanwhile. */
static const size_t LEFT = (size_t)1536 << 20;

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t block = KEPT_OF * page;
	size_t len = (size_t)sysconf(_SC_AVPHYS_PAGES) * page;
	FILE *score = fopen("/proc/self/oom_score_adj", "w");
	char *p;

	if (score) {
		fputs("1000", score);
		fclose(score);
	}
	if (len < 2 * LEFT) {
		fputs("hold_memory: too little memory is free\n", stderr);
		return EXIT_FAILURE;
	}
	len = (len - LEFT) / block * block;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		perror("hold_memory");
		return EXIT_FAILURE;
	}
	madvise(p, len, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < len; at += page)
		p[at] = 1;
	for (size_t at = 0; at < len; at += block)
		madvise(p + at + page, block - page, MADV_DONTNEED);
	puts("ready");
	fflush(stdout);
	pause();
	return EXIT_SUCCESS;
}
