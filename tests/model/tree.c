/* Two whole trees, compared. */
#include "pair.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct walk {
	struct side a, b;
	unsigned differences;
};

static void differs(struct walk *w, const char *path, const char *what)
{
	printf("tree: %s differs in %s\n", path, what);
	w->differences++;
}

/* Where to read next: far out there are only holes between a few bytes. */
static off_t next_data(int fd, off_t at)
{
	off_t data = lseek(fd, at, SEEK_DATA);
	off_t tail = lseek(fd, 0, SEEK_END) - 4096;

	if (data < 0)
		data = tail;
	return data > at ? data : at;
}

static void compare_content(struct walk *w, const char *path)
{
	static uint8_t buf_a[1 << 16], buf_b[1 << 16];
	int a = openat(w->a.root, path, O_RDONLY | O_CLOEXEC);
	int b = openat(w->b.root, path, O_RDONLY | O_CLOEXEC);
	off_t at = 0;
	ssize_t n = 1, m;

	while (a >= 0 && b >= 0 && n > 0) {
		at = next_data(b, at);
		n = pread(a, buf_a, sizeof buf_a, at);
		m = pread(b, buf_b, sizeof buf_b, at);
		if (n != m || (n > 0 && memcmp(buf_a, buf_b, (size_t)n) != 0)) {
			differs(w, path, "content");
			break;
		}
		at += n;
	}
	if (a < 0 || b < 0)
		differs(w, path, "being readable");
	if (a >= 0)
		close(a);
	if (b >= 0)
		close(b);
}

static bool shows_alike(struct walk *w, const struct operation *op,
			const struct step *step)
{
	w->a.seen_len = w->b.seen_len = 0;
	return op->run(&w->a, step) == op->run(&w->b, step) &&
	       side_seen_alike(&w->a, &w->b);
}

static void compare_step(struct walk *w, const char *name, const char *path)
{
	struct step step = {.pick = 1, .own = ""};
	const struct operation *op = operations;
	bool alike;

	while (strcmp(op->name, name) != 0)
		op++;
	snprintf(step.path, sizeof step.path, "%s", path);
	alike = shows_alike(w, op, &step);
	/* the kernel may have miscounted names, see step_may_be_asked_anew() */
	if (!alike && step_may_be_asked_anew(name, 0)) {
		w->a.anew = true;
		alike = shows_alike(w, op, &step);
		w->a.anew = false;
	}
	if (alike)
		return;
	differs(w, path, name);
	side_print_seen(&w->a, &w->b);
}

static void compare_dir(struct walk *w, const char *path);

static void compare_entry(struct walk *w, const char *path)
{
	struct stat st;

	compare_step(w, "stat", path);
	if (fstatat(w->a.root, path, &st, AT_SYMLINK_NOFOLLOW) != 0) {
		differs(w, path, "existing");
		return;
	}
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
		compare_step(w, "listxattr", path);
	if (S_ISREG(st.st_mode))
		compare_content(w, path);
	if (S_ISLNK(st.st_mode))
		compare_step(w, "readlink", path);
	if (S_ISDIR(st.st_mode))
		compare_dir(w, path);
}

static void compare_dir(struct walk *w, const char *path)
{
	int fd = openat(w->b.root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	char *below;

	compare_step(w, "readdir", path);
	if (!dir) {
		differs(w, path, "being a directory");
		return;
	}
	while ((e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (asprintf(&below, "%s/%s", path, e->d_name) < 0)
			abort();
		if (strlen(below) < PAIR_PATH_MAX)
			compare_entry(w, below);
		free(below);
	}
	closedir(dir);
}

static int side_open(struct side *side, const char *path)
{
	side->root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	side->seen = malloc(PAIR_SEEN_MAX);
	return side->root >= 0 && side->seen ? 0 : -1;
}

unsigned tree_compare(const char *a, const char *b)
{
	struct walk w = {0};

	if (side_open(&w.a, a) != 0 || side_open(&w.b, b) != 0) {
		perror("tree");
		return 1;
	}
	compare_dir(&w, ".");
	close(w.a.root);
	close(w.b.root);
	free(w.a.seen);
	free(w.b.seen);
	return w.differences;
}
