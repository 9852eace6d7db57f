#include "vxattr.h"

#include "vault_fixture.h"

#include <sys/xattr.h>

static const uint8_t owner[FILE_ID_LEN] = {1, 2, 3};
static const uint8_t other[FILE_ID_LEN] = {1, 2, 4};

/* A fresh file of the vault, through a descriptor that can do the least. */
static int make_file(const struct fixture *fx, const char *entry)
{
	int fd;

	fx_write(fx->vault->root_fd, entry, "x", 1);
	fd = openat(fx->vault->root_fd, entry, O_PATH | O_NOFOLLOW);
	assert_true(fd >= 0);
	return fd;
}

static char *stored_list(int fd, ssize_t *len)
{
	char path[32], *list = calloc(1, 65536);

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	*len = listxattr(path, list, 65536);
	assert_true(*len >= 0);
	return list;
}

static void test_values__come_back(void **state)
{
	const struct fixture *fx = *state;
	char value[3000], back[3000];
	int fd = make_file(fx, "AAAA");

	memset(value, 'v', sizeof value);
	for (size_t len = 0; len <= sizeof value; len += 50) {
		assert_int_equal(vxattr_set(fx->vault, fd, owner, "user.a",
					    value, len, 0),
				 0);
		assert_int_equal(
			vxattr_get(fx->vault, fd, owner, "user.a", NULL, 0),
			len);
		assert_int_equal(vxattr_get(fx->vault, fd, owner, "user.a",
					    back, sizeof back),
				 len);
		assert_memory_equal(back, value, len);
		if (len > 1)
			assert_int_equal(vxattr_get(fx->vault, fd, owner,
						    "user.a", back, len - 1),
					 -ERANGE);
	}
	close(fd);
}

static void test_values__are_hidden(void **state)
{
	const struct fixture *fx = *state;
	static const char value[] = "diagnosis: none";
	char path[32], raw[4096];
	int fd = make_file(fx, "AAAA");
	ssize_t len, n;

	assert_int_equal(vxattr_set(fx->vault, fd, owner, "user.medical", value,
				    sizeof value, 0),
			 0);
	char *list = stored_list(fd, &len);
	assert_int_equal(strncmp(list, "user.frondfs.", 13), 0);
	assert_int_equal(strlen(list) + 1, len);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	n = getxattr(path, list, raw, sizeof raw);
	assert_int_equal(n, FERNET_TOKEN_LEN(16 + 2 + 12 + sizeof value));
	assert_null(memmem(raw, (size_t)n, "diagnosis", 9));
	assert_null(memmem(raw, (size_t)n, "medical", 7));
	free(list);
	close(fd);
}

static void test_flags__are_passed_on(void **state)
{
	const struct fixture *fx = *state;
	int fd = make_file(fx, "AAAA");

	assert_int_equal(vxattr_get(fx->vault, fd, owner, "user.a", NULL, 0),
			 -ENODATA);
	assert_int_equal(vxattr_remove(fx->vault, fd, "user.a"), -ENODATA);
	assert_int_equal(vxattr_set(fx->vault, fd, owner, "user.a", "1", 1,
				    XATTR_REPLACE),
			 -ENODATA);
	assert_int_equal(vxattr_set(fx->vault, fd, owner, "user.a", "1", 1,
				    XATTR_CREATE),
			 0);
	assert_int_equal(vxattr_set(fx->vault, fd, owner, "user.a", "2", 1,
				    XATTR_CREATE),
			 -EEXIST);
	assert_int_equal(vxattr_set(fx->vault, fd, owner, "user.a", "2", 1,
				    XATTR_REPLACE),
			 0);
	assert_int_equal(vxattr_remove(fx->vault, fd, "user.a"), 0);
	assert_int_equal(vxattr_get(fx->vault, fd, owner, "user.a", NULL, 0),
			 -ENODATA);
	close(fd);
}

