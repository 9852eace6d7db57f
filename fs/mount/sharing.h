/*
 * What others share with this vault, while it is mounted: the log, the inbox,
 * and the thread that lets the inbox take in what came. It looks at the start,
 * when something appears in the spool or among the contacts, when asked, and
 * now and then, as network file systems do not tell. In a shared vault one
 * mount at a time does.
 */
#ifndef FROND_SHARING_H
#define FROND_SHARING_H

#include "fs.h"
#include "inbox.h"

struct sharing;

/*
 * Open log and inbox. What is wrong with them is logged and does not keep the
 * vault from being mounted: sharing_fault() tells then.
 */
MUST_CHECK int sharing_new(struct fs *fs, struct sharing **out);
/* From now on it works by itself, unless the mount is read-only. */
MUST_CHECK int sharing_start(struct sharing *s);
/* Begin nothing new, tell the kernel nothing more; requests must still be
 * answered meanwhile. Twice is fine, and so is NULL. */
void sharing_stop(struct sharing *s);
/* Waits for what is under way; after unmounting. NULL is fine. */
void sharing_free(struct sharing *s);

/* Why there is neither log nor inbox; 0: there are. */
int sharing_fault(const struct sharing *s);
/* NULL: see sharing_fault(). */
struct inbox *sharing_inbox(const struct sharing *s);
struct vlog *sharing_log(const struct sharing *s);
/* The vault's identity, which lives as long as s. -ENOENT: none yet. */
MUST_CHECK int sharing_identity(struct sharing *s, bool make,
				const struct identity **out);

/* Ask for a scan; the ticket of one that has not begun yet. */
MUST_CHECK int sharing_request(struct sharing *s, uint64_t *ticket);
/* Has the ticket's scan ended, and is the kernel told? *err: how. */
bool sharing_done(struct sharing *s, uint64_t ticket, int *err);

#endif
