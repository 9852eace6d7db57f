#include "vault.h"

#include "vault_fixture.h"

#include "contacts.h"
#include "crash_fixture.h"
#include "seen.h"
#include "vault_key.h"
#include "vault_lock.h"
#include "xio.h"

#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

/* 2033: a clock was wrong. */
enum { LATER_S = 2000000000 };

static const struct vault_create_options create_options = {
	.passphrase = FX_PASS,
	.passphrase_len = sizeof FX_PASS - 1,
	.ops = 1,
	.mem_bytes = FX_MEM,
};

static int try_open(const struct fixture *fx, const char *passphrase)
{
	struct vault_fault fault = {0};
	struct vault *vault = NULL;
	int err = vault_open(fx->path, passphrase, strlen(passphrase), 1,
			     &vault, &fault);

	vault_close(vault);
	return err;
}

static int change(const char *path, const char *old, const char *replacement)
{
	struct vault_fault fault = {0};
	struct vault *vault = NULL;
	int err = vault_open(path, old, strlen(old), 1, &vault, &fault);

	if (!err)
		err = vault_change_passphrase(vault, old, strlen(old),
					      replacement, strlen(replacement),
					      &fault);
	vault_close(vault);
	return err;
}

static mode_t mode_of(const char *top, const char *below)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof path, "%s/%s", top, below);
	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

static void test_create__has_the_modes_it_should(void **state)
{
	const struct fixture *fx = *state;
	uint8_t bytes[33];
	size_t len = 0;

	assert_int_equal(mode_of(fx->path, ""), 0700);
	assert_int_equal(mode_of(fx->path, ".dirid"), 0644);
	assert_int_equal(mode_of(fx->path, ".frondfs"), 0700);
	assert_int_equal(mode_of(fx->path, ".frondfs/vault.ini"), 0600);
	assert_int_equal(fx_count(fx->vault->root_fd), 2);
	assert_int_equal(fx_count(fx->vault->meta_fd), 1);
	assert_int_equal(xio_read_file(fx->vault->root_fd, NAME_DIRID_FILE,
				       bytes, sizeof bytes, &len),
			 0);
	assert_int_equal(len, 32);
	assert_true(sodium_is_zero(bytes + 16, 16));
}

static void test_create__has_them_whatever_the_umask(void **state)
{
	const struct fixture *fx = *state;
	char path[128];
	mode_t before;
	int err;

	snprintf(path, sizeof path, "%s/masked", fx->top);
	assert_int_equal(mkdir(path, 0700), 0);
	before = umask(0277);
	err = vault_create(path, &create_options);
	umask(before);
	assert_int_equal(err, 0);
	assert_int_equal(mode_of(path, ".dirid"), 0644);
	assert_int_equal(mode_of(path, ".frondfs"), 0700);
}

static void test_create__refuses_what_is_in_use(void **state)
{
	const struct fixture *fx = *state;
	char path[128];

	assert_int_equal(vault_create(fx->path, &create_options), -EEXIST);
	assert_int_equal(try_open(fx, FX_PASS), 0);
	snprintf(path, sizeof path, "%s/used", fx->top);
	assert_int_equal(mkdir(path, 0750), 0);
	int fd = open(path, O_PATH);
	fx_write(fd, "letter", "x", 1);
	assert_int_equal(vault_create(path, &create_options), -ENOTEMPTY);
	assert_int_equal(fx_count(fd), 1);
	unlinkat(fd, "letter", 0);
	/* what a killed init leaves is not a vault, and not nothing */
	assert_int_equal(mkdirat(fd, ".tmp-0123", 0700), 0);
	assert_int_equal(vault_create(path, &create_options), -ENOTEMPTY);
	unlinkat(fd, ".tmp-0123", AT_REMOVEDIR);
	assert_int_equal(vault_create(path, &create_options), 0);
	assert_int_equal(mode_of(path, ""), 0750);
	close(fd);
	snprintf(path, sizeof path, "%s/no/parent", fx->top);
	assert_int_equal(vault_create(path, &create_options), -ENOENT);
	snprintf(path, sizeof path, "%s/file", fx->top);
	fx_write(AT_FDCWD, path, "", 0);
	assert_int_equal(vault_create(path, &create_options), -ENOTDIR);
}

