/* For who has vault_lock_ini(): see vault_clear_aborted(). */
#ifndef FROND_VAULT_ABORTED_H
#define FROND_VAULT_ABORTED_H

#include "vault.h"

void vault_clear_aborted_locked(const struct vault *vault);

#endif
