/* One file of a session that did not end: redone, looked at, mended. */
#include "journal_recover.h"

#include "bytes.h"
#include "log.h"
#include "vfile_slot.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { MEND_SEGMENT = 4 }; /* 0 to 3 are the session's own */

/* Are the tokens in ws->tokens chunks of this file, all of them? */
static bool tokens_are_good(const struct journal_patient *p,
			    const struct journal_head *h)
{
	/* where the size is kept, none of them is the last */
	uint64_t size =
		h->size == JOURNAL_SIZE_KEPT ? CHUNK_MAX_PLAIN_LEN : h->size;
	struct workspace *ws = p->ws;
	size_t count = (size_t)h->count;

	for (size_t i = 0; i < count; i++) {
		struct slot s = slot_of(h->first + i, size);

		ws->open[i] = (struct fernet_open_job){
			.token = ws->tokens + i * CHUNK_TOKEN_LEN,
			.token_len = s.token_len,
			.plaintext = ws->plain + i * WORKSPACE_PLAIN_STRIDE};
	}
	workspace_count_opened(count);
	if (fernet_open(ws->fernet, p->key, ws->open, count) != 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		struct slot s = slot_of(h->first + i, size);
		const struct fernet_open_job *job = &ws->open[i];
		bool holes;

		if (job->plaintext_len != CHUNK_TAG_LEN + s.plain_len ||
		    chunk_tag_check(be64_load(job->plaintext), s.index, s.last,
				    &holes) != 0 ||
		    (s.last && !slot_padding_is_zero(
				       &s, ws->tokens + i * CHUNK_TOKEN_LEN)))
			return false;
	}
	return true;
}

int journal_punch_(int fd, uint64_t first, uint64_t count)
{
	uint64_t from = chunk_offset(first), to = chunk_offset(first + count);
	uint8_t zeros[CHUNK_TOKEN_LEN] = {0};
	int err = 0;

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)from, (off_t)(to - from)) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	for (; from < to && !err; from += sizeof zeros)
		err = xio_pwrite(fd, zeros, sizeof zeros, (off_t)from);
	return err;
}

static int read_tokens(struct recovery *rec, const struct journal_patient *p,
		       const struct journal_found *found)
{
	return xio_pread(rec->reader->segment[found->segment].fd, p->ws->tokens,
			 found->head.len,
			 (off_t)(found->offset + JOURNAL_RECORD_HEAD_LEN));
}

/* Into its place, but for what was cut off later. */
static int redo_record(struct recovery *rec, const struct journal_patient *p,
		       const struct logged *l)
{
	const struct journal_head *h = &l->found.head;
	uint64_t count = h->count;
	size_t len = h->len;
	int err;

	if (h->first >= l->limit)
		return 0;
	if (count > l->limit - h->first)
		count = l->limit - h->first;
	if (count == 0)
		return 0;
	if (h->kind == JOURNAL_KIND_HOLES)
		return journal_punch_(p->fd, h->first, count);
	err = read_tokens(rec, p, &l->found);
	if (err)
		return err;
	/* The zeros behind a long last token may be another's place by now. */
	if (len > count * CHUNK_TOKEN_LEN)
		len = (size_t)count * CHUNK_TOKEN_LEN;
	return xio_pwrite(p->fd, p->ws->tokens, len,
			  (off_t)chunk_offset(h->first));
}

/* Where the journal says that it ends, zeros and all. */
static int put_length(const struct journal_patient *p, uint64_t size)
{
	uint64_t end = chunk_backing_len(size);
	uint64_t slot_end = chunk_offset(chunk_last_index(size) + 1);

	if (end > slot_end && ftruncate(p->fd, (off_t)slot_end) < 0)
		return -errno;
	return ftruncate(p->fd, (off_t)end) < 0 ? -errno : 0;
}

/* Does the file end with what this record holds? */
static bool is_tail(const struct journal_head *h)
{
	return h->kind == JOURNAL_KIND_TOKENS && h->count > 0 &&
	       h->size != JOURNAL_SIZE_KEPT &&
	       h->first + h->count - 1 == chunk_last_index(h->size);
}

