/* Steps on names, and the table of all steps. */
#include "pair.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static long result(long r)
{
	return r < 0 ? -errno : r;
}

void side_show(struct side *side, const void *bytes, size_t len)
{
	if (len > PAIR_SEEN_MAX - side->seen_len)
		len = PAIR_SEEN_MAX - side->seen_len;
	memcpy(side->seen + side->seen_len, bytes, len);
	side->seen_len += len;
}

bool side_seen_alike(const struct side *a, const struct side *b)
{
	return a->seen_len == b->seen_len &&
	       memcmp(a->seen, b->seen, a->seen_len) == 0;
}

static void print_from(const char *name, const struct side *side, size_t at)
{
	printf("  %s shows from byte %zu:", name, at);
	for (size_t i = at; i < side->seen_len && i < at + 48; i++)
		printf(" %02x", side->seen[i]);
	printf("\n");
}

void side_print_seen(const struct side *a, const struct side *b)
{
	size_t i = 0;

	while (i < a->seen_len && i < b->seen_len && a->seen[i] == b->seen[i])
		i++;
	print_from("a", a, i);
	print_from("b", b, i);
}

bool step_may_be_asked_anew(const char *operation, long returned)
{
	return strcmp(operation, "stat") == 0 ||
	       strcmp(operation, "fstat") == 0 ||
	       (strcmp(operation, "link") == 0 && returned == -ENOENT);
}

void model_past(uint64_t seed, struct timespec out[2])
{
	out[0].tv_sec = (time_t)(seed % 900000000);
	out[0].tv_nsec = (long)(seed / 7 % 1000000000);
	out[1].tv_sec = (time_t)(seed / 13 % 900000000);
	out[1].tv_nsec = (long)(seed / 11 % 1000000000);
}

int side_stat(struct side *side, int dirfd, const char *path, int flags,
	      struct stat *st)
{
	struct statx stx;

	if (side->anew && statx(dirfd, path, flags | AT_STATX_FORCE_SYNC,
				STATX_BASIC_STATS, &stx) != 0)
		return -errno;
	return fstatat(dirfd, path, st, flags) != 0 ? -errno : 0;
}

void side_show_stat(struct side *side, const struct stat *st)
{
	bool is_dir = S_ISDIR(st->st_mode);
	/* Times that the clock set differ; those long past were set on purpose.
	 */
	bool past = !is_dir && st->st_mtim.tv_sec < 1000000000;
	long long shown[] = {
		st->st_mode,
		st->st_uid,
		st->st_gid,
		(long long)st->st_nlink,
		is_dir ? 0 : st->st_size,
		past,
		past ? st->st_mtim.tv_sec : 0,
		past ? st->st_mtim.tv_nsec : 0,
	};

	side_show(side, shown, sizeof shown);
}

static long op_stat(struct side *side, const struct step *step)
{
	struct stat st;
	int flags = step->pick % 2 ? AT_SYMLINK_NOFOLLOW : 0;

	int err = side_stat(side, side->root, step->path, flags, &st);

	if (err)
		return err;
	side_show_stat(side, &st);
	return 0;
}

static long op_mkdir(struct side *side, const struct step *step)
{
	return result(
		mkdirat(side->root, step->path, step->pick % 3 ? 0755 : 0700));
}

static long op_rmdir(struct side *side, const struct step *step)
{
	return result(unlinkat(side->root, step->path, AT_REMOVEDIR));
}

static long op_unlink(struct side *side, const struct step *step)
{
	return result(unlinkat(side->root, step->path, 0));
}

static long op_rename(struct side *side, const struct step *step)
{
	static const unsigned flags[] = {0, 0, 0, RENAME_NOREPLACE,
					 RENAME_EXCHANGE};

	return result(renameat2(side->root, step->path, side->root, step->path2,
				flags[step->pick % 5]));
}

static long op_link(struct side *side, const struct step *step)
{
	struct stat st;

	if (side->anew)
		(void)!side_stat(side, side->root, step->path,
				 AT_SYMLINK_NOFOLLOW, &st);
	return result(
		linkat(side->root, step->path, side->root, step->path2, 0));
}

static long op_symlink(struct side *side, const struct step *step)
{
	char target[4096];
	size_t len = step->pick % 8 ? 40 : 4095;
	const char *slash = strrchr(step->path2, '/');

	/* Mostly a neighbour's name, sometimes as long as may be. */
	if (len == 40) {
		snprintf(target, sizeof target, "%s",
			 slash ? slash + 1 : step->path2);
	} else {
		memset(target, 'a' + (int)(step->fill % 26), len);
		target[len] = 0;
	}
	return result(symlinkat(target, side->root, step->path));
}

static long op_readlink(struct side *side, const struct step *step)
{
	char target[5000];
	long r = result(
		readlinkat(side->root, step->path, target, sizeof target));

	if (r > 0)
		side_show(side, target, (size_t)r);
	return r;
}

