/* Steps on open descriptors. */
#include "pair.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static long result(long r)
{
	return r < 0 ? -errno : r;
}

static int fd_of(const struct side *side, unsigned slot)
{
	return side->fds[slot % PAIR_FDS];
}

/*
 * Give a file a time long past after a step of which POSIX does not say
 * whether it moves the time.
 */
static void settle_times(int fd, const struct step *step)
{
	struct timespec past[2];

	model_past(step->fill, past);
	futimens(fd, past);
}

long op_open(struct side *side, const struct step *step)
{
	static const int flags[] = {
		O_RDWR | O_CREAT,
		O_RDWR | O_CREAT,
		O_RDWR | O_CREAT | O_TRUNC,
		O_RDWR | O_CREAT | O_EXCL,
		O_RDWR,
		O_WRONLY | O_APPEND | O_CREAT,
		O_RDONLY,
		O_RDWR | O_NOFOLLOW,
		O_RDWR | O_TRUNC,
		O_RDWR | O_SYNC,
	};
	static const mode_t modes[] = {0644, 0600, 0666, 0755, 0400};
	size_t nflags = sizeof flags / sizeof *flags;
	int fd = openat(side->root, step->path,
			flags[step->pick % nflags] | O_NONBLOCK | O_CLOEXEC,
			modes[step->pick / nflags % 5]);
	int *slot = &side->fds[step->slot % PAIR_FDS];
	struct stat st;

	if (fd < 0)
		return -errno;
	/* Writing into a fifo would wait for, or be, another thread's. */
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return 1;
	}
	if (*slot >= 0)
		close(*slot);
	*slot = fd;
	return 0;
}

long op_close(struct side *side, const struct step *step)
{
	int *slot = &side->fds[step->slot % PAIR_FDS];
	int r = close(*slot);
	int saved = errno;

	*slot = -1;
	return r < 0 ? -saved : 0;
}

static long write_at(int fd, const struct step *step, bool append)
{
	uint8_t *data = malloc(step->len + 8);
	long r;

	if (!data)
		abort();
	rng_fill(step->fill, data, step->len);
	if (append) {
		r = lseek(fd, 0, SEEK_END);
		if (r >= 0)
			r = write(fd, data, step->len);
	} else {
		r = pwrite(fd, data, step->len, (off_t)step->offset);
	}
	r = result(r);
	free(data);
	return r;
}

long op_write(struct side *side, const struct step *step)
{
	return write_at(fd_of(side, step->slot), step, false);
}

long op_append(struct side *side, const struct step *step)
{
	return write_at(fd_of(side, step->slot), step, true);
}

long op_read(struct side *side, const struct step *step)
{
	uint8_t *data = malloc(step->len + 1);
	long r;

	if (!data)
		abort();
	r = result(pread(fd_of(side, step->slot), data, step->len,
			 (off_t)step->offset));
	if (r > 0)
		side_show(side, data, (size_t)r);
	free(data);
	return r;
}

long op_truncate(struct side *side, const struct step *step)
{
	int fd = fd_of(side, step->slot);
	long r = result(ftruncate(fd, (off_t)step->offset));

	if (r == 0)
		settle_times(fd, step);
	return r;
}

long op_fallocate(struct side *side, const struct step *step)
{
	static const int modes[] = {
		0,
		FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	};
	int fd = fd_of(side, step->slot);
	long r = result(fallocate(fd, modes[step->pick % 6],
				  (off_t)step->offset, (off_t)step->len + 1));

	if (r == 0)
		settle_times(fd, step);
	return r;
}

long op_fsync(struct side *side, const struct step *step)
{
	int fd = fd_of(side, step->slot);

	return result(step->pick % 2 ? fsync(fd) : fdatasync(fd));
}

long op_mmap(struct side *side, const struct step *step)
{
	int fd = fd_of(side, step->slot);
	struct stat st;
	uint8_t *map;
	size_t size, from, len;
	long r;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (st.st_size == 0 || st.st_size > 4 << 20)
		return 1;
	size = (size_t)st.st_size;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	from = step->offset % size;
	len = step->len < size - from ? step->len : size - from;
	for (size_t i = 0; i < len; i++)
		map[from + i] ^= (uint8_t)(step->fill >> i % 8 * 8);
	side_show(side, map + from, len);
	r = result(step->pick % 2 ? msync(map, size, MS_SYNC) : 0);
	if (munmap(map, size) != 0)
		r = -errno;
	settle_times(fd, step);
	return r;
}

long op_copy_range(struct side *side, const struct step *step)
{
	int in = fd_of(side, step->slot), out = fd_of(side, step->slot2);
	loff_t from = (loff_t)step->offset, to = (loff_t)step->offset2;
	size_t left = step->len;
	long r = 0;

	/* How much one call copies is free; what all of them copy is not. */
	while (left > 0) {
		ssize_t n = copy_file_range(in, &from, out, &to, left, 0);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		left -= (size_t)n;
		r += n;
	}
	return r;
}

/* Whatever is called a hole must read as zeros; data ends where it ends. */
long op_holes(struct side *side, const struct step *step)
{
	int fd = fd_of(side, step->slot);
	static __thread uint8_t buf[65536];
	off_t at = 0, hole, data, end;

	end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	while (at < end && end <= 4 << 20) {
		hole = lseek(fd, at, SEEK_HOLE);
		if (hole < at || hole > end)
			return -EILSEQ;
		data = hole < end ? lseek(fd, hole, SEEK_DATA) : end;
		if (data < 0 && errno == ENXIO)
			data = end;
		if (data < hole)
			return -EILSEQ;
		for (off_t o = hole; o < data;) {
			ssize_t n = pread(fd, buf,
					  data - o < 65536 ? (size_t)(data - o)
							   : 65536,
					  o);
			if (n < 0 && errno == EBADF)
				return 0; /* open for writing only */
			if (n <= 0 || buf[0] != 0 ||
			    memcmp(buf, buf + 1, (size_t)n - 1) != 0)
				return -EILSEQ;
			o += n;
		}
		at = data > at ? data : at + 1;
	}
	return 0;
}

long op_fstat(struct side *side, const struct step *step)
{
	struct stat st;
	int err = side_stat(side, fd_of(side, step->slot), "", AT_EMPTY_PATH,
			    &st);

	if (err)
		return err;
	side_show_stat(side, &st);
	return 0;
}