static void test_create__failing_leaves_nothing(void **state)
{
	const struct fixture *fx = *state;
	struct vault_create_options opt = create_options;
	char path[128];

	opt.mem_bytes = 1;
	snprintf(path, sizeof path, "%s/new", fx->top);
	assert_int_equal(vault_create(path, &opt), -EINVAL);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(vault_create(path, &opt), -EINVAL);
	int fd = open(path, O_PATH);
	assert_int_equal(fx_count(fd), 0);
	close(fd);
}

static int create_unwritable(void *arg)
{
	const char *top = arg;
	char path[128];

	snprintf(path, sizeof path, "%s/new", top);
	FX_EXPECT(vault_create(path, &create_options) == -EACCES);
	snprintf(path, sizeof path, "%s/given", top);
	FX_EXPECT(!chmod(path, 0555));
	FX_EXPECT(vault_create(path, &create_options) == -EACCES);
	FX_EXPECT(!chmod(path, 0755));
	FX_EXPECT(!vault_create(path, &create_options));
	return 0;
}

static void test_create__by_a_user(void **state)
{
	struct fixture *fx = *state;
	char path[128];

	snprintf(path, sizeof path, "%s/given", fx->top);
	assert_int_equal(mkdir(path, 0755), 0);
	fx_give(AT_FDCWD, path);
	assert_int_equal(chmod(fx->top, 0555), 0);
	assert_int_equal(fx_as_user(create_unwritable, fx->top), 0);
	assert_int_equal(chmod(fx->top, 0755), 0);
}

static void test_open__derives_the_keys(void **state)
{
	struct fixture *fx = *state;
	struct vault_fault fault;
	struct vault_ini ini;
	struct fernet_key key;
	uint8_t raw[32], token[FERNET_TOKEN_LEN(4)], plain[32];
	size_t len = 0;

	assert_int_equal(vault_probe(fx->path, &ini, &fault), 0);
	assert_memory_equal(ini.id, fx->vault->id, VAULT_ID_LEN);
	assert_int_equal(ini.slot_count, 1);
	assert_string_equal(ini.slots[0].name, "default");
	assert_int_equal(ini.slots[0].mem_bytes, FX_MEM);
	const struct fernet_key *const have[] = {&fx->vault->keys->file_keys,
						 &fx->vault->keys->symlinks,
						 &fx->vault->keys->xattrs};
	const enum kdf_subkey which[] = {KDF_FILE_KEYS, KDF_SYMLINKS,
					 KDF_XATTRS};
	for (size_t i = 0; i < 3; i++) {
		kdf_subkey(fx->vault->keys->master, which[i], raw, sizeof raw);
		fernet_key_init(&key, raw);
		assert_int_equal(fernet_seal_one(have[i],
						 (const uint8_t *)"leaf", 4,
						 token),
				 0);
		assert_int_equal(
			fernet_open_one(&key, token, sizeof token, plain, &len),
			0);
	}
	assert_int_equal(fx->vault->path[0], '/');
	assert_int_equal((uintptr_t)fx->vault->keys % 64, 0);
}

static void test_open__tells_what_is_wrong(void **state)
{
	struct fixture *fx = *state;
	struct vault_fault fault;
	struct vault *vault = NULL;
	int root = fx->vault->root_fd, meta = fx->vault->meta_fd;

	assert_int_equal(try_open(fx, "wrong"), -EKEYREJECTED);
	assert_int_equal(try_open(fx, ""), -EKEYREJECTED);
	assert_int_equal(vault_open("/nonexistent", "x", 1, 1, &vault, &fault),
			 -ENOENT);
	assert_int_equal(vault_open(fx->top, "x", 1, 1, &vault, &fault),
			 -ENOMEDIUM);
	assert_null(vault);
	assert_int_equal(renameat(meta, "vault.ini", meta, "moved"), 0);
	assert_int_equal(try_open(fx, FX_PASS), -ENOMEDIUM);
	assert_int_equal(symlinkat("moved", meta, "vault.ini"), 0);
	assert_int_equal(try_open(fx, FX_PASS), -EBADMSG);
	unlinkat(meta, "vault.ini", 0);
	assert_int_equal(mkfifoat(meta, "vault.ini", 0600), 0);
	assert_int_equal(try_open(fx, FX_PASS), -EBADMSG);
	assert_int_equal(renameat(meta, "moved", meta, "vault.ini"), 0);
	assert_int_equal(renameat(root, ".frondfs", root, "moved"), 0);
	assert_int_equal(symlinkat("moved", root, ".frondfs"), 0);
	assert_int_equal(try_open(fx, FX_PASS), -ENOMEDIUM);
	unlinkat(root, ".frondfs", 0);
	assert_int_equal(renameat(root, "moved", root, ".frondfs"), 0);
	assert_int_equal(try_open(fx, FX_PASS), 0);
}

