/* The log: what is in it stays in it, and whoever meddles with it is found. */
#include "vault_fixture.h"

#include "crash_fixture.h"
#include "fernet_text.h"
#include "vlog.h"
#include "xio.h"

#include <pthread.h>
#include <time.h>

enum { TOKEN_LEN = 457, HEAD_TOKEN_LEN = 105 };

static int log_fd(struct fixture *fx)
{
	int fd = openat(fx->vault->meta_fd, "log", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static struct vlog *log_open(struct fixture *fx)
{
	struct vlog *log = NULL;

	assert_int_equal(vlog_open(fx->vault, &log), 0);
	return log;
}

static void log_clear(struct fixture *fx)
{
	unlinkat(fx->vault->meta_fd, "log", 0);
	unlinkat(fx->vault->meta_fd, "log.head", 0);
}

static struct vlog_record record(unsigned n)
{
	struct vlog_record r = {.event = VLOG_SENT,
				.index = (uint8_t)n,
				.detail = (uint8_t)(n >> 8)};

	memset(r.set_id, (int)n, sizeof r.set_id);
	memset(&r.peer, (int)n + 1, sizeof r.peer);
	snprintf(r.text, sizeof r.text, "record %u", n);
	return r;
}

static void append(struct vlog *log, unsigned n)
{
	struct vlog_record r = record(n);

	assert_int_equal(vlog_append(log, &r), 0);
}

static void expect(struct vlog *log, uint64_t seq, unsigned n)
{
	struct vlog_record want = record(n), got;

	assert_int_equal(vlog_read(log, seq, &got), 0);
	assert_int_equal(got.seq, seq);
	assert_int_equal(got.event, want.event);
	assert_int_equal(got.index, want.index);
	assert_int_equal(got.detail, want.detail);
	assert_memory_equal(got.set_id, want.set_id, sizeof got.set_id);
	assert_memory_equal(&got.peer, &want.peer, sizeof got.peer);
	assert_string_equal(got.text, want.text);
}

static void expect_verdict(struct fixture *fx, enum vlog_fault want,
			   uint64_t at)
{
	struct vlog *log = log_open(fx);
	enum vlog_fault what = VLOG_FAULT_NONE;
	uint64_t seq = 99;

	assert_int_equal(vlog_verify(log, &what, &seq), want ? -EBADMSG : 0);
	assert_int_equal(what, want);
	assert_int_equal(seq, at);
	vlog_close(log);
}

/* A log of n records, sound. */
static void fill(struct fixture *fx, unsigned n)
{
	struct vlog *log;

	log_clear(fx);
	log = log_open(fx);
	for (unsigned i = 0; i < n; i++)
		append(log, i);
	vlog_close(log);
	expect_verdict(fx, VLOG_FAULT_NONE, n);
}

/* Further records find their place, and the fault stays where it is. */
static void expect_goes_on(struct fixture *fx, enum vlog_fault what,
			   uint64_t at)
{
	struct vlog *log = log_open(fx);
	uint64_t count = vlog_count(log);

	append(log, 200);
	append(log, 201);
	assert_int_equal(vlog_count(log), count + 2);
	expect(log, count, 200);
	expect(log, count + 1, 201);
	vlog_close(log);
	expect_verdict(fx, what, at);
}

static void test_log__keeps_what_is_put_in(void **state)
{
	struct fixture *fx = *state;
	struct vlog *log;
	struct vlog_record r = record(3);
	time_t now = time(NULL);

	log_clear(fx);
	expect_verdict(fx, VLOG_FAULT_NONE, 0);
	log = log_open(fx);
	assert_int_equal(vlog_count(log), 0);
	assert_int_equal(vlog_read(log, 0, &r), -ENODATA);
	for (unsigned i = 0; i < 5; i++) {
		r = record(i);
		assert_int_equal(vlog_append(log, &r), 0);
		assert_int_equal(r.seq, i);
		assert_true(r.time_s >= (uint64_t)now &&
			    r.time_s <= (uint64_t)now + 60);
	}
	fx_fill(r.text, 't', VLOG_TEXT_MAX);
	assert_int_equal(vlog_append(log, &r), 0);
	r.event = 0;
	assert_int_equal(vlog_append(log, &r), -EINVAL);
	r.event = VLOG_EVENTS;
	assert_int_equal(vlog_append(log, &r), -EINVAL);
	vlog_close(log);

	log = log_open(fx);
	assert_int_equal(vlog_count(log), 6);
	for (unsigned i = 0; i < 5; i++)
		expect(log, i, i);
	assert_int_equal(vlog_read(log, 5, &r), 0);
	assert_int_equal(strlen(r.text), VLOG_TEXT_MAX);
	assert_int_equal(vlog_read(log, 6, &r), -ENODATA);
	vlog_close(log);
	expect_verdict(fx, VLOG_FAULT_NONE, 6);
}

static void test_log__altered_bytes_are_found(void **state)
{
	struct fixture *fx = *state;
	enum { N = 4 };

	for (unsigned at = 0; at < N * TOKEN_LEN; at += 41) {
		struct vlog_record r;
		struct vlog *log;
		uint8_t c;
		int fd;

		fill(fx, N);
		fd = log_fd(fx);
		assert_int_equal(xio_pread(fd, &c, 1, at), 0);
		c ^= 4;
		assert_int_equal(xio_pwrite(fd, &c, 1, at), 0);
		close(fd);
		expect_verdict(fx, VLOG_FAULT_RECORD, at / TOKEN_LEN);
		log = log_open(fx);
		assert_int_equal(vlog_read(log, at / TOKEN_LEN, &r), -EBADMSG);
		vlog_close(log);
		expect_goes_on(fx, VLOG_FAULT_RECORD, at / TOKEN_LEN);
	}
}

static void test_log__a_cut_is_found_and_never_healed(void **state)
{
	struct fixture *fx = *state;
	enum { N = 4 };

	for (unsigned left = 0; left < N * TOKEN_LEN; left += 100) {
		uint64_t whole = left / TOKEN_LEN;
		int fd;

		fill(fx, N);
		fd = log_fd(fx);
		assert_int_equal(ftruncate(fd, left), 0);
		close(fd);
		expect_verdict(fx, VLOG_FAULT_CUT, whole);
		expect_goes_on(fx, VLOG_FAULT_CHAIN, whole);
	}
	fill(fx, N);
	assert_int_equal(unlinkat(fx->vault->meta_fd, "log", 0), 0);
	expect_verdict(fx, VLOG_FAULT_CUT, 0);
	expect_goes_on(fx, VLOG_FAULT_CHAIN, 0);
}

static void copy_record(int fd, unsigned from, unsigned to)
{
	uint8_t token[TOKEN_LEN];

	assert_int_equal(xio_pread(fd, token, TOKEN_LEN, from * TOKEN_LEN), 0);
	assert_int_equal(xio_pwrite(fd, token, TOKEN_LEN, to * TOKEN_LEN), 0);
}

static void test_log__moved_records_are_found(void **state)
{
	struct fixture *fx = *state;
	struct vlog_record r;
	struct vlog *log;
	int fd;

	fill(fx, 5);
	fd = log_fd(fx);
	copy_record(fd, 1, 5); /* swapped by way of place 5 */
	copy_record(fd, 2, 1);
	copy_record(fd, 5, 2);
	assert_int_equal(ftruncate(fd, 5 * TOKEN_LEN), 0);
	close(fd);
	expect_verdict(fx, VLOG_FAULT_CHAIN, 1);
	log = log_open(fx);
	assert_int_equal(vlog_read(log, 2, &r), -EBADMSG);
	vlog_close(log);

	fill(fx, 5);
	fd = log_fd(fx);
	copy_record(fd, 0, 3); /* doubled */
	expect_verdict(fx, VLOG_FAULT_CHAIN, 3);
	fill(fx, 5);
	close(fd);
	fd = log_fd(fx);
	copy_record(fd, 4, 3); /* one taken out of the middle */
	assert_int_equal(ftruncate(fd, 4 * TOKEN_LEN), 0);
	close(fd);
	expect_verdict(fx, VLOG_FAULT_CHAIN, 3);
	expect_goes_on(fx, VLOG_FAULT_CHAIN, 3);
}

static void test_log__what_is_added_is_found(void **state)
{
	struct fixture *fx = *state;
	int fd;

	fill(fx, 3);
	fd = log_fd(fx);
	copy_record(fd, 2, 3);
	close(fd);
	expect_verdict(fx, VLOG_FAULT_CHAIN, 3);
	expect_goes_on(fx, VLOG_FAULT_CHAIN, 3);
}

static void read_head(struct fixture *fx, uint8_t head[HEAD_TOKEN_LEN])
{
	size_t len = 0;

	assert_int_equal(xio_read_file(fx->vault->meta_fd, "log.head", head,
				       HEAD_TOKEN_LEN, &len),
			 0);
	assert_int_equal(len, HEAD_TOKEN_LEN);
}

static void test_log__a_bad_head_is_found(void **state)
{
	struct fixture *fx = *state;
	int meta = fx->vault->meta_fd;
	uint8_t head[HEAD_TOKEN_LEN], token[TOKEN_LEN];
	struct vlog *log;
	int fd;

	for (unsigned at = 0; at < HEAD_TOKEN_LEN; at += 13) {
		fill(fx, 3);
		read_head(fx, head);
		head[at] ^= 1;
		fx_write(meta, "log.head", head, sizeof head);
		expect_verdict(fx, VLOG_FAULT_HEAD, 3);
	}
	expect_goes_on(fx, VLOG_FAULT_CHAIN, 3);

	fill(fx, 3);
	assert_int_equal(unlinkat(meta, "log.head", 0), 0);
	expect_verdict(fx, VLOG_FAULT_HEAD, 3);
	expect_goes_on(fx, VLOG_FAULT_CHAIN, 3);

	fill(fx, 3); /* a record is no head */
	fd = log_fd(fx);
	assert_int_equal(xio_pread(fd, token, TOKEN_LEN, 0), 0);
	close(fd);
	fx_write(meta, "log.head", token, sizeof token);
	expect_verdict(fx, VLOG_FAULT_HEAD, 3);

	/* An old head, by more than what a crash leaves. */
	fill(fx, 3);
	read_head(fx, head);
	log = log_open(fx);
	append(log, 3);
	append(log, 4);
	vlog_close(log);
	fx_write(meta, "log.head", head, sizeof head);
	expect_verdict(fx, VLOG_FAULT_EXCESS, 3);
	expect_goes_on(fx, VLOG_FAULT_CHAIN, 5);
	/* One that nobody can read, of a log without records: what comes next
	 * does not look like a beginning. */
	fill(fx, 3);
	read_head(fx, head);
	log_clear(fx);
	head[20] ^= 1;
	fx_write(meta, "log.head", head, sizeof head);
	expect_verdict(fx, VLOG_FAULT_HEAD, 0);
	expect_goes_on(fx, VLOG_FAULT_CHAIN, 0);
	/* The head of another history of the same length. */
	fill(fx, 3);
	read_head(fx, head);
	fill(fx, 3);
	fx_write(meta, "log.head", head, sizeof head);
	expect_verdict(fx, VLOG_FAULT_HEAD, 3);
	expect_goes_on(fx, VLOG_FAULT_CHAIN, 3);
}

static int append_one(void *arg)
{
	struct vlog_record r = record(2);

	return vlog_append(arg, &r);
}

static void test_log__a_crash_leaves_it_sound(void **state)
{
	struct fixture *fx = *state;

	for (unsigned start = 0; start < 3; start += 2)
		for (int n = 0;; n++) {
			struct vlog *log;
			uint64_t count;
			int result;
			bool died;

			fill(fx, start);
			if (start == 0)
				log_clear(fx);
			log = log_open(fx);
			died = crash_child(n, append_one, log, &result);
			vlog_close(log);
			log = log_open(fx);
			count = vlog_count(log);
			assert_true(count == start || count == start + 1);
			if (!died)
				assert_int_equal(count, start + 1);
			expect_verdict(fx, VLOG_FAULT_NONE, count);
			append(log, 7);
			expect(log, count, 7);
			for (unsigned i = 0; i < count; i++)
				expect(log, i, i < start ? i : 2);
			vlog_close(log);
			expect_verdict(fx, VLOG_FAULT_NONE, count + 1);
			if (!died) {
				assert_true(n > 5);
				break;
			}
		}
}

/* One call that dies behind so many steps, with a log of its own. */
static bool append_and_die(struct fixture *fx, int steps)
{
	struct vlog *log = log_open(fx);
	int result;
	bool died = crash_child(steps, append_one, log, &result);

	vlog_close(log);
	return died;
}

static void test_log__a_second_crash_leaves_it_sound(void **state)
{
	struct fixture *fx = *state;
	bool first_died = true;

	for (int first = 0; first_died; first++) {
		bool second_died = true;

		for (int second = 0; second_died; second++) {
			struct vlog *log;
			uint64_t count;

			fill(fx, 3);
			first_died = append_and_die(fx, first);
			second_died = append_and_die(fx, second);
			log = log_open(fx);
			count = vlog_count(log);
			assert_true(count >= 3 && count <= 5);
			expect_verdict(fx, VLOG_FAULT_NONE, count);
			append(log, 7);
			expect(log, count, 7);
			vlog_close(log);
			expect_verdict(fx, VLOG_FAULT_NONE, count + 1);
		}
	}
}

/* What was killed may have replaced the head without having it durable. */
static void test_log__what_a_kill_left_is_durable_before_more(void **state)
{
	struct fixture *fx = *state;
	bool died = true;

	for (int n = 0; died; n++) {
		struct vlog *log;
		struct stat st;

		fill(fx, 3);
		died = append_and_die(fx, n);
		assert_int_equal(fstat(fx->vault->meta_fd, &st), 0);
		log = log_open(fx);
		crash_watched = st.st_ino;
		crash_fsyncs = 0;
		append(log, 7);
		assert_true(crash_fsyncs >= 2);
		crash_fsyncs = 0;
		append(log, 7);
		assert_int_equal(crash_fsyncs, 1);
		crash_watched = 0;
		vlog_close(log);
	}
}

/* A power failure may leave of the last record its length and some sectors. */
static void test_log__a_torn_record_is_none(void **state)
{
	struct fixture *fx = *state;
	uint8_t torn[TOKEN_LEN] = {0};
	struct vlog *log;
	int fd;

	fill(fx, 3);
	memset(torn, 'x', 4 * 512 - 3 * TOKEN_LEN - 512);
	fd = log_fd(fx);
	assert_int_equal(
		xio_pwrite(fd, torn, sizeof torn, (off_t)3 * TOKEN_LEN), 0);
	close(fd);
	expect_verdict(fx, VLOG_FAULT_NONE, 3);
	log = log_open(fx);
	assert_int_equal(vlog_count(log), 3);
	append(log, 3);
	expect(log, 3, 3);
	vlog_close(log);
	expect_verdict(fx, VLOG_FAULT_NONE, 4);
}

/* What a process left that died may be in the page cache alone. */
static void test_log__a_head_knows_nothing_that_may_be_lost(void **state)
{
	struct fixture *fx = *state;
	struct vlog_record r = record(7);
	struct vlog *log;
	struct stat st;

	fill(fx, 3);
	/* behind the record, in front of the head */
	assert_true(append_and_die(fx, 4));
	assert_int_equal(fstatat(fx->vault->meta_fd, "log", &st, 0), 0);
	assert_int_equal(st.st_size, 4 * TOKEN_LEN);
	log = log_open(fx);
	crash_watched = st.st_ino;
	crash_fsyncs = 0;
	crash_left = 1;
	crash_mode = CRASH_IO;
	assert_int_equal(vlog_append(log, &r), -EIO);
	crash_mode = CRASH_NOT;
	crash_watched = 0;
	assert_int_equal(crash_fsyncs, 1);
	vlog_close(log);
	expect_verdict(fx, VLOG_FAULT_NONE, 4);
}

static void test_log__a_full_disk_leaves_it_sound(void **state)
{
	struct fixture *fx = *state;
	struct vlog *log;
	int n, failed = 0;

	fill(fx, 3);
	log = log_open(fx);
	for (n = 0; n < 20; n++) {
		uint64_t before = vlog_count(log);
		struct vlog_record r = record(9);
		int err;

		r.seq = 77;
		crash_left = n;
		crash_mode = CRASH_NO_ROOM;
		err = vlog_append(log, &r);
		crash_mode = CRASH_NOT;
		if (err) {
			failed++;
			assert_int_equal(err, -ENOSPC);
			assert_int_equal(r.seq, 77);
		}
		/* Only where nobody can tell whether it is durable may it be
		 * there in spite of the error. */
		assert_true(vlog_count(log) - before <= 1);
		if (!err)
			assert_int_equal(vlog_count(log), before + 1);
		expect_verdict(fx, VLOG_FAULT_NONE, vlog_count(log));
	}
	assert_true(failed >= 5);
	vlog_close(log);
}

enum { THREADS = 4, EACH = 50 };

static void *append_many(void *arg)
{
	for (unsigned i = 0; i < EACH; i++) {
		struct vlog_record r = record(i);

		if (vlog_append(arg, &r))
			return "cannot append";
	}
	return NULL;
}

static void test_log__threads_and_processes_take_turns(void **state)
{
	struct fixture *fx = *state;
	struct vlog *log;
	pthread_t threads[THREADS];
	void *complaint;
	int status = 0;
	pid_t pid;

	fill(fx, 0);
	pid = fork();
	if (pid == 0) {
		int bad = vlog_open(fx->vault, &log);

		_exit(bad || append_many(log) ? 1 : 0);
	}
	log = log_open(fx);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, append_many, log), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &complaint);
		assert_null(complaint);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(vlog_count(log), (THREADS + 1) * EACH);
	vlog_close(log);
	expect_verdict(fx, VLOG_FAULT_NONE, (THREADS + 1) * EACH);
}

