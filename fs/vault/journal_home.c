/*
 * Which file do records belong to? In the place where they were made its inode
 * number tells; a copy of the vault has others, and what synchronising
 * services and restored backups leave there may have the same id and be newer.
 * Where that cannot be told, the file stays as it is, and the records too.
 */
#include "journal_recover.h"

#include "bytes.h"
#include "xio.h"

#include <errno.h>
#include <string.h>

static int by_file(const void *a, const void *b)
{
	const struct logged *x = a, *y = b;
	const struct journal_head *h = &x->found.head, *g = &y->found.head;
	int order = memcmp(h->file_id, g->file_id, FILE_ID_LEN);

	if (order)
		return order;
	if (h->ino != g->ino)
		return h->ino < g->ino ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool same_file(const struct logged *a, const struct logged *b)
{
	return a->found.head.ino == b->found.head.ino &&
	       memcmp(a->found.head.file_id, b->found.head.file_id,
		      FILE_ID_LEN) == 0;
}

int journal_sort_(struct recovery *rec)
{
	if (rec->count > 1)
		qsort(rec->log, rec->count, sizeof *rec->log, by_file);
	rec->files = calloc(rec->count + 1, sizeof *rec->files);
	rec->inos = calloc(rec->count + 1, sizeof *rec->inos);
	if (!rec->files || !rec->inos)
		return -ENOMEM;
	for (size_t i = 0; i < rec->count; i++) {
		struct file_log *fl = &rec->files[rec->file_count];

		rec->inos[i] = rec->log[i].found.head.ino;
		if (i > 0 && same_file(&rec->log[i - 1], &rec->log[i])) {
			fl[-1].count++;
			continue;
		}
		*fl = (struct file_log){
			.log = &rec->log[i], .count = 1, .ino = rec->inos[i]};
		rec->file_count++;
	}
	qsort(rec->inos, rec->count, sizeof *rec->inos, by_number);
	return 0;
}

void journal_logs_free_(struct recovery *rec)
{
	for (size_t i = 0; i < rec->file_count; i++)
		free(rec->files[i].path);
	free(rec->files);
	free(rec->inos);
	free(rec->rekeyed);
	free(rec->log);
}

/* Those of this id: one, save where a file was copied within the vault. */
static struct file_log *find(const struct recovery *rec,
			     const uint8_t id[static FILE_ID_LEN],
			     size_t *count)
{
	size_t low = 0, high = rec->file_count, end;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const uint8_t *at = rec->files[mid].log->found.head.file_id;

		if (memcmp(at, id, FILE_ID_LEN) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	for (end = low; end < rec->file_count &&
			memcmp(rec->files[end].log->found.head.file_id, id,
			       FILE_ID_LEN) == 0;
	     end++)
		;
	*count = end - low;
	return rec->files + low;
}

void journal_scout_(struct recovery *rec, const uint8_t id[static FILE_ID_LEN],
		    const struct stat *st)
{
	size_t count;
	struct file_log *fl = find(rec, id, &count);

	for (size_t i = 0; i < count; i++) {
		fl[i].with_ino |= !rec->copied && fl[i].ino == st->st_ino;
		if (fl[i].places == 0)
			fl[i].first_ino = st->st_ino;
		/* another name of the same is no other place */
		if (fl[i].places == 0 || fl[i].first_ino != st->st_ino)
			fl[i].places++;
	}
}

static bool is_home(const struct recovery *rec, const struct file_log *fl,
		    size_t namesakes, const struct stat *st)
{
	if (rec->same_tree || fl->with_ino)
		return fl->ino == st->st_ino;
	return namesakes == 1 && fl->places == 1;
}

enum journal_claim journal_claim_(struct recovery *rec,
				  const struct journal_patient *p,
				  const struct stat *st, struct file_log **out)
{
	size_t count;
	struct file_log *fl = find(rec, p->file_id, &count);

	*out = NULL;
	if (count == 0)
		return JOURNAL_NONE;
	for (size_t i = 0; i < count; i++)
		if (is_home(rec, &fl[i], count, st)) {
			*out = &fl[i];
			return JOURNAL_HOME;
		}
	for (size_t i = 0; i < count; i++) {
		fl[i].met = true;
		if (!fl[i].path)
			fl[i].path = strdup(p->path);
	}
	return JOURNAL_DOUBT;
}

void journal_meet_(struct recovery *rec, const struct journal_patient *p,
		   const struct stat *st)
{
	for (size_t i = 0; i < rec->file_count && rec->same_tree; i++) {
		struct file_log *fl = &rec->files[i];

		if (fl->ino != st->st_ino || fl->done)
			continue;
		fl->met = true;
		if (!fl->path)
			fl->path = strdup(p->path);
	}
}

/* Does a chunk stand there that was sealed after newest? */
static int slot_is_newer(const struct journal_patient *p, uint64_t index,
			 uint64_t newest, bool *newer)
{
	struct fernet_open_job job = {.token = p->ws->tokens,
				      .plaintext = p->ws->plain};
	uint64_t offset = chunk_offset(index);
	size_t len = CHUNK_TOKEN_LEN;
	struct stat st;
	int err;

	if (fstat(p->fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < offset + FERNET_OVERHEAD)
		return 0;
	err = xio_pread(p->fd, p->ws->tokens, FERNET_OVERHEAD, (off_t)offset);
	if (err || fernet_timestamp(p->ws->tokens) <= newest)
		return err;
	if ((uint64_t)st.st_size - offset < len)
		len = (size_t)((uint64_t)st.st_size - offset);
	err = xio_pread(p->fd, p->ws->tokens, len, (off_t)offset);
	/* whole or the last one, of any length */
	for (; !err && len >= FERNET_TOKEN_LEN(CHUNK_TAG_LEN); len--) {
		enum chunk_holes holes;
		uint64_t tag;

		if ((len - FERNET_OVERHEAD) % 16)
			continue;
		job.token_len = len;
		if (fernet_open(p->ws->fernet, p->key, &job, 1) != 0 ||
		    job.plaintext_len < CHUNK_TAG_LEN)
			continue;
		tag = be64_load(job.plaintext);
		*newer |= chunk_tag_check(tag, index, false, &holes) == 0 ||
			  chunk_tag_check(tag, index, true, &holes) == 0;
		break;
	}
	return err;
}

static int slots_are_newer(const struct journal_patient *p, uint64_t first,
			   uint64_t end, uint64_t newest, bool *newer)
{
	int err = 0;

	for (uint64_t i = journal_next_data_(p->fd, first, end);
	     i < end && !err && !*newer;
	     i = journal_next_data_(p->fd, i + 1, end))
		err = slot_is_newer(p, i, newest, newer);
	return err;
}

static uint64_t count_slots(const struct stat *st)
{
	if (st->st_size <= CHUNK_AREA_OFFSET)
		return 0;
	return ((uint64_t)st->st_size - CHUNK_AREA_OFFSET + CHUNK_TOKEN_LEN -
		1) /
	       CHUNK_TOKEN_LEN;
}

/* In what a record is about. */
static int record_is_newer(const struct journal_patient *p,
			   const struct logged *l, uint64_t slots,
			   uint64_t newest, bool *newer)
{
	const struct journal_head *h = &l->found.head;
	uint64_t end = h->first + h->count;
	int err;

	/* the session's own: it holds no tokens that they could be newer than
	 */
	if (h->kind == JOURNAL_KIND_FILL)
		return 0;
	if (end > l->limit)
		end = l->limit;
	if (h->kind == JOURNAL_KIND_HOLES && newest < h->before)
		newest = h->before;
	err = slots_are_newer(p, h->first, end < slots ? end : slots, newest,
			      newer);
	/* Not there: it has not come yet, or was cut off since, which leaves a
	 * newer end (a long one reaches into the next place). */
	if (!err && h->first < end && end > slots && slots > 0)
		err = slots_are_newer(p, slots > 1 ? slots - 2 : 0, slots,
				      newest, newer);
	return err;
}

int journal_is_used_(const struct recovery *rec,
		     const struct journal_patient *p, const struct stat *st,
		     bool *used)
{
	uint64_t kept_s = rec->reader->session->kept_s;

	*used = rec->again && st->st_mtim.tv_sec > (int64_t)kept_s;
	if (!rec->again || *used)
		return 0;
	return slots_are_newer(p, 0, count_slots(st), kept_s, used);
}

/*
 * What lies behind the end that the records say does not tell: whoever makes
 * the file longer seals the chunk anew that was the last, which the records of
 * that end hold, and the growth of a session may be there without its record.
 */
int journal_is_newer_(const struct journal_patient *p,
		      const struct file_log *fl, uint64_t newest, bool *newer)
{
	struct stat st;
	uint64_t slots;
	int err = 0;

	*newer = false;
	if (fstat(p->fd, &st) < 0)
		return -errno;
	slots = count_slots(&st);
	for (size_t i = 0; i < fl->count && !err && !*newer; i++)
		err = record_is_newer(p, &fl->log[i], slots, newest, newer);
	return err;
}
