/* The redo journal: what a process that dies leaves is whole after the next
 * journal_recover(). */
#include "journal_fixture.h"

static void test_journal__a_clean_end_leaves_nothing(void **state)
{
	struct fixture *fx = *state;

	begin(fx);
	make_old(fx, LEN - 5);
	assert_int_equal(journal_stop(fx->vault), 0);
	expect_no_session(fx);
}

/* What was written and not brought in place is there again. */
static void test_journal__overwriting_is_redone(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;

	make_old(fx, LEN);
	die_after(fx, overwrite_some, true);
	mount_again(fx, &r);
	assert_true(r.crashed);
	assert_int_equal(r.redone, 1);
	assert_int_equal(r.mended + r.emptied + r.lost + r.beyond, 0);
	for (size_t i = 0; i < CHUNKS; i += 3)
		memcpy(old_bytes + i * CHUNK_SIZE, new_bytes + i * CHUNK_SIZE,
		       CHUNK_SIZE);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, LEN);
	vfile_close(f);
	expect_no_session(fx);
}

static void shrink_and_append(struct vfile *f)
{
	assert_int_equal(vf_truncate(f, 5 * CHUNK_SIZE + 77), 0);
	assert_int_equal(vf_put(f, new_bytes, 1000, 5 * CHUNK_SIZE + 77), 0);
	assert_int_equal(vf_put(f, new_bytes, 10, 100), 0);
}

static void test_journal__lengths_are_redone(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;

	make_old(fx, LEN);
	die_after(fx, shrink_and_append, false);
	mount_again(fx, &r);
	f = vf_open(fx, fx->vault, "f");
	memcpy(old_bytes + 5 * CHUNK_SIZE + 77, new_bytes, 1000);
	memcpy(old_bytes + 100, new_bytes, 10);
	vf_expect(f, old_bytes, 5 * CHUNK_SIZE + 1077);
	vfile_close(f);
}

static void punch_some(struct vfile *f)
{
	assert_int_equal(vf_put(f, new_bytes, 3 * CHUNK_SIZE, 9 * CHUNK_SIZE),
			 0);
	assert_int_equal(vf_allocate(f,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     10 * CHUNK_SIZE, 6 * CHUNK_SIZE),
			 0);
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 12 * CHUNK_SIZE), 0);
}

static void test_journal__holes_are_redone(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;

	make_old(fx, LEN);
	die_after(fx, punch_some, false);
	mount_again(fx, NULL);
	memcpy(old_bytes + 9 * CHUNK_SIZE, new_bytes, CHUNK_SIZE);
	memset(old_bytes + 10 * CHUNK_SIZE, 0, 6 * CHUNK_SIZE);
	memcpy(old_bytes + 12 * CHUNK_SIZE, new_bytes, CHUNK_SIZE);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, LEN);
	vfile_close(f);
}

/* A file whose end has no mark yet keeps all that was written. */
static void test_journal__growth_is_mended(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	uint8_t buf[CHUNK_SIZE];
	struct vfile *f;

	make_old(fx, LEN);
	die_after(fx, grow_in_flux, false);
	mount_again(fx, &r);
	assert_int_equal(r.mended, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), LEN + VFILE_IO_MAX + CHUNK_SIZE);
	assert_int_equal(vf_get(f, buf, sizeof buf, LEN + VFILE_IO_MAX, NULL),
			 sizeof buf);
	assert_int_equal(buf[0], 7);
	assert_int_equal(vf_get(f, buf, sizeof buf, 3 * CHUNK_SIZE, NULL),
			 sizeof buf);
	assert_memory_equal(buf, old_bytes + 3 * CHUNK_SIZE, sizeof buf);
	vfile_close(f);
}

/* The power fails: of what was behind the durable end, part was lost. */
static void lose_growth(struct fixture *fx, uint64_t from, uint64_t sectors)
{
	static const uint8_t zeros[512];
	off_t len;
	int fd = backing(fx, &len);
	off_t at = ((off_t)chunk_offset(from) / 512 + 1) * 512;

	for (uint64_t i = 0; i < sectors; i++, at += 512)
		assert_int_equal(pwrite(fd, zeros, sizeof zeros, at), 512);
	close(fd);
}

static void test_journal__lost_growth_is_cut(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;

	for (int lost = 0; lost < 12; lost++) {
		struct journal_recovery r = {.wholly = true};
		uint64_t size;

		make_old(fx, LEN);
		die_after(fx, grow_in_flux, false);
		lose_growth(fx, CHUNKS + (uint64_t)lost, 1 + (uint64_t)lost);
		mount_again(fx, &r);
		assert_int_equal(r.mended, 1);
		assert_int_equal(r.beyond, 0);
		f = vf_open(fx, fx->vault, "f");
		size = vfile_size(f);
		assert_true(size >= LEN);
		assert_int_equal(size, LEN + (uint64_t)lost * CHUNK_SIZE);
		memset(new_bytes, 7, sizeof new_bytes);
		{
			uint8_t *all = malloc(size);

			assert_non_null(all);
			memcpy(all, old_bytes, LEN);
			memset(all + LEN, 7, size - LEN);
			vf_expect(f, all, size);
			free(all);
		}
		vfile_close(f);
		expect_no_session(fx);
		assert_int_equal(unlinkat(fx->vault->root_fd,
					  fx_name(fx, fx->root_id, "f").entry,
					  0),
				 0);
	}
}

