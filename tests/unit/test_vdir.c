#include "vault_fixture.h"
#include "vlink.h"

#include <sys/xattr.h>

/* Backing file systems that know no flags of renameat2, when set. */
static bool no_flags;
/* Another mount: puts a file into the directory just as it is replaced. */
static bool intrude_late;

int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags);

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags)
{
	char path[300];

	if (no_flags && flags) {
		errno = EINVAL;
		return -1;
	}
	if (intrude_late) {
		intrude_late = false;
		snprintf(path, sizeof path, "%s/AAAAAAAAAAAAAAAAAAAAAAAA", to);
		fx_write(to_fd, path, "x", 1);
	}
	return __real_renameat2(from_fd, from, to_fd, to, flags);
}

/* Backing file systems without extended attributes, when set. */
static bool no_xattrs;

int __real_setxattr(const char *path, const char *name, const void *value,
		    size_t len, int flags);
int __wrap_setxattr(const char *path, const char *name, const void *value,
		    size_t len, int flags);

int __wrap_setxattr(const char *path, const char *name, const void *value,
		    size_t len, int flags)
{
	if (no_xattrs) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return __real_setxattr(path, name, value, len, flags);
}

/* Another mount: puts a file into the directory just as it goes aside. */
static bool intrude;

int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	int result = __real_renameat(from_fd, from, to_fd, to);
	char path[128];

	if (intrude && result == 0) {
		intrude = false;
		snprintf(path, sizeof path, "%s/AAAAAAAAAAAAAAAAAAAAAAAA", to);
		fx_write(to_fd, path, "x", 1);
	}
	return result;
}

