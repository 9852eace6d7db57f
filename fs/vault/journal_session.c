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

enum {
	SESSION_KIND = 2, /* of what is sealed under subkey 8 */
	SESSION_PLAIN_LEN = 1 + JOURNAL_ID_LEN + 16 + 4 * 8,
	SESSION_TOKEN_LEN = FERNET_TOKEN_LEN(SESSION_PLAIN_LEN),
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

int journal_session_init_(int dir_fd, struct journal_session *s)
{
	struct statx stx;
	struct timespec now;

	if (statx(dir_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID,
		  &stx) < 0)
		return -errno;
	clock_gettime(CLOCK_REALTIME, &now);
	randombytes_buf(s->id, sizeof s->id);
	read_boot_id(s->boot_id);
	s->start_s = (uint64_t)now.tv_sec;
	s->dev = (uint64_t)stx.stx_dev_major << 32 | stx.stx_dev_minor;
	s->ino = stx.stx_ino;
	s->mount_id = stx.stx_mask & STATX_MNT_ID ? stx.stx_mnt_id : 0;
	return 0;
}

int journal_session_write_(struct vault *vault, int dir_fd,
			   const struct journal_session *s)
{
	CLEANUP_SECRET struct fernet_key *key = session_key(vault);
	uint8_t plain[SESSION_PLAIN_LEN], token[SESSION_TOKEN_LEN];
	CLEANUP_FD int fd = -1;
	int err;

	if (!key)
		return -ENOMEM;
	plain[0] = SESSION_KIND;
	memcpy(plain + 1, s->id, 16);
	memcpy(plain + 17, s->boot_id, 16);
	be64_store(plain + 33, s->start_s);
	be64_store(plain + 41, s->dev);
	be64_store(plain + 49, s->ino);
	be64_store(plain + 57, s->mount_id);
	err = fernet_seal_one(key, plain, sizeof plain, token);
	if (!err)
		err = xio_replace_file(dir_fd, JOURNAL_SESSION_FILE, token,
				       sizeof token, 0600);
	if (err)
		return err;
	fd = openat(dir_fd, JOURNAL_SESSION_FILE,
		    O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : vtree_own(vault, fd);
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
	CLEANUP_SECRET struct fernet_key *key = session_key(vault);
	uint8_t token[SESSION_TOKEN_LEN + 1];
	uint8_t plain[FERNET_OPEN_ROOM(SESSION_TOKEN_LEN)];
	size_t len, plain_len;
	int err;

	if (!key)
		return -ENOMEM;
	err = xio_read_file(dir_fd, name, token, sizeof token, &len);
	if (err)
		return err == -EFBIG || err == -ENODATA ? -EBADMSG : err;
	if (len != SESSION_TOKEN_LEN ||
	    fernet_open_one(key, token, len, plain, &plain_len) != 0 ||
	    plain_len != SESSION_PLAIN_LEN || plain[0] != SESSION_KIND)
		return -EBADMSG;
	memcpy(s->id, plain + 1, 16);
	memcpy(s->boot_id, plain + 17, 16);
	s->start_s = be64_load(plain + 33);
	s->dev = be64_load(plain + 41);
	s->ino = be64_load(plain + 49);
	s->mount_id = be64_load(plain + 57);
	return 0;
}

void journal_segment_name_(const uint8_t session[static JOURNAL_ID_LEN],
			   unsigned n, char name[static JOURNAL_NAME_LEN + 1])
{
	hex_encode(session, JOURNAL_ID_LEN, name);
	name[2 * JOURNAL_ID_LEN] = '.';
	name[2 * JOURNAL_ID_LEN + 1] = (char)('0' + n);
	name[2 * JOURNAL_ID_LEN + 2] = '\0';
}

static bool is_segment(const char *name)
{
	const size_t digits = 2 * JOURNAL_ID_LEN;

	return strspn(name, "0123456789abcdef") == digits &&
	       name[digits] == '.' && name[digits + 1] >= '0' &&
	       name[digits + 1] <= '9' && name[digits + 2] == '\0';
}

int journal_remove_segments_(int dir_fd)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;
	int err = xio_list(dir_fd, &dir);

	if (err)
		return err;
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		bool old = is_segment(e->d_name);

		/* a session that never began */
		if (strncmp(e->d_name, NAME_TEMP_PREFIX,
			    sizeof NAME_TEMP_PREFIX - 1) == 0)
			old = true;
		if (old && unlinkat(dir_fd, e->d_name, 0) < 0 &&
		    errno != ENOENT)
			return -errno;
	}
	return -errno;
}
