/* What a session that did not end has left is finished. */
#include "journal_recover.h"

#include "log.h"
#include "rekey.h"
#include "secret.h"
#include "seen.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif
#ifndef CIFS_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xff534d42
#endif
#ifndef SMB2_SUPER_MAGIC
#define SMB2_SUPER_MAGIC 0xfe534d42
#endif

enum {
	MARGIN_S = 120,	   /* the wall clock may have been set back so far */
	KEY_TOKEN_AT = 40, /* in a header */
	SESSIONS_MAX = 100,
};

void journal_tell_(struct recovery *rec, const struct journal_patient *p,
		   enum journal_event event, uint64_t size)
{
	static const char *const words[] = {
		[JOURNAL_REDONE] = "what the journal held is in place",
		[JOURNAL_MENDED] = "its end was torn, and is mended",
		[JOURNAL_EMPTIED] = "it had not come to be; it is empty now",
		[JOURNAL_LOST] = "it is gone, and what the journal held of it",
		[JOURNAL_BEYOND] = "it is damaged, and not by the crash",
		[JOURNAL_LEFT] = "it may be newer, or another: left alone",
	};
	struct journal_recovery *r = rec->out;
	struct journal_finding f = {
		.event = event, .path = p->path, .size = size};
	size_t *const counts[] = {&r->redone, &r->mended, &r->emptied,
				  &r->lost,   &r->beyond, &r->left};

	memcpy(f.file_id, p->file_id, sizeof f.file_id);
	++*counts[event];
	if (r->tell)
		r->tell(r->arg, &f);
	else if (p->path && event != JOURNAL_REDONE)
		log_notice("%s/%s: %s", rec->vault->path, p->path,
			   words[event]);
}

bool journal_is_fatal_(const struct recovery *rec, int err)
{
	switch (err) {
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		return true;
	case -ENOSPC:
	case -EDQUOT:
		return !rec->out->go_on;
	default:
		return false;
	}
}

/*
 * A segment has its head before it is the session's; that is durable, too, once
 * another has been emptied, which takes a third number.
 */
static bool has_lost_a_head(const struct recovery *rec)
{
	const struct journal_reader *r = rec->reader;
	bool durable = rec->exact;

	for (unsigned i = 0; i < r->count; i++)
		durable |= r->segment[i].n < JOURNAL_MEND_SEGMENT &&
			   r->segment[i].ids.number > JOURNAL_SEGMENTS + 1;
	return r->headless && durable;
}

static int load_records(struct recovery *rec)
{
	size_t room = 0;
	int got;

	for (;;) {
		struct logged *l;

		if (rec->count == room) {
			room = room ? 2 * room : 1024;
			l = realloc(rec->log, room * sizeof *l);
			if (!l)
				return -ENOMEM;
			rec->log = l;
		}
		l = &rec->log[rec->count];
		got = journal_reader_next_(rec->reader, &l->found);
		if (got <= 0)
			break;
		if (!journal_is_wanted_(rec->reader, l->found.head.file_id))
			continue;
		l->seq = rec->count++;
		l->limit = UINT64_MAX;
	}
	/* kept as it is: another machine may read it whole */
	rec->reader->broken |= rec->exact && journal_reader_lacks_(rec->reader);
	rec->reader->broken |= has_lost_a_head(rec);
	/* What is missing may be in place, and newer than what is here. */
	rec->doubtful |= rec->reader->broken || rec->reader->torn;
	return got;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

bool journal_wants_(const struct recovery *rec, const struct stat *st)
{
	uint64_t ino = st->st_ino;

	return !rec->same_tree || st->st_ctim.tv_sec >= rec->since_s ||
	       bsearch(&ino, rec->inos, rec->count, sizeof ino, by_number);
}

bool journal_is_untouched_(const struct recovery *rec, const struct stat *st)
{
	return !rec->again ||
	       st->st_ctim.tv_sec <= (int64_t)rec->reader->session->kept_s;
}

bool journal_is_born_(const struct recovery *rec, int fd, bool unknown)
{
	struct statx stx;

	/* of a copy, it says when that was made */
	if (!rec->same_tree ||
	    statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) < 0 ||
	    !(stx.stx_mask & STATX_BTIME))
		return unknown;
	return stx.stx_btime.tv_sec >= rec->start_s - MARGIN_S;
}

/* Only what is sealed tells: whoever has the backing directory can set all
 * other times, and ends that are mended are ends that are not damaged. */
