#include "sealed.h"

#include "secret.h"
#include "vfile_internal.h"
#include "vfile_slot.h"
#include "xio.h"

#include <errno.h>
#include <string.h>

enum { BATCH = WORKSPACE_IO_MAX / CHUNK_SIZE };

/* What both directions keep while they go from front to back. */
struct passage {
	struct workspace *ws;
	struct fernet_key *key; /* the sealed copy's */
	uint64_t size, next;	/* plaintext bytes; chunk to come */
	const struct sealed_progress *progress;
};

static int passage_init(struct passage *p,
			const uint8_t key[static FERNET_KEY_LEN], uint64_t size,
			const struct sealed_progress *progress)
{
	if (size > CHUNK_MAX_PLAIN_LEN)
		return -EFBIG;
	p->ws = workspace_get();
	p->key = secret_alloc(sizeof *p->key);
	if (!p->ws || !p->key)
		return -ENOMEM;
	fernet_key_init(p->key, key);
	p->size = size;
	p->next = 0;
	p->progress = progress;
	return 0;
}

static bool passage_ended(const struct passage *p)
{
	return p->next > chunk_last_index(p->size);
}

/* How many chunks the next batch has, and whether the last is among them. */
static size_t passage_batch(const struct passage *p, bool *ends_file)
{
	uint64_t left = chunk_last_index(p->size) - p->next + 1;

	*ends_file = left <= BATCH;
	return *ends_file ? (size_t)left : BATCH;
}

static int passage_step(struct passage *p, size_t count)
{
	uint64_t done;

	p->next += count;
	done = passage_ended(p) ? p->size : p->next * CHUNK_SIZE;
	return p->progress ? p->progress->step(p->progress->arg, done) : 0;
}

/* Stage count chunks whose plaintext lies where ws->chunk says. */
static void stage_batch(struct passage *p, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct slot s = slot_of(p->next + i, p->size);

		workspace_stage(p->ws, i,
				chunk_tag(s.index, s.last, CHUNK_HOLES_NONE),
				p->ws->chunk[i], s.plain_len);
	}
}

static int write_batch(struct passage *p, const struct sealed_source *from,
		       const struct sealed_sink *to)
{
	bool ends_file;
	size_t count = passage_batch(p, &ends_file), stored_len;
	size_t len = ends_file ? (size_t)(p->size - p->next * CHUNK_SIZE)
			       : count * CHUNK_SIZE;
	int err = len ? from->read(from->arg, p->ws->plain, len) : 0;

	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		p->ws->chunk[i] = p->ws->plain + i * CHUNK_SIZE;
	stage_batch(p, count);
	err = workspace_seal(p->ws, p->key, count, ends_file, &stored_len);
	if (!err)
		err = to->write(to->arg, p->ws->tokens, stored_len);
	return err ? err : passage_step(p, count);
}

static int write_header(const uint8_t file_id[static FILE_ID_LEN],
			const struct sealed_sink *to)
{
	static const uint8_t nowhere[DIRID_LEN];
	uint8_t header[HEADER_LEN];

	header_build_locked(file_id, nowhere, header);
	return to->write(to->arg, header, sizeof header);
}

int sealed_write_from(const uint8_t file_id[static FILE_ID_LEN],
		      const uint8_t key[static FERNET_KEY_LEN], uint64_t size,
		      uint64_t first_chunk, const struct sealed_source *from,
		      const struct sealed_sink *to,
		      const struct sealed_progress *progress)
{
	struct passage p = {0};
	int err = passage_init(&p, key, size, progress);

	p.next = first_chunk;
	if (!err && passage_ended(&p))
		err = -EINVAL;
	if (!err && first_chunk == 0)
		err = write_header(file_id, to);
	while (!err && !passage_ended(&p))
		err = write_batch(&p, from, to);
	secret_free(p.key);
	return err;
}

int sealed_write(const uint8_t file_id[static FILE_ID_LEN],
		 const uint8_t key[static FERNET_KEY_LEN], uint64_t size,
		 const struct sealed_source *from, const struct sealed_sink *to,
		 const struct sealed_progress *progress)
{
	return sealed_write_from(file_id, key, size, 0, from, to, progress);
}

/* Open count tokens of ws->tokens; ws->chunk points at their plaintext. */
static int open_batch(struct passage *p, size_t count)
{
	struct workspace *ws = p->ws;

	for (size_t i = 0; i < count; i++) {
		struct slot s = slot_of(p->next + i, p->size);
		uint8_t *stored = ws->tokens + i * CHUNK_TOKEN_LEN;

		if (!slot_padding_is_zero(&s, stored))
			return -EBADMSG;
		ws->open[i] = (struct fernet_open_job){
			.token = stored,
			.token_len = s.token_len,
			.plaintext = ws->plain + i * WORKSPACE_PLAIN_STRIDE};
		ws->chunk[i] = ws->open[i].plaintext + CHUNK_TAG_LEN;
	}
	if (fernet_open(ws->fernet, p->key, ws->open, count) != 0)
		return -EBADMSG;
	for (size_t i = 0; i < count; i++) {
		struct slot s = slot_of(p->next + i, p->size);

		if (ws->open[i].plaintext_len != CHUNK_TAG_LEN + s.plain_len ||
		    be64_load(ws->open[i].plaintext) !=
			    chunk_tag(s.index, s.last, CHUNK_HOLES_NONE))
			return -EBADMSG;
	}
	return 0;
}

static int import_batch(struct passage *p, const struct sealed_source *from,
			struct vfile *to)
{
	bool ends_file;
	size_t count = passage_batch(p, &ends_file);
	struct slot end = slot_of(p->next + count - 1, p->size);
	int err = from->read(from->arg, p->ws->tokens,
			     (count - 1) * CHUNK_TOKEN_LEN + end.stored_len);

	if (!err)
		err = open_batch(p, count);
	if (err)
		return err;
	stage_batch(p, count);
	err = vfile_store_made_(to, p->ws, p->next, count, ends_file);
	return err ? err : passage_step(p, count);
}

static int import_header(const uint8_t file_id[static FILE_ID_LEN],
			 const struct sealed_source *from)
{
	static const uint8_t nowhere[DIRID_LEN];
	uint8_t expected[HEADER_LEN], header[HEADER_LEN];
	int err = from->read(from->arg, header, sizeof header);

	header_build_locked(file_id, nowhere, expected);
	if (!err && memcmp(header, expected, sizeof header) != 0)
		err = -EBADMSG;
	return err;
}

int sealed_import(const uint8_t file_id[static FILE_ID_LEN],
		  const uint8_t key[static FERNET_KEY_LEN], uint64_t size,
		  const struct sealed_source *from, struct vfile *to,
		  const struct sealed_progress *progress)
{
	struct passage p = {0};
	struct range r;
	int err = passage_init(&p, key, size, progress);

	if (!err)
		err = import_header(file_id, from);
	if (!err)
		err = vfile_begin_(to, &r, 0, RANGE_END, true);
	if (err) {
		secret_free(p.key);
		return err;
	}
	if (to->size != 0)
		err = -EINVAL;
	while (!err && !passage_ended(&p))
		err = import_batch(&p, from, to);
	if (!err)
		to->size = size;
	vfile_end_(to, &r);
	secret_free(p.key);
	return err;
}
