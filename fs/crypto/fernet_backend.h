/*
 * What a Fernet backend does for fernet.c, which lays tokens out, draws IVs
 * and judges everything that is not the MAC.
 */
#ifndef FROND_FERNET_BACKEND_H
#define FROND_FERNET_BACKEND_H

#include "fernet.h"

/* At most this many tokens per call: their bytes should stay in the L2. */
enum { FERNET_BURST = 64 };

struct fernet_backend {
	const char *name;
	/* 0, or -ENOTSUP: not on this CPU, or not worth it there. */
	int (*probe)(void);
	/* Fills all of key but key->key. NULL: nothing to prepare. */
	void (*key_init)(struct fernet_key *key);
	/* NULL when memory is short. */
	void *(*state_new)(void);
	void (*state_free)(void *state);
	/*
	 * Tokens come complete up to the end of the padded plaintext, which
	 * stands where the ciphertext goes (ciphertext_len[i] bytes): encrypt
	 * it in place and append the MAC. 0 or -EIO.
	 */
	int (*seal)(void *state, const struct fernet_key *key,
		    uint8_t *const *tokens, const size_t *ciphertext_len,
		    size_t n);
	/*
	 * Lengths and versions have been checked and every status is
	 * -EBADMSG. Verify the MACs; for those that hold, and only those,
	 * decrypt FERNET_OPEN_ROOM(token_len) bytes, padding included, to
	 * plaintext and set status to 0.
	 */
	void (*open)(void *state, const struct fernet_key *key,
		     struct fernet_open_job *const *jobs, size_t n);
};

extern const struct fernet_backend fernet_openssl;
extern const struct fernet_backend fernet_ipsecmb;

/*
 * Seal and open known tokens with the backend that fernet_init() has just
 * put in place, and one that was tampered with. -EILSEQ: wrong; -ENOMEM.
 */
MUST_CHECK int fernet_kat(void);

#endif
