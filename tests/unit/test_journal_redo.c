/*
 * Which records are put in place, and over what: those that were durable over
 * everything that they are later than, however often the power fails.
 */
#include "recover_fixture.h"

#include "journal_recover.h"
#include "vfile_internal.h"

enum {
	BIT = 100,
	SIZE = LEN + BIT,
	MORE = 50 * CHUNK_SIZE,
	LONG = 1000, /* seconds, of a session before which nothing was new */
};

/* Damage a byte of the record that is so many from the last one. */
static void damage_record(struct fixture *fx, unsigned from_last, off_t at)
{
	struct journal_found found[16];
	struct journal_reader *r;
	char name[JOURNAL_NAME_LEN + 1];
	unsigned count = 0, which;
	uint8_t byte;
	int dir, fd;

	assert_int_equal(journal_reader_open(fx->vault, &r), 0);
	while (journal_reader_next_(r, &found[count]) == 1)
		assert_true(++count < 16);
	assert_true(from_last < count);
	which = count - 1 - from_last;
	journal_segment_name_(r->session->id,
			      r->segment[found[which].segment].n, name);
	at += (off_t)found[which].offset;
	journal_reader_close(r);
	dir = journal_dir(fx);
	fd = openat(dir, name, O_RDWR);
	close(dir);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

enum {
	IN_HEAD = 20,
	IN_TOKEN = JOURNAL_RECORD_HEAD_LEN + 500,
	IN_TOKEN_END = JOURNAL_RECORD_HEAD_LEN + CHUNK_TOKEN_LEN - 1,
};

/* The bytes of a chunk's place. */
static void take_slot(struct fixture *fx, uint64_t chunk, uint8_t *slot)
{
	int fd = vf_backing_fd(fx, "f");
	ssize_t n =
		pread(fd, slot, CHUNK_TOKEN_LEN, (off_t)chunk_offset(chunk));

	assert_true(n >= 0);
	memset(slot + n, 0, (size_t)(CHUNK_TOKEN_LEN - n));
	close(fd);
}

static void put_slot(struct fixture *fx, uint64_t chunk, const uint8_t *slot)
{
	int fd = vf_backing_fd(fx, "f");

	assert_int_equal(
		pwrite(fd, slot, CHUNK_TOKEN_LEN, (off_t)chunk_offset(chunk)),
		CHUNK_TOKEN_LEN);
	close(fd);
}

/* Of so many bytes, as old_bytes, and sevens behind them. */
static void make_sized(struct fixture *fx, size_t size)
{
	struct vfile *f = vf_create(fx, "f");
	uint8_t bit[BIT];

	fill();
	memset(bit, 7, sizeof bit);
	assert_int_equal(vf_put(f, old_bytes, LEN, 0), 0);
	if (size > LEN)
		assert_int_equal(vf_put(f, bit, size - LEN, LEN), 0);
	assert_int_equal(vfile_sync(f, false), 0);
	vfile_close(f);
}

static void put_sevens(struct vfile *f, size_t len, uint64_t at)
{
	static uint8_t sevens[MORE];

	memset(sevens, 7, sizeof sevens);
	assert_int_equal(vf_put(f, sevens, len, at), 0);
}

static void expect_sized(struct fixture *fx, const uint8_t *bytes)
{
	uint8_t *all = malloc(SIZE);
	struct vfile *f = vf_open(fx, fx->vault, "f");

	assert_non_null(all);
	memcpy(all, bytes, LEN);
	memset(all + LEN, 7, BIT);
	vf_expect(f, all, SIZE);
	vfile_close(f);
	free(all);
}

static size_t growth;

/* A new end that is durable, and later growth behind it that is not. */
static void append_and_grow(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	put_sevens(f, BIT, LEN);
	assert_int_equal(vfile_sync(f, false), 0);
	ahead_s += 10;
	put_sevens(f, growth, SIZE);
}

static void remove_file(struct fixture *fx)
{
	char path[512];

	path_of(fx, "f", path);
	assert_int_equal(unlink(path), 0);
}

/* The growth reached the disk, not its record, nor what the fsync was for. */
static void test_redo__growth_that_lost_its_record(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 4; i++) {
		struct journal_recovery r = {.wholly = true};
		uint8_t was[2][CHUNK_TOKEN_LEN];

		make_sized(fx, LEN);
		take_slot(fx, CHUNKS - 1, was[0]);
		take_slot(fx, CHUNKS, was[1]);
		/* up to the end of a chunk, or not; there, or in a copy */
		growth = i % 2 ? MORE : MORE - BIT;
		die_in(fx, append_and_grow);
		put_slot(fx, CHUNKS - 1, was[0]);
		put_slot(fx, CHUNKS, was[1]);
		damage_record(fx, 0, i % 2 ? IN_TOKEN : IN_HEAD);
		if (i > 1)
			copy_vault(fx);
		assert_int_equal(recover(fx, &r), 0);
		assert_int_equal(r.left, 0);
		assert_int_equal(r.redone, 1);
		expect_sized(fx, old_bytes);
		expect_session(fx, false);
		/* nobody has asked for it, and it is not thrown away */
		assert_int_equal(count_names(fx, "journal/kept", ""), i + 1);
		remove_file(fx);
	}
}