static void test_make__appears_whole(void **state)
{
	struct fixture *fx = *state;
	struct backing_name name;
	uint8_t dirid[DIRID_LEN], bytes[33];
	struct stat st;
	int fd, root = fx->vault->root_fd;

	fx_mkdir(fx, root, fx->root_id, "letters", &name, dirid, &fd);
	int id = openat(fd, NAME_DIRID_FILE, O_RDONLY);
	assert_int_equal(read(id, bytes, sizeof bytes), 32);
	assert_memory_equal(bytes, dirid, DIRID_LEN);
	assert_memory_equal(bytes + DIRID_LEN, fx->root_id, DIRID_LEN);
	assert_int_equal(fstat(id, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(fx_count(fd), 1);
	assert_int_equal(fx_count_temps(root), 0);
	close(id);
	close(fd);
}

static void test_make__refuses_a_taken_name(void **state)
{
	struct fixture *fx = *state;
	char plain[256];
	int root = fx->vault->root_fd;

	for (int i = 0; i < 4; i++) {
		no_flags = i & 1;
		fx_fill(plain, 'x', i < 2 ? 10 : 250);
		struct backing_name name = fx_name(fx, fx->root_id, plain);
		int before = fx_count(root);

		assert_int_equal(vdir_make(root, fx->root_id, &name, 0755), 0);
		assert_int_equal(vdir_make(root, fx->root_id, &name, 0755),
				 -EEXIST);
		assert_int_equal(fx_count(root), before + (i < 2 ? 1 : 2));
		assert_int_equal(vdir_remove(root, &name), 0);
		fx_write(root, name.entry, "", 0);
		assert_int_equal(vdir_make(root, fx->root_id, &name, 0755),
				 -EEXIST);
		unlinkat(root, name.entry, 0);
		assert_int_equal(fx_count(root), before);
	}
	no_flags = false;
}

/* Every mode that plain mkdir gives, in the directory parent. */
static int modes_are_mkdirs(void *arg)
{
	static const mode_t modes[] = {0,    0111, 0200,  0300,	 0444,
				       0555, 0700, 01777, 02755, 0777};
	static const mode_t masks[] = {0, 022, 077, 0777, 0400};
	static const uint8_t parent_id[DIRID_LEN] = {7};
	struct backing_name name = {.entry = "AAAA"};
	struct stat ours, plain;
	int parent = *(int *)arg;

	for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
		for (size_t u = 0; u < sizeof masks / sizeof *masks; u++) {
			umask(masks[u]);
			FX_EXPECT(
				!vdir_make(parent, parent_id, &name, modes[m]));
			FX_EXPECT(!mkdirat(parent, "plain", modes[m]));
			FX_EXPECT(!fstatat(parent, "AAAA", &ours, 0));
			FX_EXPECT(!fstatat(parent, "plain", &plain, 0));
			FX_EXPECT(ours.st_mode == plain.st_mode);
			FX_EXPECT(ours.st_gid == plain.st_gid);
			FX_EXPECT(!unlinkat(parent, "plain", AT_REMOVEDIR));
			FX_EXPECT(!vdir_remove(parent, &name));
			FX_EXPECT(fx_count(parent) == 0);
		}
	return 0;
}

static void test_make__has_the_mode_that_mkdir_gives(void **state)
{
	/* version 2; u::rwx, u:1:rwx, g::r-x, mask::rwx, o::--- */
	static const uint8_t acl[] = {2,    0,	  0,	0,    1,    0, 7, 0,
				      0xff, 0xff, 0xff, 0xff, 2,    0, 7, 0,
				      1,    0,	  0,	0,    4,    0, 5, 0,
				      0xff, 0xff, 0xff, 0xff, 0x10, 0, 7, 0,
				      0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0,
				      0xff, 0xff, 0xff, 0xff};
	struct fixture *fx = *state;
	int fd;

	assert_int_equal(mkdirat(fx->vault->root_fd, "p", 0755), 0);
	fx_give(fx->vault->root_fd, "p");
	fd = openat(fx->vault->root_fd, "p", O_RDONLY | O_DIRECTORY);
	assert_int_equal(fx_as_user(modes_are_mkdirs, &fd), 0);
	assert_int_equal(modes_are_mkdirs(&fd), 0);
	umask(022);
	assert_int_equal(fchmod(fd, 02755), 0);
	assert_int_equal(fx_as_user(modes_are_mkdirs, &fd), 0);
	assert_int_equal(fchmod(fd, 0755), 0);
	if (fsetxattr(fd, "system.posix_acl_default", acl, sizeof acl, 0) == 0)
		assert_int_equal(fx_as_user(modes_are_mkdirs, &fd), 0);
	else
		assert_int_equal(errno, EOPNOTSUPP);
	close(fd);
}

static void test_read_id__refuses_damage(void **state)
{
	struct fixture *fx = *state;
	uint8_t bytes[40] = {0}, dirid[DIRID_LEN];
	struct backing_name name;
	int fd;

	no_xattrs = true;
	fx_mkdir(fx, fx->vault->root_fd, fx->root_id, "d", &name, dirid, &fd);
	no_xattrs = false;
	unlinkat(fd, NAME_DIRID_FILE, 0);
	assert_int_equal(vdir_read_id(fd, dirid), -EIO);
	for (size_t len = 0; len < sizeof bytes; len++) {
		memset(bytes, 5, sizeof bytes);
		fx_write(fd, NAME_DIRID_FILE, bytes, len);
		assert_int_equal(vdir_read_id(fd, dirid), len == 32 ? 0 : -EIO);
	}
	memset(bytes, 0, sizeof bytes);
	fx_write(fd, NAME_DIRID_FILE, bytes, 32);
	assert_int_equal(vdir_read_id(fd, dirid), -EIO);
	memset(bytes, 5, sizeof bytes);
	fx_write(fd, "elsewhere", bytes, 32);
	unlinkat(fd, NAME_DIRID_FILE, 0);
	assert_int_equal(symlinkat("elsewhere", fd, NAME_DIRID_FILE), 0);
	assert_int_equal(vdir_read_id(fd, dirid), -EIO);
	unlinkat(fd, NAME_DIRID_FILE, 0);
	assert_int_equal(mkfifoat(fd, NAME_DIRID_FILE, 0644), 0);
	assert_int_equal(vdir_read_id(fd, dirid), -EIO);
	unlinkat(fd, NAME_DIRID_FILE, 0);
	assert_int_equal(mkdirat(fd, NAME_DIRID_FILE, 0755), 0);
	assert_int_equal(vdir_read_id(fd, dirid), -EIO);
	close(fd);
}

static void test_remove__takes_leftovers_along(void **state)
{
	struct fixture *fx = *state;
	struct backing_name name;
	uint8_t dirid[DIRID_LEN];
	int fd, root = fx->vault->root_fd;

	fx_mkdir(fx, root, fx->root_id, "d", &name, dirid, &fd);
	fx_write(fd, "@0123456789abcdef0123456789abcdef.link", "x", 1);
	fx_write(fd, ".tmp-0123456789abcdef01234567", "x", 1);
	/* killed while removing or making directories of any mode */
	assert_int_equal(mkdirat(fd, ".tmp-d", 0755), 0);
	int sub = openat(fd, ".tmp-d", O_RDONLY | O_DIRECTORY);
	fx_write(sub, NAME_DIRID_FILE, "x", 1);
	assert_int_equal(mkdirat(sub, ".tmp-e", 0), 0);
	assert_int_equal(fchmod(sub, 0), 0);
	close(sub);
	close(fd);
	assert_int_equal(vdir_remove(root, &name), 0);
	assert_false(fx_exists(root, name.entry));
	assert_int_equal(fx_count_temps(root), 0);
	assert_int_equal(vdir_remove(root, &name), -ENOENT);
}

static void test_remove__leaves_what_is_somebodys(void **state)
{
	static const char *const foreign[] = {
		"foreign file",	   ".frondfs", ".tmp-d/AAAA",
		".tmp-d/.frondfs", "@@",       "AAAAAAAAAAAAAAAAAAAAAAAA"};
	struct fixture *fx = *state;
	struct backing_name name;
	uint8_t dirid[DIRID_LEN], again[DIRID_LEN];
	int fd, root = fx->vault->root_fd;

	fx_mkdir(fx, root, fx->root_id, "d", &name, dirid, &fd);
	assert_int_equal(mkdirat(fd, ".tmp-d", 0700), 0);
	for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
		fx_write(fd, foreign[i], "x", 1);
		assert_int_equal(vdir_check_empty(fd), -ENOTEMPTY);
		assert_int_equal(vdir_remove(root, &name), -ENOTEMPTY);
		assert_true(fx_exists(fd, foreign[i]));
		assert_true(fx_exists(root, name.entry));
		assert_int_equal(vdir_read_id(fd, again), 0);
		assert_memory_equal(dirid, again, DIRID_LEN);
		assert_int_equal(unlinkat(fd, foreign[i], 0), 0);
	}
	unlinkat(fd, ".tmp-d", AT_REMOVEDIR);
	unlinkat(fd, NAME_DIRID_FILE, 0);
	assert_int_equal(mkdirat(fd, NAME_DIRID_FILE, 0700), 0);
	assert_int_equal(vdir_remove(root, &name), -ENOTEMPTY);
	close(fd);
	fx_write(root, "AAAB", "x", 1);
	assert_int_equal(symlinkat(name.entry, root, "AAAC"), 0);
	struct backing_name file = {.entry = "AAAB"};
	struct backing_name link = {.entry = "AAAC"};
	assert_int_equal(vdir_remove(root, &file), -ENOTDIR);
	assert_int_equal(vdir_remove(root, &link), -ENOTDIR);
}

static int remove_raced(void *arg)
{
	static const uint8_t parent_id[DIRID_LEN] = {7};
	struct backing_name name = {.entry = "AAAA"};
	uint8_t dirid[DIRID_LEN];
	struct stat st;
	int fd, parent = *(int *)arg;

	FX_EXPECT(!vdir_make(parent, parent_id, &name, 0300));
	FX_EXPECT(!vdir_open_path(parent, "AAAA", &fd));
	intrude = true;
	FX_EXPECT(vdir_remove(parent, &name) == -ENOTEMPTY);
	FX_EXPECT(!intrude);
	FX_EXPECT(fx_count(parent) == 1);
	FX_EXPECT(!fstatat(parent, "AAAA", &st, 0));
	FX_EXPECT((st.st_mode & 07777) == 0300);
	FX_EXPECT(!vdir_chmod(fd, 0700));
	FX_EXPECT(!vdir_read_id(fd, dirid));
	FX_EXPECT(fx_count(fd) == 2);
	close(fd);
	return 0;
}

static void test_remove__of_one_that_is_being_filled(void **state)
{
	struct fixture *fx = *state;
	int fd;

	assert_int_equal(mkdirat(fx->vault->root_fd, "p", 0755), 0);
	fx_give(fx->vault->root_fd, "p");
	fd = openat(fx->vault->root_fd, "p", O_RDONLY | O_DIRECTORY);
	assert_int_equal(fx_as_user(remove_raced, &fd), 0);
	close(fd);
}

static int remove_any_mode(void *arg)
{
	static const mode_t modes[] = {0, 0111, 0300, 0444, 0555, 0600};
	static const uint8_t parent_id[DIRID_LEN] = {7};
	struct backing_name name = {.entry = "AAAA"};
	struct stat st;
	int parent = *(int *)arg;

	for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
		int fd, inner;

		FX_EXPECT(!vdir_make(parent, parent_id, &name, 0755));
		FX_EXPECT(!vdir_open_path(parent, "AAAA", &fd));
		inner = openat(fd, "BBBB", O_WRONLY | O_CREAT, 0644);
		FX_EXPECT(inner >= 0 && !close(inner));
		FX_EXPECT(!fchmodat(parent, "AAAA", modes[m], 0));
		FX_EXPECT(vdir_check_empty(fd) == -ENOTEMPTY);
		FX_EXPECT(vdir_remove(parent, &name) == -ENOTEMPTY);
		FX_EXPECT(!fstat(fd, &st));
		FX_EXPECT((st.st_mode & 07777) == modes[m]);
		FX_EXPECT(!vdir_chmod(fd, 0700));
		FX_EXPECT(!unlinkat(fd, "BBBB", 0));
		FX_EXPECT(!vdir_chmod(fd, modes[m]));
		FX_EXPECT(!vdir_remove(parent, &name));
		close(fd);
	}
	return 0;
}

