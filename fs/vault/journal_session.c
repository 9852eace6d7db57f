/* What tells that a mount goes on, or did not end. */
#include "journal_internal.h"

#include "bytes.h"
#include "fernet_text.h"
#include "log.h"
#include "rekey.h"
#include "secret.h"
#include "text.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#ifndef STATX_MNT_ID_UNIQUE /* Linux 6.8 */
#define STATX_MNT_ID_UNIQUE 0x00004000U
#endif

enum {
	/* of what is sealed under subkey 8 */
	SESSION_KIND = 2,
	KEPT_KIND = 3,
	SESSION_PLAIN_LEN = 1 + JOURNAL_ID_LEN + 16 + 4 * 8,
	SESSION_TOKEN_LEN = FERNET_TOKEN_LEN(SESSION_PLAIN_LEN),
	IDS_OFFSET = SESSION_PLAIN_LEN + 8,
	KEPT_PLAIN_MAX = IDS_OFFSET + JOURNAL_KEPT_MAX * FILE_ID_LEN,
};

uint8_t *journal_key_(struct vault *vault)
{
	static const uint8_t what[] = "frondfs journal segments";
	uint8_t raw[FERNET_KEY_LEN];
	uint8_t *key = secret_alloc(JOURNAL_MAC_LEN);

	if (!key)
		return NULL;
	kdf_subkey(vault->keys->master, KDF_JOURNAL, raw, sizeof raw);
	crypto_generichash(key, JOURNAL_MAC_LEN, what, sizeof what - 1, raw,
			   sizeof raw);
	sodium_memzero(raw, sizeof raw);
	return key;
}

static struct fernet_key *session_key(struct vault *vault)
{
	struct fernet_key *key = secret_alloc(sizeof *key);
	uint8_t raw[FERNET_KEY_LEN];

	if (!key)
		return NULL;
	kdf_subkey(vault->keys->master, KDF_JOURNAL, raw, sizeof raw);
	fernet_key_init(key, raw);
	sodium_memzero(raw, sizeof raw);
	return key;
}

/* Zeros where the system does not tell: then it is another one each time. */
static void read_boot_id(uint8_t id[static 16])
{
	char text[37] = "", hex[33];
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	size_t n = f ? fread(text, 1, 36, f) : 0, digits = 0;

	if (f)
		fclose(f);
	for (size_t i = 0; i < n && digits < 32; i++)
		if (text[i] != '-')
			hex[digits++] = text[i];
	if (digits != 32 || hex_decode(hex, 32, id, 16) != 0)
		randombytes_buf(id, 16);
}

/* Which disk it is, counted since the machine started. */
static bool read_disk_number(uint32_t major_id, uint32_t minor_id,
			     uint64_t *number)
{
	/* a partition has none, its disk has */
	static const char *const where[] = {"", "../"};
	bool found = false;

	for (size_t i = 0; i < 2 && !found; i++) {
		char path[64], text[24];
		FILE *f;

		snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%sdiskseq",
			 major_id, minor_id, where[i]);
		f = fopen(path, "re");
		if (!f)
			continue;
		found = fgets(text, sizeof text, f) != NULL;
		if (found)
			*number = strtoull(text, NULL, 10);
		fclose(f);
	}
	return found;
}

/*
 * A number that no other mount of this boot has. Older systems give one to
 * the next mount again: they count disks instead, or (a network's, say) it is
 * another one each time.
 */
static uint64_t mount_number(const struct statx *stx)
{
	uint64_t disk, number;

	if (stx->stx_mask & STATX_MNT_ID_UNIQUE)
		return stx->stx_mnt_id;
	if ((stx->stx_mask & STATX_MNT_ID) &&
	    read_disk_number(stx->stx_dev_major, stx->stx_dev_minor, &disk))
		return disk << 32 ^ stx->stx_mnt_id;
	randombytes_buf(&number, sizeof number);
	return number;
}

