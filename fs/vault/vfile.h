/*
 * Regular files of a vault: a backing file seen as plaintext. One struct
 * vfile stands for one backing file within a process, however often it is
 * opened; its functions may be called from many threads at once. Requests on
 * different chunks run in parallel.
 *
 * In a shared vault every request takes a lock on the backing file and looks
 * at its length anew; otherwise this process is the only writer and what it
 * remembers is so.
 */
#ifndef FROND_VFILE_H
#define FROND_VFILE_H

#include "vdir.h"
#include "workspace.h"

#include <stdbool.h>
#include <sys/uio.h>

struct vfile;

enum { VFILE_IO_MAX = WORKSPACE_IO_MAX };
#define VFILE_NO_CHUNK UINT64_MAX

/*
 * Make an empty file called *name in a directory. It has header and last
 * chunk from the first instant it has its name. Acts under the thread's
 * present fs credentials and umask. -EEXIST; -ENFILE: too many files open.
 */
MUST_CHECK int vfile_create(struct vault *vault, int dirfd,
			    const uint8_t dirid[static DIRID_LEN],
			    const struct backing_name *name, mode_t mode,
			    struct vfile **out);

/*
 * Take over an existing backing file's descriptor, open for reading, or for
 * both when writable. On failure fd is still the caller's. -EBADMSG: header
 * or length are damaged; -ETIME: an empty one, older than what was seen (see
 * vfile_read()); -ENFILE: too many files open; -ENOKEY: its key token is zero,
 * the key is elsewhere (sealed.h).
 */
MUST_CHECK int vfile_open(struct vault *vault, int fd, bool writable,
			  struct vfile **out);
/*
 * The same for what has the id of another file, or may lie anywhere: a copy
 * that a synchronising service made, an orphan. It may be of any age.
 */
MUST_CHECK int vfile_open_unjudged(struct vault *vault, int fd, bool writable,
				   struct vfile **out);

/*
 * The same for a file of another vault whose key was granted: read-only,
 * somebody else writes it at any time, so every request looks at length and
 * header anew and tries again what does not verify because it was being
 * written. -EBADMSG: not the file with this id; -EKEYREVOKED, from here and
 * from vfile_read(): its header has another key token than when it was
 * granted (header_digest: BLAKE2b-256 of the 176 bytes; all zero: not known
 * yet), so the key is no longer its key. A file whose header_digest is not
 * known must open with the key, else -EBADMSG. What replaces the file under
 * its name (editors save that way) is another file: the caller looks for it
 * by its path or id, and opens it anew.
 */
struct vfile_grant {
	uint8_t file_id[FILE_ID_LEN];
	uint8_t key[FERNET_KEY_LEN]; /* secret */
	uint8_t header_digest[32];
};
MUST_CHECK int vfile_open_granted(struct vault *vault, int fd,
				  const struct vfile_grant *grant,
				  struct vfile **out);

/* vfile_create() with an id of the caller's choice. */
MUST_CHECK int vfile_create_as(struct vault *vault, int dirfd,
			       const uint8_t dirid[static DIRID_LEN],
			       const struct backing_name *name, mode_t mode,
			       const uint8_t file_id[static FILE_ID_LEN],
			       struct vfile **out);

/* Closes the descriptor and wipes the key; NULL is fine. */
void vfile_close(struct vfile *f);

/*
 * While a file grows its end may stand without a mark (frondfs-format(5), "The
 * journal"), and where holes are filled chunks may claim too many ("Holes").
 * Whoever may open it anew before vfile_close() has returned calls
 * vfile_settle() first, with nobody else using it, for two that write it do not
 * know of each other; whoever has a choice closes others.
 */
bool vfile_in_flux(const struct vfile *f);
bool vfile_is_settled(struct vfile *f);
void vfile_settle(struct vfile *f);
/* It is about to be closed without: what claims too many goes on to. */
void vfile_leave_claims(struct vfile *f);
/* Bring everything into the backing file, for other readers of it. */
MUST_CHECK int vfile_drain(struct vfile *f);

bool vfile_writable(const struct vfile *f);
/*
 * Replace a descriptor open for reading by one open for both, which it takes.
 * vfile_fd() stays the same number; locks held on the old one are gone.
 */
void vfile_make_writable(struct vfile *f, int fd);
/* The backing file, for fstat, fsync and attributes; stays vfile's own. */
int vfile_fd(const struct vfile *f);
const uint8_t *vfile_id(const struct vfile *f);
/* When its key was sealed, in seconds since 1970: the file is no older. */
uint64_t vfile_born_s(const struct vfile *f);
/* Plaintext length; in a shared vault, as of the last request. */
uint64_t vfile_size(const struct vfile *f);
/*
 * A number that no other state of any file of this process has had: it is
 * new whenever a file is opened or changed. What was read after asking for
 * it is still so while it is the same. Not in a shared vault.
 */
