#include "rekey.h"

#include "bytes.h"
#include "journal_internal.h"
#include "log.h"
#include "name.h"
#include "vdir.h"
#include "vfile_slot.h"
#include "vtree.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int rekey_open_both(int dirfd, const char *entry, int *out)
{
	const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	CLEANUP_FD int path_fd = -1;
	char proc[64];
	struct stat st;
	int fd = openat(dirfd, entry, flags), err;

	if (fd >= 0 || errno != EACCES) {
		err = fd < 0 ? -errno : 0;
		if (!err)
			*out = fd;
		return err;
	}
	path_fd = openat(dirfd, entry, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (path_fd < 0 || fstat(path_fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	err = vdir_chmod(path_fd, (st.st_mode & 07777) | 0600);
	if (err)
		return err;
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", path_fd);
	fd = open(proc, flags & ~O_NOFOLLOW);
	err = fd < 0 ? -errno : 0;
	if (vdir_chmod(path_fd, st.st_mode & 07777) != 0)
		log_warning("a file has kept mode %o",
			    (st.st_mode | 0600) & 07777);
	if (!err)
		*out = fd;
	return err;
}

static bool has_id(int fd, const uint8_t id[static FILE_ID_LEN])
{
	uint8_t header[HEADER_LEN], seen[FILE_ID_LEN];
	struct stat st;
	bool locked;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       xio_pread(fd, header, sizeof header, 0) == 0 &&
	       header_probe(header, seen, &locked) == 0 &&
	       memcmp(seen, id, FILE_ID_LEN) == 0;
}

/* Look at a path below dirfd, never through a symbolic link. */
static int find_by_path(int dirfd, const char *path,
			const struct rekey_record *r, int *out)
{
	CLEANUP_FD int dir = dup(dirfd);
	CLEANUP_FD int fd = -1;
	char name[NAME_BACKING_MAX + 1];
	size_t len = strcspn(path, "/");
	int err;

	if (dir < 0)
		return -errno;
	for (; path[len] == '/'; path += len + 1, len = strcspn(path, "/")) {
		int next;

		if (len == 0 || len >= sizeof name)
			return -ENOENT;
		memcpy(name, path, len);
		name[len] = '\0';
		if (strcmp(name, "..") == 0)
			return -ENOENT;
		err = vdir_open_path(dir, name, &next);
		if (err)
			return err;
		close(dir);
		dir = next;
	}
	if (len == 0 || len >= sizeof name)
		return -ENOENT;
	err = rekey_open_both(dir, path, &fd);
	if (err)
		return err;
	if (!has_id(fd, r->file_id))
		return -ENOENT;
	*out = TAKE_FD(fd);
	return 0;
}

enum state {
	STATE_OTHER,  /* it has had another key since, or before */
	STATE_OLD,    /* nothing of it is new */
	STATE_PARTLY, /* anything may be */
};

static int look_at_state(int fd, const struct rekey_record *r,
			 enum state *state)
{
	uint8_t header[HEADER_LEN];
	int err = xio_pread(fd, header, sizeof header, 0);

	if (err)
		return err;
	*state = STATE_PARTLY;
	if (memcmp(header, r->old_header, sizeof header) == 0)
		*state = STATE_OLD;
	/* A crash can tear even these few bytes. */
	for (size_t i = 0; i < sizeof header; i++)
		if (header[i] != r->old_header[i] &&
		    header[i] != r->new_header[i])
			*state = STATE_OTHER;
	return 0;
}

/*
 * Of the files with the id, the one that needs the redo file most. Others may
 * be copies: of these, one under a name that is none of ours is the likelier.
 */
struct search {
	const struct rekey_record *record;
	int fd;
	unsigned rank; /* of fd; 0: none yet */
};

static void try_file(struct search *s, int dirfd, const char *entry, bool ours)
{
	CLEANUP_FD int fd = openat(
		dirfd, entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	enum state state;
	unsigned rank;
	int both;

	if (fd < 0 || !has_id(fd, s->record->file_id) ||
	    look_at_state(fd, s->record, &state) != 0)
		return;
	rank = 1 + 2 * (unsigned)state + ours;
	if (rank <= s->rank || rekey_open_both(dirfd, entry, &both) != 0)
		return;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = both;
	s->rank = rank;
}

/* Look at every file below a directory. */
static void search_dir(struct search *s, int dirfd, const char *entry,
		       bool ours)
{
	int fd = openat(dirfd, entry,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	CLEANUP_DIR DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(dir))) {
		bool own =
			ours && name_classify(e->d_name) != NAME_KIND_FOREIGN;
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 ||
		    strcmp(e->d_name, "..") == 0 ||
		    strcmp(e->d_name, NAME_VAULT_DIR) == 0 ||
		    fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			search_dir(s, fd, e->d_name, own);
		else if (S_ISREG(st.st_mode))
			try_file(s, fd, e->d_name, own);
	}
}

/* 0, or -ENOENT. */
static int find_by_id(int dirfd, const struct rekey_record *r, int *out)
{
	struct search s = {.record = r, .fd = -1};

	search_dir(&s, dirfd, ".", true);
	if (s.fd < 0)
		return -ENOENT;
	*out = s.fd;
	return 0;
}

/*
 * Chunk index must open under the new key, or be replaced by the redo file's.
 * -EBADMSG: neither is possible.
 */
static int mend_chunk(struct vfile *f, struct vfile *redo, struct workspace *ws,
		      uint64_t index)
{
	struct slot s = slot_of(index, f->size);
	struct slot t = slot_of(index, redo->size);
	uint64_t bad = VFILE_NO_CHUNK;
	int err = vfile_open_whole_run_(f, ws, index, 1, f->size, &bad);

	if (err != -EBADMSG && err != -EAGAIN)
		return err;
	if (index > chunk_last_index(redo->size) || s.last != t.last ||
	    s.plain_len != t.plain_len)
		return -EBADMSG;
	bad = VFILE_NO_CHUNK;
	err = vfile_open_whole_run_(redo, ws, index, 1, redo->size, &bad);
	if (err)
		return err;
	if (ws->chunk[0] == workspace_zeros)
		return -EBADMSG;
	/* holes behind it are claimed again */
	gaps_fini(&f->zeroed);
	return rekey_write_run(f->fd, ws, index, 1, f->size);
}

/*
 * Replace every chunk that does not open under the new key. What does was
 * written before the crash, or by somebody since. -EBADMSG: some are lost.
 */
static int mend(struct vfile *f, struct vfile *redo, struct workspace *ws)
{
	uint64_t end = chunk_last_index(f->size) + 1;
	enum chunk_holes holes;
	bool lost = false;
	size_t count;
	int err = vfile_load_holes_(redo, ws, &holes);

	/* The last says whether there may be holes. */
	if (!err)
		err = mend_chunk(f, redo, ws, end - 1);
	if (!err)
		err = vfile_load_holes_(f, ws, &holes);
	for (uint64_t i = 0; i < end && !err; i += count) {
		uint64_t bad = VFILE_NO_CHUNK;

		if (holes)
			i = rekey_skip_hole(f->fd, i, end - 1);
		count = rekey_batch(i, end);
		err = vfile_open_whole_run_(f, ws, i, count, f->size, &bad);
		if (err != -EBADMSG)
			continue;
		err = 0;
		for (size_t j = 0; j < count && !err; j++) {
			err = mend_chunk(f, redo, ws, i + j);
			if (err == -EBADMSG) {
				lost = true;
				err = 0;
			}
		}
	}
	return !err && lost ? -EBADMSG : err;
}

/* Is every chunk of the redo file good? */
static bool is_whole(struct vfile *redo, struct workspace *ws)
{
	uint64_t end = chunk_last_index(redo->size) + 1;
	enum chunk_holes holes;
	size_t count;
	int err = vfile_load_holes_(redo, ws, &holes);

	for (uint64_t i = 0; i < end && !err; i += count) {
		uint64_t bad = VFILE_NO_CHUNK;

		if (holes)
			i = rekey_skip_hole(redo->fd, i, end - 1);
		count = rekey_batch(i, end);
		err = vfile_open_whole_run_(redo, ws, i, count, redo->size,
					    &bad);
	}
	return !err;
}

/* A redo file, and the file that it is for. */
struct finish {
	struct vault *vault;
	struct workspace *ws;
	struct rekey_record *record;
	struct vfile *redo;
	int fd; /* the file */
	/* ...is shorter, and what it lacks may be in the redo file alone */
	bool is_cut;
};

/* Is the file still as it was when it was sealed anew? */
static bool is_unchanged(const struct finish *n)
{
	uint8_t digest[REKEY_DIGEST_LEN];
	struct stat st;

	return fstat(n->fd, &st) == 0 &&
	       (uint64_t)st.st_size == chunk_backing_len(n->record->size) &&
	       rekey_digest_file(n->fd, n->ws, n->record->size, digest) == 0 &&
	       memcmp(digest, n->record->old_digest, sizeof digest) == 0;
}

/* The header, the chunks, the time. */
static int put_in_place(struct finish *n)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
					  n->record->mtime};
	struct vfile *f = NULL;
	struct stat st;
	uint64_t size;
	int err = xio_pwrite(n->fd, n->record->new_header, HEADER_LEN, 0);

	if (!err && (fsync(n->fd) < 0 || fstat(n->fd, &st) < 0))
		err = -errno;
	if (!err)
		err = chunk_plain_len((uint64_t)st.st_size, &size);
	if (!err)
		err = rekey_view(n->vault, n->fd, n->record->new_header, size,
				 &f);
	if (err)
		return err;
	err = mend(f, n->redo, n->ws);
	n->is_cut = size < n->record->size;
	if (!err && (futimens(n->fd, times) < 0 || fsync(n->fd) < 0))
		err = -errno;
	f->fd = -1; /* the caller's */
	vfile_close(f);
	return err;
}

/* *done: the redo file has served. */
static int finish_found(struct finish *n, bool *done)
{
	enum state state = STATE_OTHER;
	int err = look_at_state(n->fd, n->record, &state);

	/* Whoever wrote it may have been killed before it was durable; what was
	 * there before may need the redo file. */
	if (!err && fsync(n->fd) < 0)
		err = -errno;
	if (err)
		return err;
	if (state == STATE_OTHER) {
		log_notice("a file has got another key since its re-keying was "
			   "interrupted; it stays as it is");
		*done = true;
		return 0;
	}
	if (state == STATE_OLD &&
	    (!is_unchanged(n) || !is_whole(n->redo, n->ws))) {
		log_warning(
			"the re-keying of a file was interrupted before it "
			"began, and cannot begin now: it keeps its old key");
		*done = true;
		return 0;
	}
	err = put_in_place(n);
	if (err)
		return err;
	log_notice("finished an interrupted re-keying");
	*done = true;
	return 0;
}

/* It had no name any more, and what keeps such files has let it go. */
static bool is_orphan(const char *path)
{
	const char dir[] = NAME_VAULT_DIR "/" VAULT_ORPHANS_DIR "/";

	return strncmp(path, dir, sizeof dir - 1) == 0;
}

static int find_and_finish(struct finish *n, bool *done)
{
	int err = find_by_path(n->vault->root_fd, n->record->path, n->record,
			       &n->fd);

	if (err)
		err = find_by_id(n->vault->root_fd, n->record, &n->fd);
	if (err == -ENOENT && is_orphan(n->record->path)) {
		*done = true;
		return 0;
	}
	if (err)
		return err;
	if (n->vault->shared)
		err = vfile_lock_backing_(n->fd, F_WRLCK);
	if (!err)
		err = finish_found(n, done);
	close(n->fd);
	return err;
}

/* *done: it has served, or is nothing; *is_cut: nobody knows. */
static int finish_redo(struct vault *vault, int journal_fd, int redo_fd,
		       bool *done, bool *is_cut)
{
	CLEANUP_FREE struct rekey_record *r = calloc(1, sizeof *r);
	struct finish n = {
		.vault = vault, .ws = workspace_get(), .record = r, .fd = -1};
	CLEANUP_FD int fd = dup(redo_fd);
	int err;

	if (!r || !n.ws)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	err = rekey_read_record(vault, redo_fd, r);
	if (!err)
		err = rekey_view(vault, fd, r->new_header, r->size, &n.redo);
	if (err == -EBADMSG || err == -ENOKEY) {
		/* A crash before the record: the file is untouched. Or one
		 * that no re-keying has written. */
		*done = true;
		return 0;
	}
	if (err)
		return err;
	fd = -1;
	/* Whoever wrote it may have been killed before it was durable; without
	 * it the file is lost from its new header on. */
	if (fsync(redo_fd) < 0 || fsync(journal_fd) < 0)
		err = -errno;
	if (!err)
		err = find_and_finish(&n, done);
	vfile_close(n.redo);
	*is_cut = n.is_cut;
	return err;
}

/* It is not destroyed, but has been seen to. */
static int put_aside(struct vault *vault, int journal_fd, const char *name)
{
	CLEANUP_FD int fd = -1;
	int err;

	if (mkdirat(journal_fd, JOURNAL_KEPT_DIR, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(journal_fd, JOURNAL_KEPT_DIR,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = vtree_own(vault, fd);
	if (!err && renameat(journal_fd, name, fd, name) < 0)
		err = -errno;
	if (!err && fsync(fd) < 0)
		err = -errno;
	if (!err)
		log_warning("%s: a file is shorter than when the change of its "
			    "key was interrupted; what it was to become is "
			    "kept as .frondfs/" REKEY_JOURNAL_DIR
			    "/" JOURNAL_KEPT_DIR "/%s",
			    vault->path, name);
	return err;
}

static int finish_entry(struct vault *vault, int journal_fd, const char *name)
{
	CLEANUP_FD int fd = openat(
		journal_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool done = false, is_cut = false;
	struct stat st;
	int err;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	err = rekey_lock(fd);
	if (err)
		return err == -EAGAIN ? 0 : err;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0)
		return 0;
	err = finish_redo(vault, journal_fd, fd, &done, &is_cut);
	if (done && is_cut)
		return put_aside(vault, journal_fd, name);
	if (done && unlinkat(journal_fd, name, 0) < 0)
		return -errno;
	return err;
}

static int finish_all(struct vault *vault, int journal_fd, DIR *dir)
{
	const struct dirent *e;
	int first_err = 0;

	while ((e = readdir(dir))) {
		int err = 0;

		if (rekey_is_redo(e->d_name))
			err = finish_entry(vault, journal_fd, e->d_name);
		if (err)
			log_error("an interrupted re-keying cannot be finished "
				  "(%s); .frondfs/" REKEY_JOURNAL_DIR
				  "/%s is kept, and needed",
				  err == -ENOENT ? "its file is not to be found"
						 : strerror(-err),
				  e->d_name);
		if (err && err != -ENOENT && !first_err)
			first_err = err;
	}
	return first_err;
}

int vault_rekey_finish(struct vault *vault)
{
	/* A thread that comes second must find everything done. */
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	CLEANUP_FD int journal_fd = -1;
	CLEANUP_DIR DIR *dir = NULL;
	int fd, err = rekey_open_journal(vault, false, &journal_fd);

	if (err)
		return err == -ENOENT ? 0 : err;
	fd = dup(journal_fd);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return err;
	}
	pthread_mutex_lock(&one);
	err = finish_all(vault, journal_fd, dir);
	if (fsync(journal_fd) < 0 && !err)
		err = -errno;
	pthread_mutex_unlock(&one);
	return err;
}