static struct vault_ini_text read_text(const struct fixture *fx)
{
	struct vault_ini_text t;
	unsigned line;

	assert_int_equal(xio_read_file(fx->vault->meta_fd, "vault.ini", t.text,
				       sizeof t.text, &t.len),
			 0);
	assert_int_equal(vault_ini_parse(t.text, t.len, &t.ini, &line), 0);
	return t;
}

/* In which region of vault.ini does byte i lie: may it look like a wrong
 * passphrase, being part of what the passphrase is tried on? */
static bool is_in_slot(const struct vault_ini_text *t, size_t i)
{
	const char *slot = memmem(t->text, t->len, "[slot", 5);
	const char *seal = memmem(t->text, t->len, "[seal]", 6);

	return t->text + i > slot && t->text + i < seal;
}

static void test_open__notices_every_changed_byte(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx);
	int meta = fx->vault->meta_fd;

	for (size_t i = 0; i < t.len; i++) {
		char changed[VAULT_INI_MAX];

		memcpy(changed, t.text, t.len);
		changed[i] ^= 1;
		fx_write(meta, "vault.ini", changed, t.len);
		int err = try_open(fx, FX_PASS);

		if (err != -EBADMSG && err != -EPROTONOSUPPORT &&
		    !(err == -EKEYREJECTED && is_in_slot(&t, i)))
			fail_msg("byte %zu (%c): %d", i, t.text[i], err);
	}
	fx_write(meta, "vault.ini", t.text, t.len);
	assert_int_equal(try_open(fx, FX_PASS), 0);
}

static void test_open__notices_cuts_and_additions(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx);
	int meta = fx->vault->meta_fd;

	for (size_t len = 0; len < t.len; len++) {
		fx_write(meta, "vault.ini", t.text, len);
		int err = try_open(fx, FX_PASS);

		/* but for the last newline, perhaps */
		if (err != -EBADMSG && !(err == 0 && len == t.len - 1))
			fail_msg("%zu bytes: %d", len, err);
	}
	memcpy(t.text + t.len, "x = y\n", 6);
	fx_write(meta, "vault.ini", t.text, t.len + 6);
	assert_int_equal(try_open(fx, FX_PASS), -EBADMSG);
	memset(t.text + t.len, '\n', VAULT_INI_MAX - t.len);
	fx_write(meta, "vault.ini", t.text, VAULT_INI_MAX);
	assert_int_equal(try_open(fx, FX_PASS), -EBADMSG);
	int fd = openat(meta, "vault.ini", O_WRONLY);
	assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
	close(fd);
	assert_int_equal(try_open(fx, FX_PASS), -EBADMSG);
}

static void test_open__refuses_newer_versions(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx);
	char *version = memmem(t.text, t.len, "version = 2", 11);
	struct vault_fault fault;
	struct vault_ini ini;

	assert_non_null(version);
	version[10] = '3';
	fx_write(fx->vault->meta_fd, "vault.ini", t.text, t.len);
	assert_int_equal(try_open(fx, FX_PASS), -EPROTONOSUPPORT);
	assert_int_equal(vault_probe(fx->path, &ini, &fault), -EPROTONOSUPPORT);
}

