/*
 * What a crash has left of a file whose end was moving. Its chunks are looked
 * at from what was durable on: the first that is not whole is where the file
 * ends now. A last chunk that is whole has been the end, whatever lies behind.
 */
#include "journal_internal.h"

#include "bytes.h"
#include "xio.h"

#include <errno.h>
#include <string.h>

enum {
	BATCH = WORKSPACE_IO_MAX / CHUNK_SIZE,
	/* what one write can have torn, with a process alone dying */
	TORN_CHUNKS = 2 * WORKSPACE_CHUNKS,
	TOKEN_BEGINS = 0x80, /* every one does */
};

enum kind {
	KIND_FULL, /* a chunk that is not the last */
	KIND_ZERO, /* zeros up to the next, or to the end */
	KIND_LAST, /* marked */
	KIND_TORN,
};

struct look {
	enum kind kind;
	size_t plain_len; /* of KIND_LAST */
	enum chunk_holes holes;
	uint64_t claim; /* of KIND_FULL */
	/* ...and what follows it is zeros; growing overwrites those at once */
	bool whole;
};

/* Is it a whole last chunk of whatever length? */
static bool is_last(const struct journal_patient *p, uint64_t index,
		    const uint8_t *stored, size_t avail, struct look *out)
{
	uint8_t opened[WORKSPACE_PLAIN_STRIDE];
	size_t most = FERNET_TOKEN_LEN(CHUNK_TAG_LEN + CHUNK_SIZE);

	if (most > avail)
		most = avail;
	for (size_t len = FERNET_TOKEN_LEN(CHUNK_TAG_LEN); len <= most;
	     len += 16) {
		struct fernet_open_job job = {
			.token = stored, .token_len = len, .plaintext = opened};
		bool good;

		if (fernet_open(p->ws->fernet, p->key, &job, 1) != 0)
			continue;
		good = job.plaintext_len >= CHUNK_TAG_LEN &&
		       chunk_tag_check(be64_load(opened), index, true,
				       &out->holes) == 0;
		if (good)
			out->plain_len = job.plaintext_len - CHUNK_TAG_LEN;
		if (good && avail >= out->plain_len + CHUNK_LAST_EXTRA)
			out->whole = bytes_all_zero(
				stored + len,
				out->plain_len + CHUNK_LAST_EXTRA - len);
		sodium_memzero(opened, sizeof opened);
		return good && (out->plain_len > 0 || index == 0);
	}
	return false;
}

static void look_closely(const struct journal_patient *p, uint64_t index,
			 const uint8_t *stored, size_t avail, struct look *out)
{
	size_t slot = avail < CHUNK_TOKEN_LEN ? avail : CHUNK_TOKEN_LEN;

	*out = (struct look){.kind = KIND_TORN};
	if (bytes_all_zero(stored, slot))
		out->kind = KIND_ZERO;
	else if (is_last(p, index, stored, avail, out))
		out->kind = KIND_LAST;
}

/* Which of these slots are whole chunks but for the last one of a file? One
 * more than they claim, or 0. */
static void look_at_run(const struct journal_patient *p, uint64_t first,
			size_t count, uint64_t *full)
{
	bool can_claim = p->vault->version >= VAULT_VERSION_MAPS;
	struct workspace *ws = p->ws;

	for (size_t i = 0; i < count; i++)
		ws->open[i] = (struct fernet_open_job){
			.token = ws->tokens + i * CHUNK_TOKEN_LEN,
			.token_len = CHUNK_TOKEN_LEN,
			.plaintext = ws->plain + i * WORKSPACE_PLAIN_STRIDE};
	workspace_count_opened(count);
	(void)!fernet_open(ws->fernet, p->key, ws->open, count);
	for (size_t i = 0; i < count; i++) {
		const struct fernet_open_job *job = &ws->open[i];
		enum chunk_holes holes;
		bool whole = job->status == 0 &&
			     chunk_fits(job->plaintext, job->plaintext_len,
					CHUNK_SIZE, can_claim) &&
			     chunk_tag_check(be64_load(job->plaintext),
					     first + i, false, &holes) == 0;

		full[i] = whole ? 1 + chunk_claim(job->plaintext,
						  job->plaintext_len)
				: 0;
	}
}

