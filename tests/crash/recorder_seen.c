/* What the machine remembers, beside the directory that is recorded. */
#include "recorder_internal.h"

#include "bytes.h"
#include "memory_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_ROOM = 256, NAME_ROOM = 256 };

/* A file of it: its name with a NUL, and what it holds. */
struct kept {
	uint8_t *bytes; /* of all of them: name, length u64, content */
	size_t len;
};

int __real_memory_open(struct vault *vault, bool accept);
int __wrap_memory_open(struct vault *vault, bool accept);
int __real_memory_keep(struct vault *vault);
int __wrap_memory_keep(struct vault *vault);
int __real_memory_db_doubt_(struct memory *m, bool doubt);
int __wrap_memory_db_doubt_(struct memory *m, bool doubt);
void __real_memory_close(struct vault *vault);
void __wrap_memory_close(struct vault *vault);

static void state_of(const char *path, char state[PATH_ROOM])
{
	snprintf(state, PATH_ROOM, "%.200s.seen", path);
}

void seen_use(const char *path)
{
	char state[PATH_ROOM];

	state_of(path, state);
	if (setenv("XDG_STATE_HOME", state, 1) < 0)
		image_fail("remembering", path);
}

void seen_forget(const char *path)
{
	char state[PATH_ROOM];

	state_of(path, state);
	image_remove_tree(state);
}

static void add(struct kept *k, const void *bytes, size_t len)
{
	k->bytes = image_alloc(k->bytes, k->len + len + 1);
	memcpy(k->bytes + k->len, bytes, len);
	k->len += len;
}

/* What a process may have open shares memory in a file of its own, which is
 * made anew. */
static bool is_shared_memory(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, "-shm") == 0;
}

static void add_file(struct kept *k, const char *files, const char *name)
{
	char path[PATH_ROOM + NAME_ROOM];
	uint8_t len[8], *bytes;
	struct stat64 st;
	int fd;

	snprintf(path, sizeof path, "%.250s/%.250s", files, name);
	fd = __real_open64(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || __real_fstat64(fd, &st) < 0)
		image_fail("reading", path);
	bytes = image_alloc(NULL, (size_t)st.st_size);
	if (__real_pread64(fd, bytes, (size_t)st.st_size, 0) != st.st_size)
		image_fail("reading", path);
	close(fd);
	be64_store(len, (uint64_t)st.st_size);
	add(k, name, strlen(name) + 1);
	add(k, len, sizeof len);
	add(k, bytes, (size_t)st.st_size);
	free(bytes);
}

/* No fault is met here: the calls are asked for by their own names. */
static struct kept scan(const char *path)
{
	char state[PATH_ROOM], files[PATH_ROOM + 16];
	struct kept k = {0};
	const struct dirent64 *e;
	DIR *dir;

	state_of(path, state);
	snprintf(files, sizeof files, "%s/frondfs", state);
	dir = opendir(files);
	if (!dir && errno != ENOENT)
		image_fail("listing", files);
	while (dir && (e = __real_readdir64(dir)))
		if (e->d_name[0] != '.' && !is_shared_memory(e->d_name))
			add_file(&k, files, e->d_name);
	if (dir)
		closedir(dir);
	return k;
}

void rec_note_seen(const char *path)
{
	struct kept k = scan(path);
	struct op *op;

	if (!rec_begin()) {
		free(k.bytes);
	} else {
		op = rec_note(OP_KEEP, 0);
		op->bytes = k.bytes;
		op->len = k.len;
	}
	rec_done();
}

int __wrap_memory_open(struct vault *vault, bool accept)
{
	int err = __real_memory_open(vault, accept);

	if (vault->memory)
		rec_note_seen(vault->path);
	return err;
}

int __wrap_memory_db_doubt_(struct memory *m, bool doubt)
{
	int err = __real_memory_db_doubt_(m, doubt);

	rec_note_seen(m->vault->path);
	return err;
}

int __wrap_memory_keep(struct vault *vault)
{
	int err = __real_memory_keep(vault);

	/* and what one that failed has left */
	if (vault->memory)
		rec_note_seen(vault->path);
	return err;
}

void __wrap_memory_close(struct vault *vault)
{
	bool had = vault->memory;

	__real_memory_close(vault);
	if (had)
		rec_note_seen(vault->path);
}

/* What it begins with is there from the first. */
static const struct op *newest(const struct oplog *log, size_t end)
{
	const struct op *op = NULL;

	for (size_t i = 0; i < log->count && (i < end || i == 0); i++)
		if (log->ops[i].kind == OP_KEEP)
			op = &log->ops[i];
	return op;
}

void seen_store(const struct oplog *log, size_t end, const char *path)
{
	const struct op *op = newest(log, end);
	struct image *im = image_new();
	char state[PATH_ROOM];

	seen_forget(path);
	image_at(im, 1)->mode = S_IFDIR | 0700;
	image_enter(image_at(im, 0), "frondfs", 1);
	for (size_t at = 0; op && at < op->len;) {
		const char *name = (const char *)op->bytes + at;
		unsigned obj = (unsigned)im->count;
		size_t len;

		at += strlen(name) + 1;
		len = be64_load(op->bytes + at);
		image_at(im, obj)->mode = S_IFREG | 0600;
		image_write(image_at(im, obj), 0, op->bytes + at + 8, len);
		image_enter(image_at(im, 1), name, obj);
		at += 8 + len;
	}
	state_of(path, state);
	image_store(im, state, NULL, NULL);
	image_free(im);
}
