/*
 * The new end of a torn file. It goes over the old one, of which bytes may have
 * been durable: so it is durable in a segment of its own before.
 */
#include "journal_recover.h"

#include "ages.h"
#include "memory.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Go on behind what an earlier recovery wrote there. */
static int go_on_mending(struct recovery *rec,
			 const struct journal_segment_file *s)
{
	char name[JOURNAL_NAME_LEN + sizeof JOURNAL_KEPT_SUFFIX];
	int fd;

	journal_segment_name_(rec->reader->session->id, JOURNAL_MEND_SEGMENT,
			      name);
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

	journal_segment_name_(r->session->id, JOURNAL_MEND_SEGMENT, name);
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
		if (r->segment[i].n == JOURNAL_MEND_SEGMENT)
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

/* The chunk that is the last now, in ws->tail, and when it was sealed. */
static int load_last(const struct journal_patient *p, uint64_t index,
		     uint64_t *sealed_s)
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
			len = job.plaintext_len - CHUNK_TAG_LEN;
			memcpy(ws->tail, ws->plain + CHUNK_TAG_LEN,
			       len < CHUNK_SIZE ? len : CHUNK_SIZE);
			*sealed_s = fernet_timestamp(ws->tokens);
			return 0;
		}
	}
	return -EBADMSG;
}

int journal_put_end_(struct recovery *rec, const struct journal_patient *p,
		     uint64_t size, enum chunk_holes holes)
{
	struct workspace *ws = p->ws;
	uint64_t last = chunk_last_index(size), sealed_s = UINT64_MAX;
	struct memory_file *mf;
	bool older;
	size_t len;
	int err = 0;

	if (size > 0)
		err = load_last(p, last, &sealed_s);
	if (err)
		return err;
	workspace_stage(
		ws, 0,
		chunk_tag(last, true, last > 0 ? holes : CHUNK_HOLES_NONE),
		ws->tail, chunk_last_len(size));
	/* what was put back must not look new from now on */
	mf = memory_file_get(p->vault, p->file_id, false);
	older = memory_file_judge(mf, last, 1, &sealed_s) == 0;
	ws->seal_s = older ? sealed_s : vault_now(p->vault);
	err = workspace_seal(ws, p->key, 1, true, &len);
	if (!err)
		err = log_end(rec, p, size, len);
	rec->wrote = true;
	if (!err)
		err = xio_pwrite(p->fd, ws->tokens, len,
				 (off_t)chunk_offset(last));
	if (!err && ftruncate(p->fd, (off_t)chunk_backing_len(size)) < 0)
		err = -errno;
	/* a clock that is behind makes it older than what it was */
	if (!err && !older)
		memory_file_stored(mf, last, AGES_END, ws->sealed_s);
	memory_file_put(p->vault, mf);
	return err;
}