/* What going through the chunks has found. */
struct course {
	uint64_t body; /* bytes behind the header */
	uint64_t next; /* slot to look at */
	bool any;      /* a full chunk; the last one is... */
	uint64_t full;
	bool zero; /* there were zeros; the first are at... */
	uint64_t zeros;
	bool zero_inside; /* in front of a full chunk */
	uint64_t reach;	  /* from this chunk on nobody claims zeros... */
	bool unclaimed;	  /* ...and there were such, in front of a token */
	bool ended;	  /* the end is known, or what ends it is */
	struct look end;
	uint64_t end_index;
};

static void take(struct course *c, uint64_t index, const struct look *l)
{
	if (l->kind == KIND_FULL || l->kind == KIND_LAST) {
		c->unclaimed = c->unclaimed || index > c->reach;
		c->reach = index + 1 + l->claim;
	}
	switch (l->kind) {
	case KIND_FULL:
		c->any = true;
		c->full = index;
		c->zero_inside = c->zero_inside || c->zero;
		break;
	case KIND_ZERO:
		if (!c->zero)
			c->zeros = index;
		c->zero = true;
		break;
	default:
		c->ended = true;
		c->end = *l;
		c->end_index = index;
	}
}

static int go_on(const struct journal_patient *p, struct course *c)
{
	uint64_t at = c->next * CHUNK_TOKEN_LEN, left = c->body - at;
	size_t len = BATCH * CHUNK_TOKEN_LEN + CHUNK_LAST_MAX - CHUNK_TOKEN_LEN;
	uint64_t full[BATCH];
	size_t whole, count;
	int err;

	if (len > left)
		len = (size_t)left;
	err = xio_pread(p->fd, p->ws->tokens, len,
			(off_t)chunk_offset(c->next));
	if (err)
		return err == -ENODATA ? -EAGAIN : err;
	whole = len / CHUNK_TOKEN_LEN;
	if (whole > BATCH)
		whole = BATCH;
	look_at_run(p, c->next, whole, full);
	count = whole < BATCH && len % CHUNK_TOKEN_LEN ? whole + 1 : whole;
	for (size_t i = 0; i < count && !c->ended; i++) {
		struct look l = {.kind = KIND_FULL};

		if (i < whole && full[i])
			l.claim = full[i] - 1;
		else
			look_closely(p, c->next + i,
				     p->ws->tokens + i * CHUNK_TOKEN_LEN,
				     len - i * CHUNK_TOKEN_LEN, &l);
		take(c, c->next + i, &l);
	}
	c->next += count;
	return 0;
}

uint64_t journal_next_data_(int fd, uint64_t index, uint64_t end)
{
	off_t data = lseek(fd, (off_t)chunk_offset(index), SEEK_DATA);
	uint64_t slot;

	/* not being able to tell is no reason to fail */
	if (data < 0)
		return errno == ENXIO ? end : index;
	slot = ((uint64_t)data - CHUNK_AREA_OFFSET) / CHUNK_TOKEN_LEN;
	return slot < end ? slot : end;
}

/* A file can be longer than anybody could read. */
static void skip_zeros(const struct journal_patient *p, struct course *c)
{
	uint64_t end = (c->body + CHUNK_TOKEN_LEN - 1) / CHUNK_TOKEN_LEN;
	uint64_t next = journal_next_data_(p->fd, c->next, end);

	if (next > c->next)
		take(c, c->next, &(struct look){.kind = KIND_ZERO});
	c->next = next;
}

/* A write that was cut off leaves a beginning, and zeros behind it. */
static bool is_beginning(const uint8_t *stored)
{
	return stored[0] == TOKEN_BEGINS && stored[CHUNK_TOKEN_LEN - 1] == 0;
}

static int unfill_run(const struct journal_patient *p, uint64_t first,
		      size_t count)
{
	const uint8_t *tokens = p->ws->tokens;
	uint64_t full[BATCH];
	int err = xio_pread(p->fd, p->ws->tokens, count * CHUNK_TOKEN_LEN,
			    (off_t)chunk_offset(first));

	if (err)
		return err;
	look_at_run(p, first, count, full);
	for (size_t i = 0; i < count && !err; i++)
		if (!full[i] && is_beginning(tokens + i * CHUNK_TOKEN_LEN))
			err = journal_punch_(p->fd, first + i, 1);
	return err;
}

/* Those that are there in full. */
static int count_whole_slots(const struct journal_patient *p, uint64_t *count)
{
	struct stat st;

	*count = 0;
	if (fstat(p->fd, &st) < 0)
		return -errno;
	if (st.st_size > CHUNK_AREA_OFFSET)
		*count = ((uint64_t)st.st_size - CHUNK_AREA_OFFSET) /
			 CHUNK_TOKEN_LEN;
	return 0;
}

