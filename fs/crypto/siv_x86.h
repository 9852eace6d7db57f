/*
 * AES-256-SIV with the AES instructions of x86. libcrypto takes ten times as
 * long for a name, nearly all of it to copy contexts.
 */
#ifndef FROND_SIV_X86_H
#define FROND_SIV_X86_H

#include "siv.h"

#include <stdbool.h>

enum { SIV_X86_ROUND_KEYS = 15 };

/* Secret. */
struct siv_x86 {
	_Alignas(16) uint8_t mac[SIV_X86_ROUND_KEYS * 16];
	_Alignas(16) uint8_t ctr[SIV_X86_ROUND_KEYS * 16];
	/* of CMAC, and the MAC of a block of zeros */
	_Alignas(16) uint8_t whole[16];
	_Alignas(16) uint8_t padded[16];
	_Alignas(16) uint8_t zero_mac[16];
};

/* Has the CPU the instructions? */
bool siv_x86_usable(void);

void siv_x86_init(struct siv_x86 *siv, const uint8_t key[static SIV_KEY_LEN]);

/* As siv_seal and siv_open, whose conditions the caller has checked. */
void siv_x86_seal(const struct siv_x86 *siv, const uint8_t *ad, size_t ad_len,
		  const uint8_t *plaintext, size_t len, uint8_t *out);
MUST_CHECK int siv_x86_open(const struct siv_x86 *siv, const uint8_t *ad,
			    size_t ad_len, const uint8_t *sealed,
			    size_t sealed_len, uint8_t *out);

#endif
