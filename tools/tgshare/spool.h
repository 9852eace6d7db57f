/*
 * What came, put into .frondfs/inbox where the mount finds it (inbox.h):
 * whole and durable before anybody is told that it arrived.
 */
#ifndef TGSHARE_SPOOL_H
#define TGSHARE_SPOOL_H

#include "cleanup.h"
#include "envelope.h"

#include <stdbool.h>
#include <stdint.h>

/* An envelope. */
MUST_CHECK int spool_envelope(int spool_fd, const uint8_t *bytes, size_t len);

/* The same, but perhaps not for us: left for CONTROL_SIFT. */
MUST_CHECK int spool_to_sift(int spool_fd, const uint8_t *bytes, size_t len,
			     uint8_t hash[static ENVELOPE_HASH_LEN]);

/*
 * A document of len bytes from fd's position on; hash: theirs, where it is
 * known, or NULL. filename tells what it is: an envelope when it ends in
 * ".env", else a part of a sealed copy. -EAGAIN:
 * a name that tells a hash, which is not that of these bytes, of a file that
 * was changed a moment ago: it may still be on its way (a folder being
 * synchronised). *misnamed (or NULL): such a name, but not a moment ago; it is
 * kept as what it is.
 */
MUST_CHECK int spool_document(int spool_fd, int fd, uint64_t len,
			      const char *filename, const uint8_t *hash,
			      bool *misnamed);

/*
 * All envelopes in what people type, paste and forward, perhaps in several
 * pieces: pieces_fd is a directory where what is not whole yet is kept, from
 * tells whose it is. take() gets each envelope and has it durable when it
 * returns 0. *unfinished: something is kept.
 */
struct spool_taker {
	int (*take)(void *arg, const uint8_t *bytes, size_t len);
	void *arg;
};
MUST_CHECK int spool_pieces(int pieces_fd, const char *from, const char *text,
			    size_t len, const struct spool_taker *taker,
			    bool *unfinished);
/* The same of a text that is all there will be. */
MUST_CHECK int spool_text(const char *text, size_t len,
			  const struct spool_taker *taker, size_t *count);

/* Beginnings that a crash left, and what nobody sent the rest of for a week.
 * Under session_lock(). */
void spool_tidy(int spool_fd, int pieces_fd);

#endif
