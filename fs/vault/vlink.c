#include "vlink.h"

#include "fernet_text.h"
#include "log.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum {
	POINTER_ID_LEN = 16,
	POINTER_LEN = 1 + 2 * POINTER_ID_LEN, /* "@" and hex digits */
	TOKEN_TEXT_MAX = FERNET_TEXT_LEN(VLINK_TARGET_MAX),
	SYMLINK_MAX = 4095, /* Linux: PATH_MAX with its NUL */
};

static bool is_pointer(const char *text, size_t len)
{
	uint8_t id[POINTER_ID_LEN];

	return len == POINTER_LEN && text[0] == '@' &&
	       hex_decode(text + 1, len - 1, id, sizeof id) == 0;
}

/* A symbolic link's text as it lies in the backing directory. */
static int read_text(int dirfd, const char *entry, char text[SYMLINK_MAX + 1],
		     size_t *len_out)
{
	ssize_t n = readlinkat(dirfd, entry, text, SYMLINK_MAX + 1);

	if (n < 0)
		return -errno;
	if (n == 0 || n > SYMLINK_MAX)
		return -EIO;
	text[n] = '\0';
	*len_out = (size_t)n;
	return 0;
}

static int make_beside(int dirfd, const char *entry, const char *token)
{
	char pointer[VLINK_COMPANION_MAX], file[VLINK_COMPANION_MAX];
	uint8_t id[POINTER_ID_LEN];
	int err;

	randombytes_buf(id, sizeof id);
	pointer[0] = '@';
	hex_encode(id, sizeof id, pointer + 1);
	snprintf(file, sizeof file, "%.*s" NAME_LINK_SUFFIX, POINTER_LEN,
		 pointer);
	err = vdir_put_beside(dirfd, file, token, strlen(token));
	if (err)
		return err;
	if (symlinkat(pointer, dirfd, entry) == 0)
		return 0;
	err = -errno;
	unlinkat(dirfd, file, 0);
	return err;
}

int vlink_make(struct vault *vault, int dirfd, const char *entry,
	       const char *target)
{
	CLEANUP_FREE char *token = NULL;
	size_t len = strnlen(target, VLINK_TARGET_MAX + 1);
	int err;

	if (len == 0)
		return -ENOENT;
	if (len > VLINK_TARGET_MAX)
		return -ENAMETOOLONG;
	token = malloc(FERNET_TEXT_LEN(len) + 1);
	if (!token)
		return -ENOMEM;
	err = fernet_seal_text_at(&vault->keys->symlinks, vault_now(vault),
				  (const uint8_t *)target, len, token);
	if (err)
		return err;
	if (FERNET_TEXT_LEN(len) <= SYMLINK_MAX) {
		if (symlinkat(token, dirfd, entry) == 0)
			return 0;
		if (errno != ENAMETOOLONG)
			return -errno;
	}
	return make_beside(dirfd, entry, token);
}

/* Replace a pointer's text by the token that lies beside the link. */
static int follow_pointer(int dirfd, char text[static TOKEN_TEXT_MAX],
			  size_t *len)
{
	char file[VLINK_COMPANION_MAX];
	int err;

	snprintf(file, sizeof file, "%.*s" NAME_LINK_SUFFIX, POINTER_LEN, text);
	err = xio_read_file(dirfd, file, text, TOKEN_TEXT_MAX, len);
	switch (err) {
	case -ENOENT:
	case -EFBIG:
	case -EINVAL:
	case -ELOOP:
	case -ENXIO:
	case -ENODATA:
		return -EIO;
	default:
		return err;
	}
}

int vlink_read_born(const struct vault *vault, int dirfd, const char *entry,
		    char target[static VLINK_TARGET_MAX + 1], size_t *len_out,
		    uint64_t *born_s)
{
	char text[TOKEN_TEXT_MAX + 1], plain[VLINK_TARGET_MAX + 1];
	size_t text_len = 0, len = 0;
	int err = read_text(dirfd, entry, text, &text_len);

	if (!err && is_pointer(text, text_len))
		err = follow_pointer(dirfd, text, &text_len);
	if (err)
		return err;
	err = fernet_open_text(&vault->keys->symlinks, text, text_len,
			       (uint8_t *)plain, VLINK_TARGET_MAX, &len);
	if (err == -EBADMSG || err == -EMSGSIZE)
		return -EIO;
	if (err)
		return err;
	if (len == 0 || memchr(plain, '\0', len))
		return -EIO;
	memcpy(target, plain, len);
	target[len] = '\0';
	*len_out = len;
	*born_s = fernet_text_timestamp(text, text_len);
	return 0;
}

