/* The engine of frondfs check, by itself; cases/check*.py have the rest. */
#include "vfile_fixture.h"

#include "check.h"
#include "journal.h"

enum { CHUNKS = 1500, SMALL = 300 };

static _Atomic size_t preads;

ssize_t __real_pread64(int fd, void *buf, size_t len, off_t offset);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset);

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t offset)
{
	preads++;
	return __real_pread64(fd, buf, len, offset);
}

/* What a check has told. */
struct told {
	size_t count;
	struct check_finding last;
	char path[256], backing[256];
	atomic_bool stop;
	bool stop_at_first;
	size_t progress;
};

static void on_found(void *arg, const struct check_finding *f)
{
	struct told *t = arg;

	t->count++;
	t->last = *f;
	snprintf(t->path, sizeof t->path, "%s", f->path ? f->path : "?");
	snprintf(t->backing, sizeof t->backing, "%s", f->backing);
	if (t->stop_at_first)
		atomic_store(&t->stop, true);
}

static void on_progress(void *arg, const struct check_progress *p)
{
	struct told *t = arg;

	t->progress++;
	assert_true(!p->counted || p->bytes <= p->bytes_found + 65536);
}

static int run_check(struct fixture *fx, struct told *t, unsigned jobs,
		     struct check_result *r)
{
	const struct check_options opt = {.jobs = jobs,
					  .count = true,
					  .stop = &t->stop,
					  .found = on_found,
					  .progress = on_progress,
					  .arg = t};

	return vault_check(fx->vault, &opt, r);
}

static void fill_vault(struct fixture *fx)
{
	uint8_t *data = malloc((size_t)CHUNKS * CHUNK_SIZE);
	uint64_t seed = 1;
	char name[32];

	assert_non_null(data);
	vf_random_bytes(&seed, data, (size_t)CHUNKS * CHUNK_SIZE);
	struct vfile *f = vf_create(fx, "big");

	for (size_t at = 0; at < (size_t)CHUNKS * CHUNK_SIZE;
	     at += VFILE_IO_MAX) {
		size_t left = (size_t)CHUNKS * CHUNK_SIZE - at;

		assert_int_equal(
			vf_put(f, data + at,
			       left < VFILE_IO_MAX ? left : VFILE_IO_MAX, at),
			0);
	}
	vfile_close(f);
	for (int i = 0; i < SMALL; i++) {
		snprintf(name, sizeof name, "small %d", i);
		f = vf_create(fx, name);
		assert_int_equal(vf_put(f, data, (size_t)i * 7, 0), 0);
		vfile_close(f);
	}
	free(data);
}

static void whatever_the_threads_everything_is_looked_at_once(void **state)
{
	struct fixture *fx = *state;
	uint64_t bytes = 0;

	fill_vault(fx);
	for (unsigned jobs = 0; jobs < 9; jobs += 1 + jobs / 2) {
		struct told t = {0};
		struct check_result r;

		assert_int_equal(run_check(fx, &t, jobs, &r), 0);
		assert_int_equal(t.count, 0);
		assert_int_equal(r.files, SMALL + 1);
		assert_int_equal(r.directories, 1);
		assert_true(!bytes || r.bytes == bytes);
		bytes = r.bytes;
	}
	assert_true(bytes >= chunk_backing_len((uint64_t)CHUNKS * CHUNK_SIZE));
}

static void one_bad_chunk_is_one_finding(void **state)
{
	static const uint64_t where[] = {
		0, 1, 254, 255, 256, 511, 512, 1023, CHUNKS - 2, CHUNKS - 1};
	struct fixture *fx = *state;
	uint8_t byte;
	int fd;

	fill_vault(fx);
	fd = vf_backing_fd(fx, "big");
	for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
		off_t at = (off_t)chunk_offset(where[i]) + 1000;
		struct told t = {0};
		struct check_result r;

		assert_int_equal(xio_pread(fd, &byte, 1, at), 0);
		byte ^= 0x10;
		assert_int_equal(xio_pwrite(fd, &byte, 1, at), 0);
		assert_int_equal(run_check(fx, &t, 3, &r), 0);
		assert_int_equal(t.count, 1);
		assert_int_equal(r.damaged, 1);
		assert_int_equal(t.last.fault, CHECK_TOKEN);
		assert_int_equal(t.last.state, CHECK_DAMAGED);
		assert_int_equal(t.last.first, where[i]);
		assert_int_equal(t.last.last, where[i]);
		assert_string_equal(t.path, "big");
		byte ^= 0x10;
		assert_int_equal(xio_pwrite(fd, &byte, 1, at), 0);
	}
	close(fd);
}

