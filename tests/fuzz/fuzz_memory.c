/*
 * What a machine remembers of files and names. The first byte chooses what the
 * rest is:
 *
 *   0  what a file's row says       1  what a place's row says
 *   2  a value, with a MAC that may be right
 *   3  calls of ages_set(): first u8, length u8, time u8 each
 */
#include "fuzz_vault.h"

#include "memory_internal.h"

#include <errno.h>
#include <string.h>

static struct memory_keys keys;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	memory_keys_derive_(fuzz_vault(), &keys);
	return 0;
}

static void require_sane(const struct ages *a)
{
	uint64_t before_s = 0;

	REQUIRE(a->count <= AGES_MAX && a->count <= a->room);
	for (size_t i = 0; i < a->count; i++) {
		uint64_t last;

		REQUIRE(i == 0 || a->runs[i].first > a->runs[i - 1].first);
		REQUIRE(a->runs[i].sealed_s != before_s);
		before_s = a->runs[i].sealed_s;
		REQUIRE(ages_at(a, a->runs[i].first, &last) == before_s);
		REQUIRE(last == (i + 1 < a->count ? a->runs[i + 1].first - 1
						  : AGES_END));
	}
}

static void read_file(const uint8_t *data, size_t size)
{
	struct memory_file mf = {0};
	int err = memory_file_parse_(data, size, &mf);
	uint8_t *again;

	REQUIRE(err == 0 || err == -EBADMSG);
	if (err) {
		REQUIRE(!mf.ignored && !mf.ages.runs && !mf.ages.count);
		return;
	}
	require_sane(&mf.ages);
	REQUIRE(memory_file_len_(&mf) == size);
	again = malloc(size);
	REQUIRE(again);
	memory_file_build_(&mf, again);
	REQUIRE(memcmp(again, data, size) == 0);
	free(again);
	ages_set(&mf.ages, 3, 9, 5);
	require_sane(&mf.ages);
	ages_fini(&mf.ages);
}

static void read_place(const uint8_t *data, size_t size)
{
	struct memory_left left;
	uint8_t again[MEMORY_LEFT_LEN];

	if (memory_left_parse_(data, size, &left))
		return;
	REQUIRE(left.left_s);
	REQUIRE(memory_left_build_(&left, again) == size);
	REQUIRE(memcmp(again, data, size) == 0);
}

static void open_value(const uint8_t *data, size_t size)
{
	const uint8_t row[MEMORY_KEY_LEN] = {1}, other[MEMORY_KEY_LEN] = {2};
	uint8_t *value = malloc(size + MEMORY_MAC_LEN);
	size_t len = size;

	REQUIRE(value);
	memcpy(value, data, size);
	REQUIRE(memory_value_open_(&keys, row, value, size, &len) == -EBADMSG);
	if (size <= MEMORY_BODY_MAX) {
		memory_mac_(&keys, row, value, size, value + size);
		REQUIRE(memory_value_open_(&keys, row, value,
					   size + MEMORY_MAC_LEN, &len) == 0);
		REQUIRE(len == size);
		REQUIRE(memory_value_open_(&keys, other, value,
					   size + MEMORY_MAC_LEN,
					   &len) == -EBADMSG);
	}
	free(value);
}

static void set_ages(const uint8_t *data, size_t size)
{
	struct ages a = {0};

	for (; size >= 3; data += 3, size -= 3) {
		uint64_t first = data[0], last = first + data[1], until;

		/* the far end as well */
		if (data[0] & 1)
			last = AGES_END - data[1];
		ages_set(&a, first, last, data[2]);
		require_sane(&a);
		REQUIRE(ages_at(&a, first, &until) == data[2]);
		REQUIRE(until >= last);
		REQUIRE(ages_most(&a, first, last) == data[2]);
	}
	ages_fini(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned kind;

	if (size == 0)
		return 0;
	kind = *data++ % 4;
	size--;
	if (kind == 0)
		read_file(data, size);
	else if (kind == 1)
		read_place(data, size);
	else if (kind == 2)
		open_value(data, size);
	else
		set_ages(data, size);
	return 0;
}
