/*
 * .frondfs/lock, apart from what vault.h has of it: byte 0 says that the
 * vault is mounted, byte 1 that vault.ini is being rewritten.
 */
#ifndef FROND_VAULT_LOCK_H
#define FROND_VAULT_LOCK_H

#include "cleanup.h"

struct vault;

/* Wait until this caller may rewrite vault.ini; closing *fd lets go. */
MUST_CHECK int vault_lock_ini(int meta_fd, int *fd);
/* The same without waiting: -EBUSY. */
MUST_CHECK int vault_try_lock_ini(int meta_fd, int *fd);

/* vault_lock() alone, by the lock in this directory. */
MUST_CHECK int vault_lock_alone_in(struct vault *vault, int meta_fd);

#endif
