/* Mapped files: every hole is claimed by the nearest token in front of it, and
 * zeros that are not are noticed. */
#include <stdlib.h>

#include "vfile_fixture.h"

#include "gaps.h"
#include "vfile_slot.h"

enum { CHUNKS = 48, STEPS = 300, LIMIT = CHUNKS * CHUNK_SIZE };

static uint8_t model[LIMIT];
static size_t model_len;
static uint8_t old[CHUNK_SIZE];
static int syncs;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fdatasync(int fd)
{
	syncs++;
	return __real_fdatasync(fd);
}

/* One chunk as it lies there: zeros, or a token and what it claims. */
struct place {
	bool zeros;
	uint64_t claim;
};

static struct place look(const struct fernet_key *key, int fd, uint64_t index)
{
	_Alignas(64) uint8_t plain[WORKSPACE_PLAIN_STRIDE];
	uint8_t stored[CHUNK_TOKEN_LEN];
	struct fernet_open_job job = {.token = stored,
				      .token_len = sizeof stored,
				      .plaintext = plain};
	struct place p = {.zeros = false};

	assert_int_equal(xio_pread(fd, stored, sizeof stored,
				   (off_t)chunk_offset(index)),
			 0);
	p.zeros = bytes_all_zero(stored, sizeof stored);
	if (p.zeros)
		return p;
	assert_int_equal(fernet_open(vf_ws()->fernet, key, &job, 1), 0);
	assert_true(be64_load(plain) == index);
	for (size_t i = CHUNK_TAG_LEN + CHUNK_SIZE; i < job.plaintext_len; i++)
		p.claim = p.claim << 8 | plain[i];
	assert_true(p.claim > 0 ||
		    job.plaintext_len == CHUNK_TAG_LEN + CHUNK_SIZE);
	return p;
}

/* All that lies there. exact: no claim is larger than it has to be. */
static void check_map(struct fixture *fx, int fd, bool exact)
{
	enum chunk_holes marks = vf_mark_on_disk(fx, fd);
	uint64_t last = chunk_last_index(model_len), reach = 0, run = 0;
	uint8_t head[HEADER_LEN];
	struct fernet_key key;
	struct header h;

	assert_int_equal(xio_pread(fd, head, sizeof head, 0), 0);
	assert_int_equal(header_parse(head, &fx->vault->keys->file_keys, &h),
			 0);
	fernet_key_init(&key, h.file_key);
	for (uint64_t i = 0; i < last; i++) {
		struct place p = look(&key, fd, i);

		if (p.zeros) {
			assert_int_equal(marks, CHUNK_HOLES_MAPPED);
			assert_true(i < reach);
			run++;
			continue;
		}
		if (exact)
			assert_true(reach <= i);
		assert_true(!exact || run == 0 || reach == i);
		reach = i + 1 + p.claim;
		run = 0;
	}
	assert_true(!exact || reach <= last);
}

static int backing_fd(struct fixture *fx)
{
	return vf_backing_fd(fx, "f");
}

static void step(struct vfile *f, uint64_t *rng)
{
	static uint8_t data[8 * CHUNK_SIZE];
	uint64_t at = vf_random(rng) % LIMIT;
	size_t len = 1 + vf_random(rng) % sizeof data;

	if (vf_random(rng) % 2)
		at -= at % CHUNK_SIZE;
	if (vf_random(rng) % 2)
		len = (len + CHUNK_SIZE - 1) / CHUNK_SIZE * CHUNK_SIZE;
	if (len > LIMIT - at)
		len = (size_t)(LIMIT - at);
	switch (vf_random(rng) % 8) {
	case 0:
		assert_int_equal(vf_truncate(f, at), 0);
		if (at < model_len)
			memset(model + at, 0, model_len - at);
		model_len = (size_t)at;
		break;
	case 1:
	case 2:
	case 3:
		assert_int_equal(
			vf_allocate(f,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    at, len),
			0);
		if (at < model_len)
			memset(model + at, 0,
			       len < model_len - at ? len : model_len - at);
		break;
	case 4:
		assert_int_equal(vfile_sync(f, vf_random(rng) % 2), 0);
		break;
	default:
		vf_random_bytes(rng, data, len);
		assert_int_equal(vf_put(f, data, len, at), 0);
		memcpy(model + at, data, len);
		if (model_len < at + len)
			model_len = (size_t)at + len;
	}
}

