/*
 * A root daemon makes files as its callers would: with their fs credentials,
 * which Linux keeps for each thread (setfsuid(2)). libc's setgroups() would
 * change all threads: the system call itself changes one.
 */
#include "fs.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>

#ifdef SYS_setgroups32
#define SETGROUPS SYS_setgroups32
#else
#define SETGROUPS SYS_setgroups
#endif

enum { GROUPS_USUAL = 64, GROUPS_MAX = 65536 };

/* The caller's supplementary groups. */
struct groups {
	gid_t usual[GROUPS_USUAL];
	gid_t *many; /* instead, when there are more */
	size_t count;
};

static _Thread_local bool own_umask; /* not shared with other threads */

static void cleanup_groups_(struct groups *g)
{
	free(g->many);
}
#define CLEANUP_GROUPS __attribute__((cleanup(cleanup_groups_)))

/*
 * libfuse reads them from /proc. A caller that is gone, or lives in a PID
 * namespace out of sight, counts as having none: that never grants more.
 */
static int groups_of(fuse_req_t req, struct groups *g)
{
	int n = fuse_req_getgroups(req, GROUPS_USUAL, g->usual);

	g->count = 0;
	if (n < 0)
		return n == -ENOMEM ? n : 0;
	if (n > GROUPS_USUAL) {
		g->many = calloc(GROUPS_MAX, sizeof *g->many);
		if (!g->many)
			return -ENOMEM;
		n = fuse_req_getgroups(req, GROUPS_MAX, g->many);
		if (n < 0 || n > GROUPS_MAX)
			return n == -ENOMEM ? n : 0;
	}
	g->count = (size_t)n;
	return 0;
}

static const gid_t *groups_list(const struct groups *g)
{
	return g->many ? g->many : g->usual;
}

static int set_groups(size_t count, const gid_t *list)
{
	return syscall(SETGROUPS, count, list) < 0 ? -errno : 0;
}

/* setfsuid() reports no errors: ask what it came to. */
static bool set_ids(uid_t uid, gid_t gid)
{
	setfsgid(gid);
	setfsuid(uid);
	return setfsuid((uid_t)-1) == (int)uid &&
	       setfsgid((gid_t)-1) == (int)gid;
}

/* Does the daemon have to become someone else for this request? */
static bool is_other(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return fs_of(req)->uid == 0 && (ctx->uid != 0 || ctx->gid != 0);
}

/* Root's own groups decide nothing, so it goes without them. */
static void become_root(void)
{
	if (!set_ids(0, 0) || set_groups(0, NULL))
		abort(); /* the next request would run as someone else */
}

static int become_caller(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	CLEANUP_GROUPS struct groups g = {.many = NULL};
	int err = 0;

	if (ctx->uid == (uid_t)-1 || ctx->gid == (gid_t)-1)
		return -EOVERFLOW;
	if (ctx->uid != 0)
		err = groups_of(req, &g);
	if (!err)
		err = set_groups(g.count, groups_list(&g));
	if (err)
		return err;
	if (set_ids(ctx->uid, ctx->gid))
		return 0;
	become_root();
	return -EPERM;
}

int creds_assume(fuse_req_t req, mode_t mask)
{
	int err;

	if (!own_umask) {
		if (unshare(CLONE_FS) < 0)
			return -errno;
		own_umask = true;
	}
	if (is_other(req)) {
		err = become_caller(req);
		if (err)
			return err;
	}
	umask(mask);
	return 0;
}

void creds_restore(fuse_req_t req)
{
	umask(0);
	if (is_other(req))
		become_root();
}

bool creds_in_group(fuse_req_t req, gid_t gid)
{
	CLEANUP_GROUPS struct groups g = {.many = NULL};

	if (fuse_req_ctx(req)->gid == gid)
		return true;
	if (groups_of(req, &g))
		return false;
	for (size_t n = 0; n < g.count; n++)
		if (groups_list(&g)[n] == gid)
			return true;
	return false;
}