static void note_size(struct journal_patient *p, const struct journal_head *h,
		      uint64_t *size, bool *ends)
{
	if (h->floor > p->floor)
		p->floor = h->floor;
	if (h->marked)
		p->holes = h->holes;
	/* written anew since: zeros at its end are a program's */
	if (h->size == JOURNAL_SIZE_KEPT && h->count > 0 && p->before > 0 &&
	    chunk_last_index(p->before) - h->first < h->count)
		p->before = 0;
	/* one without chunks tells of what is durable, not of an end */
	if (h->size == JOURNAL_SIZE_KEPT || h->count == 0)
		return;
	if (h->size < p->floor)
		p->floor = h->size;
	if (is_tail(h))
		*ends = true;
	else if (h->size != h->before)
		*ends = false;
	if (h->size > h->before)
		p->before = h->before;
	*size = h->size;
}

/*
 * Leave out the records that are not whole: one whose tokens are not was never
 * durable, and neither is what follows it. *newest: the latest time of the
 * tokens.
 */
static int take_whole(struct recovery *rec, const struct journal_patient *p,
		      struct file_log *fl, uint64_t *newest)
{
	size_t i;

	for (i = 0; i < fl->count; i++) {
		const struct journal_head *h = &fl->log[i].found.head;
		int err;

		if (h->kind != JOURNAL_KIND_TOKENS || h->count == 0)
			continue;
		err = read_tokens(rec, p, &fl->log[i].found);
		if (err)
			return err;
		if (!tokens_are_good(p, h))
			break;
		for (uint64_t n = 0; n < h->count; n++) {
			uint64_t sealed = fernet_timestamp(p->ws->tokens +
							   n * CHUNK_TOKEN_LEN);

			*newest = sealed > *newest ? sealed : *newest;
		}
	}
	fl->torn |= i < fl->count;
	fl->count = i;
	return 0;
}

/*
 * A chunk that was cut off may have grown again since, in place: what older
 * records say of it must not come over that. What became the last is in the
 * record of the cut.
 */
static void set_limits(struct logged *log, size_t count)
{
	uint64_t limit = UINT64_MAX;

	for (size_t i = count; i-- > 0;) {
		const struct journal_head *h = &log[i].found.head;

		log[i].limit = limit;
		if (h->size != JOURNAL_SIZE_KEPT && h->count > 0 &&
		    h->size < h->before && chunk_last_index(h->size) < limit)
			limit = chunk_last_index(h->size);
	}
}

/* What all of them together say of the file. */
static void note_all(struct journal_patient *p, const struct file_log *fl,
		     uint64_t *size, bool *ends)
{
	*ends = false;
	for (size_t i = 0; i < fl->count; i++)
		note_size(p, &fl->log[i].found.head, size, ends);
}

static int redo_all(struct recovery *rec, const struct journal_patient *p,
		    const struct file_log *fl, bool ends, uint64_t size)
{
	int err = 0;

	for (size_t i = 0; i < fl->count && !err; i++)
		err = redo_record(rec, p, &fl->log[i]);
	return !err && ends ? put_length(p, size) : err;
}

/*
 * Put the records in place. *size: where the journal says that it ends, if
 * *ends. *left: the file is newer, and stays as it is.
 */
static int redo(struct recovery *rec, struct journal_patient *p,
		struct file_log *fl, uint64_t *size, bool *ends, bool *left)
{
	uint64_t newest = 0;
	int err = take_whole(rec, p, fl, &newest);

	if (err)
		return err;
	set_limits(fl->log, fl->count);
	note_all(p, fl, size, ends);
	if (rec->doubtful || fl->torn)
		err = journal_is_newer_(rec, p, fl, newest, *ends, *size, left);
	if (err || *left || rec->out->look_only)
		return err;
	return redo_all(rec, p, fl, *ends, *size);
}

