/*
 * Directories of a vault: ids, names, entries. Every function takes
 * descriptors of backing directories (O_PATH is enough) and is safe against
 * symbolic links put into the backing directory.
 */
#ifndef FROND_VDIR_H
#define FROND_VDIR_H

#include "name.h"
#include "vault.h"

#include <dirent.h>
#include <sys/stat.h>

/*
 * A directory's attribute with what its .dirid holds: a crash may cost a
 * directory the file and leave this.
 */
#define VDIR_ID_XATTR "user.frondfs-dirid"

/*
 * The id of the directory behind fd. -EIO: its .dirid is missing or damaged.
 * *aside: only the attribute has it.
 */
MUST_CHECK int vdir_read_id(int dirfd, uint8_t dirid[static DIRID_LEN]);
MUST_CHECK int vdir_find_id(int dirfd, uint8_t dirid[static DIRID_LEN],
			    bool *aside);
/*
 * Is that what the directory's names were made with? 0: its attribute has the
 * same, a name opens with it, or nothing tells. -EIO: it is damaged; no name
 * opens with it, but one does with what the attribute has, or with what lies
 * under that name mentions. aside: the id is the attribute's, which then
 * proves nothing.
 */
MUST_CHECK int vdir_prove_id(const struct vault *vault, int dirfd,
			     const uint8_t dirid[static DIRID_LEN], bool aside);
/* Make a .dirid of the attribute. */
MUST_CHECK int vdir_mend_id(int dirfd);

/*
 * Make directory *name in parent: it appears whole, with a durable .dirid.
 * Acts under the thread's present fs credentials and umask.
 */
MUST_CHECK int vdir_make(int parent_fd,
			 const uint8_t parent_id[static DIRID_LEN],
			 const struct backing_name *name, mode_t mode);

/*
 * Remove a directory that shows no entries: it goes as a whole. -ENOTEMPTY
 * when it has some (foreign files count: they are somebody's). An owner's
 * directory may have any mode, as for rmdir(2).
 */
MUST_CHECK int vdir_remove(int parent_fd, const struct backing_name *name);

/* Does the directory show no entries? 0, -ENOTEMPTY or an error. */
MUST_CHECK int vdir_check_empty(int dirfd);

/*
 * What must lie beside an entry with a long name: make it before the entry
 * appears (nothing to do for short names), keep it once the entry is there, as
 * another mount may have dropped it in between, and drop it after the entry
 * went. Dropping does nothing while the entry is there.
 */
MUST_CHECK int vdir_long_name_put(int dirfd, const struct backing_name *name);
void vdir_long_name_keep(int dirfd, const struct backing_name *name);
void vdir_long_name_drop(int dirfd, const char *entry);

/*
 * The plain name of a backing entry. -ENOENT: an internal entry, to be left
 * out; -EBADMSG: nothing that belongs to this directory.
 */
MUST_CHECK int vdir_plain_name(const struct vault *vault, int dirfd,
			       const uint8_t dirid[static DIRID_LEN],
			       const char *entry,
			       char plain[static NAME_PLAIN_MAX + 1]);

/*
 * Where the plain name lies in a directory, or would: its encoding, unless
 * nothing lies there and there is a copy that vdir_plain_name() shows under
 * this name. What synchronising services add to the name of a copy
 * (conflict.h) is shown behind the plain name; a copy of a long name that
 * would be too long so, or whose long name is lost, as it is called.
 */
MUST_CHECK int vdir_backing_name(const struct vault *vault, int dirfd,
				 const uint8_t dirid[static DIRID_LEN],
				 const char *plain, struct backing_name *out);

/*
 * Does the entry lie there because a synchronising service made a copy? Such
 * copies of files have the ids of these.
 */
bool vdir_is_copy(const struct vault *vault,
		  const uint8_t dirid[static DIRID_LEN], const char *entry);

/*
 * Atomic renames within the vault: flags as renameat2(2) takes them
 * (0, RENAME_NOREPLACE, RENAME_EXCHANGE). Takes care of long names' and long
 * links' companions, and of replacing an empty directory. moved_is_link and
 * target_is_link tell which ends are symbolic links, target_is_dir whether a
 * directory is being replaced. Where the backing file system cannot refuse to
 * replace, that is emulated; where it cannot exchange, -EINVAL.
 */
struct vdir_rename {
	int from_fd, to_fd;
	const struct backing_name *from, *to;
	unsigned flags;
	bool moved_is_link, target_is_link, target_is_dir;
};
MUST_CHECK int vdir_rename(const struct vdir_rename *r);

/* The rest serves this layer only. */

enum { VDIR_IDS_LEN = 2 * DIRID_LEN }; /* its own id, its parent's */

/* vdir_plain_name() of an entry that may be such a copy. -EBADMSG: it is not,
 * or looking its name up would lead elsewhere. */
MUST_CHECK int vdir_copy_name(const struct vault *vault, int dirfd,
			      const uint8_t dirid[static DIRID_LEN],
			      const char *entry,
			      char plain[static NAME_PLAIN_MAX + 1]);

/* Give a new directory its durable .dirid. */
MUST_CHECK int vdir_write_id(int dirfd, const uint8_t dirid[static DIRID_LEN],
			     const uint8_t parent_id[static DIRID_LEN]);

/* What stands in the attribute; -EIO: nothing that could be a .dirid. */
MUST_CHECK int vdir_read_aside(int dirfd, uint8_t ids[static VDIR_IDS_LEN]);

/*
 * The id of the directory that an entry was made in, as its header or .dirid
 * says; it may have been moved since. -ENOENT: it says nothing.
 */
MUST_CHECK int vdir_hint(int dirfd, const char *entry,
			 uint8_t id[static DIRID_LEN]);

/* Set the attribute, where the file system has such. */
MUST_CHECK int vdir_put_aside(int dirfd,
			      const uint8_t ids[static VDIR_IDS_LEN]);

/* Put a small file of ours into a directory: whole, its bytes durable. */
MUST_CHECK int vdir_put_beside(int dirfd, const char *name, const void *buf,
			       size_t len);

/* An O_PATH descriptor of a directory, never through a symbolic link. */
MUST_CHECK int vdir_open_path(int dirfd, const char *entry, int *fd);

/* chmod for O_PATH descriptors. */
MUST_CHECK int vdir_chmod(int fd, mode_t mode);

/*
 * Let the owner list and change the directory behind an O_PATH descriptor.
 * *old_mode is what vdir_restore() puts back.
 */
MUST_CHECK int vdir_grant(int fd, mode_t *old_mode);
void vdir_restore(int fd, mode_t old_mode);

/* Rename that fails with -EEXIST when to exists. */
MUST_CHECK int vdir_rename_exclusive(int from_fd, const char *from, int to_fd,
				     const char *to);

/*
 * Leave nothing in an empty directory, so that rename(2) can replace it, but
 * the attribute. -EOPNOTSUPP and others: that cannot
 * be here, and nothing has changed. vdir_mend_id() undoes it.
 */
MUST_CHECK int vdir_hollow(int dirfd);

/* vdir_remove() without a long name's companion. */
MUST_CHECK int vdir_discard(int parent_fd, const char *entry);

#endif