static void test_bounds__of_names_and_values(void **state)
{
	const struct fixture *fx = *state;
	char *value = calloc(1, VXATTR_VALUE_MAX + 1), name[300];
	int fd = make_file(fx, "AAAA"), err;

	fx_fill(name, 'n', 255);
	memcpy(name, "user.", 5);
	assert_int_equal(vxattr_set(fx->vault, fd, owner, name, value,
				    VXATTR_VALUE_MAX + 1, 0),
			 -E2BIG);
	/* whether it is kept, the backing file system decides */
	err = vxattr_set(fx->vault, fd, owner, name, value, VXATTR_VALUE_MAX,
			 0);
	if (err == 0)
		assert_int_equal(
			vxattr_get(fx->vault, fd, owner, name, NULL, 0),
			VXATTR_VALUE_MAX);
	else
		assert_true(err == -ENOSPC || err == -E2BIG);
	fx_fill(name, 'n', 256);
	memcpy(name, "user.", 5);
	assert_int_equal(vxattr_set(fx->vault, fd, owner, name, "1", 1, 0),
			 -ERANGE);
	free(value);
	close(fd);
}

static void test_list__has_names_of_every_length(void **state)
{
	const struct fixture *fx = *state;
	char name[256], list[512], back[4];
	int fd = make_file(fx, "AAAA");

	for (size_t len = 6; len <= 255; len++) {
		fx_fill(name, 'n', len);
		memcpy(name, "user.", 5);
		assert_int_equal(
			vxattr_set(fx->vault, fd, owner, name, "val", 3, 0), 0);
		assert_int_equal(vxattr_list(fx->vault, fd, owner, NULL, 0),
				 len + 1);
		assert_int_equal(
			vxattr_list(fx->vault, fd, owner, list, len + 1),
			len + 1);
		assert_string_equal(list, name);
		assert_int_equal(vxattr_list(fx->vault, fd, owner, list, len),
				 -ERANGE);
		assert_int_equal(vxattr_get(fx->vault, fd, owner, name, back,
					    sizeof back),
				 3);
		assert_int_equal(vxattr_remove(fx->vault, fd, name), 0);
	}
	assert_int_equal(vxattr_list(fx->vault, fd, owner, list, sizeof list),
			 0);
	close(fd);
}

static void test_list__leaves_strangers_out(void **state)
{
	const struct fixture *fx = *state;
	char name[256], list[1024], path[32];
	int fd = make_file(fx, "AAAA"), fd2 = make_file(fx, "AAAB");
	ssize_t len;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	assert_int_equal(setxattr(path, "user.other", "x", 1, 0), 0);
	assert_int_equal(setxattr(path, "user.frondfs.", "x", 1, 0), 0);
	assert_int_equal(setxattr(path, "user.frondfs.AAAA", "x", 1, 0), 0);
	assert_int_equal(setxattr(path, "user.frondfs.@x", "x", 1, 0), 0);
	assert_int_equal(vxattr_list(fx->vault, fd, owner, list, sizeof list),
			 0);
	/* a long name's value put under another long name */
	fx_fill(name, 'n', 250);
	memcpy(name, "user.", 5);
	assert_int_equal(vxattr_set(fx->vault, fd2, owner, name, "v", 1, 0), 0);
	char *stored = stored_list(fd2, &len), raw[1024];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd2);
	n = getxattr(path, stored, raw, sizeof raw);
	assert_true(n > 0);
	stored[20] = stored[20] == 'A' ? 'B' : 'A';
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	assert_int_equal(setxattr(path, stored, raw, (size_t)n, 0), 0);
	assert_int_equal(vxattr_list(fx->vault, fd, owner, list, sizeof list),
			 0);
	/* another owner's long name cannot be told */
	assert_int_equal(vxattr_list(fx->vault, fd2, other, list, sizeof list),
			 0);
	free(stored);
	close(fd);
	close(fd2);
}

