/* Steps on names, as fs/mount/ops_name.c carries them out. */
#include "story_internal.h"

#include "random.h"
#include "vlink.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One or two places, and what is done there. */
struct naming {
	struct story *s;
	unsigned dir, to_dir, node, flags;
	const char *name, *to_name;
};

static struct backing_name name_in(struct story *s, unsigned dir,
				   const char *text)
{
	struct backing_name name;
	int err = name_encode(s->vault->names, s->nodes[dir].id, text,
			      strlen(text), &name);

	if (err)
		story_broken(s, "a name", err);
	return name;
}

static int dirfd_of(struct story *s, unsigned dir)
{
	return s->nodes[dir].dirfd;
}

static int act_create(void *arg)
{
	struct naming *n = arg;
	struct backing_name name;

	if (n->s->point)
		return served_create(n->s, n->node, n->dir, n->name);
	name = name_in(n->s, n->dir, n->name);
	return vfile_create(n->s->vault, dirfd_of(n->s, n->dir),
			    n->s->nodes[n->dir].id, &name, 0644,
			    &n->s->nodes[n->node].f);
}

unsigned story_create(struct story *s, unsigned dir, const char *name)
{
	struct naming n = {.s = s, .dir = dir, .name = name};

	n.node = story_new_node(s, NODE_FILE);
	versions_add(&s->nodes[n.node].content, s->step, NULL, 0);
	versions_add(&s->nodes[n.node].attr, s->step, NULL, 0);
	tree_add(story_new_tree(s), dir, name, n.node);
	story_step(s, "creating", act_create, &n);
	if (s->vault && s->point)
		served_look(s, n.node, dir, name);
	else if (s->vault)
		memcpy(s->nodes[n.node].id, vfile_id(s->nodes[n.node].f),
		       FILE_ID_LEN);
	return n.node;
}

static int act_mkdir(void *arg)
{
	struct naming *n = arg;
	struct backing_name name;

	if (n->s->point)
		return served_mkdir(n->s, n->dir, n->name);
	name = name_in(n->s, n->dir, n->name);
	return vdir_make(dirfd_of(n->s, n->dir), n->s->nodes[n->dir].id, &name,
			 0755);
}

unsigned story_mkdir(struct story *s, unsigned dir, const char *name)
{
	struct naming n = {.s = s, .dir = dir, .name = name};
	struct backing_name made;
	int err;

	n.node = story_new_node(s, NODE_DIR);
	versions_add(&s->nodes[n.node].content, s->step, NULL, 0);
	tree_add(story_new_tree(s), dir, name, n.node);
	story_step(s, "making a directory", act_mkdir, &n);
	if (!s->vault)
		return n.node;
	made = name_in(s, dir, name);
	/* not a step: a fault that is met here is not looked at */
	do {
		err = vdir_open_path(dirfd_of(s, dir), made.entry,
				     &s->nodes[n.node].dirfd);
		if (!err)
			err = vdir_read_id(s->nodes[n.node].dirfd,
					   s->nodes[n.node].id);
	} while (err && fault_met());
	if (err)
		story_broken(s, "a new directory", err);
	if (s->point)
		served_look(s, n.node, dir, name);
	return n.node;
}

static int act_symlink(void *arg)
{
	struct naming *n = arg;
	struct backing_name name = name_in(n->s, n->dir, n->name);
	const struct version *v = &n->s->nodes[n->node].content.list[0];
	int dirfd = dirfd_of(n->s, n->dir), err;

	if (n->s->point)
		return served_symlink(n->s, n->dir, n->name,
				      (const char *)v->bytes);
	err = vdir_long_name_put(dirfd, &name);
	if (err)
		return err;
	err = vlink_make(n->s->vault, dirfd, name.entry,
			 (const char *)v->bytes);
	if (err)
		vdir_long_name_drop(dirfd, name.entry);
	else
		vdir_long_name_keep(dirfd, &name);
	return err;
}

unsigned story_symlink(struct story *s, unsigned dir, const char *name,
		       size_t target_len)
{
	struct naming n = {.s = s, .dir = dir, .name = name};
	char *target = image_alloc(NULL, target_len + 1);

	for (size_t i = 0; i < target_len; i++)
		target[i] = (char)('a' + random_below(&s->rng, 26));
	target[target_len] = '\0';
	n.node = story_new_node(s, NODE_LINK);
	/* with its NUL, for whoever makes it */
	versions_add(&s->nodes[n.node].content, s->step, target,
		     target_len + 1);
	free(target);
	tree_add(story_new_tree(s), dir, name, n.node);
	story_step(s, "making a symbolic link", act_symlink, &n);
	return n.node;
}

static int act_link(void *arg)
{
	struct naming *n = arg;
	struct backing_name from = name_in(n->s, n->dir, n->name);
	struct backing_name to = name_in(n->s, n->to_dir, n->to_name);
	int from_fd = dirfd_of(n->s, n->dir), to_fd = dirfd_of(n->s, n->to_dir);
	int err;

	if (n->s->point)
		return served_link(n->s, n->dir, n->name, n->to_dir,
				   n->to_name);
	err = vdir_long_name_put(to_fd, &to);
	if (err)
		return err;
	if (linkat(from_fd, from.entry, to_fd, to.entry, 0) < 0)
		err = -errno;
	if (err)
		vdir_long_name_drop(to_fd, to.entry);
	else
		vdir_long_name_keep(to_fd, &to);
	return err;
}

