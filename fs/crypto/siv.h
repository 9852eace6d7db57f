/*
 * Deterministic authenticated encryption of names: AES-256-SIV (RFC 5297)
 * with exactly one associated datum, output SIV 16 | ciphertext, as Python's
 * AESSIV(key).encrypt(name, [ad]) makes it. Thread-safe: one struct siv
 * serves any number of threads.
 */
#ifndef FROND_SIV_H
#define FROND_SIV_H

#include "cleanup.h"

#include <stddef.h>
#include <stdint.h>

enum { SIV_KEY_LEN = 64, SIV_TAG_LEN = 16 };

struct siv;

/* -ENOMEM, or -EIO when libcrypto refuses. */
MUST_CHECK int siv_new(const uint8_t key[static SIV_KEY_LEN], struct siv **out);
void siv_free(struct siv *siv);

/* out has room for SIV_TAG_LEN + len bytes. ad_len and len are at least 1. */
MUST_CHECK int siv_seal(const struct siv *siv, const uint8_t *ad, size_t ad_len,
			const uint8_t *plaintext, size_t len, uint8_t *out);

/*
 * sealed is SIV_TAG_LEN + (at least 1) bytes, out has room for
 * sealed_len - SIV_TAG_LEN. -EBADMSG: not made with this key and datum.
 */
MUST_CHECK int siv_open(const struct siv *siv, const uint8_t *ad, size_t ad_len,
			const uint8_t *sealed, size_t sealed_len, uint8_t *out);

#endif