int vlink_read(const struct vault *vault, int dirfd, const char *entry,
	       char target[static VLINK_TARGET_MAX + 1], size_t *len_out)
{
	uint64_t born_s;

	return vlink_read_born(vault, dirfd, entry, target, len_out, &born_s);
}

int vlink_companion(int dirfd, const char *entry,
		    char companion[static VLINK_COMPANION_MAX])
{
	char text[SYMLINK_MAX + 1];
	size_t len = 0;
	int err = read_text(dirfd, entry, text, &len);

	/* -EINVAL: not a link; -EIO: a text that is no pointer either */
	if (err && err != -EINVAL && err != -EIO)
		return err;
	companion[0] = '\0';
	if (!err && is_pointer(text, len))
		snprintf(companion, VLINK_COMPANION_MAX,
			 "%.*s" NAME_LINK_SUFFIX, POINTER_LEN, text);
	return 0;
}

int vlink_companion_copy(int from_fd, int to_fd, const char *companion)
{
	CLEANUP_FREE char *token = NULL;
	size_t len = 0;
	int err;

	if (!companion[0])
		return 0;
	token = malloc(TOKEN_TEXT_MAX);
	if (!token)
		return -ENOMEM;
	err = xio_read_file(from_fd, companion, token, TOKEN_TEXT_MAX, &len);
	if (err == -ENOENT)
		return 0; /* a damaged link is moved as it is */
	if (err)
		return xio_is_shortage(err) ? err : -EIO;
	return vdir_put_beside(to_fd, companion, token, len);
}

void vlink_companion_drop(int dirfd, const char *companion)
{
	if (companion[0])
		unlinkat(dirfd, companion, 0);
}

int vlink_companion_keep(int from_fd, int to_fd, const char *companion)
{
	struct stat st;

	if (!companion[0] ||
	    fstatat(to_fd, companion, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	/* which takes no descriptor: the link has moved already */
	if (linkat(from_fd, companion, to_fd, companion, 0) == 0 ||
	    errno == EEXIST)
		return 0;
	return vlink_companion_copy(from_fd, to_fd, companion);
}

static int points_to(int dirfd, const struct dirent *d, const char *companion,
		     bool *needed)
{
	char own[VLINK_COMPANION_MAX] = "";
	int err;

	if (d->d_type != DT_LNK && d->d_type != DT_UNKNOWN)
		return 0;
	err = vlink_companion(dirfd, d->d_name, own);
	*needed = !err && strcmp(own, companion) == 0;
	return err == -ENOENT ? 0 : err; /* it went just now */
}

/* Does a link in this directory point to the companion? */
static bool is_needed(DIR *dir, const char *companion)
{
	const struct dirent *d;
	bool needed = false;

	rewinddir(dir);
	while (!needed) {
		errno = 0;
		d = readdir(dir);
		if (!d)
			return errno != 0;
		if (points_to(dirfd(dir), d, companion, &needed))
			return true;
	}
	return true;
}

void vlink_companion_settle(int dirfd, const char *companion)
{
	CLEANUP_DIR DIR *dir = NULL;
	char temp[64];

	if (!companion[0] || xio_list(dirfd, &dir) || is_needed(dir, companion))
		return;
	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	if (renameat(dirfd, companion, dirfd, temp) < 0)
		return;
	/* another mount may have linked it here just before */
	if (!is_needed(dir, companion))
		unlinkat(dirfd, temp, 0);
	else if (renameat(dirfd, temp, dirfd, companion) < 0)
		log_error("the target of a symbolic link is lost: %s, which "
			  "stays aside as %s",
			  companion, temp);
}
