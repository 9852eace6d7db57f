#include "bundle.h"
#include "cmd.h"
#include "deliver.h"
#include "json.h"
#include "progress.h"
#include "report.h"
#include "request.h"
#include "text.h"
#include "when.h"
#include "xio.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const char cmd_export_help[] =
	"Usage: tgshare export FILE|SET -o BUNDLE [--to NAME[,NAME...]]\n"
	"\n"
	"Write what is shared of FILE into one file, to be carried by any "
	"other way.\n"
	"Without --to: the sealed content of what was sent with --no-content "
	"or is under way.\n"
	"  -o BUNDLE      a new file\n"
	"  --to NAME,...  a new set for these, key and content together\n"
	"  --vault MOUNT  which mounted vault, if SET is given and there are "
	"several\n"
	"  --help         this text\n";

enum { COPY_BLOCK = 1 << 20, PATH_BYTES = 4096 };

/* A bundle being written, under another name until it is whole. */
struct bundle_out {
	const char *path;
	char temp[PATH_BYTES];
	int fd;
	uint8_t *block;
	struct progress progress;
	uint64_t done;
};

static int report_output(const char *path, int err)
{
	if (err == -EEXIST)
		return report_as(CMD_FAILED,
				 "'%s' exists already; name a new file", path);
	return report_as(CMD_FAILED, "cannot write the bundle '%s': %s", path,
			 strerror(-err));
}

static int begin_output(struct bundle_out *b)
{
	char name[48];

	if (access(b->path, F_OK) == 0)
		return -EEXIST;
	xio_temp_name(".tmp-", name, sizeof name);
	const char *slash = strrchr(b->path, '/');
	int dir_len = slash ? (int)(slash - b->path) + 1 : 0;

	if (snprintf(b->temp, sizeof b->temp, "%.*s%s", dir_len, b->path,
		     name) >= (int)sizeof b->temp)
		return -ENAMETOOLONG;
	b->block = malloc(COPY_BLOCK);
	if (!b->block)
		return -ENOMEM;
	b->fd = open(b->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return b->fd < 0 ? -errno
			 : xio_write(b->fd, BUNDLE_MAGIC, BUNDLE_MAGIC_LEN);
}

/* Some file systems of USB sticks cannot refuse to replace. */
static int end_output(struct bundle_out *b)
{
	if (renameat2(AT_FDCWD, b->temp, AT_FDCWD, b->path, RENAME_NOREPLACE) ==
	    0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	if (access(b->path, F_OK) == 0)
		return -EEXIST;
	return rename(b->temp, b->path) < 0 ? -errno : 0;
}

static void drop_output(struct bundle_out *b, bool whole)
{
	if (b->fd >= 0) {
		close(b->fd);
		if (!whole)
			unlink(b->temp);
	}
	free(b->block);
	b->fd = -1;
}

static int put_record(struct bundle_out *b, uint8_t type, int from,
		      uint64_t offset, uint64_t len)
{
	uint8_t head[BUNDLE_HEAD_LEN];
	int err;

	bundle_head_format(type, len, head);
	err = xio_write(b->fd, head, sizeof head);
	while (!err && len > 0) {
		size_t n = len < COPY_BLOCK ? (size_t)len : COPY_BLOCK;

		err = xio_pread(from, b->block, n, (off_t)offset);
		if (!err)
			err = xio_write(b->fd, b->block, n);
		offset += n;
		len -= n;
		b->done += n;
		progress_step(&b->progress, b->done);
	}
	return err;
}

static int put_parts(struct bundle_out *b, const struct session *s,
		     const struct item *item)
{
	CLEANUP_FD int fd = -1;
	int err = session_open_copy(s, item->copy, O_RDONLY, &fd);

	for (size_t i = 0; i < item->message_count && !err; i++) {
		const struct item_message *m = &item->messages[i];

		if (m->kind == 0)
			err = put_record(b, BUNDLE_PART, fd, m->offset, m->len);
	}
	return err;
}

static int put_envelopes(struct bundle_out *b, const struct session *s,
			 const struct item *item)
{
	int err = 0;

	for (size_t i = 0; i < item->message_count && !err; i++) {
		const struct item_message *m = &item->messages[i];
		char path[ITEM_ID_MAX + ITEM_MESSAGE_NAME_MAX + 2];

		if (m->kind == 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", item->id, m->name);
		CLEANUP_FD int fd =
			openat(s->outbox_fd, path, O_RDONLY | O_CLOEXEC);

		err = fd < 0 ? -errno
			     : put_record(b, BUNDLE_ENVELOPE, fd, 0, m->len);
	}
	return err;
}

/* Content once, however many sets have it. */
static int put_items(struct bundle_out *b, const struct session *s,
		     struct item *const *items, size_t count, bool envelopes)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		bool again = false;

		if (envelopes)
			err = put_envelopes(b, s, items[i]);
		for (size_t j = 0; j < i && !again; j++)
			again = strcmp(items[j]->copy, items[i]->copy) == 0;
		if (!err && !again)
			err = put_parts(b, s, items[i]);
	}
	return err;
}

static uint64_t bytes_of(struct item *const *items, size_t count)
{
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < items[i]->message_count; j++)
			total += items[i]->messages[j].len;
	return total;
}

static int fill_output(struct bundle_out *b, const struct session *s,
		       struct item *const *items, size_t count, bool envelopes)
{
	int err = begin_output(b);

	progress_begin(&b->progress, "writing", bytes_of(items, count));
	if (!err)
		err = put_items(b, s, items, count, envelopes);
	progress_end(&b->progress);
	return !err && fsync(b->fd) < 0 ? -errno : err;
}