/* Write *t with another slot that passphrase opens. */
static void add_slot(const struct fixture *fx, struct vault_ini_text *t,
		     const char *name, const char *passphrase)
{
	struct vault_secret *s = secret_alloc(sizeof *s);
	struct vault_slot *slot = &t->ini.slots[t->ini.slot_count++];

	assert_non_null(s);
	memcpy(s->master, fx->vault->keys->master, sizeof s->master);
	*slot = (struct vault_slot){.ops = 1, .mem_bytes = FX_MEM};
	strcpy(slot->name, name);
	assert_int_equal(vault_key_seal(t->ini.id, slot, LATER_S, passphrase,
					strlen(passphrase), s),
			 0);
	kdf_subkey(s->master, KDF_SEAL, s->seal_key, sizeof s->seal_key);
	assert_int_equal(
		vault_ini_format(&t->ini, s->seal_key, t->text, &t->len), 0);
	fx_write(fx->vault->meta_fd, "vault.ini", t->text, t->len);
	secret_free(s);
}

static void test_open__with_any_slot(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx);

	add_slot(fx, &t, "bob", "second");
	add_slot(fx, &t, "carol", "third");
	assert_int_equal(try_open(fx, FX_PASS), 0);
	assert_int_equal(try_open(fx, "second"), 0);
	assert_int_equal(try_open(fx, "third"), 0);
	assert_int_equal(try_open(fx, "fourth"), -EKEYREJECTED);
}

static void test_open__does_not_work_for_days(void **state)
{
	struct fixture *fx = *state;
	int status = -1;
	struct vault_ini_text t = read_text(fx);
	const uint8_t key[32] = {0};

	for (size_t i = 0; i < VAULT_SLOTS_MAX; i++) {
		t.ini.slots[i] = t.ini.slots[0];
		snprintf(t.ini.slots[i].name, sizeof t.ini.slots[i].name,
			 "s%zu", i);
		t.ini.slots[i].ops = KDF_MAX_OPS;
		t.ini.slots[i].mem_bytes = (uint64_t)KDF_MAX_MEM_MIB << 20;
	}
	t.ini.slot_count = VAULT_SLOTS_MAX;
	assert_int_equal(vault_ini_format(&t.ini, key, t.text, &t.len), 0);
	fx_write(fx->vault->meta_fd, "vault.ini", t.text, t.len);
	/* who begins with it is ended */
	pid_t pid = fork();
	if (pid == 0) {
		alarm(20);
		_exit(try_open(fx, FX_PASS) == -EBADMSG ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A token that opens but was made for another vault. */
static void test_open__notices_a_foreign_slot(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx);

	t.ini.id[0] ^= 1;
	t.ini.slot_count = 0;
	add_slot(fx, &t, "default", FX_PASS);
	assert_int_equal(try_open(fx, FX_PASS), 0);
	t.ini.id[0] ^= 1;
	add_slot(fx, &t, "later", "later");
	assert_int_equal(try_open(fx, FX_PASS), -EBADMSG);
}

static void test_passphrase__changes_one_slot(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx), after;

	add_slot(fx, &t, "bob", "bob's");
	assert_int_equal(fchmodat(fx->vault->meta_fd, "vault.ini", 0600, 0), 0);
	fx_give(fx->vault->meta_fd, "vault.ini");
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(change(fx->path, "wrong", "x"), -EKEYREJECTED);
	after = read_text(fx);
	assert_int_equal(after.len, t.len);
	assert_memory_equal(after.text, t.text, t.len);
	assert_int_equal(change(fx->path, FX_PASS, "new"), 0);
	assert_int_equal(try_open(fx, FX_PASS), -EKEYREJECTED);
	assert_int_equal(try_open(fx, "new"), 0);
	assert_int_equal(try_open(fx, "bob's"), 0);
	after = read_text(fx);
	assert_memory_not_equal(after.ini.slots[0].salt, t.ini.slots[0].salt,
				KDF_SALT_LEN);
	assert_memory_equal(&after.ini.slots[1], &t.ini.slots[1],
			    sizeof t.ini.slots[1]);
	assert_int_equal(after.ini.slots[0].mem_bytes, FX_MEM);
	assert_int_equal(fernet_text_timestamp(after.ini.slots[0].token, 12),
			 LATER_S + 1);
	assert_int_equal(fx_count_temps(fx->vault->meta_fd), 0);
	struct stat st;
	assert_int_equal(fstatat(fx->vault->meta_fd, "vault.ini", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_uid, geteuid() == 0 ? FX_NOBODY : geteuid());
	vault_close(fx->vault);
	fx->vault = NULL;
	assert_int_equal(change(fx->path, "new", FX_PASS), 0);
	assert_int_equal(fx_open(fx), 0);
}

static void test_passphrase__is_not_put_into_what_was_put_back(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx), after;
	struct vault_fault fault = {0};
	uint8_t seal[VAULT_MAC_LEN];

	memcpy(seal, fx->vault->seal, sizeof seal);
	assert_int_equal(vault_change_passphrase(fx->vault, FX_PASS,
						 sizeof FX_PASS - 1, "new", 3,
						 &fault),
			 0);
	after = read_text(fx);
	assert_memory_not_equal(fx->vault->seal, seal, sizeof seal);
	assert_memory_equal(fx->vault->seal, after.ini.mac, sizeof seal);
	fx_write(fx->vault->meta_fd, VAULT_INI_FILE, t.text, t.len);
	assert_int_equal(vault_change_passphrase(fx->vault, FX_PASS,
						 sizeof FX_PASS - 1, "x", 1,
						 &fault),
			 -ESTALE);
	assert_int_equal(try_open(fx, FX_PASS), 0);
}

static int change_once(void *arg)
{
	return change(arg, FX_PASS, "new");
}

static void test_passphrase__stays_its_owners_whoever_dies(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx);
	bool died = true;
	int result, n;

	for (n = 0; died; n++) {
		struct stat st;

		fx_write(fx->vault->meta_fd, VAULT_INI_FILE, t.text, t.len);
		fx_give(fx->vault->meta_fd, VAULT_INI_FILE);
		died = crash_child(n, change_once, fx->path, &result);
		assert_int_equal(
			fstatat(fx->vault->meta_fd, VAULT_INI_FILE, &st, 0), 0);
		assert_int_equal(st.st_uid,
				 geteuid() == 0 ? FX_NOBODY : geteuid());
		assert_true((try_open(fx, FX_PASS) == 0) !=
			    (try_open(fx, "new") == 0));
	}
	assert_int_equal(result, 0);
	assert_true(n > 4);
}

