/* What a session that did not end has left is finished. */
#include "journal_recover.h"

#include "log.h"
#include "name.h"
#include "rekey.h"
#include "secret.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* The wall clock may have been set back a little meanwhile. */
enum { MARGIN_S = 120 };

void journal_tell_(struct recovery *rec, const struct journal_patient *p,
		   enum journal_event event, uint64_t size)
{
	static const char *const words[] = {
		[JOURNAL_REDONE] = "what the journal held is in place",
		[JOURNAL_MENDED] = "its end was torn, and is mended",
		[JOURNAL_EMPTIED] = "it had not come to be; it is empty now",
		[JOURNAL_LOST] = "it is gone, and what the journal held of it",
		[JOURNAL_BEYOND] = "it is damaged, and not by the crash",
	};
	struct journal_recovery *r = rec->out;
	struct journal_finding f = {
		.event = event, .path = p->path, .size = size};
	size_t *const counts[] = {&r->redone, &r->mended, &r->emptied, &r->lost,
				  &r->beyond};

	memcpy(f.file_id, p->file_id, sizeof f.file_id);
	++*counts[event];
	if (r->tell)
		r->tell(r->arg, &f);
	else if (p->path && event != JOURNAL_REDONE)
		log_notice("%s/%s: %s", rec->vault->path, p->path,
			   words[event]);
}

