#include "cmd.h"
#include "json.h"
#include "qr.h"
#include "report.h"
#include "session.h"
#include "slip39.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char cmd_split_help[] =
	"Usage: tgshare split FILE --shares N --threshold K [--qr]\n"
	"\n"
	"Split the key of a file into N lists of words for paper, any K of "
	"which give it back\n"
	"(SLIP-39). Anybody with K of them and the backing file can read it.\n"
	"  --qr           draw each as a QR code, too\n"
	"  --vault MOUNT  the mounted vault that FILE has to be in\n"
	"  --help         this text\n";

struct split_args {
	char *file[1];
	const char *vault, *shares, *threshold;
	unsigned n, k;
	bool qr, help;
};

static int parse_number(const char *option, const char *text, unsigned *number)
{
	char *end;
	unsigned long value;

	if (!text)
		return report_usage("split", "split wants --shares N and "
					     "--threshold K");
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || value < 1 ||
	    value > SLIP39_SHARES_MAX)
		return report_usage("split",
				    "%s wants a number from 1 to %d, not '%s'",
				    option, SLIP39_SHARES_MAX, text);
	*number = (unsigned)value;
	return CMD_OK;
}

static int report_no_key(const char *file, int err)
{
	if (err == -EISDIR)
		return report_as(CMD_FAILED,
				 "'%s' is a folder; each file has a key of its "
				 "own, name one",
				 file);
	if (err == -ENOKEY || err == -EKEYREVOKED || err == -EKEYEXPIRED)
		return report_as(CMD_FAILED,
				 "'%s' is locked: its key is not here", file);
	return report_as(
		CMD_FAILED,
		"cannot have the key of '%s': %s; only who may write a "
		"file can have it",
		file, strerror(-err));
}

static int get_key(const char *file, struct control_file_key *got)
{
	CLEANUP_FD int fd = open(file, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int err = fd < 0 ? -errno : mounted_ask(fd, CONTROL_FILE_KEY, got);

	return err ? report_no_key(file, err) : CMD_OK;
}

/* Labels go to standard error, so that the words alone can be piped. */
static int print_share(const struct slip39_share *share, unsigned i,
		       const struct split_args *args, char *text)
{
	slip39_to_words(share, text);
	fflush(stdout);
	fprintf(stderr, "Share %u of %u (any %u open it):\n", i + 1, args->n,
		args->k);
	if (puts(text) < 0)
		return CMD_FAILED;
	if (!args->qr)
		return CMD_OK;
	int err = qr_draw(stdout, text);

	return err ? report_as(CMD_FAILED, "cannot draw the share: %s",
			       strerror(-err))
		   : CMD_OK;
}

static int print_shares(const struct slip39_share *shares,
			const struct split_args *args)
{
	CLEANUP_SECRET char *text = secret_alloc(SLIP39_TEXT_MAX);
	/* words must not stay behind in the buffer of stdout */
	CLEANUP_SECRET char *buffer = secret_alloc(BUFSIZ);
	int status = text && buffer ? CMD_OK
				    : report_as(CMD_FAILED, "memory is short");

	if (!status)
		setvbuf(stdout, buffer, _IOLBF, BUFSIZ);
	for (unsigned i = 0; i < args->n && !status; i++)
		status = print_share(&shares[i], i, args, text);
	if (fflush(stdout) != 0 && !status)
		status = report_as(CMD_FAILED,
				   "cannot write to standard output: %s",
				   strerror(errno));
	setvbuf(stdout, NULL, _IONBF, 0);
	return status;
}

static void print_whose(const char *file, const char *vault, const char *path)
{
	fputs("Each belongs to '", stderr);
	json_put_plain(stderr, file);
	fputs("', which lies in\n", stderr);
	json_put_plain(stderr, vault);
	fputc('/', stderr);
	json_put_plain(stderr, path);
	fputc('\n', stderr);
}

static int split(const struct session *s, const struct split_args *args)
{
	CLEANUP_SECRET struct control_file_key *got = secret_alloc(sizeof *got);
	CLEANUP_SECRET struct slip39_share *shares =
		secret_alloc(SLIP39_SHARES_MAX * sizeof *shares);
	int status;

	if (!got || !shares)
		return report_as(CMD_FAILED, "memory is short");
	status = get_key(args->file[0], got);
	if (status)
		return status;
	if (slip39_split(got->key, args->k, args->n, shares))
		return report_as(CMD_FAILED, "no random numbers are to be had");
	status = print_shares(shares, args);
	if (!status)
		print_whose(args->file[0], s->m.info.backing, got->backing);
	return status;
}

static int parse(int argc, char **argv, struct split_args *args)
{
	static const struct option options[] = {
		{"vault", required_argument, NULL, 'v'},
		{"shares", required_argument, NULL, 's'},
		{"threshold", required_argument, NULL, 'k'},
		{"qr", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, status;

	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'v')
			args->vault = optarg;
		else if (c == 's')
			args->shares = optarg;
		else if (c == 'k')
			args->threshold = optarg;
		else if (c == 'q')
			args->qr = true;
		else if (c == 'h')
			args->help = true;
		else
			return report_bad_option("split", c, argv);
	}
	if (args->help)
		return CMD_OK;
	if (argc - optind != 1)
		return report_usage("split", "split wants one FILE");
	args->file[0] = argv[optind];
	status = parse_number("--shares", args->shares, &args->n);
	if (!status)
		status = parse_number("--threshold", args->threshold, &args->k);
	if (!status && args->k > args->n)
		return report_usage("split",
				    "--threshold %u is more than --shares %u: "
				    "nobody could ever combine them",
				    args->k, args->n);
	return status;
}

int cmd_split(int argc, char **argv)
{
	struct split_args args = {0};
	struct session s;
	int status = parse(argc, argv, &args);

	if (status || args.help)
		return status ? status : report_help(cmd_split_help);
	status = session_open(&s, args.file, 1, args.vault);
	if (!status)
		status = split(&s, &args);
	session_close(&s);
	return status;
}
