/* What frondfs check says of a mount that ended unexpectedly, and of what it
 * was writing. */
#include "recover_fixture.h"

#include "check.h"

enum { TOLD_MAX = 16 };

bool __real_journal_session_same_place_(const struct journal_session *a,
					const struct journal_session *b);
bool __wrap_journal_session_same_place_(const struct journal_session *a,
					const struct journal_session *b);

/* The machine has stopped meanwhile. */
static bool is_another_boot;

bool __wrap_journal_session_same_place_(const struct journal_session *a,
					const struct journal_session *b)
{
	return !is_another_boot && __real_journal_session_same_place_(a, b);
}

/* What a check has told, but for notes of the session itself. */
struct told {
	size_t count;
	bool crashed;
	struct {
		enum check_fault fault;
		enum check_state state;
		uint64_t first, last;
		char path[64], backing[256];
	} of[TOLD_MAX];
};

static void on_found(void *arg, const struct check_finding *f)
{
	struct told *t = arg;
	size_t n = t->count;

	if (f->fault == CHECK_CRASHED) {
		assert_string_equal(f->backing, ".frondfs/journal/session");
		t->crashed = true;
		return;
	}
	assert_true(n < TOLD_MAX);
	t->of[n].fault = f->fault;
	t->of[n].state = f->state;
	t->of[n].first = f->first;
	t->of[n].last = f->last;
	snprintf(t->of[n].path, sizeof t->of[n].path, "%s",
		 f->path ? f->path : "?");
	snprintf(t->of[n].backing, sizeof t->of[n].backing, "%s", f->backing);
	t->count++;
}

static struct told check_vault(struct fixture *fx, bool repair)
{
	struct told t = {0};
	struct check_result r;
	const struct check_options opt = {
		.jobs = 1, .repair = repair, .found = on_found, .arg = &t};

	again(fx);
	if (repair)
		assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(vault_check(fx->vault, &opt, &r), 0);
	if (repair)
		again(fx);
	return t;
}

static void expect_told(const struct told *t, size_t n, enum check_fault fault,
			enum check_state state, const char *path)
{
	assert_true(n < t->count);
	assert_int_equal(t->of[n].fault, fault);
	assert_int_equal(t->of[n].state, state);
	assert_string_equal(t->of[n].path, path);
}

static void expect_chunks(const struct told *t, size_t n, uint64_t first,
			  uint64_t last)
{
	expect_told(t, n, CHECK_TOKEN, CHECK_DAMAGED, "f");
	assert_int_equal(t->of[n].first, first);
	assert_int_equal(t->of[n].last, last);
}

/* These are other bytes then; or what they were. */
static void spoil(struct fixture *fx, const char *name, uint64_t first,
		  uint64_t last)
{
	int fd = vf_backing_fd(fx, name);

	for (uint64_t i = first; i <= last; i++)
		fx_spoil(fd, (off_t)chunk_offset(i) + 1000);
	close(fd);
}

/* The journal has every third chunk of the one file. */
static void test_held__spares_nothing_else(void **state)
{
	struct fixture *fx = *state;
	struct told t;

	make(fx, "f");
	make(fx, "g");
	die_after(fx, overwrite, "f");
	for (uint64_t i = 0; i < 7; i++) {
		spoil(fx, "f", i, i);
		t = check_vault(fx, false);
		assert_true(t.crashed);
		assert_int_equal(t.count, i % 3 != 0);
		if (t.count)
			expect_chunks(&t, 0, i, i);
		spoil(fx, "f", i, i);
	}
	spoil(fx, "g", 3, 3);
	t = check_vault(fx, false);
	assert_int_equal(t.count, 1);
	expect_told(&t, 0, CHECK_TOKEN, CHECK_DAMAGED, "g");
}

static void change_two(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");
	struct vfile *g = vf_open(fx, fx->vault, "g");

	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 3 * CHUNK_SIZE), 0);
	assert_int_equal(vf_put(g, new_bytes, CHUNK_SIZE, 5 * CHUNK_SIZE), 0);
	assert_int_equal(vfile_sync(f, false) || vfile_sync(g, false), 0);
}

