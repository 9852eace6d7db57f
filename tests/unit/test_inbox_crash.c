/*
 * Killed at any call that changes the disk, out of room or failing at any, the
 * inbox comes to exactly one result in the end.
 */
#include "inbox_fixture.h"

#include "crash_fixture.h"

int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags);
int __real_mkdirat(int dirfd, const char *name, mode_t mode);
int __wrap_mkdirat(int dirfd, const char *name, mode_t mode);

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to,
		     unsigned flags)
{
	if (!crash_now())
		return __real_renameat2(from_fd, from, to_fd, to, flags);
	crash_die();
	return -1;
}

int __wrap_mkdirat(int dirfd, const char *name, mode_t mode)
{
	if (!crash_now())
		return __real_mkdirat(dirfd, name, mode);
	crash_die();
	return -1;
}

/* A copy of bob's vault, under the same keys. */
struct copy {
	struct ix ix;
	struct fixture fx;
	struct vault vault;
};

static void copy_open(struct copy *c, const struct ix *from)
{
	char command[400];

	c->ix = *from;
	c->fx = *from->fx;
	c->vault = *from->fx->vault;
	snprintf(c->fx.path, sizeof c->fx.path, "%.80s/copy", from->fx->top);
	snprintf(command, sizeof command, "rm -rf '%s' && cp -a '%s' '%s'",
		 c->fx.path, from->fx->path, c->fx.path);
	assert_int_equal(system(command), 0);
	c->vault.path = c->fx.path;
	c->vault.root_fd = open(c->fx.path, O_PATH | O_DIRECTORY);
	c->vault.meta_fd =
		openat(c->vault.root_fd, NAME_VAULT_DIR, O_PATH | O_DIRECTORY);
	c->fx.vault = &c->vault;
	c->ix.fx = &c->fx;
	c->ix.spool = openat(c->vault.meta_fd, VAULT_INBOX_DIR,
			     O_RDONLY | O_DIRECTORY);
	assert_true(c->ix.spool >= 0);
	c->ix.in = NULL;
	c->ix.log = NULL;
}

static void copy_close(struct copy *c)
{
	ix_close(&c->ix);
	close(c->vault.root_fd);
	close(c->vault.meta_fd);
	close(c->ix.spool);
}

static int scan_once(void *arg)
{
	struct copy *c = arg;
	int err = vlog_open(&c->vault, &c->ix.log);

	if (!err)
		err = inbox_open(&c->vault, c->ix.log, NULL, &c->ix.in);
	return err ? err : inbox_scan(c->ix.in, NULL);
}

static void expect_clean_spool(const struct ix *ix)
{
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_spooled(ix, ".part"), 0);
	assert_int_equal(ix_spooled(ix, ".set"), 0);
	assert_int_equal(ix_spooled(ix, ".new"), 0);
	assert_int_equal(ix_spooled(ix, ".stage"), 0);
	assert_int_equal(fx_count_temps(ix->spool), 0);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 0);
}

/* Which calls: all; where each takes long, what sanitizers see is the same. */
#ifdef FROND_SANITIZED
enum { STRIDE = 4 };
#else
enum { STRIDE = 1 };
#endif

/* Die at every call of a scan, scan again, and look. */
static int die_everywhere(const struct ix *ix,
			  void (*check)(const struct copy *c, void *arg),
			  void *arg)
{
	bool died = true;
	int n;

	for (n = 0; died; n += STRIDE) {
		struct copy *c = calloc(1, sizeof *c);
		int result = 0;

		copy_open(c, ix);
		died = crash_child(n, scan_once, c, &result);
		if (!died)
			assert_int_equal(result, 0);
		for (int i = 0; i < 2; i++) {
			ix_open(&c->ix);
			ix_scan(&c->ix);
			check(c, arg);
			if (i == 0)
				ix_close(&c->ix);
		}
		copy_close(c);
		free(c);
	}
	return n;
}

/* The same without dying: no room at one call, or from there on; or the disk
 * fails at one. */
