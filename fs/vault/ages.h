/*
 * When the chunks of a file were sealed at the earliest: what is older than
 * that has been put back. Pure bookkeeping; the caller locks.
 */
#ifndef FROND_AGES_H
#define FROND_AGES_H

#include <stddef.h>
#include <stdint.h>

/* Stretches told apart. Where there are more, neighbours become one, which is
 * as old as the older of them. */
enum { AGES_MAX = 4096 };
#define AGES_END UINT64_MAX /* the last chunk of every file, and beyond */

/*
 * Chunks runs[i].first up to the next run's were sealed at runs[i].sealed_s or
 * later, in seconds since 1970; those in front of the first run whenever.
 * Sorted, and no two neighbours alike. All zero: nothing is known.
 */
struct ages {
	size_t count, room;
	struct age {
		uint64_t first, sealed_s;
	} * runs;
};

void ages_fini(struct ages *a);

/*
 * Chunks first..last were sealed then, which may be earlier than what was known
 * (0: nothing is to be known of them). Where memory is short, less is known
 * afterwards, never more.
 */
void ages_set(struct ages *a, uint64_t first, uint64_t last, uint64_t sealed_s);

/* How many runs that would make. */
size_t ages_count_with(const struct ages *a, uint64_t first, uint64_t last,
		       uint64_t sealed_s);

/* When the chunk was sealed at the earliest; *last: so were those up to there.
 */
uint64_t ages_at(const struct ages *a, uint64_t index, uint64_t *last);

/* The latest of chunks first..last. */
uint64_t ages_most(const struct ages *a, uint64_t first, uint64_t last);

#endif