int journal_unfill_(const struct journal_patient *p, uint64_t first,
		    uint64_t end)
{
	uint64_t there;
	int err = count_whole_slots(p, &there);

	if (end > there)
		end = there;
	while (first < end && !err) {
		size_t count =
			end - first < BATCH ? (size_t)(end - first) : BATCH;

		err = unfill_run(p, first, count);
		first += count;
	}
	return err;
}

static int run_course(const struct journal_patient *p, uint64_t body,
		      uint64_t start, struct course *c)
{
	int err = 0;

	/* what is in front of it may claim all of them */
	*c = (struct course){.body = body, .next = start, .reach = UINT64_MAX};
	while (!err && !c->ended && c->next * CHUNK_TOKEN_LEN < body) {
		skip_zeros(p, c);
		if (c->next * CHUNK_TOKEN_LEN < body)
			err = go_on(p, c);
	}
	return err;
}

int journal_judge_fill_(struct journal_patient *p, uint64_t first, uint64_t end)
{
	struct course c;
	uint64_t there;
	int err;

	if (p->holes != CHUNK_HOLES_MAPPED)
		return 0;
	err = count_whole_slots(p, &there);
	if (err)
		return err;
	if (end > there)
		end = there;
	if (first >= end)
		return 0;
	err = run_course(p, end * CHUNK_TOKEN_LEN, first, &c);
	if (c.unclaimed || c.ended || end > c.reach)
		p->unmapped = true;
	return err;
}

/* Of the chunk at index, if it is a full one there, one more than it claims. */
static int read_claim(const struct journal_patient *p, uint64_t index,
		      uint64_t *full)
{
	int err = xio_pread(p->fd, p->ws->tokens, CHUNK_TOKEN_LEN,
			    (off_t)chunk_offset(index));

	if (!err)
		look_at_run(p, index, 1, full);
	return err;
}

static int is_zero(const struct journal_patient *p, uint64_t index, bool *is)
{
	int err = xio_pread(p->fd, p->ws->tokens, CHUNK_TOKEN_LEN,
			    (off_t)chunk_offset(index));

	*is = !err && bytes_all_zero(p->ws->tokens, CHUNK_TOKEN_LEN);
	return err;
}

int journal_judge_behind_(struct journal_patient *p, uint64_t index)
{
	struct course c;
	uint64_t there, full = 0;
	bool zero = false;
	int err = count_whole_slots(p, &there);

	if (!err && index < there && !p->unmapped)
		err = read_claim(p, index, &full);
	/* the first place that it does not claim */
	if (err || !full || full >= there - index)
		return err;
	err = is_zero(p, index + full, &zero);
	if (err || !zero)
		return err;
	/* unless one in between does */
	err = run_course(p, (index + full + 1) * CHUNK_TOKEN_LEN, index, &c);
	if (!c.ended && index + full + 1 > c.reach)
		p->unmapped = true;
	return err;
}

static enum chunk_holes marks_for(const struct journal_patient *p,
				  const struct course *c,
				  enum chunk_holes holes)
{
	return holes && (p->unmapped || c->unclaimed) ? CHUNK_HOLES_ANYWHERE
						      : holes;
}

static uint64_t end_of(uint64_t index, size_t plain_len)
{
	return index * CHUNK_SIZE + plain_len;
}

/*
 * Where growing went no further than sealing the former end anew, zeros that
 * fill its chunk are not the file's.
 */
static int trim(const struct journal_patient *p, uint64_t *size)
{
	struct fernet_open_job job = {.token = p->ws->tokens,
				      .token_len = CHUNK_TOKEN_LEN,
				      .plaintext = p->ws->plain};
	size_t keep = chunk_last_len(p->before);
	uint64_t last = chunk_last_index(p->before);
	int err;

	if (p->before == 0 || p->before >= *size ||
	    last != chunk_last_index(*size))
		return 0;
	err = xio_pread(p->fd, p->ws->tokens, CHUNK_TOKEN_LEN,
			(off_t)chunk_offset(last));
	if (err)
		return err;
	if (fernet_open(p->ws->fernet, p->key, &job, 1) == 0 &&
	    bytes_all_zero(p->ws->plain + CHUNK_TAG_LEN + keep,
			   CHUNK_SIZE - keep))
		*size = p->before;
	return 0;
}

