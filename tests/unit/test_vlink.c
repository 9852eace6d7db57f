#include "vlink.h"

#include "vault_fixture.h"

/* A backing file system whose link targets are short, when set. */
static size_t symlink_limit;

int __real_symlinkat(const char *target, int dirfd, const char *name);
int __wrap_symlinkat(const char *target, int dirfd, const char *name);

int __wrap_symlinkat(const char *target, int dirfd, const char *name)
{
	if (symlink_limit && strlen(target) > symlink_limit) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return __real_symlinkat(target, dirfd, name);
}

/* Another mount: links AAAC of this directory just before a companion goes. */
static int elsewhere_fd = -1;

int __real_renameat(int dirfd, const char *name, int to_fd, const char *to);
int __wrap_renameat(int dirfd, const char *name, int to_fd, const char *to);

int __wrap_renameat(int dirfd, const char *name, int to_fd, const char *to)
{
	if (elsewhere_fd >= 0 && strstr(name, NAME_LINK_SUFFIX)) {
		assert_int_equal(linkat(elsewhere_fd, "AAAC", dirfd, "AAAZ", 0),
				 0);
		elsewhere_fd = -1;
	}
	return __real_renameat(dirfd, name, to_fd, to);
}

/* Targets longer than this make tokens longer than a link can hold. */
static size_t longest_direct(void)
{
	size_t len = VLINK_TARGET_MAX;

	while (FERNET_TEXT_LEN(len) > 4095)
		len--;
	return len;
}

static void round_trip(const struct fixture *fx, size_t len, bool beside)
{
	char target[VLINK_TARGET_MAX + 1], back[VLINK_TARGET_MAX + 1];
	char companion[VLINK_COMPANION_MAX];
	int root = fx->vault->root_fd, before = fx_count(root);
	size_t back_len = 0;

	for (size_t i = 0; i < len; i++)
		target[i] = (char)(i % 255 + 1);
	target[len] = '\0';
	assert_int_equal(vlink_make(fx->vault, root, "AAAA", target), 0);
	assert_int_equal(fx_count(root), before + 1 + beside);
	assert_int_equal(fx_count_temps(root), 0);
	assert_int_equal(vlink_read(fx->vault, root, "AAAA", back, &back_len),
			 0);
	assert_int_equal(back_len, len);
	assert_string_equal(back, target);
	assert_int_equal(vlink_companion(root, "AAAA", companion), 0);
	assert_int_equal(companion[0] != '\0', beside);
	assert_int_equal(vlink_make(fx->vault, root, "AAAA", target), -EEXIST);
	assert_int_equal(fx_count(root), before + 1 + beside);
	unlinkat(root, "AAAA", 0);
	vlink_companion_drop(root, companion);
	assert_int_equal(fx_count(root), before);
}

static void test_targets__are_as_old_as_the_vault_says(void **state)
{
	const struct fixture *fx = *state;
	uint64_t now = vault_now(fx->vault) + 1000, born_s = 0;
	char back[VLINK_TARGET_MAX + 1];
	int root = fx->vault->root_fd;
	size_t len = 0;

	/* the clock goes back */
	vault_pass(fx->vault, now);
	assert_int_equal(vlink_make(fx->vault, root, "AAAA", "target"), 0);
	assert_int_equal(
		vlink_read_born(fx->vault, root, "AAAA", back, &len, &born_s),
		0);
	assert_int_equal(born_s, now);
}

static void test_targets__come_back(void **state)
{
	const struct fixture *fx = *state;
	size_t direct = longest_direct();

	for (size_t len = 1; len < 100; len++)
		round_trip(fx, len, false);
	round_trip(fx, direct, false);
	round_trip(fx, direct + 1, true);
	round_trip(fx, VLINK_TARGET_MAX, true);
	symlink_limit = 1023;
	round_trip(fx, 400, false);
	round_trip(fx, 1000, true);
	symlink_limit = 0;
}

