/*
 * Sealed copies: what "send" puts on its way. A backing file (header.h,
 * chunk.h) whose key token is zero, under a key of its own that is no
 * vault's. It has no holes. Written and read front to back, in batches, with
 * bounded memory. The callbacks must leave the thread's workspace alone.
 */
#ifndef FROND_SEALED_H
#define FROND_SEALED_H

#include "vfile.h"

/*
 * Where bytes come from: exactly the next len bytes, or a negative errno
 * (-ENODATA: they end before).
 */
struct sealed_source {
	int (*read)(void *arg, void *buf, size_t len);
	void *arg;
};

/* Called now and then with the plaintext bytes done; not 0: stop with it. */
struct sealed_progress {
	int (*step)(void *arg, uint64_t done);
	void *arg;
};

/* Where bytes go: all len bytes, or a negative errno. */
struct sealed_sink {
	int (*write)(void *arg, const void *buf, size_t len);
	void *arg;
};

/*
 * Seal size plaintext bytes from a source: header with a zero key token and
 * the file id, then all chunks, chunk_backing_len(size) bytes in all.
 */
MUST_CHECK int sealed_write(const uint8_t file_id[static FILE_ID_LEN],
			    const uint8_t key[static FERNET_KEY_LEN],
			    uint64_t size, const struct sealed_source *from,
			    const struct sealed_sink *to,
			    const struct sealed_progress *progress);
/*
 * Go on with a copy of which header and the chunks before this one, if it is
 * not the first, are there already: chunk_offset(first_chunk) bytes. The
 * source gives the plaintext from first_chunk * CHUNK_SIZE on. -EINVAL: there
 * is no such chunk.
 */
MUST_CHECK int sealed_write_from(const uint8_t file_id[static FILE_ID_LEN],
				 const uint8_t key[static FERNET_KEY_LEN],
				 uint64_t size, uint64_t first_chunk,
				 const struct sealed_source *from,
				 const struct sealed_sink *to,
				 const struct sealed_progress *progress);

/*
 * Verify and open such a copy and write its plaintext into an empty file of
 * the vault. -EBADMSG: some of it is not what was sealed with this key, id
 * and size; what was written so far is then in the file: the caller drops it.
 */
MUST_CHECK int sealed_import(const uint8_t file_id[static FILE_ID_LEN],
			     const uint8_t key[static FERNET_KEY_LEN],
			     uint64_t size, const struct sealed_source *from,
			     struct vfile *to,
			     const struct sealed_progress *progress);

/*
 * A file that is known but not yet to be had: a backing file with this id
 * and a zero key token, sparse, so long that it shows size. It appears whole
 * under *name. vfile_open() says -ENOKEY to it. -EEXIST.
 */
MUST_CHECK int sealed_place(int dirfd, const struct backing_name *name,
			    const uint8_t file_id[static FILE_ID_LEN],
			    const uint8_t dirid[static DIRID_LEN],
			    uint64_t size, mode_t mode,
			    const struct timespec *mtime);
/* Is the file behind fd (open for reading) one, and which? -EBADMSG: no. */
MUST_CHECK int sealed_probe(int fd, uint8_t file_id[static FILE_ID_LEN]);

#endif
