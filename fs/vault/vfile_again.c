#include "rekey.h"

#include <errno.h>

/* A write is over long before 1 + 2 + ... + 32 ms. What a journal keeps back
 * is in its place before 40 times 50 ms more. */
enum { TRIES = 6, TRIES_FRESH = 40, PAUSE_FRESH_MS = 50 };

/* Granted files are written without anybody's knowing of this reader. */
static int pause_for_writer(const struct vfile *f, unsigned *tries, int err)
{
	long ms = *tries < TRIES ? 1L << *tries : PAUSE_FRESH_MS;
	struct timespec pause = {.tv_nsec = ms * 1000000L};

	if (*tries >= TRIES + (f->fresh ? TRIES_FRESH : 0))
		return err;
	nanosleep(&pause, NULL);
	++*tries;
	return 0;
}

/* Another mount has died while it gave this file a new key? */
static int finish_rekeying(struct vault *vault, unsigned *tries, int err)
{
	if (*tries > 0 || !rekey_is_pending(vault) ||
	    vault_rekey_finish(vault) != 0)
		return err;
	++*tries;
	return 0;
}

int vfile_again_(const struct vfile *f, unsigned *tries, int err)
{
	if (!f->changing || err != -EBADMSG)
		return err;
	return f->granted ? pause_for_writer(f, tries, err)
			  : finish_rekeying(f->vault, tries, err);
}