/* The parent may not be written: nothing changes. */
static int remove_denied(void *arg)
{
	struct backing_name name = {.entry = "AAAA"};
	struct stat st;
	int parent = *(int *)arg;

	FX_EXPECT(vdir_remove(parent, &name) == -EACCES);
	FX_EXPECT(!fstatat(parent, "AAAA", &st, 0));
	FX_EXPECT((st.st_mode & 07777) == 0500);
	return 0;
}

static void test_remove__owner_needs_no_mode_bits(void **state)
{
	static const uint8_t parent_id[DIRID_LEN] = {7};
	struct backing_name name = {.entry = "AAAA"};
	struct fixture *fx = *state;
	int fd;

	assert_int_equal(mkdirat(fx->vault->root_fd, "p", 0755), 0);
	fx_give(fx->vault->root_fd, "p");
	fd = openat(fx->vault->root_fd, "p", O_RDONLY | O_DIRECTORY);
	assert_int_equal(fx_as_user(remove_any_mode, &fd), 0);
	assert_int_equal(vdir_make(fd, parent_id, &name, 0500), 0);
	fx_give(fd, "AAAA");
	assert_int_equal(fchmod(fd, 0555), 0);
	assert_int_equal(fx_as_user(remove_denied, &fd), 0);
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
}