static void it_stops_when_told(void **state)
{
	struct fixture *fx = *state;
	struct told t = {.stop_at_first = true};
	struct check_result r;
	char name[32];

	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof name, "somebody's%d", i);
		fx_write(fx->vault->root_fd, name, "x", 1);
	}
	assert_int_equal(run_check(fx, &t, 1, &r), -EINTR);
	assert_int_equal(t.count, 1);
	assert_int_equal(t.last.fault, CHECK_FOREIGN);
	assert_int_equal(r.notes, 1);
}

static void a_copied_chunk_is_known_by_its_place(void **state)
{
	struct fixture *fx = *state;
	uint8_t token[CHUNK_TOKEN_LEN];
	struct told t = {0};
	struct check_result r;
	int fd;

	fill_vault(fx);
	fd = vf_backing_fd(fx, "big");
	assert_int_equal(
		xio_pread(fd, token, sizeof token, (off_t)chunk_offset(700)),
		0);
	assert_int_equal(
		xio_pwrite(fd, token, sizeof token, (off_t)chunk_offset(701)),
		0);
	close(fd);
	assert_int_equal(run_check(fx, &t, 2, &r), 0);
	assert_int_equal(t.count, 1);
	assert_int_equal(t.last.fault, CHECK_MOVED);
	assert_int_equal(t.last.first, 701);
}

/* A mount that has just ended finds the vault in use, and goes. */
static void what_has_ended_is_made_durable(void **state)
{
	struct fixture *fx = *state;
	struct told t = {0};
	struct check_result r = {0};
	const struct check_options opt = {
		.jobs = 1, .repair = true, .found = on_found, .arg = &t};
	int dir;

	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_begin(fx->vault), 0);
	dir = openat(fx->vault->meta_fd, "journal", O_RDONLY | O_DIRECTORY);
	assert_int_equal(linkat(dir, "session", dir, "copy", 0), 0);
	assert_int_equal(journal_stop(fx->vault), 0);
	assert_int_equal(renameat(dir, "copy", dir, "session.ended"), 0);
	assert_int_equal(vault_check(fx->vault, &opt, &r), 0);
	assert_false(fx_exists(dir, "session.ended"));
	close(dir);
}

/* As copies have them that are not sparse: who claims them is not looked for
 * anew, chunk by chunk, for each piece that is read. */
static void a_hole_of_real_zeros_is_gone_through_once(void **state)
{
	enum { HOLE = 8192 };
	struct fixture *fx = *state;
	uint8_t *zeros = calloc(HOLE, CHUNK_TOKEN_LEN);
	struct vfile *f;
	int fd;

	assert_non_null(zeros);
	if (!fx->vault->journal)
		assert_int_equal(vault_lock(fx->vault, false, false) ||
					 journal_start(fx->vault),
				 0);
	f = vf_create(fx, "f");
	assert_int_equal(vf_truncate(f, (HOLE + 2) * CHUNK_SIZE), 0);
	vfile_close(f);
	assert_int_equal(journal_stop(fx->vault), 0);
	fd = vf_backing_fd(fx, "f");
	assert_int_equal(vf_mark_on_disk(fx, fd), CHUNK_HOLES_MAPPED);
	assert_int_equal(xio_pwrite(fd, zeros, HOLE * CHUNK_TOKEN_LEN,
				    (off_t)chunk_offset(1)),
			 0);
	for (unsigned jobs = 1; jobs < 4; jobs++) {
		struct told t = {0};
		struct check_result r;

		preads = 0;
		assert_int_equal(run_check(fx, &t, jobs, &r), 0);
		assert_int_equal(t.count, 0);
		assert_true(preads < 5 * HOLE);
	}
	free(zeros);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(whatever_the_threads_everything_is_looked_at_once),
		TEST(one_bad_chunk_is_one_finding),
		TEST(a_hole_of_real_zeros_is_gone_through_once),
		TEST(it_stops_when_told),
		TEST(a_copied_chunk_is_known_by_its_place),
		TEST(what_has_ended_is_made_durable),
	};
	int status = vf_init();

	return status ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