static void test_targets__out_of_bounds(void **state)
{
	const struct fixture *fx = *state;
	char target[VLINK_TARGET_MAX + 2];
	int root = fx->vault->root_fd, before = fx_count(root);

	fx_fill(target, 'x', VLINK_TARGET_MAX + 1);
	assert_int_equal(vlink_make(fx->vault, root, "AAAA", target),
			 -ENAMETOOLONG);
	assert_int_equal(vlink_make(fx->vault, root, "AAAA", ""), -ENOENT);
	assert_int_equal(fx_count(root), before);
}

static int read_it(const struct fixture *fx, const char *entry)
{
	char back[VLINK_TARGET_MAX + 1];
	size_t len;

	return vlink_read(fx->vault, fx->vault->root_fd, entry, back, &len);
}

static void test_targets__are_hidden_and_authentic(void **state)
{
	const struct fixture *fx = *state;
	char text[4096];
	int root = fx->vault->root_fd;
	ssize_t n;

	assert_int_equal(vlink_make(fx->vault, root, "AAAA", "secret/place"),
			 0);
	n = readlinkat(root, "AAAA", text, sizeof text - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_null(strstr(text, "secret"));
	for (ssize_t i = 0; i < n; i++) {
		char changed[4096];

		memcpy(changed, text, (size_t)n + 1);
		changed[i] = changed[i] == 'A' ? 'B' : 'A';
		assert_int_equal(symlinkat(changed, root, "AAAB"), 0);
		assert_int_equal(read_it(fx, "AAAB"), -EIO);
		unlinkat(root, "AAAB", 0);
		if (i == 0)
			continue;
		memcpy(changed, text, (size_t)i);
		changed[i] = '\0';
		assert_int_equal(symlinkat(changed, root, "AAAB"), 0);
		assert_int_equal(read_it(fx, "AAAB"), -EIO);
		unlinkat(root, "AAAB", 0);
	}
	assert_int_equal(symlinkat("/etc/passwd", root, "AAAB"), 0);
	assert_int_equal(read_it(fx, "AAAB"), -EIO);
	unlinkat(root, "AAAB", 0);
	assert_int_equal(read_it(fx, "nothing"), -ENOENT);
	assert_int_equal(read_it(fx, ".dirid"), -EINVAL);
	char *token = calloc(1, FERNET_TEXT_LEN(5) + 1);
	/* tokens that seal what no target is */
	for (size_t len = 0; len <= 5; len += 5) {
		assert_int_equal(fernet_seal_text(&fx->vault->keys->symlinks,
						  (const uint8_t *)"pl\0ce",
						  len, token),
				 0);
		assert_int_equal(symlinkat(token, root, "AAAB"), 0);
		assert_int_equal(read_it(fx, "AAAB"), -EIO);
		unlinkat(root, "AAAB", 0);
	}
	/* a token of another key is no target */
	assert_int_equal(fernet_seal_text(&fx->vault->keys->xattrs,
					  (const uint8_t *)"place", 5, token),
			 0);
	assert_int_equal(symlinkat(token, root, "AAAC"), 0);
	assert_int_equal(read_it(fx, "AAAC"), -EIO);
	free(token);
}

static void test_companions__damaged(void **state)
{
	const struct fixture *fx = *state;
	char target[VLINK_TARGET_MAX + 1], text[6000];
	char companion[VLINK_COMPANION_MAX];
	int root = fx->vault->root_fd, fd;
	ssize_t len;

	fx_fill(target, 't', VLINK_TARGET_MAX);
	assert_int_equal(vlink_make(fx->vault, root, "AAAA", target), 0);
	assert_int_equal(vlink_companion(root, "AAAA", companion), 0);
	fd = openat(root, companion, O_RDONLY);
	len = read(fd, text, sizeof text);
	close(fd);
	assert_int_equal(len, FERNET_TEXT_LEN(VLINK_TARGET_MAX));
	assert_int_equal(unlinkat(root, companion, 0), 0);
	assert_int_equal(read_it(fx, "AAAA"), -EIO);
	for (ssize_t cut = 0; cut < len; cut += 501) {
		fx_write(root, companion, text, (size_t)cut);
		assert_int_equal(read_it(fx, "AAAA"), -EIO);
	}
	fx_write(root, companion, text, sizeof text);
	assert_int_equal(read_it(fx, "AAAA"), -EIO);
	fx_write(root, companion, text, (size_t)len);
	assert_int_equal(read_it(fx, "AAAA"), 0);
	renameat(root, companion, root, "elsewhere");
	assert_int_equal(symlinkat("elsewhere", root, companion), 0);
	assert_int_equal(read_it(fx, "AAAA"), -EIO);
	unlinkat(root, companion, 0);
	assert_int_equal(mkfifoat(root, companion, 0644), 0);
	assert_int_equal(read_it(fx, "AAAA"), -EIO);
}

static void test_companions__only_of_links_that_have_one(void **state)
{
	const struct fixture *fx = *state;
	static const char *const texts[] = {
		"@", "@0123456789abcdef0123456789abcde",
		"@0123456789abcdef0123456789abcdeg",
		"@0123456789abcdef0123456789abcdef0", "plain"};
	char companion[VLINK_COMPANION_MAX] = "untouched";
	int root = fx->vault->root_fd;

	assert_int_equal(vlink_companion(root, "AAAA", companion), -ENOENT);
	assert_string_equal(companion, "untouched");
	assert_int_equal(vlink_companion(root, ".dirid", companion), 0);
	assert_string_equal(companion, "");
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		assert_int_equal(symlinkat(texts[i], root, "AAAA"), 0);
		strcpy(companion, "untouched");
		assert_int_equal(vlink_companion(root, "AAAA", companion), 0);
		assert_string_equal(companion, "");
		unlinkat(root, "AAAA", 0);
	}
}