/* Nothing is known of its holes then. */
static struct vfile *reopen(struct fixture *fx, struct vfile *f)
{
	vfile_close(f);
	return vf_open(fx, fx->vault, "f");
}

static struct vfile *random_file(struct fixture *fx, uint64_t *rng)
{
	struct vfile *f = vf_create(fx, "f");
	int fd = backing_fd(fx);

	model_len = 0;
	memset(model, 0, sizeof model);
	for (int n = 0; n < STEPS; n++) {
		step(f, rng);
		if (vf_random(rng) % 4 == 0)
			vf_expect(f, model, model_len);
		if (vf_random(rng) % 8 == 0) {
			assert_int_equal(vfile_drain(f), 0);
			check_map(fx, fd, false);
		}
		if (vf_random(rng) % 16 == 0) {
			assert_int_equal(vfile_sync(f, true), 0);
			assert_int_equal(vfile_drain(f), 0);
			check_map(fx, fd, true);
		}
		if (vf_random(rng) % 16 == 0)
			f = reopen(fx, f);
	}
	close(fd);
	return f;
}

static void test_map__every_hole_is_claimed(void **state)
{
	struct fixture *fx = *state;
	uint64_t rng = vf_seed();

	for (int round = 0; round < 8; round++) {
		struct vfile *f = random_file(fx, &rng);

		f = reopen(fx, f);
		vf_expect(f, model, model_len);
		vfile_close(f);
		assert_int_equal(unlinkat(fx->vault->root_fd,
					  fx_name(fx, fx->root_id, "f").entry,
					  0),
				 0);
	}
}

/* Who reads this chunk, and nothing else. */
static ssize_t read_chunk(struct vfile *f, uint64_t index, uint8_t *buf)
{
	uint64_t bad;

	return vf_get(f, buf, CHUNK_SIZE, index * CHUNK_SIZE, &bad);
}

/* With chunk index zeroed, and nothing else: what is lost? */
static void check_zeroed(struct fixture *fx, int fd, uint64_t index,
			 const bool *hole)
{
	uint64_t last = chunk_last_index(model_len);
	uint8_t buf[CHUNK_SIZE];
	struct vfile *f;
	bool orphan = true;

	assert_int_equal(vfile_open(fx->vault, dup(fd), false, &f), 0);
	for (uint64_t i = 0; i <= last; i++) {
		size_t len = i == last ? chunk_last_len(model_len) : CHUNK_SIZE;
		ssize_t n = read_chunk(f, i, buf);

		/* and the holes that it has claimed */
		orphan = i > index && orphan && hole[i];
		if (i == index)
			orphan = true;
		if (i == index || (i > index && orphan)) {
			assert_int_equal(n, -EBADMSG);
			continue;
		}
		assert_int_equal(n, len);
		assert_memory_equal(buf, model + i * CHUNK_SIZE, len);
	}
	vfile_close(f);
}

static void test_map__zeroed_chunks_are_noticed(void **state)
{
	struct fixture *fx = *state;
	uint64_t rng = vf_seed();
	struct vfile *f = random_file(fx, &rng);
	uint8_t stored[CHUNK_TOKEN_LEN], zeros[CHUNK_TOKEN_LEN] = {0};
	bool hole[CHUNKS + 1] = {false};
	int fd = backing_fd(fx);

	/* some that is sure to have both */
	assert_int_equal(vf_truncate(f, LIMIT), 0);
	memset(model + model_len, 0, LIMIT - model_len);
	model_len = LIMIT;
	assert_int_equal(vf_put(f, "x", 1, 20 * CHUNK_SIZE), 0);
	model[20 * CHUNK_SIZE] = 'x';
	vfile_close(f);
	assert_int_equal(journal_stop(fx->vault), 0);
	check_map(fx, fd, true);
	for (uint64_t i = 0; i < CHUNKS - 1; i++) {
		assert_int_equal(xio_pread(fd, stored, sizeof stored,
					   (off_t)chunk_offset(i)),
				 0);
		hole[i] = bytes_all_zero(stored, sizeof stored);
	}
	for (uint64_t i = 0; i < CHUNKS - 1; i++) {
		off_t at = (off_t)chunk_offset(i);

		if (hole[i])
			continue;
		assert_int_equal(xio_pread(fd, stored, sizeof stored, at), 0);
		assert_int_equal(xio_pwrite(fd, zeros, sizeof zeros, at), 0);
		check_zeroed(fx, fd, i, hole);
		assert_int_equal(xio_pwrite(fd, stored, sizeof stored, at), 0);
	}
	close(fd);
	assert_int_equal(journal_start(fx->vault), 0);
}

