/* What is sealed before it is its turn is what would have been sealed then. */
#include "vfile_fixture.h"

enum { LEN = 64 * CHUNK_SIZE + 77 };

/* Two pieces of a file, of which the second one is sealed ahead. */
struct pieces {
	struct vfile *f;
	struct workspace *ws;
	uint8_t data[2][LEN];
	struct vfile_write first, second;
};

static struct pieces *pieces_new(struct fixture *fx, const char *plain)
{
	struct pieces *p = calloc(1, sizeof *p);
	uint64_t rng = vf_seed();

	assert_non_null(p);
	for (int k = 0; k < 2; k++)
		vf_random_bytes(&rng, p->data[k], LEN);
	p->f = vf_create(fx, plain);
	p->ws = vf_ws();
	p->first = (struct vfile_write){.data = p->data[0],
					.len = LEN / CHUNK_SIZE * CHUNK_SIZE};
	p->second = (struct vfile_write){
		.data = p->data[1], .len = LEN, .offset = p->first.len};
	return p;
}

static void pieces_free(struct pieces *p)
{
	vfile_close(p->f);
	free(p);
}

static void put_piece(struct pieces *p, const struct vfile_write *w)
{
	uint64_t bad;

	assert_int_equal(vfile_write(p->f, p->ws, w, &bad), 0);
}

/* All of it, as somebody sees it who opens the file anew. */
static void check_pieces(struct fixture *fx, struct pieces *p,
			 const char *plain)
{
	const struct vfile_write *w[] = {&p->first, &p->second};
	struct iovec iov[WORKSPACE_CHUNKS];
	struct vfile *f = vf_open(fx, fx->vault, plain);
	uint64_t bad;
	int count;

	for (int k = 0; k < 2; k++) {
		const uint8_t *want = w[k]->data;

		assert_int_equal(vfile_read(f, p->ws, w[k]->offset, w[k]->len,
					    iov, &count, &bad),
				 w[k]->len);
		for (int n = 0; n < count; want += iov[n++].iov_len)
			assert_memory_equal(iov[n].iov_base, want,
					    iov[n].iov_len);
	}
	vfile_close(f);
}

static uint64_t sealed(void)
{
	uint64_t opened, count;

	workspace_counts(&opened, &count);
	return count;
}

static void test_ahead__is_not_sealed_again(void **state)
{
	struct pieces *p = pieces_new(*state, "once");
	uint64_t before;

	put_piece(p, &p->first);
	before = sealed();
	vfile_seal_ahead(p->f, p->ws, &p->second);
	assert_int_equal(sealed() - before, 64);
	put_piece(p, &p->second);
	/* the former last chunk, and the last one */
	assert_int_equal(sealed() - before, 66);
	check_pieces(*state, p, "once");
	pieces_free(p);
}

static void test_ahead__at_the_beginning(void **state)
{
	struct pieces *p = pieces_new(*state, "beginning");
	uint64_t before = sealed();

	vfile_seal_ahead(p->f, p->ws, &p->first);
	put_piece(p, &p->first);
	assert_int_equal(sealed() - before, 64);
	put_piece(p, &p->second);
	check_pieces(*state, p, "beginning");
	pieces_free(p);
}

static void test_ahead__with_a_new_key_meanwhile(void **state)
{
	struct pieces *p = pieces_new(*state, "key");
	struct workspace *other = workspace_wide_new(p->ws, LEN);
	struct workspace *own = p->ws;

	assert_non_null(other);
	put_piece(p, &p->first);
	vfile_seal_ahead(p->f, other, &p->second);
	/* twice: its place in memory may be the same again */
	for (int k = 0; k < 2; k++)
		assert_int_equal(vfile_rekey(p->f, own, "key"), 0);
	p->ws = other;
	put_piece(p, &p->second);
	p->ws = own;
	check_pieces(*state, p, "key");
	workspace_wide_free(other);
	pieces_free(p);
}

static void test_ahead__for_another_request(void **state)
{
	struct pieces *p = pieces_new(*state, "another");

	put_piece(p, &p->first);
	vfile_seal_ahead(p->f, p->ws, &p->second);
	/* the next request lies in the same buffer */
	memset(p->data[1], 'x', LEN);
	assert_ptr_equal(vf_ws(), p->ws);
	put_piece(p, &p->second);
	check_pieces(*state, p, "another");
	pieces_free(p);
}

static void test_ahead__where_the_file_has_become_another(void **state)
{
	struct pieces *p = pieces_new(*state, "moved");
	uint64_t bad;

	/* not longer any more, but overwritten */
	put_piece(p, &p->first);
	put_piece(p, &p->second);
	vf_random_bytes(&(uint64_t){5}, p->data[1], LEN);
	vfile_seal_ahead(p->f, p->ws, &p->second);
	put_piece(p, &p->second);
	check_pieces(*state, p, "moved");
	/* behind a gap */
	assert_int_equal(vfile_truncate(p->f, p->ws, 100, &bad), 0);
	vfile_seal_ahead(p->f, p->ws, &p->second);
	put_piece(p, &p->second);
	memset(p->data[0] + 100, 0, LEN - 100);
	check_pieces(*state, p, "moved");
	pieces_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ahead__is_not_sealed_again),
		cmocka_unit_test(test_ahead__at_the_beginning),
		cmocka_unit_test(test_ahead__with_a_new_key_meanwhile),
		cmocka_unit_test(test_ahead__for_another_request),
		cmocka_unit_test(test_ahead__where_the_file_has_become_another),
	};
	int status = vf_init();

	return status ? status
		      : cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
