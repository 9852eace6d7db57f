/* Segments that were emptied, and are written over what they held before. */
#include "journal_fixture.h"

#include "vfile_internal.h"

/* Records that the dead process has left, and how they end. */
struct left {
	unsigned whole;
	bool torn, rotten;
};

/* In the process that dies: as two full segments after each other would be. */
static void empty_active(struct journal *j)
{
	assert_int_equal(journal_commit_(j, j->appended, NULL), 0);
	pthread_mutex_lock(&j->append_lock);
	j->active = 1 - j->active;
	pthread_mutex_unlock(&j->append_lock);
	assert_int_equal(journal_retire_(j, false, false, NULL), 0);
}

static void use_again(struct vfile *f)
{
	struct journal *j = f->vault->journal;
	struct stat st;

	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++) {
		overwrite_some(f);
		empty_active(j);
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(vf_put(f, old_bytes + i * CHUNK_SIZE,
					CHUNK_SIZE, i * CHUNK_SIZE),
				 0);
	/* the old records are still behind those */
	assert_int_equal(fstat(j->seg[j->active].fd, &st), 0);
	assert_true(st.st_size >
		    (off_t)(j->seg[j->active].end + JOURNAL_RECORD_HEAD_LEN));
}

static void use_once(struct vfile *f)
{
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(vf_put(f, old_bytes + i * CHUNK_SIZE,
					CHUNK_SIZE, i * CHUNK_SIZE),
				 0);
}

/* The file of the segment with records, and where they begin to be none. */
static struct left look(struct fixture *fx, int *fd, off_t *end)
{
	struct journal_reader *r;
	struct journal_found found;
	struct left left = {0};
	char name[JOURNAL_NAME_LEN + 1];
	CLEANUP_FD int dir = journal_dir(fx);
	unsigned n = 0;

	assert_int_equal(journal_reader_open(fx->vault, &r), 0);
	while (journal_reader_next_(r, &found) == 1) {
		left.whole++;
		n = r->segment[found.segment].n;
		if (end)
			*end = (off_t)r->segment[found.segment].end;
	}
	left.torn = r->torn;
	left.rotten = r->rotten;
	journal_segment_name_(r->session->id, n, name);
	journal_reader_close(r);
	if (fd)
		*fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	return left;
}

static void expect_left(struct fixture *fx, unsigned whole, bool torn,
			bool rotten)
{
	struct left left = look(fx, NULL, NULL);

	assert_int_equal(left.whole, whole);
	assert_int_equal(left.torn, torn);
	assert_int_equal(left.rotten, rotten);
}

static void test_reuse__old_records_are_none(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make_old(fx, LEN);
	die_after(fx, use_again, true);
	expect_left(fx, 3, false, false);
	mount_again(fx, &r);
	assert_int_equal(r.left, 0);
	expect_no_session(fx);
}

/* So far a process got with a record, over the mark and what lies behind it. */
static void test_reuse__a_process_that_died_while_it_wrote(void **state)
{
	static const size_t far[] = {4, 60, JOURNAL_RECORD_HEAD_LEN,
				     JOURNAL_RECORD_HEAD_LEN + 1000};
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	uint8_t part[JOURNAL_RECORD_HEAD_LEN + 1000];
	CLEANUP_FD int fd = -1;
	off_t end;

	make_old(fx, LEN);
	die_after(fx, use_again, true);
	(void)look(fx, &fd, &end);
	/* another record's beginning, here it is none */
	assert_int_equal(pread(fd, part, sizeof part, JOURNAL_HEAD_LEN),
			 sizeof part);
	for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
		assert_int_equal(pwrite(fd, part, far[i], end), far[i]);
		expect_left(fx, 3, far[i] > 4, false);
	}
	mount_again(fx, &r);
	assert_int_equal(r.left, 0);
	expect_no_session(fx);
}

static void spoil(int fd, off_t at, size_t len, uint8_t with)
{
	uint8_t bytes[2 * JOURNAL_RECORD_HEAD_LEN + CHUNK_TOKEN_LEN];

	assert_true(len <= sizeof bytes);
	assert_int_equal(pread(fd, bytes, len, at), len);
	for (size_t i = 0; i < len; i++)
		bytes[i] = with ? bytes[i] ^ with : 0;
	assert_int_equal(pwrite(fd, bytes, len, at), len);
}