/* Two directories, and a long link in each that is asked for. */
struct places {
	int a, b;
	struct backing_name from, to;
};

static struct places make_places(const struct fixture *fx)
{
	struct places p;
	struct backing_name name;
	uint8_t a_id[DIRID_LEN], b_id[DIRID_LEN];
	int root = fx->vault->root_fd;

	fx_mkdir(fx, root, fx->root_id, "a", &name, a_id, &p.a);
	fx_mkdir(fx, root, fx->root_id, "b", &name, b_id, &p.b);
	p.from = fx_name(fx, a_id, "from");
	p.to = fx_name(fx, b_id, "to");
	return p;
}

static void long_link(const struct fixture *fx, int dirfd, const char *entry,
		      char c)
{
	char target[VLINK_TARGET_MAX + 1];

	fx_fill(target, c, VLINK_TARGET_MAX);
	assert_int_equal(vlink_make(fx->vault, dirfd, entry, target), 0);
}

static char target_of(const struct fixture *fx, int dirfd, const char *entry)
{
	char back[VLINK_TARGET_MAX + 1];
	size_t len = 0;

	assert_int_equal(vlink_read(fx->vault, dirfd, entry, back, &len), 0);
	assert_int_equal(len, VLINK_TARGET_MAX);
	return back[0];
}

static void test_rename__companions_follow(void **state)
{
	const struct fixture *fx = *state;
	struct places p = make_places(fx);
	struct vdir_rename r = {.from_fd = p.a,
				.to_fd = p.b,
				.from = &p.from,
				.to = &p.to,
				.moved_is_link = true};

	long_link(fx, p.a, p.from.entry, '1');
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.b, p.to.entry), '1');
	assert_int_equal(fx_count(p.a), 1);
	assert_int_equal(fx_count(p.b), 3);
	/* over another long link */
	long_link(fx, p.a, p.from.entry, '2');
	r.flags = RENAME_NOREPLACE;
	assert_int_equal(vdir_rename(&r), -EEXIST);
	assert_int_equal(fx_count(p.a), 3);
	assert_int_equal(fx_count(p.b), 3);
	r.flags = RENAME_EXCHANGE;
	r.target_is_link = true;
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.a, p.from.entry), '1');
	assert_int_equal(target_of(fx, p.b, p.to.entry), '2');
	assert_int_equal(fx_count(p.a), 3);
	assert_int_equal(fx_count(p.b), 3);
	r.flags = 0;
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.b, p.to.entry), '1');
	assert_int_equal(fx_count(p.a), 1);
	assert_int_equal(fx_count(p.b), 3);
	/* over a long link, by a file: its companion goes */
	fx_write(p.a, p.from.entry, "x", 1);
	r.moved_is_link = false;
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(fx_count(p.b), 2);
	close(p.a);
	close(p.b);
}

