#include "map.h"

#include "bytes.h"

#include <errno.h>
#include <unistd.h>

static int is_zeros(const struct map *m, uint64_t index, bool *zeros)
{
	uint8_t stored[CHUNK_TOKEN_LEN];
	int err = m->read(m->arg, index, stored);

	*zeros = !err && bytes_all_zero(stored, sizeof stored);
	return err;
}

/* Where from here on there may be anything but zeros; end: nowhere before. */
static uint64_t data_from(const struct map *m, uint64_t index, uint64_t end)
{
	off_t at = (off_t)chunk_offset(index);
	off_t data = m->seeks ? lseek(m->fd, at, SEEK_DATA) : at;
	uint64_t chunk;

	/* not being able to tell is no reason to fail */
	if (data < 0)
		return errno == ENXIO ? end : index;
	chunk = ((uint64_t)data - CHUNK_AREA_OFFSET) / CHUNK_TOKEN_LEN;
	return chunk < end ? chunk : end;
}

static bool has_data(const struct map *m, uint64_t first, uint64_t end)
{
	return data_from(m, first, end) < end;
}

/* The last chunk in front of end that may be more than zeros; end: none. */
static uint64_t data_before(const struct map *m, uint64_t end)
{
	uint64_t from = end, to = end, step = 1;

	while (from > 0) {
		from = from > step ? from - step : 0;
		if (has_data(m, from, end))
			break;
		to = from;
		step *= 2;
	}
	if (to == 0)
		return end;
	while (to - from > 1) {
		uint64_t middle = from + (to - from) / 2;

		if (has_data(m, middle, end))
			from = middle;
		else
			to = middle;
	}
	return from;
}

int map_token_before(const struct map *m, uint64_t index, uint64_t *token)
{
	uint64_t at = index;
	bool zeros = true;
	int err = 0;

	while (zeros && !err) {
		uint64_t next = data_before(m, at);

		if (next == at) {
			*token = index;
			return 0;
		}
		at = next;
		err = is_zeros(m, at, &zeros);
	}
	*token = at;
	return err;
}

int map_token_behind(const struct map *m, uint64_t index, uint64_t last,
		     uint64_t *token)
{
	bool zeros = true;
	int err = 0;

	for (; index < last && zeros && !err; index += zeros) {
		index = data_from(m, index, last);
		if (index < last)
			err = is_zeros(m, index, &zeros);
	}
	*token = index < last ? index : last;
	return err;
}