int journal_session_init_(int dir_fd, struct journal_session *s)
{
	struct statx stx;
	struct timespec now;

	if (statx(dir_fd, "", AT_EMPTY_PATH,
		  STATX_BASIC_STATS | STATX_MNT_ID | STATX_MNT_ID_UNIQUE,
		  &stx) < 0)
		return -errno;
	clock_gettime(CLOCK_REALTIME, &now);
	randombytes_buf(s->id, sizeof s->id);
	read_boot_id(s->boot_id);
	s->start_s = (uint64_t)now.tv_sec;
	s->dev = (uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor;
	s->ino = stx.stx_ino;
	s->mount_id = mount_number(&stx);
	return 0;
}

static void pack(const struct journal_session *s, uint8_t kind, uint8_t *plain)
{
	plain[0] = kind;
	memcpy(plain + 1, s->id, 16);
	memcpy(plain + 17, s->boot_id, 16);
	be64_store(plain + 33, s->start_s);
	be64_store(plain + 41, s->dev);
	be64_store(plain + 49, s->ino);
	be64_store(plain + 57, s->mount_id);
}

static void unpack(const uint8_t *plain, struct journal_session *s)
{
	memcpy(s->id, plain + 1, 16);
	memcpy(s->boot_id, plain + 17, 16);
	s->start_s = be64_load(plain + 33);
	s->dev = be64_load(plain + 41);
	s->ino = be64_load(plain + 49);
	s->mount_id = be64_load(plain + 57);
}

static int write_token(struct vault *vault, int dir_fd, const char *name,
		       const uint8_t *plain, size_t len)
{
	CLEANUP_SECRET struct fernet_key *key = session_key(vault);
	CLEANUP_FREE uint8_t *token = malloc(FERNET_TOKEN_LEN(len));
	CLEANUP_FD int fd = -1;
	int err;

	if (!key || !token)
		return -ENOMEM;
	err = fernet_seal_one(key, plain, len, token);
	if (!err)
		err = xio_replace_file(dir_fd, name, token,
				       FERNET_TOKEN_LEN(len), 0600);
	if (err)
		return err;
	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : vtree_own(vault, fd);
}

/* At most max bytes of plain; *len: how many. *written_s: when. */
static int read_token(struct vault *vault, int dir_fd, const char *name,
		      uint8_t kind, size_t max, uint8_t **out, size_t *len,
		      uint64_t *written_s)
{
	CLEANUP_SECRET struct fernet_key *key = session_key(vault);
	CLEANUP_FREE uint8_t *token = malloc(FERNET_TOKEN_LEN(max) + 1);
	CLEANUP_FREE uint8_t *plain =
		malloc(FERNET_OPEN_ROOM(FERNET_TOKEN_LEN(max) + 1));
	size_t token_len;
	int err;

	if (!key || !token || !plain)
		return -ENOMEM;
	err = xio_read_file(dir_fd, name, token, FERNET_TOKEN_LEN(max) + 1,
			    &token_len);
	/* something else stands there */
	if (err == -EFBIG || err == -ENODATA || err == -EINVAL ||
	    err == -ELOOP || err == -ENXIO)
		return -EBADMSG;
	/* a server's word for a file that it has lost: here it means another
	 * thing */
	if (err)
		return err == -ESTALE ? -EIO : err;
	if (fernet_open_one(key, token, token_len, plain, len) != 0 ||
	    *len < SESSION_PLAIN_LEN || *len > max || plain[0] != kind)
		return -EBADMSG;
	*out = TAKE_PTR(plain);
	*written_s = fernet_timestamp(token);
	return 0;
}

int journal_session_write_(struct vault *vault, int dir_fd,
			   const struct journal_session *s)
{
	uint8_t plain[SESSION_PLAIN_LEN];

	pack(s, SESSION_KIND, plain);
	return write_token(vault, dir_fd, JOURNAL_SESSION_FILE, plain,
			   sizeof plain);
}

bool journal_session_same_place_(const struct journal_session *a,
				 const struct journal_session *b)
{
	return memcmp(a->boot_id, b->boot_id, sizeof a->boot_id) == 0 &&
	       a->dev == b->dev && a->ino == b->ino &&
	       a->mount_id == b->mount_id;
}

int journal_session_read_(struct vault *vault, int dir_fd, const char *name,
			  struct journal_session *s)
{
	CLEANUP_FREE uint8_t *plain = NULL;
	uint64_t written_s;
	size_t len;
	int err = read_token(vault, dir_fd, name, SESSION_KIND,
			     SESSION_PLAIN_LEN, &plain, &len, &written_s);

	if (err)
		return err;
	unpack(plain, s);
	s->written_s = written_s;
	return 0;
}

int journal_kept_write_(struct vault *vault, int dir_fd,
			const struct journal_session *s,
			const uint8_t (*ids)[FILE_ID_LEN], size_t count)
{
	CLEANUP_FREE uint8_t *plain = malloc(KEPT_PLAIN_MAX);
	char name[JOURNAL_KEPT_LEN + 1];

	if (!plain)
		return -ENOMEM;
	pack(s, KEPT_KIND, plain);
	be64_store(plain + SESSION_PLAIN_LEN, s->kept_s);
	memcpy(plain + IDS_OFFSET, ids, count * FILE_ID_LEN);
	journal_kept_name_(s->id, name);
	return write_token(vault, dir_fd, name, plain,
			   IDS_OFFSET + count * FILE_ID_LEN);
}

int journal_kept_read_(struct vault *vault, int dir_fd, const char *name,
		       struct journal_session *s, uint8_t (**ids)[FILE_ID_LEN],
		       size_t *count)
{
	CLEANUP_FREE uint8_t *plain = NULL;
	char own_name[JOURNAL_KEPT_LEN + 1];
	uint64_t written_s;
	size_t len;
	int err = read_token(vault, dir_fd, name, KEPT_KIND, KEPT_PLAIN_MAX,
			     &plain, &len, &written_s);

	if (err)
		return err;
	if (len < IDS_OFFSET || (len - IDS_OFFSET) % FILE_ID_LEN)
		return -EBADMSG;
	unpack(plain, s);
	s->written_s = written_s;
	s->kept_s = be64_load(plain + SESSION_PLAIN_LEN);
	journal_kept_name_(s->id, own_name);
	if (strcmp(own_name, name) != 0)
		return -EBADMSG;
	len -= IDS_OFFSET;
	*ids = malloc(len + 1);
	if (!*ids)
		return -ENOMEM;
	memcpy(*ids, plain + IDS_OFFSET, len);
	*count = len / FILE_ID_LEN;
	return 0;
}

static void pass_one(struct vault *vault, int dir_fd, const char *name)
{
	CLEANUP_FREE uint8_t(*ids)[FILE_ID_LEN] = NULL;
	struct journal_session s;
	size_t count;

	if (journal_is_kept_name_(name) &&
	    journal_kept_read_(vault, dir_fd, name, &s, &ids, &count) == 0)
		vault_pass(vault, s.kept_s + 1);
}

int journal_kept_pass_(struct vault *vault, int dir_fd)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	int err = xio_list(dir_fd, &dir);

	if (err)
		return err;
	for (errno = 0; (e = readdir(dir)); errno = 0)
		pass_one(vault, dir_fd, e->d_name);
	return -errno;
}

