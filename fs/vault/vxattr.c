#include "vxattr.h"

#include "bytes.h"
#include "fernet_text.h"
#include "name.h"
#include "text.h"
#include "vdir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

enum {
	PATH_LEN = 32,
	PLAIN_HEAD_LEN = FILE_ID_LEN + 2,
	SMALL_MAX = 512, /* bytes of a token: most are, or are not there */
	PLAIN_MAX = PLAIN_HEAD_LEN + NAME_XATTR_MAX + VXATTR_VALUE_MAX,
	TOKEN_MAX = FERNET_TOKEN_LEN(PLAIN_MAX),
	LIST_MAX = 65536, /* Linux: XATTR_LIST_MAX */
};

static const char raw_prefix[] = "system.";
static const char xattr_datum[] = "xattr";

/* An attribute's value opened; the pointers lead into bytes. */
struct opened {
	uint8_t *bytes;
	const uint8_t *owner, *name, *value;
	size_t name_len, value_len;
};

static void object_path(int fd, char path[static PATH_LEN])
{
	snprintf(path, PATH_LEN, "/proc/self/fd/%d", fd);
}

static bool is_raw(const char *name)
{
	return strncmp(name, raw_prefix, strlen(raw_prefix)) == 0;
}

static int open_value(const struct vault *vault, const uint8_t *token,
		      size_t token_len, struct opened *o)
{
	size_t len = 0;

	if (token_len < FERNET_MIN_LEN)
		return -EIO;
	o->bytes = malloc(FERNET_OPEN_ROOM(token_len));
	if (!o->bytes)
		return -ENOMEM;
	int err = fernet_open_one(&vault->keys->xattrs, token, token_len,
				  o->bytes, &len);

	if (err)
		return err == -EBADMSG ? -EIO : err;
	if (len < PLAIN_HEAD_LEN)
		return -EIO;
	o->owner = o->bytes;
	o->name_len = be16_load(o->bytes + FILE_ID_LEN);
	o->name = o->bytes + PLAIN_HEAD_LEN;
	if (o->name_len > len - PLAIN_HEAD_LEN)
		return -EIO;
	o->value = o->name + o->name_len;
	o->value_len = len - PLAIN_HEAD_LEN - o->name_len;
	return 0;
}

/* The sealed value of the attribute as it is stored. */
static int read_token(const char *path, const char *stored, uint8_t *token,
		      size_t room, size_t *len)
{
	ssize_t n = getxattr(path, stored, token, room);

	if (n < 0)
		return -errno;
	*len = (size_t)n;
	return 0;
}

static ssize_t copy_out(const struct opened *o, void *value, size_t size)
{
	if (size == 0)
		return (ssize_t)o->value_len;
	if (o->value_len > size)
		return -ERANGE;
	memcpy(value, o->value, o->value_len);
	return (ssize_t)o->value_len;
}

ssize_t vxattr_get(const struct vault *vault, int fd,
		   const uint8_t owner[static FILE_ID_LEN], const char *name,
		   void *value, size_t size)
{
	CLEANUP_FREE uint8_t *large = NULL;
	CLEANUP_FREE uint8_t *opened_bytes = NULL;
	struct opened o = {0};
	char path[PATH_LEN], stored[NAME_XATTR_MAX + 1];
	uint8_t small[SMALL_MAX], *token = small;
	size_t len = 0;
	int err;

	object_path(fd, path);
	if (is_raw(name)) {
		ssize_t n = getxattr(path, name, value, size);

		return n < 0 ? -errno : n;
	}
	err = name_xattr_encode(vault->names, name, stored);
	if (err)
		return err;
	err = read_token(path, stored, small, sizeof small, &len);
	if (err == -ERANGE) {
		token = large = malloc(TOKEN_MAX);
		if (!large)
			return -ENOMEM;
		err = read_token(path, stored, large, TOKEN_MAX, &len);
	}
	if (!err)
		err = open_value(vault, token, len, &o);
	opened_bytes = o.bytes;
	if (err)
		return err == -ERANGE ? -EIO : err;
	if (memcmp(o.owner, owner, FILE_ID_LEN) != 0 ||
	    o.name_len != strlen(name) || memcmp(o.name, name, o.name_len) != 0)
		return -EIO;
	return copy_out(&o, value, size);
}

bool vxattr_none(int fd)
{
	char path[PATH_LEN], names[sizeof VDIR_ID_XATTR];
	ssize_t n;

	object_path(fd, path);
	n = listxattr(path, names, sizeof names);
	/* every directory has that one */
	return n == 0 || (n == (ssize_t)sizeof names &&
			  memcmp(names, VDIR_ID_XATTR, sizeof names) == 0);
}

