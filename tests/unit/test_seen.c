/* What a machine remembers of vault.ini, and of sessions: whose it is, and what
 * of it is believed. */
#include "vault_fixture.h"

#include "bytes.h"
#include "seen.h"

#include <stdlib.h>

enum { RECORD_LEN = 73, SESSIONS_LEN = 65, MAC_LEN = 32 };
static const uint64_t began_s = 1000;

static int setup(void **state)
{
	char home[120];
	struct fixture *fx;

	if (fx_setup(state))
		return -1;
	fx = *state;
	snprintf(home, sizeof home, "%s/state", fx->top);
	return mkdir(home, 0700) || setenv("XDG_STATE_HOME", home, 1);
}

static void path_of(const struct fixture *fx, bool sessions, char path[300])
{
	char id[2 * VAULT_ID_LEN + 1];

	sodium_bin2hex(id, sizeof id, fx->vault->id, VAULT_ID_LEN);
	snprintf(path, 300, "%s/state/frondfs/%s%s", fx->top, id,
		 sessions ? ".sessions" : "");
}

static size_t get(const struct fixture *fx, bool sessions, uint8_t bytes[200])
{
	char path[300];
	ssize_t len;
	int fd;

	path_of(fx, sessions, path);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	len = read(fd, bytes, 200);
	close(fd);
	assert_true(len > MAC_LEN);
	return (size_t)len;
}

static void put(const struct fixture *fx, bool sessions, const uint8_t *bytes,
		size_t len)
{
	char path[300];

	path_of(fx, sessions, path);
	fx_write(AT_FDCWD, path, bytes, len);
}

/* As whoever has the key would. */
static void seal(const struct fixture *fx, uint8_t *bytes, size_t len)
{
	crypto_generichash_state state;
	uint8_t key[32];

	kdf_subkey(fx->vault->keys->master, KDF_SEEN, key, sizeof key);
	crypto_generichash_init(&state, key, sizeof key, MAC_LEN);
	crypto_generichash_update(&state, fx->vault->id, VAULT_ID_LEN);
	crypto_generichash_update(&state, bytes, len - MAC_LEN);
	crypto_generichash_final(&state, bytes + len - MAC_LEN, MAC_LEN);
}

static const uint8_t session_id[SEEN_SESSION_LEN] = "this one's over";
static const uint8_t another[SEEN_SESSION_LEN] = "of this, nobody";

static int look(const struct fixture *fx, bool sessions)
{
	return sessions ? seen_session(fx->vault, another, began_s)
			: seen_vault_ini_look(fx->vault);
}

static void remember(const struct fixture *fx)
{
	assert_int_equal(seen_vault_ini(fx->vault, false), 0);
	assert_int_equal(seen_session_end(fx->vault, session_id, began_s), 0);
	assert_int_equal(look(fx, false), 0);
	assert_int_equal(look(fx, true), 0);
	assert_int_equal(seen_session(fx->vault, session_id, began_s), -ESTALE);
}

/* Each byte of it has its say. */
static void test_seen__altered_is_not_believed(void **state)
{
	const struct fixture *fx = *state;
	uint8_t bytes[200];

	remember(fx);
	for (int sessions = 0; sessions < 2; sessions++) {
		size_t len = get(fx, sessions, bytes);

		assert_int_equal(len, sessions ? SESSIONS_LEN : RECORD_LEN);
		for (size_t i = 0; i < len; i++) {
			bytes[i] ^= 1;
			put(fx, sessions, bytes, len);
			assert_int_equal(look(fx, sessions), -EBADMSG);
			bytes[i] ^= 1;
		}
		put(fx, sessions, bytes, len);
		assert_int_equal(look(fx, sessions), 0);
	}
}

/* Nor is what has another version, or length, whoever has sealed it. */
static void test_seen__of_another_kind_is_not_believed(void **state)
{
	const struct fixture *fx = *state;
	uint8_t bytes[200] = {0};

	remember(fx);
	for (int sessions = 0; sessions < 2; sessions++) {
		size_t len = get(fx, sessions, bytes);

		for (size_t n = 0; n <= len + 1; n++) {
			uint8_t cut[200];

			memcpy(cut, bytes, sizeof cut);
			if (n >= MAC_LEN)
				seal(fx, cut, n);
			put(fx, sessions, cut, n);
			assert_int_equal(look(fx, sessions),
					 n == len || (sessions && n == 41)
						 ? 0
						 : -EBADMSG);
		}
		bytes[0]++;
		seal(fx, bytes, len);
		put(fx, sessions, bytes, len);
		assert_int_equal(look(fx, sessions), -EBADMSG);
	}
}