uint64_t vfile_generation(const struct vfile *f);
/* The file's key, to be split; the caller's copy is secret. */
MUST_CHECK int vfile_key(struct vfile *f, uint8_t key[static FERNET_KEY_LEN]);
/* BLAKE2b-256 of the header as it was when the file was opened. */
void vfile_header_digest(const struct vfile *f, uint8_t digest[static 32]);

/*
 * Give the file a new key: everything sealed anew in place, so that hard
 * links stay, id and times too. Nobody else reads or writes it meanwhile. The
 * new bytes are first written whole to .frondfs/journal (as much room again
 * is needed), so that a crash at any instant leaves the old or, after the
 * next vault_rekey_finish(), the new file. On failure the old key stays; errors
 * as for vfile_read(): what has been put back does not become new so.
 * backing_path: where it lies, relative to the backing directory.
 */
MUST_CHECK int vfile_rekey(struct vfile *f, struct workspace *ws,
			   const char *backing_path);
/* Finish what a crash interrupted; before anything else opens files. */
MUST_CHECK int vault_rekey_finish(struct vault *vault);

/*
 * Read up to len bytes (at most VFILE_IO_MAX) at offset. The plaintext stays
 * in ws; iov (WORKSPACE_CHUNKS entries) points at it, *iov_count says how many
 * are used. Returns the bytes, 0 at the end; or -EBADMSG with *bad_chunk the
 * first damaged chunk; or -ETIME with *bad_chunk the first that is older than
 * what this machine has seen there (memory.h): somebody has put it back.
 */
MUST_CHECK ssize_t vfile_read(struct vfile *f, struct workspace *ws,
			      uint64_t offset, size_t len, struct iovec *iov,
			      int *iov_count, uint64_t *bad_chunk);

/*
 * These bytes will be read soon, and what follows them: have the backing file
 * system get them without waiting, in the largest pieces it takes. Each piece
 * is asked for with the chunk that it begins in.
 */
void vfile_will_read(struct vfile *f, uint64_t offset, size_t len);

/*
 * Write len bytes (at most workspace_write_max()) at offset, or with append at
 * what is the end when the write happens. All or an error; -EBADMSG or -ETIME
 * when a damaged or older chunk would have to be merged with (*bad_chunk says
 * which).
 */
struct vfile_write {
	const uint8_t *data;
	size_t len;
	uint64_t offset;
	bool append;
};
MUST_CHECK int vfile_write(struct vfile *f, struct workspace *ws,
			   const struct vfile_write *w, uint64_t *bad_chunk);
/*
 * The same is to be called with w soon, to make the file longer, and cannot
 * yet: seal what it will seal. Nothing else may be done with ws until then,
 * or until workspace_forget_ahead().
 */
void vfile_seal_ahead(struct vfile *f, struct workspace *ws,
		      const struct vfile_write *w);

/* Set the length; what is added reads as zeros. */
MUST_CHECK int vfile_truncate(struct vfile *f, struct workspace *ws,
			      uint64_t size, uint64_t *bad_chunk);

/*
 * fallocate(2): mode 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE with and
 * without KEEP_SIZE; -EOPNOTSUPP for any other.
 */
MUST_CHECK int vfile_allocate(struct vfile *f, struct workspace *ws, int mode,
			      uint64_t offset, uint64_t len,
			      uint64_t *bad_chunk);

/* lseek(2) with SEEK_DATA or SEEK_HOLE; holes count as whole chunks. */
MUST_CHECK int vfile_seek(struct vfile *f, struct workspace *ws,
			  uint64_t offset, int whence, uint64_t *result);

/* What is written so far is durable when this returns 0. */
MUST_CHECK int vfile_sync(struct vfile *f, bool data_only);
/*
 * The same for one of several who have it open, each of whom is told once that
 * something could not be made durable, whoever met that. *told: what this one
 * has been told of, at first what vfile_told() says.
 */
MUST_CHECK int vfile_sync_for(struct vfile *f, bool data_only,
			      _Atomic uint64_t *told);
uint64_t vfile_told(const struct vfile *f);
/* What there is to tell: from one that is closed though handles of it stay, to
 * the one that is opened for them later. */
struct vfile_owed {
	uint64_t failed; /* 0: nothing */
	int why;	 /* a negative errno */
};
struct vfile_owed vfile_owed(const struct vfile *f);
void vfile_owe(struct vfile *f, const struct vfile_owed *owed);

/*
 * Locks on a shared backing file. The lock of requests, flock locks and
 * byte-range locks are open file description locks on ranges of their own
 * (docs/LOCKING.md), so that they never meet one another.
 */
enum { VFILE_LOCK_FLOCK_LEN = 1 };
#define VFILE_LOCK_USER_MAX ((INT64_C(1) << 62) - 1)
#define VFILE_LOCK_FLOCK (INT64_C(1) << 62)
#define VFILE_LOCK_REQUEST ((INT64_C(1) << 62) + 1)

#endif
