/*
 * Clocks of other machines that are ahead of this one's: what replaces what
 * they have written must not look older to them.
 */
#include "vfile_internal.h"

#include "vfile_slot.h"
#include "xio.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
	CLOCKS_DIFFER_MAX_S = 86400,
	LOOK_MAX = 1 << 16, /* chunks; of longer files, so many */
	STAMP_LEN = 1 + 8,  /* version and time: a token begins with them */
};

/* One that is ahead of all reason is not followed. */
static bool is_ahead(const struct vfile *f, uint64_t sealed_s)
{
	return sealed_s > f->vault->latest_s &&
	       sealed_s <= (uint64_t)time(NULL) + CLOCKS_DIFFER_MAX_S;
}

void vfile_keep_up_(struct vfile *f, uint64_t sealed_s)
{
	if (!f->granted && is_ahead(f, sealed_s))
		vault_pass(f->vault, sealed_s);
}

/* Has anything been done to it later than now? What a program has set to any
 * time is no reason to look each time that it is opened. */
static bool is_of_the_future(const struct vfile *f, const struct stat *st)
{
	const time_t now = time(NULL);
	const time_t times[] = {st->st_mtim.tv_sec, st->st_ctim.tv_sec};

	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		if (times[i] > now && is_ahead(f, (uint64_t)times[i]))
			return true;
	return false;
}

/* What lies there says that it was sealed then; it need not be so. */
static uint64_t stamp_at(const struct vfile *f, uint64_t index)
{
	uint8_t start[STAMP_LEN];

	if (xio_pread(f->fd, start, sizeof start, (off_t)chunk_offset(index)))
		return 0;
	return fernet_timestamp(start);
}

/* The chunk with the latest time that is to be followed; false: none. */
static bool find_latest(const struct vfile *f, uint64_t *latest)
{
	uint64_t last = chunk_last_index(f->size), step = last / LOOK_MAX + 1;
	uint64_t newest = 0;

	for (uint64_t i = 0; i <= last;
	     i = i < last && i + step > last ? last : i + step) {
		uint64_t stamp;

		i = journal_next_data_(f->fd, i, last);
		stamp = stamp_at(f, i);
		if (stamp > newest && is_ahead(f, stamp)) {
			newest = stamp;
			*latest = i;
		}
	}
	return newest > 0;
}

void vfile_catch_up_(struct vfile *f, const struct stat *st)
{
	struct workspace *ws;
	uint8_t plain[CHUNK_SIZE];
	uint64_t latest;

	if (f->granted || !is_of_the_future(f, st) || !find_latest(f, &latest))
		return;
	ws = workspace_get();
	/* its time counts if it verifies; what is wrong with it shows when it
	 * is read */
	if (ws)
		(void)!vfile_load_chunk_(f, ws, latest, plain);
	sodium_memzero(plain, sizeof plain);
}
