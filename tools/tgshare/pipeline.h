/*
 * Sending a large file or folder while it is being sealed: one thread reads,
 * seals and hashes, the caller's sends each part as soon as it is whole. Until
 * all are known the set is a draft (item.h), and nobody can open anything of
 * it, for shares and manifest come last.
 */
#ifndef TGSHARE_PIPELINE_H
#define TGSHARE_PIPELINE_H

#include "compose.h"
#include "deliver.h"

/* Is it worth while, and possible? */
bool pipeline_fits(const struct session *s, const struct source *from,
		   const struct plan *plan);

/*
 * draft: one of the same plan to go on with, or NULL. It is given up when the
 * files are not what they were, or the sealing fails: then all that was sent
 * of it is taken back. *out: the whole set, and what of it was not sent yet is
 * for delivery_end(). Returns an exit status.
 */
MUST_CHECK int pipeline_send(struct session *s, struct delivery *d,
			     const struct source *from, const struct plan *plan,
			     const struct item *draft, struct item **out);

#endif
