/*
 * Text tokens: whatever the text, opening it is safe; and no text but the one
 * that was made opens. The first byte chooses: even: the rest is the text;
 * odd: two bytes say where and how a well-made token of the rest is changed.
 */
#include "fuzz.h"

#include "fernet_text.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

enum { PLAIN_MAX = 512 };

static struct fernet_key key;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t raw[FERNET_KEY_LEN] =
		"the key of every fuzzed token...";

	(void)argc;
	(void)argv;
	if (sodium_init() < 0 || fernet_init("openssl") != 0)
		return 1;
	fernet_key_init(&key, raw);
	return 0;
}

static int open_text(const char *text, size_t len, uint8_t *plain,
		     size_t *plain_len)
{
	int err =
		fernet_open_text(&key, text, len, plain, PLAIN_MAX, plain_len);

	REQUIRE(err == 0 || err == -EBADMSG || err == -EMSGSIZE);
	return err;
}

static void check_change(uint8_t where, uint8_t how, const uint8_t *plain,
			 size_t len)
{
	char text[FERNET_TEXT_LEN(PLAIN_MAX) + 1];
	uint8_t back[PLAIN_MAX];
	size_t text_len, back_len;

	if (len > PLAIN_MAX)
		return;
	REQUIRE(fernet_seal_text(&key, plain, len, text) == 0);
	text_len = strlen(text);
	REQUIRE(open_text(text, text_len, back, &back_len) == 0);
	REQUIRE(back_len == len && memcmp(back, plain, len) == 0);
	if (len > 0)
		REQUIRE(fernet_open_text(&key, text, text_len, back, len - 1,
					 &back_len) == -EMSGSIZE);
	if (how == 0)
		return;
	text[where % text_len] = (char)(text[where % text_len] ^ how);
	REQUIRE(open_text(text, text_len, back, &back_len) == -EBADMSG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t plain[PLAIN_MAX];
	size_t len;

	if (size < 3)
		return 0;
	if (data[0] % 2)
		check_change(data[1], data[2], data + 3, size - 3);
	else
		(void)open_text((const char *)data + 1, size - 1, plain, &len);
	return 0;
}
