/* The files beside long names, while another mount makes or removes them. */
#include "vault_fixture.h"
#include "vfile.h"

/* Another mount: makes this entry just before its name's file goes. */
static const char *made_again;
/* Another mount: drops this file just before the entry gets there. */
static const char *dropped;

int __real_unlinkat(int dirfd, const char *name, int flags);
int __wrap_unlinkat(int dirfd, const char *name, int flags);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags);

int __wrap_unlinkat(int dirfd, const char *name, int flags)
{
	if (made_again && strstr(name, NAME_LONG_SUFFIX)) {
		fx_write(dirfd, made_again, "x", 1);
		made_again = NULL;
	}
	return __real_unlinkat(dirfd, name, flags);
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags)
{
	if (dropped) {
		assert_int_equal(__real_unlinkat(to_fd, dropped, 0), 0);
		dropped = NULL;
	}
	return __real_renameat2(from_fd, from, to_fd, to, flags);
}

/* A directory, a long name in it, and the file that belongs beside that. */
struct place {
	struct fixture *fx;
	int fd;
	uint8_t id[DIRID_LEN];
	char plain[NAME_PLAIN_MAX + 1];
	struct backing_name name;
	char file[NAME_LONG_LEN + sizeof NAME_LONG_SUFFIX];
};

static struct place make_place(struct fixture *fx)
{
	struct place p = {.fx = fx};
	struct backing_name dir;

	fx_mkdir(fx, fx->vault->root_fd, fx->root_id, "d", &dir, p.id, &p.fd);
	fx_fill(p.plain, 'l', 200);
	p.name = fx_name(fx, p.id, p.plain);
	assert_true(p.name.is_long);
	snprintf(p.file, sizeof p.file, "%.*s" NAME_LONG_SUFFIX, NAME_LONG_LEN,
		 p.name.entry);
	return p;
}

static void check_name(const struct place *p)
{
	char plain[NAME_PLAIN_MAX + 1];

	assert_int_equal(vdir_plain_name(p->fx->vault, p->fd, p->id,
					 p->name.entry, plain),
			 0);
	assert_string_equal(plain, p->plain);
}

static void test_removed_here__made_there(void **state)
{
	struct place p = make_place(*state);

	assert_int_equal(vdir_long_name_put(p.fd, &p.name), 0);
	made_again = p.name.entry;
	vdir_long_name_drop(p.fd, p.name.entry);
	assert_null(made_again);
	check_name(&p);
	unlinkat(p.fd, p.name.entry, 0);
	vdir_long_name_drop(p.fd, p.name.entry);
	assert_int_equal(fx_count(p.fd), 1);
	close(p.fd);
}

static void test_file_made_here__removed_there(void **state)
{
	struct fixture *fx = *state;
	struct place p = make_place(fx);
	struct vfile *f;

	dropped = p.file;
	assert_int_equal(vfile_create(fx->vault, p.fd, p.id, &p.name, 0600, &f),
			 0);
	vfile_close(f);
	assert_null(dropped);
	check_name(&p);
	close(p.fd);
}

static void test_directory_made_here__removed_there(void **state)
{
	struct place p = make_place(*state);

	dropped = p.file;
	assert_int_equal(vdir_make(p.fd, p.id, &p.name, 0700), 0);
	assert_null(dropped);
	check_name(&p);
	close(p.fd);
}

static void test_moved_here__removed_there(void **state)
{
	struct place p = make_place(*state);
	struct backing_name from = {.entry = "AAAA"};
	const struct vdir_rename r = {
		.from_fd = p.fd, .to_fd = p.fd, .from = &from, .to = &p.name};

	fx_write(p.fd, from.entry, "x", 1);
	dropped = p.file;
	assert_int_equal(vdir_rename(&r), 0);
	assert_null(dropped);
	check_name(&p);
	close(p.fd);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, fx_setup, fx_teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_removed_here__made_there),
		CASE(test_file_made_here__removed_there),
		CASE(test_directory_made_here__removed_there),
		CASE(test_moved_here__removed_there),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
