#include "behind.h"
#include "check.h"
#include "check_advice.h"
#include "check_words.h"
#include "cmd.h"
#include "journal.h"
#include "json.h"
#include "memory.h"
#include "passphrase.h"
#include "progress.h"
#include "report.h"
#include "text.h"
#include "when.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

const char cmd_check_help[] =
	"Usage: frondfs check [OPTION...] BACKING | MOUNTPOINT\n"
	"\n"
	"Verify a vault: every name, header, token and directory id, links, "
	"attributes,\n"
	"and what lies in .frondfs. One line tells of each thing that is "
	"found, "
	"the last\n"
	"one how much was looked at.\n"
	"  --repair          put right what can be put right without losing "
	"anything;\n"
	"                    the vault must not be mounted\n"
	"  --jobs N          threads (default: one for each processor)\n"
	"  --json            all of it as one JSON object\n"
	"  --passfile FILE   passphrase: the first line of FILE\n"
	"  --extpass CMD     passphrase: the first line that the shell command "
	"CMD prints\n"
	"  --help            this text\n"
	"\n"
	"Exit status, as fsck(8), a sum of: 0 nothing is damaged, 1 something "
	"was repaired,\n"
	"4 damage is left, 8 something could not be looked at, 16 usage, 32 "
	"interrupted.\n";

enum check_status {
	STATUS_REPAIRED = 1,
	STATUS_DAMAGED = 4,
	STATUS_FAILED = CMD_CHECK_FAILED,
	STATUS_USAGE = 16,
	STATUS_CANCELLED = 32,
	JOBS_MAX = 256,
};

struct check_request {
	struct passphrase_source source;
	bool repair, json, help;
	unsigned jobs;
	const char *path;
};

/* What of it this machine has seen before (memory.h)? */
enum seen {
	SEEN_UNKNOWN,
	SEEN_COMPARED,
	SEEN_MOUNTED,	/* the mount has that, and compares by itself */
	SEEN_BY_NOBODY, /* mounted, and the mount does not have it */
	SEEN_BY_COPY,	/* not mounted; whoever has another copy has it */
};

/* A check under way, for its callbacks. */
struct telling {
	struct progress bar;
	bool json, any;
	struct check_advice advice;
};

static atomic_bool interrupted;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&interrupted, true);
}

static void catch_signals(void)
{
	/* once: a second signal ends the process as ever */
	struct sigaction action = {.sa_handler = on_signal,
				   .sa_flags = (int)SA_RESETHAND};

	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGHUP, &action, NULL);
}

static void on_found(void *arg, const struct check_finding *f)
{
	struct telling *t = arg;

	progress_end(&t->bar);
	check_advice_add(&t->advice, f);
	if (t->json) {
		(void)fputs(t->any ? ",\n  " : "\n  ", stdout);
		check_words_put_json(stdout, f);
	} else {
		check_words_put(stdout, f);
	}
	t->any = true;
	(void)fflush(stdout);
}

static void on_progress(void *arg, const struct check_progress *p)
{
	struct telling *t = arg;

	t->bar.total = p->bytes_found;
	if (p->counted)
		progress_step(&t->bar, p->bytes);
}

static int status_of(const struct check_result *r, int err)
{
	int status = 0;

	if (r->repaired)
		status |= STATUS_REPAIRED;
	if (r->damaged)
		status |= STATUS_DAMAGED;
	if (r->failed || (err && err != -EINTR))
		status |= STATUS_FAILED;
	if (err == -EINTR)
		status |= STATUS_CANCELLED;
	return status;
}

static void put_count(uint64_t count, const char *one, const char *many)
{
	printf(", %" PRIu64 " %s", count, count == 1 ? one : many);
}

static void print_summary(const struct check_result *r, int err)
{
	char size[WHEN_TEXT_MAX];

	printf("%s: %" PRIu64 " %s", err ? "ended early" : "checked", r->files,
	       r->files == 1 ? "file" : "files");
	put_count(r->directories, "directory", "directories");
	if (r->links)
		put_count(r->links, "link", "links");
	if (r->locked)
		put_count(r->locked, "locked file", "locked files");
	printf(", %s; ", when_size(r->bytes, size));
	if (!r->damaged && !r->repaired && !r->failed) {
		puts(err ? "nothing damaged so far" : "nothing is damaged");
		return;
	}
	printf("%" PRIu64 " damaged", r->damaged);
	if (r->repaired)
		printf(", %" PRIu64 " repaired", r->repaired);
	if (r->failed)
		printf(", %" PRIu64 " failed", r->failed);
	putchar('\n');
}

