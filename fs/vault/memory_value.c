/* A row's bytes: how they are found, what they say, and that they are ours. */
#include "memory_internal.h"

#include "bytes.h"

#include <errno.h>
#include <string.h>

enum { HEAD_LEN = 2, IGNORED = 0xffff, LEFT_TIME_LEN = 8 };

void memory_keys_derive_(const struct vault *vault, struct memory_keys *keys)
{
	static const uint8_t
		personal[crypto_generichash_blake2b_PERSONALBYTES] =
			"frondfs memory 1";
	uint8_t subkey[32];

	_Static_assert(sizeof *keys == 64, "what one BLAKE2b makes");
	kdf_subkey(vault->keys->master, KDF_SEEN, subkey, sizeof subkey);
	crypto_generichash_blake2b_salt_personal((uint8_t *)keys, sizeof *keys,
						 NULL, 0, subkey, sizeof subkey,
						 NULL, personal);
	sodium_memzero(subkey, sizeof subkey);
}

static void begin_row(const struct memory_keys *keys, uint8_t kind,
		      crypto_generichash_state *state)
{
	crypto_generichash_init(state, keys->rows, sizeof keys->rows,
				MEMORY_KEY_LEN);
	crypto_generichash_update(state, &kind, 1);
}

void memory_row_file_(const struct memory_keys *keys,
		      const uint8_t id[static FILE_ID_LEN],
		      uint8_t row[static MEMORY_KEY_LEN])
{
	crypto_generichash_state state;

	begin_row(keys, 'f', &state);
	crypto_generichash_update(&state, id, FILE_ID_LEN);
	crypto_generichash_final(&state, row, MEMORY_KEY_LEN);
}

void memory_row_place_(const struct memory_keys *keys,
		       const struct memory_place *place,
		       uint8_t row[static MEMORY_KEY_LEN])
{
	crypto_generichash_state state;

	begin_row(keys, 'p', &state);
	crypto_generichash_update(&state, place->parent, DIRID_LEN);
	crypto_generichash_update(&state, (const uint8_t *)place->entry,
				  strlen(place->entry));
	crypto_generichash_final(&state, row, MEMORY_KEY_LEN);
}

void memory_row_time_(const struct memory_keys *keys,
		      uint8_t row[static MEMORY_KEY_LEN])
{
	crypto_generichash_state state;

	begin_row(keys, 't', &state);
	crypto_generichash_final(&state, row, MEMORY_KEY_LEN);
}

void memory_mac_(const struct memory_keys *keys,
		 const uint8_t row[static MEMORY_KEY_LEN], const uint8_t *body,
		 size_t len, uint8_t mac[static MEMORY_MAC_LEN])
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, keys->macs, sizeof keys->macs,
				MEMORY_MAC_LEN);
	crypto_generichash_update(&state, row, MEMORY_KEY_LEN);
	crypto_generichash_update(&state, body, len);
	crypto_generichash_final(&state, mac, MEMORY_MAC_LEN);
}

int memory_value_open_(const struct memory_keys *keys,
		       const uint8_t row[static MEMORY_KEY_LEN],
		       const uint8_t *value, size_t len, size_t *body_len)
{
	uint8_t mac[MEMORY_MAC_LEN];

	if (len < MEMORY_MAC_LEN || len > MEMORY_VALUE_MAX)
		return -EBADMSG;
	len -= MEMORY_MAC_LEN;
	memory_mac_(keys, row, value, len, mac);
	if (sodium_memcmp(mac, value + len, sizeof mac) != 0)
		return -EBADMSG;
	*body_len = len;
	return 0;
}

size_t memory_file_len_(const struct memory_file *mf)
{
	if (mf->ignored)
		return HEAD_LEN;
	return mf->ages.count ? HEAD_LEN + mf->ages.count * MEMORY_AGE_LEN : 0;
}

void memory_file_build_(const struct memory_file *mf, uint8_t *out)
{
	size_t count = mf->ignored ? 0 : mf->ages.count;

	be16_store(out, mf->ignored ? IGNORED : (uint16_t)count);
	out += HEAD_LEN;
	for (size_t i = 0; i < count; i++, out += MEMORY_AGE_LEN) {
		be64_store(out, mf->ages.runs[i].first);
		be64_store(out + 8, mf->ages.runs[i].sealed_s);
	}
}

void memory_ignored_build_(uint8_t out[static MEMORY_IGNORED_LEN])
{
	be16_store(out, IGNORED);
}

/* They are as ages_set() leaves them. */
static bool are_in_order(const struct ages *a)
{
	uint64_t before_s = 0;

	for (size_t i = 0; i < a->count; i++) {
		if (a->runs[i].sealed_s == before_s ||
		    (i && a->runs[i].first <= a->runs[i - 1].first))
			return false;
		before_s = a->runs[i].sealed_s;
	}
	return true;
}

int memory_file_parse_(const uint8_t *body, size_t len, struct memory_file *mf)
{
	size_t count = len < HEAD_LEN ? 0 : be16_load(body);
	struct ages *a = &mf->ages;

	mf->ignored = len == HEAD_LEN && count == IGNORED;
	if (mf->ignored)
		return 0;
	if (count == 0 || count > AGES_MAX ||
	    len != HEAD_LEN + count * MEMORY_AGE_LEN)
		return -EBADMSG;
	a->runs = calloc(count, sizeof *a->runs);
	if (!a->runs)
		return -ENOMEM;
	a->count = a->room = count;
	body += HEAD_LEN;
	for (size_t i = 0; i < count; i++, body += MEMORY_AGE_LEN)
		a->runs[i] = (struct age){be64_load(body), be64_load(body + 8)};
	if (are_in_order(a))
		return 0;
	ages_fini(a);
	return -EBADMSG;
}

size_t memory_left_build_(const struct memory_left *left,
			  uint8_t out[static MEMORY_LEFT_LEN])
{
	be64_store(out, left->left_s);
	if (!left->has_dirid)
		return LEFT_TIME_LEN;
	memcpy(out + LEFT_TIME_LEN, left->dirid, DIRID_LEN);
	return MEMORY_LEFT_LEN;
}

int memory_left_parse_(const uint8_t *body, size_t len,
		       struct memory_left *left)
{
	if (len != LEFT_TIME_LEN && len != MEMORY_LEFT_LEN)
		return -EBADMSG;
	*left = (struct memory_left){.left_s = be64_load(body),
				     .has_dirid = len == MEMORY_LEFT_LEN};
	if (left->has_dirid)
		memcpy(left->dirid, body + LEFT_TIME_LEN, DIRID_LEN);
	return left->left_s ? 0 : -EBADMSG;
}