/* Sealed anew under another key, each claim stays. */
static void test_map__another_key_keeps_it(void **state)
{
	struct fixture *fx = *state;
	uint64_t rng = vf_seed();
	struct vfile *f = random_file(fx, &rng);
	struct backing_name name = fx_name(fx, fx->root_id, "f");
	int fd = backing_fd(fx);

	assert_int_equal(vf_truncate(f, LIMIT), 0);
	memset(model + model_len, 0, LIMIT - model_len);
	model_len = LIMIT;
	assert_int_equal(vf_allocate(f,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     30 * CHUNK_SIZE, 3 * CHUNK_SIZE),
			 0);
	memset(model + 30 * CHUNK_SIZE, 0, 3 * CHUNK_SIZE);
	assert_int_equal(vfile_sync(f, true), 0);
	f = reopen(fx, f);
	assert_int_equal(vfile_rekey(f, vf_ws(), name.entry), 0);
	check_map(fx, fd, true);
	f = reopen(fx, f);
	vf_expect(f, model, model_len);
	vfile_close(f);
	close(fd);
}

/* A former end that is in place, without its mark, claims the hole, too. */
static void test_map__behind_an_end_in_flux(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "f");
	int fd = backing_fd(fx);

	model_len = 40 * CHUNK_SIZE;
	memset(model, 1, model_len);
	assert_int_equal(vf_put(f, model, model_len, 0), 0);
	assert_true(vfile_in_flux(f));
	assert_int_equal(vf_put(f, "x", 1, 44 * CHUNK_SIZE), 0);
	memset(model + model_len, 0, sizeof model - model_len);
	model[44 * CHUNK_SIZE] = 'x';
	model_len = 44 * CHUNK_SIZE + 1;
	f = reopen(fx, f);
	vf_expect(f, model, model_len);
	assert_int_equal(vfile_drain(f), 0);
	check_map(fx, fd, true);
	vfile_close(f);
	close(fd);
}

/* Each of them is learnt when it is met, though others are forgotten for it. */
static void test_map__more_holes_than_are_listed(void **state)
{
	struct fixture *fx = *state;
	struct backing_name name = fx_name(fx, fx->root_id, "f");
	struct vfile *f = vf_create(fx, "f");

	memset(old, 1, sizeof old);
	for (uint64_t i = 0; i < GAPS_MAX + 8; i++)
		assert_int_equal(vf_put(f, old, sizeof old, 2 * i * CHUNK_SIZE),
				 0);
	f = reopen(fx, f);
	assert_int_equal(vfile_rekey(f, vf_ws(), name.entry), 0);
	f = reopen(fx, f);
	for (uint64_t i = 0; i < 2 * GAPS_MAX; i++)
		assert_int_equal(read_chunk(f, i, old), CHUNK_SIZE);
	vfile_close(f);
}

/* All in its place, and no journal: a hole of 46 chunks and some behind it. */
static int make_sparse(struct fixture *fx)
{
	struct vfile *f = vf_create(fx, "f");

	memset(old, 1, sizeof old);
	assert_int_equal(vf_truncate(f, LIMIT), 0);
	vfile_close(f);
	assert_int_equal(journal_stop(fx->vault), 0);
	return backing_fd(fx);
}

