/* What a session that did not end has left, read without changing it. */
#include "journal_recover.h"

#include "rekey.h"
#include "secret.h"
#include "seen.h"
#include "text.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { SCAN_BYTES = 4096 /* no larger than a page */ };

/* To find what lies behind the records: all of the longest segment, thrice. */
#define SEARCH_MAX (3 * (uint64_t)UINT32_MAX)

void journal_reader_close(struct journal_reader *r)
{
	if (!r)
		return;
	for (unsigned n = 0; n < r->count; n++)
		close(r->segment[n].fd);
	if (r->dir_fd >= 0)
		close(r->dir_fd);
	secret_free(r->key);
	free(r->session);
	free(r->wanted);
	free(r->buf);
	free(r);
}

/* Like pread until the end of the file. */
static int read_more(int fd, uint8_t *buf, size_t want, off_t offset,
		     size_t *have)
{
	while (*have < want) {
		ssize_t n = pread(fd, buf + *have, want - *have,
				  offset + (off_t)*have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		*have += (size_t)n;
	}
	return 0;
}

/* As much of a record as there is; *len of it. */
static int read_record(const struct journal_segment_file *s, uint64_t offset,
		       uint8_t *buf, size_t *len)
{
	uint64_t tokens;
	int err;

	*len = 0;
	err = read_more(s->fd, buf, JOURNAL_RECORD_HEAD_LEN, (off_t)offset,
			len);
	if (err || *len < JOURNAL_RECORD_HEAD_LEN)
		return err;
	tokens = journal_record_tokens_(buf);
	if (tokens > JOURNAL_TOKENS_MAX)
		return 0;
	return read_more(s->fd, buf, JOURNAL_RECORD_HEAD_LEN + (size_t)tokens,
			 (off_t)offset, len);
}

/* By its own name, or by the one it gets when it is kept. */
static int open_segment(const struct journal_reader *r, unsigned n, int *out)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	char name[JOURNAL_NAME_LEN + sizeof JOURNAL_KEPT_SUFFIX];

	journal_segment_name_(r->session->id, n, name);
	*out = openat(r->dir_fd, name, flags);
	if (*out < 0 && errno == ENOENT) {
		memcpy(name + JOURNAL_NAME_LEN, JOURNAL_KEPT_SUFFIX,
		       sizeof JOURNAL_KEPT_SUFFIX);
		*out = openat(r->dir_fd, name, flags);
	}
	return *out < 0 ? -errno : 0;
}

/* Is this what is wrong with one file? Else the next try may find it right. */
static bool is_its_own(int err)
{
	return !xio_is_shortage(err) && err != -EACCES;
}

/* A segment that has no head yet holds nothing. */
static int add_segment(struct journal_reader *r, unsigned n)
{
	uint8_t head[JOURNAL_HEAD_LEN];
	struct journal_ids ids = {.key = r->key};
	CLEANUP_FD int fd = -1;
	struct stat st;
	unsigned at;
	int err = open_segment(r, n, &fd);

	if (!err)
		err = xio_pread(fd, head, sizeof head, 0);
	if (err == -ENOENT || err == -ENODATA)
		return 0;
	if (err && is_its_own(err)) {
		r->broken = true;
		r->mute |= n == JOURNAL_MEND_SEGMENT;
		return 0;
	}
	if (err)
		return err;
	memcpy(ids.vault_id, r->vault->id, sizeof ids.vault_id);
	memcpy(ids.session, r->session->id, sizeof ids.session);
	if (journal_head_parse(head, &ids) != 0) {
		r->headless |=
			fstat(fd, &st) < 0 || st.st_size > JOURNAL_EMPTY_LEN;
		return 0;
	}
	for (at = r->count; at > 0; at--) {
		if (r->segment[at - 1].ids.number < ids.number)
			break;
		r->segment[at] = r->segment[at - 1];
	}
	r->segment[at] = (struct journal_segment_file){
		.fd = TAKE_FD(fd), .n = n, .ids = ids, .end = JOURNAL_HEAD_LEN};
	r->count++;
	return 0;
}

/* One that mending has written has its own number, and is in use. */
static bool is_own(const struct journal_segment_file *s)
{
	return s->n < JOURNAL_MEND_SEGMENT;
}

static void drop_segment(struct journal_reader *r, unsigned at)
{
	close(r->segment[at].fd);
	r->count--;
	for (; at < r->count; at++)
		r->segment[at] = r->segment[at + 1];
}

/* Is there a record at offset? 1: the mark behind the last one. Of what is
 * there instead, *len bytes are in r->buf. */