bool journal_is_made_(const struct recovery *rec, int fd,
		      const uint8_t header[static HEADER_LEN])
{
	int64_t sealed_s = (int64_t)fernet_timestamp(header + KEY_TOKEN_AT);

	return !rec->stale && sealed_s >= rec->start_s - MARGIN_S &&
	       (!rec->again ||
		sealed_s <= (int64_t)rec->reader->session->kept_s + MARGIN_S) &&
	       journal_is_born_(rec, fd, true);
}

/* What is to be redone lies in segments that may not be durable themselves. */
static int sync_segments(const struct recovery *rec)
{
	for (unsigned n = 0; n < rec->reader->count; n++)
		if (fdatasync(rec->reader->segment[n].fd) < 0)
			return -errno;
	return fsync(rec->reader->dir_fd) < 0 ? -errno : 0;
}

/* Is fd on a file system of one of these kinds? unknown: nobody can say. */
static bool is_on(int fd, const uint32_t *kinds, size_t count, bool unknown)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return unknown;
	for (size_t i = 0; i < count; i++)
		if ((uint32_t)fs.f_type == kinds[i])
			return true;
	return false;
}

/* Do files keep their inode numbers there, whatever happens? */
static bool keeps_numbers(int fd)
{
	static const uint32_t kinds[] = {
		EXT4_SUPER_MAGIC,  XFS_SUPER_MAGIC,
		BTRFS_SUPER_MAGIC, TMPFS_MAGIC,
		F2FS_SUPER_MAGIC,  NILFS_SUPER_MAGIC,
		NFS_SUPER_MAGIC,   0x2fc12fc1 /* ZFS */,
		0xca451a4e /* bcachefs */};

	return is_on(fd, kinds, sizeof kinds / sizeof *kinds, false);
}

/* Does nothing but fsync(2) reach the disk, which others have? */
static bool is_far(int fd)
{
	static const uint32_t kinds[] = {FUSE_SUPER_MAGIC, V9FS_MAGIC,
					 CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
					 SMB_SUPER_MAGIC,  AFS_FS_MAGIC};

	return is_on(fd, kinds, sizeof kinds / sizeof *kinds, true);
}

static void find_last(struct recovery *rec, const struct stat *session)
{
	const struct journal_reader *r = rec->reader;
	struct stat st;

	rec->last_s = session->st_mtim.tv_sec;
	for (unsigned i = 0; i < r->count; i++)
		if (r->segment[i].n < JOURNAL_MEND_SEGMENT &&
		    fstat(r->segment[i].fd, &st) == 0 &&
		    st.st_mtim.tv_sec > rec->last_s)
			rec->last_s = st.st_mtim.tv_sec;
}

/* Where the session's own machine, boot, and mount are no more. */
static int compare_session(struct recovery *rec, const char *name)
{
	const struct journal_session *s = rec->reader->session;
	int fd = rec->reader->dir_fd;
	struct journal_session now;
	struct stat st = {0};
	int err = journal_session_init_(fd, &now);

	if (!err && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
	    !rec->reader->guessed)
		err = -errno;
	if (err)
		return err;
	rec->same_tree = s->ino == now.ino && keeps_numbers(fd);
	rec->copied = s->ino != now.ino && !rec->reader->guessed;
	rec->here = rec->same_tree && s->dev == now.dev;
	rec->one_by_one = is_far(fd);
	find_last(rec, &st);
	rec->wholly = rec->out->wholly || !journal_session_same_place_(s, &now);
	/* what was so when it was put by is so */
	rec->exact =
		!rec->wholly || (rec->again && journal_wants_all_(rec->reader));
	rec->start_s = (int64_t)s->start_s;
	rec->stale = rec->out->doubtful || rec->reader->guessed;
	/* a file that is no longer the one that the session wrote was copied,
	 * or put back; it is written anew at checkpoints */
	rec->doubtful = rec->stale || rec->again || !rec->here ||
			st.st_ctim.tv_sec > (int64_t)s->written_s + MARGIN_S;
	rec->since_s = rec->start_s < st.st_ctim.tv_sec ? rec->start_s
							: st.st_ctim.tv_sec;
	rec->since_s -= MARGIN_S;
	return 0;
}

/* Where there are files of a copy, how many are there of each? */
static int scout(struct recovery *rec)
{
	int err = 0;

	rec->scouting = !rec->here && rec->file_count > 0;
	if (rec->scouting)
		err = journal_walk_(rec);
	rec->scouting = false;
	return err;
}

