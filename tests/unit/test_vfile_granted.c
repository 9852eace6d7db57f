/* A file read with a granted key while its owner goes on writing it. */
#include "vfile_fixture.h"

#include "journal.h"

#include <pthread.h>
#include <stdatomic.h>

/* The owner's file, and a second vault that was granted its key. */
struct granted {
	struct vfile *owner;
	struct vault reader;
	struct vfile_grant grant;
	char plain[32];
};

static void grant_init(struct fixture *fx, struct granted *g, const void *data,
		       size_t len)
{
	static unsigned serial;

	*g = (struct granted){.reader = *fx->vault};
	/* The reader has none of the owner's keys. */
	g->reader.keys = NULL;
	assert_int_equal(secret_pool_new(sizeof(struct fernet_key), 2,
					 &g->reader.file_keys),
			 0);
	snprintf(g->plain, sizeof g->plain, "granted %u", serial++);
	g->owner = vf_create(fx, g->plain);
	assert_int_equal(vf_put(g->owner, data, len, 0), 0);
	memcpy(g->grant.file_id, vfile_id(g->owner), FILE_ID_LEN);
	assert_int_equal(vfile_key(g->owner, g->grant.key), 0);
}

static void grant_fini(struct granted *g)
{
	vfile_close(g->owner);
	secret_pool_free(g->reader.file_keys);
}

static int grant_open(struct fixture *fx, struct granted *g, struct vfile **f)
{
	int fd = vf_backing_fd(fx, g->plain);
	int err = vfile_open_granted(&g->reader, fd, &g->grant, f);

	if (err)
		close(fd);
	return err;
}

/* Another key token, as re-keying leaves one. */
static void rekey_header(struct fixture *fx, struct granted *g)
{
	struct header h = {0};
	uint8_t bytes[HEADER_LEN];
	int fd = vf_backing_fd(fx, g->plain);

	memcpy(h.file_id, g->grant.file_id, FILE_ID_LEN);
	memcpy(h.dirid, fx->root_id, DIRID_LEN);
	randombytes_buf(h.file_key, sizeof h.file_key);
	assert_int_equal(header_build(&h, &fx->vault->keys->file_keys, bytes),
			 0);
	assert_int_equal(xio_pwrite(fd, bytes, sizeof bytes, 0), 0);
	close(fd);
}

static void test_granted__reads_what_the_owner_writes(void **state)
{
	struct fixture *fx = *state;
	enum { LEN = 5 * CHUNK_SIZE + 5 };
	static uint8_t bytes[LEN];
	struct granted g;
	struct vfile *f;
	uint64_t rng = vf_seed(), found = 0;

	vf_random_bytes(&rng, bytes, LEN);
	grant_init(fx, &g, bytes, LEN);
	assert_int_equal(grant_open(fx, &g, &f), 0);
	assert_false(vfile_writable(f));
	vf_expect(f, bytes, LEN);
	/* Changed, cut, grown, with a hole. */
	assert_int_equal(vf_put(g.owner, "changed", 7, CHUNK_SIZE - 3), 0);
	memcpy(bytes + CHUNK_SIZE - 3, "changed", 7);
	vf_expect(f, bytes, LEN);
	assert_int_equal(vf_truncate(g.owner, CHUNK_SIZE + 1), 0);
	assert_int_equal(vf_get(f, bytes, 1, LEN - 1, NULL), 0);
	vf_expect(f, bytes, CHUNK_SIZE + 1);
	assert_int_equal(vf_put(g.owner, "end", 3, 4 * CHUNK_SIZE), 0);
	memset(bytes + CHUNK_SIZE + 1, 0, LEN - CHUNK_SIZE - 1);
	memcpy(bytes + 4 * CHUNK_SIZE, "end", 3);
	assert_int_equal(vf_get(f, bytes, 1, 0, NULL), 1);
	vf_expect(f, bytes, 4 * CHUNK_SIZE + 3);
	assert_int_equal(vfile_seek(f, vf_ws(), 0, SEEK_HOLE, &found), 0);
	assert_int_equal(found, 2 * CHUNK_SIZE);
	assert_int_equal(vf_truncate(g.owner, 0), 0);
	assert_int_equal(vf_get(f, bytes, 1, 0, NULL), 0);
	vfile_close(f);
	assert_int_equal(grant_open(fx, &g, &f), 0);
	vf_expect(f, bytes, 0);
	vfile_close(f);
	grant_fini(&g);
}

