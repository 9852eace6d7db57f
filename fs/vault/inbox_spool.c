#include "inbox_internal.h"
#include "log.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum {
	TEMP_AGE_MAX_S = 86400, /* the collector writes no longer */
	READ_LEN = 1 << 16,
};

int inbox_spool_open_(struct inbox *in)
{
	CLEANUP_FD int fd = -1;

	if (in->dir_fd >= 0)
		return 0;
	if (mkdirat(in->vault->meta_fd, VAULT_INBOX_DIR, 0700) < 0 &&
	    errno != EEXIST && errno != EROFS)
		return -errno;
	fd = openat(in->vault->meta_fd, VAULT_INBOX_DIR,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (vtree_own(in->vault, fd))
		log_warning("the inbox stays root's");
	inbox_write_begin_(in);
	in->dir_fd = TAKE_FD(fd);
	inbox_write_end_(in);
	return 0;
}

void inbox_spool_name_(const uint8_t hash[static SPOOL_HASH_LEN],
		       const char *suffix, char name[static SPOOL_NAME_MAX])
{
	hex_encode(hash, SPOOL_HASH_LEN, name);
	snprintf(name + 2 * SPOOL_HASH_LEN, SPOOL_NAME_MAX - 2 * SPOOL_HASH_LEN,
		 "%s", suffix);
}

void inbox_key_name_(const struct parcel *p, const char *suffix,
		     char name[static SPOOL_NAME_MAX])
{
	hex_encode(p->key, PARCEL_KEY_LEN, name);
	snprintf(name + 2 * PARCEL_KEY_LEN, SPOOL_NAME_MAX - 2 * PARCEL_KEY_LEN,
		 "%s", suffix);
}

void inbox_spool_remove_(struct inbox *in,
			 const uint8_t hash[static SPOOL_HASH_LEN],
			 const char *suffix)
{
	char name[SPOOL_NAME_MAX];

	inbox_spool_name_(hash, suffix, name);
	if (unlinkat(in->dir_fd, name, 0) < 0 && errno != ENOENT)
		log_warning("%s stays in the inbox: %s", name, strerror(errno));
}

/* The bytes of an envelope's file, malloced. */
static int read_envelope(struct inbox *in, const char *name, uint8_t **bytes,
			 size_t *len)
{
	CLEANUP_FD int fd =
		openat(in->dir_fd, name,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	CLEANUP_FREE uint8_t *buf = NULL;
	struct stat st;
	int err;

	if (fd < 0)
		return errno == ELOOP ? -EBADMSG : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > ENVELOPE_MAX_LEN)
		return -EBADMSG;
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return -ENOMEM;
	err = xio_pread(fd, buf, (size_t)st.st_size, 0);
	if (err)
		return err == -ENODATA ? -EBADMSG : err;
	*bytes = TAKE_PTR(buf);
	*len = (size_t)st.st_size;
	return 0;
}

static int open_envelope(struct inbox *in,
			 const uint8_t hash[static SPOOL_HASH_LEN],
			 const char *suffix, struct envelope *e)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	uint8_t found[SPOOL_HASH_LEN];
	char name[SPOOL_NAME_MAX];
	size_t len = 0;
	int err;

	inbox_spool_name_(hash, suffix, name);
	err = read_envelope(in, name, &bytes, &len);
	if (err)
		return err;
	envelope_hash(bytes, len, found);
	if (memcmp(found, hash, sizeof found) != 0)
		return -EBADMSG;
	return envelope_open(in->me, bytes, len, e);
}

int inbox_spool_envelope_(struct inbox *in,
			  const uint8_t hash[static SPOOL_HASH_LEN],
			  struct envelope *e)
{
	return open_envelope(in, hash, ".env", e);
}

