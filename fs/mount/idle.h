/* Unmounting by itself what nobody has used for a while (idle=MIN). */
#ifndef FROND_IDLE_H
#define FROND_IDLE_H

#include "fs.h"

struct idle;

/* Watch fs->last_use_s in a thread of its own. */
MUST_CHECK int idle_start(struct fs *fs, struct idle **out);
/* Waits for the thread; NULL is fine. */
void idle_stop(struct idle *idle);

#endif