/* What no process leaves that dies: of this one, the last record. */
static void damaged(struct fixture *fx, off_t from, size_t len, uint8_t with)
{
	const off_t record = JOURNAL_RECORD_HEAD_LEN + CHUNK_TOKEN_LEN;
	struct journal_recovery r = {0};
	CLEANUP_FD int fd = -1, dir = -1;
	off_t end;

	die_after(fx, use_again, true);
	(void)look(fx, &fd, &end);
	spoil(fd, end - record + from, len, with);
	expect_left(fx, 2, true, true);
	mount_again(fx, &r);
	/* kept as it is: another machine may read it whole */
	dir = journal_dir(fx);
	assert_true(fx_count(dir) > 1);
}

static void test_reuse__damage_is_noticed(void **state)
{
	struct fixture *fx = *state;
	const size_t whole = 2 * JOURNAL_RECORD_HEAD_LEN + CHUNK_TOKEN_LEN;

	make_old(fx, LEN);
	damaged(fx, 20, 1, 1);		/* its head */
	damaged(fx, 78, 1, 1);		/* its length: too long... */
	damaged(fx, 79, 1, 8);		/* ...or a little less than that */
	damaged(fx, 72, 1, 0xff);	/* no length at all */
	damaged(fx, 100, 1, 1);		/* its MAC */
	damaged(fx, 0, whole, 0);	/* all, and the mark behind it */
	damaged(fx, 0, whole - 200, 0); /* its beginning */
	damaged(fx, (off_t)whole - JOURNAL_RECORD_HEAD_LEN - 8, 1, 1);
}

/* As versions wrote it that knew no mark: the file ends there. */
static void test_reuse__without_a_mark(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	CLEANUP_FD int fd = -1;
	off_t end;

	make_old(fx, LEN);
	die_after(fx, use_once, true);
	expect_left(fx, 3, false, false);
	(void)look(fx, &fd, &end);
	assert_int_equal(ftruncate(fd, end), 0);
	expect_left(fx, 3, false, false);
	assert_int_equal(ftruncate(fd, end - 1), 0);
	expect_left(fx, 2, true, false);
	mount_again(fx, &r);
	assert_int_equal(r.left, 0);
	expect_no_session(fx);
}

enum { RECORD_LEN = JOURNAL_RECORD_HEAD_LEN + CHUNK_TOKEN_LEN };

/* Of three records, in the segment with this digit; its file is fd. */
struct spoiling {
	void (*spoil)(const struct journal_reader *r,
		      const struct journal_segment_file *s, int fd);
	bool others; /* and no word of its writer's that it is all there */
	bool told;
};

static void remove_it(const struct journal_reader *r,
		      const struct journal_segment_file *s, int fd)
{
	char name[JOURNAL_NAME_LEN + 1];

	(void)fd;
	journal_segment_name_(r->session->id, s->n, name);
	assert_int_equal(unlinkat(r->dir_fd, name, 0), 0);
}

static void remove_the_other(const struct journal_reader *r,
			     const struct journal_segment_file *s, int fd)
{
	assert_int_equal(r->count, JOURNAL_SEGMENTS);
	remove_it(r, s == r->segment ? s + 1 : r->segment, fd);
}

static void cut_to_its_head(const struct journal_reader *r,
			    const struct journal_segment_file *s, int fd)
{
	(void)r, (void)s;
	assert_int_equal(ftruncate(fd, JOURNAL_HEAD_LEN), 0);
}

static void cut_behind_a_record(const struct journal_reader *r,
				const struct journal_segment_file *s, int fd)
{
	(void)r;
	assert_int_equal(ftruncate(fd, (off_t)s->end - RECORD_LEN), 0);
}

static void cut_its_mark_off(const struct journal_reader *r,
			     const struct journal_segment_file *s, int fd)
{
	(void)r;
	assert_int_equal(ftruncate(fd, (off_t)s->end), 0);
}

/* As it once stood there, over a record. */
static void put_a_mark(const struct journal_segment_file *s, int fd,
		       unsigned records)
{
	uint64_t at = s->end - (uint64_t)records * RECORD_LEN;
	uint8_t mark[JOURNAL_RECORD_HEAD_LEN];

	journal_end_build(&s->ids, at, mark);
	assert_int_equal(pwrite(fd, mark, sizeof mark, (off_t)at), sizeof mark);
}

static void mark_over_the_last(const struct journal_reader *r,
			       const struct journal_segment_file *s, int fd)
{
	(void)r;
	put_a_mark(s, fd, 1);
}

static void mark_over_the_first(const struct journal_reader *r,
				const struct journal_segment_file *s, int fd)
{
	(void)r;
	put_a_mark(s, fd, 3);
}