static void test_log__what_is_taken_away_while_open_is_put_back(void **state)
{
	struct fixture *fx = *state;
	struct vlog *log, *other;
	enum vlog_fault what;
	uint64_t seq;

	fill(fx, 3);
	log = log_open(fx);
	other = log_open(fx);
	assert_int_equal(unlinkat(fx->vault->meta_fd, "log", 0), 0);
	append(log, 3);
	expect_verdict(fx, VLOG_FAULT_NONE, 4);
	append(other, 4);
	expect_verdict(fx, VLOG_FAULT_NONE, 5);
	assert_int_equal(unlinkat(fx->vault->meta_fd, "log", 0), 0);
	assert_int_equal(vlog_verify(log, &what, &seq), 0);
	assert_int_equal(seq, 5);
	vlog_close(log);
	vlog_close(other);
	expect_verdict(fx, VLOG_FAULT_NONE, 5);
}

/* As a synchronising service does, with the same bytes or with older ones. */
static void test_log__what_is_replaced_while_open_is_followed(void **state)
{
	struct fixture *fx = *state;
	int meta = fx->vault->meta_fd;
	uint8_t bytes[3 * TOKEN_LEN];
	enum vlog_fault what;
	struct vlog *log;
	uint64_t seq;
	int fd;

	fill(fx, 3);
	log = log_open(fx);
	fd = log_fd(fx);
	assert_int_equal(xio_pread(fd, bytes, sizeof bytes, 0), 0);
	close(fd);
	assert_int_equal(
		xio_replace_file(meta, "log", bytes, sizeof bytes, 0666), 0);
	append(log, 3);
	expect_verdict(fx, VLOG_FAULT_NONE, 4);
	assert_int_equal(
		xio_replace_file(meta, "log", bytes, sizeof bytes, 0666), 0);
	assert_int_equal(vlog_verify(log, &what, &seq), -EBADMSG);
	assert_int_equal(what, VLOG_FAULT_CUT);
	vlog_close(log);
	expect_verdict(fx, VLOG_FAULT_CUT, 3);
}

