/*
 * File headers, and key tokens that carry the right MAC but whatever else.
 *
 * The first byte chooses: even: the rest is a header; odd: the rest becomes
 * the plaintext of a well-made key token.
 */
#include "fuzz.h"

#include "fernet_text.h"
#include "header.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

static struct fernet_key key;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t raw[FERNET_KEY_LEN] =
		"the key of every fuzzed header..";

	(void)argc;
	(void)argv;
	if (sodium_init() < 0 || fernet_init("openssl") != 0)
		return 1;
	fernet_key_init(&key, raw);
	return 0;
}

static void parse(const uint8_t bytes[static HEADER_LEN])
{
	struct header h, before;
	uint8_t again[HEADER_LEN], id[FILE_ID_LEN];
	bool locked = false;
	int err, probed = header_probe(bytes, id, &locked);

	memset(&h, 0x5a, sizeof h);
	before = h;
	err = header_parse(bytes, &key, &h);
	if (err) {
		REQUIRE(err == (probed == 0 && locked ? -ENOKEY : -EBADMSG));
		REQUIRE(memcmp(&h, &before, sizeof h) == 0);
		return;
	}
	REQUIRE(probed == 0 && !locked);
	REQUIRE(memcmp(h.file_id, id, FILE_ID_LEN) == 0);
	REQUIRE(memcmp(h.file_id, bytes + 8, FILE_ID_LEN) == 0);
	REQUIRE(memcmp(h.dirid, bytes + 24, DIRID_LEN) == 0);
	REQUIRE(header_build(&h, &key, again) == 0);
	/* all but the token, whose time and IV differ */
	REQUIRE(memcmp(again, bytes, 40) == 0);
	REQUIRE(memcmp(again + 161, bytes + 161, 15) == 0);
}

static void parse_token_of(const uint8_t *plain, size_t len)
{
	uint8_t bytes[HEADER_LEN] = "FRONDFS1";
	uint8_t token[FERNET_TOKEN_LEN(HEADER_LEN)];
	size_t token_len = FERNET_TOKEN_LEN(len);

	if (len > HEADER_LEN)
		return;
	REQUIRE(fernet_seal_one(&key, plain, len, token) == 0);
	memcpy(bytes + 8, plain, len < FILE_ID_LEN ? len : FILE_ID_LEN);
	memcpy(bytes + 40, token,
	       token_len < HEADER_KEY_TOKEN_LEN ? token_len
						: HEADER_KEY_TOKEN_LEN);
	parse(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[HEADER_LEN] = {0};

	if (size == 0)
		return 0;
	if (data[0] % 2) {
		parse_token_of(data + 1, size - 1);
		return 0;
	}
	memcpy(bytes, data + 1,
	       size - 1 < HEADER_LEN ? size - 1 : (size_t)HEADER_LEN);
	parse(bytes);
	return 0;
}