/*
 * A disk that fails once, at whichever call, changes nothing: a file is tried
 * again at once, and the vault by the next mount.
 */
static void test_redo__a_call_that_fails_once(void **state)
{
	struct fixture *fx = *state;
	bool failed = true;
	size_t redone = 0;

	for (int n = 0; failed; n++) {
		struct journal_recovery r = {.wholly = true};
		uint8_t was[2][CHUNK_TOKEN_LEN];

		assert_true(n < 100);
		make_sized(fx, LEN);
		take_slot(fx, CHUNKS - 1, was[0]);
		take_slot(fx, CHUNKS, was[1]);
		growth = MORE;
		die_in(fx, append_and_grow);
		put_slot(fx, CHUNKS - 1, was[0]);
		put_slot(fx, CHUNKS, was[1]);
		damage_record(fx, 0, IN_TOKEN);
		again(fx);
		assert_int_equal(vault_lock(fx->vault, false, false), 0);
		crash_left = n;
		crash_mode = CRASH_IO;
		if (journal_recover(fx->vault, &r) == 0)
			redone += r.redone;
		failed = crash_mode == CRASH_NOT;
		crash_mode = CRASH_NOT;
		assert_int_equal(recover(fx, &r), 0);
		ahead_s = 0;
		expect_sized(fx, old_bytes);
		remove_file(fx);
	}
	/* some of them are tried again before it is too late */
	assert_true(redone > 5);
}

static void cut(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	assert_int_equal(vf_truncate(f, BIT), 0);
	assert_int_equal(vfile_sync(f, false), 0);
}

/* What a program has cut off is gone. */
static void test_redo__a_cut_keeps_nothing(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	struct vfile *f;

	make_sized(fx, SIZE);
	die_in(fx, cut);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	f = vf_open(fx, fx->vault, "f");
	vf_expect(f, old_bytes, BIT);
	vfile_close(f);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

static void overwrite_three(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	for (size_t i = 0; i < 3; i++)
		assert_int_equal(
			vf_put(f, new_bytes, CHUNK_SIZE, i * CHUNK_SIZE), 0);
	assert_int_equal(vfile_sync(f, false), 0);
}

/* Growth whose record was put in place is newer than what was before. */
static void grow_and_settle(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	put_sevens(f, BIT, LEN);
	assert_int_equal(vfile_sync(f, false), 0);
	ahead_s += 10;
	put_sevens(f, MORE, SIZE);
	assert_int_equal(vfile_sync(f, false), 0);
	assert_int_equal(journal_drain_(f->jf), 0);
}

static void test_redo__growth_that_is_in_place_stays(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	struct vfile *f;

	make_sized(fx, LEN);
	die_in(fx, grow_and_settle);
	damage_record(fx, 0, IN_TOKEN);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.left, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), SIZE + MORE);
	vfile_close(f);
}

static uint8_t in_place[2][CHUNK_TOKEN_LEN];

/* Twice in place: the first end stands there without its mark, as a full chunk,
 * when the second growth begins. */
