/* Backing file systems that can do less than others, or fail. */
#include "vfile_fixture.h"

#include "journal_internal.h"

#include <sys/xattr.h>

/* No flags of renameat2, no hard links: FAT and exFAT, through FUSE. */
static bool like_fat;
/* Inode numbers: others with each look, or the same for all. */
static enum { LASTING, CHANGING, COMMON } numbers;
/* What setting an attribute fails with. */
static int attribute_error;

int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to,
		  int flags);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to,
		  int flags);
int __real_setxattr(const char *path, const char *name, const void *value,
		    size_t len, int flags);
int __wrap_setxattr(const char *path, const char *name, const void *value,
		    size_t len, int flags);
int __real_statx(int dirfd, const char *path, int flags, unsigned mask,
		 struct statx *stx);
int __wrap_statx(int dirfd, const char *path, int flags, unsigned mask,
		 struct statx *stx);

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags)
{
	if (like_fat && flags) {
		errno = EINVAL;
		return -1;
	}
	return __real_renameat2(from_fd, from, to_fd, to, flags);
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to,
		  int flags)
{
	if (like_fat) {
		errno = EPERM;
		return -1;
	}
	return __real_linkat(from_fd, from, to_fd, to, flags);
}

int __wrap_setxattr(const char *path, const char *name, const void *value,
		    size_t len, int flags)
{
	if (attribute_error) {
		errno = attribute_error;
		return -1;
	}
	return __real_setxattr(path, name, value, len, flags);
}

int __wrap_statx(int dirfd, const char *path, int flags, unsigned mask,
		 struct statx *stx)
{
	static unsigned times;
	int ret = __real_statx(dirfd, path, flags, mask, stx);

	if (numbers == CHANGING)
		stx->stx_ino += ++times;
	else if (numbers == COMMON)
		stx->stx_ino = 1;
	return ret;
}

/* Then what the journal holds could be taken for another file's. */
static void test_backing__numbers_that_do_not_last(void **state)
{
	struct fixture *fx = *state;
	int dir;

	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	for (numbers = COMMON; numbers > LASTING; numbers--) {
		assert_int_equal(journal_begin(fx->vault), -EOPNOTSUPP);
		assert_null(fx->vault->journal);
	}
	dir = openat(fx->vault->meta_fd, "journal", O_RDONLY | O_DIRECTORY);
	assert_int_equal(fx_count(dir), 0);
	assert_int_equal(fx_count_temps(dir), 0);
	close(dir);
	assert_int_equal(journal_begin(fx->vault), 0);
	assert_int_equal(journal_stop(fx->vault), 0);
}

static void test_backing__files_without_links(void **state)
{
	struct fixture *fx = *state;
	struct backing_name name = fx_name(fx, fx->root_id, "f");
	struct vfile *f, *g = NULL;

	like_fat = true;
	f = vf_create(fx, "f");
	assert_int_equal(vf_put(f, "x", 1, 0), 0);
	assert_int_equal(vfile_create(fx->vault, fx->vault->root_fd,
				      fx->root_id, &name, 0644, &g),
			 -EEXIST);
	like_fat = false;
	vfile_close(f);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), 1);
	vfile_close(f);
	assert_int_equal(fx_count_temps(fx->vault->root_fd), 0);
}

/*
 * A rename over an empty directory is done at once, or it fails. In two steps,
 * as where there are no attributes at all, a crash could leave it half done.
 */
static void test_backing__no_room_for_an_attribute(void **state)
{
	static const int errors[] = {EDQUOT, ENOSPC, EIO, EMFILE, ENOMEM};
	struct fixture *fx = *state;
	int root = fx->vault->root_fd, a, b;
	struct backing_name from, to;
	uint8_t from_id[DIRID_LEN], to_id[DIRID_LEN], id[DIRID_LEN];
	struct vdir_rename r = {.from_fd = root,
				.to_fd = root,
				.from = &from,
				.to = &to,
				.target_is_dir = true};

	fx_mkdir(fx, root, fx->root_id, "from", &from, from_id, &a);
	fx_mkdir(fx, root, fx->root_id, "to", &to, to_id, &b);
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		attribute_error = errors[i];
		assert_int_equal(vdir_rename(&r), -errors[i]);
		attribute_error = 0;
		assert_int_equal(vdir_read_id(a, id), 0);
		assert_memory_equal(id, from_id, DIRID_LEN);
		assert_int_equal(vdir_read_id(b, id), 0);
		assert_memory_equal(id, to_id, DIRID_LEN);
		assert_int_equal(faccessat(root, from.entry, F_OK, 0), 0);
	}
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(faccessat(root, from.entry, F_OK, 0), -1);
	close(a);
	close(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_backing__files_without_links),
		TEST(test_backing__numbers_that_do_not_last),
		TEST(test_backing__no_room_for_an_attribute),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
