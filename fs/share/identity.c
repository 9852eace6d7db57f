#include "identity.h"

#include "bytes.h"
#include "utf8.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

enum { SUBKEY_SIGN = 1, SUBKEY_BOX = 2 };

void identity_from_seed(const uint8_t seed[static IDENTITY_SEED_LEN],
			struct identity *id)
{
	static const char context[crypto_kdf_CONTEXTBYTES] = "frondid1";
	uint8_t sign_seed[crypto_sign_SEEDBYTES];

	/* None of these fails with lengths and scalars like ours. */
	(void)crypto_kdf_derive_from_key(sign_seed, sizeof sign_seed,
					 SUBKEY_SIGN, context, seed);
	(void)crypto_kdf_derive_from_key(id->box_secret, sizeof id->box_secret,
					 SUBKEY_BOX, context, seed);
	(void)crypto_sign_seed_keypair(id->pub.sign, id->sign_secret,
				       sign_seed);
	(void)crypto_scalarmult_base(id->pub.box, id->box_secret);
	sodium_memzero(sign_seed, sizeof sign_seed);
}

int identity_public_check(const struct identity_public *pub)
{
	static const uint8_t any_scalar[crypto_scalarmult_SCALARBYTES] = {8};
	uint8_t shared[crypto_scalarmult_BYTES];

	if (!crypto_core_ed25519_is_valid_point(pub->sign))
		return -EINVAL;
	/* It refuses points of low order: all secrets with them are alike. */
	if (crypto_scalarmult(shared, any_scalar, pub->box) != 0)
		return -EINVAL;
	return 0;
}

void identity_fingerprint(const struct identity_public *pub,
			  char text[static IDENTITY_FINGERPRINT_LEN + 1])
{
	static const uint8_t label[] = "frondfs fingerprint";
	crypto_generichash_state state;
	uint8_t hash[64];

	crypto_generichash_init(&state, NULL, 0, sizeof hash);
	crypto_generichash_update(&state, label, sizeof label - 1);
	crypto_generichash_update(&state, pub->sign, sizeof pub->sign);
	crypto_generichash_update(&state, pub->box, sizeof pub->box);
	crypto_generichash_final(&state, hash, sizeof hash);
	for (size_t i = 0; i < 8; i++) {
		const uint8_t *p = hash + 5 * i;
		uint64_t number = (uint64_t)p[0] << 32 |
				  (uint64_t)be16_load(p + 1) << 16 |
				  be16_load(p + 3);

		(void)snprintf(text + 6 * i, 7, i < 7 ? "%05u " : "%05u",
			       (unsigned)(number % 100000));
	}
}

int contact_name_check(const char *name)
{
	size_t len = strnlen(name, CARD_NAME_MAX + 1);

	if (len == 0 || len > CARD_NAME_MAX || name[0] == '.' ||
	    name[0] == '-' || strpbrk(name, "/,"))
		return -EINVAL;
	return utf8_valid(name, len, UTF8_NAME) ? 0 : -EINVAL;
}

int contact_name_check_new(const char *name)
{
	int err = contact_name_check(name);

	return err || utf8_trimmed(name, strlen(name)) ? err : -EINVAL;
}
