/* Extended attributes and, among them, POSIX ACLs. */
#include "granted.h"

#include "text.h"
#include "vxattr.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { FILE_ID_OFFSET = 8 }; /* in a backing file */

static const char capability[] = "security.capability";
static const char label[] = "security.selinux";
static const char access_acl[] = "system.posix_acl_access";

/* Ours: never stored, never listed, made up when asked for. */
static const char virtual_prefix[] = "user.frondfs.";
static const char virtual_backing[] = "user.frondfs.backing";
static const char virtual_id[] = "user.frondfs.id";
static const char virtual_share[] = "user.frondfs.share";

static const uint8_t no_owner[FILE_ID_LEN];

bool xattr_labels_are_used(void)
{
	FILE *f = fopen("/proc/filesystems", "re");
	bool used = !f; /* nobody knows */
	char line[64];

	while (f && !used && fgets(line, sizeof line, f))
		used = strstr(line, "\tselinuxfs");
	if (f)
		fclose(f);
	return used;
}

static bool has_prefix(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/*
 * What the kernel's own file systems answer for names that they do not know
 * (vfs_setxattr leaves that to them). Of system.* there is what the backing
 * file system has.
 */
static int check_name(const char *name)
{
	static const char *const prefixes[] = {"user.", "trusted.", "security.",
					       "system."};

	for (size_t n = 0; n < sizeof prefixes / sizeof *prefixes; n++)
		if (has_prefix(name, prefixes[n]))
			return name[strlen(prefixes[n])] ? 0 : -EINVAL;
	return -EOPNOTSUPP;
}

/* These are stored as they are, bound to nobody. */
static bool is_native(const char *name)
{
	return has_prefix(name, "system.");
}

/* From the header; a file that only its owner's chmod could open says so. */
static int read_file_id(int path_fd, uint8_t id[static FILE_ID_LEN])
{
	char path[32];
	CLEANUP_FD int fd = -1;
	uint8_t bytes[FILE_ID_LEN];
	int err;

	snprintf(path, sizeof path, "/proc/self/fd/%d", path_fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = xio_pread(fd, bytes, sizeof bytes, FILE_ID_OFFSET);
	if (err)
		return err == -ENODATA ? -EIO : err;
	memcpy(id, bytes, sizeof bytes);
	return 0;
}

static int open_file_id(struct fs *fs, struct inode *i,
			uint8_t id[static FILE_ID_LEN])
{
	struct vfile *f;
	int err = file_get(fs, i, false, &f);

	if (err)
		return err;
	memcpy(id, vfile_id(f), FILE_ID_LEN);
	file_put(fs, i);
	return 0;
}

/* What the attributes of the inode behind fd are bound to. */
static int owner_of(struct fs *fs, struct inode *i, int fd,
		    uint8_t owner[static FILE_ID_LEN])
{
	unsigned tries = 0;
	uint64_t size;
	int err;

	if (i->type == S_IFDIR)
		return inode_dirid(fs->inodes, i, owner);
	if (i->type != S_IFREG) {
		memset(owner, 0, FILE_ID_LEN);
		return 0;
	}
	if (file_size_if_open(fs, i, &size))
		return open_file_id(fs, i, owner);
	do {
		err = read_file_id(fd, owner);
	} while (err && fs_spare_fd(fs, err, &tries));
	return err == -EACCES ? open_file_id(fs, i, owner) : err;
}

static ssize_t copy_text(const char *text, void *value, size_t size)
{
	size_t len = strlen(text);

	if (size > 0 && len > size)
		return -ERANGE;
	if (size > 0)
		memcpy(value, text, len);
	return (ssize_t)len;
}

static ssize_t get_backing(struct fs *fs, struct inode *i, void *value,
			   size_t size)
{
	CLEANUP_FREE char *below = NULL;
	CLEANUP_FREE char *path = NULL;
	bool root = i == inode_of(fs->inodes, FUSE_ROOT_ID);
	int err = root ? 0 : inode_backing_path(fs->inodes, i, &below);

	if (err)
		return err;
	if (asprintf(&path, "%s%s%s", fs->vault->path, root ? "" : "/",
		     root ? "" : below) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return copy_text(path, value, size);
}

static ssize_t get_id(struct fs *fs, struct inode *i, void *value, size_t size)
{
	CLEANUP_FD int fd = -1;
	uint8_t id[FILE_ID_LEN];
	char text[2 * FILE_ID_LEN + 1];
	int err = 0;

	if (i->type != S_IFREG && i->type != S_IFDIR)
		return -ENODATA;
	if (i->type == S_IFREG)
		err = inode_open_path(fs->inodes, i, &fd);
	if (!err)
		err = owner_of(fs, i, fd, id);
	if (err)
		return err;
	hex_encode(id, sizeof id, text);
	return copy_text(text, value, size);
}

/* Why what others sent cannot be read yet, or how it came. */
static ssize_t get_share(struct fs *fs, struct inode *i, void *value,
			 size_t size)
{
	CLEANUP_FREE char *text = NULL;
	CLEANUP_FD int fd = -1;
	struct inbox_entry e;
	struct statx stx;
	int err = 0;

	if (i->type != S_IFREG)
		return -ENODATA;
	if (i->grant)
		stx = i->grant->stub;
	else
		err = inode_open_path(fs->inodes, i, &fd);
	if (err)
		return err;
	if (!i->grant && statx(fd, "", AT_EMPTY_PATH, FS_STATX_MASK, &stx) < 0)
		return -errno;
	err = granted_entry(fs, &stx, &e);
	if (!err)
		err = granted_describe(fs, &e, &text);
	if (err)
		return err == -ENOENT ? -ENODATA : err;
	return copy_text(text, value, size);
}

/*
 * Has it no attributes at all? Only while nobody else writes the backing
 * directory is that worth noting, and asking first.
 */
static bool is_bare(struct fs *fs, struct inode *i, int fd, unsigned seen)
{
	if (!fs->vault->exclusive || !vxattr_none(fd))
		return false;
	atomic_compare_exchange_strong(&i->bare, &seen, seen | 1);
	return true;
}

/* Before an attribute is set, and after it. */
static void forget_bare(struct inode *i)
{
	unsigned old = i->bare;

	while (!atomic_compare_exchange_weak(&i->bare, &old, (old + 2) & ~1U))
		;
}

static ssize_t get_stored(struct fs *fs, struct inode *i, const char *name,
			  void *value, size_t size)
{
	CLEANUP_FD int fd = -1;
	uint8_t owner[FILE_ID_LEN];
	unsigned bare = i->bare;
	ssize_t n;
	int err;

	if ((bare & 1) && !is_native(name))
		return -ENODATA;
	err = inode_open_path(fs->inodes, i, &fd);
	if (err)
		return err;
	if (!is_native(name) && is_bare(fs, i, fd, bare))
		return -ENODATA;
	/*
	 * Most attributes asked for are absent (ls looks for capabilities):
	 * that shows without the owner, which costs opening the file. What is
	 * bound to somebody is refused for nobody with -EIO.
	 */
	n = vxattr_get(fs->vault, fd, no_owner, name, value, size);
	if (n != -EIO || is_native(name))
		return n;
	err = owner_of(fs, i, fd, owner);
	return err ? err : vxattr_get(fs->vault, fd, owner, name, value, size);
}

static ssize_t get(struct fs *fs, struct inode *i, const char *name,
		   void *value, size_t size)
{
	int err = check_name(name);

	if (err)
		return err;
	if (strcmp(name, virtual_backing) == 0)
		return get_backing(fs, i, value, size);
	if (strcmp(name, virtual_id) == 0)
		return get_id(fs, i, value, size);
	if (strcmp(name, virtual_share) == 0)
		return get_share(fs, i, value, size);
	if (has_prefix(name, virtual_prefix) || i->grant)
		return -ENODATA;
	if (i->type == S_IFREG && i->privs_clean &&
	    strcmp(name, capability) == 0)
		return -ENODATA;
	return get_stored(fs, i, name, value, size);
}

/* n: the length, or a negative errno. */
static void reply_value(fuse_req_t req, const char *value, size_t size,
			ssize_t n)
{
	if (n < 0)
		fs_reply_err(req, (int)n);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, value, (size_t)n);
}

static void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			 size_t size)
{
	struct fs *fs = fs_of(req);
	CLEANUP_FREE char *value = size ? malloc(size) : NULL;
	ssize_t n = -ENOMEM;

	if (value || size == 0)
		n = get(fs, inode_of(fs->inodes, ino), name, value, size);
	/* "ls -l" asks each file for its label, unless one says that there are
	 * none here */
	if (n == -ENODATA && !fs->labels && strcmp(name, label) == 0)
		n = -EOPNOTSUPP;
	reply_value(req, value, size, n);
}

static ssize_t list(struct fs *fs, struct inode *i, char *names, size_t size)
{
	CLEANUP_FD int fd = -1;
	uint8_t owner[FILE_ID_LEN];
	int err;

	if (i->grant)
		return 0;
	err = inode_open_path(fs->inodes, i, &fd);
	if (!err)
		err = owner_of(fs, i, fd, owner);
	return err ? err : vxattr_list(fs->vault, fd, owner, names, size);
}

static void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *fs = fs_of(req);
	CLEANUP_FREE char *names = size ? malloc(size) : NULL;
	ssize_t n = -ENOMEM;

	if (names || size == 0)
		n = list(fs, inode_of(fs->inodes, ino), names, size);
	reply_value(req, names, size, n);
}