#define ASIDE ".tmp-0123456789abcdef01234567"

/* Killed at its n-th call: does something of it lie aside? */
static bool leaves_something(struct fixture *fx, const struct vault_ini_text *t,
			     int n, bool *died)
{
	int result;

	fx_write(fx->vault->meta_fd, VAULT_INI_FILE, t->text, t->len);
	*died = crash_child(n, change_once, fx->path, &result);
	return fx_count_temps(fx->vault->meta_fd) > 0;
}

static void test_passphrase__leaves_nothing_when_it_is_killed(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx);
	int at_work, left = 0;
	bool died = true;

	for (int n = 0; died; n++) {
		if (!leaves_something(fx, &t, n, &died))
			continue;
		left++;
		/* unless somebody is writing it */
		assert_int_equal(vault_lock_ini(fx->vault->meta_fd, &at_work),
				 0);
		vault_clear_aborted(fx->vault);
		assert_int_equal(fx_count_temps(fx->vault->meta_fd), 1);
		close(at_work);
		vault_clear_aborted(fx->vault);
		assert_int_equal(fx_count_temps(fx->vault->meta_fd), 0);
		assert_int_equal(try_open(fx, FX_PASS), 0);
		/* and the next change sees to it, too */
		(void)leaves_something(fx, &t, n, &died);
		assert_int_equal(change_once(fx->path), 0);
		assert_int_equal(fx_count_temps(fx->vault->meta_fd), 0);
	}
	assert_true(left >= 2);
}