int inbox_sift(struct inbox *in, const uint8_t hash[static ENVELOPE_HASH_LEN],
	       bool *ours)
{
	char from[SPOOL_NAME_MAX], to[SPOOL_NAME_MAX];
	struct envelope e = {0};
	bool ready;
	int err;

	pthread_rwlock_rdlock(&in->lock);
	ready = in->me && in->dir_fd >= 0;
	pthread_rwlock_unlock(&in->lock);
	err = ready ? open_envelope(in, hash, ".try", &e) : -ENOENT;
	if (err == -EBADMSG) {
		inbox_spool_remove_(in, hash, ".try");
		*ours = false;
		return 0;
	}
	if (!err)
		envelope_fini(&e);
	else if (err != -EPROTONOSUPPORT) /* the scan says what that is */
		return err;
	inbox_spool_name_(hash, ".try", from);
	inbox_spool_name_(hash, ".env", to);
	if (renameat(in->dir_fd, from, in->dir_fd, to) < 0)
		return -errno;
	err = xio_sync_dir(in->dir_fd);
	if (err)
		return err;
	*ours = true;
	return 0;
}

/* What a listing gathers. */
struct listing {
	struct part *parts;
	size_t part_count, part_room;
	uint8_t (*envelopes)[SPOOL_HASH_LEN];
	size_t envelope_count, envelope_room;
	uint64_t bytes;
};

static int add_part(struct listing *l, const struct part *part)
{
	if (l->part_count == l->part_room) {
		size_t room = l->part_room ? 2 * l->part_room : 64;
		struct part *parts =
			reallocarray(l->parts, room, sizeof *parts);

		if (!parts)
			return -ENOMEM;
		l->parts = parts;
		l->part_room = room;
	}
	l->parts[l->part_count++] = *part;
	return 0;
}

static int add_envelope(struct listing *l, const uint8_t *hash)
{
	if (l->envelope_count == l->envelope_room) {
		size_t room = l->envelope_room ? 2 * l->envelope_room : 64;
		void *list = reallocarray(l->envelopes, room, SPOOL_HASH_LEN);

		if (!list)
			return -ENOMEM;
		l->envelopes = list;
		l->envelope_room = room;
	}
	memcpy(l->envelopes[l->envelope_count++], hash, SPOOL_HASH_LEN);
	return 0;
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), tail = strlen(suffix);

	return len >= tail && strcmp(name + len - tail, suffix) == 0;
}