static void grow_twice(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	put_sevens(f, MORE, LEN);
	assert_int_equal(vf_put(f, new_bytes + 3 * CHUNK_SIZE, CHUNK_SIZE,
				3 * CHUNK_SIZE),
			 0);
	assert_int_equal(vfile_sync(f, false), 0);
	take_slot(fx, 3, in_place[0]);
	take_slot(fx, (LEN + MORE) / CHUNK_SIZE - 1, in_place[1]);
	ahead_s += 10;
	put_sevens(f, MORE, LEN + MORE);
	/* what is not brought home by that has not become durable there */
	put_slot(fx, 3, in_place[0]);
	put_slot(fx, (LEN + MORE) / CHUNK_SIZE - 1, in_place[1]);
}

/* Growth tells nothing about what was fsynced before it. */
static void test_redo__growth_behind_an_end_without_a_mark(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 2; i++) {
		struct journal_recovery r = {.wholly = true};
		static uint8_t all[LEN + MORE];
		struct vfile *f;

		make_sized(fx, LEN);
		die_in(fx, grow_twice);
		damage_record(fx, 0, IN_HEAD);
		if (i)
			copy_vault(fx);
		assert_int_equal(recover(fx, &r), 0);
		ahead_s = 0;
		assert_int_equal(r.left + r.beyond, 0);
		assert_int_equal(r.redone, 1);
		memset(all, 7, sizeof all);
		memcpy(all, old_bytes, LEN);
		memcpy(all + (size_t)3 * CHUNK_SIZE,
		       new_bytes + (size_t)3 * CHUNK_SIZE, CHUNK_SIZE);
		f = vf_open(fx, fx->vault, "f");
		vf_expect(f, all, sizeof all);
		assert_int_equal(vf_put(f, "on", 2, sizeof all), 0);
		vfile_close(f);
		expect_session(fx, false);
		remove_file(fx);
	}
}

/* As after a checkpoint whose syncfs took long. */
static void overwrite_long_after(struct fixture *fx)
{
	struct journal *j = fx->vault->journal;

	j->start_s -= 2 * LONG;
	assert_int_equal(journal_move_session_(j, j->start_s + LONG), 0);
	overwrite_three(fx);
}

/* The session is where it was: what it holds is asked by nobody. */
static void test_redo__a_session_written_long_after_it_began(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	uint8_t slot[CHUNK_SIZE];
	struct vfile *f;

	ahead_s = 50; /* a clock that has been set back since */
	make_sized(fx, SIZE);
	ahead_s = 0;
	die_in(fx, overwrite_long_after);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.left, 0);
	assert_int_equal(r.redone, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_get(f, slot, CHUNK_SIZE, CHUNK_SIZE, NULL),
			 CHUNK_SIZE);
	assert_memory_equal(slot, new_bytes, CHUNK_SIZE);
	vfile_close(f);
}

static void grow_alone(struct fixture *fx)
{
	put_sevens(vf_open(fx, fx->vault, "f"), MORE, SIZE);
}

static void grow_and_overwrite(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	/* what is sealed anew as no longer the last has zeros at its end */
	put_sevens(f, MORE, LEN + CHUNK_SIZE);
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 3 * CHUNK_SIZE), 0);
}

static int recover_wholly_and_die(void *arg)
{
	struct journal_recovery r = {.wholly = true};
	enum crash_mode mode = crash_mode;
	struct fixture *fx = arg;

	crash_mode = CRASH_NOT;
	vault_close(fx->vault);
	if (fx_open(fx) || vault_lock(fx->vault, false, false))
		return -1;
	crash_mode = mode;
	return journal_recover(fx->vault, &r);
}

/* The power fails while an end is being mended, and again. */
static void test_redo__mended_ends_are_remembered(void **state)
{
	static const uint8_t zeros[CHUNK_TOKEN_LEN];
	struct fixture *fx = *state;
	int result = 0, times = 0;

	for (int i = 0; i < 2; i++) {
		make_sized(fx, SIZE);
		die_in(fx, i ? grow_and_overwrite : grow_alone);
		/* of the growth nothing is left, or not all */
		for (uint64_t at = i ? 1 : 5; at < 51; at++)
			put_slot(fx, CHUNKS + at, zeros);
		damage_record(fx, 0, IN_TOKEN);
		ahead_s = 20;
		for (int n = 0;
		     crash_child(n, recover_wholly_and_die, fx, &result); n++)
			assert_true(times++ < 200);
		assert_int_equal(result, 0);
		assert_true(times > 10);
		again(fx);
		expect_sized(fx, old_bytes);
		expect_session(fx, false);
		assert_int_equal(count_names(fx, "journal", ".kept"), 0);
		remove_file(fx);
		ahead_s = 0;
	}
}

