/* Writes that were gathered are longer than a record may be. */
#include "live_fixture.h"

enum { WIDE = 3 * MORE };

static int put_wide(size_t at, size_t len)
{
	struct workspace *wide = workspace_wide_new(workspace_get(), len);
	const struct vfile_write w = {
		.data = bytes + at, .len = len, .offset = at};
	uint64_t bad;
	int err;

	must(wide != NULL);
	err = vfile_write(file, wide, &w, &bad);
	workspace_wide_free(wide);
	return err;
}

static void put_by_chunk(size_t from)
{
	for (size_t at = from; at < sizeof bytes; at += CHUNK_SIZE)
		put(at, CHUNK_SIZE);
}

static void overwrite_wide(void)
{
	fill(2);
	must(put_wide(CHUNK_SIZE, WIDE) == 0);
	/* comes behind it in the same segment */
	put(0, CHUNK_SIZE);
	put_by_chunk(CHUNK_SIZE + WIDE);
	must(vfile_sync(file, true) == 0);
}

static void test_wide__all_of_it_is_redone(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, sizeof bytes);
	die_after(fx, overwrite_wide);
	assert_true(mount_again(fx).redone > 0);
	fill(2);
	expect_file(fx, sizeof bytes);
}

static void grow_over_the_end(void)
{
	fill(2);
	/* what a writer of single requests does then */
	if (put_wide(0, sizeof bytes) != 0)
		put_by_chunk(0);
	must(vfile_sync(file, true) == 0);
}

static void test_wide__growth_over_what_is_there(void **state)
{
	struct fixture *fx = *state;

	make_file(fx, WIDE + 77);
	die_after(fx, grow_over_the_end);
	(void)mount_again(fx);
	fill(2);
	expect_file(fx, sizeof bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_wide__all_of_it_is_redone),
		TEST(test_wide__growth_over_what_is_there),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