/* A placeholder or folder under construction, which nothing refers to yet. */
void inbox_drop_stage_(struct inbox *in, const char *name)
{
	CLEANUP_FD int fd =
		openat(in->dir_fd, name,
		       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;

	if (fd >= 0) {
		dir = fdopendir(dup(fd));
		while (dir && (e = readdir(dir)))
			if (strcmp(e->d_name, ".") != 0 &&
			    strcmp(e->d_name, "..") != 0 &&
			    unlinkat(fd, e->d_name, 0) < 0) {
				CLEANUP_FREE char *sub = NULL;

				if (asprintf(&sub, "%s/%s", name, e->d_name) <
				    0)
					sub = NULL;
				if (sub)
					inbox_drop_stage_(in, sub);
			}
	}
	if (unlinkat(in->dir_fd, name, fd >= 0 ? AT_REMOVEDIR : 0) < 0 &&
	    errno != ENOENT)
		log_warning("%s stays in the inbox: %s", name, strerror(errno));
}

/* What neither we nor the collector will touch again. */
static void drop_leftover(struct inbox *in, const char *name,
			  const struct stat *st, bool first)
{
	bool ours =
		has_suffix(name, ".new") || has_suffix(name, ".stage") ||
		strncmp(name, NAME_TEMP_PREFIX, strlen(NAME_TEMP_PREFIX)) == 0;

	if (first && ours)
		inbox_drop_stage_(in, name);
	else if ((has_suffix(name, ".tmp") || has_suffix(name, ".try")) &&
		 S_ISREG(st->st_mode) &&
		 st->st_mtime + TEMP_AGE_MAX_S < (int64_t)inbox_now_())
		unlinkat(in->dir_fd, name, 0);
}

static int list_entry(struct inbox *in, struct listing *l, const char *name,
		      bool first)
{
	struct part part = {0};
	struct stat st;

	if (fstatat(in->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (strlen(name) < 2 * SPOOL_HASH_LEN ||
	    hex_decode(name, 2 * SPOOL_HASH_LEN, part.hash, SPOOL_HASH_LEN) <
		    0) {
		drop_leftover(in, name, &st, first);
		return 0;
	}
	/* a directory is none, and could not be thrown away as one */
	if (strcmp(name + 2 * SPOOL_HASH_LEN, ".env") == 0)
		return S_ISDIR(st.st_mode) ? 0 : add_envelope(l, part.hash);
	if (strcmp(name + 2 * SPOOL_HASH_LEN, ".part") != 0 ||
	    !S_ISREG(st.st_mode)) {
		drop_leftover(in, name, &st, first);
		return 0;
	}
	part.size = (uint64_t)st.st_size;
	part.mtime_s = st.st_mtime;
	/* of what is none, dropping parts makes no less */
	l->bytes += part.size;
	return add_part(l, &part);
}

static int list_all(struct inbox *in, struct listing *l, bool first)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	int err = xio_list(in->dir_fd, &dir);

	if (err)
		return err;
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		err = list_entry(in, l, e->d_name, first);
		if (err)
			return err;
	}
	return -errno;
}

static int by_hash(const void *a, const void *b)
{
	return memcmp(a, b, SPOOL_HASH_LEN);
}
_Static_assert(offsetof(struct part, hash) == 0, "by_hash compares parts");

int inbox_spool_list_(struct inbox *in, bool first)
{
	struct listing l = {0};
	int err = list_all(in, &l, first);

	if (err) {
		free(l.parts);
		free(l.envelopes);
		return err;
	}
	if (l.part_count)
		qsort(l.parts, l.part_count, sizeof *l.parts, by_hash);
	if (l.envelope_count)
		qsort(l.envelopes, l.envelope_count, SPOOL_HASH_LEN, by_hash);
	free(in->parts);
	free(in->envelopes);
	in->parts = l.parts;
	in->part_count = l.part_count;
	in->envelopes = l.envelopes;
	in->envelope_count = l.envelope_count;
	in->spool_bytes = l.bytes;
	return 0;
}

struct part *inbox_part_(const struct inbox *in,
			 const uint8_t hash[static SPOOL_HASH_LEN])
{
	struct part *part = in->part_count
				    ? bsearch(hash, in->parts, in->part_count,
					      sizeof *in->parts, by_hash)
				    : NULL;

	return part && !part->gone ? part : NULL;
}

static void forget_part(struct inbox *in, struct part *part)
{
	part->gone = true;
	in->spool_bytes -= part->size;
}

void inbox_part_remove_(struct inbox *in, struct part *part)
{
	inbox_spool_remove_(in, part->hash, ".part");
	forget_part(in, part);
}

int inbox_check_part_(struct inbox *in, const struct part *part,
		      struct part_look *look)
{
	CLEANUP_FREE uint8_t *buf = malloc(READ_LEN);
	CLEANUP_FD int fd = -1;
	uint8_t hash[SPOOL_HASH_LEN];
	crypto_generichash_state state;
	char name[SPOOL_NAME_MAX];
	struct stat st;
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	inbox_spool_name_(part->hash, ".part", name);
	fd = openat(in->dir_fd, name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	crypto_generichash_init(&state, NULL, 0, sizeof hash);
	while ((n = read(fd, buf, READ_LEN)) > 0) {
		if (inbox_stopped_(in))
			return -EINTR;
		crypto_generichash_update(&state, buf, (size_t)n);
	}
	if (n < 0)
		return -errno;
	crypto_generichash_final(&state, hash, sizeof hash);
	*look = (struct part_look){
		.same = memcmp(hash, part->hash, sizeof hash) == 0,
		.ino = st.st_ino,
		.size = (uint64_t)st.st_size};
	return 0;
}

static bool is_file(struct inbox *in, const char *name, ino_t ino)
{
	struct stat st;

	return fstatat(in->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_ino == ino;
}

void inbox_part_remove_altered_(struct inbox *in, struct part *part,
				const struct part_look *look)
{
	char name[SPOOL_NAME_MAX], temp[SPOOL_NAME_MAX];

	forget_part(in, part);
	inbox_spool_name_(part->hash, ".part", name);
	xio_temp_name(NAME_TEMP_PREFIX, temp, sizeof temp);
	/* names can be moved, and looked at, but not both in one go */
	if (!is_file(in, name, look->ino) ||
	    renameat(in->dir_fd, name, in->dir_fd, temp) < 0)
		return;
	if (is_file(in, temp, look->ino))
		unlinkat(in->dir_fd, temp, 0);
	else
		(void)!renameat(in->dir_fd, temp, in->dir_fd, name);
}
