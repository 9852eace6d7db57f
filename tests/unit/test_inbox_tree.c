/* Where what comes is put, and that nothing else is touched by it. */
#include "inbox_fixture.h"

#include <sys/time.h>

static struct ix_set *send_named(struct ix *ix, const char *name)
{
	const struct ix_spec spec = {.name = name, .size = 10, .k = 1, .n = 1};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver_all(ix, s);
	ix_scan(ix);
	return s;
}

static void test_place__numbers_names_that_are_taken(void **state)
{
	struct ix *ix = *state;
	static const char *const names[][2] = {
		{"report.pdf", "report (2).pdf"},
		{"noext", "noext (2)"},
		{".hidden", ".hidden (2)"},
		{"a.tar.gz", "a.tar (2).gz"},
		{"dot.", "dot. (2)"},
	};
	char path[300];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		/* the user's own comes first */
		ix_put_file(ix->fx->vault, "Shared/alice", names[i][0], "mine",
			    4);
	}
	/* that Shared is the user's: ours is another */
	ix_free(send_named(ix, names[0][0]));
	assert_true(
		ix_holds(ix->fx->vault, "Shared (2)/alice/report.pdf", 0, 10));
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (i)
			ix_free(send_named(ix, names[i][0]));
		ix_free(send_named(ix, names[i][0]));
		snprintf(path, sizeof path, "Shared (2)/alice/%s", names[i][1]);
		assert_true(ix_holds(ix->fx->vault, path, 0, 10));
	}
	ix_free(send_named(ix, "noext"));
	assert_true(
		ix_holds(ix->fx->vault, "Shared (2)/alice/noext (3)", 0, 10));
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 5);
}

static void test_place__cuts_long_names_between_characters(void **state)
{
	struct ix *ix = *state;
	char name[256], path[300], second[256];

	/* 2 + 83 * 3 + 4 = 255 */
	strcpy(name, "xy");
	for (int i = 0; i < 83; i++)
		strcat(name, "\xe2\x82\xac");
	strcat(name, ".pdf");
	ix_free(send_named(ix, name));
	ix_free(send_named(ix, name));
	snprintf(path, sizeof path, "Shared/alice/%s", name);
	assert_true(ix_holds(ix->fx->vault, path, 0, 10));
	strcpy(second, "xy");
	for (int i = 0; i < 81; i++)
		strcat(second, "\xe2\x82\xac");
	strcat(second, " (2).pdf");
	snprintf(path, sizeof path, "Shared/alice/%s", second);
	assert_true(ix_holds(ix->fx->vault, path, 0, 10));
}

static void test_place__leaves_a_file_called_shared_alone(void **state)
{
	struct ix *ix = *state;

	ix_put_file(ix->fx->vault, "", "Shared", "mine", 4);
	ix_free(send_named(ix, "one"));
	assert_true(ix_holds(ix->fx->vault, "Shared (2)/alice/one", 0, 10));
	ix_reopen(ix);
	ix_free(send_named(ix, "two"));
	assert_true(ix_holds(ix->fx->vault, "Shared (2)/alice/two", 0, 10));
	assert_int_equal(ix_entries(ix->fx->vault, "Shared (2)"), 1);
}

static void move(struct ix *ix, const char *from_dir, const char *from,
		 const char *to_dir, const char *to)
{
	struct vtree_dir a, b;
	struct backing_name from_name, to_name;
	struct vault *v = ix->fx->vault;

	assert_int_equal(vtree_open_dir(v, from_dir, false, 0, &a), 0);
	assert_int_equal(vtree_open_dir(v, to_dir, true, 0700, &b), 0);
	assert_int_equal(
		name_encode(v->names, a.id, from, strlen(from), &from_name), 0);
	assert_int_equal(name_encode(v->names, b.id, to, strlen(to), &to_name),
			 0);
	const struct vdir_rename r = {.from_fd = a.fd,
				      .to_fd = b.fd,
				      .from = &from_name,
				      .to = &to_name};

	assert_int_equal(vdir_rename(&r), 0);
	vtree_close_dir(&a);
	vtree_close_dir(&b);
}