static void test_get__notices_what_was_changed(void **state)
{
	const struct fixture *fx = *state;
	char path[32], raw[512], changed[512], back[64];
	int fd = make_file(fx, "AAAA");
	ssize_t len, n;

	assert_int_equal(
		vxattr_set(fx->vault, fd, owner, "user.a", "one", 3, 0), 0);
	assert_int_equal(
		vxattr_get(fx->vault, fd, other, "user.a", back, sizeof back),
		-EIO);
	char *stored = stored_list(fd, &len);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	n = getxattr(path, stored, raw, sizeof raw);
	for (ssize_t i = 0; i < n; i++) {
		memcpy(changed, raw, (size_t)n);
		changed[i] ^= 1;
		assert_int_equal(setxattr(path, stored, changed, (size_t)n, 0),
				 0);
		assert_int_equal(vxattr_get(fx->vault, fd, owner, "user.a",
					    back, sizeof back),
				 -EIO);
		assert_int_equal(setxattr(path, stored, raw, (size_t)i, 0), 0);
		assert_int_equal(vxattr_get(fx->vault, fd, owner, "user.a",
					    back, sizeof back),
				 -EIO);
	}
	assert_int_equal(setxattr(path, stored, raw, (size_t)n, 0), 0);
	/* the value of another attribute of the same file */
	assert_int_equal(
		vxattr_set(fx->vault, fd, owner, "user.b", "two", 3, 0), 0);
	free(stored);
	stored = stored_list(fd, &len);
	const char *second = stored + strlen(stored) + 1;
	n = getxattr(path, stored, raw, sizeof raw);
	assert_int_equal(setxattr(path, second, raw, (size_t)n, 0), 0);
	ssize_t a = vxattr_get(fx->vault, fd, owner, "user.a", NULL, 0);
	ssize_t b = vxattr_get(fx->vault, fd, owner, "user.b", NULL, 0);
	assert_true((a == -EIO && b == 3) || (a == 3 && b == -EIO));
	free(stored);
	close(fd);
}

static void test_kinds__of_objects(void **state)
{
	const struct fixture *fx = *state;
	int root = fx->vault->root_fd, fd;

	assert_int_equal(mkdirat(root, "AAAD", 0755), 0);
	fd = openat(root, "AAAD", O_PATH);
	assert_int_equal(vxattr_set(fx->vault, fd, owner, "user.a", "1", 1, 0),
			 0);
	assert_int_equal(vxattr_get(fx->vault, fd, owner, "user.a", NULL, 0),
			 1);
	close(fd);
	assert_int_equal(symlinkat("AAAD", root, "AAAL"), 0);
	fd = openat(root, "AAAL", O_PATH | O_NOFOLLOW);
	assert_int_equal(vxattr_set(fx->vault, fd, owner, "user.a", "1", 1, 0),
			 -EPERM);
	assert_int_equal(vxattr_get(fx->vault, fd, owner, "user.a", NULL, 0),
			 -ENODATA);
	assert_int_equal(vxattr_list(fx->vault, fd, owner, NULL, 0), 0);
	close(fd);
}

static void test_acls__are_stored_as_they_are(void **state)
{
	static const char name[] = "system.posix_acl_access";
	/* version 2; u::rw-, u:1:r--, g::r--, mask::r--, o::--- */
	static const uint8_t acl[] = {2,    0,	  0,	0,    1,    0, 6, 0,
				      0xff, 0xff, 0xff, 0xff, 2,    0, 4, 0,
				      1,    0,	  0,	0,    4,    0, 4, 0,
				      0xff, 0xff, 0xff, 0xff, 0x10, 0, 4, 0,
				      0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0,
				      0xff, 0xff, 0xff, 0xff};
	const struct fixture *fx = *state;
	uint8_t raw[64];
	char path[32], list[64];
	int fd = make_file(fx, "AAAA"), err;

	err = vxattr_set(fx->vault, fd, owner, name, acl, sizeof acl, 0);
	if (err == -EOPNOTSUPP)
		skip();
	assert_int_equal(err, 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	assert_int_equal(getxattr(path, name, raw, sizeof raw), sizeof acl);
	assert_memory_equal(raw, acl, sizeof acl);
	assert_int_equal(
		vxattr_get(fx->vault, fd, owner, name, raw, sizeof raw),
		sizeof acl);
	assert_int_equal(vxattr_list(fx->vault, fd, owner, list, sizeof list),
			 sizeof name);
	assert_string_equal(list, name);
	assert_int_equal(vxattr_remove(fx->vault, fd, name), 0);
	assert_int_equal(vxattr_list(fx->vault, fd, owner, list, sizeof list),
			 0);
	close(fd);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_values__come_back),
		CASE(test_values__are_hidden),
		CASE(test_flags__are_passed_on),
		CASE(test_bounds__of_names_and_values),
		CASE(test_list__has_names_of_every_length),
		CASE(test_list__leaves_strangers_out),
		CASE(test_get__notices_what_was_changed),
		CASE(test_kinds__of_objects),
		CASE(test_acls__are_stored_as_they_are),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
