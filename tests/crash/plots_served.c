/* What fs/mount does of itself, without any of the other steps. */
#include "plots.h"
#include "recorder_calls.h"
#include "story_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SOMEBODY = 12345 };

struct visit {
	struct story *s;
	unsigned node;
	int (*act)(struct story *s, unsigned node);
};

static int errno_of(int ret)
{
	return ret < 0 ? -errno : 0;
}

static int root(const struct story *s)
{
	return s->nodes[0].at;
}

static int file(const struct story *s, unsigned node)
{
	return s->nodes[node].at;
}

static int list(struct story *s, unsigned node)
{
	int fd = __real_openat64(root(s), ".",
				 O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int err = dir ? 0 : -errno;

	(void)node;
	if (!dir && fd >= 0)
		close(fd);
	errno = 0;
	while (dir && __real_readdir64(dir))
		;
	if (dir)
		err = -errno;
	if (dir)
		closedir(dir);
	return err;
}

static int room(struct story *s, unsigned node)
{
	struct statvfs64 st;

	(void)node;
	return errno_of(__real_fstatvfs64(root(s), &st));
}

static int state(struct story *s, unsigned node)
{
	struct stat64 st;
	int err = errno_of(__real_fstat64(file(s, node), &st));

	if (!err &&
	    (size_t)st.st_size != versions_last(&s->nodes[node].content)->len)
		story_broken(s, "another length is told", -EIO);
	return err;
}

static int modes(struct story *s, unsigned node)
{
	int err = errno_of(__real_fchmod(file(s, node), 0600));

	return err ? err : errno_of(__real_fchmod(file(s, node), 0644));
}

/* Set-id bits go when it is written. */
static int set_id(struct story *s, unsigned node)
{
	return errno_of(__real_fchmod(file(s, node), 06755));
}

static int owners(struct story *s, unsigned node)
{
	int fd = file(s, node);
	int err = errno_of(
		__real_fchownat(fd, "", SOMEBODY, SOMEBODY, AT_EMPTY_PATH));

	return err ? err
		   : errno_of(__real_fchownat(fd, "", 0, 0, AT_EMPTY_PATH));
}

static int times(struct story *s, unsigned node)
{
	const struct timespec t[2] = {{.tv_sec = 1}, {.tv_sec = 2}};

	return errno_of(__real_futimens(file(s, node), t));
}

static int special(struct story *s, unsigned node)
{
	int err = errno_of(__real_mknodat(root(s), "pipe", S_IFIFO | 0600, 0));

	(void)node;
	if (err && (!s->again || err != -EEXIST))
		return err;
	return errno_of(__real_unlinkat(root(s), "pipe", 0));
}

static int attributes(struct story *s, unsigned node)
{
	static const char name[] = "user.passing";
	char names[512], value[16];
	int fd = file(s, node);
	int err = errno_of(fsetxattr(fd, name, "by", 2, 0));

	if (!err)
		err = errno_of((int)flistxattr(fd, names, sizeof names));
	if (!err)
		err = errno_of((int)fgetxattr(fd, name, value, sizeof value));
	return err ? err : errno_of(fremovexattr(fd, name));
}

static int same_length(struct story *s, unsigned node)
{
	return served_truncate(s, node,
			       versions_last(&s->nodes[node].content)->len);
}

static int ends(struct story *s, unsigned node)
{
	off_t end = lseek(file(s, node), 0, SEEK_HOLE);

	return end < 0 ? -errno : 0;
}

static int everything(struct story *s, unsigned node)
{
	(void)node;
	return served_sync_dir(s, 0);
}

static int (*const visits[])(struct story *s, unsigned node) = {
	list,	room,	     served_read, state,      modes,	   owners,
	times,	special,     list,	  attributes, same_length, ends,
	set_id, served_read, state,	  everything,
};

size_t story_visits(void)
{
	return sizeof visits / sizeof *visits;
}

static int act_visit(void *arg)
{
	struct visit *v = arg;

	return v->s->point ? v->act(v->s, v->node) : 0;
}

void story_visit(struct story *s, unsigned node, size_t which)
{
	struct visit v = {s, node, visits[which]};

	story_step(s, "a visit", act_visit, &v);
}

void plot_visits(struct story *s)
{
	const size_t lens[] = {100, 200000, 300};
	unsigned d = story_mkdir(s, 0, "d"), f = plot_made(s, 0, lens, 3), n;
	char long_name[251];

	memset(long_name, 'x', 250);
	long_name[250] = '\0';
	story_symlink(s, 0, "link", 50);
	story_begin(s);
	story_open(s, f + 1, 0, "f1");
	for (size_t i = 0; i < story_visits(); i++)
		story_visit(s, f + 1, i);
	story_write(s, f + 1, 5000, 9000);
	story_append(s, f + 1, 3000);
	story_mark(s, f + 1, 100);
	story_sync(s, f + 1);
	/* over one that is open, and it away */
	n = story_create(s, 0, "new");
	story_append(s, n, 5000);
	story_sync(s, n);
	story_rename(s, 0, "new", 0, "f1", 0);
	story_write(s, f + 1, 0, 5000);
	story_visit(s, f + 1, 2);
	story_shut(s, f + 1);
	story_sync_dir(s, 0);
	story_unlink(s, 0, "f1");
	story_append(s, n, 5000);
	story_visit(s, n, 2);
	story_shut(s, n);
	story_link(s, f, 0, "f0", d, long_name);
	story_symlink(s, d, "long", 3000);
	story_rename(s, d, "long", 0, "link", RENAME_EXCHANGE);
	story_unlink(s, 0, "link");
	story_rename(s, d, long_name, 0, "f2", 0);
	story_unlink(s, d, "long");
	story_rmdir(s, 0, "d");
}
