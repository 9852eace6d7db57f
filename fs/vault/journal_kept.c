/*
 * What recovery does not destroy: ends that it cuts off, and records that it
 * could not bring to their place.
 */
#include "journal_recover.h"

#include "bytes.h"
#include "log.h"
#include "rekey.h"
#include "seen.h"
#include "text.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { COPY_BYTES = 64 << 10, TAIL_NAME_ROOM = 2 * FILE_ID_LEN + 40 };

/* What was cut off a file is called by its id, inode, and the session's
 * beginning. */
static int name_tail(const struct recovery *rec,
		     const struct journal_patient *p, bool grown,
		     char name[static TAIL_NAME_ROOM])
{
	char id[2 * FILE_ID_LEN + 1], session[9];
	struct stat st;

	if (fstat(p->fd, &st) < 0)
		return -errno;
	hex_encode(p->file_id, FILE_ID_LEN, id);
	hex_encode(rec->reader->session->id, 4, session);
	snprintf(name, TAIL_NAME_ROOM, "%s.%" PRIx64 ".%s%s", id,
		 (uint64_t)st.st_ino, session, grown ? ".grown" : "");
	return 0;
}

static int open_kept_dir(const struct recovery *rec, int *out)
{
	int err, fd;

	if (mkdirat(rec->reader->dir_fd, JOURNAL_KEPT_DIR, 0700) < 0 &&
	    errno != EEXIST)
		return -errno;
	fd = openat(rec->reader->dir_fd, JOURNAL_KEPT_DIR,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = vtree_own(rec->vault, fd);
	if (!err && fsync(rec->reader->dir_fd) < 0)
		err = -errno;
	if (err)
		close(fd);
	else
		*out = fd;
	return err;
}

/* Where something is from offset on that is not zero. -ENXIO: nowhere. */
static int find_bytes(int fd, off_t offset, uint8_t *buf, off_t *at,
		      size_t *len)
{
	for (;;) {
		off_t data = lseek(fd, offset, SEEK_DATA);
		ssize_t n;

		if (data < 0 && errno == EINVAL)
			data = offset;
		if (data < 0)
			return -errno;
		n = pread(fd, buf, COPY_BYTES, data);
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENXIO;
		if (!bytes_all_zero(buf, (size_t)n)) {
			*at = data;
			*len = (size_t)n;
			return 0;
		}
		offset = data + n;
	}
}

/* What lies from offset on, in its place. */
static int copy_tail(int from, int to, off_t offset)
{
	CLEANUP_FREE uint8_t *buf = malloc(COPY_BYTES);
	size_t len = 0;
	int err = buf ? 0 : -ENOMEM;

	while (!err) {
		err = find_bytes(from, offset, buf, &offset, &len);
		if (!err)
			err = xio_pwrite(to, buf, len, offset);
		offset += (off_t)len;
	}
	return err == -ENXIO ? 0 : err;
}

static bool has_tail(int fd, off_t offset, int *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(COPY_BYTES);
	off_t at;
	size_t len;

	*err = buf ? find_bytes(fd, offset, buf, &at, &len) : -ENOMEM;
	if (*err == 0)
		return true;
	if (*err == -ENXIO)
		*err = 0;
	return false;
}

/* With its header, and as long as it was: a file that lacks the rest. */
static int fill_tail(const struct recovery *rec,
		     const struct journal_patient *p, off_t offset, int fd)
{
	uint8_t header[HEADER_LEN];
	struct stat st;
	int err = vtree_own(rec->vault, fd);

	if (!err && fstat(p->fd, &st) < 0)
		err = -errno;
	if (!err && offset >= HEADER_LEN)
		err = xio_pread(p->fd, header, sizeof header, 0);
	if (!err && offset >= HEADER_LEN)
		err = xio_pwrite(fd, header, sizeof header, 0);
	if (!err && ftruncate(fd, st.st_size) < 0)
		err = -errno;
	if (!err)
		err = copy_tail(p->fd, fd, offset);
	return !err && fsync(fd) < 0 ? -errno : err;
}

static int put_tail(const struct recovery *rec, const struct journal_patient *p,
		    off_t offset, int dir_fd, const char *name)
{
	CLEANUP_FD int fd = -1;
	char temp[sizeof NAME_TEMP_PREFIX + TAIL_NAME_ROOM];
	int err;

	/* always the same, so that an interrupted one is in nobody's way */
	snprintf(temp, sizeof temp, NAME_TEMP_PREFIX "%s", name);
	(void)!unlinkat(dir_fd, temp, 0);
	fd = openat(dir_fd, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = fill_tail(rec, p, offset, fd);
	if (!err && renameat(dir_fd, temp, dir_fd, name) < 0)
		err = -errno;
	if (!err && fsync(dir_fd) < 0)
		err = -errno;
	if (err)
		(void)!unlinkat(dir_fd, temp, 0);
	return err;
}

int journal_keep_tail_(struct recovery *rec, const struct journal_patient *p,
		       uint64_t offset, bool grown)
{
	CLEANUP_FD int fd = -1;
	char name[TAIL_NAME_ROOM];
	int err;

	if (!has_tail(p->fd, (off_t)offset, &err))
		return err;
	err = open_kept_dir(rec, &fd);
	if (!err)
		err = name_tail(rec, p, grown, name);
	if (err)
		return err;
	/* an earlier recovery, that was interrupted, saw more of it */
	if (faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	err = put_tail(rec, p, (off_t)offset, fd, name);
	if (!err)
		log_notice("%s/%s: what is cut off it is kept as "
			   ".frondfs/journal/" JOURNAL_KEPT_DIR "/%s",
			   rec->vault->path, p->path, name);
	return err;
}

bool journal_is_left_(const struct recovery *rec, const struct file_log *fl)
{
	/* of a file that is nowhere they are of no use */
	return !fl->done && (fl->met || rec->skipped > 0);
}

static int rename_segments(const struct recovery *rec)
{
	char name[JOURNAL_NAME_LEN + 1];
	char kept[JOURNAL_NAME_LEN + sizeof JOURNAL_KEPT_SUFFIX];
	int dir_fd = rec->reader->dir_fd;

	for (unsigned n = 0; n < JOURNAL_SEGMENT_NAMES; n++) {
		journal_segment_name_(rec->reader->session->id, n, name);
		/* no more than what is there is to be expected from now on */
		if (n == JOURNAL_RESERVE && !rec->exact && !rec->again)
			(void)!unlinkat(dir_fd, name, 0);
		memcpy(kept, name, JOURNAL_NAME_LEN);
		memcpy(kept + JOURNAL_NAME_LEN, JOURNAL_KEPT_SUFFIX,
		       sizeof JOURNAL_KEPT_SUFFIX);
		if (renameat(dir_fd, name, dir_fd, kept) < 0 && errno != ENOENT)
			return -errno;
	}
	return fsync(dir_fd) < 0 ? -errno : 0;
}

/* Of all files; more than fit, or nobody knows which. */
static size_t want_all(uint8_t (*ids)[FILE_ID_LEN])
{
	memset(ids[0], 0xff, FILE_ID_LEN);
	return 1;
}

static size_t list_left(const struct recovery *rec, uint8_t (*ids)[FILE_ID_LEN])
{
	size_t count = 0;

	if (rec->reader->broken)
		return want_all(ids);
	for (size_t i = 0; i < rec->file_count; i++) {
		const struct file_log *fl = &rec->files[i];

		if (!journal_is_left_(rec, fl))
			continue;
		if (count == JOURNAL_KEPT_MAX)
			return want_all(ids);
		memcpy(ids[count++], fl->log->found.head.file_id, FILE_ID_LEN);
	}
	return count;
}

static bool has_wanted(const struct journal_reader *r, const uint8_t *id)
{
	for (size_t i = 0; i < r->wanted_count; i++)
		if (memcmp(r->wanted[i], id, FILE_ID_LEN) == 0)
			return true;
	return false;
}

bool journal_wants_all_(const struct journal_reader *r)
{
	uint8_t all[1][FILE_ID_LEN];

	(void)want_all(all);
	return has_wanted(r, all[0]);
}

bool journal_is_wanted_(const struct journal_reader *r,
			const uint8_t id[static FILE_ID_LEN])
{
	return !r->wanted || journal_wants_all_(r) || has_wanted(r, id);
}

/* What is written from now on has another time, which is counted in seconds. */
static void wait_for_next_second(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	now = (struct timespec){.tv_nsec = 999999999 - now.tv_nsec};
	nanosleep(&now, NULL);
}

int journal_put_by_(struct recovery *rec)
{
	CLEANUP_FREE uint8_t(*ids)[FILE_ID_LEN] =
		malloc(JOURNAL_KEPT_MAX * sizeof *ids);
	struct journal_session *s = rec->reader->session;
	struct timespec now;
	size_t count;
	int err;

	if (!ids)
		return -ENOMEM;
	count = list_left(rec, ids);
	clock_gettime(CLOCK_REALTIME, &now);
	if (!rec->again) {
		s->kept_s = (uint64_t)now.tv_sec;
		wait_for_next_second();
	}
	/* first: a kept one's segments are found by either name */
	err = journal_kept_write_(rec->vault, rec->reader->dir_fd, s,
				  (const uint8_t(*)[FILE_ID_LEN])ids, count);
	/* only ends to be looked at: they need none */
	if (!err && count > 0)
		err = rename_segments(rec);
	return err;
}

void journal_drop_reserve_(const struct journal_reader *r)
{
	char name[JOURNAL_NAME_LEN + 1];
	CLEANUP_FD int fd = -1;

	journal_segment_name_(r->session->id, JOURNAL_RESERVE, name);
	fd = openat(r->dir_fd, name,
		    O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || ftruncate(fd, JOURNAL_HEAD_LEN) < 0)
		(void)!unlinkat(r->dir_fd, name, 0);
}

static int remove_name(int dir_fd, const char *name)
{
	if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	return 0;
}

/* As what a kept one is known by when it is over; its session was long before.
 */
static void over_id(const uint8_t *id, uint8_t over[static SEEN_SESSION_LEN])
{
	for (size_t i = 0; i < SEEN_SESSION_LEN; i++)
		over[i] = (uint8_t)~id[i];
}

bool journal_kept_is_over_(struct vault *vault, const struct journal_session *s)
{
	uint8_t over[SEEN_SESSION_LEN];

	over_id(s->id, over);
	return vault->remembers &&
	       seen_session(vault, over, UINT64_MAX) == -ESTALE;
}

/* Of a kept one: what tells of them goes last. */
static int remove_kept(int dir_fd, const struct journal_session *s)
{
	char name[JOURNAL_NAME_LEN + sizeof JOURNAL_KEPT_SUFFIX];
	char token[JOURNAL_KEPT_LEN + 1];
	int err = 0;

	for (unsigned n = JOURNAL_SEGMENT_NAMES; n-- > 0 && !err;) {
		journal_segment_name_(s->id, n, name);
		memcpy(name + JOURNAL_NAME_LEN, JOURNAL_KEPT_SUFFIX,
		       sizeof JOURNAL_KEPT_SUFFIX);
		err = remove_name(dir_fd, name);
		/* it says that the others are there, after a power failure,
		 * too */
		if (!err && n == JOURNAL_RESERVE && fsync(dir_fd) < 0)
			err = -errno;
	}
	if (!err && fsync(dir_fd) < 0)
		err = -errno;
	journal_kept_name_(s->id, token);
	return err ? err : remove_name(dir_fd, token);
}

int journal_remove_kept_(struct vault *vault, const char *name)
{
	CLEANUP_FREE uint8_t(*ids)[FILE_ID_LEN] = NULL;
	struct journal_session s;
	CLEANUP_FD int fd = -1;
	size_t count;
	int err = rekey_open_journal(vault, false, &fd);

	if (!err)
		err = journal_kept_read_(vault, fd, name, &s, &ids, &count);
	return err ? err : remove_kept(fd, &s);
}

/*
 * As long as the session is there, all is done again: what is left of its
 * segments are the newest then, which may come over anything. Without it they
 * would be somebody else's rests, and what they hold be lost.
 */
static int remove_segments(const struct recovery *rec)
{
	const struct journal_reader *r = rec->reader;
	char name[JOURNAL_NAME_LEN + 1];
	int err;

	journal_segment_name_(r->session->id, JOURNAL_RESERVE, name);
	err = remove_name(r->dir_fd, name);
	for (unsigned i = 0; i < r->count && !err; i++) {
		journal_segment_name_(r->session->id, r->segment[i].n, name);
		err = remove_name(r->dir_fd, name);
		if (!err && fsync(r->dir_fd) < 0)
			err = -errno;
	}
	if (!err)
		err = journal_remove_own_(r->dir_fd, r->session->id);
	return !err && fsync(r->dir_fd) < 0 ? -errno : err;
}

int journal_drop_session_(struct recovery *rec, bool kept)
{
	const struct journal_session *s = rec->reader->session;
	uint8_t over[SEEN_SESSION_LEN];
	int dir_fd = rec->reader->dir_fd, err = 0;

	if (!kept)
		err = remove_kept(dir_fd, s);
	/* what is kept has another name by now */
	if (!err)
		err = remove_segments(rec);
	if (!err && !rec->again)
		err = remove_name(dir_fd, JOURNAL_SESSION_FILE);
	if (!err && fsync(dir_fd) < 0)
		err = -errno;
	if (err || !rec->vault->remembers)
		return err;
	(void)!seen_session_end(rec->vault, s->id, s->start_s);
	if (rec->again && !kept) {
		over_id(s->id, over);
		(void)!seen_session_end(rec->vault, over, s->start_s);
	}
	return err;
}
