/*
 * What tells that a mount goes on, did not end, or has ended: tokens in
 * .frondfs/journal, and what the machine remembers outside of the vault. The
 * first byte chooses what the rest is:
 *
 *   0  a session's token          1  what is sealed in it
 *   2  a kept session's token     3  what is sealed in it
 *   4  which vault.ini was seen   5  the same, with a MAC that is right
 *   6  which sessions were seen   7  the same, with a MAC that is right
 */
#include "fuzz_vault.h"

#include "fernet_text.h"
#include "journal_internal.h"
#include "rekey.h"
#include "seen.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLAIN_MAX = 9000, MAC_LEN = 32 };

#define KEPT_NAME "00112233445566778899aabbccddeeff.kept"

static struct fernet_key key;
static int journal_fd, state_fd;
static char seen_name[2 * VAULT_ID_LEN + 1], sessions_name[80];

/* A place of our own to remember in, gone with the vault. */
static void make_state(void)
{
	char path[96];

	snprintf(path, sizeof path, "%s/state", fuzz_vault()->path);
	REQUIRE(mkdir(path, 0700) == 0);
	REQUIRE(setenv("XDG_STATE_HOME", path, 1) == 0);
	strcat(path, "/frondfs");
	REQUIRE(mkdir(path, 0700) == 0);
	state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	REQUIRE(state_fd >= 0);
	sodium_bin2hex(seen_name, sizeof seen_name, fuzz_vault()->id,
		       VAULT_ID_LEN);
	snprintf(sessions_name, sizeof sessions_name, "%s.sessions", seen_name);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_subkey(KDF_JOURNAL, &key);
	make_state();
	return rekey_open_journal(fuzz_vault(), true, &journal_fd);
}

static void put_token(const char *name, const uint8_t *data, size_t size,
		      bool seal)
{
	static uint8_t token[FERNET_TOKEN_LEN(PLAIN_MAX)];

	if (size > PLAIN_MAX)
		size = PLAIN_MAX;
	if (seal) {
		REQUIRE(fernet_seal_one(&key, data, size, token) == 0);
		data = token;
		size = FERNET_TOKEN_LEN(size);
	}
	fuzz_put(journal_fd, name, data, size);
}

static void put_seen(const char *name, const uint8_t *data, size_t size,
		     bool seal)
{
	uint8_t bytes[PLAIN_MAX + MAC_LEN], raw[MAC_LEN];
	crypto_generichash_state mac;

	if (size > PLAIN_MAX)
		size = PLAIN_MAX;
	memcpy(bytes, data, size);
	if (seal) {
		kdf_subkey(fuzz_vault()->keys->master, KDF_SEEN, raw,
			   sizeof raw);
		crypto_generichash_init(&mac, raw, sizeof raw, MAC_LEN);
		crypto_generichash_update(&mac, fuzz_vault()->id, VAULT_ID_LEN);
		crypto_generichash_update(&mac, bytes, size);
		crypto_generichash_final(&mac, bytes + size, MAC_LEN);
		size += MAC_LEN;
	}
	fuzz_put(state_fd, name, bytes, size);
}

static void read_session(void)
{
	struct journal_session s, again;
	int err = journal_session_read_(fuzz_vault(), journal_fd,
					JOURNAL_SESSION_FILE, &s);

	REQUIRE(err == 0 || err == -EBADMSG);
	if (err)
		return;
	REQUIRE(journal_session_write_(fuzz_vault(), journal_fd, &s) == 0);
	REQUIRE(journal_session_read_(fuzz_vault(), journal_fd,
				      JOURNAL_SESSION_FILE, &again) == 0);
	REQUIRE(memcmp(s.id, again.id, sizeof s.id) == 0);
	REQUIRE(s.start_s == again.start_s);
	REQUIRE(journal_session_same_place_(&s, &again));
}

static void read_kept(void)
{
	uint8_t(*ids)[FILE_ID_LEN] = NULL;
	struct journal_session s;
	size_t count = 0;
	int err = journal_kept_read_(fuzz_vault(), journal_fd, KEPT_NAME, &s,
				     &ids, &count);

	REQUIRE(err == 0 || err == -EBADMSG);
	if (err)
		return;
	REQUIRE(journal_kept_write_(fuzz_vault(), journal_fd, &s,
				    (const uint8_t(*)[FILE_ID_LEN])ids,
				    count) == 0);
	free(ids);
}

/* Whatever lies there: then it is known. */
static void look_at_seen(void)
{
	int err = seen_vault_ini(fuzz_vault(), false);

	REQUIRE(err == 0 || err == -EBADMSG || err == -ESTALE);
	err = seen_vault_ini(fuzz_vault(), true);
	REQUIRE(err == 0 || err == -EBADMSG);
	REQUIRE(seen_vault_ini(fuzz_vault(), false) == 0);
}

static void look_at_sessions(void)
{
	static const uint8_t mine[SEEN_SESSION_LEN] = "a session's id..";
	int err = seen_session(fuzz_vault(), mine, UINT64_MAX);

	REQUIRE(err == 0 || err == -EBADMSG || err == -ESTALE);
	REQUIRE(seen_session_end(fuzz_vault(), mine, 5) == 0);
	REQUIRE(seen_session(fuzz_vault(), mine, UINT64_MAX) == -ESTALE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned kind;

	if (size == 0)
		return 0;
	kind = *data++ % 8;
	size--;
	if (kind < 2) {
		put_token(JOURNAL_SESSION_FILE, data, size, kind & 1);
		read_session();
	} else if (kind < 4) {
		put_token(KEPT_NAME, data, size, kind & 1);
		read_kept();
	} else if (kind < 6) {
		put_seen(seen_name, data, size, kind & 1);
		look_at_seen();
	} else {
		put_seen(sessions_name, data, size, kind & 1);
		look_at_sessions();
	}
	return 0;
}
