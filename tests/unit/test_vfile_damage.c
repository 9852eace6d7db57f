/* What somebody without keys does to a backing file is noticed. */
#include "vfile_fixture.h"

enum { FULL = 3, TAIL = 1234, PLAIN = FULL * CHUNK_SIZE + TAIL };

/* A backing file's bytes, and what they say. */
struct image {
	size_t len;
	uint8_t *bytes;
	size_t plain_len;
	uint8_t plain[8 * CHUNK_SIZE];
};

static struct image make_image(struct fixture *fx, const char *name,
			       size_t plain_len, size_t hole)
{
	struct image im = {.plain_len = plain_len};
	struct vfile *f = vf_create(fx, name);
	uint64_t rng = plain_len;

	assert_true(plain_len <= sizeof im.plain);
	vf_random_bytes(&rng, im.plain, plain_len);
	assert_int_equal(vf_put(f, im.plain, plain_len, 0), 0);
	if (hole) {
		memset(im.plain + hole * CHUNK_SIZE, 0, CHUNK_SIZE);
		assert_int_equal(
			vf_allocate(f,
				    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    hole * CHUNK_SIZE, CHUNK_SIZE),
			0);
	}
	im.len = chunk_backing_len(plain_len);
	im.bytes = malloc(im.len + 3 * CHUNK_TOKEN_LEN);
	assert_non_null(im.bytes);
	memset(im.bytes, 0, im.len + 3 * CHUNK_TOKEN_LEN);
	assert_int_equal(xio_pread(vfile_fd(f), im.bytes, im.len, 0), 0);
	vfile_close(f);
	return im;
}

static int open_bytes(struct fixture *fx, const uint8_t *bytes, size_t len,
		      struct vfile **out)
{
	int fd, err;

