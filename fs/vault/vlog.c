#include "vlog_internal.h"

#include "bytes.h"
#include "fernet_text.h"
#include "log.h"
#include "own_file.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
	DIGEST_LEN = 32,
	RECORD_LEN = 8 + DIGEST_LEN + 8 + 4 + SET_ID_LEN + 64 + VLOG_TEXT_MAX,
	TOKEN_LEN = FERNET_TOKEN_LEN(RECORD_LEN),
	HEAD_LEN = 8 + DIGEST_LEN,
	HEAD_TOKEN_LEN = FERNET_TOKEN_LEN(HEAD_LEN),
	SECTOR_LEN = 512, /* what a disk writes wholly or not at all */
};

_Static_assert(RECORD_LEN == 387 && TOKEN_LEN == 457,
	       "the lengths of frondfs-format(5)");

/* How many records there have been, and the digest of the last one's token. */
struct head {
	uint64_t count;
	uint8_t digest[DIGEST_LEN];
};

/* What a record says of its place in the chain, and its own digest. */
struct link {
	uint64_t seq;
	uint8_t before[DIGEST_LEN], digest[DIGEST_LEN];
};

static const struct head beginning; /* in front of the first record */

/* What nothing follows: where the chain has to begin anew. */
static void break_chain(struct head *tail)
{
	memset(tail->digest, 0xff, sizeof tail->digest);
}

static void digest_token(const uint8_t token[static TOKEN_LEN],
			 uint8_t digest[static DIGEST_LEN])
{
	crypto_generichash(digest, DIGEST_LEN, token, TOKEN_LEN, NULL, 0);
}

/* -ENOENT: there is none; -EBADMSG: altered. */
static int read_head(struct vlog *log, struct head *head)
{
	uint8_t token[HEAD_TOKEN_LEN];
	uint8_t plain[FERNET_OPEN_ROOM(HEAD_TOKEN_LEN)];
	size_t len;
	int err = xio_read_file(log->vault->meta_fd, HEAD_FILE, token,
				sizeof token, &len);

	if (err == -EFBIG || err == -EINVAL || err == -ELOOP ||
	    err == -ENODATA || err == -ENXIO)
		return -EBADMSG;
	if (!err)
		err = fernet_open_one(log->key, token, len, plain, &len);
	if (err)
		return err;
	if (len != HEAD_LEN)
		return -EBADMSG;
	head->count = be64_load(plain);
	memcpy(head->digest, plain + 8, DIGEST_LEN);
	return 0;
}

static int write_head(struct vlog *log, const struct head *head)
{
	uint8_t plain[HEAD_LEN], token[HEAD_TOKEN_LEN];
	int err;

	be64_store(plain, head->count);
	memcpy(plain + 8, head->digest, DIGEST_LEN);
	err = fernet_seal_one(log->key, plain, sizeof plain, token);
	return err ? err
		   : own_file_replace(log->vault->meta_fd, HEAD_FILE, token,
				      sizeof token);
}

static void encode(const struct vlog_record *r,
		   const uint8_t before[static DIGEST_LEN],
		   uint8_t plain[static RECORD_LEN])
{
	size_t text_len = strnlen(r->text, VLOG_TEXT_MAX);
	uint8_t *p = plain;

	memset(plain, 0, RECORD_LEN);
	be64_store(p, r->seq);
	memcpy(p += 8, before, DIGEST_LEN);
	be64_store(p += DIGEST_LEN, r->time_s);
	p += 8;
	*p++ = r->event;
	*p++ = r->index;
	*p++ = r->detail;
	*p++ = (uint8_t)text_len;
	memcpy(p, r->set_id, SET_ID_LEN);
	memcpy(p += SET_ID_LEN, r->peer.sign, 32);
	memcpy(p += 32, r->peer.box, 32);
	memcpy(p += 32, r->text, text_len);
}

static int decode(const uint8_t plain[static RECORD_LEN], struct vlog_record *r,
		  struct link *link)
{
	const uint8_t *p = plain;
	struct vlog_record got = {.seq = be64_load(p)};
	size_t text_len;

	link->seq = got.seq;
	memcpy(link->before, p += 8, DIGEST_LEN);
	got.time_s = be64_load(p += DIGEST_LEN);
	p += 8;
	got.event = *p++;
	got.index = *p++;
	got.detail = *p++;
	text_len = *p++;
	memcpy(got.set_id, p, SET_ID_LEN);
	memcpy(got.peer.sign, p += SET_ID_LEN, 32);
	memcpy(got.peer.box, p += 32, 32);
	memcpy(got.text, p += 32, text_len);
	if (memchr(got.text, 0, text_len) ||
	    !bytes_all_zero(p + text_len, VLOG_TEXT_MAX - text_len))
		return -EBADMSG;
	*r = got;
	return 0;
}