void journal_segment_name_(const uint8_t session[static JOURNAL_ID_LEN],
			   unsigned n, char name[static JOURNAL_NAME_LEN + 1])
{
	hex_encode(session, JOURNAL_ID_LEN, name);
	name[2 * JOURNAL_ID_LEN] = '.';
	name[2 * JOURNAL_ID_LEN + 1] = (char)('0' + n);
	name[2 * JOURNAL_ID_LEN + 2] = '\0';
}

void journal_kept_name_(const uint8_t session[static JOURNAL_ID_LEN],
			char name[static JOURNAL_KEPT_LEN + 1])
{
	hex_encode(session, JOURNAL_ID_LEN, name);
	memcpy(name + 2 * JOURNAL_ID_LEN, JOURNAL_KEPT_SUFFIX,
	       sizeof JOURNAL_KEPT_SUFFIX);
}

static size_t count_digits(const char *name)
{
	return strspn(name, "0123456789abcdef");
}

bool journal_is_segment_name_(const char *name)
{
	const size_t digits = 2 * JOURNAL_ID_LEN;

	return count_digits(name) == digits && name[digits] == '.' &&
	       name[digits + 1] >= '0' && name[digits + 1] <= '9' &&
	       name[digits + 2] == '\0';
}

bool journal_is_kept_name_(const char *name)
{
	const size_t digits = 2 * JOURNAL_ID_LEN;

	return count_digits(name) == digits &&
	       strcmp(name + digits, JOURNAL_KEPT_SUFFIX) == 0;
}

int journal_remove_own_(int dir_fd,
			const uint8_t session[static JOURNAL_ID_LEN])
{
	char name[JOURNAL_NAME_LEN + 1];

	/* what says that both are there, before they are not */
	for (unsigned n = JOURNAL_SEGMENT_NAMES; n-- > 0;) {
		journal_segment_name_(session, n, name);
		if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

bool journal_is_kept_(int dir_fd, const char *segment)
{
	char name[JOURNAL_KEPT_LEN + 1];

	memcpy(name, segment, (size_t)2 * JOURNAL_ID_LEN);
	memcpy(name + 2 * JOURNAL_ID_LEN, JOURNAL_KEPT_SUFFIX,
	       sizeof JOURNAL_KEPT_SUFFIX);
	return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	       errno != ENOENT;
}

int journal_remove_stale_(int dir_fd)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	int err = xio_list(dir_fd, &dir);

	if (err)
		return err;
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		bool old = journal_is_segment_name_(e->d_name) &&
			   !journal_is_kept_(dir_fd, e->d_name);

		/* a session that never began */
		if (strncmp(e->d_name, NAME_TEMP_PREFIX,
			    sizeof NAME_TEMP_PREFIX - 1) == 0)
			old = true;
		/* what is no file, or another's, is no segment */
		if (old && unlinkat(dir_fd, e->d_name, 0) < 0 &&
		    errno != ENOENT && errno != EISDIR && errno != EPERM &&
		    errno != EACCES)
			return -errno;
	}
	return -errno;
}