static void test_names__of_every_length_come_back(void **state)
{
	struct fixture *fx = *state;
	char plain[256], back[NAME_PLAIN_MAX + 1];
	int root = fx->vault->root_fd, before = fx_count(root);

	for (size_t len = 1; len <= 255; len++) {
		fx_fill(plain, 'n', len);
		struct backing_name name = fx_name(fx, fx->root_id, plain);

		assert_int_equal(vdir_long_name_put(root, &name), 0);
		assert_int_equal(vdir_long_name_put(root, &name), 0);
		fx_write(root, name.entry, "", 0);
		assert_int_equal(name.is_long, len > 175);
		assert_int_equal(fx_count(root), before + 1 + name.is_long);
		assert_int_equal(vdir_plain_name(fx->vault, root, fx->root_id,
						 name.entry, back),
				 0);
		assert_string_equal(back, plain);
		vdir_long_name_drop(root, name.entry);
		assert_int_equal(fx_count(root), before + 1 + name.is_long);
		unlinkat(root, name.entry, 0);
		vdir_long_name_drop(root, name.entry);
		assert_int_equal(fx_count(root), before);
	}
}

static int plain_of(const struct fixture *fx, const char *entry)
{
	char back[NAME_PLAIN_MAX + 1];

	return vdir_plain_name(fx->vault, fx->vault->root_fd, fx->root_id,
			       entry, back);
}

/* What stands beside a long name must not give a short one a second entry. */
static void test_names__have_one_entry(void **state)
{
	struct fixture *fx = *state;
	struct backing_name name = fx_name(fx, fx->root_id, "short");
	char entry[NAME_LONG_LEN + 1], beside[NAME_LONG_LEN + 8];

	name_long_entry(name.full, strlen(name.full), entry);
	snprintf(beside, sizeof beside, "%s%s", entry, NAME_LONG_SUFFIX);
	fx_write(fx->vault->root_fd, entry, "", 0);
	fx_write(fx->vault->root_fd, beside, name.full, strlen(name.full));
	assert_int_equal(plain_of(fx, entry), -EBADMSG);
}