/* Something whole behind a mark that is none, in a file with holes. */
static void put_far_behind(const struct journal_segment_file *s, int fd,
			   uint64_t at)
{
	uint8_t mark[JOURNAL_RECORD_HEAD_LEN];

	journal_end_build(&s->ids, at, mark);
	assert_int_equal(pwrite(fd, mark, sizeof mark, (off_t)at), sizeof mark);
	assert_int_equal(pwrite(fd, "damage", 6, (off_t)s->end + 90), 6);
	assert_int_equal(ftruncate(fd, (off_t)1 << 42), 0);
}

static void far_behind(const struct journal_reader *r,
		       const struct journal_segment_file *s, int fd)
{
	(void)r;
	put_far_behind(s, fd, (uint64_t)3 << 30);
}

static void where_none_can_be(const struct journal_reader *r,
			      const struct journal_segment_file *s, int fd)
{
	(void)r;
	put_far_behind(s, fd, (uint64_t)5 << 30);
}

/* Records without tokens, and no mark. */
static void leave_notes(const struct journal_segment_file *s, int fd,
			unsigned count)
{
	uint8_t bytes[RECORD_LEN];
	struct journal_head h;
	off_t end = JOURNAL_HEAD_LEN;

	assert_int_equal(pread(fd, bytes, sizeof bytes, end), sizeof bytes);
	assert_int_equal(journal_record_parse(&s->ids, (uint64_t)end, bytes,
					      sizeof bytes, &h),
			 0);
	h.size = JOURNAL_SIZE_KEPT;
	h.count = h.len = 0;
	assert_int_equal(ftruncate(fd, end), 0);
	for (; count > 0; count--, end += JOURNAL_RECORD_HEAD_LEN) {
		journal_record_build(&s->ids, &h, (uint64_t)end, NULL, bytes);
		assert_int_equal(
			pwrite(fd, bytes, JOURNAL_RECORD_HEAD_LEN, end),
			JOURNAL_RECORD_HEAD_LEN);
	}
}

/* So many end where a page does. */
enum { NOTES = 170 };

static void end_with_a_page(const struct journal_reader *r,
			    const struct journal_segment_file *s, int fd)
{
	(void)r;
	leave_notes(s, fd, NOTES);
	assert_int_equal(lseek(fd, 0, SEEK_END) % 4096, 0);
}

static void end_within_a_page(const struct journal_reader *r,
			      const struct journal_segment_file *s, int fd)
{
	(void)r;
	leave_notes(s, fd, NOTES - 1);
}

static void do_nothing(const struct journal_reader *r,
		       const struct journal_segment_file *s, int fd)
{
	(void)r, (void)s, (void)fd;
}

