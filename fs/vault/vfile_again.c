#include "rekey.h"

#include <errno.h>

/* A write is over long before 1 + 2 + ... + 32 ms. */
enum { TRIES = 6 };

/* Granted files are written without anybody's knowing of this reader. */
static int pause_for_writer(unsigned *tries, int err)
{
	struct timespec pause = {.tv_nsec = 1000000L << *tries};

	if (*tries == TRIES)
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
	return f->granted ? pause_for_writer(tries, err)
			  : finish_rekeying(f->vault, tries, err);
}