/* The record at a place of the file, and its link in the chain. */
static int read_place(struct vlog *log, uint64_t place, struct vlog_record *r,
		      struct link *link)
{
	uint8_t token[TOKEN_LEN], plain[FERNET_OPEN_ROOM(TOKEN_LEN)];
	size_t len;
	int err = xio_pread(log->fd, token, sizeof token,
			    (off_t)(place * TOKEN_LEN));

	if (!err)
		err = fernet_open_one(log->key, token, sizeof token, plain,
				      &len);
	if (err)
		return err;
	if (len != RECORD_LEN)
		return -EBADMSG;
	digest_token(token, link->digest);
	return decode(plain, r, link);
}

/* Whole records in the file, and bytes behind them. */
static int measure(const struct vlog *log, uint64_t *places, size_t *stray)
{
	struct stat st = {0};

	if (log->fd >= 0 && fstat(log->fd, &st) < 0)
		return -errno;
	*places = (uint64_t)st.st_size / TOKEN_LEN;
	*stray = (size_t)((uint64_t)st.st_size % TOKEN_LEN);
	return 0;
}

/*
 * Has a power failure left less of a token than its length says? Then there
 * are zeros from one sector's boundary, or the token's, to the next.
 */
static bool is_torn(const struct vlog *log, uint64_t place)
{
	uint8_t token[TOKEN_LEN];
	size_t at = (size_t)(place * TOKEN_LEN % SECTOR_LEN), len;

	if (xio_pread(log->fd, token, sizeof token, (off_t)(place * TOKEN_LEN)))
		return false;
	for (const uint8_t *p = token; p < token + TOKEN_LEN; p += len) {
		len = SECTOR_LEN - at;
		if (len > (size_t)(token + TOKEN_LEN - p))
			len = (size_t)(token + TOKEN_LEN - p);
		if (bytes_all_zero(p, len))
			return true;
		at = 0;
	}
	return false;
}

/*
 * measure(), where a torn record at the end is stray as well. The head is
 * replaced once a record is durable: so only one that the head does not know
 * can be torn.
 */
static int measure_whole(struct vlog *log, uint64_t *places, size_t *stray)
{
	struct vlog_record r;
	struct link link;
	struct head head;
	int err = measure(log, places, stray);

	if (err || *places == 0 || !is_torn(log, *places - 1) ||
	    read_place(log, *places - 1, &r, &link) != -EBADMSG ||
	    read_head(log, &head) || head.count != *places - 1)
		return err;
	--*places;
	*stray += TOKEN_LEN;
	return 0;
}

/* Does the record behind this link follow what head describes? */
static bool follows(const struct link *link, const struct head *head)
{
	return link->seq == head->count &&
	       memcmp(link->before, head->digest, DIGEST_LEN) == 0;
}

static bool is_last(const struct link *link, const struct head *head)
{
	return head->count > 0 && link->seq == head->count - 1 &&
	       memcmp(link->digest, head->digest, DIGEST_LEN) == 0;
}

/*
 * What the next record has to follow. A log that is damaged goes on all the
 * same, but the record says that it follows nothing, so that the damage is
 * found for ever.
 */
static int find_tail(struct vlog *log, uint64_t places, struct head *tail)
{
	struct vlog_record r;
	struct link last;
	int err = read_head(log, tail);

	if (err == -ENOENT && places == 0) {
		/* Before the first record: else a crash behind it would look
		 * like a head that was taken away. */
		*tail = beginning;
		return write_head(log, &beginning);
	}
	if (err && err != -ENOENT && err != -EBADMSG)
		return err;
	if (err)
		*tail = beginning;
	if (!err && places == 0 && tail->count == 0)
		return 0;
	if (places > 0) {
		int bad = read_place(log, places - 1, &r, &last);

		if (bad && bad != -EBADMSG)
			return bad;
		/* A number behind its place is an older record's, put here. */
		if (!err && !bad && last.seq < places - 1)
			bad = -EBADMSG;
		if (!err && !bad && is_last(&last, tail))
			return 0;
		if (!err && !bad && follows(&last, tail)) {
			/* A crash left it so. Another one must not leave two
			 * that the head does not know. */
			tail->count++;
			memcpy(tail->digest, last.digest, DIGEST_LEN);
			return write_head(log, tail);
		}
	}
	if (tail->count < places)
		tail->count = places;
	break_chain(tail);
	return 0;
}

/*
 * Whoever wrote last may have been killed before it was durable, and before the
 * head was. Shared, that can be at any time.
 */
static int settle(struct vlog *log)
{
	int err;

	if (log->settled && !log->vault->shared)
		return 0;
	err = fsync(log->fd) < 0 ? -errno : xio_sync_dir(log->vault->meta_fd);
	log->settled = !err;
	return err;
}

/* The head could not be replaced for certain: has it been all the same? */
static bool head_is(struct vlog *log, const struct head *head)
{
	struct head now;

	return read_head(log, &now) == 0 && memcmp(&now, head, sizeof now) == 0;
}

