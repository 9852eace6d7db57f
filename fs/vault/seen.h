/*
 * What this machine remembers of a vault, outside of the vault: which
 * vault.ini was the newest that it saw. Whoever has the backing directory can
 * put back an older one, with an older passphrase, and nothing in there would
 * tell.
 *
 * In $XDG_STATE_HOME/frondfs, or else /var/lib/frondfs for root and
 * ~/.local/state/frondfs for others, a file named by the vault's id in hex:
 *
 *   1 u8 | time u64 | seal 32 | BLAKE2b-256 of vault id and all that 32
 *
 * keyed with subkey 10. time is the latest at which a slot was sealed.
 */
#ifndef FROND_SEEN_H
#define FROND_SEEN_H

#include "vault.h"

#include <limits.h>

/* The directory's path; false: there is no home to have one in. */
bool seen_state_path(char path[static PATH_MAX]);
/* The directory (O_PATH), made where it is missing. -EPERM: it is somebody
 * else's. */
MUST_CHECK int seen_state_open(int *out);

/*
 * Compare with what was seen, and remember the newer. accept: remember this
 * one even if it is older. -ESTALE: it is older, and what was seen has not come
 * since; other errors: nothing can be remembered here, or what was is damaged
 * (-EBADMSG, and it is replaced).
 */
MUST_CHECK int seen_vault_ini(const struct vault *vault, bool accept);

/* The same for whoever only looks: nothing is remembered. -ENOENT: nothing was.
 */
MUST_CHECK int seen_vault_ini_look(const struct vault *vault);

/*
 * The journal's sessions (journal.h) that ended on this machine, the last 256
 * of them: one that ended never comes back but by the hand of somebody who
 * has kept it. In a file beside the other, named by the vault's id and
 * ".sessions":
 *
 *   1 u8 | time u64 | id 16, time u64 of each, the newest first |
 *   BLAKE2b-256 as above 32
 *
 * Times are when they began; the first one is the latest of those that are no
 * longer there: what began no later is over as well.
 */
enum { SEEN_SESSION_LEN = 16 };
/* -ESTALE: it has; other errors: nothing is known. start_s: UINT64_MAX, where
 * nobody knows. */
MUST_CHECK int seen_session(const struct vault *vault,
			    const uint8_t id[static SEEN_SESSION_LEN],
			    uint64_t start_s);
MUST_CHECK int seen_session_end(const struct vault *vault,
				const uint8_t id[static SEEN_SESSION_LEN],
				uint64_t start_s);

#endif
