#include "seen.h"

#include "bytes.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
	SEEN_VERSION = 1,
	TIME_OFFSET = 1,
	SEAL_OFFSET = TIME_OFFSET + 8,
	MAC_OFFSET = SEAL_OFFSET + VAULT_MAC_LEN,
	SEEN_LEN = MAC_OFFSET + 32,
	NAME_LEN = 2 * VAULT_ID_LEN,
	SESSIONS_VERSION = 1,
	SESSIONS_MAX = 256,
	SESSIONS_ROOM = 1 + SESSIONS_MAX * SEEN_SESSION_LEN + 32,
};

#define SESSIONS_SUFFIX ".sessions"

/* The directory's path; false: there is no home to have one in. */
static bool state_path(char path[static PATH_MAX])
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

/* With what is missing on the way there. */
static int make_directories(char *path)
{
	for (char *slash = strchr(path + 1, '/');; slash = strchr(slash, '/')) {
		int failed;

		if (slash)
			*slash = '\0';
		failed = mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
		if (!slash)
			return failed;
		*slash++ = '/';
	}
}

static int open_state(int *out)
{
	char path[PATH_MAX];
	CLEANUP_FD int fd = -1;
	struct stat st;

	if (!state_path(path))
		return -ENOENT;
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && make_directories(path) == 0)
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
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

int seen_vault_ini(const struct vault *vault, bool accept)
{
	uint8_t record[SEEN_LEN];
	char name[NAME_LEN + 1];
	CLEANUP_FD int fd = -1;
	int err = open_state(&fd), loaded;

	if (err)
		return err;
	sodium_bin2hex(name, sizeof name, vault->id, VAULT_ID_LEN);
	loaded = load(vault, fd, name, record);
	if (!loaded &&
	    memcmp(record + SEAL_OFFSET, vault->seal, VAULT_MAC_LEN) == 0)
		return 0;
	if (!loaded && !accept &&
	    vault->sealed_s < be64_load(record + TIME_OFFSET))
		return -ESTALE;
	err = store(vault, fd, name);
	return err || loaded == -ENOENT ? err : loaded;
}

static void sessions_name(const struct vault *vault,
			  char name[static NAME_LEN + sizeof SESSIONS_SUFFIX])
{
	sodium_bin2hex(name, NAME_LEN + 1, vault->id, VAULT_ID_LEN);
	memcpy(name + NAME_LEN, SESSIONS_SUFFIX, sizeof SESSIONS_SUFFIX);
}

/* The version and ids, of which there may be none. */
static int load_sessions(const struct vault *vault, int fd,
			 uint8_t record[static SESSIONS_ROOM], size_t *count)
{
	char name[NAME_LEN + sizeof SESSIONS_SUFFIX];
	uint8_t mac[32];
	size_t len = 0;
	int err;

	sessions_name(vault, name);
	err = xio_read_file(fd, name, record, SESSIONS_ROOM, &len);
	if (err)
		return err == -ENOENT ? err : -EBADMSG;
	if (len < 1 + sizeof mac || record[0] != SESSIONS_VERSION ||
	    (len - 1 - sizeof mac) % SEEN_SESSION_LEN)
		return -EBADMSG;
	len -= sizeof mac;
	seal(vault, record, len, mac);
	if (sodium_memcmp(mac, record + len, sizeof mac) != 0)
		return -EBADMSG;
	*count = (len - 1) / SEEN_SESSION_LEN;
	return 0;
}

static bool has_session(const uint8_t *record, size_t count, const uint8_t *id)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(record + 1 + i * SEEN_SESSION_LEN, id,
			   SEEN_SESSION_LEN) == 0)
			return true;
	return false;
}

int seen_session(const struct vault *vault,
		 const uint8_t id[static SEEN_SESSION_LEN])
{
	uint8_t record[SESSIONS_ROOM];
	CLEANUP_FD int fd = -1;
	size_t count;
	int err = open_state(&fd);

	if (!err)
		err = load_sessions(vault, fd, record, &count);
	if (err)
		return err == -ENOENT ? 0 : err;
	return has_session(record, count, id) ? -ESTALE : 0;
}

int seen_session_end(const struct vault *vault,
		     const uint8_t id[static SEEN_SESSION_LEN])
{
	uint8_t record[SESSIONS_ROOM];
	char name[NAME_LEN + sizeof SESSIONS_SUFFIX];
	CLEANUP_FD int fd = -1;
	size_t count = 0, len;
	int err = open_state(&fd);

	if (!err)
		err = load_sessions(vault, fd, record, &count);
	/* none, or damaged: it begins anew */
	if (err == -ENOENT || err == -EBADMSG)
		err = fd < 0 ? err : 0;
	if (err || has_session(record, count, id))
		return err;
	if (count == SESSIONS_MAX)
		count--;
	record[0] = SESSIONS_VERSION;
	memmove(record + 1 + SEEN_SESSION_LEN, record + 1,
		count * SEEN_SESSION_LEN);
	memcpy(record + 1, id, SEEN_SESSION_LEN);
	len = 1 + (count + 1) * SEEN_SESSION_LEN;
	seal(vault, record, len, record + len);
	sessions_name(vault, name);
	return xio_replace_file(fd, name, record, len + 32, 0600);
}