void story_link(struct story *s, unsigned node, unsigned from_dir,
		const char *from, unsigned dir, const char *name)
{
	struct naming n = {.s = s,
			   .dir = from_dir,
			   .name = from,
			   .to_dir = dir,
			   .to_name = name};

	tree_add(story_new_tree(s), dir, name, node);
	story_step(s, "linking", act_link, &n);
}

static bool is_type(int dirfd, const char *entry, mode_t type)
{
	struct stat st;

	return fstatat(dirfd, entry, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       (st.st_mode & S_IFMT) == type;
}

static int act_rename(void *arg)
{
	struct naming *n = arg;
	struct backing_name from = name_in(n->s, n->dir, n->name);
	struct backing_name to = name_in(n->s, n->to_dir, n->to_name);
	struct vdir_rename r = {.from_fd = dirfd_of(n->s, n->dir),
				.to_fd = dirfd_of(n->s, n->to_dir),
				.from = &from,
				.to = &to,
				.flags = n->flags};

	if (n->s->point)
		return served_rename(n->s, n->dir, n->name, n->to_dir,
				     n->to_name, n->flags);
	r.moved_is_link = is_type(r.from_fd, from.entry, S_IFLNK);
	r.target_is_link = is_type(r.to_fd, to.entry, S_IFLNK);
	r.target_is_dir = is_type(r.to_fd, to.entry, S_IFDIR);
	return vdir_rename(&r);
}

void story_rename(struct story *s, unsigned from_dir, const char *from,
		  unsigned dir, const char *name, unsigned flags)
{
	struct naming n = {.s = s,
			   .dir = from_dir,
			   .name = from,
			   .to_dir = dir,
			   .to_name = name,
			   .flags = flags};
	struct tree *t = story_new_tree(s);
	unsigned moved = tree_find(t, from_dir, from)->node;
	const struct name *target = tree_find(t, dir, name);
	unsigned other = target ? target->node : 0;

	tree_drop(t, from_dir, from);
	tree_drop(t, dir, name);
	tree_add(t, dir, name, moved);
	if (flags & RENAME_EXCHANGE)
		tree_add(t, from_dir, from, other);
	story_step(s, "renaming", act_rename, &n);
}

static int act_unlink(void *arg)
{
	struct naming *n = arg;
	struct backing_name name = name_in(n->s, n->dir, n->name);
	char companion[VLINK_COMPANION_MAX] = "";
	int dirfd = dirfd_of(n->s, n->dir), err = 0;
	struct stat st;

	if (n->s->point)
		return served_unlink(n->s, n->dir, n->name, 0);
	if (fstatat(dirfd, name.entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		err = vlink_companion(dirfd, name.entry, companion);
	if (err)
		return err;
	if (S_ISREG(st.st_mode) && n->flags) {
		char orphan[] = "0123456789abcdef01234567";

		/* somebody has it open */
		if (renameat(dirfd, name.entry, n->s->vault->orphans_fd,
			     orphan) < 0)
			return -errno;
	} else if (unlinkat(dirfd, name.entry, 0) < 0) {
		return -errno;
	}
	if (st.st_nlink == 1)
		vlink_companion_drop(dirfd, companion);
	else
		vlink_companion_settle(dirfd, companion);
	vdir_long_name_drop(dirfd, name.entry);
	return 0;
}

void story_unlink(struct story *s, unsigned dir, const char *name)
{
	struct naming n = {.s = s, .dir = dir, .name = name};
	struct tree *t = story_new_tree(s);

	n.flags = s->nodes[tree_find(t, dir, name)->node].f != NULL;
	tree_drop(t, dir, name);
	story_step(s, "unlinking", act_unlink, &n);
}

static int act_rmdir(void *arg)
{
	struct naming *n = arg;
	struct backing_name name = name_in(n->s, n->dir, n->name);

	if (n->s->point)
		return served_unlink(n->s, n->dir, n->name, AT_REMOVEDIR);
	return vdir_remove(dirfd_of(n->s, n->dir), &name);
}

void story_rmdir(struct story *s, unsigned dir, const char *name)
{
	struct naming n = {.s = s, .dir = dir, .name = name};

	tree_drop(story_new_tree(s), dir, name);
	story_step(s, "removing a directory", act_rmdir, &n);
}

static int act_sync_dir(void *arg)
{
	struct naming *n = arg;
	CLEANUP_FD int fd = -1;

	if (n->s->point)
		return served_sync_dir(n->s, n->dir);
	fd = openat(dirfd_of(n->s, n->dir), ".",
		    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

void story_sync_dir(struct story *s, unsigned dir)
{
	struct naming n = {.s = s, .dir = dir};
	struct node *d = &s->nodes[dir];

	d->synced = image_alloc(d->synced,
				(d->synced_count + 1) * sizeof *d->synced);
	d->synced[d->synced_count++] =
		(struct durable){.step = s->step, .version = s->tree_count - 1};
	story_step(s, "fsync of a directory", act_sync_dir, &n);
}