/* What it has of another file is of no use. */
static void test_held__is_this_files(void **state)
{
	struct fixture *fx = *state;
	struct told t;

	make(fx, "f");
	make(fx, "g");
	die_in(fx, change_two);
	spoil(fx, "f", 3, 3);
	spoil(fx, "g", 5, 5);
	assert_int_equal(check_vault(fx, false).count, 0);
	spoil(fx, "f", 5, 5);
	t = check_vault(fx, false);
	assert_int_equal(t.count, 1);
	expect_chunks(&t, 0, 5, 5);
}

/* Neighbours are told as one, and each is judged by itself. */
static void test_held__hides_no_neighbour(void **state)
{
	struct fixture *fx = *state;
	struct told t;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	spoil(fx, "f", 3, 4);
	t = check_vault(fx, false);
	assert_int_equal(t.count, 1);
	expect_chunks(&t, 0, 4, 4);
	spoil(fx, "f", 5, 7);
	t = check_vault(fx, false);
	assert_int_equal(t.count, 2);
	expect_chunks(&t, 0, 4, 5);
	expect_chunks(&t, 1, 7, 7);
}

static void cut(struct vfile *f)
{
	assert_int_equal(vf_truncate(f, 20 * CHUNK_SIZE), 0);
}

/* What is cut off by the next mount may be what it likes. */
static void test_held__is_a_length(void **state)
{
	struct fixture *fx = *state;
	struct told t;

	make(fx, "f");
	die_after(fx, cut, "f");
	spoil(fx, "f", 18, 25);
	t = check_vault(fx, false);
	assert_int_equal(t.count, 1);
	expect_chunks(&t, 0, 18, 18);
}

/* A header is in no journal. */
static void test_held__is_no_header(void **state)
{
	struct fixture *fx = *state;
	struct told t;
	int fd;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	fd = vf_backing_fd(fx, "f");
	fx_spoil(fd, 60);
	close(fd);
	t = check_vault(fx, false);
	assert_int_equal(t.count, 1);
	expect_told(&t, 0, CHECK_HEADER, CHECK_DAMAGED, "f");
}

enum { PIECES = 30, LAST = PIECES * CHUNKS - 1 };

static void stream_new(struct fixture *fx)
{
	struct vfile *f = vf_create(fx, "f");

	fill();
	for (size_t i = 0; i < PIECES; i++)
		assert_int_equal(vf_put(f, old_bytes, LEN, i * LEN), 0);
	assert_true(vfile_in_flux(f));
}

/* A file without an end: it is a note, of the file's end alone. A process that
 * died has torn nothing far in front of it. */
static void test_mended__spares_the_end_alone(void **state)
{
	struct fixture *fx = *state;
	struct told t;

	die_in(fx, stream_new);
	t = check_vault(fx, false);
	assert_true(t.crashed);
	assert_int_equal(t.count, 1);
	expect_told(&t, 0, CHECK_JOURNAL, CHECK_NOTE, "f");
	spoil(fx, "f", LAST - 1, LAST);
	spoil(fx, "f", 20, 20);
	t = check_vault(fx, false);
	assert_int_equal(t.count, 2);
	expect_told(&t, 0, CHECK_JOURNAL, CHECK_NOTE, "f");
	expect_chunks(&t, 1, 20, 20);
	spoil(fx, "f", 20, 20);
	t = check_vault(fx, true);
	assert_true(t.crashed);
	assert_true(t.count > 0);
	expect_told(&t, 0, CHECK_JOURNAL, CHECK_REPAIRED, "f");
	t = check_vault(fx, false);
	assert_false(t.crashed);
	assert_int_equal(t.count, 1);
	assert_int_equal(t.of[0].fault, CHECK_CUT_OFF);
}