static void test_rename__within_a_directory(void **state)
{
	const struct fixture *fx = *state;
	struct places p = make_places(fx);
	struct backing_name to = {.entry = "AAAB"};
	struct vdir_rename r = {.from_fd = p.a,
				.to_fd = p.a,
				.from = &p.from,
				.to = &to,
				.moved_is_link = true};

	long_link(fx, p.a, p.from.entry, '1');
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.a, to.entry), '1');
	assert_int_equal(fx_count(p.a), 3);
	long_link(fx, p.a, p.from.entry, '2');
	r.target_is_link = true;
	r.flags = RENAME_EXCHANGE;
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.a, p.from.entry), '1');
	assert_int_equal(target_of(fx, p.a, to.entry), '2');
	r.flags = 0;
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.a, to.entry), '1');
	assert_int_equal(fx_count(p.a), 3);
	close(p.a);
	close(p.b);
}

static void test_rename__hard_linked_links_keep_theirs(void **state)
{
	const struct fixture *fx = *state;
	struct places p = make_places(fx);
	char companion[VLINK_COMPANION_MAX];
	struct vdir_rename r = {.from_fd = p.a,
				.to_fd = p.b,
				.from = &p.from,
				.to = &p.to,
				.moved_is_link = true};

	long_link(fx, p.a, p.from.entry, '1');
	assert_int_equal(linkat(p.a, p.from.entry, p.a, "AAAB", 0), 0);
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.a, "AAAB"), '1');
	assert_int_equal(target_of(fx, p.b, p.to.entry), '1');
	/* a second name in the other directory, then replace the first */
	assert_int_equal(vlink_companion(p.b, p.to.entry, companion), 0);
	assert_int_equal(vlink_companion_copy(p.a, p.b, companion), 0);
	assert_int_equal(linkat(p.b, p.to.entry, p.b, "AAAC", 0), 0);
	fx_write(p.a, p.from.entry, "x", 1);
	r.moved_is_link = false;
	r.target_is_link = true;
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.b, "AAAC"), '1');
	/* the same link under both names: nothing happens */
	assert_int_equal(linkat(p.b, "AAAC", p.a, p.from.entry, 0), 0);
	assert_int_equal(unlinkat(p.b, p.to.entry, 0), 0);
	assert_int_equal(linkat(p.b, "AAAC", p.b, p.to.entry, 0), 0);
	r.moved_is_link = true;
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.a, p.from.entry), '1');
	assert_int_equal(target_of(fx, p.b, p.to.entry), '1');
	close(p.a);
	close(p.b);
}

/* A name in each directory, the companion beside both; a's has a second. */
static struct places link_thrice(const struct fixture *fx,
				 char companion[static VLINK_COMPANION_MAX])
{
	struct places p = make_places(fx);

	long_link(fx, p.a, "AAAA", '1');
	assert_int_equal(vlink_companion(p.a, "AAAA", companion), 0);
	assert_int_equal(linkat(p.a, "AAAA", p.a, "AAAB", 0), 0);
	assert_int_equal(vlink_companion_copy(p.a, p.b, companion), 0);
	assert_int_equal(linkat(p.a, "AAAA", p.b, "AAAC", 0), 0);
	return p;
}

