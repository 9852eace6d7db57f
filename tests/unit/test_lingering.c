/* A file stays open whose end could not be marked when it was closed. */
#include "live_fixture.h"

#include "dir_cache.h"
#include "file_cache.h"

static struct mount_options options;
static struct fs fs;
static struct inode *inode;

/* Called once, before a file is closed. */
static void (*before_close)(void);

void __real_vfile_close(struct vfile *f);
void __wrap_vfile_close(struct vfile *f);

void __wrap_vfile_close(struct vfile *f)
{
	void (*fn)(void) = before_close;

	before_close = NULL;
	if (f && fn)
		fn();
	__real_vfile_close(f);
}

static struct open_handle *open_handle(struct fixture *fx)
{
	struct backing_name name = fx_name(fx, fx->root_id, "f");
	struct fuse_entry_param e;
	struct open_handle *h;

	make_file(fx, LEN);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
	fs = (struct fs){.vault = fx->vault, .opt = &options};
	assert_int_equal(inode_table_new(fx->vault, 64, &fs.inodes), 0);
	assert_int_equal(file_cache_new(&fs, 16, &fs.files), 0);
	assert_int_equal(fs_enter(&fs, inode_of(fs.inodes, FUSE_ROOT_ID),
				  fx->vault->root_fd, name.entry, &e),
			 0);
	inode = inode_of(fs.inodes, e.ino);
	assert_int_equal(file_open(&fs, inode, true, &h), 0);
	return h;
}

/* Make it longer, and close it on a disk that takes nothing more. */
static void close_unmarked(struct fixture *fx)
{
	struct open_handle *h = open_handle(fx);
	struct vfile *f;

	assert_int_equal(file_acquire(&fs, h->file, true, &f), 0);
	assert_int_equal(vf_put(f, bytes + LEN, MORE, LEN), 0);
	bad_fd = vfile_fd(f);
	journal_full = true;
	file_release(h->file);
	file_close(&fs, h);
}

static bool is_open(void)
{
	uint64_t size;

	return file_size_if_open(&fs, inode, &size);
}

static void end(struct fixture *fx)
{
	bad_fd = -1;
	journal_full = false;
	inode_forget(fs.inodes, inode, 1);
	file_cache_free(fs.files);
	inode_table_free(fs.inodes);
	assert_int_equal(journal_stop(fx->vault), 0);
}

static void test_lingering__until_there_is_room(void **state)
{
	struct fixture *fx = *state;

	close_unmarked(fx);
	assert_true(is_open());
	end(fx);
	expect_file(fx, LEN + MORE);
}

static void test_lingering__until_it_is_removed(void **state)
{
	struct fixture *fx = *state;
	struct backing_name name = fx_name(fx, fx->root_id, "f");

	close_unmarked(fx);
	assert_true(is_open());
	file_removed(&fs, inode);
	assert_true(is_open());
	assert_int_equal(unlinkat(fx->vault->root_fd, name.entry, 0), 0);
	file_removed(&fs, inode);
	assert_false(is_open());
	end(fx);
}

/* Nor is it opened anew, whoever wants descriptors, while it has no mark. */
static void test_lingering__in_use(void **state)
{
	struct fixture *fx = *state;
	struct open_handle *h = open_handle(fx);
	struct vfile *f;

	assert_int_equal(file_acquire(&fs, h->file, true, &f), 0);
	assert_int_equal(vf_put(f, bytes + LEN, MORE, LEN), 0);
	assert_true(vfile_in_flux(f));
	file_release(h->file);
	assert_false(file_cache_evict(fs.files));
	assert_true(is_open());
	file_close(&fs, h);
	end(fx);
	expect_file(fx, LEN + MORE);
}

/* Closing a file may only give its descriptor to the journal. */
static void test_lingering__descriptors_for_others(void **state)
{
	struct fixture *fx = *state;
	struct open_handle *h = open_handle(fx);
	struct journal *j = fx->vault->journal;
	unsigned tries = 0;
	struct vfile *f;

	assert_int_equal(dir_cache_new(16, &fs.dirs), 0);
	assert_int_equal(file_acquire(&fs, h->file, true, &f), 0);
	assert_int_equal(vf_put(f, bytes, CHUNK_SIZE, 0), 0);
	file_release(h->file);
	assert_true(fs_spare_fd(&fs, -EMFILE, &tries));
	assert_false(is_open());
	assert_int_equal(j->owned, 0);
	file_close(&fs, h);
	dir_cache_free(fs.dirs);
	end(fx);
}

/* Who opens a file is not told of what others have been told before. */
static void test_lingering__told_before(void **state)
{
	struct fixture *fx = *state;
	struct open_handle *h = open_handle(fx), *later;
	struct vfile *f;

	assert_int_equal(file_acquire(&fs, h->file, true, &f), 0);
	assert_int_equal(vf_put(f, bytes, CHUNK_SIZE, 0), 0);
	journal_owe_(f->jf, -EIO);
	assert_int_equal(vfile_sync_for(f, true, &h->told), -EIO);
	assert_int_equal(file_open(&fs, inode, true, &later), 0);
	assert_int_equal(vfile_sync_for(f, true, &later->told), 0);
	file_release(h->file);
	file_close(&fs, h);
	file_close(&fs, later);
	end(fx);
}

/* Nor is it forgotten with the descriptor, which was closed for others. */
static void test_lingering__told_though_closed_meanwhile(void **state)
{
	struct fixture *fx = *state;
	struct open_handle *h = open_handle(fx), *other;
	struct vfile *f;

	assert_int_equal(file_open(&fs, inode, true, &other), 0);
	assert_int_equal(file_acquire(&fs, h->file, true, &f), 0);
	bad_sync_fd = vfile_fd(f);
	assert_int_equal(vf_put(f, bytes + LEN, MORE, LEN), 0);
	assert_int_equal(vfile_sync_for(f, true, &h->told), -EIO);
	bad_sync_fd = -1;
	file_release(h->file);
	while (is_open())
		assert_true(file_cache_evict(fs.files));
	assert_int_equal(file_acquire(&fs, other->file, true, &f), 0);
	assert_int_equal(vfile_sync_for(f, true, &h->told), 0);
	assert_int_equal(vfile_sync_for(f, true, &other->told), -EIO);
	assert_int_equal(vfile_sync_for(f, true, &other->told), 0);
	file_release(other->file);
	file_close(&fs, h);
	file_close(&fs, other);
	end(fx);
}

static struct open_handle *taken;

static void open_and_park(void)
{
	assert_int_equal(file_open(&fs, inode, true, &taken), 0);
	assert_int_equal(inode_park(fs.inodes, inode, "orphan"), 0);
}

/* Whose close takes its time deletes nothing of who has opened it since. */
static void test_lingering__unlinked_while_another_closes(void **state)
{
	struct fixture *fx = *state;
	struct open_handle *h = open_handle(fx);

	before_close = open_and_park;
	file_close(&fs, h);
	assert_true(inode->parked);
	file_close(&fs, taken);
	assert_false(inode->parked);
	end(fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lingering__until_there_is_room),
		TEST(test_lingering__until_it_is_removed),
		TEST(test_lingering__in_use),
		TEST(test_lingering__told_before),
		TEST(test_lingering__descriptors_for_others),
		TEST(test_lingering__told_though_closed_meanwhile),
		TEST(test_lingering__unlinked_while_another_closes),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