static void stream_below(struct fixture *fx)
{
	struct backing_name name;
	uint8_t outer[DIRID_LEN], inner[DIRID_LEN];
	struct vfile *f;
	int fd, below;

	fill();
	fx_mkdir(fx, fx->vault->root_fd, fx->root_id, "outer", &name, outer,
		 &fd);
	fx_mkdir(fx, fd, outer, "inner", &name, inner, &below);
	name = fx_name(fx, inner, "f");
	assert_int_equal(vfile_create(fx->vault, below, inner, &name, 0644, &f),
			 0);
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
}

static void test_mended__is_told_by_its_plain_path(void **state)
{
	struct fixture *fx = *state;
	struct told t;

	die_in(fx, stream_below);
	t = check_vault(fx, false);
	assert_int_equal(t.count, 1);
	expect_told(&t, 0, CHECK_JOURNAL, CHECK_NOTE, "outer/inner/f");
	assert_int_equal(
		faccessat(fx->vault->root_fd, t.of[0].backing, F_OK, 0), 0);
}

static void name_new(struct fixture *fx)
{
	vfile_close(vf_create(fx, "f"));
	(void)vf_create(fx, "g");
}

/* Of a file that has only a name nothing is missing. */
static void test_emptied__is_no_damage(void **state)
{
	struct fixture *fx = *state;
	struct told t;
	char path[512];

	die_in(fx, name_new);
	path_of(fx, "f", path);
	assert_int_equal(truncate(path, 0), 0);
	t = check_vault(fx, false);
	assert_int_equal(t.count, 1);
	expect_told(&t, 0, CHECK_HEADER, CHECK_DAMAGED, "f");
	is_another_boot = true;
	t = check_vault(fx, false);
	is_another_boot = false;
	assert_int_equal(t.count, 1);
	expect_told(&t, 0, CHECK_JOURNAL, CHECK_NOTE, "f");
}

/* What the disk does not give now stays, for when it does. */
static void test_session__that_cannot_be_read(void **state)
{
	struct fixture *fx = *state;
	char path[512];
	struct stat st;
	struct told t;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	snprintf(path, sizeof path, "%s/.frondfs/journal/session", fx->path);
	assert_int_equal(stat(path, &st), 0);
	for (int repair = 0; repair < 2; repair++) {
		bad_ino = st.st_ino;
		t = check_vault(fx, repair);
		bad_ino = 0;
		assert_false(t.crashed);
		assert_int_equal(t.count, 1);
		expect_told(&t, 0, CHECK_SESSION, CHECK_DAMAGED, "?");
		expect_session(fx, true);
	}
	assert_int_equal(check_vault(fx, true).count, 0);
	expect(fx, "f", redone_bytes);
}

/* What nobody can tell of is told as long as it is kept. */
static void test_session__that_says_nothing(void **state)
{
	struct fixture *fx = *state;
	struct told t;

	make(fx, "f");
	die_after(fx, overwrite, "f");
	shell("cd '%s/.frondfs/journal' && rm *.? && printf garbage > session",
	      fx->path);
	t = check_vault(fx, false);
	assert_false(t.crashed);
	assert_int_equal(t.count, 1);
	expect_told(&t, 0, CHECK_SESSION, CHECK_DAMAGED, "?");
	assert_string_equal(t.of[0].backing, ".frondfs/journal/session");
	for (int repair = 1; repair >= 0; repair--) {
		t = check_vault(fx, repair);
		assert_true(t.count > 0);
		expect_told(&t, 0, CHECK_SESSION, CHECK_DAMAGED, "?");
		assert_string_equal(t.of[0].backing,
				    ".frondfs/journal/session.damaged");
		expect_session(fx, false);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_held__spares_nothing_else),
		TEST(test_held__is_this_files),
		TEST(test_held__hides_no_neighbour),
		TEST(test_held__is_a_length),
		TEST(test_held__is_no_header),
		TEST(test_mended__spares_the_end_alone),
		TEST(test_mended__is_told_by_its_plain_path),
		TEST(test_emptied__is_no_damage),
		TEST(test_session__that_cannot_be_read),
		TEST(test_session__that_says_nothing),
	};
	int status = vf_init();

	return status ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