static void test_companions__go_with_the_last_name_beside_them(void **state)
{
	const struct fixture *fx = *state;
	char companion[VLINK_COMPANION_MAX];
	struct places p = link_thrice(fx, companion);

	/* a stranger that looks alike, and a link of another target */
	fx_write(p.a, "AAAD", companion, 33);
	long_link(fx, p.a, "AAAE", '2');
	unlinkat(p.a, "AAAA", 0);
	vlink_companion_settle(p.a, companion);
	assert_int_equal(target_of(fx, p.a, "AAAB"), '1');
	unlinkat(p.a, "AAAB", 0);
	vlink_companion_settle(p.a, companion);
	assert_false(fx_exists(p.a, companion));
	assert_int_equal(target_of(fx, p.a, "AAAE"), '2');
	assert_int_equal(target_of(fx, p.b, "AAAC"), '1');
	close(p.a);
	close(p.b);
}

static void test_companions__of_links_that_other_mounts_make(void **state)
{
	const struct fixture *fx = *state;
	char companion[VLINK_COMPANION_MAX];
	struct places p = link_thrice(fx, companion);

	unlinkat(p.a, "AAAA", 0);
	unlinkat(p.a, "AAAB", 0);
	elsewhere_fd = p.b;
	vlink_companion_settle(p.a, companion);
	assert_int_equal(elsewhere_fd, -1);
	assert_int_equal(target_of(fx, p.a, "AAAZ"), '1');
	/* dropped by another mount just before the link got there */
	unlinkat(p.a, companion, 0);
	assert_int_equal(vlink_companion_keep(p.b, p.a, companion), 0);
	assert_int_equal(target_of(fx, p.a, "AAAZ"), '1');
	close(p.a);
	close(p.b);
}

static void test_rename__companions_leave_with_a_hard_link(void **state)
{
	const struct fixture *fx = *state;
	char companion[VLINK_COMPANION_MAX];
	struct places p = link_thrice(fx, companion);
	struct backing_name from = {.entry = "AAAA"}, to = {.entry = "AAAG"};
	struct vdir_rename r = {.from_fd = p.a,
				.to_fd = p.b,
				.from = &from,
				.to = &to,
				.moved_is_link = true};

	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(target_of(fx, p.a, "AAAB"), '1');
	strcpy(from.entry, "AAAB");
	strcpy(to.entry, "AAAH");
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(fx_count(p.a), 1);
	assert_int_equal(target_of(fx, p.b, "AAAG"), '1');
	/* replaced one after the other, the last takes it along */
	r.moved_is_link = false;
	r.target_is_link = true;
	for (const char *name = "CGH"; *name; name++) {
		to.entry[3] = *name;
		fx_write(p.a, from.entry, "x", 1);
		assert_int_equal(vdir_rename(&r), 0);
		assert_int_equal(fx_exists(p.b, companion), *name != 'H');
	}
	close(p.a);
	close(p.b);
}

static void test_rename__a_link_without_companion_moves(void **state)
{
	const struct fixture *fx = *state;
	struct places p = make_places(fx);
	struct vdir_rename r = {.from_fd = p.a,
				.to_fd = p.b,
				.from = &p.from,
				.to = &p.to,
				.moved_is_link = true};
	char companion[VLINK_COMPANION_MAX];

	long_link(fx, p.a, p.from.entry, '1');
	assert_int_equal(vlink_companion(p.a, p.from.entry, companion), 0);
	vlink_companion_drop(p.a, companion);
	assert_int_equal(vdir_rename(&r), 0);
	assert_true(fx_exists(p.b, p.to.entry));
	assert_int_equal(fx_count(p.b), 2);
	close(p.a);
	close(p.b);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_targets__come_back),
		CASE(test_targets__are_as_old_as_the_vault_says),
		CASE(test_targets__out_of_bounds),
		CASE(test_targets__are_hidden_and_authentic),
		CASE(test_companions__damaged),
		CASE(test_companions__only_of_links_that_have_one),
		CASE(test_rename__companions_follow),
		CASE(test_rename__within_a_directory),
		CASE(test_rename__hard_linked_links_keep_theirs),
		CASE(test_companions__go_with_the_last_name_beside_them),
		CASE(test_companions__of_links_that_other_mounts_make),
		CASE(test_rename__companions_leave_with_a_hard_link),
		CASE(test_rename__a_link_without_companion_moves),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