/*
 * Linux drops S_ISGID when someone outside the group sets an access ACL
 * (posix_acl_update_mode). Here root sets it for others, and keeps the bit.
 */
static int drop_setgid(fuse_req_t req, int fd)
{
	struct stat st;

	if (fuse_req_ctx(req)->uid == 0 || fs_of(req)->uid != 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!(st.st_mode & S_ISGID) || creds_in_group(req, st.st_gid))
		return 0;
	return vdir_chmod(fd, st.st_mode & 07777 & ~(mode_t)S_ISGID);
}

/* The set-id bits and capabilities may not be what they were. */
static void forget_privs(struct inode *i, const char *name)
{
	if (strcmp(name, capability) == 0 || is_native(name))
		i->privs_clean = false;
}

struct new_value {
	const char *name, *value;
	size_t size;
	int flags;
};

static int set(fuse_req_t req, struct inode *i, const struct new_value *v)
{
	struct fs *fs = fs_of(req);
	CLEANUP_FD int fd = -1;
	uint8_t owner[FILE_ID_LEN] = {0};
	int err = check_name(v->name);

	if (err)
		return err;
	if (has_prefix(v->name, virtual_prefix))
		return -EPERM;
	if (i->grant)
		return -EROFS;
	err = inode_open_path(fs->inodes, i, &fd);
	if (!err && !is_native(v->name))
		err = owner_of(fs, i, fd, owner);
	if (err)
		return err;
	forget_bare(i);
	err = vxattr_set(fs->vault, fd, owner, v->name, v->value, v->size,
			 v->flags);
	forget_bare(i);
	i->told = false;
	forget_privs(i, v->name);
	if (!err && strcmp(v->name, access_acl) == 0)
		err = drop_setgid(req, fd);
	i->attrs_changed++;
	return err;
}

static void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
			 const char *value, size_t size, int flags)
{
	const struct new_value v = {name, value, size, flags};

	fs_reply_err(req, set(req, inode_of(fs_of(req)->inodes, ino), &v));
}

static int drop(struct fs *fs, struct inode *i, const char *name)
{
	CLEANUP_FD int fd = -1;
	int err = check_name(name);

	if (err)
		return err;
	if (has_prefix(name, virtual_prefix))
		return -EPERM;
	if (i->grant)
		return -EROFS;
	err = inode_open_path(fs->inodes, i, &fd);
	if (err)
		return err;
	err = vxattr_remove(fs->vault, fd, name);
	i->attrs_changed++;
	i->told = false;
	forget_privs(i, name);
	return err;
}

static void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct fs *fs = fs_of(req);

	fs_reply_err(req, drop(fs, inode_of(fs->inodes, ino), name));
}

void ops_fill_xattr(struct fuse_lowlevel_ops *ops)
{
	ops->getxattr = ops_getxattr;
	ops->listxattr = ops_listxattr;
	ops->setxattr = ops_setxattr;
	ops->removexattr = ops_removexattr;
}
