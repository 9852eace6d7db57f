/*
 * Files of another vault, read with a key that was granted. Their owner's
 * mount knows nothing of this reader: what is read may be half written.
 */
#include "vfile_internal.h"

#include "bytes.h"
#include "xio.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Is it the file that was granted? */
static int adopt_granted(struct vfile *f, const struct vfile_grant *grant)
{
	uint8_t digest[sizeof grant->header_digest], id[FILE_ID_LEN];
	struct stat st;
	bool locked;
	int err;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	err = xio_pread(f->fd, f->header, sizeof f->header, 0);
	if (!err)
		err = header_probe(f->header, id, &locked);
	if (err)
		return err == -ENODATA ? -EBADMSG : err;
	if (memcmp(id, grant->file_id, sizeof id) != 0)
		return -EBADMSG;
	vfile_header_digest(f, digest);
	if (!bytes_all_zero(grant->header_digest, sizeof digest) &&
	    memcmp(digest, grant->header_digest, sizeof digest) != 0)
		return -EKEYREVOKED;
	memcpy(f->id, id, sizeof id);
	fernet_key_init(f->key, grant->key);
	return 0;
}

/* Learn the length; where it matters, see that the key opens the end. */
static int look_at_end(struct vfile *f, bool known)
{
	struct workspace *ws = workspace_get();
	uint8_t plain[CHUNK_SIZE];
	unsigned tries = 0;
	struct range r;
	int err;

	if (!ws)
		return -ENOMEM;
	do {
		err = vfile_begin_(f, &r, 0, RANGE_END, false);
		if (!err) {
			/* Of an empty file nothing is ever read: a cut to its
			 * length has to be noticed now. */
			if (!known || f->size == 0)
				err = vfile_load_chunk_(
					f, ws, chunk_last_index(f->size),
					plain);
			vfile_end_(f, &r);
		}
		if (!err)
			break;
		err = vfile_again_(f, &tries, err);
	} while (!err);
	sodium_memzero(plain, sizeof plain);
	return err;
}

int vfile_open_granted(struct vault *vault, int fd,
		       const struct vfile_grant *grant, struct vfile **out)
{
	bool known = !bytes_all_zero(grant->header_digest,
				     sizeof grant->header_digest);
	struct vfile *f;
	int err = vfile_new_(vault, &f);

	if (err)
		return err;
	f->fd = fd;
	f->granted = f->changing = true;
	err = adopt_granted(f, grant);
	if (!err)
		err = look_at_end(f, known);
	if (err) {
		f->fd = -1;
		vfile_close(f);
		return err;
	}
	*out = f;
	return 0;
}