static void test_place__follows_our_directory_when_it_is_renamed(void **state)
{
	struct ix *ix = *state;

	ix_free(send_named(ix, "one"));
	move(ix, "", "Shared", "", "Received");
	ix_free(send_named(ix, "two"));
	assert_true(ix_holds(ix->fx->vault, "Received/alice/two", 0, 10));
	assert_int_equal(ix_entries(ix->fx->vault, "Shared"), -1);
	/* and makes another when it is gone */
	move(ix, "", "Received", "deep/down", "there");
	ix_free(send_named(ix, "three"));
	assert_true(ix_holds(ix->fx->vault, "Shared/alice/three", 0, 10));
}

static void test_place__goes_round_a_file_called_like_the_sender(void **state)
{
	struct ix *ix = *state;

	ix_free(send_named(ix, "one"));
	move(ix, "Shared", "alice", "", "old");
	ix_put_file(ix->fx->vault, "Shared", "alice", "mine", 4);
	ix_free(send_named(ix, "two"));
	assert_true(ix_holds(ix->fx->vault, "Shared/alice (2)/two", 0, 10));
}

struct pile {
	struct ix_file files[IX_FILES_MAX];
	char paths[IX_FILES_MAX][64];
	size_t count, file_count;
};

/* 25 folders with 20 files each, one of them deep. */
static struct pile *make_pile(void)
{
	struct pile *p = calloc(1, sizeof *p);

	for (size_t d = 0; d < 25; d++) {
		snprintf(p->paths[p->count], 64, "%sdir%02zu",
			 d == 24 ? "dir03/" : "", d);
		p->files[p->count] =
			(struct ix_file){p->paths[p->count], 0, true};
		p->count++;
		for (size_t f = 0; f < 20; f++) {
			snprintf(p->paths[p->count], 64, "%sdir%02zu/file%zu",
				 d == 24 ? "dir03/" : "", d, f);
			p->files[p->count] = (struct ix_file){
				p->paths[p->count], f * 300, false};
			p->count++;
			p->file_count++;
		}
	}
	return p;
}

static void expect_pile(struct ix *ix, const struct pile *pile,
			const char *base)
{
	char path[200];

	for (size_t i = 0; i < pile->count; i++) {
		if (pile->files[i].is_dir)
			continue;
		snprintf(path, sizeof path, "%s/%s", base, pile->paths[i]);
		assert_true(
			ix_holds(ix->fx->vault, path, i, pile->files[i].size));
	}
}

static void test_folder__of_500_files_opens(void **state)
{
	struct ix *ix = *state;
	struct pile *pile = make_pile();
	struct ix_spec spec = {.name = "pile.d",
			       .folder = true,
			       .files = pile->files,
			       .file_count = pile->count,
			       .k = 1,
			       .n = 2};
	struct ix_set *s = ix_make(ix, &spec), *again = ix_make(ix, &spec);

	assert_int_equal(pile->file_count, 500);
	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	assert_int_equal(
		ix_locked(ix->fx->vault, "Shared/alice/pile.d/dir02/file7"), 1);
	assert_int_equal(ix_error(ix, "Shared/alice/pile.d/dir03/dir24/file1"),
			 -ENOKEY);
	ix_reopen(ix);
	assert_int_equal(ix_error(ix, "Shared/alice/pile.d/dir03/dir24/file1"),
			 -ENOKEY);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	expect_pile(ix, pile, "Shared/alice/pile.d");
	assert_int_equal(
		ix_stat(ix->fx->vault, "Shared/alice/pile.d/dir03").stx_mode &
			07777,
		0700);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, "pile.d"), 1);
	assert_int_equal(ix_spooled(ix, ".part"), 0);
	assert_false(inbox_has_entries(ix->in));
	ix_deliver_all(ix, again);
	ix_scan(ix);
	expect_pile(ix, pile, "Shared/alice/pile.d (2)");
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 0);
	ix_free(s);
	ix_free(again);
	free(pile);
}