static void print_json_end(const struct vault *vault,
			   const struct check_result *r, enum seen seen,
			   int status)
{
	static const char *const words[] = {"unknown", "compared", "mounted",
					    "unknown", "unknown"};
	char id[2 * VAULT_ID_LEN + 1];

	hex_encode(vault->id, VAULT_ID_LEN, id);
	(void)fputs("],\n \"vault\": ", stdout);
	json_put_string(stdout, vault->path);
	printf(", \"id\": \"%s\",\n \"files\": %" PRIu64
	       ", \"directories\": %" PRIu64 ", \"links\": %" PRIu64
	       ", \"others\": %" PRIu64 ", \"locked\": %" PRIu64
	       ", \"bytes\": %" PRIu64 ",\n",
	       id, r->files, r->directories, r->links, r->others, r->locked,
	       r->bytes);
	printf(" \"damaged\": %" PRIu64 ", \"repaired\": %" PRIu64
	       ", \"failed\": %" PRIu64 ", \"notes\": %" PRIu64
	       ", \"seen\": \"%s\", \"status\": %d}\n",
	       r->damaged, r->repaired, r->failed, r->notes, words[seen],
	       status);
}

/* Mounted? Whoever repairs it has the lock. */
static bool is_live(const struct vault *vault, bool repair)
{
	return !repair && vault_wait_unlocked(vault->path, 0) == -EBUSY;
}

/*
 * Whoever only looks does not stand in the way of a mount that begins
 * meanwhile, and remembers nothing of what it reads.
 */
static enum seen remember(struct vault *vault, bool repair)
{
	bool live = is_live(vault, repair);
	int err = repair ? memory_open(vault, false) : memory_look(vault);

	if (live && !err)
		memory_close(vault);
	/* who compares has it, and lets nobody else have it */
	if (err == -EBUSY)
		return live || is_live(vault, repair) ? SEEN_MOUNTED
						      : SEEN_BY_COPY;
	if (live && (!err || err == -ENOENT))
		return SEEN_BY_NOBODY;
	/* of what is no file the log has told */
	if (err && err != -ENOENT && err != -ENOTSUP)
		report("nothing of '%s' is compared with what this machine "
		       "has seen: %s",
		       vault->path,
		       err == -EBADMSG ? "what it remembered is damaged"
				       : strerror(-err));
	return err ? SEEN_UNKNOWN : SEEN_COMPARED;
}

static void print_advice(const struct vault *vault,
			 const struct telling *telling, enum seen seen)
{
	static const char *const not_compared[] = {
		[SEEN_MOUNTED] =
			" is mounted: the mount notices by itself what is "
			"older than this machine has seen; it is not looked "
			"for here",
		[SEEN_BY_NOBODY] =
			" is mounted, by a mount that does not remember what "
			"was seen here (it is shared, has remember=off, or is "
			"another account's): what is older is not looked for; "
			"unmount it and check it then",
		[SEEN_BY_COPY] =
			" is not compared with what this machine has seen of "
			"the vault, as another copy of it is mounted, or being "
			"checked; what is older here is found once that has "
			"ended",
	};

	check_advice_put(&telling->advice);
	if (telling->json || seen < SEEN_MOUNTED)
		return;
	json_put_plain(stdout, vault->path);
	puts(not_compared[seen]);
}

static int check(struct vault *vault, const struct check_request *req,
		 enum seen seen)
{
	struct telling telling = {.json = req->json};
	struct check_result result = {0};
	const struct check_options opt = {.jobs = req->jobs,
					  .repair = req->repair,
					  .compare = true,
					  .stop = &interrupted,
					  .found = on_found,
					  .progress = on_progress,
					  .arg = &telling};
	struct check_options with_count = opt;
	int err, status;

	progress_begin(&telling.bar, "checking", 0);
	with_count.count = telling.bar.terminal;
	if (req->json)
		(void)fputs("{\"findings\": [", stdout);
	catch_signals();
	err = vault_check(vault, &with_count, &result);
	progress_end(&telling.bar);
	status = status_of(&result, err);
	if (err && err != -EINTR)
		report("the check cannot go on: %s", strerror(-err));
	print_advice(vault, &telling, seen);
	if (req->json)
		print_json_end(vault, &result, seen, status);
	else
		print_summary(&result, err);
	return status;
}