static void test_passphrase__what_else_lies_aside_stays(void **state)
{
	struct fixture *fx = *state;
	int meta = fx->vault->meta_fd;
	struct vault_ini_text t = read_text(fx);

	fx_write(meta, ASIDE, "of the log", 10);
	vault_clear_aborted(fx->vault);
	assert_int_equal(fx_count_temps(meta), 1);
	fx_write(meta, ASIDE, t.text, t.len);
	fx_write(meta, ASIDE "0", t.text, t.len);
	/* there is no other */
	assert_int_equal(renameat(meta, VAULT_INI_FILE, meta, "away"), 0);
	vault_clear_aborted(fx->vault);
	assert_int_equal(fx_count_temps(meta), 2);
	assert_int_equal(renameat(meta, "away", meta, VAULT_INI_FILE), 0);
	vault_clear_aborted(fx->vault);
	assert_int_equal(fx_count_temps(meta), 1);
}

/* Whoever read vault.ini before the passphrase was changed, and asks behind
 * that, has been shown nothing that somebody put back. */
static void test_seen__a_change_meanwhile_is_none_by_somebody(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text before = read_text(fx), after;
	struct vault_fault fault = {0};
	struct vault *other = NULL;

	assert_int_equal(setenv("XDG_STATE_HOME", fx->top, 1), 0);
	assert_int_equal(vault_open(fx->path, FX_PASS, sizeof FX_PASS - 1, 1,
				    &other, &fault),
			 0);
	assert_int_equal(vault_change_passphrase(other, FX_PASS,
						 sizeof FX_PASS - 1, "new", 3,
						 &fault),
			 0);
	other->sealed_s += 10;
	assert_int_equal(seen_vault_ini(other, true), 0);
	assert_int_equal(seen_vault_ini_look(fx->vault), 0);
	assert_int_equal(seen_vault_ini(fx->vault, false), 0);
	after = read_text(fx);
	fx_write(fx->vault->meta_fd, VAULT_INI_FILE, before.text, before.len);
	assert_int_equal(seen_vault_ini_look(fx->vault), -ESTALE);
	assert_int_equal(seen_vault_ini(fx->vault, false), -ESTALE);
	fx_write(fx->vault->meta_fd, VAULT_INI_FILE, after.text, after.len);
	assert_int_equal(seen_vault_ini_look(other), 0);
	vault_close(other);
	assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
}

/* Else a power failure would look like somebody's doing. */
static void test_seen__what_is_remembered_is_durable(void **state)
{
	struct fixture *fx = *state;
	struct stat st;

	assert_int_equal(setenv("XDG_STATE_HOME", fx->top, 1), 0);
	assert_int_equal(fstat(fx->vault->meta_fd, &st), 0);
	crash_watched = st.st_ino;
	crash_fsyncs = 0;
	assert_int_equal(seen_vault_ini(fx->vault, false), 0);
	assert_int_equal(crash_fsyncs, 1);
	/* and nothing new is not written */
	assert_int_equal(seen_vault_ini(fx->vault, false), 0);
	assert_int_equal(crash_fsyncs, 1);
	crash_watched = 0;
	assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
}

/* How often the names in .frondfs were made durable by that. */
static int ask_for_identity(struct fixture *fx, bool make)
{
	struct identity *id = NULL;

	crash_fsyncs = 0;
	assert_int_equal(vault_identity(fx->vault, make, &id), 0);
	secret_free(id);
	return crash_fsyncs;
}

/* Before a card of it goes out, whoever made it. */
static void test_identity__is_durable(void **state)
{
	struct fixture *fx = *state;
	struct stat st;

	assert_int_equal(fstat(fx->vault->meta_fd, &st), 0);
	crash_watched = st.st_ino;
	assert_int_equal(ask_for_identity(fx, true), 1);
	assert_int_equal(ask_for_identity(fx, true), 1);
	assert_int_equal(ask_for_identity(fx, false), 0);
	crash_watched = 0;
}

/* Change one slot's passphrase to and fro. */
static pid_t changer(const char *path, const char *a, const char *b)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (int i = 0; i < 10; i++)
		if (change(path, a, b) || change(path, b, a))
			_exit(1);
	_exit(change(path, a, b) ? 1 : 0);
}