int vxattr_set(const struct vault *vault, int fd,
	       const uint8_t owner[static FILE_ID_LEN], const char *name,
	       const void *value, size_t size, int flags)
{
	CLEANUP_FREE uint8_t *plain = NULL;
	CLEANUP_FREE uint8_t *token = NULL;
	char path[PATH_LEN], stored[NAME_XATTR_MAX + 1];
	size_t name_len = strlen(name), plain_len;
	int err;

	object_path(fd, path);
	if (is_raw(name))
		return setxattr(path, name, value, size, flags) < 0 ? -errno
								    : 0;
	if (size > VXATTR_VALUE_MAX)
		return -E2BIG;
	err = name_xattr_encode(vault->names, name, stored);
	if (err)
		return err;
	plain_len = PLAIN_HEAD_LEN + name_len + size;
	plain = malloc(plain_len);
	token = malloc(FERNET_TOKEN_LEN(plain_len));
	if (!plain || !token)
		return -ENOMEM;
	memcpy(plain, owner, FILE_ID_LEN);
	be16_store(plain + FILE_ID_LEN, (uint16_t)name_len);
	memcpy(plain + PLAIN_HEAD_LEN, name, name_len);
	if (size > 0)
		memcpy(plain + PLAIN_HEAD_LEN + name_len, value, size);
	err = fernet_seal_one(&vault->keys->xattrs, plain, plain_len, token);
	if (err)
		return err;
	return setxattr(path, stored, token, FERNET_TOKEN_LEN(plain_len),
			flags) < 0
		       ? -errno
		       : 0;
}

/* A short name is in the stored one; a long one is in the value. */
static int decode_short(const struct vault *vault, const char *encoded,
			char plain[static NAME_XATTR_MAX + 1])
{
	uint8_t sealed[BASE64URL_MAX_BYTES(NAME_XATTR_MAX)];
	size_t len = 0;
	int err = base64url_decode(encoded, strlen(encoded), sealed,
				   sizeof sealed, &len);

	if (err || len <= SIV_TAG_LEN || len - SIV_TAG_LEN > NAME_XATTR_MAX)
		return -EBADMSG;
	err = siv_open(vault->names, (const uint8_t *)xattr_datum,
		       strlen(xattr_datum), sealed, len, (uint8_t *)plain);
	if (err)
		return err;
	plain[len - SIV_TAG_LEN] = '\0';
	return 0;
}

static int decode_long(const struct vault *vault, const char *path,
		       const char *stored,
		       const uint8_t owner[static FILE_ID_LEN],
		       char plain[static NAME_XATTR_MAX + 1])
{
	CLEANUP_FREE uint8_t *token = malloc(TOKEN_MAX);
	CLEANUP_FREE uint8_t *opened_bytes = NULL;
	struct opened o = {0};
	size_t len = 0;
	int err;

	if (!token)
		return -ENOMEM;
	err = read_token(path, stored, token, TOKEN_MAX, &len);
	if (!err)
		err = open_value(vault, token, len, &o);
	opened_bytes = o.bytes;
	if (err)
		return err == -ERANGE ? -EIO : err;
	if (memcmp(o.owner, owner, FILE_ID_LEN) != 0 ||
	    o.name_len > NAME_XATTR_MAX)
		return -EBADMSG;
	memcpy(plain, o.name, o.name_len);
	plain[o.name_len] = '\0';
	return 0;
}

/* The plain name of a stored attribute, if it is one of ours and sound. */
static int plain_name(const struct vault *vault, const char *path,
		      const char *stored,
		      const uint8_t owner[static FILE_ID_LEN],
		      char plain[static NAME_XATTR_MAX + 1])
{
	const char *encoded = stored + strlen(NAME_XATTR_PREFIX);
	char again[NAME_XATTR_MAX + 1];
	int err;

	if (is_raw(stored)) {
		snprintf(plain, NAME_XATTR_MAX + 1, "%s", stored);
		return 0;
	}
	if (strncmp(stored, NAME_XATTR_PREFIX, strlen(NAME_XATTR_PREFIX)) != 0)
		return -EBADMSG;
	err = encoded[0] == '@' ? decode_long(vault, path, stored, owner, plain)
				: decode_short(vault, encoded, plain);
	if (!err)
		err = name_xattr_encode(vault->names, plain, again);
	if (err)
		return err;
	return strcmp(stored, again) == 0 ? 0 : -EBADMSG;
}

ssize_t vxattr_list(const struct vault *vault, int fd,
		    const uint8_t owner[static FILE_ID_LEN], char *list,
		    size_t size)
{
	CLEANUP_FREE char *stored = malloc(LIST_MAX);
	char path[PATH_LEN], plain[NAME_XATTR_MAX + 1];
	size_t used = 0;
	ssize_t n;

	if (!stored)
		return -ENOMEM;
	object_path(fd, path);
	n = listxattr(path, stored, LIST_MAX);
	if (n < 0)
		return -errno;
	for (const char *p = stored; p < stored + n; p += strlen(p) + 1) {
		int err = plain_name(vault, path, p, owner, plain);
		size_t len;

		if (err == -ENOMEM)
			return err;
		if (err)
			continue;
		len = strlen(plain) + 1;
		if (size > 0 && used + len > size)
			return -ERANGE;
		if (size > 0)
			memcpy(list + used, plain, len);
		used += len;
	}
	return (ssize_t)used;
}

int vxattr_remove(const struct vault *vault, int fd, const char *name)
{
	char path[PATH_LEN], stored[NAME_XATTR_MAX + 1];
	int err;

	object_path(fd, path);
	if (is_raw(name))
		return removexattr(path, name) < 0 ? -errno : 0;
	err = name_xattr_encode(vault->names, name, stored);
	if (err)
		return err;
	return removexattr(path, stored) < 0 ? -errno : 0;
}
