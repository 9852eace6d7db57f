/*
 * HMAC-SHA256 of several messages side by side, with the SHA instructions of
 * x86. One message waits most of the time for the round before; four keep the
 * unit busy, and AVX-512VL has the registers for the schedules of four.
 */
#ifndef FROND_FERNET_HMAC_H
#define FROND_FERNET_HMAC_H

#include "fernet.h"

struct fernet_hmac_job {
	const uint8_t *data;
	size_t len;
	uint8_t *mac; /* out: FERNET_MAC_LEN bytes; may follow the data */
};

/*
 * The MACs of n messages of any lengths, under the states that key holds. The
 * CPU must have the SHA instructions and AVX-512VL: the caller looks.
 */
void fernet_hmac(const struct fernet_key *key,
		 const struct fernet_hmac_job *jobs, size_t n);

#endif