/* The file is to end behind the last chunk that is whole. */
static int cut_short(const struct journal_patient *p, const struct course *c,
		     uint64_t start, enum journal_state *state, uint64_t *size,
		     enum chunk_holes *holes)
{
	/* where no record speaks of holes, zeros are chunks that got lost, or
	 * were taken away: only a program's holes are marked as some */
	bool stop_at_zeros = c->zero_inside && !p->holes;
	uint64_t end = 0;
	bool any = c->any;

	if (!p->made && !p->records) {
		*state = JOURNAL_STRANGE;
		return 0;
	}
	if (any)
		end = c->full + 1;
	if (stop_at_zeros) {
		any = c->zeros > start;
		end = c->zeros;
	}
	if (!any)
		end = start;
	if (p->floor > 0 && end <= chunk_last_index(p->floor)) {
		*state = JOURNAL_STRANGE;
		return 0;
	}
	*state = JOURNAL_TORN;
	*size = end * CHUNK_SIZE;
	/* those in front of start have not been looked at */
	*holes = marks_for(p, c, p->holes);
	return end > 0 ? trim(p, size) : 0;
}

/* A marked chunk ends it: is that as it should be? */
static int end_there(const struct journal_patient *p, const struct course *c,
		     uint64_t start, enum journal_state *state, uint64_t *size,
		     enum chunk_holes *holes)
{
	uint64_t end = end_of(c->end_index, c->end.plain_len);

	if (c->zero && !c->end.holes) {
		struct course front = *c;

		/* zeros in front of it are chunks that got lost */
		front.zero_inside = true;
		return cut_short(p, &front, start, state, size, holes);
	}
	*size = end;
	*holes = marks_for(p, c, c->end.holes);
	if (chunk_backing_len(end) == CHUNK_AREA_OFFSET + c->body &&
	    c->end.whole) {
		/* zeros that a crash has left are holes as they are */
		*state = *holes != c->end.holes && (p->made || p->records)
				 ? JOURNAL_TORN
				 : JOURNAL_SOUND;
		return 0;
	}
	/* no crash takes what was durable */
	*state = end >= p->floor ? JOURNAL_TORN : JOURNAL_STRANGE;
	return 0;
}

/* Alone the end, of a file of so many bytes. */
static int end_is_sound(const struct journal_patient *p, uint64_t backing_len,
			uint64_t *size, enum chunk_holes *holes, bool *sound)
{
	uint64_t last;
	struct look l = {.whole = false};
	size_t len;
	int err;

	*sound = false;
	if (chunk_plain_len(backing_len, size) != 0)
		return 0;
	last = chunk_last_index(*size);
	len = chunk_last_len(*size) + CHUNK_LAST_EXTRA;
	err = xio_pread(p->fd, p->ws->tokens, len, (off_t)chunk_offset(last));
	if (err)
		return err;
	*sound = is_last(p, last, p->ws->tokens, len, &l) && l.whole &&
		 l.plain_len == chunk_last_len(*size);
	*holes = l.holes;
	return 0;
}

int journal_examine_(struct journal_patient *p, enum journal_state *state,
		     uint64_t *size, enum chunk_holes *holes)
{
	uint64_t start = p->floor ? chunk_last_index(p->floor) : 0, body, slots;
	uint64_t begin = start;
	struct course c;
	struct stat st;
	bool sound;
	int err;

	if (fstat(p->fd, &st) < 0)
		return -errno;
	if (!p->wholly) {
		err = end_is_sound(p, (uint64_t)st.st_size, size, holes,
				   &sound);
		if (err || sound) {
			*state = JOURNAL_SOUND;
			if (sound && p->unmapped && *holes) {
				*state = JOURNAL_TORN;
				*holes = CHUNK_HOLES_ANYWHERE;
			}
			return err;
		}
	}
	body = st.st_size > CHUNK_AREA_OFFSET
		       ? (uint64_t)st.st_size - CHUNK_AREA_OFFSET
		       : 0;
	slots = body / CHUNK_TOKEN_LEN;
	if (!p->wholly && slots > TORN_CHUNKS && slots - TORN_CHUNKS > start)
		begin = slots - TORN_CHUNKS;
	err = run_course(p, body, begin, &c);
	if (!err && begin > start && !c.any)
		err = run_course(p, body, begin = start, &c);
	if (err)
		return err;
	if (c.ended && c.end.kind == KIND_LAST)
		return end_there(p, &c, begin, state, size, holes);
	return cut_short(p, &c, begin, state, size, holes);
}