/* What is written meanwhile goes on claiming what may be a hole. */
static void test_map__an_end_that_is_damaged_for_a_while(void **state)
{
	struct fixture *fx = *state;
	off_t at = (off_t)chunk_offset(CHUNKS - 1) + 100;
	int fd = make_sparse(fx);
	struct vfile *f;
	uint8_t was, is;

	assert_int_equal(xio_pread(fd, &was, 1, at), 0);
	is = was ^ 1;
	assert_int_equal(xio_pwrite(fd, &is, 1, at), 0);
	assert_int_equal(journal_start(fx->vault), 0);
	f = vf_open(fx, fx->vault, "f");
	assert_int_equal(vf_put(f, old, sizeof old, 20 * CHUNK_SIZE), 0);
	assert_int_equal(read_chunk(f, 21, old), -EBADMSG);
	vfile_close(f);
	assert_int_equal(journal_stop(fx->vault), 0);
	assert_int_equal(xio_pwrite(fd, &was, 1, at), 0);
	assert_int_equal(journal_start(fx->vault), 0);
	f = vf_open(fx, fx->vault, "f");
	for (uint64_t i = 0; i < CHUNKS; i++)
		assert_int_equal(read_chunk(f, i, old), CHUNK_SIZE);
	vfile_close(f);
	close(fd);
}

/* Who keeps no claims says so, and a power failure does not undo that. */
static void test_map__without_a_journal_it_is_given_up_first(void **state)
{
	struct fixture *fx = *state;
	int fd = make_sparse(fx), before;
	struct vfile *f = vf_open(fx, fx->vault, "f");

	assert_int_equal(vf_mark_on_disk(fx, fd), CHUNK_HOLES_MAPPED);
	before = syncs;
	assert_int_equal(vf_put(f, old, sizeof old, 20 * CHUNK_SIZE), 0);
	assert_int_equal(vf_mark_on_disk(fx, fd), CHUNK_HOLES_ANYWHERE);
	assert_int_equal(syncs, before + 1);
	assert_int_equal(vf_put(f, old, sizeof old, 30 * CHUNK_SIZE), 0);
	assert_int_equal(syncs, before + 1);
	vfile_close(f);
	close(fd);
	assert_int_equal(journal_start(fx->vault), 0);
}

/* In a vault of version 1, holes are as they were. */
static void test_map__none_in_an_old_vault(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f;
	int fd;

	fx->vault->version = 1;
	f = vf_create(fx, "f");
	fd = backing_fd(fx);
	assert_int_equal(vf_truncate(f, LIMIT), 0);
	assert_int_equal(vf_put(f, "x", 1, 20 * CHUNK_SIZE), 0);
	assert_int_equal(vf_allocate(f,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     0, 3 * CHUNK_SIZE),
			 0);
	vfile_close(f);
	assert_int_equal(journal_stop(fx->vault), 0);
	assert_int_equal(vf_mark_on_disk(fx, fd), CHUNK_HOLES_ANYWHERE);
	close(fd);
	/* what is mapped is not opened as such a vault's */
	fx->vault->version = 2;
	assert_int_equal(journal_start(fx->vault), 0);
	f = vf_create(fx, "g");
	assert_int_equal(vf_truncate(f, LIMIT), 0);
	vfile_close(f);
	assert_int_equal(journal_stop(fx->vault), 0);
	fx->vault->version = 1;
	assert_int_equal(journal_start(fx->vault), 0);
	f = vf_open(fx, fx->vault, "g");
	assert_int_equal(read_chunk(f, 0, old), -EBADMSG);
	vfile_close(f);
}

static int setup(void **state)
{
	if (fx_setup(state))
		return -1;
	return vault_lock(((struct fixture *)*state)->vault, false, false) ||
	       journal_start(((struct fixture *)*state)->vault);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_map__every_hole_is_claimed),
		TEST(test_map__zeroed_chunks_are_noticed),
		TEST(test_map__another_key_keeps_it),
		TEST(test_map__behind_an_end_in_flux),
		TEST(test_map__more_holes_than_are_listed),
		TEST(test_map__an_end_that_is_damaged_for_a_while),
		TEST(test_map__without_a_journal_it_is_given_up_first),
		TEST(test_map__none_in_an_old_vault),
	};
	int err = vf_init();

	return err ? err : cmocka_run_group_tests(tests, NULL, NULL);
}