	fx_write(fx->vault->root_fd, ".tmp-damaged", bytes, len);
	fd = openat(fx->vault->root_fd, ".tmp-damaged", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	err = vfile_open(fx->vault, fd, true, out);
	if (err)
		close(fd);
	return err;
}

/*
 * Open these bytes and read them chunk by chunk: bit i of bad tells whether
 * chunk i must be damaged; all others must read as the image says.
 */
static void expect_bad(struct fixture *fx, const struct image *im,
		       const uint8_t *bytes, size_t len, uint64_t bad)
{
	uint8_t buf[8 * CHUNK_SIZE];
	struct vfile *f = NULL;
	uint64_t size, chunk, first = VFILE_NO_CHUNK;

	assert_int_equal(open_bytes(fx, bytes, len, &f), 0);
	size = vfile_size(f);
	for (uint64_t i = 0; i <= chunk_last_index(size); i++) {
		size_t at = i * CHUNK_SIZE;
		ssize_t n = vf_get(f, buf, CHUNK_SIZE, at, &chunk);

		if (bad >> i & 1) {
			assert_int_equal(n, -EBADMSG);
			assert_int_equal(chunk, i);
			if (first == VFILE_NO_CHUNK)
				first = i;
			continue;
		}
		assert_int_equal(n, size - at < CHUNK_SIZE ? size - at
							   : CHUNK_SIZE);
		assert_memory_equal(buf, im->plain + at, (size_t)n);
	}
	/* All at once: the first damaged chunk is named. */
	assert_true(size <= sizeof buf);
	assert_int_equal(vf_get(f, buf, sizeof buf, 0, &chunk),
			 bad ? -EBADMSG : (ssize_t)size);
	assert_true(chunk == first);
	vfile_close(f);
}

static void test_damage__any_region_flipped(void **state)
{
	struct fixture *fx = *state;
	struct image im = make_image(fx, "f", PLAIN, 0);
	struct vfile *f = NULL;

	for (size_t at = 0; at < im.len; at += at < 400 ? 1 : 61) {
		uint8_t bit = (uint8_t)(1 << randombytes_uniform(8));

		im.bytes[at] ^= bit;
		if (at < 24 || (at >= 40 && at < HEADER_LEN))
			assert_int_equal(open_bytes(fx, im.bytes, im.len, &f),
					 -EBADMSG);
		else if (at < HEADER_LEN) /* the directory is a mere hint */
			expect_bad(fx, &im, im.bytes, im.len, 0);
		else
			expect_bad(fx, &im, im.bytes, im.len,
				   UINT64_C(1) << (at - HEADER_LEN) /
							  CHUNK_TOKEN_LEN);
		im.bytes[at] ^= bit;
	}
	/* The zeros behind the last token, every one. */
	for (size_t at = im.len - (TAIL + CHUNK_TAG_LEN) % 16; at < im.len;
	     at++) {
		im.bytes[at] = 1;
		expect_bad(fx, &im, im.bytes, im.len, UINT64_C(1) << FULL);
		im.bytes[at] = 0;
	}
	expect_bad(fx, &im, im.bytes, im.len, 0);
	free(im.bytes);
}

/* Everything in front of the cut can be read; the new end cannot. */
static void cut_everywhere(struct fixture *fx, struct image *im, size_t from)
{
	for (size_t len = from; len < im->len; len++) {
		uint64_t size = 0;
		struct vfile *f = NULL;

		if (chunk_shown_len(len, &size) != 0)
			assert_int_equal(open_bytes(fx, im->bytes, len, &f),
					 -EBADMSG);
		else if (size == 0)
			assert_int_equal(open_bytes(fx, im->bytes, len, &f),
					 -EBADMSG);
		else
			expect_bad(fx, im, im->bytes, len,
				   UINT64_C(1) << chunk_last_index(size));
	}
}

static void test_damage__cut_at_every_length(void **state)
{
	struct fixture *fx = *state;
	struct image small = make_image(fx, "small", 700, 0);
	struct image two = make_image(fx, "two", CHUNK_SIZE + 100, 0);
	struct image full = make_image(fx, "full", 2 * CHUNK_SIZE, 0);
	struct vfile *f = NULL;
	uint64_t chunk;
	uint8_t byte;

	cut_everywhere(fx, &small, 0);
	cut_everywhere(fx, &two, chunk_offset(1) - 100);
	cut_everywhere(fx, &full, chunk_offset(2) - 100);
	/* ...also by who reads nothing but what is there no more */
	assert_int_equal(open_bytes(fx, full.bytes, chunk_offset(1) + 2000, &f),
			 0);
	assert_int_equal(vf_get(f, &byte, 1, CHUNK_SIZE + 3000, &chunk),
			 -EBADMSG);
	assert_int_equal(chunk, 1);
	vfile_close(f);
	assert_int_equal(open_bytes(fx, full.bytes, full.len, &f), 0);
	assert_int_equal(vf_get(f, &byte, 1, 2 * CHUNK_SIZE, &chunk), 0);
	vfile_close(f);
	/* To the length of an empty file: nothing of it is ever read. */
	assert_int_equal(open_bytes(fx, two.bytes, 257, &f), -EBADMSG);
	free(small.bytes);
	free(two.bytes);
	free(full.bytes);
}

static uint8_t *slot(struct image *im, size_t index)
{
	return im->bytes + chunk_offset(index);
}

static void test_damage__chunks_moved(void **state)
{
	struct fixture *fx = *state;
	struct image im = make_image(fx, "f", PLAIN, 0);
	uint8_t one[CHUNK_TOKEN_LEN];

	memcpy(one, slot(&im, 1), sizeof one);
	memcpy(slot(&im, 1), slot(&im, 2), sizeof one);
	expect_bad(fx, &im, im.bytes, im.len, 1 << 1); /* duplicated */
	memcpy(slot(&im, 2), one, sizeof one);
	expect_bad(fx, &im, im.bytes, im.len, 1 << 1 | 1 << 2); /* swapped */
	memcpy(slot(&im, 2), slot(&im, 1), sizeof one);
	memcpy(slot(&im, 1), one, sizeof one);
	/* One taken out: all behind it stand in the wrong place. */
	memmove(slot(&im, 1), slot(&im, 2), im.len - chunk_offset(2));
	expect_bad(fx, &im, im.bytes, im.len - CHUNK_TOKEN_LEN,
		   1 << 1 | 1 << 2);
	free(im.bytes);
}

static void test_damage__chunks_after_the_end(void **state)
{
	struct fixture *fx = *state;
	struct image im = make_image(fx, "f", 2 * CHUNK_SIZE, 0);
	uint8_t first[CHUNK_TOKEN_LEN], last[CHUNK_LAST_MAX];

	memcpy(first, slot(&im, 0), sizeof first);
	memcpy(last, slot(&im, 1), sizeof last);
	/* A full chunk, and the end once more. */
	memcpy(slot(&im, 1), first, sizeof first);
	memcpy(slot(&im, 2), last, sizeof last);
	expect_bad(fx, &im, im.bytes, im.len + CHUNK_TOKEN_LEN,
		   1 << 1 | 1 << 2);
	/* The end stays in place, and something follows. */
	memcpy(slot(&im, 1), last, sizeof first);
	memcpy(slot(&im, 2), first, sizeof first);
	memset(slot(&im, 3), 0, 8);
	expect_bad(fx, &im, im.bytes, im.len + CHUNK_TOKEN_LEN,
		   1 << 1 | 1 << 2);
	free(im.bytes);
}

static void test_damage__chunks_of_another_file(void **state)
{
	struct fixture *fx = *state;
	struct image a = make_image(fx, "a", PLAIN, 0);
	struct image b = make_image(fx, "b", PLAIN, 0);
	struct image e = make_image(fx, "e", 0, 0);
	uint8_t one[CHUNK_TOKEN_LEN], header[HEADER_LEN];
	struct vfile *f = NULL;

	memcpy(one, slot(&a, 1), sizeof one);
	memcpy(slot(&a, 1), slot(&b, 1), sizeof one);
	expect_bad(fx, &a, a.bytes, a.len, 1 << 1);
	memcpy(slot(&a, 1), one, sizeof one);
	memcpy(header, a.bytes, sizeof header);
	memcpy(a.bytes, b.bytes, sizeof header);
	expect_bad(fx, &a, a.bytes, a.len, 0xf);
	/* A header on an empty body, which nobody would read. */
	memcpy(e.bytes, header, sizeof header);
	assert_int_equal(open_bytes(fx, e.bytes, e.len, &f), -EBADMSG);
	/* Half a header: the id of one, the key of the other. */
	memcpy(a.bytes + 40, header + 40, HEADER_KEY_TOKEN_LEN);
	assert_int_equal(open_bytes(fx, a.bytes, a.len, &f), -EBADMSG);
	free(a.bytes);
	free(b.bytes);
	free(e.bytes);
}

static void test_damage__zeroed_chunk(void **state)
{
	struct fixture *fx = *state;
	struct image none = make_image(fx, "none", PLAIN, 0);
	struct image holes = make_image(fx, "holes", PLAIN, 2);

	expect_bad(fx, &holes, holes.bytes, holes.len, 0);
	memset(slot(&none, 1), 0, CHUNK_TOKEN_LEN);
	expect_bad(fx, &none, none.bytes, none.len, 1 << 1);
	/* Damage in front of it is named first. */
	slot(&none, 0)[99] ^= 1;
	expect_bad(fx, &none, none.bytes, none.len, 1 << 0 | 1 << 1);
	/* Not noticed in a file with holes: the format says so. */
	memset(slot(&holes, 1), 0, CHUNK_TOKEN_LEN);
	memset(holes.plain + CHUNK_SIZE, 0, CHUNK_SIZE);
	expect_bad(fx, &holes, holes.bytes, holes.len, 0);
	free(none.bytes);
	free(holes.bytes);
}

/* A zeroed last chunk is damage, and so are holes that it vouched for. */
static void test_damage__zeroed_last_chunk(void **state)
{
	struct fixture *fx = *state;
	struct image im = make_image(fx, "f", PLAIN, 2);
	uint8_t buf[CHUNK_SIZE];
	struct vfile *f = NULL;
	uint64_t bad = 0;

	memset(slot(&im, FULL), 0, TAIL + CHUNK_LAST_EXTRA);
	assert_int_equal(open_bytes(fx, im.bytes, im.len, &f), 0);
	assert_int_equal(vf_get(f, buf, sizeof buf, CHUNK_SIZE, &bad),
			 sizeof buf);
	assert_int_equal(vf_get(f, buf, sizeof buf, FULL * CHUNK_SIZE, &bad),
			 -EBADMSG);
	assert_int_equal(bad, FULL);
	assert_int_equal(vf_get(f, buf, sizeof buf, 2 * CHUNK_SIZE, &bad),
			 -EBADMSG);
	assert_int_equal(bad, FULL);
	vfile_close(f);
	free(im.bytes);
}

/* What may be done with a file whose chunk 1 and whose end are damaged. */
static void test_damage__mending_by_writing(void **state)
{
	struct fixture *fx = *state;
	struct image im = make_image(fx, "f", PLAIN, 0);
	const uint8_t page[CHUNK_SIZE] = {7};
	struct vfile_write part = {
		.data = page, .len = 10, .offset = CHUNK_SIZE + 5};
	struct vfile *f = NULL;
	uint64_t bad;

	slot(&im, 1)[50] ^= 1;
	assert_int_equal(open_bytes(fx, im.bytes, im.len, &f), 0);
	/* Part of a damaged chunk cannot be written, all of it can. */
	assert_int_equal(vfile_write(f, vf_ws(), &part, &bad), -EBADMSG);
	assert_int_equal(bad, 1);
	assert_int_equal(vfile_truncate(f, vf_ws(), CHUNK_SIZE + 9, &bad),
			 -EBADMSG);
	assert_int_equal(bad, 1);
	assert_int_equal(vf_put(f, page, sizeof page, CHUNK_SIZE), 0);
	memcpy(im.plain + CHUNK_SIZE, page, sizeof page);
	vf_expect(f, im.plain, PLAIN);
	vfile_close(f);

	slot(&im, FULL)[50] ^= 1;
	assert_int_equal(open_bytes(fx, im.bytes, im.len, &f), 0);
	part.offset = PLAIN;
	assert_int_equal(vfile_write(f, vf_ws(), &part, &bad), -EBADMSG);
	assert_int_equal(bad, FULL);
	assert_int_equal(vfile_truncate(f, vf_ws(), 2 * CHUNK_SIZE, &bad),
			 -EBADMSG);
	assert_int_equal(bad, FULL);
	assert_int_equal(vfile_size(f), PLAIN);
	/* O_TRUNC asks for nothing of what was there. */
	assert_int_equal(vf_truncate(f, 0), 0);
	vf_expect(f, NULL, 0);
	assert_int_equal(vf_put(f, page, 77, 0), 0);
	vf_expect(f, page, 77);
	vfile_close(f);
	free(im.bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_damage__any_region_flipped),
		TEST(test_damage__cut_at_every_length),
		TEST(test_damage__chunks_moved),
		TEST(test_damage__chunks_after_the_end),
		TEST(test_damage__chunks_of_another_file),
		TEST(test_damage__zeroed_chunk),
		TEST(test_damage__zeroed_last_chunk),
		TEST(test_damage__mending_by_writing),
	};
	int ret = vf_init();

	return ret ? ret : cmocka_run_group_tests(tests, NULL, NULL);
}