/* Go on behind what an earlier recovery wrote there. */
static int go_on_mending(struct recovery *rec,
			 const struct journal_segment_file *s)
{
	char name[JOURNAL_NAME_LEN + sizeof JOURNAL_KEPT_SUFFIX];
	int fd;

	journal_segment_name_(rec->reader->session->id, MEND_SEGMENT, name);
	fd = openat(rec->reader->dir_fd, name,
		    O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		memcpy(name + JOURNAL_NAME_LEN, JOURNAL_KEPT_SUFFIX,
		       sizeof JOURNAL_KEPT_SUFFIX);
		fd = openat(rec->reader->dir_fd, name,
			    O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	}
	if (fd < 0)
		return -errno;
	rec->mend_fd = fd;
	rec->mend_ids = s->ids;
	rec->mend_end = s->end;
	return 0;
}

static int begin_mending(struct recovery *rec, uint64_t number)
{
	struct journal_reader *r = rec->reader;
	char name[JOURNAL_NAME_LEN + 1];
	uint8_t head[JOURNAL_HEAD_LEN];
	CLEANUP_FD int fd = -1;
	int err;

	journal_segment_name_(r->session->id, MEND_SEGMENT, name);
	(void)!unlinkat(r->dir_fd, name, 0);
	fd = openat(r->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return -errno;
	err = vtree_own(rec->vault, fd);
	rec->mend_ids = (struct journal_ids){.number = number, .key = r->key};
	memcpy(rec->mend_ids.vault_id, rec->vault->id, VAULT_ID_LEN);
	memcpy(rec->mend_ids.session, r->session->id, JOURNAL_ID_LEN);
	journal_head_build(&rec->mend_ids, head);
	if (!err)
		err = xio_pwrite(fd, head, sizeof head, 0);
	if (!err && fsync(r->dir_fd) < 0)
		err = -errno;
	if (err)
		return err;
	rec->mend_fd = TAKE_FD(fd);
	rec->mend_end = JOURNAL_HEAD_LEN;
	return 0;
}

/* Where mending writes first: the newest segment. */
static int open_mend(struct recovery *rec)
{
	const struct journal_reader *r = rec->reader;
	uint64_t number = 0;

	for (unsigned i = 0; i < r->count; i++) {
		if (r->segment[i].n == MEND_SEGMENT)
			return go_on_mending(rec, &r->segment[i]);
		if (r->segment[i].ids.number > number)
			number = r->segment[i].ids.number;
	}
	return begin_mending(rec, number + 1);
}

/* The new end, durable elsewhere before it is put over what was there. */
static int log_end(struct recovery *rec, const struct journal_patient *p,
		   uint64_t size, size_t len)
{
	struct journal_head h = {.kind = JOURNAL_KIND_TOKENS,
				 .size = size,
				 .before = size,
				 .first = chunk_last_index(size),
				 .count = 1,
				 .len = (uint32_t)len};
	uint8_t head[JOURNAL_RECORD_HEAD_LEN];
	int err = rec->mend_fd < 0 ? open_mend(rec) : 0;

	if (err)
		return err;
	h.ino = p->ino;
	memcpy(h.file_id, p->file_id, sizeof h.file_id);
	journal_record_build(&rec->mend_ids, &h, rec->mend_end, p->ws->tokens,
			     head);
	err = xio_pwrite(rec->mend_fd, head, sizeof head, (off_t)rec->mend_end);
	if (!err)
		err = xio_pwrite(rec->mend_fd, p->ws->tokens, len,
				 (off_t)(rec->mend_end + sizeof head));
	if (!err && fdatasync(rec->mend_fd) < 0)
		err = -errno;
	if (!err)
		rec->mend_end += sizeof head + len;
	return err;
}

/* The chunk that is the last now, in ws->tail. */
static int load_last(const struct journal_patient *p, uint64_t index)
{
	struct workspace *ws = p->ws;
	struct fernet_open_job job;
	size_t len = CHUNK_TOKEN_LEN;
	struct stat st;
	int err = fstat(p->fd, &st) < 0 ? -errno : 0;

	if (!err && (uint64_t)st.st_size - chunk_offset(index) < len)
		len = (size_t)((uint64_t)st.st_size - chunk_offset(index));
	if (!err)
		err = xio_pread(p->fd, ws->tokens, len,
				(off_t)chunk_offset(index));
	if (err)
		return err;
	/* of any length: a former end that is one again */
	for (; len >= FERNET_TOKEN_LEN(CHUNK_TAG_LEN);
	     len -= len > 16 ? 1 : 0) {
		if ((len - FERNET_OVERHEAD) % 16)
			continue;
		job = (struct fernet_open_job){.token = ws->tokens,
					       .token_len = len,
					       .plaintext = ws->plain};
		if (fernet_open(ws->fernet, p->key, &job, 1) == 0) {
			memset(ws->tail, 0, CHUNK_SIZE);
			memcpy(ws->tail, ws->plain + CHUNK_TAG_LEN,
			       job.plaintext_len - CHUNK_TAG_LEN);
			return 0;
		}
	}
	return -EBADMSG;
}

/* Times stay: nothing was written that a program has not written. */
static int put_end(struct recovery *rec, const struct journal_patient *p,
		   uint64_t size, bool holes)
{
	struct workspace *ws = p->ws;
	uint64_t last = chunk_last_index(size);
	size_t len;
	int err = 0;

	if (size > 0)
		err = load_last(p, last);
	if (err)
		return err;
	workspace_stage(ws, 0, chunk_tag(last, true, holes && last > 0),
			ws->tail, chunk_last_len(size));
	err = workspace_seal(ws, p->key, 1, true, &len);
	if (!err)
		err = log_end(rec, p, size, len);
	if (!err)
		err = xio_pwrite(p->fd, ws->tokens, len,
				 (off_t)chunk_offset(last));
	if (!err && ftruncate(p->fd, (off_t)chunk_backing_len(size)) < 0)
		err = -errno;
	return err;
}

/* Where what does not stay begins, if the file is to be so long. */
static uint64_t lost_from(uint64_t size)
{
	return chunk_offset(size ? chunk_last_index(size) + 1 : 0);
}

static int mend(struct recovery *rec, struct journal_patient *p)
{
	enum journal_state state = JOURNAL_SOUND;
	uint64_t size = 0;
	bool holes = false;
	int err = journal_examine_(p, &state, &size, &holes);

	if (err || state == JOURNAL_SOUND)
		return err;
	if (state == JOURNAL_STRANGE) {
		journal_tell_(rec, p, JOURNAL_BEYOND, 0);
		return 0;
	}
	if (!rec->out->look_only)
		err = journal_keep_tail_(rec, p, lost_from(size));
	/* what cannot be kept is not cut off, either */
	if (err == -ENOSPC || err == -EDQUOT) {
		log_warning("%s/%s: its end is torn, and stays so: there is no "
			    "room to keep what would be cut off",
			    rec->vault->path, p->path);
		journal_tell_(rec, p, JOURNAL_BEYOND, 0);
		return 0;
	}
	if (!err && !rec->out->look_only)
		err = put_end(rec, p, size, holes);
	if (!err)
		journal_tell_(rec, p, JOURNAL_MENDED, size);
	return err;
}

/* Its records, if they are; *mended: nothing more is to be done. */
static int treat_records(struct recovery *rec, struct journal_patient *p,
			 struct file_log *fl, bool *mended)
{
	uint64_t size = 0;
	bool ends = false, left = false;
	int err = redo(rec, p, fl, &size, &ends, &left);

	if (err)
		return err;
	*mended = left || rec->out->look_only || (ends && !p->wholly);
	fl->done = !left;
	if (!left)
		journal_tell_(rec, p, JOURNAL_REDONE, size);
	else if (!fl->path)
		fl->path = strdup(p->path);
	fl->met |= left;
	return 0;
}

static int treat(struct recovery *rec, struct journal_patient *p,
		 const struct stat *st)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
	struct file_log *fl;
	enum journal_claim claim = journal_claim_(rec, p, st, &fl);
	bool mended = false;
	int err = 0;

	/* another's records, or the same file by another name */
	if (claim == JOURNAL_DOUBT || (fl && fl->done))
		return 0;
	/* what it lacks since is not for want of that session */
	if (rec->again && !fl && !journal_is_untouched_(rec, st))
		return 0;
	p->records = claim == JOURNAL_HOME;
	p->ino = fl ? fl->ino : st->st_ino;
	if (fl)
		err = treat_records(rec, p, fl, &mended);
	if (!err && !mended)
		err = mend(rec, p);
	if (err && fl)
		fl->done = false;
	if (err || rec->out->look_only)
		return err;
	(void)!futimens(p->fd, times);
	return fsync(p->fd) < 0 ? -errno : 0;
}

int journal_treat_(struct recovery *rec, int dirfd, const char *entry,
		   const char *path, int fd)
{
	struct journal_patient p = {.vault = rec->vault,
				    .ws = rec->ws,
				    .fd = fd,
				    .path = path,
				    .key = rec->key,
				    .wholly = rec->wholly};
	uint8_t bytes[HEADER_LEN];
	struct header h;
	struct stat st;
	int err;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	err = xio_pread(fd, bytes, sizeof bytes, 0);
	if (!err)
		err = header_parse(bytes, &rec->vault->keys->file_keys, &h);
	if (err == -EBADMSG || err == -ENODATA)
		return journal_treat_nothing_(rec, &p, dirfd, entry, &st);
	if (err)
		return err == -ENOKEY ? 0 : err;
	memcpy(p.file_id, h.file_id, sizeof p.file_id);
	fernet_key_init(p.key, h.file_key);
	sodium_memzero(&h, sizeof h);
	p.made = journal_is_made_(rec, fd, bytes);
	err = treat(rec, &p, &st);
	sodium_memzero(p.key, sizeof *p.key);
	return err;
}