static int fail_everywhere(const struct ix *ix, enum crash_mode mode,
			   void (*check)(const struct copy *c, void *arg),
			   void *arg)
{
	bool failed = true;
	int n;

	for (n = 0; failed; n += STRIDE) {
		struct copy *c = calloc(1, sizeof *c);
		int err;

		copy_open(c, ix);
		ix_open(&c->ix);
		crash_left = n;
		crash_mode = mode;
		err = inbox_scan(c->ix.in, NULL);
		failed = crash_left < 0;
		crash_mode = CRASH_NOT;
		if (err)
			assert_int_equal(err,
					 mode == CRASH_IO ? -EIO : -ENOSPC);
		ix_scan(&c->ix);
		check(c, arg);
		copy_close(c);
		free(c);
	}
	return n;
}

static void everywhere(const struct ix *ix,
		       void (*check)(const struct copy *c, void *arg),
		       void *arg)
{
	assert_true(die_everywhere(ix, check, arg) > 15);
	assert_true(fail_everywhere(ix, CRASH_NO_ROOM, check, arg) > 10);
	assert_true(fail_everywhere(ix, CRASH_NO_MORE_ROOM, check, arg) > 10);
	assert_true(fail_everywhere(ix, CRASH_IO, check, arg) > 10);
}

static void expect_report(const struct copy *c, void *arg)
{
	(void)arg;
	assert_true(ix_holds(c->fx.vault, "Shared/alice/report.pdf", 0, 90000));
	assert_int_equal(ix_entries(c->fx.vault, "Shared/alice"), 1);
	assert_int_equal(ix_entries(c->fx.vault, "Shared"), 1);
	/* .tgshare and Shared */
	assert_int_equal(ix_entries(c->fx.vault, ""), 2);
	assert_int_equal(ix_logged(&c->ix, VLOG_OPENED, NULL), 1);
	assert_int_equal(ix_logged(&c->ix, VLOG_RECEIVED, NULL), 4);
	expect_clean_spool(&c->ix);
	assert_false(inbox_has_entries(c->ix.in));
}

static void test_crash__while_a_file_comes(void **state)
{
	struct ix *ix = *state;
	const struct ix_spec spec = {
		.name = "report.pdf", .size = 90000, .k = 2, .n = 3};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver_all(ix, s);
	ix_close(ix);
	everywhere(ix, expect_report, NULL);
	ix_open(ix);
	ix_free(s);
}

static void test_crash__while_a_shown_file_opens(void **state)
{
	struct ix *ix = *state;
	const struct ix_spec spec = {
		.name = "report.pdf", .size = 90000, .k = 2, .n = 3};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver(ix, &s->share[1], ".env");
	ix_scan(ix);
	ix_deliver_all(ix, s);
	ix_close(ix);
	everywhere(ix, expect_report, NULL);
	ix_open(ix);
	ix_free(s);
}

static void expect_folder(const struct copy *c, void *arg)
{
	(void)arg;
	assert_true(ix_holds(c->fx.vault, "Shared/alice/f/sub/a", 1, 5000));
	assert_true(ix_holds(c->fx.vault, "Shared/alice/f/b", 2, 0));
	assert_int_equal(ix_entries(c->fx.vault, "Shared/alice"), 1);
	assert_int_equal(ix_entries(c->fx.vault, "Shared/alice/f"), 2);
	assert_int_equal(ix_entries(c->fx.vault, "Shared/alice/f/sub"), 1);
	assert_int_equal(ix_logged(&c->ix, VLOG_OPENED, NULL), 1);
	expect_clean_spool(&c->ix);
}

static void test_crash__while_a_folder_comes(void **state)
{
	static const struct ix_file files[] = {
		{"sub", 0, true}, {"sub/a", 5000, false}, {"b", 0, false}};
	struct ix *ix = *state;
	const struct ix_spec spec = {.name = "f",
				     .folder = true,
				     .files = files,
				     .file_count = 3,
				     .k = 1,
				     .n = 1};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver_all(ix, s);
	ix_close(ix);
	everywhere(ix, expect_folder, NULL);
	ix_open(ix);
	ix_free(s);
}