static void spoil_used(struct fixture *fx, const struct spoiling *how)
{
	struct journal_reader *r;
	struct journal_found found;
	const struct journal_segment_file *s = NULL;
	char name[JOURNAL_NAME_LEN + 1];
	CLEANUP_FD int fd = -1;

	assert_int_equal(journal_reader_open(fx->vault, &r), 0);
	while (journal_reader_next_(r, &found) == 1)
		s = &r->segment[found.segment];
	assert_non_null(s);
	journal_segment_name_(r->session->id, s->n, name);
	fd = openat(r->dir_fd, name, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	how->spoil(r, s, fd);
	journal_segment_name_(r->session->id, JOURNAL_RESERVE, name);
	if (how->others)
		assert_int_equal(unlinkat(r->dir_fd, name, 0), 0);
	journal_reader_close(r);
}

static void try_spoiling(const struct spoiling *how, bool wholly)
{
	struct journal_recovery r = {.wholly = wholly};
	void *made = NULL;
	struct fixture *fx;
	int dir;

	assert_int_equal(fx_setup(&made), 0);
	fx = made;
	make_old(fx, LEN);
	die_after(fx, use_again, true);
	spoil_used(fx, how);
	mount_again(fx, &r);
	dir = journal_dir(fx);
	/* when the power fails, all of that may be so */
	assert_int_equal(fx_count(dir) > 0, how->told && !wholly);
	close(dir);
	assert_int_equal(fx_teardown(&made), 0);
}

/* What nobody has left who was killed. */
static void test_reuse__what_was_taken_away_is_missed(void **state)
{
	static const struct spoiling all[] = {
		{remove_it, false, true},
		{remove_the_other, false, true},
		{cut_to_its_head, false, true},
		{cut_behind_a_record, false, true},
		{cut_its_mark_off, false, true},
		{mark_over_the_last, false, true},
		{mark_over_the_first, true, true},
		/* as programs did that knew no mark */
		{remove_it, true, false},
		{cut_its_mark_off, true, false},
		{far_behind, false, true},
		{where_none_can_be, false, false},
		{end_within_a_page, false, true},
		/* as far as a process gets that dies while it writes */
		{end_with_a_page, false, false},
		{do_nothing, false, false},
		{do_nothing, true, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		try_spoiling(&all[i], false);
		try_spoiling(&all[i], true);
	}
}

static off_t segment_len(const struct journal *j, unsigned n)
{
	struct stat st;

	assert_int_equal(fstat(j->seg[n].fd, &st), 0);
	return st.st_size;
}

/* While it is of use; no longer. */
static void test_reuse__room_is_kept_and_given_back(void **state)
{
	struct fixture *fx = *state;
	struct journal *j;
	struct vfile *f;
	off_t len;

	make_old(fx, LEN);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
	j = fx->vault->journal;
	f = vf_open(fx, fx->vault, "f");
	overwrite_some(f);
	len = segment_len(j, j->active);
	assert_true(len > CHUNK_TOKEN_LEN);
	empty_active(j);
	assert_int_equal(segment_len(j, 1 - j->active), len);
	assert_int_equal(vf_put(f, old_bytes, CHUNK_SIZE, 0), 0);
	assert_int_equal(journal_flush(fx->vault), 0);
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++)
		assert_int_equal(segment_len(j, n), JOURNAL_EMPTY_LEN);
	vfile_close(f);
	assert_int_equal(journal_stop(fx->vault), 0);
}

static void remove_segments(const struct journal *j)
{
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++)
		assert_int_equal(unlinkat(j->dir_fd, j->seg[n].name, 0), 0);
}

/* Both were removed, one with nothing but old records in it. */
static void make_anew(struct vfile *f)
{
	struct journal *j = f->vault->journal;

	overwrite_some(f);
	empty_active(j);
	remove_segments(j);
	assert_int_equal(vf_put(f, old_bytes, CHUNK_SIZE, 0), 0);
	assert_int_equal(vfile_sync(f, false), 0);
	for (unsigned n = 0; n < JOURNAL_SEGMENTS; n++)
		assert_int_equal(segment_len(j, n),
				 j->seg[n].end + JOURNAL_RECORD_HEAD_LEN);
}

static void make_anew_and_rest(struct vfile *f)
{
	make_anew(f);
	assert_int_equal(journal_flush(f->vault), 0);
}

/* The mark is behind what is copied, and nobody makes the file longer. */
static void test_reuse__one_that_is_made_anew(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make_old(fx, LEN);
	die_after(fx, make_anew, false);
	expect_left(fx, 1, false, false);
	mount_again(fx, &r);
	die_after(fx, make_anew_and_rest, false);
	expect_left(fx, 0, false, false);
	mount_again(fx, &r);
	assert_int_equal(r.left, 0);
	expect_no_session(fx);
}

static void fail_to_append(struct vfile *f)
{
	const struct journal *j = f->vault->journal;

	use_again(f);
	appends_failing = 1;
	assert_int_equal(vf_put(f, old_bytes, CHUNK_SIZE, 0), -EIO);
	assert_int_equal(segment_len(j, j->active),
			 j->seg[j->active].end + JOURNAL_RECORD_HEAD_LEN);
}

static void fail_and_rest(struct vfile *f)
{
	fail_to_append(f);
	assert_int_equal(journal_flush(f->vault), 0);
}

/* What was written of it is gone, and the mark is there again. */
static void test_reuse__what_could_not_be_appended(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make_old(fx, LEN);
	die_after(fx, fail_to_append, false);
	expect_left(fx, 3, false, false);
	mount_again(fx, &r);
	die_after(fx, fail_and_rest, false);
	expect_left(fx, 0, false, false);
	mount_again(fx, &r);
	assert_int_equal(r.left, 0);
	expect_no_session(fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reuse__old_records_are_none),
		TEST(test_reuse__a_process_that_died_while_it_wrote),
		TEST(test_reuse__damage_is_noticed),
		TEST(test_reuse__without_a_mark),
		cmocka_unit_test(test_reuse__what_was_taken_away_is_missed),
		TEST(test_reuse__room_is_kept_and_given_back),
		TEST(test_reuse__one_that_is_made_anew),
		TEST(test_reuse__what_could_not_be_appended),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