static void test_granted__only_the_file_with_this_id_and_key(void **state)
{
	struct fixture *fx = *state;
	struct granted g;
	struct vfile *f;

	grant_init(fx, &g, "fern", 4);
	g.grant.file_id[3] ^= 1;
	assert_int_equal(grant_open(fx, &g, &f), -EBADMSG);
	g.grant.file_id[3] ^= 1;
	g.grant.key[20] ^= 1;
	assert_int_equal(grant_open(fx, &g, &f), -EBADMSG);
	g.grant.key[20] ^= 1;
	assert_int_equal(grant_open(fx, &g, &f), 0);
	vfile_close(f);
	grant_fini(&g);
}

/* As long as it grows, its end has no mark. */
static void test_granted__an_end_that_is_growing(void **state)
{
	struct fixture *fx = *state;
	enum { STEP = 20 * CHUNK_SIZE, LEN = 16 * STEP };
	static uint8_t bytes[LEN], got[CHUNK_SIZE];
	uint64_t rng = vf_seed();
	struct granted g;
	struct vfile *f;

	vf_random_bytes(&rng, bytes, LEN);
	assert_int_equal(vault_lock(fx->vault, false, false), 0);
	assert_int_equal(journal_start(fx->vault), 0);
	grant_init(fx, &g, bytes, 10);
	assert_int_equal(grant_open(fx, &g, &f), 0);
	for (size_t at = 0; at < LEN; at += STEP) {
		size_t last = at + STEP - CHUNK_SIZE;

		assert_int_equal(vf_put(g.owner, bytes + at, STEP, at), 0);
		/* the former end, and the new one */
		assert_int_equal(vf_get(f, got, CHUNK_SIZE,
					at ? at - CHUNK_SIZE : 0, NULL),
				 CHUNK_SIZE);
		assert_memory_equal(got, bytes + (at ? at - CHUNK_SIZE : 0),
				    CHUNK_SIZE);
		assert_int_equal(vf_get(f, got, CHUNK_SIZE, last, NULL),
				 CHUNK_SIZE);
		assert_memory_equal(got, bytes + last, CHUNK_SIZE);
	}
	vfile_close(f);
	/* before long it has one */
	assert_int_equal(grant_open(fx, &g, &f), 0);
	vf_expect(f, bytes, LEN);
	vfile_close(f);
	grant_fini(&g);
	assert_int_equal(journal_stop(fx->vault), 0);
	vault_unlock(fx->vault);
}

static void test_granted__damage_is_damage_after_some_tries(void **state)
{
	struct fixture *fx = *state;
	static uint8_t bytes[3 * CHUNK_SIZE];
	struct granted g;
	struct vfile *f;
	uint64_t bad = 0;

	memset(bytes, 'f', sizeof bytes);
	grant_init(fx, &g, bytes, sizeof bytes);
	assert_int_equal(grant_open(fx, &g, &f), 0);
	assert_int_equal(xio_pwrite(vfile_fd(g.owner), "damage", 6,
				    (off_t)chunk_offset(1) + 100),
			 0);
	assert_int_equal(vf_get(f, bytes, sizeof bytes, 0, &bad), -EBADMSG);
	assert_int_equal(bad, 1);
	assert_int_equal(vf_get(f, bytes, 10, 2 * CHUNK_SIZE, NULL), 10);
	/* With the header known, the rest can be read all the same. */
	vfile_header_digest(f, g.grant.header_digest);
	vfile_close(f);
	assert_int_equal(xio_pwrite(vfile_fd(g.owner), "damage", 6,
				    (off_t)chunk_offset(2) + 100),
			 0);
	assert_int_equal(grant_open(fx, &g, &f), 0);
	assert_int_equal(vf_get(f, bytes, 10, 0, NULL), 10);
	vfile_close(f);
	memset(g.grant.header_digest, 0, sizeof g.grant.header_digest);
	assert_int_equal(grant_open(fx, &g, &f), -EBADMSG);
	grant_fini(&g);
}

