#include "header.h"

#include "bytes.h"
#include "fernet_text.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

enum {
	MAGIC_LEN = 8,
	FILE_ID_OFFSET = MAGIC_LEN,
	DIRID_OFFSET = FILE_ID_OFFSET + FILE_ID_LEN,
	TOKEN_OFFSET = DIRID_OFFSET + DIRID_LEN,
	RESERVED_OFFSET = TOKEN_OFFSET + HEADER_KEY_TOKEN_LEN,
	RESERVED_LEN = HEADER_LEN - RESERVED_OFFSET,
	TOKEN_PLAIN_LEN = FILE_ID_LEN + FERNET_KEY_LEN,
};

_Static_assert(TOKEN_OFFSET == 40 && RESERVED_OFFSET == 161,
	       "the layout of frondfs-format(5)");

static const uint8_t magic[MAGIC_LEN] = {'F', 'R', 'O', 'N',
					 'D', 'F', 'S', '1'};

int header_build(const struct header *h, const struct fernet_key *file_keys,
		 uint8_t out[static HEADER_LEN])
{
	uint8_t plain[TOKEN_PLAIN_LEN], token[HEADER_KEY_TOKEN_LEN];
	int err;

	memcpy(plain, h->file_id, FILE_ID_LEN);
	memcpy(plain + FILE_ID_LEN, h->file_key, FERNET_KEY_LEN);
	err = fernet_seal_one_at(file_keys, h->sealed_s, plain, sizeof plain,
				 token);
	sodium_memzero(plain, sizeof plain);
	if (err)
		return err;
	header_build_locked(h->file_id, h->dirid, out);
	memcpy(out + TOKEN_OFFSET, token, sizeof token);
	return 0;
}

void header_build_locked(const uint8_t file_id[static FILE_ID_LEN],
			 const uint8_t dirid[static DIRID_LEN],
			 uint8_t out[static HEADER_LEN])
{
	memcpy(out, magic, MAGIC_LEN);
	memcpy(out + FILE_ID_OFFSET, file_id, FILE_ID_LEN);
	memcpy(out + DIRID_OFFSET, dirid, DIRID_LEN);
	memset(out + TOKEN_OFFSET, 0, HEADER_LEN - TOKEN_OFFSET);
}

int header_probe(const uint8_t bytes[static HEADER_LEN],
		 uint8_t file_id[static FILE_ID_LEN], bool *locked)
{
	if (memcmp(bytes, magic, MAGIC_LEN) != 0 ||
	    !bytes_all_zero(bytes + RESERVED_OFFSET, RESERVED_LEN))
		return -EBADMSG;
	memcpy(file_id, bytes + FILE_ID_OFFSET, FILE_ID_LEN);
	*locked = bytes_all_zero(bytes + TOKEN_OFFSET, HEADER_KEY_TOKEN_LEN);
	return 0;
}

uint64_t header_sealed_s(const uint8_t bytes[static HEADER_LEN])
{
	return fernet_timestamp(bytes + TOKEN_OFFSET);
}

int header_parse(const uint8_t bytes[static HEADER_LEN],
		 const struct fernet_key *file_keys, struct header *h)
{
	uint8_t plain[FERNET_OPEN_ROOM(HEADER_KEY_TOKEN_LEN)];
	uint8_t file_id[FILE_ID_LEN];
	size_t len;
	bool locked = false;
	int err = header_probe(bytes, file_id, &locked);

	if (err || locked)
		return err ? err : -ENOKEY;
	err = fernet_open_one(file_keys, bytes + TOKEN_OFFSET,
			      HEADER_KEY_TOKEN_LEN, plain, &len);
	if (err)
		return err;
	if (len != TOKEN_PLAIN_LEN ||
	    memcmp(plain, file_id, FILE_ID_LEN) != 0) {
		sodium_memzero(plain, sizeof plain);
		return -EBADMSG;
	}
	memcpy(h->file_id, plain, FILE_ID_LEN);
	memcpy(h->dirid, bytes + DIRID_OFFSET, DIRID_LEN);
	memcpy(h->file_key, plain + FILE_ID_LEN, FERNET_KEY_LEN);
	h->sealed_s = header_sealed_s(bytes);
	sodium_memzero(plain, sizeof plain);
	return 0;
}