static void test_passphrase__two_at_a_time_lose_nothing(void **state)
{
	struct fixture *fx = *state;
	struct vault_ini_text t = read_text(fx);
	int status;
	pid_t pids[2];

	add_slot(fx, &t, "bob", "bob's");
	pids[0] = changer(fx->path, FX_PASS, "alice's");
	pids[1] = changer(fx->path, "bob's", "robert's");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	assert_int_equal(try_open(fx, "alice's"), 0);
	assert_int_equal(try_open(fx, "robert's"), 0);
	assert_int_equal(try_open(fx, "bob's"), -EKEYREJECTED);
}

static struct vault *another(const struct fixture *fx)
{
	struct fixture copy = *fx;

	assert_int_equal(fx_open(&copy), 0);
	return copy.vault;
}

static void test_lock__who_may_be_there_together(void **state)
{
	struct fixture *fx = *state;
	/* shared, read_only of the first and the second; what comes of it */
	static const struct {
		bool s1, r1, s2, r2;
		int result;
	} cases[] = {
		{0, 0, 0, 0, -EBUSY}, {0, 0, 0, 1, -EBUSY},
		{0, 0, 1, 0, -EBUSY}, {0, 1, 0, 0, -EBUSY},
		{1, 0, 0, 0, -EBUSY}, {1, 0, 1, 0, 0},
		{1, 0, 0, 1, -EBUSY}, {0, 1, 0, 1, 0},
		{0, 1, 1, 0, -EBUSY}, {1, 0, 1, 1, 0},
		{1, 1, 0, 1, -EBUSY}, {0, 1, 1, 1, -EBUSY},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct vault *a = another(fx), *b = another(fx);

		assert_int_equal(vault_lock(a, cases[i].s1, cases[i].r1), 0);
		assert_int_equal(a->exclusive, !cases[i].s1 && !cases[i].r1);
		assert_int_equal(vault_lock(b, cases[i].s2, cases[i].r2),
				 cases[i].result);
		assert_int_equal(vault_wait_unlocked(fx->path, 30), -EBUSY);
		vault_close(a);
		vault_close(b);
		b = another(fx);
		assert_int_equal(vault_lock(b, false, false), 0);
		vault_close(b);
		assert_int_equal(vault_wait_unlocked(fx->path, 0), 0);
	}
}

static void test_lock__at_rest_is_later(void **state)
{
	struct fixture *fx = *state;
	char path[PATH_MAX];
	int fd;

	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	vault_unlock(fx->vault);
	assert_int_equal(vault_wait_at_rest(fx->path, 0), 0);
	snprintf(path, sizeof path, "%s/.frondfs/journal", fx->path);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/.frondfs/journal/session.ended",
		 fx->path);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(vault_wait_unlocked(fx->path, 0), 0);
	assert_int_equal(vault_wait_at_rest(fx->path, 30), -EBUSY);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(vault_wait_at_rest(fx->path, 0), 0);
}