static int refuse(int err, const char *backing, const struct vault_fault *fault)
{
	if (err == -EROFS)
		report_read_only(backing, "check it without --repair");
	else
		(void)report_vault(err, backing, fault);
	return err == -EBADMSG ? STATUS_DAMAGED : STATUS_FAILED;
}

/* Each directory on the way down is open, each thread has its own way. */
static void raise_nofile(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)!setrlimit(RLIMIT_NOFILE, &limit);
}

static void cleanup_vault_(struct vault *const *vault)
{
	vault_close(*vault);
}

static int open_and_check(const struct check_request *req, const char *backing)
{
	__attribute__((cleanup(cleanup_vault_))) struct vault *vault = NULL;
	CLEANUP_PASSPHRASE struct passphrase passphrase = {0};
	CLEANUP_FREE char *prompt = NULL;
	struct vault_fault fault = {0};
	int err;

	if (asprintf(&prompt, "Passphrase for %s: ", backing) < 0)
		return refuse(-ENOMEM, backing, &fault);
	if (passphrase_get(&req->source, prompt, &passphrase))
		return STATUS_FAILED;
	err = vault_open(backing, passphrase.text, passphrase.len, JOBS_MAX,
			 &vault, &fault);
	if (!err && req->repair)
		err = vault_lock(vault, false, false);
	passphrase_free(&passphrase);
	if (err)
		return refuse(err, backing, &fault);
	vault->remembers = req->repair;
	if (req->repair && journal_seen(vault) == -ESTALE) {
		report("'%s/.frondfs/journal' holds what a mount left that "
		       "ended here before; mount it first, which says more, or "
		       "check it without --repair",
		       backing);
		return STATUS_FAILED;
	}
	return check(vault, req, remember(vault, req->repair));
}

static int run(const struct check_request *req)
{
	struct vault_fault fault = {0};
	struct behind behind;
	const char *backing = behind.backing;
	struct vault_ini ini;
	int err = behind_probe(req->path, &behind, &ini, &fault);

	if (err)
		return refuse(err, backing, &fault);
	if (req->repair && vault_wait_unlocked(backing, 0) == -EBUSY) {
		report("the vault '%s' is mounted, and is not repaired while "
		       "it is: unmount it first, or check it without --repair",
		       backing);
		return STATUS_FAILED;
	}
	raise_nofile();
	return open_and_check(req, backing);
}

static int take_jobs(struct check_request *req, const char *text)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || end == text || n < 1 || n > JOBS_MAX) {
		(void)report_usage("check",
				   "--jobs wants a number from 1 to "
				   "%d",
				   JOBS_MAX);
		return STATUS_USAGE;
	}
	req->jobs = (unsigned)n;
	return 0;
}

static int parse_arguments(int argc, char **argv, struct check_request *req)
{
	static const struct option options[] = {
		{"repair", no_argument, NULL, 'r' + 256},
		{"jobs", required_argument, NULL, 'j' + 256},
		{"json", no_argument, NULL, 'o' + 256},
		{"passfile", required_argument, NULL, 'p' + 256},
		{"extpass", required_argument, NULL, 'e' + 256},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, status = 0;

	while (!status &&
	       (c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'r' + 256)
			req->repair = true;
		else if (c == 'j' + 256)
			status = take_jobs(req, optarg);
		else if (c == 'o' + 256)
			req->json = true;
		else if (c == 'p' + 256)
			req->source.passfile = optarg;
		else if (c == 'e' + 256)
			req->source.extpass = optarg;
		else if (c == 'h')
			req->help = true;
		else if (report_bad_option("check", c, argv))
			status = STATUS_USAGE;
	}
	if (status || req->help)
		return status;
	if (req->source.passfile && req->source.extpass) {
		(void)report_usage("check", "--passfile and --extpass exclude "
					    "each other");
		return STATUS_USAGE;
	}
	if (argc - optind != 1) {
		(void)report_usage("check", "check wants one backing directory "
					    "or mount point");
		return STATUS_USAGE;
	}
	req->path = argv[optind];
	return 0;
}

int cmd_check(int argc, char **argv)
{
	struct check_request req = {0};
	int status = parse_arguments(argc, argv, &req);

	if (req.help)
		return fputs(cmd_check_help, stdout) < 0 ? STATUS_FAILED : 0;
	return status ? status : run(&req);
}
