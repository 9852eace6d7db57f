#include "cmd.h"
#include "json.h"
#include "passphrase.h"
#include "quote.h"
#include "report.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

const char cmd_init_help[] =
	"Usage: frondfs init [OPTION...] BACKING\n"
	"\n"
	"Make a vault in BACKING, a directory that is empty or does not exist "
	"yet.\n"
	"The passphrase is asked twice on the terminal, unless one of these "
	"is given:\n"
	"  --passfile FILE   the first line of FILE\n"
	"  --extpass CMD     the first line that the shell command CMD prints\n"
	"\n"
	"  --kdf-mem MIB     memory that trying one passphrase takes "
	"(default 256, 8 to 4096)\n"
	"  --kdf-ops N       passes over that memory (default 3, 1 to 64)\n"
	"  --help            this text\n";

struct init_request {
	struct passphrase_source source;
	const char *backing;
	uint64_t ops, mem_mib;
};

static int parse_number(const char *option, const char *text, uint64_t min,
			uint64_t max, uint64_t *out)
{
	unsigned long long value;

	errno = 0;
	value = strtoull(text, NULL, 10);
	if (!text[0] || text[strspn(text, "0123456789")] || errno ||
	    value < min || value > max)
		return report_usage("init",
				    "--%s wants a number from %llu to %llu, "
				    "not '%s'",
				    option, (unsigned long long)min,
				    (unsigned long long)max, text);
	*out = value;
	return CMD_OK;
}

static int parse_arguments(int argc, char **argv, struct init_request *req,
			   bool *help)
{
	static const struct option options[] = {
		{"passfile", required_argument, NULL, 'p' + 256},
		{"extpass", required_argument, NULL, 'e' + 256},
		{"kdf-mem", required_argument, NULL, 'm' + 256},
		{"kdf-ops", required_argument, NULL, 'o' + 256},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c, status = CMD_OK;

	while (!status &&
	       (c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'p' + 256)
			req->source.passfile = optarg;
		else if (c == 'e' + 256)
			req->source.extpass = optarg;
		else if (c == 'm' + 256)
			status =
				parse_number("kdf-mem", optarg, KDF_MIN_MEM_MIB,
					     KDF_MAX_MEM_MIB, &req->mem_mib);
		else if (c == 'o' + 256)
			status = parse_number("kdf-ops", optarg, 1, KDF_MAX_OPS,
					      &req->ops);
		else if (c == 'h')
			*help = true;
		else
			status = report_bad_option("init", c, argv);
	}
	if (status || *help)
		return status;
	if (req->source.passfile && req->source.extpass)
		return report_usage("init", "--passfile and --extpass exclude "
					    "each other");
	if (argc - optind != 1)
		return report_usage("init", "init wants one directory");
	req->backing = argv[optind];
	return CMD_OK;
}

static int report_create(int err, const char *backing)
{
	switch (err) {
	case -EEXIST:
		report("'%s' is a vault already; mount it with 'frondfs mount'",
		       backing);
		return CMD_NOT_A_VAULT;
	case -ENOTEMPTY:
		report("'%s' is not empty; name an empty directory or one that "
		       "does not exist yet",
		       backing);
		return CMD_NOT_A_VAULT;
	case -ENOTDIR:
		report("'%s' is not a directory; name an empty one or one that "
		       "does not exist yet",
		       backing);
		return CMD_NOT_A_VAULT;
	case -ENOENT:
		report("cannot make '%s': the directory it would lie in does "
		       "not exist; make that first",
		       backing);
		return CMD_FAILED;
	case -ENOMEM:
		report("not enough memory to make the vault '%s'; give a "
		       "smaller --kdf-mem",
		       backing);
		return CMD_FAILED;
	default:
		report("cannot make a vault in '%s': %s", backing,
		       strerror(-err));
		return CMD_FAILED;
	}
}

/* Look before asking for a passphrase; vault_create() looks again. */
static int check_backing(const char *backing)
{
	CLEANUP_DIR DIR *dir = NULL;
	const struct dirent *d;
	char ini[PATH_MAX];
	int len = snprintf(ini, sizeof ini, "%s/.frondfs/vault.ini", backing);

	if (len < PATH_MAX && access(ini, F_OK) == 0)
		return report_create(-EEXIST, backing);
	dir = opendir(backing);
	if (!dir)
		return errno == ENOENT ? CMD_OK
				       : report_create(-errno, backing);
	while ((d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			return report_create(-ENOTEMPTY, backing);
	return CMD_OK;
}

/* recover.py as it came with this program, installed or in a build tree; NULL
 * when it is not there. */
static char *find_recover(void)
{
	static const char from_here[] = "/" FROND_RECOVER_FROM_BIN;
	char path[PATH_MAX + sizeof from_here];
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
	char *slash;

	if (len <= 0)
		return NULL;
	path[len] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return NULL;
	memcpy(slash, from_here, sizeof from_here);
	return realpath(path, NULL);
}

/* The system's own, where there is one: it finds the system's packages, and
 * another that comes first in PATH may not. */
static const char *python(void)
{
	static const char systems[] = "/usr/bin/python3";

	return access(systems, X_OK) == 0 ? systems : "python3";
}

static void print_recovery(const char *quoted_backing)
{
	CLEANUP_FREE char *recover = find_recover();
	CLEANUP_FREE char *quoted = recover ? quote_word(recover) : NULL;

	printf("With them and a copy of the directory, ");
	if (quoted)
		printf("this reads everything without frondfs:\n"
		       "  %s %s list %s\n\n",
		       python(), quoted, quoted_backing);
	else
		printf("recover.py, which comes with frondfs,\n"
		       "reads everything without it.\n\n");
}

static void print_advice(const char *backing)
{
	CLEANUP_FREE char *real = realpath(backing, NULL);
	const char *path = real ? real : backing;
	CLEANUP_FREE char *quoted = quote_word(path);
	CLEANUP_FREE char *program = quote_program();

	printf("A vault is in ");
	json_put_plain(stdout, path);
	printf(".\n\nBack up two things now, in different places:\n  1. ");
	json_put_plain(stdout, path);
	puts("/.frondfs/vault.ini\n"
	     "     (the key, locked with the passphrase)\n"
	     "  2. the passphrase\n"
	     "Without both of them nobody can ever read what is in the "
	     "vault, you included.");
	print_recovery(quoted ? quoted : path);
	printf("To use it:  %s mount %s MOUNTPOINT\n",
	       program ? program : "frondfs", quoted ? quoted : path);
}

int cmd_init(int argc, char **argv)
{
	struct init_request req = {.ops = KDF_DEFAULT_OPS,
				   .mem_mib = KDF_DEFAULT_MEM_MIB};
	CLEANUP_PASSPHRASE struct passphrase passphrase = {0};
	struct vault_create_options create;
	bool help = false;
	int err, status = parse_arguments(argc, argv, &req, &help);

	if (help)
		return fputs(cmd_init_help, stdout) < 0 ? CMD_FAILED : CMD_OK;
	if (!status)
		status = check_backing(req.backing);
	if (!status)
		status = passphrase_get_new(
			&req.source,
			"Passphrase for the new vault: ", &passphrase);
	if (status)
		return status;
	create = (struct vault_create_options){
		.passphrase = passphrase.text,
		.passphrase_len = passphrase.len,
		.ops = req.ops,
		.mem_bytes = req.mem_mib << 20,
	};
	err = vault_create(req.backing, &create);
	if (err)
		return report_create(err, req.backing);
	print_advice(req.backing);
	return CMD_OK;
}
