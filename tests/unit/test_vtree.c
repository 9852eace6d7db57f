/* A vault's tree by plain paths. */
#include "vault_fixture.h"

#include "vtree.h"
#include "workspace.h"

static void make_file(struct fixture *fx, const struct vtree_dir *dir,
		      const char *name, const void *bytes, size_t len)
{
	const struct vfile_write w = {.data = bytes, .len = len};
	struct backing_name backing = fx_name(fx, dir->id, name);
	struct vfile *f = NULL;
	uint64_t bad;

	assert_int_equal(
		vfile_create(fx->vault, dir->fd, dir->id, &backing, 0600, &f),
		0);
	assert_int_equal(vfile_write(f, workspace_get(), &w, &bad), 0);
	vfile_close(f);
}

static void test_open_dir__makes_what_is_missing(void **state)
{
	struct fixture *fx = *state;
	struct vtree_dir a, b;
	struct stat st;

	assert_int_equal(vtree_open_dir(fx->vault, "a/b/c", false, 0, &a),
			 -ENOENT);
	assert_int_equal(vtree_open_dir(fx->vault, "a/b/c", true, 0700, &a), 0);
	assert_int_equal(fstat(a.fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(vtree_open_dir(fx->vault, "a/b/c", false, 0, &b), 0);
	assert_memory_equal(a.id, b.id, DIRID_LEN);
	vtree_close_dir(&a);
	vtree_close_dir(&b);
	assert_int_equal(vtree_open_dir(fx->vault, "", false, 0, &a), 0);
	assert_memory_equal(a.id, fx->root_id, DIRID_LEN);
	vtree_close_dir(&a);
}

static void test_open_dir__refuses_paths_that_lead_elsewhere(void **state)
{
	struct fixture *fx = *state;
	static const char *const bad[] = {"..", "a/..", ".", "/a", "a//b"};
	struct backing_name backing = fx_name(fx, fx->root_id, "link");
	struct vtree_dir dir;
	char name[300];

	assert_int_equal(vtree_open_dir(fx->vault, "a", true, 0700, &dir), 0);
	vtree_close_dir(&dir);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(
			vtree_open_dir(fx->vault, bad[i], true, 0700, &dir),
			-EINVAL);
	fx_fill(name, 'x', 256);
	assert_int_equal(vtree_open_dir(fx->vault, name, true, 0700, &dir),
			 -ENAMETOOLONG);
	assert_int_equal(symlinkat(fx->top, fx->vault->root_fd, backing.entry),
			 0);
	assert_int_equal(vtree_open_dir(fx->vault, "link", true, 0700, &dir),
			 -ENOTDIR);
}

static void test_read__whole_files_only(void **state)
{
	struct fixture *fx = *state;
	static uint8_t bytes[2500000], back[2500001];
	struct vtree_dir dir;
	struct backing_name backing;
	struct statx stx;
	size_t len = 7;
	char name[300];

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 1000);
	fx_fill(name, 'n', 250);
	assert_int_equal(vtree_open_dir(fx->vault, "d", true, 0755, &dir), 0);
	make_file(fx, &dir, name, bytes, 1000);
	assert_int_equal(vtree_read(fx->vault, &dir, name, back, 999, &len),
			 -EFBIG);
	assert_int_equal(len, 7);
	assert_int_equal(vtree_read(fx->vault, &dir, name, back, 1000, &len),
			 0);
	assert_int_equal(len, 1000);
	assert_memory_equal(back, bytes, 1000);
	assert_int_equal(vtree_read(fx->vault, &dir, "no", back, 1000, &len),
			 -ENOENT);
	assert_int_equal(vtree_stat(fx->vault, &dir, name, &backing, &stx), 0);
	assert_true(backing.is_long);
	assert_int_equal(stx.stx_size, 1081 + 176);
	vtree_close_dir(&dir);
}

struct seen {
	int count;
	bool file, sub;
};

static int see(void *arg, const char *name, unsigned char type)
{
	struct seen *s = arg;

	s->count++;
	s->file |= strcmp(name, "file") == 0 && type == DT_REG;
	s->sub |= strcmp(name, "sub") == 0 && type == DT_DIR;
	return 0;
}

static int stop_at_once(void *arg, const char *name, unsigned char type)
{
	(void)name, (void)type;
	++*(int *)arg;
	return -EINTR;
}

static void test_list__shows_entries_and_nothing_else(void **state)
{
	struct fixture *fx = *state;
	struct vtree_dir dir, sub;
	struct seen seen = {0};
	int calls = 0;

	assert_int_equal(vtree_open_dir(fx->vault, "d", true, 0755, &dir), 0);
	make_file(fx, &dir, "file", "x", 1);
	assert_int_equal(
		vtree_open_child(fx->vault, &dir, "sub", true, 0700, &sub), 0);
	vtree_close_dir(&sub);
	fx_write(dir.fd, "foreign file", "x", 1);
	fx_write(dir.fd, ".tmp-0123", "x", 1);
	assert_int_equal(vtree_list(fx->vault, &dir, see, &seen), 0);
	assert_int_equal(seen.count, 2);
	assert_true(seen.file && seen.sub);
	assert_int_equal(vtree_list(fx->vault, &dir, stop_at_once, &calls),
			 -EINTR);
	assert_int_equal(calls, 1);
	vtree_close_dir(&dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_open_dir__makes_what_is_missing),
		TEST(test_open_dir__refuses_paths_that_lead_elsewhere),
		TEST(test_read__whole_files_only),
		TEST(test_list__shows_entries_and_nothing_else),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