static void test_granted__another_key_token_means_revoked(void **state)
{
	struct fixture *fx = *state;
	uint8_t buf[4];
	uint64_t found;
	struct granted g;
	struct vfile *f;

	grant_init(fx, &g, "fern", 4);
	assert_int_equal(grant_open(fx, &g, &f), 0);
	vfile_header_digest(f, g.grant.header_digest);
	assert_int_equal(vf_get(f, buf, 4, 0, NULL), 4);
	rekey_header(fx, &g);
	assert_int_equal(vf_get(f, buf, 4, 0, NULL), -EKEYREVOKED);
	assert_int_equal(vfile_seek(f, vf_ws(), 0, SEEK_DATA, &found),
			 -EKEYREVOKED);
	vfile_close(f);
	assert_int_equal(grant_open(fx, &g, &f), -EKEYREVOKED);
	grant_fini(&g);
}

/* The owner's writes, each torn for a moment in the middle of a chunk. */
struct torn {
	int fd;
	uint8_t token[CHUNK_TOKEN_LEN];
	atomic_bool stop;
};

static void *tear(void *arg)
{
	const struct timespec moment = {.tv_nsec = 500000};
	const struct timespec rest = {.tv_nsec = 5000000};
	struct torn *t = arg;
	uint8_t half[CHUNK_TOKEN_LEN / 2] = {0};
	off_t at = (off_t)chunk_offset(1);

	while (!t->stop) {
		if (xio_pwrite(t->fd, half, sizeof half, at))
			return "cannot tear";
		nanosleep(&moment, NULL);
		if (xio_pwrite(t->fd, t->token, sizeof t->token, at))
			return "cannot mend";
		nanosleep(&rest, NULL);
	}
	return NULL;
}

static void test_granted__a_torn_write_is_tried_again(void **state)
{
	struct fixture *fx = *state;
	enum { LEN = 3 * CHUNK_SIZE, READS = 500 };
	static uint8_t bytes[LEN], buf[LEN];
	struct torn t = {0};
	struct granted g;
	struct vfile *f;
	pthread_t thread;
	void *complaint;
	uint64_t rng = vf_seed();

	vf_random_bytes(&rng, bytes, LEN);
	grant_init(fx, &g, bytes, LEN);
	assert_int_equal(grant_open(fx, &g, &f), 0);
	t.fd = vfile_fd(g.owner);
	assert_int_equal(xio_pread(t.fd, t.token, sizeof t.token,
				   (off_t)chunk_offset(1)),
			 0);
	assert_int_equal(pthread_create(&thread, NULL, tear, &t), 0);
	for (int i = 0; i < READS; i++) {
		assert_int_equal(vf_get(f, buf, LEN, 0, NULL), LEN);
		assert_memory_equal(buf, bytes, LEN);
	}
	t.stop = true;
	pthread_join(thread, &complaint);
	assert_null(complaint);
	vfile_close(f);
	grant_fini(&g);
}

/* The owner lets a file grow and shrink, as fast as it goes. */
struct grower {
	struct vfile *f;
	atomic_bool stop;
	int err;
};