static void test_folder__is_found_where_its_user_moved_it(void **state)
{
	struct ix *ix = *state;
	struct pile *pile = make_pile();
	struct ix_spec spec = {.name = "pile",
			       .folder = true,
			       .files = pile->files,
			       .file_count = pile->count,
			       .k = 1,
			       .n = 1};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	move(ix, "Shared/alice", "pile", "work/2026", "from alice");
	move(ix, "work/2026/from alice/dir01", "file2", "elsewhere", "found");
	assert_int_equal(ix_error(ix, "elsewhere/found"), -ENOKEY);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, "elsewhere/found", 24, 600));
	assert_int_equal(
		ix_locked(ix->fx->vault, "work/2026/from alice/dir01/file2"),
		-1);
	move(ix, "elsewhere", "found", "work/2026/from alice/dir01", "file2");
	expect_pile(ix, pile, "work/2026/from alice");
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 0);
	ix_free(s);
	free(pile);
}

static void remove_file(struct ix *ix, const char *dir_path, const char *name)
{
	struct vtree_dir dir;
	struct backing_name backing;
	struct statx stx;

	assert_int_equal(
		vtree_open_dir(ix->fx->vault, dir_path, false, 0, &dir), 0);
	assert_int_equal(vtree_stat(ix->fx->vault, &dir, name, &backing, &stx),
			 0);
	assert_int_equal(unlinkat(dir.fd, backing.entry, 0), 0);
	vtree_close_dir(&dir);
}

/* What the mount does when its user removes an entry. */
static void decline(struct ix *ix, const char *dir_path, const char *name)
{
	char path[300];
	struct statx stx;

	snprintf(path, sizeof path, "%s/%s", dir_path, name);
	stx = ix_stat(ix->fx->vault, path);
	remove_file(ix, dir_path, name);
	inbox_declined(ix->in, &stx);
}

static void test_declined__file_does_not_come_back(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = {.name = "x", .size = 70000, .k = 1, .n = 2};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver_parts(ix, s);
	ix_scan(ix);
	decline(ix, "Shared/alice", "x");
	assert_int_equal(ix_state(ix, s), -1);
	assert_int_equal(ix_logged(ix, VLOG_DECLINED, "x"), 1);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_spooled(ix, ".part"), 0);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	ix_reopen(ix);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 0);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 0);
	ix_free(s);
}

static void test_declined__before_the_first_scan_after_mounting(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = {.name = "x", .size = 70000, .k = 1, .n = 2};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	ix_reopen(ix);
	decline(ix, "Shared/alice", "x");
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 0);
	assert_int_equal(ix_logged(ix, VLOG_DECLINED, "x"), 1);
	ix_free(s);
}

static void test_declined__part_of_a_folder(void **state)
{
	static const struct ix_file files[] = {
		{"a", 10, false}, {"b", 20, false}, {"c", 30, false}};
	struct ix *ix = *state;
	struct ix_spec spec = {.name = "pile",
			       .folder = true,
			       .files = files,
			       .file_count = 3,
			       .k = 1,
			       .n = 1};
	struct ix_set *s = ix_make(ix, &spec), *t = ix_make(ix, &spec);

	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver(ix, &t->manifest, ".env");
	ix_scan(ix);
	decline(ix, "Shared/alice/pile", "b");
	ix_reopen(ix);
	ix_deliver_all(ix, s);
	ix_deliver_all(ix, t);
	ix_scan(ix);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice/pile"), 2);
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice/pile (2)"), 3);
	assert_true(ix_holds(ix->fx->vault, "Shared/alice/pile/c", 2, 30));
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 2);
	ix_free(s);
	ix_free(t);
}

