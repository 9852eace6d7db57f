#include "seen.h"

#include "bytes.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
	SEEN_VERSION = 1,
	TIME_OFFSET = 1,
	SEAL_OFFSET = TIME_OFFSET + 8,
	MAC_OFFSET = SEAL_OFFSET + VAULT_MAC_LEN,
	SEEN_LEN = MAC_OFFSET + 32,
	NAME_LEN = 2 * VAULT_ID_LEN,
	SESSIONS_VERSION = 1,
	SESSIONS_MAX = 256,
	SESSIONS_HEAD_LEN = 1 + 8,
	SESSION_LEN = SEEN_SESSION_LEN + 8,
	SESSIONS_ROOM = SESSIONS_HEAD_LEN + SESSIONS_MAX * SESSION_LEN + 32,
};

#define SESSIONS_SUFFIX ".sessions"

bool seen_state_path(char path[static PATH_MAX])
{
	const char *state = secure_getenv("XDG_STATE_HOME");
	const char *home = secure_getenv("HOME");
	int len = PATH_MAX;

	if (state && state[0] == '/')
		len = snprintf(path, PATH_MAX, "%s/frondfs", state);
	else if (geteuid() == 0)
		len = snprintf(path, PATH_MAX, "/var/lib/frondfs");
	else if (home && home[0] == '/')
		len = snprintf(path, PATH_MAX, "%s/.local/state/frondfs", home);
	return len < PATH_MAX;
}

/* With what is missing on the way there. The first error is the reason. */
static int make_directories(char *path)
{
	int reason = 0;

	for (char *slash = strchr(path + 1, '/');; slash = strchr(slash, '/')) {
		int failed;

		if (slash)
			*slash = '\0';
		failed = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
		reason = reason ? reason : failed;
		if (!slash)
			return failed ? reason : 0;
		*slash++ = '/';
	}
}

int seen_state_open(int *out)
{
	char path[PATH_MAX];
	CLEANUP_FD int fd = -1;
	struct stat st;
	int err;

	if (!seen_state_path(path))
		return -ENOENT;
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		err = make_directories(path);
		if (err)
			return err;
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* sudo leaves HOME as it was: nobody's memory for somebody else */
	if (st.st_uid != geteuid())
		return -EPERM;
	*out = TAKE_FD(fd);
	return 0;
}

static void seal(const struct vault *vault, const uint8_t *record, size_t len,
		 uint8_t mac[static 32])
{
	crypto_generichash_state state;
	uint8_t key[32];

	kdf_subkey(vault->keys->master, KDF_SEEN, key, sizeof key);
	crypto_generichash_init(&state, key, sizeof key, 32);
	crypto_generichash_update(&state, vault->id, VAULT_ID_LEN);
	crypto_generichash_update(&state, record, len);
	crypto_generichash_final(&state, mac, 32);
	sodium_memzero(key, sizeof key);
	sodium_memzero(&state, sizeof state);
}

static int load(const struct vault *vault, int fd, const char *name,
		uint8_t record[static SEEN_LEN])
{
	uint8_t mac[32];
	size_t len = 0;
	int err = xio_read_file(fd, name, record, SEEN_LEN, &len);

	if (err)
		return err == -ENOENT ? err : -EBADMSG;
	if (len != SEEN_LEN || record[0] != SEEN_VERSION)
		return -EBADMSG;
	seal(vault, record, MAC_OFFSET, mac);
	return sodium_memcmp(mac, record + MAC_OFFSET, sizeof mac) == 0
		       ? 0
		       : -EBADMSG;
}

static int store(const struct vault *vault, int fd, const char *name)
{
	uint8_t record[SEEN_LEN] = {SEEN_VERSION};

	be64_store(record + TIME_OFFSET, vault->sealed_s);
	memcpy(record + SEAL_OFFSET, vault->seal, VAULT_MAC_LEN);
	seal(vault, record, MAC_OFFSET, record + MAC_OFFSET);
	return xio_replace_file(fd, name, record, sizeof record, 0600);
}

static bool is_same(const struct vault *vault, const uint8_t *record)
{
	return memcmp(record + SEAL_OFFSET, vault->seal, VAULT_MAC_LEN) == 0;
}

/*
 * Deriving a key takes a while, and vault.ini was read before. Whoever has
 * changed the passphrase meanwhile, and had that remembered, has put nothing
 * back.
 */
static bool is_there_now(const struct vault *vault, const uint8_t *record)
{
	CLEANUP_FREE char *text = malloc(VAULT_INI_MAX);
	CLEANUP_FREE struct vault_ini *ini = malloc(sizeof *ini);
	unsigned bad_line;
	size_t len;

	return text && ini &&
	       !xio_read_file(vault->meta_fd, VAULT_INI_FILE, text,
			      VAULT_INI_MAX, &len) &&
	       !vault_ini_parse(text, len, ini, &bad_line) &&
	       memcmp(record + SEAL_OFFSET, ini->mac, VAULT_MAC_LEN) == 0;
}

/* What is remembered is at hand, or has become so. */
static bool is_known(const struct vault *vault, const uint8_t *record)
{
	return is_same(vault, record) || is_there_now(vault, record);
}

static bool is_older(const struct vault *vault, const uint8_t *record)
{
	return vault->sealed_s < be64_load(record + TIME_OFFSET);
}

