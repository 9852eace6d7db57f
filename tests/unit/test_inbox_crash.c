/*
 * Killed at any call that changes the disk, the power failing at any, out of
 * room or failing in any other way at any: in the end the inbox comes to
 * exactly one result.
 */
#include "inbox_fixture.h"

#include "../crash/random.h"
#include "../crash/recorder.h"
#include "../crash/states.h"

/* A copy of bob's vault, under the same keys. */
struct copy {
	struct ix ix;
	struct fixture fx;
	struct vault vault;
};

static void
copy_open_as(struct copy *c, const struct ix *from, const struct image *im,
	     void (*tell)(void *arg, unsigned obj, const struct stat *st))
{
	c->ix = *from;
	c->fx = *from->fx;
	c->vault = *from->fx->vault;
	snprintf(c->fx.path, sizeof c->fx.path, "%.80s/copy", from->fx->top);
	image_remove_tree(c->fx.path);
	image_store(im, c->fx.path, tell, NULL);
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

static void copy_open(struct copy *c, const struct ix *from,
		      const struct image *im)
{
	copy_open_as(c, from, im, NULL);
}

static void copy_close(struct copy *c)
{
	ix_close(&c->ix);
	close(c->vault.root_fd);
	close(c->vault.meta_fd);
	close(c->ix.spool);
}

/*
 * How much of what is to come is there. A call that failed may have kept one
 * message from being read when others opened the set: then it comes too late.
 * What could not be removed goes when the inbox is opened again.
 */
static enum { ALL, IN_SPITE_OF_IT, AS_SOON } so_far;

static void expect_clean_spool(const struct ix *ix)
{
	if (so_far == AS_SOON)
		return;
	assert_int_equal(ix_spooled(ix, ".env"), 0);
	assert_int_equal(ix_spooled(ix, ".part"), 0);
	assert_int_equal(ix_spooled(ix, ".set"), 0);
	assert_int_equal(ix_spooled(ix, ".new"), 0);
	assert_int_equal(ix_spooled(ix, ".stage"), 0);
	assert_int_equal(fx_count_temps(ix->spool), 0);
	assert_true(ix_logged(ix, VLOG_REFUSED, NULL) <= (so_far != ALL));
}

/* Which calls: all; where each takes long, what sanitizers see is the same. */
#ifdef FROND_SANITIZED
enum { STRIDE = 4, POWERS = 10, CHAINS = 10 };
#else
enum { STRIDE = 1, POWERS = 40, CHAINS = 40 };
#endif
enum { KILLS_MAX = 4 };

/* What is being tried, for who sees it fail. */
static char present[80];

/* What is to come of a delivery, whatever happens. */
struct goal {
	const struct ix *ix;
	void (*check)(const struct copy *c, void *arg);
	void *arg;
	struct oplog log; /* of a scan that nothing happens to */
	bool shared;	  /* who goes on has been there before it */
};

static void record(struct goal *g)
{
	struct image *before = image_scan(g->ix->fx->path);
	struct copy *c = calloc(1, sizeof *c);

	assert_non_null(c);
	copy_open(c, g->ix, before);
	c->vault.shared = g->shared;
	recorder_begin(c->fx.path, &g->log);
	ix_open(&c->ix);
	ix_scan(&c->ix);
	recorder_end(c->fx.path);
	ix_close(&c->ix);
	copy_close(c);
	free(c);
	image_free(before);
}

static void expect_sound_log(const struct copy *c)
{
	enum vlog_fault what;
	uint64_t seq;

	assert_int_equal(vlog_verify(c->ix.log, &what, &seq), 0);
}

static void crash_in(const struct goal *g, const struct oplog *log,
		     const struct plan *p)
{
	struct image *im = state_build(log, p, NULL);
	struct copy *c = calloc(1, sizeof *c);

	assert_non_null(c);
	snprintf(present, sizeof present, "crash " PLAN_FORMAT,
		 (unsigned)p->kind, p->end, (unsigned long long)p->seed);
	copy_open(c, g->ix, im);
	image_free(im);
	/* the second scan finds nothing to be done */
	for (size_t i = 0; i < (p->end % 4 ? 1 : 2); i++) {
		ix_open(&c->ix);
		ix_scan(&c->ix);
		g->check(c, g->arg);
		expect_sound_log(c);
		ix_close(&c->ix);
	}
	copy_close(c);
	free(c);
}

static void crash(const struct goal *g, const struct plan *p)
{
	crash_in(g, &g->log, p);
}

static void die_everywhere(const struct goal *g)
{
	assert_true(g->log.count > 15);
	for (size_t end = 0; end <= g->log.count; end += STRIDE) {
		const struct op *last = end ? &g->log.ops[end - 1] : NULL;
		struct plan p = {.kind = PLAN_KILL, .end = end};

		crash(g, &p);
		p.seed = last && last->kind == OP_WRITE ? last->len / 2 : 0;
		if (p.seed)
			crash(g, &p);
	}
}

static void lose_power(const struct goal *g)
{
	uint64_t rng = g->log.count;

	for (int i = 0; i < POWERS; i++) {
		struct plan p = {.kind = i % 4 ? PLAN_POWER : PLAN_SUBSET,
				 .end = random_below(&rng, g->log.count + 1)};
		size_t pending = state_pending(&g->log, p.end);

		p.seed = random_next(&rng) >> 8;
		if (p.kind == PLAN_SUBSET && pending < 64)
			p.seed &= (UINT64_C(1) << pending) - 1;
		crash(g, &p);
	}
}

static void move_spool(const struct copy *c, const char *from, const char *to)
{
	CLEANUP_FD int from_fd = openat(c->vault.root_fd, from, O_RDONLY);
	CLEANUP_FD int to_fd = openat(c->vault.root_fd, to, O_RDONLY);
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *e;

	assert_int_equal(xio_list(from_fd, &dir), 0);
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			assert_int_equal(
				renameat(from_fd, e->d_name, to_fd, e->d_name),
				0);
}

/* As another mount that has looked when there was nothing yet. */
static void open_early(struct copy *c)
{
	const char inbox[] = NAME_VAULT_DIR "/" VAULT_INBOX_DIR,
		   away[] = NAME_VAULT_DIR "/away";

	c->vault.shared = true;
	assert_int_equal(mkdirat(c->vault.root_fd, away, 0700), 0);
	move_spool(c, inbox, away);
	ix_open(&c->ix);
	ix_scan(&c->ix);
	move_spool(c, away, inbox);
	assert_int_equal(unlinkat(c->vault.root_fd, away, AT_REMOVEDIR), 0);
}

/* Killed at call end of log; then the next scan, which log goes on with. */
static void scan_on(const struct goal *g, struct oplog *log, size_t end)
{
	const struct plan p = {.kind = PLAN_KILL, .end = end};
	struct copy *c = calloc(1, sizeof *c);
	struct oplog before = *log;
	struct image *im = state_build(log, &p, NULL);

	assert_non_null(c);
	shown_inos_of(im, NULL, false);
	copy_open_as(c, g->ix, im, shown_ino);
	image_free(im);
	oplog_copy(log, &before, end);
	oplog_fini(&before);
	if (g->shared)
		open_early(c);
	recorder_go_on(c->fx.path, log);
	if (!g->shared)
		ix_open(&c->ix);
	ix_scan(&c->ix);
	recorder_end(c->fx.path);
	ix_close(&c->ix);
	copy_close(c);
	shown_inos_forget();
	free(c);
}

/* Killed again and again, and in the end the power fails: of what all these
 * have done, nothing need be durable but what they saw to. */
static void die_and_lose_power(const struct goal *g, uint64_t rng)
{

	for (int i = 0; i < CHAINS; i++) {
		uint64_t kills = 1 + random_below(&rng, KILLS_MAX);
		struct plan p = {.kind = PLAN_POWER};
		struct oplog log;

		oplog_copy(&log, &g->log, g->log.count);
		for (uint64_t n = 0; n <= kills; n++) {
			p.end += random_below(&rng, log.count - p.end + 1);
			if (n < kills)
				scan_on(g, &log, p.end);
		}
		p.seed = random_next(&rng) >> 8;
		crash_in(g, &log, &p);
		oplog_fini(&log);
	}
}

static int error_of(enum fault_kind kind)
{
	static const int errors[FAULT_KINDS] = {[FAULT_NO_SPACE] = -ENOSPC,
						[FAULT_QUOTA] = -EDQUOT,
						[FAULT_IO] = -EIO,
						[FAULT_NO_FILES] = -EMFILE,
						[FAULT_NO_MEMORY] = -ENOMEM};

	return errors[kind];
}

/* One call fails, or from that one on all: false, if there are not so many. */
static bool fail_once(const struct goal *g, enum fault_kind kind, long n,
		      bool for_good)
{
	struct copy *c = calloc(1, sizeof *c);
	bool fired;
	int err;

	assert_non_null(c);
	snprintf(present, sizeof present, "%s at %s%ld", fault_word(kind),
		 for_good ? "and after " : "", n);
	copy_open(c, g->ix, g->log.base);
	ix_open(&c->ix);
	fault_arm(c->fx.path, kind, n);
	if (for_good)
		fault_for_good();
	err = inbox_scan(c->ix.in, NULL);
	fault_disarm();
	fired = fault_fired();
	if (err)
		assert_int_equal(err, error_of(kind));
	so_far = AS_SOON;
	ix_scan(&c->ix);
	g->check(c, g->arg);
	if (n % 4 == 0) {
		so_far = IN_SPITE_OF_IT;
		ix_reopen(&c->ix);
		ix_scan(&c->ix);
		g->check(c, g->arg);
	}
	so_far = ALL;
	ix_close(&c->ix);
	copy_close(c);
	free(c);
	return fired;
}

/* What there is most of, or is like another: each time others of it. */
static long stride_of(enum fault_kind kind, bool for_good)
{
	if (kind == FAULT_IO || kind == FAULT_NO_FILES)
		return 3 * STRIDE;
	return kind == FAULT_QUOTA || for_good ? 2 * STRIDE : STRIDE;
}

static void fail_everywhere(const struct goal *g, enum fault_kind kind,
			    bool for_good)
{
	static unsigned offset;
	long stride = stride_of(kind, for_good), n = offset++ % stride;

	while (fail_once(g, kind, n, for_good))
		n += stride;
	assert_true(n >= 3);
}

static void everywhere(const struct ix *ix,
		       void (*check)(const struct copy *c, void *arg),
		       void *arg)
{
	struct goal g = {.ix = ix, .check = check, .arg = arg};

	record(&g);
	die_everywhere(&g);
	lose_power(&g);
	die_and_lose_power(&g, g.log.count);
	for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
		fail_everywhere(&g, (enum fault_kind)kind, false);
	fail_everywhere(&g, FAULT_NO_SPACE, true);
	oplog_fini(&g.log);
	present[0] = '\0';
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
	assert_true(ix_logged(&c->ix, VLOG_RECEIVED, NULL) >=
		    4 - (so_far != ALL));
	expect_clean_spool(&c->ix);
	if (so_far != AS_SOON)
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

/* What the first one did need not be durable when the second goes on. */
static void test_crash__while_another_mount_goes_on(void **state)
{
	struct ix *ix = *state;
	const struct ix_spec spec = {
		.name = "report.pdf", .size = 90000, .k = 2, .n = 3};
	struct ix_set *s = ix_make(ix, &spec);
	struct goal g = {.ix = ix, .check = expect_report, .shared = true};

	ix_deliver_all(ix, s);
	/* which both have */
	fx_write(ix->spool, "lock", "", 0);
	ix_close(ix);
	record(&g);
	for (uint64_t seed = 5; seed < 8; seed++)
		die_and_lose_power(&g, seed);
	oplog_fini(&g.log);
	present[0] = '\0';
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
	/* it was not that which could be read */
	if (so_far != ALL && ix_logged(&c->ix, VLOG_OPENED, NULL) > 0) {
		expect_report(c, arg);
		return;
	}
	assert_int_equal(ix_locked(c->fx.vault, "Shared/alice/report.pdf"), 1);
	assert_int_equal(ix_entries(c->fx.vault, "Shared/alice"), 1);
	assert_int_equal(ix_logged(&c->ix, VLOG_WITHDRAWN, NULL), 1);
	assert_int_equal(ix_logged(&c->ix, VLOG_OPENED, NULL), 0);
	if (so_far != AS_SOON)
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
	if (so_far != AS_SOON)
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

static int say_and_teardown(void **state)
{
	if (present[0])
		print_message("the last: %s\n", present);
	return ix_teardown(state);
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, ix_setup, say_and_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_crash__while_a_file_comes),
		TEST(test_crash__while_another_mount_goes_on),
		TEST(test_crash__while_a_shown_file_opens),
		TEST(test_crash__while_a_folder_comes),
		TEST(test_crash__while_a_set_is_withdrawn),
		TEST(test_crash__while_a_stranger_becomes_known),
		TEST(test_crash__while_a_grant_replaces_another),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