static void expect_withdrawn(const struct copy *c, void *arg)
{
	(void)arg;
	assert_int_equal(ix_locked(c->fx.vault, "Shared/alice/report.pdf"), 1);
	assert_int_equal(ix_entries(c->fx.vault, "Shared/alice"), 1);
	assert_int_equal(ix_logged(&c->ix, VLOG_WITHDRAWN, NULL), 1);
	assert_int_equal(ix_logged(&c->ix, VLOG_OPENED, NULL), 0);
	assert_int_equal(ix_spooled(&c->ix, ".part"), 0);
	assert_int_equal(ix_spooled(&c->ix, ".set"), 1);
	assert_true(inbox_has_entries(c->ix.in));
}

static void test_crash__while_a_set_is_withdrawn(void **state)
{
	struct ix *ix = *state;
	const struct ix_spec spec = {
		.name = "report.pdf", .size = 90000, .k = 2, .n = 3};
	struct ix_set *s = ix_make(ix, &spec);
	uint8_t reason = REVOKE_WITHDRAWN;
	struct ix_blob hers = ix_seal(ix, ix->alice, STATEMENT_REVOKE, 0,
				      s->set_id, &reason, 1);

	/* what was never shown would not be shown now */
	ix_deliver(ix, &s->manifest, ".env");
	ix_scan(ix);
	ix_deliver_all(ix, s);
	ix_deliver(ix, &hers, ".env");
	ix_close(ix);
	everywhere(ix, expect_withdrawn, NULL);
	ix_open(ix);
	free(hers.bytes);
	ix_free(s);
}

static void expect_known(const struct copy *c, void *arg)
{
	(void)arg;
	assert_true(ix_holds(c->fx.vault, "Shared/carol/report.pdf", 0, 90000));
	assert_int_equal(ix_entries(c->fx.vault, "Shared/carol"), 1);
	assert_int_equal(ix_entries(c->fx.vault, "Shared"), 1);
	assert_int_equal(ix_logged(&c->ix, VLOG_OPENED, NULL), 1);
	expect_clean_spool(&c->ix);
}

static void test_crash__while_a_stranger_becomes_known(void **state)
{
	struct ix *ix = *state;
	const struct ix_spec spec = {.from = ix->carol,
				     .name = "report.pdf",
				     .size = 90000,
				     .k = 1,
				     .n = 1};
	struct ix_set *s = ix_make(ix, &spec);

	ix_deliver_all(ix, s);
	ix_scan(ix);
	ix_befriend(ix, ix->carol, "carol");
	ix_close(ix);
	everywhere(ix, expect_known, NULL);
	ix_open(ix);
	ix_free(s);
}

static void expect_grant(const struct copy *c, void *arg)
{
	const struct ix_set *s = arg;

	assert_int_equal(ix_locked(c->fx.vault, "Shared/alice/plan"), 1);
	assert_int_equal(ix_entries(c->fx.vault, "Shared/alice"), 1);
	assert_int_equal(ix_logged(&c->ix, VLOG_OPENED, NULL), 2);
	assert_int_equal(ix_spooled(&c->ix, ".grant"), 1);
	assert_int_equal(ix_state(&c->ix, s), INBOX_NOT_ATTACHED);
	assert_true(inbox_has_entries(c->ix.in));
	expect_clean_spool(&c->ix);
}

static void test_crash__while_a_grant_replaces_another(void **state)
{
	struct ix *ix = *state;
	uint8_t vault_id[MANIFEST_VAULT_ID_LEN] = {1}, file_id[16] = {2};
	struct ix_spec spec = {.name = "plan",
			       .size = 90000,
			       .k = 2,
			       .n = 2,
			       .kind = MANIFEST_GRANT,
			       .backing_path = "AAAA/BBBB",
			       .vault_id = vault_id,
			       .file_id = file_id};
	struct ix_set *s = ix_make(ix, &spec), *t;

	spec.replaces = s->set_id;
	t = ix_make(ix, &spec);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	ix_deliver_all(ix, t);
	ix_close(ix);
	everywhere(ix, expect_grant, t);
	ix_open(ix);
	ix_free(s);
	ix_free(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ix_setup, ix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_crash__while_a_file_comes),
		TEST(test_crash__while_a_shown_file_opens),
		TEST(test_crash__while_a_folder_comes),
		TEST(test_crash__while_a_set_is_withdrawn),
		TEST(test_crash__while_a_stranger_becomes_known),
		TEST(test_crash__while_a_grant_replaces_another),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