static int parse_at(const struct journal_reader *r,
		    const struct journal_segment_file *s, uint64_t offset,
		    struct journal_head *h, size_t *len)
{
	int err = read_record(s, offset, r->buf, len);

	/* it says so of the disk, and this of the bytes */
	if (err)
		return err == -EBADMSG || err == -ENODATA ? -EIO : err;
	if (journal_record_parse(&s->ids, offset, r->buf, *len, h) != 0)
		return *len > 0 ? -EBADMSG : -ENODATA;
	return h->kind == JOURNAL_KIND_END;
}

/* So far it has records. */
static uint64_t whole_len(struct journal_reader *r,
			  const struct journal_segment_file *s)
{
	struct journal_head h;
	uint64_t end = JOURNAL_HEAD_LEN;
	size_t len;

	while (parse_at(r, s, end, &h, &len) == 0)
		end += JOURNAL_RECORD_HEAD_LEN + h.len;
	return end;
}

/*
 * The two highest numbers are those in use: a file with a lower one has served,
 * and was put back. Of two with the same one, which follow each other here, one
 * is a beginning of the other. What mending has written comes after all.
 */
static void leave_out_old(struct journal_reader *r)
{
	uint64_t newest = 0;

	for (unsigned i = 0; i < r->count; i++)
		if (is_own(&r->segment[i]))
			newest = r->segment[i].ids.number;
	for (unsigned i = 0; i < r->count;) {
		const struct journal_segment_file *s = &r->segment[i];

		if (s->ids.number + is_own(s) < newest)
			drop_segment(r, i);
		else if (!is_own(s))
			i++;
		else if (i + 1 < r->count && is_own(s + 1) &&
			 s[1].ids.number == s->ids.number)
			drop_segment(r, whole_len(r, s) < whole_len(r, s + 1)
						? i
						: i + 1);
		else
			i++;
	}
}

/* A name that only a segment has of which that is not known: its session. */
static bool is_unknown_segment(const struct journal_reader *r, const char *name,
			       uint8_t id[static JOURNAL_ID_LEN])
{
	return journal_is_segment_name_(name) &&
	       name[JOURNAL_NAME_LEN - 1] != '0' + JOURNAL_RESERVE &&
	       !journal_is_kept_(r->dir_fd, name) &&
	       !hex_decode(name, (size_t)2 * JOURNAL_ID_LEN, id,
			   JOURNAL_ID_LEN) &&
	       !(r->vault->remembers &&
		 seen_session(r->vault, id, UINT64_MAX) == -ESTALE);
}

static bool has_records(const struct journal_reader *r,
			const struct journal_segment_file *s, int *err)
{
	struct journal_head h;
	size_t len;
	int failed = parse_at(r, s, JOURNAL_HEAD_LEN, &h, &len);

	if (failed < 0 && failed != -EBADMSG && failed != -ENODATA)
		*err = failed;
	return !failed;
}

/*
 * Is it a segment of a session that is neither kept nor known to be over? With
 * records: else it may be of one that never began. *err: nobody can say.
 */
