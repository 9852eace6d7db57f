#include "former.h"

#include "memory.h"
#include "vlink.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static struct memory_place place_of(const struct fs_name *n)
{
	return (struct memory_place){.parent = n->dirid,
				     .entry = n->backing.entry};
}

static bool is_copy(struct fs *fs, const struct fs_name *n)
{
	return vdir_is_copy(fs->vault, n->dirid, n->backing.entry) ||
	       inode_is_copy(fs->inodes, n->dir);
}

/* What another file system holds is not made durable with the vault. */
static bool is_remembered(struct fs *fs, const struct fs_name *n)
{
	return fs->vault->memory &&
	       n->dir->dev == inode_of(fs->inodes, FUSE_ROOT_ID)->dev &&
	       !is_copy(fs, n);
}

/* What the header of a file says, which need not be open. */
static int read_header(const struct fs *fs, const struct fs_name *n,
		       struct former *f)
{
	uint8_t bytes[HEADER_LEN];
	CLEANUP_FD int fd =
		openat(n->dirfd, n->backing.entry,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct header h;
	int err;

	if (fd < 0)
		return -errno;
	err = xio_pread(fd, bytes, sizeof bytes, 0);
	if (!err)
		err = header_parse(bytes, &fs->vault->keys->file_keys, &h);
	if (err)
		return err;
	sodium_memzero(h.file_key, sizeof h.file_key);
	f->born_s = h.sealed_s;
	memcpy(f->id, h.file_id, sizeof f->id);
	f->has_id = true;
	return 0;
}

static void look_at_file(struct fs *fs, const struct fs_name *n,
			 struct former *f)
{
	unsigned tries = 0;
	int err;

	do {
		err = read_header(fs, n, f);
	} while (fs_spare_fd(fs, err, &tries));
}

static void look_at_link(struct fs *fs, const struct fs_name *n,
			 struct former *f)
{
	char target[VLINK_TARGET_MAX + 1];
	size_t len;

	if (fs_read_link(fs, n->dirfd, n->backing.entry, target, &len,
			 &f->born_s))
		f->born_s = 0;
}

static int read_dirid(const struct fs_name *n, struct former *f)
{
	CLEANUP_FD int fd = -1;
	int err = vdir_open_path(n->dirfd, n->backing.entry, &fd);

	return err ? err : vdir_read_id(fd, f->dirid);
}

static void look_at_dir(struct fs *fs, const struct fs_name *n, struct inode *i,
			struct former *f)
{
	unsigned tries = 0;
	int err = 0;

	if (i && i->has_dirid)
		memcpy(f->dirid, i->dirid, DIRID_LEN);
	else
		do {
			err = read_dirid(n, f);
		} while (fs_spare_fd(fs, err, &tries));
	f->has_dirid = !err;
}

void former_look(struct fs *fs, const struct fs_name *n, struct inode *i,
		 mode_t type, struct former *f)
{
	*f = (struct former){0};
	if (!fs->vault->memory || (i && i->grant))
		return;
	if (S_ISDIR(type))
		look_at_dir(fs, n, i, f);
	else if (S_ISLNK(type))
		look_at_link(fs, n, f);
	else if (S_ISREG(type) && i &&
		 file_birth_if_known(fs, i, f->id, &f->born_s))
		f->has_id = true;
	else if (S_ISREG(type))
		look_at_file(fs, n, f);
}

int former_may_move(struct fs *fs, const struct fs_name *from,
		    const struct fs_name *to, mode_t type)
{
	return S_ISDIR(type) && is_copy(fs, from) && !is_copy(fs, to) ? -EXDEV
								      : 0;
}

int former_check(struct fs *fs, struct inode *i, const struct former *f)
{
	if (!i || !(f->born_s || f->has_dirid))
		return 0;
	return inode_check_names(fs->inodes, i, f->born_s,
				 f->has_dirid ? f->dirid : NULL);
}

bool former_expect(struct fs *fs, const struct fs_name *n,
		   const struct former *f, const struct fs_name *from)
{
	const struct memory_place place = place_of(n);

	if (!is_remembered(fs, n))
		return false;
	/* from now on two files may have its id */
	if (f->has_id && is_copy(fs, from))
		memory_file_ignore(fs->vault, f->id);
	return memory_place_taken(fs->vault, &place, f->born_s);
}

/* A directory is told by its id, not by its age. */
void former_taken(struct fs *fs, const struct fs_name *n,
		  const struct former *f, const struct former *before)
{
	const struct memory_place place = place_of(n);

	if (f->has_dirid && before)
		former_left(fs, n, before);
	else if (f->born_s && is_remembered(fs, n))
		memory_place_replaced(fs->vault, &place, f->born_s);
}

void former_left(struct fs *fs, const struct fs_name *n, const struct former *f)
{
	const struct memory_place place = place_of(n);

	if (is_remembered(fs, n))
		memory_place_left(fs->vault, &place,
				  f && f->has_dirid ? f->dirid : NULL);
}

void former_dir_gone(struct fs *fs, const struct fs_name *n,
		     const struct former *f)
{
	former_left(fs, n, f);
	if (f->has_dirid && is_remembered(fs, n))
		memory_dir_gone(fs->vault, f->dirid);
}

void former_file_gone(struct fs *fs, struct inode *i)
{
	uint8_t id[FILE_ID_LEN];
	uint64_t born_s;

	if (fs->vault->memory && file_birth_if_known(fs, i, id, &born_s))
		memory_file_gone(fs->vault, id);
}

int former_accept(struct fs *fs, const struct fs_name *n)
{
	struct former f = {0};
	struct statx stx;

	if (!fs->vault->memory)
		return -EOPNOTSUPP;
	if (statx(n->dirfd, n->backing.entry, AT_SYMLINK_NOFOLLOW, STATX_TYPE,
		  &stx) < 0)
		return -errno;
	if (S_ISREG(stx.stx_mode) && !read_header(fs, n, &f))
		memory_file_accept(fs->vault, f.id);
	inode_accept_name(fs->inodes, n->dirid, n->backing.entry);
	return 0;
}