static void test_names__refuse_damage(void **state)
{
	struct fixture *fx = *state;
	uint8_t other_id[DIRID_LEN] = {1};
	char plain[256], file[64];
	int root = fx->vault->root_fd;

	assert_int_equal(plain_of(fx, ".dirid"), -ENOENT);
	assert_int_equal(plain_of(fx, ".frondfs"), -ENOENT);
	assert_int_equal(plain_of(fx, ".tmp-x"), -ENOENT);
	assert_int_equal(plain_of(fx, "a foreign file"), -EBADMSG);
	struct backing_name away = fx_name(fx, other_id, "moved here");
	assert_int_equal(plain_of(fx, away.entry), -EBADMSG);

	fx_fill(plain, 'n', 255);
	struct backing_name name = fx_name(fx, fx->root_id, plain);
	fx_write(root, name.entry, "", 0);
	assert_int_equal(plain_of(fx, name.entry), -EBADMSG);
	snprintf(file, sizeof file, "%.44s.name", name.entry);
	assert_int_equal(vdir_long_name_put(root, &name), 0);
	assert_int_equal(plain_of(fx, name.entry), 0);
	for (size_t len = 0; len < strlen(name.full); len += 13) {
		fx_write(root, "cut", name.full, len);
		assert_int_equal(renameat(root, "cut", root, file), 0);
		assert_int_equal(plain_of(fx, name.entry), -EBADMSG);
	}
	/* another long name of the same directory */
	plain[0] = 'o';
	struct backing_name second = fx_name(fx, fx->root_id, plain);
	fx_write(root, "other", second.full, strlen(second.full));
	assert_int_equal(renameat(root, "other", root, file), 0);
	assert_int_equal(plain_of(fx, name.entry), -EBADMSG);
	/* what was damaged is put right by the next put */
	assert_int_equal(vdir_long_name_put(root, &name), 0);
	assert_int_equal(plain_of(fx, name.entry), 0);
	unlinkat(root, file, 0);
	assert_int_equal(symlinkat("/dev/zero", root, file), 0);
	assert_int_equal(plain_of(fx, name.entry), -EBADMSG);
	/* gone between readdir and now */
	unlinkat(root, name.entry, 0);
	unlinkat(root, file, 0);
	assert_int_equal(plain_of(fx, name.entry), -ENOENT);
}

/* Two directories to rename between, and names in them. */
struct pair {
	struct fixture *fx;
	int a, b;
	uint8_t a_id[DIRID_LEN], b_id[DIRID_LEN];
};

static struct pair make_pair(struct fixture *fx)
{
	struct pair p = {.fx = fx};
	struct backing_name name;
	int root = fx->vault->root_fd;

	fx_mkdir(fx, root, fx->root_id, "a", &name, p.a_id, &p.a);
	fx_mkdir(fx, root, fx->root_id, "b", &name, p.b_id, &p.b);
	return p;
}

static void close_pair(struct pair *p)
{
	close(p->a);
	close(p->b);
}

static void put_file(int dirfd, const struct backing_name *name, char c)
{
	assert_int_equal(vdir_long_name_put(dirfd, name), 0);
	fx_write(dirfd, name->entry, &c, 1);
}

static char content(int dirfd, const char *entry)
{
	char c = 0;
	int fd = openat(dirfd, entry, O_RDONLY | O_NOFOLLOW);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, &c, 1), 1);
	close(fd);
	return c;
}

static int move(const struct pair *p, const struct backing_name *from,
		const struct backing_name *to, unsigned flags)
{
	struct vdir_rename r = {.from_fd = p->a,
				.to_fd = p->b,
				.from = from,
				.to = to,
				.flags = flags};

	return vdir_rename(&r);
}

