#include "name.h"

#include "text.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

enum {
	HASH_LEN = 32,
	HASH_TEXT_LEN = BASE64URL_LEN(HASH_LEN),
	LINK_DIGITS = 32,
	ENTRY_MIN = BASE64URL_LEN(SIV_TAG_LEN + 1),
	XATTR_PREFIX_LEN = sizeof NAME_XATTR_PREFIX - 1,
};

#define XATTR_DATUM "xattr"

_Static_assert(BASE64URL_LEN(SIV_TAG_LEN + NAME_PLAIN_MAX) == NAME_FULL_MAX,
	       "room for the longest encoded name");
_Static_assert(NAME_LONG_LEN == 1 + HASH_TEXT_LEN, "\"@\" and a hash");

/* Is it something a directory can hold under this name? */
static bool is_plain_name(const char *name, size_t len)
{
	if (len < 1 || len > NAME_PLAIN_MAX || memchr(name, '/', len) ||
	    memchr(name, '\0', len))
		return false;
	return !(len <= 2 && memcmp(name, "..", len) == 0);
}

static bool is_base64url(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static size_t count_leading(const char *text, bool (*is)(char c))
{
	size_t n = 0;

	while (is(text[n]))
		n++;
	return n;
}

/* base64url of SIV(plain); text has room for NAME_FULL_MAX + 1 */
static int encode(const struct siv *siv, const uint8_t *ad, size_t ad_len,
		  const char *plain, size_t len, char *text)
{
	uint8_t sealed[SIV_TAG_LEN + NAME_PLAIN_MAX];
	int err =
		siv_seal(siv, ad, ad_len, (const uint8_t *)plain, len, sealed);

	if (err)
		return err;
	base64url_encode(sealed, SIV_TAG_LEN + len, text);
	return 0;
}

int name_encode(const struct siv *siv, const uint8_t dirid[static DIRID_LEN],
		const char *plain, size_t len, struct backing_name *out)
{
	struct backing_name name = {.entry = ""};
	size_t full_len = BASE64URL_LEN(SIV_TAG_LEN + len);
	int err;

	if (len > NAME_PLAIN_MAX)
		return -ENAMETOOLONG;
	if (!is_plain_name(plain, len))
		return -EINVAL;
	err = encode(siv, dirid, DIRID_LEN, plain, len, name.full);
	if (err)
		return err;
	name.is_long = full_len > NAME_BACKING_MAX;
	if (name.is_long)
		name_long_entry(name.full, full_len, name.entry);
	else
		memcpy(name.entry, name.full, full_len + 1);
	*out = name;
	return 0;
}

void name_long_entry(const char *full, size_t full_len,
		     char entry[static NAME_LONG_LEN + 1])
{
	uint8_t hash[HASH_LEN];

	(void)crypto_generichash(hash, sizeof hash, (const uint8_t *)full,
				 full_len, NULL, 0);
	entry[0] = '@';
	base64url_encode(hash, sizeof hash, entry + 1);
}

/* What stands behind an "@"? */
static enum name_kind classify_at(const char *rest)
{
	size_t n = count_leading(rest, is_base64url);

	if (n == HASH_TEXT_LEN && rest[n] == '\0')
		return NAME_KIND_LONG;
	if (n == HASH_TEXT_LEN && strcmp(rest + n, NAME_LONG_SUFFIX) == 0)
		return NAME_KIND_INTERNAL;
	if (count_leading(rest, is_hex) == LINK_DIGITS &&
	    strcmp(rest + LINK_DIGITS, NAME_LINK_SUFFIX) == 0)
		return NAME_KIND_INTERNAL;
	return NAME_KIND_FOREIGN;
}

enum name_kind name_classify(const char *entry)
{
	size_t n;

	if (entry[0] == '@')
		return classify_at(entry + 1);
	if (strcmp(entry, NAME_DIRID_FILE) == 0 ||
	    strcmp(entry, NAME_VAULT_DIR) == 0 ||
	    strncmp(entry, NAME_TEMP_PREFIX, sizeof NAME_TEMP_PREFIX - 1) == 0)
		return NAME_KIND_INTERNAL;
	n = count_leading(entry, is_base64url);
	if (entry[n] != '\0' || n < ENTRY_MIN || n > NAME_BACKING_MAX ||
	    n % 4 == 1)
		return NAME_KIND_FOREIGN;
	return NAME_KIND_ENTRY;
}

int name_decode(const struct siv *siv, const uint8_t dirid[static DIRID_LEN],
		const char *full, size_t full_len,
		char plain[static NAME_PLAIN_MAX + 1], size_t *len_out)
{
	uint8_t sealed[SIV_TAG_LEN + NAME_PLAIN_MAX], name[NAME_PLAIN_MAX];
	size_t sealed_len, len;
	int err;

	if (base64url_decode(full, full_len, sealed, sizeof sealed,
			     &sealed_len) != 0 ||
	    sealed_len <= SIV_TAG_LEN)
		return -EBADMSG;
	len = sealed_len - SIV_TAG_LEN;
	err = siv_open(siv, dirid, DIRID_LEN, sealed, sealed_len, name);
	if (err)
		return err;
	if (!is_plain_name((const char *)name, len))
		return -EBADMSG;
	memcpy(plain, name, len);
	plain[len] = '\0';
	if (len_out)
		*len_out = len;
	return 0;
}

int name_xattr_encode(const struct siv *siv, const char *plain,
		      char out[static NAME_XATTR_MAX + 1])
{
	char full[NAME_FULL_MAX + 1];
	size_t len = strlen(plain), full_len = BASE64URL_LEN(SIV_TAG_LEN + len);
	int err;

	if (len < 1)
		return -EINVAL;
	if (len > NAME_PLAIN_MAX)
		return -ERANGE;
	err = encode(siv, (const uint8_t *)XATTR_DATUM, sizeof XATTR_DATUM - 1,
		     plain, len, full);
	if (err)
		return err;
	memcpy(out, NAME_XATTR_PREFIX, XATTR_PREFIX_LEN);
	if (XATTR_PREFIX_LEN + full_len > NAME_XATTR_MAX)
		name_long_entry(full, full_len, out + XATTR_PREFIX_LEN);
	else
		memcpy(out + XATTR_PREFIX_LEN, full, full_len + 1);
	return 0;
}
