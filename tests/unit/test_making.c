/*
 * Files are made with the rights of whoever asks for them. What is done for
 * want of descriptors meanwhile is about others' files, and is not.
 */
#include <stdlib.h>

#include "vfile_fixture.h"

#include "file_cache.h"

int __wrap_creds_assume(fuse_req_t req, mode_t mask);
void __wrap_creds_restore(fuse_req_t req);
bool __wrap_fs_spare_fd(struct fs *fs, int err);
int __real_vfile_create(struct vault *vault, int dirfd,
			const uint8_t dirid[DIRID_LEN],
			const struct backing_name *name, mode_t mode,
			struct vfile **out);
int __wrap_vfile_create(struct vault *vault, int dirfd,
			const uint8_t dirid[DIRID_LEN],
			const struct backing_name *name, mode_t mode,
			struct vfile **out);
void *__wrap_fuse_req_userdata(fuse_req_t req);
const struct fuse_ctx *__wrap_fuse_req_ctx(fuse_req_t req);
int __wrap_fuse_reply_create(fuse_req_t req, const struct fuse_entry_param *e,
			     const struct fuse_file_info *fi);
int __wrap_fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e);
int __wrap_fuse_reply_err(fuse_req_t req, int err);

static struct mount_options options;
static struct fs fs;
static struct fuse_ctx caller = {.uid = 1, .gid = 1};
static struct fuse_entry_param made;
static int failed;

static bool assumed, spared_by_caller;
static int spared, too_few;

int __wrap_creds_assume(fuse_req_t req, mode_t mask)
{
	(void)req, (void)mask;
	assumed = true;
	return 0;
}

void __wrap_creds_restore(fuse_req_t req)
{
	(void)req;
	assumed = false;
}

bool __wrap_fs_spare_fd(struct fs *all, int err)
{
	(void)all;
	if (err != -EMFILE)
		return false;
	spared++;
	spared_by_caller |= assumed;
	return true;
}

int __wrap_vfile_create(struct vault *vault, int dirfd,
			const uint8_t dirid[DIRID_LEN],
			const struct backing_name *name, mode_t mode,
			struct vfile **out)
{
	assert_true(assumed);
	if (too_few-- > 0)
		return -EMFILE;
	return __real_vfile_create(vault, dirfd, dirid, name, mode, out);
}

void *__wrap_fuse_req_userdata(fuse_req_t req)
{
	(void)req;
	return &fs;
}

const struct fuse_ctx *__wrap_fuse_req_ctx(fuse_req_t req)
{
	(void)req;
	return &caller;
}

int __wrap_fuse_reply_create(fuse_req_t req, const struct fuse_entry_param *e,
			     const struct fuse_file_info *fi)
{
	(void)req, (void)fi;
	made = *e;
	return 0;
}

int __wrap_fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	(void)req;
	made = *e;
	return 0;
}

int __wrap_fuse_reply_err(fuse_req_t req, int err)
{
	(void)req;
	failed = err;
	return 0;
}

static void begin(struct fixture *fx)
{
	fs = (struct fs){.vault = fx->vault, .opt = &options};
	assert_int_equal(inode_table_new(fx->vault, 64, &fs.inodes), 0);
	assert_int_equal(file_cache_new(&fs, 16, &fs.files), 0);
	spared = 0;
	spared_by_caller = assumed = false;
	too_few = 2;
}

static void expect_made(void)
{
	assert_int_equal(failed, 0);
	assert_int_equal(spared, 2);
	assert_false(spared_by_caller);
	assert_false(assumed);
	inode_forget(fs.inodes, inode_of(fs.inodes, made.ino), 1);
	file_cache_free(fs.files);
	inode_table_free(fs.inodes);
}

static void test_making__a_file_that_is_opened(void **state)
{
	struct fuse_lowlevel_ops ops = {0};
	struct fuse_file_info fi = {.flags = O_RDWR};

	begin(*state);
	ops_fill_file(&ops, false);
	ops.create(NULL, FUSE_ROOT_ID, "f", 0644, &fi);
	file_close(&fs, (struct open_handle *)(uintptr_t)fi.fh);
	expect_made();
}

static void test_making__a_node(void **state)
{
	struct fuse_lowlevel_ops ops = {0};

	begin(*state);
	ops_fill_name(&ops);
	ops.mknod(NULL, FUSE_ROOT_ID, "f", S_IFREG | 0644, 0);
	expect_made();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_making__a_file_that_is_opened),
		TEST(test_making__a_node),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
