/*
 * Writes that make a file longer, from many threads at once, as the kernel
 * hands over what it has collected. The backing file takes them one after the
 * other, and where it is far away each of them costs several ways there and
 * back. So whoever comes while another one's write is under way waits, and if
 * that took long, the next one writes along what was to follow it.
 *
 * One write or many, each is answered when its bytes have been written, with
 * what came of them: what cannot be written together is tried one by one.
 */
#ifndef FROND_GATHER_H
#define FROND_GATHER_H

#include "counters.h"
#include "vfile.h"

enum { GATHER_MAX = 8 << 20 }; /* bytes written at once */

struct gather;

MUST_CHECK struct gather *gather_new(struct counters *counters);
/* Nobody is writing any more. NULL is fine. */
void gather_free(struct gather *g);

/* vfile_write(); g may be NULL. */
MUST_CHECK int gather_write(struct gather *g, struct vfile *f,
			    struct workspace *ws, const struct vfile_write *w,
			    uint64_t *bad_chunk);

#endif
