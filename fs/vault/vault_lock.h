/*
 * .frondfs/lock, apart from what vault.h has of it: byte 0 says that the
 * vault is mounted, byte 1 that vault.ini is being rewritten.
 */
#ifndef FROND_VAULT_LOCK_H
#define FROND_VAULT_LOCK_H

#include "cleanup.h"

/* Wait until this caller may rewrite vault.ini; closing *fd lets go. */
MUST_CHECK int vault_lock_ini(int meta_fd, int *fd);

#endif