static void overwrite_one(struct fixture *fx)
{
	struct vfile *f;

	assert_int_equal(journal_checkpoint_(fx->vault->journal), 0);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 3 * CHUNK_SIZE), 0);
}

/* What was durable is, whether or not the record that says so is whole. */
static void test_redo__a_torn_record_tells_what_was_durable(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	uint8_t slot[CHUNK_TOKEN_LEN];
	char path[512];
	uint64_t sum;

	make_sized(fx, SIZE);
	ahead_s = LONG;
	die_in(fx, overwrite_one);
	ahead_s = 0;
	damage_record(fx, 0, IN_TOKEN);
	take_slot(fx, 9, slot);
	slot[99] ^= 1;
	put_slot(fx, 9, slot);
	path_of(fx, "f", path);
	sum = digest(path);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.mended, 0);
	assert_int_equal(digest(path), sum);
}

/* Nor does it end in front of that, though there is an end: a former one. */
static void test_redo__an_end_before_what_was_durable(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	uint8_t slot[CHUNK_TOKEN_LEN];
	struct vfile *f;
	char path[512];
	uint64_t sum;

	make_sized(fx, LEN + BIT / 2);
	take_slot(fx, CHUNKS, slot);
	f = vf_open(fx, fx->vault, "f");
	put_sevens(f, BIT, LEN);
	vfile_close(f);
	ahead_s = LONG;
	die_in(fx, overwrite_one);
	ahead_s = 0;
	put_slot(fx, CHUNKS, slot);
	path_of(fx, "f", path);
	assert_int_equal(truncate(path, (off_t)chunk_backing_len(SIZE)), 0);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.mended, 0);
	assert_int_equal(r.beyond, 1);
	sum = digest(path);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(digest(path), sum);
	assert_int_equal(count_names(fx, "journal/kept", ""), 0);
}

enum { HOLE = 10, HOLE_LEN = 6 };

/* A hole that is durable, of which the end is filled, and some of that written
 * anew, in the other segment. */
static void fill_twice(struct fixture *fx)
{
	struct journal *j = fx->vault->journal;
	struct vfile *f = vf_open(fx, fx->vault, "f");

	assert_int_equal(vf_allocate(f,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     HOLE * CHUNK_SIZE, HOLE_LEN * CHUNK_SIZE),
			 0);
	assert_int_equal(vfile_sync(f, false), 0);
	assert_int_equal(
		vf_put(f, new_bytes, 4 * CHUNK_SIZE, (HOLE + 2) * CHUNK_SIZE),
		0);
	j->active = 1 - j->active;
	assert_int_equal(
		vf_put(f, new_bytes, CHUNK_SIZE, (HOLE + 4) * CHUNK_SIZE), 0);
}

/* The power takes the first record, and not the second: all can be read. */
static void test_redo__a_hole_that_lost_what_filled_it(void **state)
{
	struct fixture *fx = *state;

	for (int n = 0; n < 2; n++) {
		struct journal_recovery r = {.wholly = true};
		static uint8_t want[LEN];
		struct vfile *f;

		make_sized(fx, LEN);
		die_in(fx, fill_twice);
		damage_record(fx, 1, n ? IN_HEAD : IN_TOKEN_END);
		assert_int_equal(recover(fx, &r), 0);
		assert_int_equal(r.redone, 1);
		memcpy(want, old_bytes, LEN);
		memset(want + HOLE * CHUNK_SIZE, 0, HOLE_LEN * CHUNK_SIZE);
		memcpy(want + (HOLE + 4) * CHUNK_SIZE, new_bytes, CHUNK_SIZE);
		f = vf_open(fx, fx->vault, "f");
		vf_expect(f, want, LEN);
		vfile_close(f);
		remove_file(fx);
	}
}

enum { FILLED = CHUNKS + 2 };