static int log_sets(struct session *s, struct item *const *items, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = compose_log(s, items[i]);
	return err ? session_report(s, "write to the log", err) : CMD_OK;
}

/*
 * With envelopes it makes something of new sets. These are in the log before
 * anybody can have the bundle, or nobody could acknowledge them; so what is not
 * in the log was never handed out.
 */
static int write_bundle(struct session *s, const char *path,
			struct item *const *items, size_t count, bool envelopes)
{
	struct bundle_out b = {.path = path, .fd = -1};
	int err = fill_output(&b, s, items, count, envelopes);
	int status = !err && envelopes ? log_sets(s, items, count) : CMD_OK;

	if (!err && !status)
		err = end_output(&b);
	drop_output(&b, !err && !status);
	return err ? report_output(path, err) : status;
}

/* What is under way of FILE, or this SET. */
static int export_content(struct session *s, const struct request *r,
			  const char *relative)
{
	uint64_t now = when_now_s();
	struct item **chosen;
	struct outbox o;
	size_t count = 0;
	int status, err = outbox_load(s, &o);

	if (err)
		return session_report(s, "read .tgshare/outbox", err);
	chosen = calloc(o.count + 1, sizeof(struct item *));
	for (size_t i = 0; chosen && i < o.count; i++) {
		struct item *item = o.items[i];

		if (item->kind == ITEM_SEND && item_needs_copy(item, now) &&
		    (relative ? strcmp(item->path, relative) == 0
			      : outbox_set_begins(item->set_id, r->files[0])))
			chosen[count++] = item;
	}
	if (count == 0)
		status = report_as(CMD_UNKNOWN,
				   "nothing is under way of '%s'; name who "
				   "should get it with --to, or send it with "
				   "--no-content first",
				   r->files[0]);
	else
		status = write_bundle(s, r->output, chosen, count, false);
	free(chosen);
	outbox_free(&o);
	return status;
}

static int compose_all(struct session *s, const struct request *r,
		       const struct source *from, struct item **made,
		       size_t *count)
{
	struct cargo c = {0};
	int status = cargo_seal(s, from, UINT64_C(1) << 30, &c);

	for (size_t i = 0; i < r->to_count && !status; i++) {
		struct plan plan;
		int err;

		request_plan(r, r->to[i], &plan);
		plan.exported = true;
		err = compose(s, from, &c, &plan, &made[*count]);
		if (err)
			status =
				session_report(s, "write .tgshare/outbox", err);
		else
			(*count)++;
	}
	cargo_free(&c);
	return status;
}

static void tell_sets(struct item *const *made, size_t count)
{
	for (size_t i = 0; i < count; i++)
		printf("set %.8s for %s, verification code %s\n", made[i]->id,
		       made[i]->parties[0].name, made[i]->code);
}

/* What never left leaves no trace but in the log, if it was there already. */
static int forget_set(struct session *s, const struct item *item)
{
	int err = item->logged ? compose_log_event(s, item, VLOG_REVOKED) : 0;

	return err ? err : item_remove(s->outbox_fd, item->id);
}

static int export_set(struct session *s, const struct request *r)
{
	struct item *made[REQUEST_TO_MAX] = {0};
	struct source from;
	size_t count = 0;
	int status = access(r->output, F_OK) == 0
			     ? report_output(r->output, -EEXIST)
			     : source_look(&s->m, r->files[0], &from);

	if (status)
		return status;
	status = compose_all(s, r, &from, made, &count);
	if (!status)
		status = write_bundle(s, r->output, made, count, true);
	if (!status)
		tell_sets(made, count);
	for (size_t i = 0; i < count; i++) {
		if (status)
			(void)!forget_set(s, made[i]);
		item_free(made[i]);
	}
	source_free(&from);
	return status;
}

static int export_chosen(struct session *s, const struct request *r)
{
	CLEANUP_FREE char *real = realpath(r->files[0], NULL);
	CLEANUP_FREE char *relative = NULL;
	struct outbox o;
	int status, err;

	if (r->to_count)
		status = export_set(s, r);
	else if (real && (err = mounted_relative(&s->m, real, &relative)))
		return report_as(CMD_FAILED,
				 "cannot find '%s' in the vault: %s",
				 r->files[0], strerror(-err));
	else
		status = export_content(s, r, relative);
	if (outbox_load(s, &o) == 0) {
		err = outbox_tidy(s, &o);
		outbox_free(&o);
		if (err && !status)
			status = session_report(s, "tidy .tgshare/outbox", err);
	}
	return status;
}

static int check_export(const struct request *r)
{
	if (r->file_count != 1)
		return report_usage("export", "export wants one FILE or SET");
	if (!r->output)
		return report_usage("export", "into which file? Say -o BUNDLE");
	return CMD_OK;
}

static int run_export(struct request *r)
{
	bool is_path = access(r->files[0], F_OK) == 0 ||
		       !outbox_is_set_text(r->files[0]);
	struct session s;
	int status = session_open(&s, r->files, is_path ? 1 : 0, r->vault);

	if (!status && !is_path && r->to_names)
		status = report_usage("export", "--to wants a FILE");
	if (!status)
		status = session_need_identity(&s);
	if (!status)
		status = request_resolve(r, &s);
	if (!status)
		status = session_lock(&s);
	if (!status)
		status = export_chosen(&s, r);
	session_close(&s);
	return status;
}

int cmd_export(int argc, char **argv)
{
	struct request r = {0};
	int status = request_parse(&r, argc, argv, "to");

	if (!status && r.help)
		status = report_help(cmd_export_help);
	else if (!status)
		status = check_export(&r);
	if (!status && !r.help)
		status = run_export(&r);
	request_free(&r);
	return status;
}