static void report_undone(struct recovery *rec)
{
	for (size_t i = 0; i < rec->file_count; i++) {
		const struct file_log *fl = &rec->files[i];
		struct journal_patient p = {.path = fl->path};

		if (fl->done)
			continue;
		memcpy(p.file_id, fl->log->found.head.file_id, FILE_ID_LEN);
		journal_tell_(rec, &p,
			      journal_is_left_(rec, fl) ? JOURNAL_LEFT
							: JOURNAL_LOST,
			      0);
	}
}

/* Everything is as it should be, and durable: the session's marks may go. */
static int end_session(struct recovery *rec)
{
	bool kept = rec->reader->broken || rec->failed > 0;
	char name[JOURNAL_KEPT_LEN + 1];
	int err = 0;

	for (size_t i = 0; i < rec->file_count; i++)
		kept = kept || journal_is_left_(rec, &rec->files[i]);
	if (syncfs(rec->reader->dir_fd) < 0)
		return -errno;
	if (kept)
		err = journal_put_by_(rec);
	if (!err)
		err = journal_drop_session_(rec, kept);
	if (err || !kept)
		return err;
	journal_kept_name_(rec->reader->session->id, name);
	log_warning("%s: not all that the journal of a mount that ended "
		    "unexpectedly held could be brought to its place; it is "
		    "kept as .frondfs/journal/%s*, and 'frondfs check "
		    "--repair' tries again",
		    rec->vault->path, name);
	return 0;
}

static int recover(struct recovery *rec, const char *name)
{
	int err = compare_session(rec, name);

	if (!err)
		err = load_records(rec);
	if (!err)
		err = journal_sort_(rec);
	if (!err)
		err = rekey_list_pending(rec->vault, &rec->rekeyed,
					 &rec->rekeyed_count);
	rec->rekeyed_unknown = err == -EBUSY;
	if (err == -EBUSY)
		err = 0;
	if (!err && !rec->out->look_only)
		err = sync_segments(rec);
	if (!err)
		err = scout(rec);
	if (!err)
		err = journal_walk_(rec);
	if (err)
		return err;
	report_undone(rec);
	return rec->out->look_only ? 0 : end_session(rec);
}

int journal_recover_one_(struct vault *vault, const char *kept,
			 struct journal_recovery *r)
{
	struct recovery rec = {
		.vault = vault, .out = r, .again = kept, .mend_fd = -1};
	int err = journal_reader_open_(vault, kept, &rec.reader);

	if (err)
		return err;
	r->crashed = true;
	if (!r->look_only)
		journal_drop_reserve_(rec.reader);
	rec.ws = workspace_get();
	rec.key = secret_alloc(sizeof *rec.key);
	err = rec.ws && rec.key ? recover(&rec, rec.reader->file) : -ENOMEM;
	if (rec.mend_fd >= 0)
		close(rec.mend_fd);
	secret_free(rec.key);
	journal_logs_free_(&rec);
	journal_reader_close(rec.reader);
	return err;
}

