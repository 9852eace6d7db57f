#include "spool.h"
#include "envelope.h"
#include "mailbox.h"
#include "text.h"
#include "when.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	BLOCK = 1 << 20,
	TIDY_AFTER_S = 3600,
	PIECES_AGE_MAX_S = 7 * 86400,
	PIECES_MAX = 32 << 10, /* several messages of the longest kind */
	PIECES_HASH_LEN = 16,
	CUT_MIN = 4, /* of a prefix: fewer letters are words */
};

static const char temp_suffix[] = ".tmp", envelope_suffix[] = ".env",
		  part_suffix[] = ".part";

/* Both give it the name of its hash; what is there already is the same. */
static int finish(int spool_fd, int fd, const char *temp,
		  const uint8_t hash[static ENVELOPE_HASH_LEN],
		  const char *suffix)
{
	char name[2 * ENVELOPE_HASH_LEN + 8];

	hex_encode(hash, ENVELOPE_HASH_LEN, name);
	strcat(name, suffix);
	if (fsync(fd) < 0)
		return -errno;
	if (renameat(spool_fd, temp, spool_fd, name) < 0)
		return -errno;
	return fsync(spool_fd) < 0 ? -errno : 0;
}

enum { TEMP_NAME_MAX = 64 };

static void temp_name(char temp[static TEMP_NAME_MAX])
{
	char random[48];

	xio_temp_name("", random, sizeof random);
	snprintf(temp, TEMP_NAME_MAX, "%s%s", random, temp_suffix);
}

/* Root collects for whoever owns the vault. */
static int give_to_owner(int spool_fd, int fd)
{
	struct stat st;

	if (geteuid() == 0 && fstat(spool_fd, &st) == 0 &&
	    fchown(fd, st.st_uid, st.st_gid) < 0)
		return -errno;
	return 0;
}

static int begin(int spool_fd, char temp[static TEMP_NAME_MAX], int *fd)
{
	temp_name(temp);
	*fd = openat(spool_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		     0600);
	return *fd < 0 ? -errno : give_to_owner(spool_fd, *fd);
}

/*
 * A transport's own nameless file, of just that length, need not be copied:
 * it gets the name. -ENOTSUP: it is not one.
 */
static int adopt(int spool_fd, int fd, uint64_t len,
		 char temp[static TEMP_NAME_MAX])
{
	char path[32];
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (flags & O_ACCMODE) != O_RDWR || fstat(fd, &st) < 0 ||
	    st.st_nlink != 0 || (uint64_t)st.st_size != len)
		return -ENOTSUP;
	temp_name(temp);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	/* one that had a name, or without /proc: it is copied */
	if (linkat(AT_FDCWD, path, spool_fd, temp, AT_SYMLINK_FOLLOW) < 0)
		return -ENOTSUP;
	return give_to_owner(spool_fd, fd);
}

static int put_envelope(int spool_fd, const uint8_t *bytes, size_t len,
			const char *suffix,
			uint8_t hash[static ENVELOPE_HASH_LEN])
{
	CLEANUP_FD int fd = -1;
	char temp[TEMP_NAME_MAX];
	int err = begin(spool_fd, temp, &fd);

	if (!err)
		err = xio_write(fd, bytes, len);
	envelope_hash(bytes, len, hash);
	if (!err)
		err = finish(spool_fd, fd, temp, hash, suffix);
	if (err && fd >= 0)
		unlinkat(spool_fd, temp, 0);
	return err;
}

int spool_envelope(int spool_fd, const uint8_t *bytes, size_t len)
{
	uint8_t hash[ENVELOPE_HASH_LEN];

	return put_envelope(spool_fd, bytes, len, envelope_suffix, hash);
}

int spool_to_sift(int spool_fd, const uint8_t *bytes, size_t len,
		  uint8_t hash[static ENVELOPE_HASH_LEN])
{
	return put_envelope(spool_fd, bytes, len, ".try", hash);
}

/* to: -1 to hash it only */
static int copy_hashed(int from, int to, uint64_t len,
		       uint8_t hash[static ENVELOPE_HASH_LEN])
{
	CLEANUP_FREE uint8_t *block = malloc(BLOCK);
	crypto_generichash_state state;

	if (!block)
		return -ENOMEM;
	crypto_generichash_init(&state, NULL, 0, ENVELOPE_HASH_LEN);
	while (len > 0) {
		size_t want = len < BLOCK ? (size_t)len : BLOCK;
		ssize_t n = read(from, block, want);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EAGAIN;
		crypto_generichash_update(&state, block, (size_t)n);
		int err = to < 0 ? 0 : xio_write(to, block, (size_t)n);

		if (err)
			return err;
		len -= (uint64_t)n;
	}
	crypto_generichash_final(&state, hash, ENVELOPE_HASH_LEN);
	return 0;
}

/* Does the name tell another hash? */
static bool is_misnamed(const char *filename,
			const uint8_t hash[static ENVELOPE_HASH_LEN])
{
	uint8_t told[ENVELOPE_HASH_LEN];

	return strlen(filename) >= 2 * sizeof told &&
	       !hex_decode(filename, 2 * sizeof told, told, sizeof told) &&
	       memcmp(told, hash, sizeof told) != 0;
}

static bool is_unsettled(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && mailbox_is_fresh(&st);
}

