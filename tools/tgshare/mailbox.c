#include "mailbox.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
	/* a file being synchronised may be less than whole for so long */
	SETTLED_S = 60,
	CLOCKS_DIFFER_MAX_S = 86400,
	TEXT_HASH_LEN = 16,
	STALE_S = 86400,
};

bool mailbox_good_name(const char *name)
{
	return name && name[0] && name[0] != '.' &&
	       strlen(name) <= MAILBOX_NAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz"
			    "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
		       strlen(name);
}

static void hash_text(const void *text, size_t len,
		      uint8_t hash[static TEXT_HASH_LEN])
{
	crypto_generichash(hash, TEXT_HASH_LEN, text, len, NULL, 0);
}

/* Named by what it says, so that sending twice leaves one. */
static void name_text(const struct transport_message *m,
		      char name[static MAILBOX_NAME_MAX + 1])
{
	uint8_t hash[TEXT_HASH_LEN];
	char hex[2 * sizeof hash + 1];

	hash_text(m->text, m->text_len, hash);
	hex_encode(hash, sizeof hash, hex);
	snprintf(name, MAILBOX_NAME_MAX + 1, "%s" MAILBOX_TEXT_SUFFIX, hex);
}

int mailbox_name(const struct transport_message *m,
		 char name[static MAILBOX_NAME_MAX + 1])
{
	if (m->text)
		name_text(m, name);
	else
		snprintf(name, MAILBOX_NAME_MAX + 1, "%s", m->filename);
	return mailbox_good_name(name) ? 0 : -EINVAL;
}

static int copy_document(int to, const struct transport_message *m,
			 uint8_t *block)
{
	for (uint64_t done = 0; done < m->len;) {
		size_t n = m->len - done < MAILBOX_BLOCK
				   ? (size_t)(m->len - done)
				   : MAILBOX_BLOCK;
		int err = xio_pread(m->fd, block, n, (off_t)(m->offset + done));

		if (!err)
			err = xio_write(to, block, n);
		if (err)
			return err;
		done += n;
		if (m->progress)
			m->progress(m->arg, done);
	}
	return 0;
}

static int fill(int box, const char *temp, const struct transport_message *m,
		uint8_t *block)
{
	/* Everybody may read it: it is sealed. */
	CLEANUP_FD int fd = openat(
		box, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int err;

	if (fd < 0)
		return -errno;
	err = m->text ? xio_write(fd, m->text, m->text_len)
		      : copy_document(fd, m, block);
	if (!err && fsync(fd) < 0)
		err = -errno;
	return err;
}

/* Does the file hold what is to be sent, from there on? */
static bool same_bytes(int fd, const struct transport_message *m, uint64_t from,
		       uint8_t *mine, uint8_t *theirs, size_t n)
{
	if (m->text)
		memcpy(mine, m->text + from, n);
	else if (xio_pread(m->fd, mine, n, (off_t)(m->offset + from)))
		return false;
	return xio_pread(fd, theirs, n, (off_t)from) == 0 &&
	       memcmp(mine, theirs, n) == 0;
}

/* What was damaged on the way is no reason not to send it again. */
static bool there_already(int box, const char *name,
			  const struct transport_message *m, uint8_t *block)
{
	CLEANUP_FD int fd = openat(box, name,
				   O_RDONLY | O_CLOEXEC | O_NOFOLLOW |
					   O_NONBLOCK | O_NOCTTY);
	const uint64_t len = m->text ? m->text_len : m->len;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size != len)
		return false;
	for (uint64_t at = 0; at < len;) {
		size_t n = len - at < MAILBOX_BLOCK / 2 ? (size_t)(len - at)
							: MAILBOX_BLOCK / 2;

		if (!same_bytes(fd, m, at, block, block + MAILBOX_BLOCK / 2, n))
			return false;
		at += n;
	}
	return true;
}

int mailbox_put(int box, const char *name, const struct transport_message *m,
		uint8_t *block)
{
	char temp[64];
	int err;

	if (there_already(box, name, m, block))
		return 0;
	xio_temp_name(MAILBOX_TEMP_PREFIX, temp, sizeof temp);
	err = fill(box, temp, m, block);
	if (!err && renameat(box, temp, box, name) < 0)
		err = -errno;
	if (err)
		unlinkat(box, temp, 0);
	else if (fsync(box) < 0)
		err = -errno;
	return err;
}

bool mailbox_is_fresh(const struct stat *st)
{
	int64_t now = time(NULL);

	return st->st_mtim.tv_sec > now - SETTLED_S &&
	       st->st_mtim.tv_sec < now + CLOCKS_DIFFER_MAX_S;
}

bool mailbox_is_unsettled(const char *name, const struct stat *st,
			  const char *text, size_t len)
{
	uint8_t told[TEXT_HASH_LEN], hash[TEXT_HASH_LEN];

	if (strlen(name) != 2 * sizeof told + strlen(MAILBOX_TEXT_SUFFIX) ||
	    hex_decode(name, 2 * sizeof told, told, sizeof told))
		return false;
	hash_text(text, len, hash);
	return memcmp(told, hash, sizeof told) != 0 && mailbox_is_fresh(st);
}

struct listed {
	char *name;
	struct timespec mtime;
};

static int by_age(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	if (x->mtime.tv_sec != y->mtime.tv_sec)
		return x->mtime.tv_sec < y->mtime.tv_sec ? -1 : 1;
	if (x->mtime.tv_nsec != y->mtime.tv_nsec)
		return x->mtime.tv_nsec < y->mtime.tv_nsec ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* What somebody began to write, and did not end, goes. */
static void drop_stale(int box, const char *name, const struct stat *st)
{
	if (strncmp(name, MAILBOX_TEMP_PREFIX, strlen(MAILBOX_TEMP_PREFIX)) ==
		    0 &&
	    st->st_mtim.tv_sec + STALE_S < time(NULL))
		unlinkat(box, name, 0);
}

static int list_one(int box, const char *name, struct listed **list,
		    size_t *count)
{
	struct listed *more;
	struct stat st;

	if (fstatat(box, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	drop_stale(box, name, &st);
	if (!mailbox_good_name(name))
		return 0;
	more = reallocarray(*list, *count + 1, sizeof *more);
	if (!more)
		return -ENOMEM;
	*list = more;
	more[*count].mtime = st.st_mtim;
	more[*count].name = strdup(name);
	return more[(*count)++].name ? 0 : -ENOMEM;
}

int mailbox_list(int box, char ***names, size_t *count)
{
	CLEANUP_FREE struct listed *list = NULL;
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *entry;
	int err = xio_list(box, &dir);

	*count = 0;
	while (!err && (entry = readdir(dir)))
		err = list_one(box, entry->d_name, &list, count);
	*names = err ? NULL : calloc(*count + 1, sizeof **names);
	if (!err && *names && *count)
		qsort(list, *count, sizeof *list, by_age);
	for (size_t i = 0; i < *count; i++) {
		if (*names)
			(*names)[i] = list[i].name;
		else
			free(list[i].name);
	}
	if (!*names)
		*count = 0;
	return !err && !*names ? -ENOMEM : err;
}