static void test_log__another_vault_cannot_read_it(void **state)
{
	struct fixture *fx = *state;
	struct vault_keys *keys = fx->vault->keys;
	struct vault other = *fx->vault;
	struct vlog_record r;
	struct vlog *log;

	fill(fx, 2);
	other.keys = secret_alloc(sizeof *other.keys);
	assert_non_null(other.keys);
	*other.keys = *keys;
	other.keys->master[0] ^= 1;
	assert_int_equal(vlog_open(&other, &log), 0);
	assert_int_equal(vlog_read(log, 0, &r), -EBADMSG);
	vlog_close(log);
	secret_free(other.keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log__keeps_what_is_put_in),
		cmocka_unit_test(test_log__altered_bytes_are_found),
		cmocka_unit_test(test_log__a_cut_is_found_and_never_healed),
		cmocka_unit_test(test_log__moved_records_are_found),
		cmocka_unit_test(test_log__what_is_added_is_found),
		cmocka_unit_test(test_log__a_bad_head_is_found),
		cmocka_unit_test(test_log__a_crash_leaves_it_sound),
		cmocka_unit_test(test_log__a_second_crash_leaves_it_sound),
		cmocka_unit_test(
			test_log__what_a_kill_left_is_durable_before_more),
		cmocka_unit_test(test_log__a_torn_record_is_none),
		cmocka_unit_test(
			test_log__a_head_knows_nothing_that_may_be_lost),
		cmocka_unit_test(test_log__a_full_disk_leaves_it_sound),
		cmocka_unit_test(test_log__threads_and_processes_take_turns),
		cmocka_unit_test(
			test_log__what_is_taken_away_while_open_is_put_back),
		cmocka_unit_test(
			test_log__what_is_replaced_while_open_is_followed),
		cmocka_unit_test(test_log__another_vault_cannot_read_it),
	};

	return fx_init() ? 1
			 : cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