int spool_document(int spool_fd, int fd, uint64_t len, const char *filename,
		   const uint8_t *known, bool *misnamed)
{
	size_t name_len = strlen(filename), suffix = strlen(envelope_suffix);
	bool envelope =
		name_len > suffix &&
		strcmp(filename + name_len - suffix, envelope_suffix) == 0;
	uint8_t hash[ENVELOPE_HASH_LEN];
	CLEANUP_FD int copy = -1;
	char temp[TEMP_NAME_MAX];
	bool other;
	int err;

	if (envelope && len > ENVELOPE_MAX_LEN)
		return 0; /* none can be so long */
	err = adopt(spool_fd, fd, len, temp);
	if (err == -ENOTSUP)
		err = begin(spool_fd, temp, &copy);
	if (!err && copy < 0 && known)
		memcpy(hash, known, sizeof hash);
	else if (!err)
		err = copy_hashed(fd, copy, len, hash);
	other = !err && is_misnamed(filename, hash);
	if (other && is_unsettled(fd))
		err = -EAGAIN;
	if (misnamed)
		*misnamed = other;
	if (!err)
		err = finish(spool_fd, copy < 0 ? fd : copy, temp, hash,
			     envelope ? envelope_suffix : part_suffix);
	if (err)
		unlinkat(spool_fd, temp, 0);
	return err;
}

/* *at: behind the last one */
static int take_all(const struct spool_taker *taker, const char *text,
		    size_t len, size_t *at, size_t *count)
{
	for (*at = *count = 0;;) {
		CLEANUP_FREE uint8_t *bytes = NULL;
		size_t n;
		int err = envelope_find(text, len, at, &bytes, &n);

		if (err)
			return err == -ENOENT ? 0 : err;
		err = taker->take(taker->arg, bytes, n);
		if (err)
			return err;
		(*count)++;
	}
}

int spool_text(const char *text, size_t len, const struct spool_taker *taker,
	       size_t *count)
{
	size_t at;

	return take_all(taker, text, len, &at, count);
}

/* What from wrote before and was not whole; "" if nothing. */
static int load_pieces(int pieces_fd, const char *name, char *text, size_t *len)
{
	int err = xio_read_file(pieces_fd, name, text, PIECES_MAX, len);

	if (err == -ENOENT || err == -EFBIG) {
		*len = 0;
		err = 0;
	}
	return err;
}

static const char prefix[] = ENVELOPE_TEXT_PREFIX;

/* How many bytes at its end are the first of a prefix that was cut. */
static size_t cut_prefix(const char *text, size_t len)
{
	size_t n = sizeof prefix - 2;

	while (n >= CUT_MIN &&
	       (n > len || memcmp(text + len - n, prefix, n) != 0))
		n--;
	return n < CUT_MIN ? 0 : n;
}

/* Where an envelope begins, whole or not, at from or behind; len: nowhere. */
static size_t beginning(const char *text, size_t len, size_t from)
{
	const char *found =
		memmem(text + from, len - from, prefix, sizeof prefix - 1);

	return found ? (size_t)(found - text) : len - cut_prefix(text, len);
}

/*
 * Where what may yet be completed begins in a text that has nothing whole; of
 * too much the newest is kept. len: nowhere.
 */
static size_t kept_from(const char *text, size_t len, bool goes_on)
{
	size_t from = goes_on ? 0 : beginning(text, len, 0);

	while (len - from > PIECES_MAX)
		from = beginning(text, len, from + 1);
	return from;
}

int spool_pieces(int pieces_fd, const char *from, const char *text, size_t len,
		 const struct spool_taker *taker, bool *unfinished)
{
	CLEANUP_FREE char *all = malloc(PIECES_MAX + 1 + len);
	uint8_t hash[PIECES_HASH_LEN];
	char name[2 * PIECES_HASH_LEN + 1];
	size_t before = 0, found, at;
	int err;

	if (!all)
		return -ENOMEM;
	crypto_generichash(hash, sizeof hash, (const uint8_t *)from,
			   strlen(from), NULL, 0);
	hex_encode(hash, sizeof hash, name);
	err = load_pieces(pieces_fd, name, all, &before);
	if (err)
		return err;
	if (before && !cut_prefix(all, before))
		all[before++] = '\n';
	memcpy(all + before, text, len);
	err = take_all(taker, all, before + len, &at, &found);
	if (err)
		return err;
	/* behind what is whole another one may begin */
	at += kept_from(all + at, before + len - at, before && !found);
	*unfinished = at < before + len;
	if (*unfinished)
		return xio_replace_file(pieces_fd, name, all + at,
					before + len - at, 0600);
	if (before && unlinkat(pieces_fd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

/* What ends so, "" being anything, and was not written for so long. */
static void remove_old(int top, const char *suffix, uint64_t age_s)
{
	int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	struct stat st;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name), tail = strlen(suffix);

		if (len > tail &&
		    strcmp(entry->d_name + len - tail, suffix) == 0 &&
		    fstatat(top, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) ==
			    0 &&
		    S_ISREG(st.st_mode) &&
		    (uint64_t)st.st_mtim.tv_sec + age_s < when_now_s())
			unlinkat(top, entry->d_name, 0);
	}
}

void spool_tidy(int spool_fd, int pieces_fd)
{
	remove_old(spool_fd, temp_suffix, TIDY_AFTER_S);
	remove_old(pieces_fd, "", PIECES_AGE_MAX_S);
}
