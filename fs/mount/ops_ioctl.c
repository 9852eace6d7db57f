/* What a sharing tool asks of the mount (control.h). */
#include "control.h"
#include "file_cache.h"
#include "former.h"
#include "journal.h"
#include "log.h"
#include "sharing.h"

#include <errno.h>
#include <string.h>

/* The request being answered. */
struct control {
	fuse_req_t req;
	struct fs *fs;
	struct inode *inode;
	struct open_handle *handle; /* NULL: a directory's */
};

/* Which calls need what? */
enum {
	BY_ANYBODY = 1, /* not by the owner alone */
	OF_WRITER = 2,	/* through a descriptor open for writing */
	OF_INBOX = 4,	/* the inbox and the log are needed */
	CHANGES = 8,	/* not on a read-only mount */
};

static int put_path(char out[static CONTROL_PATH_MAX], const char *path)
{
	size_t len = strlen(path);

	if (len >= CONTROL_PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(out, path, len + 1);
	return 0;
}

static int control_vault(struct control *c, void *data)
{
	const struct vault *vault = c->fs->vault;
	struct control_vault *v = data;
	const struct identity *id;
	int err = sharing_identity(c->fs->sharing, false, &id);

	v->version = CONTROL_VERSION;
	/* what is wrong with the keys is for who needs them */
	v->identity = err && err != -ENOENT ? err : !err;
	v->read_only = c->fs->opt->read_only;
	v->shared = c->fs->opt->shared;
	memcpy(v->vault_id, vault->id, sizeof v->vault_id);
	if (!err)
		v->pub = id->pub;
	err = put_path(v->backing, vault->path);
	return err ? err : put_path(v->mountpoint, c->fs->mountpoint);
}

static int control_identity(struct control *c, void *data)
{
	const struct identity *id;
	int err = sharing_identity(c->fs->sharing, !c->fs->opt->read_only, &id);

	if (!err)
		memcpy(data, &id->pub, sizeof id->pub);
	return err;
}

static int control_file_key(struct control *c, void *data)
{
	struct control_file_key *k = data;
	CLEANUP_FREE char *path = NULL;
	struct vfile *f;
	int err = inode_backing_path(c->fs->inodes, c->inode, &path);

	if (!err)
		err = put_path(k->backing, path);
	if (!err)
		err = file_acquire(c->fs, c->handle->file, true, &f);
	if (err)
		return err;
	err = vfile_key(f, k->key);
	memcpy(k->file_id, vfile_id(f), sizeof k->file_id);
	k->size = vfile_size(f);
	file_release(c->handle->file);
	return err;
}

/* The file was given a new key: that stands in the log. */
static void log_rekeyed(struct control *c)
{
	CLEANUP_FREE char *path = inode_plain_path(c->fs->inodes, c->inode);
	struct vlog_record r = {.event = VLOG_REKEYED};
	size_t len = path ? strlen(path) : 0;
	int err;

	/* of a long path the end says more */
	if (len > VLOG_TEXT_MAX)
		len = VLOG_TEXT_MAX;
	if (path)
		memcpy(r.text, path + strlen(path) - len, len);
	err = vlog_append(sharing_log(c->fs->sharing), &r);
	if (err)
		log_error("%s has a new key, and the log cannot tell: %s",
			  path ? path : "a file", strerror(-err));
}

/* Requests that use the file wait meanwhile, and then use its new key. */
static int control_rekey(struct control *c, void *data)
{
	struct workspace *ws = workspace_get();
	CLEANUP_FREE char *path = NULL;
	struct vfile *f;
	int err;

	(void)data;
	if (!ws)
		return -ENOMEM;
	if (c->inode->parked)
		return -ENOENT;
	err = inode_backing_path(c->fs->inodes, c->inode, &path);
	if (!err)
		err = file_acquire(c->fs, c->handle->file, true, &f);
	if (err)
		return err;
	err = vfile_rekey(f, ws, path);
	file_release(c->handle->file);
	if (!err)
		log_rekeyed(c);
	if (err == -ETIME)
		file_log_damage(c->fs, c->inode, err, VFILE_NO_CHUNK);
	return err;
}

static int control_sign(struct control *c, void *data)
{
	struct control_sign *s = data;
	const struct identity *id;
	int err = sharing_identity(c->fs->sharing, false, &id);

	if (err)
		return err;
	s->st.sender = id->pub;
	err = statement_check(&s->st);
	return err ? err : statement_sign(&s->st, id, s->signature);
}

static int control_scan(struct control *c, void *data)
{
	struct control_scan *s = data;
	int err = 0;

	s->done = 0;
	s->err = 0;
	if (s->ticket == 0)
		return sharing_request(c->fs->sharing, &s->ticket);
	s->done = sharing_done(c->fs->sharing, s->ticket, &err);
	s->err = err;
	return 0;
}

static int control_set_next(struct control *c, void *data)
{
	struct control_set *s = data;

	return inbox_next(sharing_inbox(c->fs->sharing), s->cursor,
			  &s->cursor_index, &s->set);
}

static int control_sift(struct control *c, void *data)
{
	struct control_sift *s = data;
	bool ours = false;
	int err = inbox_sift(sharing_inbox(c->fs->sharing), s->hash, &ours);

	s->ours = ours;
	return err;
}

/* -ENOENT: there is no share of that number. */
static int kept_share(const uint8_t *set_id,
		      const struct identity_public *sender, uint32_t index,
		      struct inbox_kept *kept)
{
	if (index < 1 || index > SLIP39_SHARES_MAX)
		return -ENOENT;
	kept->index = (uint8_t)index;
	kept->sender = *sender;
	memcpy(kept->set_id, set_id, sizeof kept->set_id);
	return 0;
}

static int control_release(struct control *c, void *data)
{
	struct control_release *r = data;
	CLEANUP_FREE uint8_t *inner = NULL;
	struct inbox_kept kept;
	struct card recipient;
	size_t len = 0;
	int err = kept_share(r->set_id, &r->sender, r->index, &kept);

	if (!err)
		err = inbox_release(sharing_inbox(c->fs->sharing), &kept,
				    &inner, &len, &recipient);
	if (err)
		return err;
	if (len > CONTROL_INNER_MAX)
		return -EMSGSIZE;
	r->inner_len = (uint32_t)len;
	memset(r->inner, 0, sizeof r->inner);
	memcpy(r->inner, inner, len);
	r->recipient = recipient;
	return 0;
}

static int control_released(struct control *c, void *data)
{
	const struct control_released *r = data;
	struct inbox_kept kept;
	int err = kept_share(r->set_id, &r->sender, r->index, &kept);

	return err ? err : inbox_released(sharing_inbox(c->fs->sharing), &kept);
}

static int control_log_append(struct control *c, void *data)
{
	struct vlog_record *r = data;

	switch (r->event) {
	case VLOG_SENT:
	case VLOG_GRANTED:
	case VLOG_REVOKED:
	case VLOG_VERIFIED:
	case VLOG_EXPORTED:
	case VLOG_REFUSED:
		break;
	default:
		return -EINVAL;
	}
	if (!memchr(r->text, '\0', sizeof r->text))
		return -EINVAL;
	if (r->event == VLOG_REFUSED)
		return inbox_refused(sharing_inbox(c->fs->sharing), r->text);
	return vlog_append(sharing_log(c->fs->sharing), r);
}

static int control_log_read(struct control *c, void *data)
{
	struct vlog_record *r = data;

	return vlog_read(sharing_log(c->fs->sharing), r->seq, r);
}

static int control_log_verify(struct control *c, void *data)
{
	struct vlog *log = sharing_log(c->fs->sharing);
	enum vlog_fault fault = VLOG_FAULT_NONE;
	struct control_log_state *state = data;
	uint64_t seq = 0;
	int err = vlog_verify(log, &fault, &seq);

	if (err && err != -EBADMSG)
		return err;
	state->count = vlog_count(log);
	state->fault = fault;
	state->bad_seq = seq;
	return 0;
}

static int control_counters(struct control *c, void *data)
{
	struct control_counters *out = data;
	struct journal_counters j;

	counters_tell(&c->fs->counters, out);
	journal_counters(c->fs->vault, &j);
	out->journal_records = j.records;
	out->journal_bytes = j.bytes;
	out->journal_commits = j.commits;
	out->journal_applied = j.applied;
	out->journal_pending = j.pending;
	return 0;
}

static int control_accept_old(struct control *c, void *data)
{
	const struct control_name *wanted = data;
	size_t len = strnlen(wanted->name, sizeof wanted->name);
	struct fs_name n;
	int err;

	if (!S_ISDIR(c->inode->type))
		return -ENOTDIR;
	if (len == 0 || len == sizeof wanted->name ||
	    strchr(wanted->name, '/') || strcmp(wanted->name, ".") == 0 ||
	    strcmp(wanted->name, "..") == 0)
		return -EINVAL;
	err = fs_name_init(c->fs, inode_id(c->fs->inodes, c->inode),
			   wanted->name, &n);
	if (err)
		return err;
	err = former_accept(c->fs, &n);
	fs_name_fini(c->fs, &n);
	return err;
}

static const struct call {
	unsigned cmd, needs;
	int (*answer)(struct control *c, void *data);
} calls[] = {
	{CONTROL_VAULT, BY_ANYBODY, control_vault},
	{CONTROL_IDENTITY, 0, control_identity},
	{CONTROL_FILE_KEY, OF_WRITER, control_file_key},
	{CONTROL_REKEY, OF_WRITER | OF_INBOX, control_rekey},
	{CONTROL_SIGN, 0, control_sign},
	{CONTROL_SCAN, OF_INBOX, control_scan},
	{CONTROL_SET_NEXT, OF_INBOX, control_set_next},
	{CONTROL_SIFT, OF_INBOX | CHANGES, control_sift},
	{CONTROL_RELEASE, OF_INBOX, control_release},
	{CONTROL_RELEASED, OF_INBOX | CHANGES, control_released},
	{CONTROL_LOG_APPEND, OF_INBOX | CHANGES, control_log_append},
	{CONTROL_LOG_READ, OF_INBOX, control_log_read},
	{CONTROL_LOG_VERIFY, OF_INBOX, control_log_verify},
	{CONTROL_COUNTERS, 0, control_counters},
	{CONTROL_ACCEPT_OLD, 0, control_accept_old},
};

/*
 * Keys are for who mounted the vault; where root did that for somebody, for
 * whom the backing directory belongs to, too.
 */
static bool is_owner(const struct fs *fs, uid_t uid)
{
	struct stat st;

	if (uid == fs->uid || uid == 0)
		return true;
	return fs->uid == 0 && fstat(fs->vault->root_fd, &st) == 0 &&
	       st.st_uid == uid;
}

static int check(const struct control *c, const struct call *call)
{
	if (!(call->needs & BY_ANYBODY) &&
	    !is_owner(c->fs, fuse_req_ctx(c->req)->uid))
		return -EPERM;
	if ((call->needs & OF_WRITER) && (!c->handle || !c->handle->writes))
		return -EBADF;
	if ((call->needs & CHANGES) && c->fs->opt->read_only)
		return -EROFS;
	return call->needs & OF_INBOX ? sharing_fault(c->fs->sharing) : 0;
}

static void answer(struct control *c, const struct call *call, const void *in,
		   size_t in_len)
{
	size_t size = _IOC_SIZE(call->cmd);
	CLEANUP_SECRET void *data = secret_alloc(size ? size : 1);
	int err = data ? check(c, call) : -ENOMEM;

	if (!err && (_IOC_DIR(call->cmd) & _IOC_WRITE)) {
		if (in_len == size)
			memcpy(data, in, size);
		else
			err = -EINVAL;
	}
	if (!err)
		err = call->answer(c, data);
	/* as it is: tools tell what is damaged from what cannot be read */
	if (err)
		fuse_reply_err(c->req, err == -ETIME ? ESTALE : -err);
	else if (_IOC_DIR(call->cmd) & _IOC_READ)
		fuse_reply_ioctl(c->req, 0, data, size);
	else
		fuse_reply_ioctl(c->req, 0, NULL, 0);
}

static void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
		      struct fuse_file_info *fi, unsigned flags, const void *in,
		      size_t in_len, size_t out_len)
{
	struct fs *fs = fs_of(req);
	struct control c = {.req = req, .fs = fs};

	(void)arg;
	(void)out_len;
	/* the structs of 32-bit programs are laid out otherwise */
	if (flags & FUSE_IOCTL_COMPAT) {
		fs_reply_err(req, -ENOSYS);
		return;
	}
	c.inode = inode_of(fs->inodes, ino);
	if (!(flags & FUSE_IOCTL_DIR))
		c.handle = (struct open_handle *)(uintptr_t)fi->fh;
	for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
		if (calls[k].cmd == cmd) {
			answer(&c, &calls[k], in, in_len);
			return;
		}
	}
	fs_reply_err(req, -ENOTTY);
}

void ops_fill_ioctl(struct fuse_lowlevel_ops *ops)
{
	ops->ioctl = ops_ioctl;
}
