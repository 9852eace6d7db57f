#include "mtime.h"

#include "journal.h"

#include <sys/stat.h>

enum { NS = 1000000000 };

/* 0: one that 64 bits do not hold, or none; such are let be. */
static int64_t pack(const struct timespec *t)
{
	if (t->tv_nsec < 0 || t->tv_nsec >= NS || t->tv_sec >= INT64_MAX / NS ||
	    t->tv_sec <= INT64_MIN / NS)
		return 0;
	return (int64_t)t->tv_sec * NS + t->tv_nsec;
}

static struct timespec unpack(int64_t ns)
{
	struct timespec t = {.tv_sec = ns / NS, .tv_nsec = ns % NS};

	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += NS;
	}
	return t;
}

void mtime_told(struct inode *i, const struct timespec *mtime)
{
	/* what is written from now on moves it */
	atomic_store(&i->mtime_moved, false);
	atomic_store(&i->known_mtime_ns, pack(mtime));
}

void mtime_before_write(struct vault *vault, struct inode *i, int fd)
{
	int64_t none = 0;
	struct stat st;

	/* until the first write it is what the kernel was told */
	if (atomic_load(&i->known_mtime_ns) != 0)
		return;
	journal_times_lock(vault, i->ino);
	if (fstat(fd, &st) == 0)
		atomic_compare_exchange_strong(&i->known_mtime_ns, &none,
					       pack(&st.st_mtim));
	journal_times_unlock(vault, i->ino);
}

void mtime_after_write(struct inode *i)
{
	atomic_store(&i->mtime_moved, true);
}

void mtime_set_back(struct inode *i, int fd)
{
	int64_t ns;

	if (!atomic_exchange(&i->mtime_moved, false))
		return;
	do {
		ns = atomic_load(&i->known_mtime_ns);
		if (ns == 0)
			return;
		const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
						  unpack(ns)};

		/* who may write the file may not always do this */
		(void)!futimens(fd, times);
		/* another may have been told meanwhile */
	} while (ns != atomic_load(&i->known_mtime_ns));
}