/* A hole that is filled in place, later than anything that a record holds. */
static void fill_later(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	put_sevens(f, MORE, LEN + 10 * CHUNK_SIZE);
	ahead_s += 10;
	put_sevens(f, 3 * CHUNK_SIZE, FILLED * CHUNK_SIZE);
	if (vfile_sync(f, true) != 0)
		_exit(2);
	/* a record that says what is durable */
	assert_int_equal(vf_put(f, new_bytes, CHUNK_SIZE, 0), 0);
}

static void test_redo__a_hole_that_the_session_filled(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	struct vfile *f;

	make_sized(fx, LEN);
	die_in(fx, fill_later);
	copy_vault(fx);
	damage_record(fx, 0, IN_TOKEN);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.left, 0);
	assert_int_equal(r.redone, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), LEN + 10 * CHUNK_SIZE + MORE);
	vfile_close(f);
}

/* Only what was not durable can have been torn by the crash. */
static void test_redo__a_filled_hole_that_is_damaged(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	uint8_t slot[CHUNK_TOKEN_LEN], plain[CHUNK_SIZE];
	uint64_t bad;
	struct vfile *f;

	make_sized(fx, LEN);
	die_in(fx, fill_later);
	take_slot(fx, FILLED, slot);
	memset(slot + 1000, 0, sizeof slot - 1000);
	put_slot(fx, FILLED, slot);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(
		vf_get(f, plain, sizeof plain, FILLED * CHUNK_SIZE, &bad),
		-EBADMSG);
	vfile_close(f);
}

static void make_hole(struct fixture *fx)
{
	struct vfile *f = vf_open(fx, fx->vault, "f");

	assert_int_equal(vf_allocate(f,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     5 * CHUNK_SIZE, CHUNK_SIZE),
			 0);
	assert_int_equal(vfile_sync(f, false), 0);
}

/* Holes are as old as they are, whatever the time of a copied segment. */
static void test_redo__a_hole_that_was_filled_since(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};
	uint8_t filled[CHUNK_TOKEN_LEN];
	char path[512];
	struct vfile *f;

	make_sized(fx, SIZE);
	die_in(fx, make_hole);
	copy_vault(fx);
	shell("touch -d '1 hour' '%s'/.frondfs/journal/*.*", fx->path);
	path_of(fx, "f", path);
	shell("cp '%s' '%s/was'", path, fx->top);
	ahead_s = 10;
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, old_bytes + 5 * CHUNK_SIZE, CHUNK_SIZE,
				5 * CHUNK_SIZE),
			 0);
	vfile_close(f);
	/* that alone: the last chunk was sealed anew as well */
	take_slot(fx, 5, filled);
	shell("cp '%s/was' '%s'", fx->top, path);
	put_slot(fx, 5, filled);
	assert_int_equal(recover(fx, &r), 0);
	ahead_s = 0;
	assert_int_equal(r.left, 1);
	expect_sized(fx, old_bytes);
}

/* A process that died leaves records whole: what is not was not its doing. */
static void test_redo__records_that_rot_are_kept(void **state)
{
	struct fixture *fx = *state;

	for (int i = 0; i < 4; i++) {
		struct journal_recovery r = {.wholly = i > 1};
		int kept;

		make_sized(fx, SIZE);
		die_in(fx, overwrite_three);
		damage_record(fx, 1, i % 2 ? IN_HEAD : IN_TOKEN);
		assert_int_equal(recover(fx, &r), 0);
		assert_int_equal(r.redone, 1);
		expect_session(fx, false);
		kept = count_names(fx, "journal", ".kept");
		assert_true(i > 1 ? kept == 0 : kept >= 2);
		shell("rm -r '%s/.frondfs/journal'", fx->path);
		remove_file(fx);
	}
}

/* But one that it was writing, at the end. */
static void test_redo__a_record_that_was_being_written(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {0};

	make_sized(fx, SIZE);
	die_in(fx, overwrite_three);
	shell("cd '%s/.frondfs/journal' && truncate -s -%d *.0", fx->path, 500);
	assert_int_equal(recover(fx, &r), 0);
	assert_int_equal(r.redone, 1);
	expect_session(fx, false);
	assert_int_equal(count_names(fx, "journal", ""), 0);
}