/* Of another vault, or by somebody who has not its key. */
static void test_seen__of_another_vault_is_not_believed(void **state)
{
	const struct fixture *fx = *state;
	uint8_t bytes[2][200];
	size_t len[2];

	remember(fx);
	for (int n = 0; n < 2; n++)
		len[n] = get(fx, n, bytes[n]);
	for (int other = 0; other < 2; other++) {
		uint8_t *change =
			other ? fx->vault->id : fx->vault->keys->master;

		*change ^= 1;
		for (int n = 0; n < 2; n++) {
			put(fx, n, bytes[n], len[n]);
			assert_int_equal(look(fx, n), -EBADMSG);
		}
		*change ^= 1;
	}
}

/* Older, newer, another of the same second, and what is made of each. */
static void test_seen__the_newer_one_is_remembered(void **state)
{
	struct fixture *fx = *state;
	struct vault *vault = fx->vault;
	uint64_t now_s = vault->sealed_s;

	/* what is asked about here never was on the disk */
	assert_int_equal(unlinkat(vault->meta_fd, VAULT_INI_FILE, 0), 0);
	assert_int_equal(seen_vault_ini_look(vault), -ENOENT);
	assert_int_equal(seen_vault_ini(vault, false), 0);
	vault->seal[5] ^= 1;
	assert_int_equal(seen_vault_ini_look(vault), 0);
	assert_int_equal(seen_vault_ini(vault, false), 0);
	vault->seal[5] ^= 1;
	vault->sealed_s = now_s - 1;
	assert_int_equal(seen_vault_ini_look(vault), -ESTALE);
	for (int n = 0; n < 2; n++)
		assert_int_equal(seen_vault_ini(vault, false), -ESTALE);
	/* its time is none of what it says, if it is the same */
	vault->seal[5] ^= 1;
	assert_int_equal(seen_vault_ini_look(vault), 0);
	assert_int_equal(seen_vault_ini(vault, false), 0);
	vault->seal[5] ^= 1;
	assert_int_equal(seen_vault_ini(vault, true), 0);
	assert_int_equal(seen_vault_ini_look(vault), 0);
	vault->sealed_s = now_s + 1;
	vault->seal[6] ^= 1;
	assert_int_equal(seen_vault_ini(vault, false), 0);
	vault->sealed_s = now_s;
	vault->seal[6] ^= 1;
	assert_int_equal(seen_vault_ini(vault, false), -ESTALE);
}

/* What was damaged begins anew, and that is said once. */
static void test_seen__damage_is_told_and_replaced(void **state)
{
	const struct fixture *fx = *state;

	remember(fx);
	put(fx, false, (const uint8_t *)"damage", 6);
	assert_int_equal(seen_vault_ini(fx->vault, false), -EBADMSG);
	assert_int_equal(seen_vault_ini(fx->vault, false), 0);
}

/* A session takes one place, however often it is told that it is over. */
static void test_seen__a_session_that_ends_twice(void **state)
{
	const struct fixture *fx = *state;
	uint8_t bytes[200];

	remember(fx);
	assert_int_equal(seen_session_end(fx->vault, session_id, began_s), 0);
	assert_int_equal(get(fx, true, bytes), SESSIONS_LEN);
}

/* Under sudo, HOME may be somebody else's. */
static void test_seen__in_somebody_elses_directory(void **state)
{
	const struct fixture *fx = *state;
	char path[300];

	if (geteuid() != 0)
		skip();
	snprintf(path, sizeof path, "%s/state/frondfs", fx->top);
	assert_int_equal(mkdir(path, 0777), 0);
	assert_int_equal(chown(path, 12345, 12345), 0);
	assert_int_equal(seen_vault_ini(fx->vault, false), -EPERM);
	assert_int_equal(seen_session_end(fx->vault, session_id, 1), -EPERM);
	path_of(fx, false, path);
	assert_int_equal(access(path, F_OK), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_seen__altered_is_not_believed),
		TEST(test_seen__of_another_kind_is_not_believed),
		TEST(test_seen__of_another_vault_is_not_believed),
		TEST(test_seen__the_newer_one_is_remembered),
		TEST(test_seen__damage_is_told_and_replaced),
		TEST(test_seen__a_session_that_ends_twice),
		TEST(test_seen__in_somebody_elses_directory),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
