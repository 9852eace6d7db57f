/*
 * Names in both directions. The first byte chooses what the rest is: an entry
 * of a backing directory, a plain name, an extended attribute's name, or
 * bytes that someone with the key sealed as a name.
 */
#include "fuzz.h"

#include "name.h"
#include "text.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

static struct siv *siv;
static const uint8_t dirid[DIRID_LEN] = "directory-number";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	uint8_t key[SIV_KEY_LEN] = {1, 2, 3};

	(void)argc;
	(void)argv;
	return sodium_init() < 0 || siv_new(key, &siv) != 0;
}

/* Whatever decodes encodes to the same text again, and names an entry. */
static void check_decode(const char *full, size_t len)
{
	char plain[NAME_PLAIN_MAX + 1];
	struct backing_name again;
	size_t plain_len;
	int err = name_decode(siv, dirid, full, len, plain, &plain_len);

	if (err) {
		REQUIRE(err == -EBADMSG);
		return;
	}
	REQUIRE(plain_len >= 1 && plain_len == strlen(plain));
	REQUIRE(!strchr(plain, '/'));
	REQUIRE(name_encode(siv, dirid, plain, plain_len, &again) == 0);
	REQUIRE(strlen(again.full) == len);
	REQUIRE(memcmp(again.full, full, len) == 0);
}

static void check_entry(const char *text)
{
	size_t len = strlen(text);
	enum name_kind kind = name_classify(text);

	if (kind == NAME_KIND_LONG)
		REQUIRE(len == NAME_LONG_LEN);
	if (kind == NAME_KIND_ENTRY)
		REQUIRE(len <= NAME_BACKING_MAX && !strchr(text, '.'));
	check_decode(text, len);
}

static void check_plain(const char *plain, size_t len)
{
	struct backing_name name;
	int err = name_encode(siv, dirid, plain, len, &name);

	if (err) {
		REQUIRE(err == -EINVAL || err == -ENAMETOOLONG);
		return;
	}
	REQUIRE(strlen(name.entry) <= NAME_BACKING_MAX);
	REQUIRE(name_classify(name.entry) ==
		(name.is_long ? NAME_KIND_LONG : NAME_KIND_ENTRY));
	check_decode(name.full, strlen(name.full));
}

static void check_xattr(const char *plain)
{
	char out[NAME_XATTR_MAX + 1];
	int err = name_xattr_encode(siv, plain, out);

	REQUIRE(err == 0 || err == -EINVAL || err == -ERANGE);
	if (err == 0)
		REQUIRE(strncmp(out, NAME_XATTR_PREFIX,
				strlen(NAME_XATTR_PREFIX)) == 0 &&
			strlen(out) <= NAME_XATTR_MAX);
}

static void check_sealed(const uint8_t *bytes, size_t len)
{
	uint8_t sealed[SIV_TAG_LEN + NAME_PLAIN_MAX];
	char text[NAME_FULL_MAX + 1];

	if (len < 1 || len > NAME_PLAIN_MAX)
		return;
	REQUIRE(siv_seal(siv, dirid, DIRID_LEN, bytes, len, sealed) == 0);
	base64url_encode(sealed, SIV_TAG_LEN + len, text);
	check_decode(text, strlen(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	REQUIRE(text);
	switch (data[0] % 4) {
	case 0:
		check_entry(text);
		break;
	case 1:
		check_plain((const char *)data + 1, size - 1);
		break;
	case 2:
		check_xattr(text);
		break;
	default:
		check_sealed(data + 1, size - 1);
	}
	free(text);
	return 0;
}