static void test_rename__long_names_follow(void **state)
{
	struct fixture *fx = *state;
	struct pair p = make_pair(fx);
	char from_plain[256], to_plain[256], back[256];

	for (int i = 0; i < 8; i++) {
		unsigned flags = i & 4 ? RENAME_NOREPLACE : 0;

		fx_fill(from_plain, 'f', i & 1 ? 200 : 20);
		fx_fill(to_plain, 't', i & 2 ? 255 : 25);
		struct backing_name from = fx_name(fx, p.a_id, from_plain);
		struct backing_name to = fx_name(fx, p.b_id, to_plain);

		put_file(p.a, &from, 'm');
		assert_int_equal(move(&p, &from, &to, flags), 0);
		assert_int_equal(content(p.b, to.entry), 'm');
		assert_int_equal(
			vdir_plain_name(fx->vault, p.b, p.b_id, to.entry, back),
			0);
		assert_string_equal(back, to_plain);
		assert_int_equal(fx_count(p.a), 1);
		assert_int_equal(fx_count(p.b), 2 + to.is_long);
		/* and over one that is there */
		put_file(p.a, &from, 'n');
		assert_int_equal(move(&p, &from, &to, flags),
				 flags ? -EEXIST : 0);
		assert_int_equal(content(p.b, to.entry), flags ? 'm' : 'n');
		assert_int_equal(fx_count(p.b), 2 + to.is_long);
		assert_int_equal(fx_count(p.a), flags ? 2 + from.is_long : 1);
		unlinkat(p.b, to.entry, 0);
		vdir_long_name_drop(p.b, to.entry);
		unlinkat(p.a, from.entry, 0);
		vdir_long_name_drop(p.a, from.entry);
		/* a failure leaves no companion */
		assert_int_equal(move(&p, &from, &to, flags), -ENOENT);
		assert_int_equal(fx_count(p.a) + fx_count(p.b), 2);
	}
	close_pair(&p);
}

static void test_rename__noreplace_is_emulated(void **state)
{
	no_flags = true;
	test_rename__long_names_follow(state);
	no_flags = false;
}