static bool is_whole_segment(struct journal_reader *r, const char *name,
			     bool with_records,
			     uint8_t id[static JOURNAL_ID_LEN], int *err)
{
	struct journal_segment_file s = {.ids.key = r->key};
	uint8_t head[JOURNAL_HEAD_LEN];
	CLEANUP_FD int fd = -1;
	int failed = 0;

	if (!is_unknown_segment(r, name, id))
		return false;
	fd = openat(r->dir_fd, name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	failed = fd < 0 ? -errno : xio_pread(fd, head, sizeof head, 0);
	if (failed && failed != -ENOENT && failed != -ENODATA &&
	    failed != -EISDIR)
		*err = failed;
	memcpy(s.ids.vault_id, r->vault->id, sizeof s.ids.vault_id);
	memcpy(s.ids.session, id, sizeof s.ids.session);
	s.fd = fd;
	return !failed && journal_head_parse(head, &s.ids) == 0 &&
	       (!with_records || has_records(r, &s, err));
}

/* When it was written; long ago, if nobody knows. */
static uint64_t session_time(const struct journal_reader *r)
{
	struct stat st;

	return fstatat(r->dir_fd, JOURNAL_SESSION_FILE, &st,
		       AT_SYMLINK_NOFOLLOW) == 0
		       ? (uint64_t)st.st_mtim.tv_sec
		       : 0;
}

/*
 * The session's own file says nothing, or somebody has removed it. Its segments
 * tell which one it was, if they are all of one; where, they do not: as of a
 * copy. gone: -ENOENT, if there are none.
 */
static int guess_session(struct journal_reader *r, bool gone)
{
	CLEANUP_DIR DIR *dir = NULL;
	struct journal_session *s = r->session;
	const struct dirent *e;
	int err = xio_list(r->dir_fd, &dir), unread = 0;

	for (errno = 0; !err && (e = readdir(dir)); errno = 0) {
		uint8_t id[JOURNAL_ID_LEN];

		if (!is_whole_segment(r, e->d_name, gone, id, &unread))
			continue;
		if (r->guessed && memcmp(id, s->id, sizeof id) != 0)
			return -EBADMSG;
		*s = (struct journal_session){.start_s = session_time(r)};
		memcpy(s->id, id, sizeof id);
		randombytes_buf(s->boot_id, sizeof s->boot_id);
		r->guessed = true;
	}
	if (!err)
		err = -errno;
	if (err || r->guessed)
		return err;
	/* whoever finds none removes them all */
	if (unread && !is_its_own(unread))
		return unread;
	return gone && !unread ? -ENOENT : -EBADMSG;
}

/* Did one end, of which not all became durable? */
static bool is_ended_elsewhere(struct journal_reader *r)
{
	struct journal_session now;

	if (journal_session_read_(r->vault, r->dir_fd, JOURNAL_ENDED_FILE,
				  r->session) != 0 ||
	    journal_session_init_(r->dir_fd, &now) != 0 ||
	    journal_session_same_place_(r->session, &now))
		return false;
	r->file = JOURNAL_ENDED_FILE;
	return true;
}

/* The one in course, or that was: as nobody could tell which before, it is not
 * asked again. */
static int find_session(struct journal_reader *r)
{
	int err = journal_session_read_(r->vault, r->dir_fd,
					JOURNAL_SESSION_FILE, r->session);
	bool gone = err == -ENOENT;

	r->file = JOURNAL_SESSION_FILE;
	if (gone && is_ended_elsewhere(r))
		return 0;
	/* one that cannot be read now says another time what is torn */
	if ((!gone && err != -EBADMSG) ||
	    (gone && faccessat(r->dir_fd, JOURNAL_DAMAGED_FILE, F_OK,
			       AT_SYMLINK_NOFOLLOW) == 0))
		return err;
	return guess_session(r, gone);
}

/* Who cannot tell expects no more than there is. */
static bool says_both(const struct journal_reader *r)
{
	uint8_t head[JOURNAL_HEAD_LEN];
	struct journal_ids ids = {.key = r->key};
	CLEANUP_FD int fd = -1;

	memcpy(ids.vault_id, r->vault->id, sizeof ids.vault_id);
	memcpy(ids.session, r->session->id, sizeof ids.session);
	return open_segment(r, JOURNAL_RESERVE, &fd) == 0 &&
	       xio_pread(fd, head, sizeof head, 0) == 0 &&
	       journal_head_parse(head, &ids) == 0 &&
	       ids.number == JOURNAL_BOTH;
}

static int open_reader(struct journal_reader *r, const char *kept)
{
	int err = rekey_open_journal(r->vault, false, &r->dir_fd);

	r->file = kept;
	if (!err && kept) {
		err = journal_kept_read_(r->vault, r->dir_fd, kept, r->session,
					 &r->wanted, &r->wanted_count);
	} else if (!err) {
		err = find_session(r);
	}
	for (unsigned n = 0; n < JOURNAL_SEGMENT_NAMES && !err; n++)
		if (n != JOURNAL_RESERVE)
			err = add_segment(r, n);
	if (err)
		return err;
	leave_out_old(r);
	r->both = says_both(r);
	return 0;
}

int journal_reader_open_(struct vault *vault, const char *name,
			 struct journal_reader **out)
{
	struct journal_reader *r = calloc(1, sizeof *r);
	int err;

	if (!r)
		return -ENOMEM;
	r->vault = vault;
	r->dir_fd = -1;
	r->offset = JOURNAL_HEAD_LEN;
	r->session = calloc(1, sizeof *r->session);
	r->key = journal_key_(vault);
	r->buf = malloc(JOURNAL_RECORD_HEAD_LEN + JOURNAL_TOKENS_MAX);
	err = r->session && r->key && r->buf ? open_reader(r, name) : -ENOMEM;
	if (err) {
		journal_reader_close(r);
		return err;
	}
	*out = r;
	return 0;
}

int journal_reader_open(struct vault *vault, struct journal_reader **out)
{
	return journal_reader_open_(vault, NULL, out);
}

/* Was anything written behind this segment? */
static bool has_later(struct journal_reader *r)
{
	for (unsigned i = r->at + 1; i < r->count; i++)
		if (is_own(&r->segment[i]) &&
		    whole_len(r, &r->segment[i]) > JOURNAL_HEAD_LEN)
			return true;
	return false;
}

/* The next place from *offset on where a record may begin; read: how many bytes
 * that took. No segment gets longer than offsets have bits. */
static bool find_begin(const struct journal_reader *r,
		       const struct journal_segment_file *s, uint64_t *offset,
		       uint64_t *read)
{
	size_t len, at;

	do {
		off_t data = lseek(s->fd, (off_t)*offset, SEEK_DATA);

		if (data < 0 && errno == ENXIO)
			return false;
		if (data > (off_t)*offset)
			*offset = (uint64_t)data;
		len = 0;
		if (*offset > UINT32_MAX ||
		    read_more(s->fd, r->buf, SCAN_BYTES, (off_t)*offset, &len))
			return false;
		*read += len;
		at = journal_record_find_(r->buf, len);
		*offset += at;
	} while (at == len && len > 0);
	return len > 0;
}

/*
 * Does anything whole lie behind what is none, at offset? Its length may be
 * what is wrong with it. What takes forever nobody has left who died.
 */
static bool has_more(const struct journal_reader *r,
		     const struct journal_segment_file *s, uint64_t offset)
{
	struct journal_head h;
	uint64_t read = 0;
	size_t len;

	while (++offset, find_begin(r, s, &offset, &read)) {
		if (read_record(s, offset, r->buf, &len) == 0 &&
		    journal_record_parse(&s->ids, offset, r->buf, len, &h) == 0)
			return true;
		read += len;
		if (read > SEARCH_MAX)
			return true;
	}
	return false;
}

/*
 * What follows the records is none. A process that died while it wrote one left
 * its beginning, at the end of what was written last; behind it lies what the
 * segment held before it was emptied, which has another number.
 */
static bool is_rotten(struct journal_reader *r,
		      const struct journal_segment_file *s, size_t len)
{
	return is_own(s) && (journal_record_find_(r->buf, len) > 0 ||
			     has_later(r) || has_more(r, s, r->offset));
}

/* Its records end here; *len bytes of what follows them are in r->buf. */
static int judge_end(struct journal_reader *r, struct journal_segment_file *s,
		     int why, size_t len)
{
	if (why == -EBADMSG) {
		r->torn = true;
		r->rotten |= is_rotten(r, s, len);
	} else if (why < 0 && why != -ENODATA) {
		/* what the disk does not give is the end of it */
		if (!is_its_own(why))
			return why;
		r->broken = true;
	}
	s->marked = why == 1;
	s->bare = why == -ENODATA;
	return 0;
}

/*
 * Whoever dies while he writes gets to the end of a page: seldom, but a record
 * may end there.
 */
static bool is_cut(const struct journal_reader *r,
		   const struct journal_segment_file *s)
{
	return r->both && s->bare && s->end % SCAN_BYTES != 0;
}

bool journal_reader_lacks_(struct journal_reader *r)
{
	unsigned own = 0;
	bool lacks = r->rotten;

	for (unsigned i = 0; i < r->count; i++) {
		const struct journal_segment_file *s = &r->segment[i];

		if (!is_own(s))
			continue;
		own++;
		lacks |= is_cut(r, s) || (s->marked && has_more(r, s, s->end));
	}
	return lacks || (r->both && own != JOURNAL_SEGMENTS);
}

int journal_reader_next_(struct journal_reader *r, struct journal_found *out)
{
	while (r->at < r->count) {
		struct journal_segment_file *s = &r->segment[r->at];
		size_t len;
		int err = parse_at(r, s, r->offset, &out->head, &len);

		if (err == 0) {
			out->segment = r->at;
			out->offset = r->offset;
			r->offset += JOURNAL_RECORD_HEAD_LEN + out->head.len;
			s->end = r->offset;
			return 1;
		}
		err = judge_end(r, s, err, len);
		if (err)
			return err;
		r->at++;
		r->offset = JOURNAL_HEAD_LEN;
	}
	return 0;
}

int journal_reader_next(struct journal_reader *r, struct journal_record *out)
{
	struct journal_found found;
	int got = journal_reader_next_(r, &found);
	const struct journal_head *h = &found.head;

	if (got <= 0)
		return got;
	*out = (struct journal_record){
		.ino = h->ino,
		.size = h->size,
		.holes = h->kind == JOURNAL_KIND_HOLES,
		.filled = h->kind == JOURNAL_KIND_FILL,
		.first = h->first,
		.count = h->count,
		.fd = r->segment[found.segment].fd,
		.offset = (off_t)(found.offset + JOURNAL_RECORD_HEAD_LEN),
		.len = h->len};
	memcpy(out->file_id, h->file_id, FILE_ID_LEN);
	return 1;
}