static void test_lock__goes_with_the_process(void **state)
{
	struct fixture *fx = *state;
	int ready[2], status;
	char c;

	assert_int_equal(vault_wait_unlocked(fx->path, 0), 0);
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* if a test fails */
		if (vault_lock(fx->vault, false, false))
			_exit(1);
		c = (char)write(ready[1], "x", 1);
		pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(vault_lock(fx->vault, true, false), -EBUSY);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(vault_wait_unlocked(fx->path, 5000), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	close(ready[0]);
	close(ready[1]);
}

static int lock_as_reader(void *arg)
{
	struct vault *vault = arg;

	FX_EXPECT(geteuid() != 0);
	FX_EXPECT(!vault_lock(vault, false, true));
	vault_unlock(vault);
	FX_EXPECT(!vault_lock(vault, true, false));
	FX_EXPECT(vault_lock(vault, false, false) < 0);
	return 0;
}

static void test_lock__for_readers_of_the_lock_file(void **state)
{
	struct fixture *fx = *state;
	int meta = fx->vault->meta_fd;

	if (geteuid() != 0)
		skip();
	assert_int_equal(fchmodat(fx->vault->root_fd, ".frondfs", 0755, 0), 0);
	fx_write(meta, VAULT_LOCK_FILE, "", 0);
	assert_int_equal(fchmodat(meta, VAULT_LOCK_FILE, 0644, 0), 0);
	assert_int_equal(fx_as_user(lock_as_reader, fx->vault), 0);
	/* one that this vault makes is for those who may use .frondfs */
	unlinkat(meta, VAULT_LOCK_FILE, 0);
	umask(077);
	assert_int_equal(vault_lock(fx->vault, true, false), 0);
	assert_int_equal(mode_of(fx->path, ".frondfs/lock"), 0644);
	assert_int_equal(fchmodat(fx->vault->root_fd, ".frondfs", 0700, 0), 0);
	umask(0);
	assert_int_equal(vault_lock(fx->vault, true, false), 0);
	assert_int_equal(mode_of(fx->path, ".frondfs/lock"), 0600);
}

static void test_lock__is_not_lead_astray(void **state)
{
	struct fixture *fx = *state;
	int meta = fx->vault->meta_fd;

	assert_int_equal(symlinkat("vault.ini", meta, VAULT_LOCK_FILE), 0);
	assert_int_equal(vault_lock(fx->vault, false, false), -ELOOP);
	unlinkat(meta, VAULT_LOCK_FILE, 0);
	assert_int_equal(mkfifoat(meta, VAULT_LOCK_FILE, 0600), 0);
	assert_int_equal(vault_lock(fx->vault, false, false), -EINVAL);
	assert_int_equal(mode_of(fx->path, ".frondfs/lock"), 0600);
}

static void test_orphans__only_the_sole_holder_clears(void **state)
{
	struct fixture *fx = *state;

	assert_int_equal(vault_lock(fx->vault, true, false), 0);
	assert_int_equal(vault_orphans_open(fx->vault), 0);
	assert_int_equal(mode_of(fx->path, ".frondfs/orphans"), 0700);
	fx_write(fx->vault->orphans_fd, "left", "x", 1);
	assert_int_equal(vault_orphans_open(fx->vault), 0);
	assert_int_equal(fx_count(fx->vault->orphans_fd), 1);
	assert_int_equal(vault_lock(fx->vault, false, false), -EBUSY);
	vault_close(fx->vault);
	assert_int_equal(fx_open(fx), 0);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(vault_orphans_open(fx->vault), 0);
	assert_int_equal(fx_count(fx->vault->orphans_fd), 0);
	unlinkat(fx->vault->meta_fd, VAULT_ORPHANS_DIR, AT_REMOVEDIR);
	assert_int_equal(
		symlinkat("/tmp", fx->vault->meta_fd, VAULT_ORPHANS_DIR), 0);
	assert_int_equal(vault_orphans_open(fx->vault), -ENOTDIR);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_create__has_the_modes_it_should),
		CASE(test_create__has_them_whatever_the_umask),
		CASE(test_create__refuses_what_is_in_use),
		CASE(test_create__failing_leaves_nothing),
		CASE(test_create__by_a_user),
		CASE(test_open__derives_the_keys),
		CASE(test_open__tells_what_is_wrong),
		CASE(test_open__notices_every_changed_byte),
		CASE(test_open__notices_cuts_and_additions),
		CASE(test_open__refuses_newer_versions),
		CASE(test_open__with_any_slot),
		CASE(test_open__does_not_work_for_days),
		CASE(test_open__notices_a_foreign_slot),
		CASE(test_passphrase__changes_one_slot),
		CASE(test_passphrase__is_not_put_into_what_was_put_back),
		CASE(test_passphrase__stays_its_owners_whoever_dies),
		CASE(test_passphrase__leaves_nothing_when_it_is_killed),
		CASE(test_passphrase__what_else_lies_aside_stays),
		CASE(test_seen__a_change_meanwhile_is_none_by_somebody),
		CASE(test_seen__what_is_remembered_is_durable),
		CASE(test_identity__is_durable),
		CASE(test_passphrase__two_at_a_time_lose_nothing),
		CASE(test_lock__who_may_be_there_together),
		CASE(test_lock__at_rest_is_later),
		CASE(test_lock__goes_with_the_process),
		CASE(test_lock__for_readers_of_the_lock_file),
		CASE(test_lock__is_not_lead_astray),
		CASE(test_orphans__only_the_sole_holder_clears),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
