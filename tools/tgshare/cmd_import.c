#include "bundle.h"
#include "cmd.h"
#include "intake.h"
#include "progress.h"
#include "report.h"
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const char cmd_import_help[] =
	"Usage: tgshare import BUNDLE\n"
	"\n"
	"Take in what 'tgshare export' wrote.\n"
	"  --vault MOUNT  which mounted vault, if there are several\n"
	"  --help         this text\n";

/*
 * A bundle being read, front to back: first the envelopes, for what is in it
 * may be for others, and then the content.
 */
struct bundle_in {
	struct session *s;
	int fd;
	bool content;  /* the second time */
	uint64_t left; /* bytes */
	size_t envelopes, ours, parts;
	struct progress progress;
	uint64_t done; /* bytes of parts */
};

static int read_exactly(struct bundle_in *b, void *buf, size_t len)
{
	uint8_t *p = buf;

	if (len > b->left)
		return -EBADMSG;
	b->left -= len;
	while (len > 0) {
		ssize_t n = read(b->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int skip(struct bundle_in *b, uint64_t len)
{
	b->left -= len;
	return lseek(b->fd, (off_t)len, SEEK_CUR) < 0 ? -errno : 0;
}

static int take_envelope(struct bundle_in *b, uint64_t len)
{
	CLEANUP_FREE uint8_t *bytes = malloc((size_t)len + 1);
	struct control_sift sift = {.ours = 0};
	int err = bytes ? read_exactly(b, bytes, (size_t)len) : -ENOMEM;

	if (!err)
		err = spool_to_sift(b->s->spool_fd, bytes, (size_t)len,
				    sift.hash);
	if (!err)
		err = mounted_ask(b->s->m.fd, CONTROL_SIFT, &sift);
	b->envelopes += !err;
	b->ours += !err && sift.ours;
	return err;
}

static int take_part(struct bundle_in *b, uint64_t len)
{
	int err = spool_document(b->s->spool_fd, b->fd, len, "", NULL, NULL);

	b->left -= len;
	b->parts += !err;
	b->done += len;
	progress_step(&b->progress, b->done);
	return err;
}

static int take_record(struct bundle_in *b)
{
	uint8_t head[BUNDLE_HEAD_LEN], type;
	uint64_t len;
	int err = read_exactly(b, head, sizeof head);

	if (!err)
		err = bundle_head_parse(head, b->left, &type, &len);
	if (err)
		return err;
	if (type == BUNDLE_ENVELOPE && !b->content)
		return take_envelope(b, len);
	if (type == BUNDLE_PART && b->content)
		return take_part(b, len);
	return skip(b, len); /* or of a newer version */
}

static int take_records(struct bundle_in *b, uint64_t size, bool content)
{
	int err = 0;

	b->content = content;
	b->left = size - BUNDLE_MAGIC_LEN;
	if (lseek(b->fd, BUNDLE_MAGIC_LEN, SEEK_SET) < 0)
		return -errno;
	while (!err && b->left > 0)
		err = take_record(b);
	return err;
}

static int take_bundle(struct bundle_in *b)
{
	char magic[BUNDLE_MAGIC_LEN];
	struct stat st;
	int err, content_err = 0;

	if (fstat(b->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	b->left = (uint64_t)st.st_size;
	err = read_exactly(b, magic, sizeof magic);
	if (err || memcmp(magic, BUNDLE_MAGIC, sizeof magic) != 0)
		return err && err != -EBADMSG ? err : -EPROTO;
	progress_begin(&b->progress, "reading", (uint64_t)st.st_size);
	err = take_records(b, (uint64_t)st.st_size, false);
	/* content on its own is of what came another way */
	if ((!err || err == -EBADMSG) && (b->ours || !b->envelopes))
		content_err = take_records(b, (uint64_t)st.st_size, true);
	progress_end(&b->progress);
	return err ? err : content_err;
}

static int report_bundle(const char *path, int err)
{
	if (err == -EPROTO || err == -EINVAL)
		return report_as(CMD_FAILED,
				 "'%s' is no bundle; name a file that 'tgshare "
				 "export' wrote",
				 path);
	if (err == -EBADMSG)
		return report_as(CMD_FAILED,
				 "the bundle '%s' is damaged or cut off; what "
				 "was whole in it has been taken in, get it "
				 "anew for the rest",
				 path);
	return report_as(CMD_FAILED, "cannot take in the bundle '%s': %s", path,
			 strerror(-err));
}

/* Of all sets that are not open yet. */
static int content_here(const struct session *s, uint64_t *bytes)
{
	CLEANUP_FREE struct inbox_set *sets = NULL;
	size_t count = 0;
	int err = intake_sets(s, &sets, &count);

	*bytes = 0;
	for (size_t i = 0; i < count; i++)
		*bytes += sets[i].content_have;
	return err;
}

static void report_idle(const struct bundle_in *b, const char *path)
{
	if (b->parts)
		report("nothing in '%s' is needed now: it is here already, or "
		       "its key has not come, for which it is kept for 30 days",
		       path);
	else
		report("all that is in '%s' is here already", path);
}

static int import(struct session *s, const char *path)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct bundle_in b = {.s = s, .fd = fd};
	uint64_t before = 0, after = 0;
	size_t events = 0;
	int status = fd < 0 ? CMD_OK : intake_scan(s), err;

	if (status) /* there may be no inbox yet */
		return status;
	err = fd < 0 ? -errno : content_here(s, &before);
	if (!err)
		err = take_bundle(&b);
	status = intake_scan(s);
	if (!status)
		status = intake_log(s, &events);
	if (!status && !err)
		err = content_here(s, &after);
	if (fd < 0 && (err == -ENOENT || err == -ENOTDIR))
		return report_as(CMD_UNKNOWN,
				 "there is no file '%s'; name a bundle that "
				 "'tgshare export' wrote",
				 path);
	if (err)
		return report_bundle(path, err);
	if (status)
		return status;
	if (b.envelopes && !b.ours)
		return report_as(CMD_FAILED,
				 "nothing in '%s' is for you; ask for one that "
				 "was made with your card",
				 path);
	if (!events && after == before)
		report_idle(&b, path);
	else if (isatty(STDOUT_FILENO))
		printf("%zu message%s and %zu part%s were taken in.\n", b.ours,
		       b.ours == 1 ? "" : "s", b.parts,
		       b.parts == 1 ? "" : "s");
	return CMD_OK;
}

int cmd_import(int argc, char **argv)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *vault = NULL;
	struct session s;
	int c;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			vault = optarg;
		else if (c == 'h')
			return report_help(cmd_import_help);
		else
			return report_bad_option("import", c, argv);
	}
	if (argc - optind != 1)
		return report_usage("import", "import wants one BUNDLE");
	int status = session_open(&s, NULL, 0, vault);

	if (!status)
		status = session_need_identity(&s);
	if (!status)
		status = session_lock(&s);
	if (!status)
		status = import(&s, argv[optind]);
	session_close(&s);
	return status;
}
