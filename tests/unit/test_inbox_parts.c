/*
 * What came and is not needed, or not any more, or is for somebody else, does
 * not stay.
 */
#include "inbox_fixture.h"

#include "inbox_internal.h"

#include <errno.h>

#define REPORT "Shared/alice/report.pdf"

static const struct ix_spec report = {
	.name = "report.pdf", .size = 90000, .k = 2, .n = 3};

static void expect_open(struct ix *ix)
{
	assert_true(ix_holds(ix->fx->vault, REPORT, 0, report.size));
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 1);
	assert_int_equal(ix_spooled(ix, ".env"), 0);
}

/* Sent twice, because an answer got lost on the way. */
static void test_parts__go_when_they_come_after_opening(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report), *other = ix_make(ix, &report);

	ix_deliver_all(ix, s);
	ix_scan(ix);
	expect_open(ix);
	ix_deliver_parts(ix, other);
	ix_deliver_parts(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".part"), (int)other->part_count);
	/* after a crash that came before what was collected was confirmed */
	ix_reopen(ix);
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".part"), (int)other->part_count);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "nobody announced"), 0);
	ix_deliver_all(ix, other);
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".part"), 0);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 2);
	ix_free(s);
	ix_free(other);
}

/* Parts that two sets name stay until neither needs them. */
static void test_parts__stay_while_another_set_needs_them(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report), *other = ix_make(ix, &report);
	struct manifest_entry *e = &other->m.entries[0];

	/* the same sealed copy under another set id */
	memcpy(other->secret, s->secret, sizeof s->secret);
	memcpy(e->file_id, s->m.entries[0].file_id, FILE_ID_LEN);
	memcpy(e->parts, s->m.entries[0].parts,
	       e->part_count * sizeof *e->parts);
	free(other->manifest.bytes);
	for (unsigned i = 1; i <= other->m.n; i++)
		free(other->share[i].bytes);
	ix_split(other, &report);
	ix_wrap(ix, other, ix->alice);
	ix_deliver(ix, &other->manifest, ".env");
	ix_deliver_all(ix, s);
	ix_scan(ix);
	assert_true(ix_holds(ix->fx->vault, REPORT, 0, report.size) ||
		    ix_holds(ix->fx->vault, "Shared/alice/report (2).pdf", 0,
			     report.size));
	ix_deliver_parts(ix, s);
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".part"), (int)s->part_count);
	for (unsigned i = 1; i <= other->m.n; i++)
		ix_deliver(ix, &other->share[i], ".env");
	ix_scan(ix);
	assert_int_equal(ix_logged(ix, VLOG_OPENED, NULL), 2);
	assert_int_equal(ix_spooled(ix, ".part"), 0);
	ix_free(s);
	ix_free(other);
}

static void make_older(const struct ix *ix, const struct ix_set *s, time_t by)
{
	const struct timespec then = {.tv_sec = time(NULL) - by},
			      times[2] = {then, then};
	uint8_t hash[ENVELOPE_HASH_LEN];
	char name[80];

	for (size_t i = 0; i < s->part_count; i++) {
		envelope_hash(s->parts[i].bytes, s->parts[i].len, hash);
		hex_encode(hash, sizeof hash, name);
		strcat(name, ".part");
		assert_int_equal(utimensat(ix->spool, name, times, 0), 0);
	}
}

static void test_parts__go_when_they_waited_too_long(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report), *shown = ix_make(ix, &report),
		      *strange;
	struct ix_spec spec = report;
	int count = (int)s->part_count;

	spec.from = ix->carol;
	strange = ix_make(ix, &spec);
	ix_deliver_parts(ix, s);
	ix_deliver_parts(ix, shown);
	ix_deliver_parts(ix, strange);
	ix_deliver(ix, &shown->manifest, ".env");
	ix_deliver(ix, &strange->manifest, ".env");
	make_older(ix, shown, 100 * 86400);
	make_older(ix, strange, 100 * 86400);
	make_older(ix, s, 29 * 86400);
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".part"), 3 * count);
	make_older(ix, s, 31 * 86400);
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".part"), 2 * count);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, "waited too long"), count);
	ix_free(s);
	ix_free(shown);
	ix_free(strange);
}