static void test_rename__exchange_keeps_both_names(void **state)
{
	struct fixture *fx = *state;
	struct pair p = make_pair(fx);
	char plain[256];

	fx_fill(plain, 'l', 255);
	struct backing_name from = fx_name(fx, p.a_id, plain);
	struct backing_name to = fx_name(fx, p.b_id, plain);

	put_file(p.a, &from, '1');
	assert_int_equal(move(&p, &from, &to, RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(fx_count(p.b), 1);
	put_file(p.b, &to, '2');
	assert_int_equal(move(&p, &from, &to, RENAME_EXCHANGE), 0);
	assert_int_equal(content(p.a, from.entry), '2');
	assert_int_equal(content(p.b, to.entry), '1');
	assert_int_equal(fx_count(p.a) + fx_count(p.b), 6);
	no_flags = true;
	assert_int_equal(move(&p, &from, &to, RENAME_EXCHANGE), -EINVAL);
	no_flags = false;
	assert_int_equal(
		move(&p, &from, &to, RENAME_EXCHANGE | RENAME_NOREPLACE),
		-EINVAL);
	close_pair(&p);
}

static void test_rename__same_name_and_hard_links(void **state)
{
	struct fixture *fx = *state;
	struct pair p = make_pair(fx);
	char plain[256];
	int root = fx->vault->root_fd;

	fx_fill(plain, 'l', 230);
	struct backing_name from = fx_name(fx, p.a_id, plain);
	struct backing_name to = fx_name(fx, p.b_id, plain);
	struct backing_name a = fx_name(fx, fx->root_id, "a");
	int again;
	assert_int_equal(vdir_open_path(root, a.entry, &again), 0);
	struct vdir_rename r = {
		.from_fd = p.a, .to_fd = again, .from = &from, .to = &from};

	assert_int_equal(vdir_rename(&r), -ENOENT);
	put_file(p.a, &from, '1');
	assert_int_equal(vdir_rename(&r), 0);
	r.flags = RENAME_NOREPLACE;
	assert_int_equal(vdir_rename(&r), -EEXIST);
	assert_int_equal(fx_count(p.a), 3);
	/* two names of one file: rename(2) does nothing, both stay */
	assert_int_equal(vdir_long_name_put(p.b, &to), 0);
	assert_int_equal(linkat(p.a, from.entry, p.b, to.entry, 0), 0);
	assert_int_equal(move(&p, &from, &to, 0), 0);
	assert_int_equal(fx_count(p.a), 3);
	assert_int_equal(fx_count(p.b), 3);
	close(again);
	close_pair(&p);
}

static void replace_dirs(struct fixture *fx, bool hint, size_t len)
{
	struct pair p = make_pair(fx);
	struct backing_name from, to, file;
	uint8_t from_id[DIRID_LEN], to_id[DIRID_LEN], id[DIRID_LEN];
	char plain[256];
	int from_fd, to_fd, fd;

	fx_fill(plain, 'd', len);
	fx_mkdir(fx, p.a, p.a_id, plain, &from, from_id, &from_fd);
	fx_mkdir(fx, p.b, p.b_id, plain, &to, to_id, &to_fd);
	file = fx_name(fx, to_id, "in the way");
	struct vdir_rename r = {.from_fd = p.a,
				.to_fd = p.b,
				.from = &from,
				.to = &to,
				.target_is_dir = hint};

	fx_write(to_fd, file.entry, "x", 1);
	assert_int_equal(vdir_rename(&r), -ENOTEMPTY);
	assert_int_equal(fx_count(p.a), 2 + from.is_long);
	assert_int_equal(fx_count(p.b), 2 + to.is_long);
	unlinkat(to_fd, file.entry, 0);
	fx_write(to_fd, ".tmp-leftover", "x", 1);
	r.flags = RENAME_NOREPLACE;
	assert_int_equal(vdir_rename(&r), -EEXIST);
	r.flags = 0;
	assert_int_equal(vdir_rename(&r), 0);
	assert_int_equal(fx_count(p.a), 1);
	assert_int_equal(fx_count(p.b), 2 + to.is_long);
	assert_int_equal(vdir_open_path(p.b, to.entry, &fd), 0);
	assert_int_equal(vdir_read_id(fd, id), 0);
	assert_memory_equal(id, from_id, DIRID_LEN);
	close(fd);
	close(from_fd);
	close(to_fd);
	assert_int_equal(vdir_remove(p.b, &to), 0);
	close_pair(&p);
	from = fx_name(fx, fx->root_id, "a");
	assert_int_equal(vdir_remove(fx->vault->root_fd, &from), 0);
	from = fx_name(fx, fx->root_id, "b");
	assert_int_equal(vdir_remove(fx->vault->root_fd, &from), 0);
}

static void test_rename__replaces_an_empty_directory(void **state)
{
	for (int i = 0; i < 16; i++) {
		no_flags = i & 1;
		no_xattrs = i & 8;
		replace_dirs(*state, i & 2, i & 4 ? 255 : 5);
	}
	no_flags = no_xattrs = false;
}

/* What a crash leaves of a rename over an empty directory. */
static void test_rename__a_hollow_directory_keeps_its_id(void **state)
{
	struct fixture *fx = *state;
	uint8_t dirid[DIRID_LEN], id[DIRID_LEN];
	struct backing_name name;
	bool aside = false;
	char path[64];
	int fd;

	fx_mkdir(fx, fx->vault->root_fd, fx->root_id, "d", &name, dirid, &fd);
	assert_int_equal(vdir_hollow(fd), 0);
	assert_int_equal(fx_count(fd), 0);
	assert_int_equal(vdir_find_id(fd, id, &aside), 0);
	assert_memory_equal(id, dirid, DIRID_LEN);
	assert_true(aside);
	assert_int_equal(vdir_mend_id(fd), 0);
	assert_int_equal(fx_count(fd), 1);
	assert_int_equal(vdir_find_id(fd, id, &aside), 0);
	assert_memory_equal(id, dirid, DIRID_LEN);
	assert_false(aside);
	/* without the attribute, there is nothing to go by */
	assert_int_equal(unlinkat(fd, NAME_DIRID_FILE, 0), 0);
	assert_int_equal(vdir_read_id(fd, id), 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	assert_int_equal(removexattr(path, VDIR_ID_XATTR), 0);
	assert_int_equal(vdir_read_id(fd, id), -EIO);
	assert_int_equal(vdir_mend_id(fd), -EIO);
	close(fd);
}

static void test_rename__over_one_that_is_being_filled(void **state)
{
	struct fixture *fx = *state;
	struct pair p = make_pair(fx);
	struct backing_name from, to;
	uint8_t from_id[DIRID_LEN], to_id[DIRID_LEN], id[DIRID_LEN];
	int from_fd, to_fd;
	bool aside = true;

	fx_mkdir(fx, p.a, p.a_id, "from", &from, from_id, &from_fd);
	fx_mkdir(fx, p.b, p.b_id, "to", &to, to_id, &to_fd);
	struct vdir_rename r = {.from_fd = p.a,
				.to_fd = p.b,
				.from = &from,
				.to = &to,
				.target_is_dir = true};
	intrude_late = true;
	assert_int_equal(vdir_rename(&r), -ENOTEMPTY);
	assert_false(intrude_late);
	assert_int_equal(vdir_find_id(to_fd, id, &aside), 0);
	assert_memory_equal(id, to_id, DIRID_LEN);
	assert_false(aside);
	assert_int_equal(fx_count(to_fd), 2);
	assert_int_equal(fx_count(p.a), 2);
	close(from_fd);
	close(to_fd);
	close_pair(&p);
}

static void test_rename__refuses_kinds_that_do_not_fit(void **state)
{
	struct fixture *fx = *state;
	struct pair p = make_pair(fx);
	struct backing_name dir, sub, file = fx_name(fx, p.a_id, "file");
	uint8_t dir_id[DIRID_LEN];
	int dir_fd;

	put_file(p.a, &file, '1');
	fx_mkdir(fx, p.b, p.b_id, "dir", &dir, dir_id, &dir_fd);
	struct vdir_rename over = {.from_fd = p.a,
				   .to_fd = p.b,
				   .from = &file,
				   .to = &dir,
				   .target_is_dir = true};
	assert_int_equal(vdir_rename(&over), -EISDIR);
	over = (struct vdir_rename){
		.from_fd = p.b, .to_fd = p.a, .from = &dir, .to = &file};
	assert_int_equal(vdir_rename(&over), -ENOTDIR);
	sub = fx_name(fx, dir_id, "sub");
	over = (struct vdir_rename){
		.from_fd = p.b, .to_fd = dir_fd, .from = &dir, .to = &sub};
	for (int i = 0; i < 4; i++) {
		no_flags = i & 1;
		over.flags = i & 2 ? RENAME_NOREPLACE : 0;
		assert_int_equal(vdir_rename(&over), -EINVAL);
	}
	no_flags = false;
	assert_int_equal(fx_count(p.b), 2);
	close(dir_fd);
	close_pair(&p);
}

static int replace_unwritable(void *arg)
{
	const struct pair *p = arg;
	static const uint8_t parent_id[DIRID_LEN] = {7};
	struct backing_name from = {.entry = "AAAA"}, to = {.entry = "BBBB"};
	struct vdir_rename r = {.from_fd = p->a,
				.to_fd = p->b,
				.from = &from,
				.to = &to,
				.target_is_dir = true};
	struct stat st;

	FX_EXPECT(!vdir_make(p->a, parent_id, &from, 0755));
	FX_EXPECT(!vdir_make(p->b, parent_id, &to, 0));
	FX_EXPECT(!vdir_rename(&r));
	FX_EXPECT(!fstatat(p->b, "BBBB", &st, 0));
	FX_EXPECT((st.st_mode & 07777) == 0755);
	FX_EXPECT(fx_count(p->a) == 1);
	return 0;
}

static void test_rename__replaces_a_directory_of_mode_0(void **state)
{
	struct fixture *fx = *state;
	struct pair p = make_pair(fx);

	fx_give(p.a, ".");
	fx_give(p.b, ".");
	assert_int_equal(fx_as_user(replace_unwritable, &p), 0);
	close_pair(&p);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_make__appears_whole),
		CASE(test_make__refuses_a_taken_name),
		CASE(test_make__has_the_mode_that_mkdir_gives),
		CASE(test_read_id__refuses_damage),
		CASE(test_remove__takes_leftovers_along),
		CASE(test_remove__leaves_what_is_somebodys),
		CASE(test_remove__of_one_that_is_being_filled),
		CASE(test_remove__owner_needs_no_mode_bits),
		CASE(test_names__of_every_length_come_back),
		CASE(test_names__have_one_entry),
		CASE(test_names__refuse_damage),
		CASE(test_rename__long_names_follow),
		CASE(test_rename__noreplace_is_emulated),
		CASE(test_rename__exchange_keeps_both_names),
		CASE(test_rename__same_name_and_hard_links),
		CASE(test_rename__replaces_an_empty_directory),
		CASE(test_rename__a_hollow_directory_keeps_its_id),
		CASE(test_rename__over_one_that_is_being_filled),
		CASE(test_rename__refuses_kinds_that_do_not_fit),
		CASE(test_rename__replaces_a_directory_of_mode_0),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