static void *grow(void *arg)
{
	struct grower *w = arg;
	static uint8_t bytes[3 * CHUNK_SIZE];
	uint64_t bad;

	memset(bytes, 'f', sizeof bytes);
	while (!w->stop && !w->err) {
		const struct vfile_write all = {.data = bytes,
						.len = sizeof bytes - 9};

		w->err = vfile_write(w->f, vf_ws(), &all, &bad);
		if (!w->err)
			w->err = vfile_truncate(w->f, vf_ws(), CHUNK_SIZE + 9,
						&bad);
	}
	return NULL;
}

static void test_granted__reads_while_the_end_moves(void **state)
{
	struct fixture *fx = *state;
	enum { READS = 1000 };
	static uint8_t buf[3 * CHUNK_SIZE];
	struct granted g;
	struct grower w = {0};
	struct vfile *f;
	pthread_t thread;
	size_t failed = 0;

	memset(buf, 'f', sizeof buf);
	grant_init(fx, &g, buf, 2 * CHUNK_SIZE);
	assert_int_equal(grant_open(fx, &g, &f), 0);
	w.f = g.owner;
	assert_int_equal(pthread_create(&thread, NULL, grow, &w), 0);
	for (int i = 0; i < READS; i++) {
		ssize_t n = vf_get(f, buf, sizeof buf, 0, NULL);

		/* So busy a writer may outlast all tries, but rarely. */
		if (n == -EBADMSG) {
			failed++;
			continue;
		}
		assert_true(n >= CHUNK_SIZE + 9);
		for (ssize_t at = 0; at < n; at++)
			assert_int_equal(buf[at], 'f');
	}
	w.stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(w.err, 0);
	assert_true(failed < READS / 10);
	vfile_close(f);
	grant_fini(&g);
}

static void test_granted__a_key_is_given_out_only_as_it_is(void **state)
{
	struct fixture *fx = *state;
	struct vfile *f = vf_create(fx, "keyed");
	uint8_t key[FERNET_KEY_LEN], head[HEADER_LEN];
	struct header h;

	assert_int_equal(vfile_key(f, key), 0);
	assert_int_equal(xio_pread(vfile_fd(f), head, sizeof head, 0), 0);
	assert_int_equal(header_parse(head, &fx->vault->keys->file_keys, &h),
			 0);
	assert_memory_equal(h.file_key, key, sizeof key);
	vfile_close(f);
}

static void test_granted__ids_of_ones_own_choice(void **state)
{
	struct fixture *fx = *state;
	const uint8_t id[FILE_ID_LEN] = "chosen elsewhere";
	struct backing_name name = fx_name(fx, fx->root_id, "chosen");
	struct vfile *f;

	assert_int_equal(vfile_create_as(fx->vault, fx->vault->root_fd,
					 fx->root_id, &name, 0600, id, &f),
			 0);
	assert_memory_equal(vfile_id(f), id, sizeof id);
	vfile_close(f);
	f = vf_open(fx, fx->vault, "chosen");
	assert_memory_equal(vfile_id(f), id, sizeof id);
	vfile_close(f);
	assert_int_equal(vfile_create_as(fx->vault, fx->vault->root_fd,
					 fx->root_id, &name, 0600, id, &f),
			 -EEXIST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_granted__reads_what_the_owner_writes),
		cmocka_unit_test(test_granted__an_end_that_is_growing),
		cmocka_unit_test(
			test_granted__only_the_file_with_this_id_and_key),
		cmocka_unit_test(
			test_granted__damage_is_damage_after_some_tries),
		cmocka_unit_test(test_granted__another_key_token_means_revoked),
		cmocka_unit_test(test_granted__a_torn_write_is_tried_again),
		cmocka_unit_test(test_granted__reads_while_the_end_moves),
		cmocka_unit_test(
			test_granted__a_key_is_given_out_only_as_it_is),
		cmocka_unit_test(test_granted__ids_of_ones_own_choice),
	};
	int skip = vf_init();

	return skip ? skip
		    : cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