static void test_sift__keeps_what_is_for_us(void **state)
{
	struct ix *ix = *state;
	struct ix_set *s = ix_make(ix, &report);
	uint8_t mine[ENVELOPE_HASH_LEN], theirs[ENVELOPE_HASH_LEN];
	struct ix_blob bad = s->share[1];
	bool ours = false;
	uint64_t before;

	ix_scan(ix);
	before = vlog_count(ix->log);
	envelope_hash(s->manifest.bytes, s->manifest.len, mine);
	ix_deliver(ix, &s->manifest, ".try");
	/* nobody looks at it before it is asked for */
	ix_scan(ix);
	assert_int_equal(ix_spooled(ix, ".try"), 1);
	assert_int_equal(inbox_sift(ix->in, mine, &ours), 0);
	assert_true(ours);
	assert_int_equal(inbox_sift(ix->in, mine, &ours), -ENOENT);
	assert_int_equal(vlog_count(ix->log), before);
	/* sealed to somebody else, which looks the same as altered */
	bad.bytes[bad.len / 2] ^= 1;
	envelope_hash(bad.bytes, bad.len, theirs);
	ix_deliver(ix, &bad, ".try");
	assert_int_equal(inbox_sift(ix->in, theirs, &ours), 0);
	assert_false(ours);
	assert_int_equal(ix_spooled(ix, ".try"), 0);
	ix_scan(ix);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), 0);
	assert_int_equal(ix_state(ix, s), INBOX_WAITING_SHARES);
	ix_free(s);
}

/* What another process brings at just that instant. */
static struct {
	struct ix *ix;
	const struct ix_blob *part;
	bool judged; /* it is known that what is there is altered; else: before
			anybody looks at it */
} meanwhile;

static void come(bool judged)
{
	const struct ix_blob *part = meanwhile.part;
	uint8_t hash[ENVELOPE_HASH_LEN];
	char name[80];

	if (!part || meanwhile.judged != judged)
		return;
	meanwhile.part = NULL;
	envelope_hash(part->bytes, part->len, hash);
	hex_encode(hash, sizeof hash, name);
	strcat(name, ".part");
	fx_write(meanwhile.ix->spool, "new.tmp", part->bytes, part->len);
	assert_return_code(renameat(meanwhile.ix->spool, "new.tmp",
				    meanwhile.ix->spool, name),
			   errno);
}

int __real_inbox_check_part_(struct inbox *in, const struct part *part,
			     struct part_look *look);
int __wrap_inbox_check_part_(struct inbox *in, const struct part *part,
			     struct part_look *look);
int __wrap_inbox_check_part_(struct inbox *in, const struct part *part,
			     struct part_look *look)
{
	come(false);
	return __real_inbox_check_part_(in, part, look);
}

int __real_vlog_append(struct vlog *log, struct vlog_record *r);
int __wrap_vlog_append(struct vlog *log, struct vlog_record *r);
int __wrap_vlog_append(struct vlog *log, struct vlog_record *r)
{
	if (r->event == VLOG_REFUSED)
		come(true);
	return __real_vlog_append(log, r);
}

/* Of one that was altered another comes, while it is judged. */
static void one_comes_anew(struct ix *ix, bool judged)
{
	struct ix_set *s = ix_make(ix, &report);
	struct ix_blob bad = {.len = 100, .bytes = calloc(1, IX_PART)};
	uint8_t hash[ENVELOPE_HASH_LEN];
	int wanted = (int)s->part_count;

	envelope_hash(s->parts[1].bytes, s->parts[1].len, hash);
	ix_deliver(ix, &s->manifest, ".env");
	ix_deliver_parts(ix, s);
	ix_deliver_as(ix, hash, &bad, ".part");
	meanwhile.ix = ix;
	meanwhile.part = &s->parts[1];
	meanwhile.judged = judged;
	ix_scan(ix);
	assert_null(meanwhile.part);
	assert_int_equal(ix_spooled(ix, ".part"), wanted);
	assert_int_equal(ix_logged(ix, VLOG_REFUSED, NULL), judged);
	for (unsigned i = 1; i <= report.k; i++)
		ix_deliver(ix, &s->share[i], ".env");
	ix_scan(ix);
	expect_open(ix);
	free(bad.bytes);
	ix_free(s);
}

static void test_parts__that_come_anew_stay_before_a_look(void **state)
{
	one_comes_anew(*state, false);
}

static void test_parts__that_come_anew_stay_after_a_look(void **state)
{
	one_comes_anew(*state, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ix_setup, ix_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_parts__go_when_they_come_after_opening),
		TEST(test_parts__stay_while_another_set_needs_them),
		TEST(test_parts__go_when_they_waited_too_long),
		TEST(test_parts__that_come_anew_stay_before_a_look),
		TEST(test_parts__that_come_anew_stay_after_a_look),
		TEST(test_sift__keeps_what_is_for_us),
	};

	return fx_init() ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
