#include "wire.h"

#include "readahead.h"

#include <linux/fuse.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

/* Since Linux 6.6; Debian 12's header has only the room for it. */
#define INIT2_DIRECT_IO_ALLOW_MMAP (1U << 4) /* bit 36 of all flags */

/* About the request that this thread read last, and is handling. */
static _Thread_local bool kill_privs;
static _Thread_local uint64_t init_unique; /* of an unanswered INIT, or 0 */
static _Thread_local uint32_t init_flags, init_flags2; /* what it offered */

bool wire_kill_privs(void)
{
	return kill_privs;
}

static bool is_use(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_INIT:
	case FUSE_DESTROY:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
	case FUSE_NOTIFY_REPLY:
		return false;
	default:
		return true;
	}
}

static void note_use(struct fs *fs)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	/* Most requests find it said: the cache line stays shared. */
	if (atomic_load_explicit(&fs->last_use_s, memory_order_relaxed) !=
	    now.tv_sec)
		fs->last_use_s = now.tv_sec;
}

/* The 32-bit field at offset in the arguments behind the header. */
static uint32_t field(const uint8_t *request, size_t len, size_t offset)
{
	uint32_t value = 0;

	offset += sizeof(struct fuse_in_header);
	if (offset + sizeof value <= len)
		memcpy(&value, request + offset, sizeof value);
	return value;
}

/*
 * Should set-id bits and capabilities go? The kernel, which leaves that to us,
 * says so of everything but fallocate, where only the caller tells.
 */
static bool asks_to_kill(const struct fuse_in_header *in,
			 const uint8_t *request, size_t len)
{
	switch (in->opcode) {
	case FUSE_FALLOCATE:
		return in->uid != 0;
	case FUSE_WRITE:
		return field(request, len,
			     offsetof(struct fuse_write_in, write_flags)) &
		       FUSE_WRITE_KILL_SUIDGID;
	case FUSE_SETATTR:
		return field(request, len,
			     offsetof(struct fuse_setattr_in, valid)) &
		       FATTR_KILL_SUIDGID;
	case FUSE_OPEN:
		return field(request, len,
			     offsetof(struct fuse_open_in, open_flags)) &
		       FUSE_OPEN_KILL_SUIDGID;
	case FUSE_CREATE:
		return field(request, len,
			     offsetof(struct fuse_create_in, open_flags)) &
		       FUSE_OPEN_KILL_SUIDGID;
	default:
		return false;
	}
}

static void look_at_request(struct fs *fs, const uint8_t *request, size_t len)
{
	struct fuse_in_header in;

	memcpy(&in, request, sizeof in);
	counters_request(&fs->counters, in.opcode);
	kill_privs = asks_to_kill(&in, request, len);
	if (is_use(in.opcode))
		note_use(fs);
	if (in.opcode == FUSE_INIT) {
		init_unique = in.unique;
		init_flags = field(request, len,
				   offsetof(struct fuse_init_in, flags));
		init_flags2 =
			init_flags & FUSE_INIT_EXT
				? field(request, len,
					offsetof(struct fuse_init_in, flags2))
				: 0;
	}
}

static ssize_t wire_read(int fd, void *buf, size_t len, void *userdata)
{
	ssize_t n = read(fd, buf, len);

	if (n >= (ssize_t)sizeof(struct fuse_in_header))
		look_at_request(userdata, buf, (size_t)n);
	return n;
}

/*
 * Accept what the kernel offered and libfuse does not know, or forgets to pass
 * on: 3.14 takes FUSE_CAP_PARALLEL_DIROPS and does not tell the kernel.
 */
static void amend_init_reply(const struct iovec *reply)
{
	struct fuse_init_out *out = reply->iov_base;

	if (reply->iov_len < offsetof(struct fuse_init_out, unused))
		return;
	out->flags |=
		init_flags & (FUSE_HANDLE_KILLPRIV_V2 | FUSE_PARALLEL_DIROPS);
	/* files opened with FOPEN_DIRECT_IO may be mapped */
	if (out->flags & FUSE_INIT_EXT)
		out->flags2 |= init_flags2 & INIT2_DIRECT_IO_ALLOW_MMAP;
}

/* Is this the reply to INIT, and a good one? The header is in iov[0]. */
static bool is_init_reply(const struct iovec *iov, int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;

	return init_unique != 0 && count > 1 && iov[0].iov_len >= sizeof *out &&
	       out->unique == init_unique && out->error == 0;
}

static ssize_t wire_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fs *fs = userdata;
	bool init = is_init_reply(iov, count);
	ssize_t n;

	if (init)
		amend_init_reply(&iov[1]);
	n = writev(fd, iov, count);
	if (init && n > 0) {
		init_unique = 0;
		readahead_raise(fs->dev);
		fs->wire->ready(fs->wire->arg);
	}
	return n;
}

const struct fuse_custom_io wire_io = {
	.read = wire_read,
	.writev = wire_writev,
};