/* Nobody can tell what it says: as long as it is there, no other begins. */
static int set_aside(struct vault *vault)
{
	CLEANUP_FD int fd = -1;
	int err = rekey_open_journal(vault, false, &fd);

	if (err)
		return err;
	log_error("%s: .frondfs/journal/" JOURNAL_SESSION_FILE
		  " is damaged or missing; it is kept as " JOURNAL_DAMAGED_FILE
		  ", and what it was about stays as it is",
		  vault->path);
	if (renameat(fd, JOURNAL_SESSION_FILE, fd, JOURNAL_DAMAGED_FILE) == 0)
		return 0;
	return errno == ENOENT
		       ? xio_replace_file(fd, JOURNAL_DAMAGED_FILE, "", 0, 0600)
		       : -errno;
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
	/* of one that says nothing, all was in its place */
	if (err)
		return err == -ENOENT || err == -EBADMSG ? 0 : err;
	if (journal_session_same_place_(&s, &now) ||
	    faccessat(fd, JOURNAL_SESSION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	/* nobody else is here: networks know no RENAME_NOREPLACE */
	return renameat(fd, JOURNAL_ENDED_FILE, fd, JOURNAL_SESSION_FILE) < 0
		       ? -errno
		       : 0;
}

static int was_seen(struct vault *vault, int dir_fd, const char *name)
{
	struct journal_session s;
	int err = journal_session_read_(vault, dir_fd, name, &s);

	if (err)
		return err == -ENOENT || err == -EBADMSG || err == -EACCES
			       ? 0
			       : err;
	err = seen_session(vault, s.id, s.start_s);
	return err == -ESTALE || xio_is_shortage(err) ? err : 0;
}

int journal_seen(struct vault *vault)
{
	CLEANUP_FD int fd = -1;
	int err = rekey_open_journal(vault, false, &fd);

	if (err)
		return xio_is_shortage(err) ? err : 0;
	err = was_seen(vault, fd, JOURNAL_SESSION_FILE);
	return err ? err : was_seen(vault, fd, JOURNAL_ENDED_FILE);
}

bool journal_is_unfinished(struct vault *vault)
{
	struct journal_reader *r = NULL;
	int err = journal_reader_open(vault, &r);

	journal_reader_close(r);
	/* who may not look there does not know */
	return err != -ENOENT;
}

bool journal_is_pending(struct vault *vault)
{
	CLEANUP_FD int fd = -1;

	return (rekey_open_journal(vault, false, &fd) == 0 &&
		faccessat(fd, JOURNAL_ENDED_FILE, F_OK, AT_SYMLINK_NOFOLLOW) ==
			0) ||
	       journal_is_unfinished(vault);
}

int journal_forget_ended(struct vault *vault)
{
	struct journal_session s;
	CLEANUP_FD int fd = -1;
	int err = rekey_open_journal(vault, false, &fd);

	if (!err)
		err = journal_session_read_(vault, fd, JOURNAL_ENDED_FILE, &s);
	if (err)
		return err == -ENOENT || err == -EBADMSG ? 0 : err;
	if (syncfs(fd) < 0 || unlinkat(fd, JOURNAL_ENDED_FILE, 0) < 0 ||
	    fsync(fd) < 0)
		return -errno;
	if (vault->remembers)
		(void)!seen_session_end(vault, s.id, s.start_s);
	return 0;
}

/* begun: it is known what it is about. */
static void say_why(const struct vault *vault, int err, bool begun)
{
	if (err == -ESTALE)
		log_error("%s: its journal is of a mount that ended here "
			  "before, or was finished in another copy, and is "
			  "not replayed",
			  vault->path);
	else if (err == -ENOSPC || err == -EDQUOT)
		log_error("%s: what a mount that ended unexpectedly has left "
			  "cannot be finished: there is no room; make some "
			  "where the vault lies ('frondfs check --repair' "
			  "does what needs none), or mount it with -o ro",
			  vault->path);
	else if (!begun && !xio_is_shortage(err))
		log_error("%s: .frondfs/journal/" JOURNAL_SESSION_FILE
			  " or " JOURNAL_ENDED_FILE
			  ", which tells of a mount that ended unexpectedly, "
			  "cannot be read: %s; mount the vault again when it "
			  "can, until then with -o ro, or move that file away: "
			  "files that are torn stay so then",
			  vault->path, strerror(-err));
	else
		log_error("%s: what a mount that ended unexpectedly has left "
			  "cannot be finished now: %s",
			  vault->path, strerror(-err));
}

/*
 * What tells of one may have been put over what told of another, by a
 * synchronising service or from a backup: whatever others have left follows,
 * and is not removed unread. *none: there is nothing more.
 */
static int recover_next(struct vault *vault, struct journal_recovery *r,
			bool *none)
{
	bool crashed = r->crashed;
	int err = r->look_only ? 0 : look_at_ended(vault);

	r->crashed = false;
	if (!err)
		err = journal_recover_one_(vault, NULL, r);
	*none = err && !r->crashed;
	r->crashed |= crashed;
	if (*none && err == -ENOENT)
		return 0;
	if (*none && err == -EBADMSG)
		return r->look_only ? err : set_aside(vault);
	if (err)
		say_why(vault, err, !*none);
	return err;
}

static int recover_all(struct vault *vault, struct journal_recovery *r)
{
	bool none = false;
	int err = 0;

	for (int n = 0; n < SESSIONS_MAX && !err && !none; n++) {
		err = recover_next(vault, r, &none);
		/* as long as it is not finished, it hides the others */
		none |= r->look_only;
	}
	return err;
}

int journal_recover(struct vault *vault, struct journal_recovery *r)
{
	struct journal_recovery own = {0};
	int err = 0;

	r = r ? r : &own;
	r->crashed = false;
	r->redone = r->mended = r->emptied = 0;
	r->lost = r->beyond = r->left = 0;
	if (!vault->exclusive && !r->look_only)
		return -EINVAL;
	if (!r->look_only && vault->remembers && !r->doubtful)
		err = journal_seen(vault);
	if (err)
		say_why(vault, err, false);
	return err ? err : recover_all(vault, r);
}