static int by_file(const void *a, const void *b)
{
	const struct logged *x = a, *y = b;
	int order = memcmp(x->found.head.file_id, y->found.head.file_id,
			   FILE_ID_LEN);

	if (order)
		return order;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int load_records(struct recovery *rec)
{
	size_t room = 0;
	int got;

	for (;;) {
		if (rec->count == room) {
			struct logged *more;

			room = room ? 2 * room : 1024;
			more = realloc(rec->log, room * sizeof *more);
			if (!more)
				return -ENOMEM;
			rec->log = more;
		}
		got = journal_reader_next_(rec->reader,
					   &rec->log[rec->count].found);
		if (got <= 0)
			break;
		rec->log[rec->count].seq = rec->count;
		rec->log[rec->count].done = false;
		rec->count++;
	}
	if (got == 0 && rec->count > 1)
		qsort(rec->log, rec->count, sizeof *rec->log, by_file);
	return got;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int index_inodes(struct recovery *rec)
{
	rec->inos = malloc((rec->count + 1) * sizeof *rec->inos);
	if (!rec->inos)
		return -ENOMEM;
	for (size_t i = 0; i < rec->count; i++)
		rec->inos[i] = rec->log[i].found.head.ino;
	qsort(rec->inos, rec->count, sizeof *rec->inos, by_number);
	return 0;
}

bool journal_wants_(const struct recovery *rec, const struct stat *st)
{
	uint64_t ino = st->st_ino;

	return rec->moved || st->st_ctim.tv_sec >= rec->since_s ||
	       bsearch(&ino, rec->inos, rec->count, sizeof ino, by_number);
}

struct logged *journal_log_of_(const struct recovery *rec,
			       const uint8_t id[static FILE_ID_LEN],
			       size_t *count)
{
	size_t low = 0, high = rec->count, end;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (memcmp(rec->log[mid].found.head.file_id, id, FILE_ID_LEN) <
		    0)
			low = mid + 1;
		else
			high = mid;
	}
	for (end = low;
	     end < rec->count &&
	     memcmp(rec->log[end].found.head.file_id, id, FILE_ID_LEN) == 0;
	     end++)
		;
	*count = end - low;
	return rec->log + low;
}

/* What is to be redone lies in segments that may not be durable themselves. */
static int sync_segments(const struct recovery *rec)
{
	for (unsigned n = 0; n < rec->reader->count; n++)
		if (fdatasync(rec->reader->segment[n].fd) < 0)
			return -errno;
	return fsync(rec->reader->dir_fd) < 0 ? -errno : 0;
}

/* Where the session's own machine, boot, and mount are no more. */
static int compare_session(struct recovery *rec)
{
	const struct journal_session *s = rec->reader->session;
	struct journal_session now;
	struct stat st;
	int err = journal_session_init_(rec->reader->dir_fd, &now);

	if (!err && fstatat(rec->reader->dir_fd, JOURNAL_SESSION_FILE, &st,
			    AT_SYMLINK_NOFOLLOW) < 0)
		err = -errno;
	if (err)
		return err;
	rec->moved = s->dev != now.dev || s->ino != now.ino;
	rec->wholly = rec->out->wholly || !journal_session_same_place_(s, &now);
	rec->start_s = (int64_t)s->start_s;
	rec->since_s = rec->start_s < st.st_ctim.tv_sec ? rec->start_s
							: st.st_ctim.tv_sec;
	rec->since_s -= MARGIN_S;
	return 0;
}

static void report_lost(struct recovery *rec)
{
	for (size_t i = 0; i < rec->count; i++) {
		struct journal_patient gone = {0};

		if (rec->log[i].done ||
		    (i > 0 && memcmp(rec->log[i].found.head.file_id,
				     rec->log[i - 1].found.head.file_id,
				     FILE_ID_LEN) == 0))
			continue;
		memcpy(gone.file_id, rec->log[i].found.head.file_id,
		       FILE_ID_LEN);
		journal_tell_(rec, &gone, JOURNAL_LOST, 0);
	}
}

/* Everything is as it should be, and durable: the session's marks may go. */
static int end_session(struct recovery *rec)
{
	int fd = rec->reader->dir_fd, err;

	if (syncfs(fd) < 0 || unlinkat(fd, JOURNAL_SESSION_FILE, 0) < 0 ||
	    fsync(fd) < 0)
		return -errno;
	err = journal_remove_segments_(fd);
	return !err && fsync(fd) < 0 ? -errno : err;
}

static int recover(struct recovery *rec)
{
	int err = compare_session(rec);

	if (!err)
		err = load_records(rec);
	if (!err)
		err = index_inodes(rec);
	if (!err && !rec->out->look_only)
		err = sync_segments(rec);
	if (!err)
		err = journal_walk_(rec);
	if (err)
		return err;
	report_lost(rec);
	return rec->out->look_only ? 0 : end_session(rec);
}

/* Nobody can tell what it says: as long as it is there, no other begins. */
static int set_aside(struct vault *vault)
{
	CLEANUP_FD int fd = -1;
	int err = rekey_open_journal(vault, false, &fd);

	if (err)
		return err;
	log_error("%s: .frondfs/journal/" JOURNAL_SESSION_FILE
		  " is damaged; it is kept as " JOURNAL_SESSION_FILE
		  ".damaged, and what it was about stays as it is",
		  vault->path);
	if (renameat(fd, JOURNAL_SESSION_FILE, fd,
		     JOURNAL_SESSION_FILE ".damaged") < 0)
		return -errno;
	return 0;
}

/*
 * A session that ended is forgotten once all is durable; if the machine stopped
 * before, it is as if it had not ended. journal_start() sees to one whose bytes
 * are still in the page cache.
 */
static int look_at_ended(struct vault *vault)
{
	struct journal_session s, now;
	CLEANUP_FD int fd = -1;
	int err = rekey_open_journal(vault, false, &fd);

	if (!err)
		err = journal_session_read_(vault, fd, JOURNAL_ENDED_FILE, &s);
	if (!err)
		err = journal_session_init_(fd, &now);
	if (err)
		return err == -ENOENT || err == -EBADMSG ? 0 : err;
	if (journal_session_same_place_(&s, &now))
		return 0;
	return renameat2(fd, JOURNAL_ENDED_FILE, fd, JOURNAL_SESSION_FILE,
			 RENAME_NOREPLACE) < 0 &&
			       errno != EEXIST
		       ? -errno
		       : 0;
}

int journal_recover(struct vault *vault, struct journal_recovery *r)
{
	struct journal_recovery own = {0};
	struct recovery rec = {.vault = vault, .out = r ? r : &own};
	int err;

	rec.out->crashed = false;
	rec.out->redone = rec.out->mended = rec.out->emptied = 0;
	rec.out->lost = rec.out->beyond = 0;
	if (!vault->exclusive && !rec.out->look_only)
		return -EINVAL;
	err = rec.out->look_only ? 0 : look_at_ended(vault);
	if (err)
		return err;
	err = journal_reader_open(vault, &rec.reader);
	if (err == -ENOENT)
		return 0;
	if (err == -EBADMSG)
		return rec.out->look_only ? err : set_aside(vault);
	if (err)
		return err;
	rec.out->crashed = true;
	rec.mend_fd = -1;
	rec.ws = workspace_get();
	rec.key = secret_alloc(sizeof *rec.key);
	err = rec.ws && rec.key ? recover(&rec) : -ENOMEM;
	if (err)
		log_error("%s: the last session did not end, and cannot be "
			  "finished now: %s",
			  vault->path, strerror(-err));
	if (rec.mend_fd >= 0)
		close(rec.mend_fd);
	secret_free(rec.key);
	journal_reader_close(rec.reader);
	free(rec.inos);
	free(rec.log);
	return err;
}
