/* Somebody removes the journal under a mount, or all of .frondfs. */
#include "live_fixture.h"

static void remove_files(void)
{
	const struct journal *j = fixture->vault->journal;
	char name[JOURNAL_NAME_LEN + 1];

	put(0, CHUNK_SIZE);
	assert_int_equal(vfile_sync(file, true), 0);
	for (unsigned n = 0; n < 10; n++) {
		journal_segment_name_(j->session, n, name);
		(void)!unlinkat(j->dir_fd, name, 0);
	}
	assert_int_equal(unlinkat(j->dir_fd, JOURNAL_SESSION_FILE, 0), 0);
}

static void write_new(void)
{
	fill(2);
	put(3 * CHUNK_SIZE, 3 * CHUNK_SIZE);
	assert_int_equal(vfile_sync(file, true), 0);
}

static void remove_journal(void)
{
	remove_files();
	write_new();
}

static void remove_journal_directory(void)
{
	remove_files();
	assert_int_equal(
		unlinkat(fixture->vault->meta_fd, "journal", AT_REMOVEDIR), 0);
	write_new();
}

static void remove_entry(int dirfd, const char *name, int flags)
{
	assert_int_equal(unlinkat(dirfd, name, flags), 0);
}

/* All of .frondfs; of vault.ini there is a backup in the root. */
static void remove_meta(void)
{
	const struct vault *vault = fixture->vault;

	assert_int_equal(renameat(vault->meta_fd, VAULT_INI_FILE,
				  vault->root_fd, VAULT_INI_FILE),
			 0);
	remove_entry(vault->meta_fd, VAULT_LOCK_FILE, 0);
	remove_entry(vault->meta_fd, "journal", AT_REMOVEDIR);
	remove_entry(vault->root_fd, NAME_VAULT_DIR, AT_REMOVEDIR);
}

static void restore_meta(int root_fd)
{
	(void)!renameat(root_fd, VAULT_INI_FILE, root_fd,
			NAME_VAULT_DIR "/" VAULT_INI_FILE);
}

static void remove_vault_directory(void)
{
	remove_files();
	remove_meta();
	write_new();
	/* that no key is lost nobody can make true */
	must(!vault_has_ini(fixture->vault));
}

/* Somebody deletes the journal under a mount: what is fsynced then is there
 * after a crash all the same. */
static void test_removed__what_is_fsynced_stays(void **state)
{
	void (*const ways[])(void) = {remove_journal, remove_journal_directory,
				      remove_vault_directory};
	uint8_t new[3 * CHUNK_SIZE];

	make_file(*state, LEN);
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		die_after(*state, ways[i]);
		restore_meta(fixture->vault->root_fd);
		assert_true(mount_again(*state).crashed);
		fill(2);
		memcpy(new, bytes + 3 * CHUNK_SIZE, sizeof new);
		fill(1);
		memcpy(bytes + 3 * CHUNK_SIZE, new, sizeof new);
		expect_file(*state, LEN);
		fill(1);
		assert_int_equal(
			unlinkat(fixture->vault->root_fd,
				 fx_name(fixture, fixture->root_id, "f").entry,
				 0),
			0);
		make_file(*state, LEN);
	}
}

/* Where none can be made, what it held comes to its place at the end. */
static void test_removed__for_good(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, LEN);
	begin_alone(fx);
	remove_files();
	remove_meta();
	/* it is in the way */
	fx_write(fx->vault->root_fd, NAME_VAULT_DIR, "", 0);
	fill(2);
	put(0, LEN);
	assert_int_equal(vfile_sync(file, true), -ENOTDIR);
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
	remove_entry(fx->vault->root_fd, NAME_VAULT_DIR, 0);
	assert_int_equal(mkdirat(fx->vault->root_fd, NAME_VAULT_DIR, 0700), 0);
	restore_meta(fx->vault->root_fd);
	assert_false(mount_again(fx).crashed);
	expect_file(fx, LEN);
}

/* Nothing is made in what is no vault any more. */
static void test_removed__with_all_else(void **state)
{
	struct fixture *fx = *state;
	int root;

	make_file(fx, LEN);
	begin_alone(fx);
	root = fx->vault->root_fd;
	remove_files();
	remove_meta();
	assert_int_equal(renameat(root, NAME_DIRID_FILE, root, "away"), 0);
	put(0, LEN);
	assert_int_equal(vfile_sync(file, true), -ENOENT);
	assert_false(fx_exists(root, NAME_VAULT_DIR));
	/* when it is back */
	assert_int_equal(renameat(root, "away", root, NAME_DIRID_FILE), 0);
	assert_int_equal(vfile_sync(file, true), 0);
	assert_true(fx_exists(root, NAME_VAULT_DIR));
	vfile_close(file);
	assert_int_equal(journal_stop(fx->vault), 0);
}

/* One that has been restored and is mounted again is another's. */
static void test_removed__and_mounted_again(void **state)
{
	struct fixture *fx = *state;
	struct vault *vault = fx->vault;

	make_file(fx, LEN);
	begin_alone(fx);
	remove_files();
	remove_meta();
	assert_int_equal(mkdirat(vault->root_fd, NAME_VAULT_DIR, 0700), 0);
	restore_meta(vault->root_fd);
	assert_int_equal(fx_open(fx), 0);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	put(0, LEN);
	assert_int_equal(vfile_sync(file, true), -EBUSY);
	vfile_close(file);
	assert_int_equal(journal_stop(vault), -EBUSY);
	vault_close(vault);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_removed__what_is_fsynced_stays),
		TEST(test_removed__for_good),
		TEST(test_removed__with_all_else),
		TEST(test_removed__and_mounted_again),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