/* One record at a place, durable, then the head. */
static int write_place(struct vlog *log, uint64_t place,
		       const uint8_t token[static TOKEN_LEN],
		       const struct head *head)
{
	off_t at = (off_t)(place * TOKEN_LEN);
	int err = xio_pwrite(log->fd, token, TOKEN_LEN, at);

	if (!err && fsync(log->fd) < 0)
		err = -errno;
	if (!err)
		err = write_head(log, head);
	/* What is not to be in the log must not look like a crash's rest. */
	if (err && !head_is(log, head) && ftruncate(log->fd, at) < 0)
		log_warning("an unfinished record stays in the log: %s",
			    strerror(errno));
	return err;
}

static int append_locked(struct vlog *log, struct vlog_record *r)
{
	uint8_t plain[RECORD_LEN], token[TOKEN_LEN];
	struct head tail;
	uint64_t places;
	size_t stray;
	int err = settle(log);

	if (!err)
		err = measure_whole(log, &places, &stray);
	if (!err)
		err = find_tail(log, places, &tail);
	/* The beginning of a record that a crash cut off. */
	if (!err && stray &&
	    ftruncate(log->fd, (off_t)(places * TOKEN_LEN)) < 0)
		err = -errno;
	if (err)
		return err;
	r->seq = tail.count;
	r->time_s = (uint64_t)time(NULL);
	encode(r, tail.digest, plain);
	err = fernet_seal_one(log->key, plain, sizeof plain, token);
	if (err)
		return err;
	tail.count++;
	digest_token(token, tail.digest);
	return write_place(log, places, token, &tail);
}

int vlog_append(struct vlog *log, struct vlog_record *r)
{
	struct vlog_record copy = *r;
	int err;

	if (r->event == 0 || r->event >= VLOG_EVENTS)
		return -EINVAL;
	if (log->fd < 0)
		return -EROFS;
	err = vlog_lock_(log, F_WRLCK);
	if (err)
		/* A descriptor that is not open for writing. */
		return err == -EBADF ? -EROFS : err;
	err = append_locked(log, &copy);
	vlog_unlock_(log);
	if (!err)
		*r = copy;
	return err;
}

uint64_t vlog_count(struct vlog *log)
{
	uint64_t places;
	size_t stray;

	return measure_whole(log, &places, &stray) ? 0 : places;
}

int vlog_read(struct vlog *log, uint64_t seq, struct vlog_record *r)
{
	struct vlog_record got;
	struct link link;
	int err;

	if (seq >= vlog_count(log))
		return -ENODATA;
	err = read_place(log, seq, &got, &link);
	if (err)
		return err;
	/* Behind a cut, numbers are ahead of places; never the reverse. */
	if (got.seq < seq)
		return -EBADMSG;
	got.seq = seq;
	*r = got;
	return 0;
}

/* Does the end of the file fit the head? tail: what the chain came to. */
static enum vlog_fault judge_end(const struct head *tail,
				 const struct head *before_last,
				 const struct head *head, size_t stray)
{
	if (memcmp(tail, head, sizeof *tail) == 0)
		return VLOG_FAULT_NONE; /* stray: cut off by a crash */
	if (tail->count < head->count)
		return VLOG_FAULT_CUT;
	if (tail->count == head->count)
		return VLOG_FAULT_HEAD;
	if (stray || memcmp(before_last, head, sizeof *head) != 0)
		return VLOG_FAULT_EXCESS;
	return VLOG_FAULT_NONE;
}

static int verify_locked(struct vlog *log, enum vlog_fault *what, uint64_t *seq)
{
	struct head head, tail = beginning, before_last = beginning;
	struct vlog_record r;
	struct link link;
	uint64_t places;
	size_t stray;
	int err = measure_whole(log, &places, &stray);

	if (err)
		return err;
	for (*seq = 0; *seq < places; ++*seq) {
		err = read_place(log, *seq, &r, &link);
		*what = err ? VLOG_FAULT_RECORD : VLOG_FAULT_CHAIN;
		if (err)
			return err;
		if (!follows(&link, &tail))
			return -EBADMSG;
		before_last = tail;
		tail.count++;
		memcpy(tail.digest, link.digest, DIGEST_LEN);
	}
	err = read_head(log, &head);
	if (err == -ENOENT && places == 0)
		err = 0, head = beginning;
	*what = VLOG_FAULT_HEAD;
	if (err)
		return err == -ENOENT ? -EBADMSG : err;
	*what = judge_end(&tail, &before_last, &head, stray);
	if (*what == VLOG_FAULT_EXCESS)
		*seq = head.count;
	return *what ? -EBADMSG : 0;
}

int vlog_verify(struct vlog *log, enum vlog_fault *what, uint64_t *seq)
{
	enum vlog_fault fault = VLOG_FAULT_NONE;
	uint64_t place = 0;
	int err = vlog_lock_(log, F_RDLCK);

	if (err)
		return err;
	err = verify_locked(log, &fault, &place);
	vlog_unlock_(log);
	if (!err || err == -EBADMSG) {
		*what = fault;
		*seq = place;
	}
	return err;
}
