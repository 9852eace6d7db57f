#include "granted.h"

#include "sharing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int granted_entry(struct fs *fs, const struct statx *stx, struct inbox_entry *e)
{
	struct inbox *in = sharing_inbox(fs->sharing);

	if (!in || !S_ISREG(stx->stx_mode) || !inbox_has_entries(in))
		return -ENOENT;
	return inbox_entry_of(in, stx, e);
}

/* The sender's backing file as it is now. */
static int stat_content(struct fs *fs, const struct inbox_entry *e,
			struct statx *content)
{
	struct vfile_grant grant = {0};
	CLEANUP_FD int fd = -1;
	int err =
		inbox_open_granted(sharing_inbox(fs->sharing), e, &fd, &grant);

	sodium_memzero(&grant, sizeof grant);
	if (err)
		return err;
	if (statx(fd, "", AT_EMPTY_PATH, FS_STATX_MASK, content) < 0)
		return -errno;
	return S_ISREG(content->stx_mode) ? 0 : -EINVAL;
}

static uint64_t nanoseconds(const struct statx_timestamp *t)
{
	return (uint64_t)t->tv_sec * UINT64_C(1000000000) + t->tv_nsec;
}

/* Odd: never 0, nor 2, which is "not there". */
static uint64_t version_of(const struct statx *content)
{
	const uint64_t what[] = {
		content->stx_dev_major,
		content->stx_dev_minor,
		content->stx_ino,
		content->stx_size,
		nanoseconds(&content->stx_mtime),
		nanoseconds(&content->stx_ctime),
	};
	uint8_t digest[crypto_generichash_BYTES_MIN];
	uint64_t version;

	crypto_generichash(digest, sizeof digest, (const uint8_t *)what,
			   sizeof what, NULL, 0);
	memcpy(&version, digest, sizeof version);
	return version | 1;
}

void granted_look(struct fs *fs, const struct statx *stx,
		  struct granted_look *look)
{
	struct inbox_entry e;

	look->known = !granted_entry(fs, stx, &e);
	look->granted = look->known && e.granted;
	if (!look->granted)
		return;
	look->grant = (struct inode_grant){.version = 2, .stub = *stx};
	if (stat_content(fs, &e, &look->content))
		look->content.stx_mask = 0;
	else
		look->grant.version = version_of(&look->content);
}

static struct timespec time_of(const struct statx_timestamp *t)
{
	return (struct timespec){.tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec};
}

void granted_show(const struct statx *content, struct stat *st)
{
	uint64_t size;

	st->st_mode &= S_IFMT | 0444;
	if (!content->stx_mask)
		return;
	st->st_size = (off_t)content->stx_size;
	if (!chunk_shown_len(content->stx_size, &size))
		st->st_size = (off_t)size;
	st->st_blocks = (blkcnt_t)content->stx_blocks;
	st->st_mtim = time_of(&content->stx_mtime);
	st->st_ctim = time_of(&content->stx_ctime);
}

void granted_content(struct fs *fs, struct inode *i, struct statx *content)
{
	struct inbox_entry e;
	struct vfile *f;
	int err;

	/* who has it open sees that file, whatever its name leads to now */
	if (i->opens > 0 && !file_get(fs, i, false, &f)) {
		err = statx(vfile_fd(f), "", AT_EMPTY_PATH, FS_STATX_MASK,
			    content);
		file_put(fs, i);
	} else {
		err = granted_entry(fs, &i->grant->stub, &e);
		if (!err)
			err = stat_content(fs, &e, content);
	}
	if (err)
		content->stx_mask = 0;
}

static int open_with_key(struct fs *fs, const struct inbox_entry *e,
			 struct vfile **out)
{
	struct inbox *in = sharing_inbox(fs->sharing);
	struct vfile_grant grant = {0};
	uint8_t digest[sizeof grant.header_digest];
	CLEANUP_FD int fd = -1;
	bool first = false;
	int err = inbox_open_granted(in, e, &fd, &grant);

	if (!err) {
		first = sodium_is_zero(grant.header_digest,
				       sizeof grant.header_digest);
		err = vfile_open_granted(fs->vault, fd, &grant, out);
	}
	sodium_memzero(&grant, sizeof grant);
	if (err == -EKEYREVOKED)
		inbox_note_revoked(in, e);
	if (err)
		return err;
	(void)TAKE_FD(fd);
	if (first) {
		/* the key opened its end: this header is the key's */
		vfile_header_digest(*out, digest);
		inbox_note_header(in, e, digest);
	}
	return 0;
}

int granted_open(struct fs *fs, struct inode *i, struct vfile **out)
{
	struct inbox_entry e;
	int err = granted_entry(fs, &i->grant->stub, &e);

	if (err)
		return err;
	return e.error ? e.error : open_with_key(fs, &e, out);
}

int granted_check(struct fs *fs, struct inode *i)
{
	struct inbox_entry e;

	/* a name that was removed leaves those that are reading in peace */
	if (granted_entry(fs, &i->grant->stub, &e))
		return 0;
	return e.error == -EKEYREVOKED || e.error == -EKEYEXPIRED ? e.error : 0;
}

void granted_failed(struct fs *fs, struct inode *i, int err)
{
	struct inbox_entry e;

	if (err == -EKEYREVOKED && !granted_entry(fs, &i->grant->stub, &e))
		inbox_note_revoked(sharing_inbox(fs->sharing), &e);
}

int granted_why_locked(struct fs *fs, int fd)
{
	struct inbox_entry e;
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, FS_STATX_MASK, &stx) < 0 ||
	    granted_entry(fs, &stx, &e))
		return -ENOKEY;
	if (e.error)
		return e.error;
	return e.granted ? -ESTALE : -ENOKEY;
}

int granted_describe(struct fs *fs, const struct inbox_entry *e, char **text)
{
	return inbox_describe(sharing_inbox(fs->sharing), e, text);
}

void granted_before_removal(struct fs *fs, int dirfd, const char *entry,
			    struct granted_removal *r)
{
	struct inbox *in = sharing_inbox(fs->sharing);
	struct inbox_entry e;

	r->known = in && inbox_has_entries(in) &&
		   statx(dirfd, entry, AT_SYMLINK_NOFOLLOW, FS_STATX_MASK,
			 &r->stx) == 0 &&
		   r->stx.stx_nlink <= 1 && !granted_entry(fs, &r->stx, &e);
}

void granted_removed(struct fs *fs, const struct granted_removal *r)
{
	if (r->known)
		inbox_declined(sharing_inbox(fs->sharing), &r->stx);
}
