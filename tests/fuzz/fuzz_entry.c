/*
 * What lies beside files in a backing directory. The first byte chooses what
 * the rest is:
 *
 *   0  a link's text             1  the plaintext of its token
 *   2  a companion of a link     3  the plaintext of the token in it
 *   4  an attribute's value      5  the plaintext of its token
 *   6  a .dirid                  7  a long name, in its .name file
 *   8  an entry of a directory
 */
#include "fuzz_vault.h"

#include "fernet_text.h"
#include "vdir.h"
#include "vlink.h"
#include "vxattr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PLAIN_MAX = 4200 };

#define COMPANION "@00000000000000000000000000000000"

static struct vault *vault;
static int dir_fd;
static const uint8_t id[DIRID_LEN] = "directory-number";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	vault = fuzz_vault();
	if (mkdirat(vault->meta_fd, "fuzzed", 0700) < 0)
		return 1;
	dir_fd = openat(vault->meta_fd, "fuzzed", O_RDONLY | O_DIRECTORY);
	return dir_fd < 0;
}

/* The bytes as they are, or sealed; the result is text that ends in NUL. */
static char *text_of(const uint8_t *data, size_t size, bool seal)
{
	char *text;

	if (!seal) {
		text = strndup((const char *)data, size);
		REQUIRE(text);
		return text;
	}
	if (size > PLAIN_MAX)
		size = PLAIN_MAX;
	text = malloc(FERNET_TEXT_LEN(size) + 1);
	REQUIRE(text && fernet_seal_text(&vault->keys->symlinks, data, size,
					 text) == 0);
	return text;
}

static void read_link(void)
{
	char target[VLINK_TARGET_MAX + 1];
	size_t len = 0;
	int err = vlink_read(vault, dir_fd, "link", target, &len);

	REQUIRE(err == 0 || err == -EIO);
	if (!err)
		REQUIRE(len >= 1 && len <= VLINK_TARGET_MAX &&
			strlen(target) == len);
}

static void check_link(const uint8_t *data, size_t size, bool seal)
{
	CLEANUP_FREE char *text = text_of(data, size, seal);

	(void)unlinkat(dir_fd, "link", 0);
	if (symlinkat(text, dir_fd, "link") == 0)
		read_link();
}

static void check_companion(const uint8_t *data, size_t size, bool seal)
{
	CLEANUP_FREE char *text = text_of(data, size, seal);

	(void)unlinkat(dir_fd, "link", 0);
	REQUIRE(symlinkat(COMPANION, dir_fd, "link") == 0);
	if (seal)
		fuzz_put(dir_fd, COMPANION ".link", text, strlen(text));
	else
		fuzz_put(dir_fd, COMPANION ".link", data, size);
	read_link();
}

static void check_xattr(const uint8_t *data, size_t size, bool seal)
{
	static const char name[] = "user.fuzzed";
	uint8_t token[FERNET_TOKEN_LEN(PLAIN_MAX)];
	char stored[NAME_XATTR_MAX + 1], value[PLAIN_MAX], list[PLAIN_MAX];
	CLEANUP_FD int fd = fuzz_file("", 0);
	ssize_t n;

	if (size > PLAIN_MAX)
		size = PLAIN_MAX;
	if (seal) {
		REQUIRE(fernet_seal_one(&vault->keys->xattrs, data, size,
					token) == 0);
		data = token;
		size = FERNET_TOKEN_LEN(size);
	}
	REQUIRE(name_xattr_encode(vault->names, name, stored) == 0);
	if (fsetxattr(fd, stored, data, size, 0) < 0)
		return;
	n = vxattr_get(vault, fd, id, name, value, sizeof value);
	REQUIRE(n >= 0 || n == -EIO);
	if (n >= 0)
		REQUIRE(vxattr_get(vault, fd, id, name, value, 0) == n);
	n = vxattr_list(vault, fd, id, list, sizeof list);
	REQUIRE(n >= 0 && (n == 0 || list[n - 1] == 0));
}

static void check_dirid(const uint8_t *data, size_t size)
{
	uint8_t dirid[DIRID_LEN];
	int err;

	fuzz_put(dir_fd, ".dirid", data, size);
	err = vdir_read_id(dir_fd, dirid);
	REQUIRE(err == 0 || err == -EIO || err == -EBADMSG);
	if (!err)
		REQUIRE(size == 32 && memcmp(dirid, data, DIRID_LEN) == 0);
}

static void check_name(const char *entry)
{
	char plain[NAME_PLAIN_MAX + 1];
	int err = vdir_plain_name(vault, dir_fd, id, entry, plain);

	REQUIRE(err == 0 || err == -ENOENT || err == -EBADMSG);
	if (!err)
		REQUIRE(*plain && !strchr(plain, '/') &&
			strcmp(plain, ".") != 0 && strcmp(plain, "..") != 0);
}

static void check_long_name(const uint8_t *data, size_t size)
{
	char entry[NAME_LONG_LEN + 1], file[NAME_LONG_LEN + 8];

	if (size > NAME_FULL_MAX)
		size = NAME_FULL_MAX;
	name_long_entry((const char *)data, size, entry);
	snprintf(file, sizeof file, "%s.name", entry);
	fuzz_put(dir_fd, file, data, size);
	fuzz_put(dir_fd, entry, "", 0);
	check_name(entry);
	(void)unlinkat(dir_fd, file, 0);
	check_name(entry);
	(void)unlinkat(dir_fd, entry, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned kind;

	if (size == 0)
		return 0;
	kind = *data++ % 9;
	size--;
	if (kind < 2) {
		check_link(data, size, kind == 1);
	} else if (kind < 4) {
		check_companion(data, size, kind == 3);
	} else if (kind < 6) {
		check_xattr(data, size, kind == 5);
	} else if (kind == 6) {
		check_dirid(data, size);
	} else if (kind == 7) {
		check_long_name(data, size);
	} else {
		CLEANUP_FREE char *text = text_of(data, size, false);

		check_name(text);
	}
	return 0;
}