int seen_vault_ini(const struct vault *vault, bool accept)
{
	uint8_t record[SEEN_LEN];
	char name[NAME_LEN + 1];
	CLEANUP_FD int fd = -1;
	int err = seen_state_open(&fd), loaded;

	if (err)
		return err;
	sodium_bin2hex(name, sizeof name, vault->id, VAULT_ID_LEN);
	loaded = load(vault, fd, name, record);
	if (!loaded && is_known(vault, record))
		return 0;
	if (!loaded && !accept && is_older(vault, record))
		return -ESTALE;
	/* Whoever replaced it may have been killed before it was durable: what
	 * was there before would be older then. */
	err = xio_sync_dir(vault->meta_fd);
	if (!err)
		err = store(vault, fd, name);
	return err || loaded == -ENOENT ? err : loaded;
}

int seen_vault_ini_look(const struct vault *vault)
{
	uint8_t record[SEEN_LEN];
	char name[NAME_LEN + 1];
	CLEANUP_FD int fd = -1;
	int err = seen_state_open(&fd);

	if (err)
		return err;
	sodium_bin2hex(name, sizeof name, vault->id, VAULT_ID_LEN);
	err = load(vault, fd, name, record);
	return !err && !is_known(vault, record) && is_older(vault, record)
		       ? -ESTALE
		       : err;
}

static void sessions_name(const struct vault *vault,
			  char name[static NAME_LEN + sizeof SESSIONS_SUFFIX])
{
	sodium_bin2hex(name, NAME_LEN + 1, vault->id, VAULT_ID_LEN);
	memcpy(name + NAME_LEN, SESSIONS_SUFFIX, sizeof SESSIONS_SUFFIX);
}

/* What is remembered, in the file's words. */
struct sessions {
	size_t count;
	uint8_t record[SESSIONS_ROOM];
};

static uint8_t *session_at(struct sessions *s, size_t i)
{
	return s->record + SESSIONS_HEAD_LEN + i * SESSION_LEN;
}

/* Of which there may be none. */
static int load_sessions(const struct vault *vault, int fd, struct sessions *s)
{
	char name[NAME_LEN + sizeof SESSIONS_SUFFIX];
	uint8_t mac[32];
	size_t len = 0;
	int err;

	sessions_name(vault, name);
	err = xio_read_file(fd, name, s->record, sizeof s->record, &len);
	if (err)
		return err == -ENOENT ? err : -EBADMSG;
	if (len < SESSIONS_HEAD_LEN + sizeof mac ||
	    s->record[0] != SESSIONS_VERSION ||
	    (len - SESSIONS_HEAD_LEN - sizeof mac) % SESSION_LEN)
		return -EBADMSG;
	len -= sizeof mac;
	seal(vault, s->record, len, mac);
	if (sodium_memcmp(mac, s->record + len, sizeof mac) != 0)
		return -EBADMSG;
	s->count = (len - SESSIONS_HEAD_LEN) / SESSION_LEN;
	return 0;
}

static bool has_session(struct sessions *s, const uint8_t *id)
{
	for (size_t i = 0; i < s->count; i++)
		if (memcmp(session_at(s, i), id, SEEN_SESSION_LEN) == 0)
			return true;
	return false;
}

int seen_session(const struct vault *vault,
		 const uint8_t id[static SEEN_SESSION_LEN], uint64_t start_s)
{
	struct sessions s = {0};
	CLEANUP_FD int fd = -1;
	int err = seen_state_open(&fd);

	if (!err)
		err = load_sessions(vault, fd, &s);
	if (err)
		return err == -ENOENT ? 0 : err;
	return has_session(&s, id) || start_s <= be64_load(s.record + 1)
		       ? -ESTALE
		       : 0;
}

/* What began no later than one that is forgotten is as old. Not by a clock that
 * was wrong. */
static void forget_last(struct sessions *s)
{
	uint64_t start_s =
		be64_load(session_at(s, --s->count) + SEEN_SESSION_LEN);

	if (start_s > be64_load(s->record + 1) &&
	    start_s <= (uint64_t)time(NULL))
		be64_store(s->record + 1, start_s);
}

int seen_session_end(const struct vault *vault,
		     const uint8_t id[static SEEN_SESSION_LEN],
		     uint64_t start_s)
{
	struct sessions s = {0};
	char name[NAME_LEN + sizeof SESSIONS_SUFFIX];
	CLEANUP_FD int fd = -1;
	size_t len;
	int err = seen_state_open(&fd);

	if (err)
		return err;
	err = load_sessions(vault, fd, &s);
	/* none, or damaged: it begins anew */
	if (err == -ENOENT || err == -EBADMSG) {
		s = (struct sessions){.record = {SESSIONS_VERSION}};
		err = 0;
	}
	if (err || has_session(&s, id))
		return err;
	if (s.count == SESSIONS_MAX)
		forget_last(&s);
	memmove(session_at(&s, 1), session_at(&s, 0), s.count * SESSION_LEN);
	memcpy(session_at(&s, 0), id, SEEN_SESSION_LEN);
	be64_store(session_at(&s, 0) + SEEN_SESSION_LEN, start_s);
	len = SESSIONS_HEAD_LEN + (s.count + 1) * SESSION_LEN;
	seal(vault, s.record, len, s.record + len);
	sessions_name(vault, name);
	return xio_replace_file(fd, name, s.record, len + 32, 0600);
}