/* With the first, the second... call that wants room failing. */
static int recover_without_room(struct fixture *fx, int n, size_t *left)
{
	struct journal_recovery r = {.wholly = true};
	int err;

	again(fx);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	crash_left = n + 1; /* the first one gives up the reserve */
	crash_mode = CRASH_NO_ROOM;
	err = journal_recover(fx->vault, &r);
	assert_int_equal(crash_mode, CRASH_NOT);
	again(fx);
	if (err)
		assert_int_equal(err, -ENOSPC);
	*left = r.left;
	return err;
}

/* Nobody goes on from older bytes for want of room: the mount waits for it. */
static void test_redo__no_room_for_growth_that_lost_its_record(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	size_t left = 0;

	make_sized(fx, LEN);
	growth = MORE;
	die_in(fx, append_and_grow);
	damage_record(fx, 0, IN_HEAD);
	/* what is behind it, up to removing the session, is in place by then */
	for (int n = 0; n < 8; n++)
		assert_int_equal(recover_without_room(fx, n, &left), -ENOSPC);
	assert_int_equal(recover(fx, &r), 0);
	ahead_s = 0;
	assert_int_equal(r.left, 0);
	expect_sized(fx, old_bytes);
	expect_session(fx, false);
	assert_int_equal(count_names(fx, "journal", ".kept"), 0);
}

static void test_redo__no_room_is_no_room(void **state)
{
	struct journal_recovery out = {0};
	const struct recovery rec = {.out = &out};

	(void)state;
	assert_true(journal_is_fatal_(&rec, -ENOSPC));
	assert_true(journal_is_fatal_(&rec, -EDQUOT));
	out.go_on = true;
	assert_false(journal_is_fatal_(&rec, -ENOSPC));
	assert_false(journal_is_fatal_(&rec, -EDQUOT));
}

/* An old file, whose torn end could not be kept, and so stayed: what the
 * journal says of it is needed then. */
static void test_redo__a_torn_end_waits_with_its_records(void **state)
{
	struct fixture *fx = *state;
	struct journal_recovery r = {.wholly = true};
	uint8_t slot[CHUNK_TOKEN_LEN];
	struct vfile *f;
	size_t left = 0;

	make_sized(fx, SIZE);
	ahead_s = LONG;
	die_in(fx, grow_and_overwrite);
	take_slot(fx, CHUNKS + 9, slot);
	slot[99] ^= 1;
	put_slot(fx, CHUNKS + 9, slot);
	/* those before that one are tried again */
	for (int n = 0; recover_without_room(fx, n, &left) != 0; n++)
		assert_true(n < 10);
	assert_int_equal(left, 1);
	assert_true(count_names(fx, "journal", ".kept") >= 2);
	retry(fx, &r);
	ahead_s = 0;
	assert_int_equal(finished, 1);
	assert_int_equal(r.mended, 1);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vfile_size(f), (CHUNKS + 9) * CHUNK_SIZE);
	assert_int_equal(vf_put(f, "on", 2, vfile_size(f)), 0);
	vfile_close(f);
	assert_int_equal(count_names(fx, "journal", ".kept"), 0);
	assert_int_equal(count_names(fx, "journal/kept", ""), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_redo__growth_that_lost_its_record),
		TEST(test_redo__a_call_that_fails_once),
		TEST(test_redo__a_cut_keeps_nothing),
		TEST(test_redo__growth_that_is_in_place_stays),
		TEST(test_redo__growth_behind_an_end_without_a_mark),
		TEST(test_redo__a_session_written_long_after_it_began),
		TEST(test_redo__no_room_for_growth_that_lost_its_record),
		TEST(test_redo__no_room_is_no_room),
		TEST(test_redo__a_torn_end_waits_with_its_records),
		TEST(test_redo__mended_ends_are_remembered),
		TEST(test_redo__a_torn_record_tells_what_was_durable),
		TEST(test_redo__an_end_before_what_was_durable),
		TEST(test_redo__a_hole_that_lost_what_filled_it),
		TEST(test_redo__a_hole_that_the_session_filled),
		TEST(test_redo__a_filled_hole_that_is_damaged),
		TEST(test_redo__a_hole_that_was_filled_since),
		TEST(test_redo__records_that_rot_are_kept),
		TEST(test_redo__a_record_that_was_being_written),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