static void test_declined__what_was_withdrawn(void **state)
{
	static const struct ix_file files[] = {
		{"a", 10, false}, {"b", 20, false}, {"d", 0, true}};
	struct ix *ix = *state;
	struct ix_spec spec = {.name = "x", .size = 70000, .k = 1, .n = 2};
	struct ix_set *one = ix_make(ix, &spec), *many;
	uint8_t reason = REVOKE_WITHDRAWN;
	struct ix_blob back[2];

	spec.name = "pile";
	spec.folder = true;
	spec.files = files;
	spec.file_count = 3;
	many = ix_make(ix, &spec);
	ix_deliver(ix, &one->manifest, ".env");
	ix_deliver(ix, &many->manifest, ".env");
	ix_scan(ix);
	back[0] = ix_seal(ix, ix->alice, STATEMENT_REVOKE, 0, one->set_id,
			  &reason, 1);
	back[1] = ix_seal(ix, ix->alice, STATEMENT_REVOKE, 0, many->set_id,
			  &reason, 1);
	ix_deliver(ix, &back[0], ".env");
	ix_deliver(ix, &back[1], ".env");
	ix_scan(ix);
	decline(ix, "Shared/alice", "x");
	decline(ix, "Shared/alice/pile", "a");
	ix_scan(ix);
	assert_int_equal(ix_state(ix, one), -1);
	assert_int_equal(ix_state(ix, many), INBOX_REVOKED);
	ix_reopen(ix);
	decline(ix, "Shared/alice/pile", "b");
	ix_scan(ix);
	assert_int_equal(ix_state(ix, many), -1);
	assert_int_equal(ix_spooled(ix, ".set"), 0);
	assert_false(inbox_has_entries(ix->in));
	free(back[0].bytes);
	free(back[1].bytes);
	ix_free(one);
	ix_free(many);
}

static void test_import__makes_anew_what_vanished(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = {.name = "x", .size = 70000, .k = 1, .n = 1};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	/* behind the mount's back, and the user's own in its place */
	remove_file(ix, "Shared/alice", "x");
	ix_put_file(ix->fx->vault, "Shared/alice", "x", "mine", 4);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, "Shared/alice/x (2)", 0, 70000));
	assert_false(ix_holds(ix->fx->vault, "Shared/alice/x", 0, 70000));
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 2);
	ix_free(s);
}

static void test_import__bears_an_unreadable_placeholder(void **state)
{
	struct ix *ix = *state;
	struct ix_spec spec = {.name = "x", .size = 70000, .k = 1, .n = 1};
	struct ix_set *s = ix_make(ix, &spec);
	struct vtree_dir dir;
	struct backing_name backing;
	struct statx stx;

	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	assert_int_equal(
		vtree_open_dir(ix->fx->vault, "Shared/alice", false, 0, &dir),
		0);
	assert_int_equal(vtree_stat(ix->fx->vault, &dir, "x", &backing, &stx),
			 0);
	assert_int_equal(fchmodat(dir.fd, backing.entry, 0, 0), 0);
	vtree_close_dir(&dir);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, "Shared/alice/x", 0, 70000));
	assert_int_equal(ix_entries(ix->fx->vault, "Shared/alice"), 1);
	ix_free(s);
}

static void test_place__gives_what_root_makes_to_the_owner(void **state)
{
	struct ix *ix = *state;
	struct statx stx;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(ix->fx->path, 1234, 1235), 0);
	ix_free(send_named(ix, "x"));
	stx = ix_stat(ix->fx->vault, "Shared/alice/x");
	assert_int_equal(stx.stx_uid, 1234);
	assert_int_equal(stx.stx_gid, 1235);
	stx = ix_stat(ix->fx->vault, "Shared/alice");
	assert_int_equal(stx.stx_uid, 1234);
	stx = ix_stat(ix->fx->vault, "Shared");
	assert_int_equal(stx.stx_gid, 1235);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ix_setup, ix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_place__numbers_names_that_are_taken),
		TEST(test_place__cuts_long_names_between_characters),
		TEST(test_place__leaves_a_file_called_shared_alone),
		TEST(test_place__follows_our_directory_when_it_is_renamed),
		TEST(test_place__goes_round_a_file_called_like_the_sender),
		TEST(test_folder__of_500_files_opens),
		TEST(test_folder__is_found_where_its_user_moved_it),
		TEST(test_declined__file_does_not_come_back),
		TEST(test_declined__before_the_first_scan_after_mounting),
		TEST(test_declined__part_of_a_folder),
		TEST(test_declined__what_was_withdrawn),
		TEST(test_import__makes_anew_what_vanished),
		TEST(test_import__bears_an_unreadable_placeholder),
		TEST(test_place__gives_what_root_makes_to_the_owner),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
