/*
 * Modification times. What the journal holds was written when its record was
 * appended, and that is when the file has changed; that it comes to its place
 * later must not show.
 */
#include "journal_internal.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>

static struct journal_times *times_of(struct journal *j, ino_t ino)
{
	return &j->times[ino % JOURNAL_TIMES_LOCKS];
}

void journal_touch_(struct journal_file *jf, bool again)
{
	pthread_mutex_t *lock = &times_of(jf->journal, jf->ino)->lock;
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
					  {.tv_nsec = UTIME_NOW}};
	uint64_t set = jf->journal->times_set;
	struct timespec now;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
	if (!again && atomic_exchange(&jf->touched, ns) == ns &&
	    atomic_exchange(&jf->touched_set, set) == set)
		return;
	jf->touched_set = set;
	pthread_mutex_lock(lock);
	(void)!futimens(jf->fd, times);
	pthread_mutex_unlock(lock);
}

void journal_times_lock(struct vault *vault, ino_t ino)
{
	if (vault->journal)
		pthread_mutex_lock(&times_of(vault->journal, ino)->lock);
}

void journal_times_unlock(struct vault *vault, ino_t ino)
{
	if (!vault->journal)
		return;
	vault->journal->times_set++;
	pthread_mutex_unlock(&times_of(vault->journal, ino)->lock);
}

int journal_mtime_keep_(struct journal *j, int fd, ino_t ino,
			struct journal_mtime *kept)
{
	struct journal_times *t = times_of(j, ino);
	struct stat st;

	pthread_mutex_lock(&t->lock);
	if (fstat(fd, &st) < 0) {
		int err = -errno;

		pthread_mutex_unlock(&t->lock);
		return err;
	}
	t->moved = JOURNAL_TIMES_MOVING;
	*kept = (struct journal_mtime){
		.journal = j, .times = t, .fd = fd, .mtime = st.st_mtim};
	return 0;
}

void journal_mtime_restore_(const struct journal_mtime *kept)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, kept->mtime};

	(void)!futimens(kept->fd, times); /* its owner may */
	kept->times->moved = ++kept->journal->times_kept;
	pthread_mutex_unlock(&kept->times->lock);
}

uint64_t journal_times_kept(const struct vault *vault)
{
	return vault->journal ? vault->journal->times_kept : 0;
}

bool journal_times_moved(struct vault *vault, ino_t ino, uint64_t since)
{
	return vault->journal && times_of(vault->journal, ino)->moved > since;
}
