/*
 * LD_PRELOAD=unsaved.so frondfs mount ...: the mount with all that saves
 * requests taken out again, to count what it saves. Names and attributes are
 * kept for a second, as libfuse's examples have it, and that there is no such
 * name not at all; pages are dropped at open; no write cache, no READDIRPLUS,
 * no POSIX_ACL, no HANDLE_KILLPRIV_V2; FLUSH is answered. (128 KiB for each
 * READ is the kernel's own readahead, which mount-for-bench.sh sets again.)
 */
#define FUSE_USE_VERSION 312

#include <dlfcn.h>
#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define REAL(name) ((__typeof__(&name))real(#name))

static const double keep_s = 1;
static void (*frondfs_init)(void *userdata, struct fuse_conn_info *conn);

static void *real(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);

	if (!found)
		abort();
	return found;
}

static void init(void *userdata, struct fuse_conn_info *conn)
{
	frondfs_init(userdata, conn);
	conn->want &=
		~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS |
			    FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_POSIX_ACL |
			    FUSE_CAP_DONT_MASK | FUSE_CAP_CACHE_SYMLINKS);
}

static void flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

struct fuse_session *fuse_session_new(struct fuse_args *args,
				      const struct fuse_lowlevel_ops *op,
				      size_t size, void *userdata)
{
	struct fuse_lowlevel_ops ops = {0};

	memcpy(&ops, op, size < sizeof ops ? size : sizeof ops);
	frondfs_init = ops.init;
	ops.init = init;
	ops.flush = flush;
	return REAL(fuse_session_new)(args, &ops, sizeof ops, userdata);
}

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *entry)
{
	struct fuse_entry_param e = *entry;

	if (e.ino == 0)
		return fuse_reply_err(req, ENOENT);
	e.entry_timeout = e.attr_timeout = keep_s;
	return REAL(fuse_reply_entry)(req, &e);
}

int fuse_reply_create(fuse_req_t req, const struct fuse_entry_param *entry,
		      const struct fuse_file_info *file)
{
	struct fuse_entry_param e = *entry;
	struct fuse_file_info fi = *file;

	e.entry_timeout = e.attr_timeout = keep_s;
	fi.keep_cache = 0;
	return REAL(fuse_reply_create)(req, &e, &fi);
}

int fuse_reply_attr(fuse_req_t req, const struct stat *attr, double timeout_s)
{
	(void)timeout_s;
	return REAL(fuse_reply_attr)(req, attr, keep_s);
}

int fuse_reply_open(fuse_req_t req, const struct fuse_file_info *file)
{
	struct fuse_file_info fi = *file;

	fi.keep_cache = 0;
	return REAL(fuse_reply_open)(req, &fi);
}

/* The first reply of all is that to INIT, which frondfs amends on its way. */
ssize_t writev(int fd, const struct iovec *iov, int count)
{
	static bool known;

	if (!known && count == 2 &&
	    iov[0].iov_len == sizeof(struct fuse_out_header) &&
	    iov[1].iov_len >= offsetof(struct fuse_init_out, unused)) {
		struct fuse_init_out *out = iov[1].iov_base;

		if (out->major == FUSE_KERNEL_VERSION) {
			out->flags &= ~(uint32_t)FUSE_HANDLE_KILLPRIV_V2;
			known = true;
		}
	}
	return REAL(writev)(fd, iov, count);
}
