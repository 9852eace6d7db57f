/* What is open, or opened, under a name that it loses meanwhile. */
#include "memory_fixture.h"

#include "file_cache.h"

static struct mount_options options;
static struct fs fs;
static const uint8_t *root_id;
static struct inode *root, *inode;
static struct backing_name old_name, new_name;
static void (*meanwhile)(void);

bool __real_memory_place_is_old(struct vault *vault,
				const struct memory_place *at, uint64_t born_s,
				const uint8_t *dirid);
bool __wrap_memory_place_is_old(struct vault *vault,
				const struct memory_place *at, uint64_t born_s,
				const uint8_t *dirid);

bool __wrap_memory_place_is_old(struct vault *vault,
				const struct memory_place *at, uint64_t born_s,
				const uint8_t *dirid)
{
	void (*act)(void) = meanwhile;

	meanwhile = NULL;
	if (act)
		act();
	return __real_memory_place_is_old(vault, at, born_s, dirid);
}

static void begin(struct fixture *fx)
{
	struct fuse_entry_param e;

	root_id = fx->root_id;
	old_name = fx_name(fx, fx->root_id, "old");
	new_name = fx_name(fx, fx->root_id, "new");
	fx_write(fx->vault->root_fd, old_name.entry, "x", 1);
	fs = (struct fs){.vault = fx->vault, .opt = &options};
	assert_int_equal(inode_table_new(fx->vault, 64, &fs.inodes), 0);
	assert_int_equal(file_cache_new(&fs, 16, &fs.files), 0);
	root = inode_of(fs.inodes, FUSE_ROOT_ID);
	assert_int_equal(
		fs_enter(&fs, root, fx->vault->root_fd, old_name.entry, &e), 0);
	inode = inode_of(fs.inodes, e.ino);
}

static void end(void)
{
	inode_forget(fs.inodes, inode, 1);
	file_cache_free(fs.files);
	inode_table_free(fs.inodes);
}

static void leave(void)
{
	const struct memory_place at = {root_id, old_name.entry};

	memory_place_left(fs.vault, &at, NULL);
}

static void move(void)
{
	inode_link_moved(fs.inodes, root, old_name.entry, root, new_name.entry);
	leave();
}

static void unlink_it(void)
{
	inode_link_gone(fs.inodes, root, old_name.entry, true);
	leave();
}

static int check_names(void)
{
	uint64_t born_s = vault_now(fs.vault) - 5;

	return inode_check_names(fs.inodes, inode, born_s, NULL);
}

static void test_names__what_was_put_back_is_told(void **state)
{
	begin(*state);
	leave();
	assert_int_equal(check_names(), -ETIME);
	assert_int_equal(check_names(), -ETIME);
	end();
}

static void test_names__what_is_moved_meanwhile_was_not(void **state)
{
	begin(*state);
	meanwhile = move;
	assert_int_equal(check_names(), 0);
	assert_null(meanwhile);
	end();
}

static void test_names__what_is_removed_meanwhile_was_not(void **state)
{
	begin(*state);
	meanwhile = unlink_it;
	assert_int_equal(check_names(), 0);
	assert_null(meanwhile);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names__what_was_put_back_is_told),
		TEST(test_names__what_is_moved_meanwhile_was_not),
		TEST(test_names__what_is_removed_meanwhile_was_not),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