static long op_mknod(struct side *side, const struct step *step)
{
	return result(mknodat(side->root, step->path,
			      (step->pick % 2 ? S_IFIFO : S_IFSOCK) | 0640, 0));
}

static long op_chmod(struct side *side, const struct step *step)
{
	static const mode_t modes[] = {0644, 0600, 0755, 0700, 0711, 0640};

	return result(
		fchmodat(side->root, step->path, modes[step->pick % 6], 0));
}

static long op_utimens(struct side *side, const struct step *step)
{
	struct timespec past[2];

	model_past(step->fill, past);
	if (step->pick % 5 == 0)
		past[0].tv_nsec = UTIME_OMIT;
	return result(utimensat(side->root, step->path, past,
				step->pick % 2 ? AT_SYMLINK_NOFOLLOW : 0));
}

static int open_for_xattr(const struct side *side, const struct step *step)
{
	return openat(side->root, step->path,
		      O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
}

static long op_setxattr(struct side *side, const struct step *step)
{
	char name[32];
	uint8_t value[128];
	int fd = open_for_xattr(side, step);
	long r;

	if (fd < 0)
		return -errno;
	snprintf(name, sizeof name, "user.model-%u", step->slot % 3);
	rng_fill(step->fill, value, sizeof value);
	if (step->pick % 4 == 0)
		r = fremovexattr(fd, name);
	else
		r = fsetxattr(fd, name, value, step->len % 101,
			      step->pick % 4 == 1 ? XATTR_CREATE : 0);
	r = result(r);
	close(fd);
	return r;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void show_sorted(struct side *side, char **names, size_t n)
{
	qsort(names, n, sizeof *names, by_text);
	for (size_t i = 0; i < n; i++)
		side_show(side, names[i], strlen(names[i]) + 1);
}

static long op_listxattr(struct side *side, const struct step *step)
{
	char list[4096], *names[64];
	uint8_t value[256];
	size_t n = 0;
	int fd = open_for_xattr(side, step);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = flistxattr(fd, list, sizeof list);
	for (char *p = list; len > 0 && p < list + len && n < 64;
	     p += strlen(p) + 1)
		if (strncmp(p, "user.model-", 11) == 0)
			names[n++] = p;
	show_sorted(side, names, n);
	for (size_t i = 0; i < n; i++) {
		ssize_t got = fgetxattr(fd, names[i], value, sizeof value);

		side_show(side, value, got > 0 ? (size_t)got : 0);
	}
	close(fd);
	return (long)n;
}

/*
 * In a shared directory other threads come and go; this thread's own names
 * must all be there, exactly once.
 */
static long op_readdir(struct side *side, const struct step *step)
{
	static __thread char text[512][300];
	char *names[512];
	size_t n = 0;
	int fd = openat(side->root, step->path,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	if (!dir)
		return -errno;
	while (n < 512 && (e = readdir(dir)) != NULL) {
		bool shared = strncmp(step->path, "shared", 6) == 0;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (shared &&
		    strncmp(e->d_name, step->own, strlen(step->own)) != 0)
			continue;
		snprintf(text[n], sizeof *text, "%c%s", 'a' + e->d_type,
			 e->d_name);
		names[n] = text[n];
		n++;
	}
	closedir(dir);
	show_sorted(side, names, n);
	return (long)n;
}

static long op_truncate_path(struct side *side, const struct step *step)
{
	int fd = openat(side->root, step->path,
			O_WRONLY | O_TRUNC | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* A file that is unlinked while its descriptor stays. */
static long op_orphan(struct side *side, const struct step *step)
{
	int *slot = &side->fds[step->slot % PAIR_FDS];
	int fd = openat(side->root, step->path,
			O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	if (*slot >= 0)
		close(*slot);
	*slot = fd;
	return result(unlinkat(side->root, step->path, 0));
}

const struct operation operations[] = {
	{"open", op_open, 20},
	{"close", op_close, 3},
	{"write", op_write, 24},
	{"append", op_append, 8},
	{"read", op_read, 24},
	{"truncate", op_truncate, 6},
	{"fallocate", op_fallocate, 5},
	{"fsync", op_fsync, 2},
	{"mmap", op_mmap, 5},
	{"copy_range", op_copy_range, 3},
	{"holes", op_holes, 3},
	{"fstat", op_fstat, 8},
	{"stat", op_stat, 10},
	{"mkdir", op_mkdir, 4},
	{"rmdir", op_rmdir, 2},
	{"unlink", op_unlink, 5},
	{"rename", op_rename, 9},
	{"link", op_link, 4},
	{"symlink", op_symlink, 3},
	{"readlink", op_readlink, 3},
	{"mknod", op_mknod, 1},
	{"chmod", op_chmod, 4},
	{"utimens", op_utimens, 5},
	{"setxattr", op_setxattr, 5},
	{"listxattr", op_listxattr, 4},
	{"readdir", op_readdir, 5},
	{"o_trunc", op_truncate_path, 2},
	{"orphan", op_orphan, 2},
};
const size_t operation_count = sizeof operations / sizeof *operations;