static void nothing(struct vfile *f)
{
	(void)f;
}

/* Growth begins in the zeros behind a full last chunk, and may end there. */
static void test_journal__what_follows_the_end_is_zeros_again(void **state)
{
	struct fixture *fx = *state;

	for (int wholly = 0; wholly < 2; wholly++) {
		struct journal_recovery r = {.wholly = wholly};
		struct vfile *f;
		off_t len;
		int fd;

		make_old(fx, LEN);
		die_after(fx, nothing, false);
		fd = backing(fx, &len);
		assert_int_equal(len, chunk_backing_len(LEN));
		assert_int_equal(pwrite(fd, "gAAAAABr", 8, len - 8), 8);
		close(fd);
		mount_again(fx, &r);
		assert_int_equal(r.mended, 1);
		assert_int_equal(r.beyond, 0);
		f = vf_open(fx, fx->vault, "f");
		vf_expect(f, old_bytes, LEN);
		vfile_close(f);
		expect_no_session(fx);
		assert_int_equal(unlinkat(fx->vault->root_fd,
					  fx_name(fx, fx->root_id, "f").entry,
					  0),
				 0);
	}
}

/* The second time all is durable. */
static void overwrite_again(struct vfile *f)
{
	overwrite_some(f);
	assert_int_equal(vfile_sync(f, false), 0);
	overwrite_some(f);
}

/* Damage below what was durable is no crash's: it is left and reported. */
static void test_journal__damage_is_not_mended(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	struct vfile *f;
	uint8_t buf[CHUNK_SIZE];
	off_t len;
	int fd;

	make_old(fx, LEN);
	sleep(1);
	die_after(fx, overwrite_again, true);
	fd = backing(fx, &len);
	fx_spoil(fd, (off_t)chunk_offset(1) + 99);
	assert_int_equal(ftruncate(fd, len), 0);
	close(fd);
	mount_again(fx, &r);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), LEN);
	assert_int_equal(vf_get(f, buf, sizeof buf, CHUNK_SIZE, NULL),
			 -EBADMSG);
	vfile_close(f);
}

/* Cut and flipped segments: never anything but whole records, in order. */
static void test_journal__torn_segments(void **state)
{
	struct fixture *fx = *state;
	char name[JOURNAL_NAME_LEN + 1];
	struct journal_reader *reader;
	struct journal_record rec;
	int got, whole = 0, dir, fd;
	off_t len;

	make_old(fx, LEN);
	die_after(fx, overwrite_some, true);
	assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
	while ((got = journal_reader_next(reader, &rec)) == 1)
		whole++;
	assert_int_equal(got, 0);
	assert_int_equal(whole, (CHUNKS + 2) / 3);
	journal_segment_name_(reader->session->id, 0, name);
	journal_reader_close(reader);
	dir = journal_dir(fx);
	fd = openat(dir, name, O_RDWR);
	assert_true(fd >= 0);
	len = lseek(fd, 0, SEEK_END);
	for (off_t at = 0; at < len; at += at < 300 ? 1 : 487) {
		uint8_t was, is;
		int n = 0;

		assert_int_equal(pread(fd, &was, 1, at), 1);
		is = was ^ 4;
		assert_int_equal(pwrite(fd, &is, 1, at), 1);
		assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
		while (journal_reader_next(reader, &rec) == 1)
			n++;
		journal_reader_close(reader);
		/* bytes in the middle of tokens are found by their own MACs */
		assert_true(n <= whole);
		if (at < JOURNAL_HEAD_LEN)
			assert_int_equal(n, 0);
		else if (at < JOURNAL_HEAD_LEN + JOURNAL_RECORD_HEAD_LEN)
			assert_int_equal(n, 0);
		assert_int_equal(pwrite(fd, &was, 1, at), 1);
	}
	for (int cut = whole - 1; cut >= 0; cut--) {
		int n = 0;

		len -= JOURNAL_RECORD_HEAD_LEN + CHUNK_TOKEN_LEN;
		assert_int_equal(ftruncate(fd, len + 100), 0);
		assert_int_equal(journal_reader_open(fx->vault, &reader), 0);
		while (journal_reader_next(reader, &rec) == 1)
			n++;
		journal_reader_close(reader);
		assert_int_equal(n, cut > 0 && len > 0 ? cut : 0);
	}
	close(fd);
	close(dir);
}

/* Pure overwriting: fsync makes the journal durable, and nothing else. */
static void test_journal__fsync_is_one_call(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;
	int before;

	make_old(fx, LEN);
	begin(fx);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 0), 0);
	assert_int_equal(vfile_sync(f, true), 0);
	before = fdatasyncs;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE,
					(uint64_t)i * CHUNK_SIZE),
				 0);
		assert_int_equal(vfile_sync(f, true), 0);
	}
	/* the thread may have made some durable in between, no more */
	assert_in_range(fdatasyncs - before, 10, 13);
	vfile_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_journal__a_clean_end_leaves_nothing),
		TEST(test_journal__overwriting_is_redone),
		TEST(test_journal__lengths_are_redone),
		TEST(test_journal__holes_are_redone),
		TEST(test_journal__growth_is_mended),
		TEST(test_journal__lost_growth_is_cut),
		TEST(test_journal__what_follows_the_end_is_zeros_again),
		TEST(test_journal__damage_is_not_mended),
		TEST(test_journal__torn_segments),
		TEST(test_journal__fsync_is_one_call),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
